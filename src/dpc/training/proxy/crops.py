"""What a proxy learns from: crops, what the codec draws of them, and the gradient of LPIPS by the drawn picture."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dpc.codec.codec import Codec
from dpc.errors import DPCError
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.training.data.photos import Photos
from dpc.training.data.synthetic import synthetic

SIDE = 256
SCALED, DRAWN = 0.4, 0.12  # shares of crops that are scaled, and that get letters, lines and shapes
QUALITIES = 20.0, 85.0
REFINED = 0.5  # share of them whose latents are refined
MOVED, WAY = 0.25, (-0.3, 0.5)  # share that is moved on the line to the original, and by which parts of the way
SHIFT = 8  # pixels, below which the first row and column of what LPIPS sees lie

UInt8 = NDArray[np.uint8]


class Crop(NamedTuple):
    """x (SIDE, SIDE, 3) uint8, the original. shown: what was drawn of it, float16, 8-bit levels. gradient (3, SIDE,
    SIDE) float16: of LPIPS, the mean of the nets, times the number of pixels, by the shown values in 0 .. 1."""

    x: UInt8
    shown: NDArray[np.float16]
    gradient: NDArray[np.float16]


def made(codec: Codec, photos: Photos, nets: Sequence[LPIPS], rng: np.random.Generator) -> Iterator[Crop]:
    """Crops of the photographs that are not held out, for ever."""
    while True:
        x = _cut(photos, rng)
        quality = float(rng.uniform(*QUALITIES))
        data = codec.encode(x, quality=quality, fast=bool(rng.random() >= REFINED), lossless=False)
        shown = np.asarray(codec.decode(data, as_array=True), np.float32)
        if rng.random() < MOVED:
            shown = np.clip(shown + rng.uniform(*WAY) * (x - shown), 0, 255)
        yield Crop(x, shown.astype(np.float16), _gradient(nets, x, shown, rng))


def _cut(photos: Photos, rng: np.random.Generator) -> UInt8:
    picture = photos.picture(photos.train[int(rng.integers(len(photos.train)))])
    top, left = (int(rng.integers(side - SIDE + 1)) for side in picture.shape[:2])
    x = np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])
    if rng.random() < SCALED:
        x = photos.crop(rng, SIDE)
    return synthetic(rng, x) if rng.random() < DRAWN else x


def _gradient(
    nets: Sequence[LPIPS], x: UInt8, shown: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float16]:
    top, left = (int(v) for v in rng.integers(0, SHIFT, 2))
    a, b = (torch.from_numpy(np.asarray(v, np.float32)).permute(2, 0, 1)[None] / 255 for v in (x, shown))
    b.requires_grad_(True)
    distance = sum(net(a[..., top:, left:], b[..., top:, left:], check=False).sum() for net in nets) / len(nets)
    (gradient,) = torch.autograd.grad(distance, b)
    return np.asarray((gradient[0] * (SIDE * SIDE)).numpy(), np.float16)


def write(out: Path, crops: Iterator[Crop], seed: int, count: int) -> None:
    """So many crops as OUT/SEED-N.npz, in place of those of this seed that are there."""
    out.mkdir(parents=True, exist_ok=True)
    for n, crop in zip(range(count), crops, strict=False):
        np.savez(out / f"{seed}-{n}.npz", **crop._asdict())


def read(path: Path) -> Crop:
    """A crop from its file; DPCError where it is damaged."""
    try:
        with np.load(path) as file:
            return Crop(file["x"], file["shown"], file["gradient"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DPCError(f"{path} is not a sound crop ({error}); delete it") from error
