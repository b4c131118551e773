"""Probability tables from counted residuals: what a model really codes, in place of the ideal logistic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec, Latents
from dpc.codec.entropy import Tables
from dpc.training.data.photos import Photos

CROP = 512
LONGEST = 4096  # magnitudes counted apart; larger ones are counted as this
QUALITIES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 65.0, 80.0)

Array = NDArray[Any]


def count(model: Artifact, photos: Photos, crops: int = 96, seed: int = 7) -> list[Array]:
    """How often |value| = 0, 1, 2, ... was coded under every scale index (the list starts with index 1).

    Random crops of the training photographs, not scaled, each at one of QUALITIES in turn.
    """
    codec = Codec(model)
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(model.tables), LONGEST + 1), np.int64)
    for i in range(crops):
        pixels = photos.picture(photos.train[int(rng.integers(len(photos.train)))])
        height, width = (min(CROP, n) for n in pixels.shape[:2])
        top, left = (int(rng.integers(n - m + 1)) for n, m in zip(pixels.shape[:2], (height, width), strict=True))
        crop = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        latents = codec.latents(crop, QUALITIES[i % len(QUALITIES)])
        for values, indices in ((latents.z, latents.z_index), (latents.r, latents.index)):
            magnitude = np.minimum(np.abs(values), LONGEST)
            flat = indices.astype(np.int64).ravel() * (LONGEST + 1) + magnitude.ravel()
            counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    return list(counts[1:])


def gain(model: Artifact, before: Sequence[Array], after: Sequence[Array], photos: Photos, limit: int = 16) -> float:
    """Share of bytes that other tables save on held-out photographs, 0.01 for one per cent; negative for a loss."""
    codec = Codec(model)
    tables = [Tables(list(rows)) for rows in (before, after)]
    bits = [0.0, 0.0]
    for n, i in enumerate(photos.validation[:limit]):
        pixels = photos.picture(i)[: 2 * CROP, : 2 * CROP]
        latents: Latents = codec.latents(np.ascontiguousarray(pixels), QUALITIES[n % len(QUALITIES)])
        for k, rows in enumerate(tables):
            bits[k] += rows.bits(latents.z, latents.z_index) + rows.bits(latents.r, latents.index)
    return 1 - bits[1] / bits[0]


def photos_of(folder: Path) -> Photos:
    """The photographs of a folder, with at least 192 pixels a side."""
    return Photos([folder], 192)
