"""Marks in pictures: connected parts, what is reached, what is near, what is inside."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pytest

from dpc.codec import regions

Bools = npt.NDArray[np.bool_]


def flooded(marks: Bools, start: tuple[int, int]) -> Bools:
    """What is connected with a mark, found pixel by pixel."""
    found = np.zeros_like(marks)
    found[start] = True
    waiting = deque([start])
    while waiting:
        y, x = waiting.popleft()
        for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= near[0] < marks.shape[0] and 0 <= near[1] < marks.shape[1]
            if inside and marks[near] and not found[near]:
                found[near] = True
                waiting.append(near)
    return found


@pytest.mark.parametrize("share", [0.3, 0.5, 0.62])
def test_connected_parts_have_a_number_each(share: float) -> None:
    marks = np.random.default_rng(5).random((40, 50)) < share
    labels = regions.labelled(marks)
    np.testing.assert_array_equal(labels > 0, marks)
    rest = marks.copy()
    numbers = []
    while rest.any():
        part = flooded(marks, tuple(np.argwhere(rest)[0]))
        assert len(np.unique(labels[part])) == 1
        numbers.append(int(labels[part][0]))
        rest &= ~part
    assert len(numbers) == len(set(numbers))


def test_what_is_reached_is_what_is_connected_with_a_seed() -> None:
    open_ = np.random.default_rng(6).random((40, 50)) < 0.6
    start = tuple(np.argwhere(open_)[0])
    seeds = np.zeros_like(open_)
    seeds[start] = True
    np.testing.assert_array_equal(regions.reached(open_, seeds), flooded(open_, start))
    assert not regions.reached(open_, ~open_).any()


def test_grown_and_shrunk_go_along_both_axes() -> None:
    marks = np.zeros((9, 11), bool)
    marks[4, 5] = True
    grown = regions.grown(marks, 2)
    assert grown[2:7, 3:8].all() and grown.sum() == 25
    np.testing.assert_array_equal(regions.shrunk(grown, 2), marks)
    assert not regions.shrunk(np.ones((5, 5), bool), 3).any(), "nothing lies beyond the border"


def test_nothing_has_no_parts() -> None:
    for shape in ((3, 4), (0, 4), (3, 0)):
        assert not regions.labelled(np.zeros(shape, bool)).any()
