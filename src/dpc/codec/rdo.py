"""Rate-distortion optimised indexing: pixels shown in colours that cost fewer bits, where these are near enough.

The context mixing that codes a picture of few colours (codec/mixing.py) knows what a pixel in each colour would cost.
So the encoder takes, pixel by pixel, the colour with the least squared error plus price times bits: its own, the one to
the left, the one above, or the one that is likeliest here. Letters that noise or half tones made unlike become alike,
and files of pages that come from JPEGs a quarter to a third smaller. docs/research/tried.md has the figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import fast_mixing, indexed, merging

UInt8 = NDArray[np.uint8]

FAR = 16384  # quarters of a level: the lightness of what is clear, which no colour is near to


def optimised(shown: UInt8, wanted: UInt8, price: int, alpha: UInt8 | None = None) -> UInt8:
    """A picture of few colours, (H, W, 3), that costs fewer bits; of what is shown, where nothing can be saved.

    wanted: (H, W, 3), what an error is told from. price: the squared error, in levels, that a bit is worth. alpha:
    (H, W); what is clear stays as it is. Pixels in runs of merging.RUN in a row or a column stay too, so plain ground
    and its borders do, and lines.
    """
    if alpha is not None and ((alpha > 0) & (alpha < 255)).any():
        return shown
    clear = np.zeros(shown.shape[:2], bool) if alpha is None else alpha == 0
    keys = np.where(clear, np.uint32(1 << 24), merging.packed(shown))
    values, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if not 2 <= len(values) <= indexed.MOST_COLOURS or keys.size > indexed.LARGEST:
        return shown
    order = np.argsort(-counts, kind="stable")
    numbers = np.empty(len(values), np.uint8)
    numbers[order] = np.arange(len(values))
    colours = np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], 1).astype(np.uint8)[order]
    palette, targets = _compared(colours), _compared(wanted)
    palette[values[order] == 1 << 24, 0] = targets[clear, 0] = FAR
    targets[..., 3] = clear | _in_runs(keys)
    found = fast_mixing.choose(numbers[where].reshape(keys.shape), palette, targets, price)
    return shown if found is None else np.where(clear[..., None], shown, colours[found])


def _compared(rgb: UInt8) -> NDArray[np.int16]:
    """Colours (..., 3) as their errors are told: lightness in quarters of a level, two hues, and 0; (..., 4)."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    return np.stack([red + 2 * green + blue, red - green, blue - green, np.zeros_like(red)], -1)


def _in_runs(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels that lie among merging.RUN equal ones in a row or a column, (H, W)."""
    found = np.zeros(keys.shape, bool)
    for lines, marks in ((keys, found), (keys.T, found.T)):
        starts = lines.shape[1] - merging.RUN + 1
        if starts < 1:
            continue
        run = np.ones((len(lines), starts), bool)
        for step in range(1, merging.RUN):
            run &= lines[:, step : step + starts] == lines[:, step - 1 : step - 1 + starts]
        for step in range(merging.RUN):
            marks[:, step : step + starts] |= run
    return found
