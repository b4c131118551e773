"""Boards in photographs: signs, captions and labels of one colour with a sharp border and letters on them.

The networks break small letters, and such a board is nearly a page. So it goes into the overlay (codec/overlay.py), its
noise taken away, and the networks code the picture without it. docs/explanation/architecture.md, "Boards in
photographs". Only boards of one colour are found: others are no few colours, and would get bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import denoising, merging, overlay

UInt8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Part = tuple[slice, slice]

LARGEST = 1 << 23  # pixels, for time
CELL = 4  # pixels a side
FLAT = 8  # levels by which the pixels of a plain cell differ at most, in each channel
ALIKE = 5  # levels by which the mean of a cell of a board may be off
NEAR = 10  # levels by which a pixel of its ground may be off
BIN = 8  # levels: colours of cells are counted in such bins first
LEAST = 8  # plain cells of a board
COLOURS = 32  # that are looked at, the most frequent first
GAP = 2  # cells between plain cells of one board
OPEN = 0.35  # share of the cells around a board that have its colour too
SWEEPS = 24  # along rows and columns, by which connected parts are found
MARGIN = 12  # pixels around a board that are looked at with it
LARGE = 0.5  # of the picture; a larger one is no board
LETTERS = 0.06, 1.0  # pixels inside that are not ground, for one that is
FILLED = 0.7  # share of its box that a board fills; ones in perspective have less than others
CORE, INNER = 0.5, 5  # share of a board's pixels that are so many pixels or more from its border
SHARP, STEP = 0.9, 16  # share of the border that is so many levels from the ground
PAINTED = 0.3  # share of boards whose neighbours are the same from which they have no noise
RING = 3  # pixels around the ground in which a border changes, and that belong to the board


def page(rgb: UInt8, alpha: UInt8 | None = None) -> overlay.Page | None:
    """The boards in a picture (H, W, 3) as what an overlay shows; None where there are none. alpha: (H, W)."""
    found = find(rgb)
    if found is None:
        return None
    alone = np.where(found[..., None], rgb, 0).astype(np.uint8)
    if merging.ground(merging.packed(alone))[found].mean() < PAINTED:
        rows, columns = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        alone[box] = np.where(found[box][..., None], denoising.cleaned(alone[box]), 0)
    return overlay.laid_out(rgb, found, alone, alpha)


def find(rgb: UInt8) -> Bools | None:
    """Where there are boards in a picture (H, W, 3), as (H, W); None where there are none."""
    height, width = rgb.shape[:2]
    if height * width > LARGEST or min(height, width) < 8 * CELL:
        return None
    found = np.zeros((height, width), bool)
    for colour, part, seeds in _candidates(rgb):
        if not found[part][seeds].any() and (board := _board(rgb[part], colour, seeds)) is not None:
            found[part] |= board
    return found if found.any() else None


def _candidates(rgb: UInt8) -> Iterator[tuple[NDArray[np.float32], Part, Bools]]:
    """(colour, part of the picture, plain pixels in it) of what has plain cells of one colour near to each other."""
    height, width = (n // CELL * CELL for n in rgb.shape[:2])
    cells = rgb[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL, 3)
    plain = ((cells.max((1, 3)) - cells.min((1, 3))) <= FLAT).all(2)
    means = cells.mean((1, 3), dtype=np.float32)
    bins = (means / BIN).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    values, kinds, counts = np.unique(bins, return_inverse=True, return_counts=True)
    kinds = kinds.reshape(bins.shape)
    for _ in range(COLOURS):
        counts = np.bincount(kinds[plain], minlength=len(values))
        if counts.max() < LEAST:
            return
        here = plain & (kinds == counts.argmax())
        colour = np.median(means[here], 0)
        off = np.abs(means - colour).max(2)
        mine = plain & (off <= ALIKE)
        plain &= ~(mine | here)
        for rows, columns, members in _connected(mine, off <= STEP):
            top, left = max(0, rows.start * CELL - MARGIN), max(0, columns.start * CELL - MARGIN)
            part = slice(top, rows.stop * CELL + MARGIN), slice(left, columns.stop * CELL + MARGIN)
            seeds = np.zeros(rgb[part].shape[:2], bool)
            inside = members.repeat(CELL, 0).repeat(CELL, 1)
            y, x = rows.start * CELL - top, columns.start * CELL - left
            seeds[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
            yield colour, part, seeds


def _connected(marks: Bools, alike: Bools) -> list[tuple[slice, slice, Bools]]:
    """The groups of LEAST marks or more with gaps of 2 GAP at most and a border: their boxes, and the marks in these.

    alike: cells of about their colour.
    """
    if np.count_nonzero(marks) < LEAST:
        return []
    near = _grown(marks, GAP)
    labels = np.where(near, np.arange(1, marks.size + 1, dtype=np.int32).reshape(marks.shape), 0)
    for _ in range(SWEEPS):
        before = labels
        for turned in (False, True):
            lines = labels.T if turned else labels
            lines = _run_maxima(lines)
            labels = lines.T if turned else lines
        if (labels == before).all():
            break
    values, counts = np.unique(labels[marks], return_counts=True)
    found = []
    for value in values[counts >= LEAST]:
        here = marks & (labels == value)
        rows, columns = (np.flatnonzero(here.any(axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        if here[box].size <= LARGE * marks.size and _bordered(labels == value, alike):
            found.append((*box, here[box]))
    return found


def _bordered(group: Bools, alike: Bools) -> bool:
    """Whether most cells around a group of cells have another colour; this costs less than to look at its pixels."""
    around = _grown(group, 2) & ~_grown(group, 1)
    return bool(alike[around].mean() <= OPEN) if around.any() else False


def _run_maxima(lines: NDArray[Any]) -> NDArray[Any]:
    """Each value the largest of the run of values above 0 in its row."""
    padded = np.zeros((lines.shape[0], lines.shape[1] + 1), lines.dtype)
    padded[:, 1:] = lines
    flat = padded.ravel()
    some = flat > 0
    starts = np.flatnonzero(some[1:] != some[:-1]) + 1
    if not len(starts):
        return lines
    lengths = np.append(starts[1:], len(flat)) - starts
    flat[starts[0] :] = np.maximum.reduceat(flat, starts).repeat(lengths)
    return padded[:, 1:]


def _board(rgb: UInt8, colour: NDArray[np.float32], seeds: Bools) -> Bools | None:
    """The board that a part of a picture shows: (h, w); None where it is none.

    seeds: pixels of its ground, whose colour is given.
    """
    low, high = np.ceil(colour - NEAR).clip(0, 255), np.floor(colour + NEAR).clip(0, 255)
    near = ((rgb >= low.astype(np.uint8)) & (rgb <= high.astype(np.uint8))).all(2)
    rows, columns = (np.flatnonzero(seeds.any(axis)) for axis in (1, 0))
    if near[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() < FILLED / (1 + LETTERS[1]):
        return None
    ground = _reached(near, seeds)
    border = np.zeros(ground.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    filled = ~_reached(~ground, border & ~ground)
    size, pixels = int(filled.sum()), int(ground.sum())
    if not pixels or (filled & border).sum() > 0.25 * border.sum():
        return None
    rows, columns = (np.flatnonzero(filled.any(axis)) for axis in (1, 0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    if not LETTERS[0] <= size / pixels - 1 <= LETTERS[1] or size < FILLED * box:
        return None
    if _shrunk(filled, INNER).sum() < CORE * size:
        return None
    around = _grown(filled, RING) & ~_grown(filled, 1)
    off = np.abs(rgb[around] - colour).max(1)
    return _grown(filled, RING) if len(off) and (off > STEP).mean() >= SHARP else None


def _reached(open_: Bools, seeds: Bools) -> Bools:
    """What of `open_` is connected with the seeds, along rows and columns; SWEEPS turns at most."""
    reached = open_ & seeds
    for _ in range(SWEEPS):
        before = int(reached.sum())
        for turned in (False, True):
            lines = open_.astype(np.uint8) + reached
            lines = _run_maxima(lines.T).T if turned else _run_maxima(lines)
            reached = lines == 2
        if int(reached.sum()) == before:
            break
    return reached


def _grown(marks: Bools, by: int) -> Bools:
    """Marks and what is at most so many pixels from one, along both axes."""
    for axis in (0, 1):
        lines = np.moveaxis(marks, axis, 0)
        padded = np.pad(lines, ((by + 1, by), (0, 0))).cumsum(0, np.int32)
        marks = np.moveaxis(padded[2 * by + 1 :] > padded[: -2 * by - 1], 0, axis)
    return marks


def _shrunk(marks: Bools, by: int) -> Bools:
    return ~_grown(~np.pad(marks, by), by)[by:-by, by:-by]
