"""Boards in photographs: signs, captions and labels of one colour with a sharp border and letters on them.

The networks break small letters, and such a board is nearly a page. So it goes into the overlay (codec/overlay.py), its
noise taken away, and the networks code the picture without it. docs/explanation/architecture.md, "Boards in
photographs". Only boards of one colour are found: others are no few colours, and would get bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import denoising, merging, overlay, regions

UInt8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Part = tuple[slice, slice]

LARGEST = 1 << 23  # pixels, for time
CELL = 4  # pixels a side
FLAT = 8  # levels by which the pixels of a plain cell differ at most, in each channel
ALIKE = 5  # levels by which the mean of a cell of a board may be off
NEAR = 10  # levels by which a pixel of its ground may be off
BIN = 8  # levels: colours of cells are counted in such bins first
LEAST = 8  # plain cells of a board
COLOURS = 32  # that are looked at, the most frequent first
LETTER, NEAR_LETTERS = 48, 6  # levels by which a cell with a part of a letter or border differs; cells from it
GAP = 2  # cells between plain cells of one board
OPEN = 0.35  # share of the cells around a board that have its colour too
MARGIN = 12  # pixels around a board that are looked at with it
LARGE = 0.5  # of the picture; a larger one is no board
LETTERS = 0.06, 1.0  # pixels inside that are not ground, for one that is
FILLED = 0.7  # share of its box that a board fills; ones in perspective have less than others
CORE, INNER = 0.5, 5  # share of a board's pixels that are so many pixels or more from its border
SHARP, STEP = 0.9, 16  # share of the border that is so many levels from the ground
PAINTED = 0.3  # share of boards whose neighbours are the same from which they have no noise
RING = 2  # pixels around the ground in which a border changes, and that belong to the board
FRAMED, FRAME_ALIKE = 0.6, 40  # share of these from which they are a frame, within so many levels of its colour
WIDEST, ENDS = 8, 0.1  # pixels of a frame, and the share of what lies so far out that may have its colour


def page(rgb: UInt8, alpha: UInt8 | None, shown: Callable[[], UInt8]) -> overlay.Page | None:
    """The boards in a picture (H, W, 3) as what an overlay shows; None where there are none. alpha: (H, W).

    shown: gives what the networks show of the picture, of any number of channels; not called where there is no board. A
    board that they show as well is left to them.
    """
    found = find(rgb)
    if not found:
        return None
    flat = np.zeros(rgb.shape[:2], bool)
    clean, by_networks = rgb.copy(), shown()
    for part, board in found:
        alone = np.where(board[..., None], rgb[part], 0).astype(np.uint8)
        if merging.ground(merging.packed(alone))[board].mean() < PAINTED:
            alone = denoising.cleaned(alone)
        if denoising.nearer(rgb[part], alone, by_networks[part], np.where(board, 255, 0).astype(np.uint8)):
            clean[part] = np.where(board[..., None], alone, clean[part])
            flat[part] |= board
    if not flat.any() or flat.all():
        return None
    whole = overlay.laid_out(rgb, flat, clean, alpha)
    return whole if whole.flat.any() else None


def find(rgb: UInt8) -> list[tuple[Part, Bools]]:
    """The boards in a picture (H, W, 3): parts of it, and where in these they are."""
    height, width = rgb.shape[:2]
    if height * width > LARGEST or min(height, width) < 8 * CELL:
        return []
    taken = np.zeros((height, width), bool)
    found = []
    planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
    for colour, part, seeds in _candidates(planes):
        if taken[part][seeds].any():
            continue
        sides = [(piece.start > 0, piece.stop < whole) for piece, whole in zip(part, rgb.shape[:2], strict=True)]
        board = _board(planes[(slice(None), *part)], colour, seeds, sides)
        if board is not None:
            taken[part] |= board
            found.append((part, board))
    return found


def _candidates(rgb: UInt8) -> Iterator[tuple[Floats, Part, Bools]]:
    """(colour, part, plain pixels in it) of what has plain cells of one colour near to each other; rgb: (3, H, W)."""
    height, width = (n // CELL * CELL for n in rgb.shape[1:])
    lines = rgb[:, :height, :width].reshape(3, height // CELL, CELL, width)
    low, high, sums = lines.min(2), lines.max(2), lines.sum(2, dtype=np.uint16)
    low, high, sums = (x.reshape(*x.shape[:2], width // CELL, CELL) for x in (low, high, sums))
    every = range(CELL)
    spans = _most(_most(high[..., n] for n in every) - reduce(np.minimum, (low[..., n] for n in every)))
    means = sum(sums[..., n].astype(np.float32) for n in every) / np.float32(CELL**2)
    plain = (spans <= FLAT) & regions.grown(spans >= LETTER, NEAR_LETTERS)
    places, colours = np.argwhere(plain), means[:, plain]
    _, kinds = np.unique(np.array([1 << 16, 1 << 8, 1]) @ (colours // BIN).astype(np.int64), return_inverse=True)
    for _ in range(COLOURS):
        counts = np.bincount(kinds, minlength=1)
        if counts.max() < LEAST:
            return
        here = kinds == counts.argmax()
        colour = np.median(colours[:, here], 1)
        mine = _off(colours, colour) <= ALIKE
        for rows, columns, members in _connected(places[mine], means, colour):
            top, left = max(0, rows.start * CELL - MARGIN), max(0, columns.start * CELL - MARGIN)
            part = slice(top, rows.stop * CELL + MARGIN), slice(left, columns.stop * CELL + MARGIN)
            seeds = np.zeros(rgb[0][part].shape, bool)
            inside = members.repeat(CELL, 0).repeat(CELL, 1)
            y, x = rows.start * CELL - top, columns.start * CELL - left
            seeds[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
            yield colour, part, seeds
        rest = ~(mine | here)
        places, colours, kinds = places[rest], colours[:, rest], kinds[rest]


def _connected(places: NDArray[np.int64], means: Floats, colour: Floats) -> list[tuple[slice, slice, Bools]]:
    """The groups of LEAST cells or more with gaps of 2 GAP at most and a border: their boxes, and the cells in these.

    places: (n, 2), of cells. means: (3, rows, columns), the colours of all. colour: (3,), that of the places.
    """
    if len(places) < LEAST:
        return []
    first = np.maximum(places.min(0) - GAP - 2, 0)
    part = tuple(slice(start, stop + GAP + 3) for start, stop in zip(first, places.max(0), strict=True))
    alike = _off(means[(slice(None), *part)], colour) <= STEP
    marks = np.zeros(alike.shape, bool)
    marks[tuple((places - first).T)] = True
    near = regions.grown(marks, GAP)
    labels = regions.labelled(near)
    where = np.argwhere(marks)
    mine = labels[marks]
    order = np.argsort(mine, kind="stable")
    found = []
    for members in np.split(order, np.flatnonzero(np.diff(mine[order])) + 1):
        top, left = where[members].min(0).tolist()
        bottom, right = (where[members].max(0) + 1).tolist()
        if len(members) < LEAST or (bottom - top) * (right - left) > LARGE * means[0].size:
            continue
        around = slice(max(0, top - GAP - 2), bottom + GAP + 2), slice(max(0, left - GAP - 2), right + GAP + 2)
        value = mine[members[0]]
        if _bordered(labels[around] == value, alike[around]):
            box = slice(top, bottom), slice(left, right)
            rows, columns = (slice(s.start + by, s.stop + by) for s, by in zip(box, first.tolist(), strict=True))
            found.append((rows, columns, marks[box] & (labels[box] == value)))
    return found


def _off(colours: NDArray[Any], colour: Floats) -> Floats:
    """By how many levels colours (3, ...) are off one, in the channel where they are the most."""
    return _most(np.abs(colours - colour.astype(np.float32).reshape(3, *(1,) * (colours.ndim - 1))))


def _most(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """The largest of some arrays, element by element; the maximum along a short axis takes ten times as long."""
    return reduce(np.maximum, arrays)


def _bordered(group: Bools, alike: Bools) -> bool:
    """Whether most cells around a group of cells have another colour; this costs less than to look at its pixels."""
    around = regions.grown(group, 2) & ~regions.grown(group, 1)
    return bool(alike[around].mean() <= OPEN) if around.any() else False


def _board(rgb: UInt8, colour: Floats, seeds: Bools, sides: Sequence[tuple[bool, bool]]) -> Bools | None:
    """The board that a part of a picture (3, h, w) shows: (h, w); None where it is none.

    seeds: pixels of its ground, whose colour is given. sides: whether the picture goes on above, below; left, right.
    """
    off = _off(rgb, colour)
    near = off <= NEAR
    rows, columns = (np.flatnonzero(seeds.any(axis)) for axis in (1, 0))
    if near[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() < FILLED / (1 + LETTERS[1]):
        return None
    ground = regions.reached(near, seeds)
    border = np.zeros(ground.shape, bool)
    for lines, ends in zip((border, border.T), sides, strict=True):
        lines[[0, -1]] |= np.array(ends)[:, None]
    filled = ~regions.reached(~ground, border & ~ground)
    size, pixels = int(filled.sum()), int(ground.sum())
    if not pixels or (filled & border).any():
        return None
    rows, columns = (np.flatnonzero(filled.any(axis)) for axis in (1, 0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    if not LETTERS[0] <= size / pixels - 1 <= LETTERS[1] or size < FILLED * box:
        return None
    if regions.shrunk(filled, INNER).sum() < CORE * size:
        return None
    around = regions.grown(filled, RING + 1) & ~regions.grown(filled, 1)
    if not around.any() or (off[around] > STEP).mean() < SHARP:
        return None
    return regions.grown(filled, RING) | _framed(rgb, filled)


def _framed(rgb: UInt8, filled: Bools) -> Bools:
    """The frame around a board of one colour, with its half tones: (h, w); nothing where there is none."""
    nearest = regions.grown(filled, RING) & ~regions.grown(filled, 1)
    alike = _off(rgb, np.median(rgb[:, nearest], 1)) <= FRAME_ALIKE
    if alike[nearest].mean() < FRAMED:
        return np.zeros_like(filled)
    frame = regions.reached(alike & regions.grown(filled, WIDEST) & ~filled, nearest)
    last = regions.grown(filled, WIDEST) & ~regions.grown(filled, WIDEST - 1)
    return regions.grown(frame, 1) if frame[last].mean() < ENDS else np.zeros_like(filled)
