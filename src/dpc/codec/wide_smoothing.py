"""Wide smoothing: blotches of 16 pixels and more that the networks leave on gradients and skies go in the decoder.

The picture is looked at in blocks of 4 x 4 pixels. Each block of a cell that has a strength becomes the average of
those around it that are near to it in colour, in pairs on both sides of it, so that gradients stay what they are. From
strength 2 on a second round looks four times as far. The change is laid over the picture, between the blocks' middles.
It comes before the other smoothing (codec/smoothing.py), whose cells it has. docs/format.md, "Wide smoothing", is the
norm. Everything is computed in integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import smoothing
from dpc.codec.smoothing import CELL, FRACTION
from dpc.codec.tiles import Box, overlap

__all__ = ["BLOCK", "STRENGTHS", "WideSmooth", "averaged", "blocks", "blocks_of", "pack", "smooth", "unpack"]

BLOCK = 4  # pixels; 4 x 4 of them sum to their mean in sixteenths
NEAR = (0, 6, 6, 12)  # levels within which a block counts, by strength
STRENGTHS = (1, 2, 3)
REACH = 4  # blocks to each side that are looked at
SPACINGS = (1, 1), (4, 2)  # of them in each round, in blocks; from which strength on
AROUND = REACH * sum(spacing for spacing, _ in SPACINGS) + 1  # blocks around a pixel's own that it depends on
BAND = 256  # rows that are changed at once, for memory
SHIFT = 10  # sixteenths of a level, times 64 by the weights between blocks

_MODELS = smoothing.models_of(
    {
        (0, 0): (239, 9, 5, 3),
        (0, 1): (164, 57, 28, 7),
        (0, 2): (132, 38, 69, 17),
        (0, 3): (140, 17, 29, 70),
        (1, 1): (48, 161, 38, 9),
        (1, 2): (34, 87, 118, 17),
        (1, 3): (30, 50, 63, 113),
        (2, 2): (14, 42, 181, 19),
        (2, 3): (18, 28, 95, 115),
        (3, 3): (8, 13, 37, 198),
    }
)

UInt8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]


class WideSmooth:
    """The wide smoothing of a picture whose file has a chunk of it. Corrupt."""

    def __init__(self, payload: bytes, height: int, width: int) -> None:
        self._size = height, width
        self._strengths = unpack(payload, *smoothing.cells_of(height, width))

    def seen(self, part: Box) -> Box:
        """A box of pixels with those around it that smoothing it needs, in whole blocks."""
        rows, columns = (
            slice(max(0, of.start // BLOCK - AROUND) * BLOCK, min(size, (-(-of.stop // BLOCK) + AROUND) * BLOCK))
            for of, size in zip(part, self._size, strict=True)
        )
        return rows, columns

    def shown(self, rgb: UInt8, part: Box) -> UInt8:
        """A part of the picture, (h, w, 3), of what is `seen` of it, which is changed."""
        seen = self.seen(part)
        smooth(rgb, self._strengths, seen)
        return rgb[overlap(seen, part)[1]]


def smooth(rgb: UInt8, strengths: UInt8, part: Box) -> None:
    """Smooth in place the rows and columns `part` of a picture, (h, w, 3), which begins with whole blocks.

    strengths: of all cells of the picture, (rows, columns). Pixels less than AROUND blocks from the border of the part
    come out right only where it is the picture's.
    """
    shape = blocks_of(*rgb.shape[:2])
    places = (np.arange(n) * BLOCK + of.start for n, of in zip(shape, part, strict=True))
    of_blocks = strengths[np.ix_(*(place // CELL for place in places))]
    if not of_blocks.any():
        return
    box = tuple(_used(np.any(of_blocks, axis), AROUND) for axis in (1, 0))
    seen = rgb[tuple(slice(of.start * BLOCK, of.stop * BLOCK) for of in box)]
    values = blocks(seen)
    _put(seen, averaged(values, of_blocks[box]) - values)


def _used(marks: Any, around: int) -> slice:
    """From the first of some marks (N) to the last one, with so many around them."""
    at = np.flatnonzero(marks)
    return slice(max(0, int(at[0]) - around), min(len(marks), int(at[-1]) + 1 + around))


def blocks_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks of a picture."""
    return -(-height // BLOCK), -(-width // BLOCK)


def blocks(values: UInt8) -> Int32:
    """The sums of blocks, (rows, columns, c), of (H, W, c); beyond the picture its last row and column go on."""
    height, width = values.shape[:2]
    beyond = (0, -height % BLOCK), (0, -width % BLOCK), (0, 0)
    whole = np.pad(values, beyond, mode="edge") if any(map(sum, beyond)) else values
    wide = whole[::BLOCK].astype(np.uint16)
    for row in range(1, BLOCK):
        wide += whole[row::BLOCK]
    return np.asarray(sum(wide[:, column::BLOCK].astype(np.int32) for column in range(BLOCK)))


def averaged(values: Int32, strengths: UInt8) -> Int32:
    """Blocks averaged with those on both sides of them, down and then across, in each round.

    values: in sixteenths of a level, (rows, columns, 3). strengths: of each, (rows, columns).
    """
    limits = (np.array(NEAR, np.int16) * np.int16(FRACTION))[strengths]
    planes = np.ascontiguousarray(np.moveaxis(values, 2, 0), np.int16)
    for spacing, least in SPACINGS:
        if not (strengths >= least).any():
            break
        within = np.where(strengths >= least, limits, np.int16(-1))
        planes = _averaged(planes, within, spacing)
        planes = _averaged(planes.swapaxes(1, 2), within.T, spacing).swapaxes(1, 2)
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2), np.int32)


