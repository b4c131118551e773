"""The page of earlier learned codecs: its example codec is trained, saved and used as the page shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

PAGE = ROOT / "docs" / "guide" / "learned.md"


@pytest.mark.slow
def test_the_codec_of_the_page_is_added_trained_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dpc.evaluation import codecs as baselines
    from dpc.networks.earlier import protocol

    monkeypatch.setattr(protocol, "_CLASSES", dict(protocol._CLASSES))  # the example's class is forgotten afterwards
    shutil.copy(ROOT / "demo" / "photo.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    codes = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(codes) == 2
    for code in codes:
        exec(compile(code, str(PAGE), "exec"), names)
    rgb, decoded = names["rgb"], names["decoded"]
    assert decoded.shape == rgb.shape
    psnr = 10 * np.log10(255**2 / np.mean((rgb.astype(float) - decoded) ** 2))
    assert psnr > 18, "it has learned something"
    assert 0.05 < float(capsys.readouterr().out.split()[0]) < 3
    codec = baselines.get("learned:blocks.pt")
    assert codec.encode(rgb, 1) == names["data"]
    assert codec.seen == "psnr unknown"  # type: ignore[attr-defined]


def test_the_page_names_every_kind() -> None:
    from dpc.networks.earlier.protocol import _MODULES

    table = set(re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert table == set(_MODULES)
