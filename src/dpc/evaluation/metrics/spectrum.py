"""Error-spectrum peaks: does a decoded picture carry a grid or block pattern of period 2, 4, 8 or 16 pixels?

Two signals are looked at along rows and along columns: the luma error, in which a regular pattern
(checkerboard, comb) is a spectral line; and the size of its differences between neighbours, in which block
edges are one, whatever their sign (the error itself has no line there: the edges of blocks are random). Power
spectra of windowed segments are averaged over the picture, and each line is compared with the bins around it.

An error that knows no grid gives about 1 at every period. Medians over the 24 Kodak pictures at the periods
2, 4, 8, 16 (and the highest of a single picture):

    white noise           1.1  1.1  1.1  1.0    (1.5)
    Gaussian blur         1.1  1.1  1.1  1.0    (1.4)
    AVIF                  1.1  1.1  1.1  1.0    (1.5)
    WebP, quality 10      1.3  1.1  1.1  1.0    (2.8, period 4: its transforms are 4x4)
    JPEG 2000, 1:60       1.2  1.6  1.1  1.0    (3.2, period 4: a trace of the wavelet)
    JPEG, quality 10      6.1  5.8  5.2  1.0
    means of 16x16        4.8  4.5  4.1  3.9
    checkerboard of +-1   20   1.3  1.1  1.0    (added to the JPEG 2000)

So look at a codec by its median over several pictures, and read small ones (below 400 pixels) with caution: a
median above `SUSPECT` is a pattern.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dpc.evaluation.metrics.pair import Picture, check, luma

PERIODS = (2, 4, 8, 16)
SUSPECT = 2.0
SMALLEST = 128  # pixels a side: shorter segments would leave no bins between the lines
_LONGEST = 256  # samples of a segment; every segment is a multiple of 16, so that each period falls on a bin
_ROWS = 16  # neighbouring rows averaged in the edge signal: edges of one block line up, texture does not
_CLIP = 4.0  # levels; a difference above this counts as this, so that no single strong edge decides

_Array = npt.NDArray[np.float64]


def spectrum_peaks(original: Picture, decoded: Picture) -> dict[int, float]:
    """{period: ratio} of the energy at that period to its surroundings, the larger of both signals and axes.

    original, decoded: uint8 (H, W, 3), at least 128 pixels a side. About 1 means no pattern. A period is
    measured by its odd harmonics only (the even ones belong to half the period): the edges of 16x16 blocks show
    at all four periods, those of 8x8 blocks at 2, 4 and 8. Raises ValueError on a wrong shape or dtype.
    """
    check(original, decoded)
    if min(original.shape[:2]) < SMALLEST:
        height, width = original.shape[:2]
        raise ValueError(f"the spectrum needs at least {SMALLEST} pixels a side, got {width}x{height}")
    error = luma(decoded) - luma(original)
    ratios = []
    for e in (error, error.T):
        edges = np.minimum(np.abs(np.diff(e, axis=1)), _CLIP)
        rows = len(edges) // _ROWS * _ROWS
        edges = edges[:rows].reshape(-1, _ROWS, edges.shape[1]).mean(1)
        ratios += [_ratios(e), _ratios(edges)]
    return {p: max(r[i] for r in ratios) for i, p in enumerate(PERIODS)}


def _ratios(signal: _Array) -> list[float]:
    """Line over surroundings along the rows of a signal, one value for each of PERIODS."""
    n = signal.shape[1]
    length = min(_LONGEST, n // 16 * 16)
    window = np.hanning(length + 1)[:-1]
    power = np.zeros(length // 2 + 1)
    for start in range(0, n - length + 1, length // 2):
        segment = signal[:, start : start + length]
        segment = (segment - segment.mean(1, keepdims=True)) * window
        power += np.square(np.abs(np.fft.rfft(segment, axis=1))).sum(0)
    if not power.max() > 0:
        return [1.0] * len(PERIODS)  # nothing there: identical pictures
    log = np.log(power + 1e-9 * power.max())
    # both sides, so that the highest frequency has two neighbourhoods
    log = np.concatenate([log, log[-2:0:-1]])
    # beyond the window's main lobe, half way to the next line at most
    near = np.arange(3, length // 32 + 1)
    ratios = []
    for period in PERIODS:
        lines = [length * odd // period for odd in range(1, period // 2 + 1, 2)]
        around = [float(np.mean([log[k - near], log[k + near]])) for k in lines]
        ratios.append(float(np.mean([np.exp(log[k] - a) for k, a in zip(lines, around, strict=True)])))
    return ratios
