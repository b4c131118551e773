"""Marks in pictures: what is connected, what is near, what is inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

SWEEPS = 24  # along rows and columns, by which connected parts are found


def labelled(marks: Bools) -> NDArray[np.int32]:
    """Marks (H, W) with a number for each connected part of them, above 0; 0 elsewhere.

    Parts are connected along rows and columns; winding ones may fall into two after SWEEPS turns.
    """
    labels = np.where(marks, np.arange(1, marks.size + 1, dtype=np.int32).reshape(marks.shape), np.int32(0))
    for _ in range(SWEEPS):
        before = labels
        for turned in (False, True):
            labels = run_maxima(labels.T).T if turned else run_maxima(labels)
        if (labels == before).all():
            break
    return np.asarray(labels)


def reached(open_: Bools, seeds: Bools) -> Bools:
    """What of `open_` is connected with the seeds, along rows and columns; SWEEPS turns at most."""
    reached = open_ & seeds
    for _ in range(SWEEPS):
        before = int(reached.sum())
        for turned in (False, True):
            lines = open_.astype(np.uint8) + reached
            lines = run_maxima(lines.T).T if turned else run_maxima(lines)
            reached = lines == 2
        if int(reached.sum()) == before:
            break
    return reached


def grown(marks: Bools, by: int) -> Bools:
    """Marks and what is at most so many pixels from one, along both axes."""
    for axis in (0, 1):
        lines = np.moveaxis(marks, axis, 0)
        padded = np.pad(lines, ((by + 1, by), (0, 0))).cumsum(0, np.int32)
        marks = np.moveaxis(padded[2 * by + 1 :] > padded[: -2 * by - 1], 0, axis)
    return marks


def shrunk(marks: Bools, by: int) -> Bools:
    """Marks from which all that is at most so many pixels away, along both axes, is marked; nothing beyond is."""
    return ~grown(~np.pad(marks, by), by)[by:-by, by:-by]


def run_maxima(lines: NDArray[Any]) -> NDArray[Any]:
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
