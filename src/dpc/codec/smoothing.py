"""Smoothing: what the synthesis draws beside edges on plain ground is taken away again, where the file says so.

A cell of 32 x 32 pixels has a strength, 0 to 3. Each of its pixels becomes the average of those around it that are near
to it in colour, so edges stay. The encoder chooses (codec/smoothing_choice.py). docs/format.md, "Smoothing", is the
norm. Everything is computed in integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from dpc.codec.entropy import Decoder, Encoder, Tables
from dpc.codec.tiles import Box, overlap

__all__ = [
    "CELL",
    "NEAR",
    "REACH",
    "Smooth",
    "cells_of",
    "cut",
    "models_of",
    "pack",
    "patches",
    "rows_at_once",
    "smooth",
    "smoothed",
    "unpack",
]

CELL = 32  # pixels
NEAR = (0, 6, 12, 24)  # levels within which a pixel counts, by strength
REACH = 4  # pixels to each side that are looked at
FRACTION = 16  # values of a level between the two passes
OUTSIDE = 30000  # in place of what lies beyond the picture: near to no pixel
CELLS_AT_ONCE = 256  # or one row of them, for memory

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Frequencies = dict[tuple[int, int], tuple[int, int, int, int]]
Models = dict[tuple[int, int], Any]


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells of a picture."""
    return -(-height // CELL), -(-width // CELL)


def rows_at_once(columns: int) -> int:
    """How many rows of so many cells are worked on at once."""
    return max(1, CELLS_AT_ONCE // columns)


class Smooth:
    """The smoothing of a picture whose file has a chunk of it. Corrupt."""

    def __init__(self, payload: bytes, height: int, width: int) -> None:
        self._size = height, width
        self._strengths = unpack(payload, *cells_of(height, width))

    def seen(self, part: Box) -> Box:
        """A box of pixels with those around it that smoothing it needs."""
        rows, columns = part
        height, width = self._size
        return (
            slice(max(0, rows.start - REACH), min(height, rows.stop + REACH)),
            slice(max(0, columns.start - REACH), min(width, columns.stop + REACH)),
        )

    def shown(self, rgb: UInt8, part: Box) -> UInt8:
        """A part of the picture, (h, w, 3), of what is `seen` of it, which is changed."""
        seen = self.seen(part)
        smooth(rgb, self._strengths, seen)
        return rgb[overlap(seen, part)[1]]


def smooth(rgb: UInt8, strengths: UInt8, part: Box) -> None:
    """Smooth in place the rows and columns `part` of a picture, (h, w, 3).

    strengths: of all cells of the picture, (rows, columns). Pixels less than REACH from the border of the part come out
    right only where it is the picture's.
    """
    rows, columns = part
    held: list[tuple[Box, UInt8]] = []
    step = rows_at_once(strengths.shape[1])
    for first in range(rows.start // CELL, -(-rows.stop // CELL), step):
        last = min(first + step, -(-rows.stop // CELL))
        within = np.zeros(strengths.shape, bool)
        within[first:last, columns.start // CELL : -(-columns.stop // CELL)] = True
        cells = np.argwhere(within & (strengths > 0))
        near = np.array(NEAR)[strengths[tuple(cells.T)]]
        found = smoothed(patches(rgb, part, cells), near) if len(cells) else None
        _put(rgb, held)  # not before the cells below have seen what is there
        held = [] if found is None else list(_places(found, part, cells))
    _put(rgb, held)


def _put(rgb: UInt8, held: list[tuple[Box, UInt8]]) -> None:
    for box, pixels in held:
        rgb[box] = pixels


def _places(found: UInt8, part: Box, cells: NDArray[np.int64]) -> Iterator[tuple[Box, UInt8]]:
    """Where in the part each of the cells lies, and its pixels there."""
    for n, (top, left) in enumerate(cells * CELL):
        box, (y, x) = overlap((slice(top, top + CELL), slice(left, left + CELL)), part)
        yield box, np.moveaxis(found[:, y, n, x], 0, 2)


def patches(rgb: UInt8, part: Box, cells: NDArray[np.int64]) -> UInt16:
    """What smoothing cells (n, 2), rows and columns of them, sees: (3, CELL + 2 REACH, n, CELL + 2 REACH).

    In sixteenths of a level; OUTSIDE where the part, (h, w, 3) pixels, has none.
    """
    return cut(rgb, part, cells, REACH, np.uint16(OUTSIDE), np.uint16(FRACTION))


def cut(
    values: NDArray[Any], part: Box, cells: NDArray[np.int64], margin: int, outside: np.generic, factor: Any = 1
) -> NDArray[Any]:
    """Cells with a margin around them, times a factor: (c, CELL + 2 margin, n, CELL + 2 margin), of outside's dtype.

    values: (h, w, c), those of the rows and columns `part` of the picture. outside: where the part has none.
    """
    side = CELL + 2 * margin
    found = np.full((values.shape[2], side, len(cells), side), outside)
    for n, (top, left) in enumerate(cells * CELL - margin):
        box, (y, x) = overlap((slice(top, top + side), slice(left, left + side)), part)
        found[:, y, n, x] = np.moveaxis(values[box], 2, 0) * factor
    return found


def smoothed(seen: UInt16, near: NDArray[np.int64]) -> UInt8:
    """The cells that see these patches, smoothed: (3, CELL, n, CELL), levels; anything where OUTSIDE. near: (n,)."""
    limits = (near * FRACTION).astype(np.int16)[None, :, None]
    sums, counts = _near(seen, limits)
    centre = seen[:, REACH:-REACH]
    down = np.where(centre == OUTSIDE, centre, (sums + counts // 2) // counts)
    sums, counts = _near(down.swapaxes(1, 3), limits)
    half = np.uint16(FRACTION // 2)
    levels = (sums + half * counts) // (np.uint16(FRACTION) * counts)
    return levels.astype(np.uint8).swapaxes(1, 3)


def _near(values: UInt16, limits: NDArray[np.int16]) -> tuple[UInt16, UInt16]:
    """Sums and counts of what is near to each along the second axis of (3, m, n, k), REACH less at both ends."""
    inner = values.shape[1] - 2 * REACH
    centre = values[:, REACH : REACH + inner]
    sums, counts = centre.copy(), np.ones(centre.shape[1:], np.uint16)
    for start in (*range(REACH), *range(REACH + 1, 2 * REACH + 1)):
        other = values[:, start : start + inner]
        off = np.abs(other.view(np.int16) - centre.view(np.int16)) <= limits
        taken = (off[0] & off[1] & off[2]).astype(np.uint16)
        sums += other * taken
        counts += taken
    return sums, counts


# strengths <-> bytes

# Of 256, the frequencies of the strengths 0 to 3; by the smaller and the larger strength to the left and above.
_FREQUENCIES: Frequencies = {
    (0, 0): (239, 4, 9, 4),
    (0, 1): (186, 28, 29, 13),
    (0, 2): (160, 13, 66, 17),
    (0, 3): (144, 6, 28, 78),
    (1, 1): (130, 66, 48, 12),
    (1, 2): (110, 46, 80, 20),
    (1, 3): (80, 24, 60, 92),
    (2, 2): (70, 11, 160, 15),
    (2, 3): (102, 6, 58, 90),
    (3, 3): (54, 4, 24, 174),
}


def models_of(frequencies: Frequencies) -> Models:
    """The coder's model for each pair of neighbours."""
    return {
        # constriction gives every symbol one unit and shares out the rest, so frequency - 1 comes out exactly
        pair: constriction.stream.model.Categorical((np.array(row) * 65536.0 - 1), perfect=False)
        for pair, row in frequencies.items()
    }


_MODELS = models_of(_FREQUENCIES)


def _model(models: Models, strengths: UInt8, i: int, j: int) -> Any:
    """That of a cell, by the cells to the left and above; 0 beyond the picture."""
    left = int(strengths[i, j - 1]) if j else 0
    above = int(strengths[i - 1, j]) if i else 0
    return models[min(left, above), max(left, above)]


def pack(strengths: UInt8, models: Models = _MODELS) -> bytes:
    """The payload of the chunk: what `unpack` reads."""
    encoder = Encoder(Tables([]))
    for i, j in np.ndindex(strengths.shape):
        encoder.add_symbols(strengths[i : i + 1, j].astype(np.int32), _model(models, strengths, i, j))
    return encoder.finish()


def unpack(payload: bytes, rows: int, columns: int, models: Models = _MODELS) -> UInt8:
    """The strengths in a payload, (rows, columns). Corrupt where it breaks a rule of docs/format.md."""
    decoder = Decoder(Tables([]), payload)
    strengths = np.zeros((rows, columns), np.uint8)
    for i, j in np.ndindex(strengths.shape):
        strengths[i, j] = decoder.read_symbols(_model(models, strengths, i, j), 1)[0]
    decoder.finish()
    return strengths
