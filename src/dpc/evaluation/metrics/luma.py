"""Luma error: by octave, and on plain ground. In squared 8-bit levels; 0 is none, lower is better.

Mean squared error is ruled by texture, where an eye forgives it. These three look where it does not:

- coarse scales: the mean of the error over blocks of 4x4 or 8x8 pixels, squared. It holds what is left below 1/4 or 1/8
  of the resolution, such as stains, tints and shading.
- plain ground: the squared error where the original is flat, such as dirt around letters and halos at roofs. A pixel is
  plain when the smallest of four variances, of the 5x5 windows three pixels away along the diagonals, is below a limit.
  At an edge one of the four windows still lies on flat ground, so that what an edge throws onto it counts.

The limit is 2 squared levels (grainy film has no lower), or 0.25 for rendered ground.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dpc.evaluation.metrics.pair import Picture, check, luma

__all__ = ["LEAST", "below", "octaves", "plain", "plain_error"]

OFFSET, WINDOW = 3, 5  # pixels
LEAST = 256  # plain pixels; fewer say nothing of a picture

_Array = npt.NDArray[np.float64]


def below(original: Picture, decoded: Picture, factor: int) -> float:
    """Mean square of the luma error's means over blocks of factor x factor pixels. Two uint8 (H, W, 3) pictures.

    Rows and columns that fill no block are left out. Raises ValueError on a wrong shape or dtype, and for a picture
    that is smaller than a block.
    """
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < factor:
        raise ValueError(f"the luma error below 1/{factor} needs {factor} pixels a side, got {width}x{height}")
    return float(np.mean(np.square(_blocks(luma(decoded) - luma(original), factor))))


def octaves(original: Picture, decoded: Picture, count: int = 7) -> list[float]:
    """The luma error's energy in each octave, the finest first: octave k holds details of 2^(k-1) to 2^k pixels.

    It is the energy of a Haar pyramid: the difference between the mean squares of block means of 2^(k-1) and of 2^k
    pixels. The picture is cut to a multiple of 2^count. Raises ValueError on a wrong shape, dtype or small size.
    """
    check(original, decoded)
    largest = 2**count
    height, width = (n // largest * largest for n in original.shape[:2])
    if not height or not width:
        raise ValueError(f"{count} octaves need {largest} pixels a side, got {original.shape[1]}x{original.shape[0]}")
    error = (luma(decoded) - luma(original))[:height, :width]
    energy = [float(np.mean(np.square(_blocks(error, 2**k)))) for k in range(count + 1)]
    return [fine - coarse for fine, coarse in zip(energy, energy[1:], strict=False)]


def plain_error(original: Picture, decoded: Picture, limit: float) -> float:
    """Mean squared luma error over the plain pixels of the original, see `plain`; nan when fewer than LEAST are plain.

    Raises ValueError on a wrong shape or dtype, and below 11 pixels a side.
    """
    check(original, decoded)
    smallest = WINDOW + 2 * OFFSET
    if min(original.shape[:2]) < smallest:
        raise ValueError(f"plain ground needs {smallest} pixels a side, got {original.shape[1]}x{original.shape[0]}")
    mask = plain(original, limit)
    if np.count_nonzero(mask) < LEAST:
        return float("nan")
    return float(np.mean(np.square((luma(decoded) - luma(original))[mask])))


def plain(original: Picture, limit: float) -> npt.NDArray[np.bool_]:
    """(H, W) bool: where the smallest of the four variances is below the limit. No window crosses the border."""
    y = luma(original)
    variance = np.maximum(_box(y * y) - np.square(_box(y)), 0.0)
    smallest = np.full(y.shape, np.inf)
    height, width = y.shape
    for dy in (-OFFSET, OFFSET):
        for dx in (-OFFSET, OFFSET):
            # pixel (i, j) takes the window centred at (i + dy, j + dx), which starts at i + dy - 2
            rows = slice(max(0, WINDOW // 2 - dy), min(height, height - WINDOW // 2 - dy))
            columns = slice(max(0, WINDOW // 2 - dx), min(width, width - WINDOW // 2 - dx))
            top, left = rows.start + dy - WINDOW // 2, columns.start + dx - WINDOW // 2
            part = variance[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
            smallest[rows, columns] = np.minimum(smallest[rows, columns], part)
    return smallest < limit


def _blocks(x: _Array, factor: int) -> _Array:
    """Means over blocks, without the rows and columns that fill none."""
    height, width = (n // factor for n in x.shape)
    blocks = x[: height * factor, : width * factor].reshape(height, factor, width, factor)
    means: _Array = blocks.mean((1, 3))
    return means


def _box(x: _Array) -> _Array:
    """Means over all whole windows of WINDOW x WINDOW: (H - 4, W - 4), the first around pixel (2, 2)."""
    total = np.pad(x, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    n = WINDOW
    means: _Array = (total[n:, n:] - total[:-n, n:] - total[n:, :-n] + total[:-n, :-n]) / n**2
    return means