def _averaged(planes: NDArray[np.int16], limits: NDArray[np.int16], spacing: int) -> NDArray[np.int16]:
    """Along the second axis of (3, n, m), below 4096; a limit below 0, of (n, m), leaves a block as it is."""
    sums, counts = planes.astype(np.uint16), np.ones(limits.shape, np.uint16)
    for distance in range(spacing, REACH * spacing + 1, spacing):
        if 2 * distance >= len(limits):
            break
        middle = slice(distance, len(limits) - distance)
        before, after, centre = planes[:, : -2 * distance], planes[:, 2 * distance :], planes[:, middle]
        near = (np.abs(before - centre) <= limits[middle]) & (np.abs(after - centre) <= limits[middle])
        taken = (near[0] & near[1] & near[2]).astype(np.uint16)
        sums[:, middle] += (before + after).view(np.uint16) * taken
        counts[middle] += np.uint16(2) * taken
    return np.asarray((sums + counts // 2) // counts).astype(np.int16)


def _put(rgb: UInt8, change: Int32) -> None:
    """Lay the change of blocks (rows, columns, 3), in sixteenths of a level, over the picture (H, W, 3)."""
    if not change.any():
        return
    (first, last), (start, stop) = (
        (of.start * BLOCK, min(of.stop * BLOCK, size))  # further away nothing changes
        for of, size in zip((_used(np.any(change, (axis, 2)), 1) for axis in (1, 0)), rgb.shape, strict=False)
    )
    left, right, across = _between(np.arange(start, stop), change.shape[1])
    for top in range(first, last, BAND):
        upper, lower, down = _between(np.arange(top, min(top + BAND, last)), len(change))
        rows = change[upper] * (8 - down)[:, None, None] + change[lower] * down[:, None, None]
        found = np.asarray(rows[:, left] * (8 - across)[:, None] + rows[:, right] * across[:, None], np.int32)
        part = rgb[top : top + len(found), start:stop]
        part[...] = np.clip(part + ((found + (1 << SHIFT - 1)) >> SHIFT), 0, 255)


def _between(at: NDArray[np.int64], count: int) -> tuple[Int32, Int32, Int32]:
    """Of pixels at these places: the blocks before and after them, and the eighths that the second one counts."""
    place = (2 * at - (BLOCK - 1)).astype(np.int32)
    before = place // (2 * BLOCK)
    return np.clip(before, 0, count - 1), np.clip(before + 1, 0, count - 1), place % (2 * BLOCK)


# strengths <-> bytes


def pack(strengths: UInt8) -> bytes:
    """The payload of the chunk: what `unpack` reads."""
    return smoothing.pack(strengths, _MODELS)


def unpack(payload: bytes, rows: int, columns: int) -> UInt8:
    """The strengths in a payload, (rows, columns). Corrupt where it breaks a rule of docs/format.md."""
    return smoothing.unpack(payload, rows, columns, _MODELS)
