"""What the tests of trainings have in common: photographs, scratch space, logs, a bare interpreter."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpc.networks.sizes import Network

NETWORK = Network(
    latents=24,
    hyper_latents=8,
    groups=(4, 8, 12),
    levels=8,
    widths=(8, 16, 24),
    encoder_depths=(1, 1, 1),
    encoder_dense=(0, 1, 1),
    decoder_depths=(1, 1, 1),
    hyper_width=16,
    scale_width=16,
    mean_width=16,
    pass_widths=(16, 16, 16),
)
"""The smallest network of the second generation that trains and exports."""
MISSING = "typer rich pydantic onnx onnxruntime constriction lightning_fabric tomli tomllib"
"""Packages that a machine which a pack is taken to need not have."""


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Decoded pictures go to the folder, also those of other processes; a patch that ends with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr("tempfile.tempdir", None)
        yield patch


def photographs(folder: Path, height: int, width: int, scale: float, ending: str) -> Path:
    """The folder, with three small pictures that have smooth parts, edges and texture."""
    rng = np.random.default_rng(1)
    for n in range(3):
        y, x = np.mgrid[0:height, 0:width] / scale
        waves = np.stack([np.sin(x + n) * np.cos(y), np.sin(x * y / 3 + n), (x > y + n).astype(float)], 2)
        picture = (110 + 60 * waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{n}{ending}", quality=90)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a log."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def same(a: Any, b: Any) -> bool:
    """Whether two nested structures hold the same bits."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def bare_python(folder: Path) -> Path:
    """A program that runs `-m dpc.training ...` as a machine with torch, numpy and Pillow alone would."""
    script, python = folder / "plain.py", folder / "python"
    script.write_text(
        f"import runpy, sys\n"
        f"for name in {MISSING.split()}:\n"
        f"    sys.modules[name] = None  # importing it raises ImportError\n"
        f"sys.argv = sys.argv[2:]\n"
        f"runpy.run_module('dpc.training', run_name='__main__', alter_sys=True)\n"
    )
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    return python
