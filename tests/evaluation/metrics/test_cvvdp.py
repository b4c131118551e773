"""ColorVideoVDP in its own environment: the value of the authors package; what is said where the environment is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image

from dpc.errors import DPCError, ToolMissing
from dpc.evaluation.metrics import METRICS, cvvdp
from dpc.evaluation.metrics.reference import usable

DATA = SHARED / "data"


@needs("data", "kodak-bpg444")
@pytest.mark.slow
def test_the_authors_package_says_the_same() -> None:
    """By pycvvdp 0.5.7 itself, on float tensors of the same files, in a script of its own: 8.6292 JOD (standard_4k)."""
    try:
        cvvdp.python()
    except ToolMissing as error:
        pytest.skip(str(error))
    pictures = []
    for path in (DATA / "kodak" / "kodim23.png", DATA / "kodak-bpg444" / "kodim23-qp43.webp"):
        with Image.open(path) as im:
            pictures.append(np.array(im.convert("RGB")))
    assert METRICS["cvvdp"].function(*pictures) == pytest.approx(8.629, abs=0.005)
    assert METRICS["cvvdp"].function(pictures[0], pictures[0]) == 10.0
    assert METRICS["cvvdp"].version() == "cvvdp 0.5.7, display standard_4k"


def test_without_its_environment_it_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((20, 20, 3), np.uint8)
    monkeypatch.setenv("DPC_CVVDP", str(tmp_path / "python"))
    assert METRICS["cvvdp"].version() == ""
    with pytest.raises(ToolMissing, match="is not there; python3 -m venv ~/.cache/dpc/cvvdp"):
        METRICS["cvvdp"].function(x, x)
    monkeypatch.setenv("DPC_CVVDP", sys.executable)  # an environment without the package
    if not (Path(sys.prefix) / "bin" / "cvvdp").exists():
        with pytest.raises(ToolMissing, match="has no cvvdp that works"):
            METRICS["cvvdp"].function(x, x)
    with pytest.raises(ValueError, match="at least 16 pixels a side, got 20x15"):
        METRICS["cvvdp"].function(x[:15], x[:15])


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_what_its_process_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the environment: it says its version, and its process ends at once."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nif [ "$2" = --version ]; then echo 9.9; else echo "no torch here" >&2; exit 1; fi\n')
    program.chmod(0o755)
    monkeypatch.setenv("DPC_CVVDP", str(program))
    x = np.zeros((20, 20, 3), np.uint8)
    assert METRICS["cvvdp"].version() == "cvvdp 9.9, display standard_4k"
    with pytest.raises(DPCError, match="ColorVideoVDP's process ended and said: no torch here"):
        METRICS["cvvdp"].function(x, x)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_an_environment_that_does_not_import_is_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a package that does not fit torch: the other metrics are measured, and this one is told."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "undefined symbol: aoti_torch" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("DPC_CVVDP", str(program))
    good, missing = usable(["psnr", "cvvdp"])
    assert good == ["psnr"] and "has no cvvdp that works (undefined symbol: aoti_torch)" in missing["cvvdp"]
