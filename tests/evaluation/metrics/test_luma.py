"""Luma error by octave and on plain ground: against other libraries, and patterns whose value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpc.evaluation.metrics import METRICS, luma
from dpc.evaluation.metrics.pair import luma as luma_of


def pictures(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ground = np.full((64, 96, 3), 120.0)
    ground[:, 48:] = rng.uniform(0, 255, (64, 48, 3))  # half plain, half texture
    original = np.rint(ground).astype(np.uint8)
    return original, np.clip(original + rng.normal(0, 3, original.shape), 0, 255).round().astype(np.uint8)


def test_below_is_what_torch_pools() -> None:
    torch = pytest.importorskip("torch")
    x, y = pictures()
    error = torch.from_numpy(luma_of(y) - luma_of(x))[None, None]
    for factor in (4, 8):
        pooled = torch.nn.functional.avg_pool2d(error, factor)
        assert METRICS[f"luma_below_{factor}"].function(x, y) == pytest.approx(float(pooled.square().mean()), rel=1e-9)


def test_octaves_share_out_the_error() -> None:
    """A chequerboard of blocks of 2^k pixels lies in one octave; all octaves and the mean together are the error."""
    grey = np.full((128, 256, 3), 100, np.uint8)
    i, j = np.indices(grey.shape[:2])
    for k in range(6):
        board = np.where(((i >> k) + (j >> k)) % 2, 104, 96).astype(np.uint8)[:, :, None].repeat(3, 2)
        found = luma.octaves(grey, board)
        assert np.argmax(found) == k and found[k] == pytest.approx(16.0) and sum(found) == pytest.approx(16.0)
    x, y = pictures()
    whole = float(np.mean((luma_of(y) - luma_of(x)) ** 2))
    assert sum(luma.octaves(x, y, 5)) + luma.below(x, y, 32) == pytest.approx(whole)


def test_plain_ground_is_what_scipy_finds() -> None:
    """The same map by scipy.ndimage: variance of 5x5 windows, moved by three pixels along the diagonals."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x, y = pictures()
    x[20:40, 10:30] = 40  # a dark square on the plain half
    v = luma_of(x)
    variance = ndimage.uniform_filter(v * v, 5) - ndimage.uniform_filter(v, 5) ** 2
    whole = np.full(v.shape, np.inf)
    whole[2:-2, 2:-2] = variance[2:-2, 2:-2]
    padded = np.pad(whole, 3, constant_values=np.inf)
    moved = [padded[a : a + v.shape[0], b : b + v.shape[1]] for a in (0, 6) for b in (0, 6)]
    smallest = np.min(moved, axis=0)
    for name, limit in (("plain_2", 2.0), ("plain_025", 0.25)):
        assert np.array_equal(luma.plain(x, limit), smallest < limit)
        expected = np.mean((luma_of(y) - v)[smallest < limit] ** 2)
        assert METRICS[name].function(x, y) == pytest.approx(expected, rel=1e-9)


def test_dirt_beside_an_edge_counts_and_texture_does_not() -> None:
    x = np.full((60, 80, 3), 250, np.uint8)
    x[:, :20] = 10
    texture = x.copy()
    texture[:, 40:] = np.random.default_rng(1).integers(0, 255, (60, 40, 3))
    dirt = x.copy()
    dirt[:, 20] = 230  # a halo along the edge
    assert METRICS["plain_025"].function(x, dirt) > 1.0
    noisy = texture.copy()
    noisy[:, 50:] //= 2  # only where there is texture
    assert METRICS["plain_025"].function(texture, noisy) == 0.0
    assert METRICS["luma_below_8"].function(texture, noisy) > 100


def test_too_little_plain_ground_and_small_pictures() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert math.isnan(METRICS["plain_2"].function(x, x))
    small = np.zeros((7, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="below 1/8 needs 8 pixels a side, got 30x7"):
        METRICS["luma_below_8"].function(small, small)
    with pytest.raises(ValueError, match="plain ground needs 11 pixels a side, got 30x7"):
        METRICS["plain_2"].function(small, small)
    with pytest.raises(ValueError, match="7 octaves need 128 pixels a side"):
        luma.octaves(x, x)
