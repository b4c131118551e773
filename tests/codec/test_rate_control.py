"""The search for a size: what it finds, and how often it asks."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpc.codec.rate_control import Found, Target, level_of, reach, search
from dpc.errors import OptionError


def tried(sizes: list[int], target: float, tolerance: float = 0.0) -> tuple[Found, list[int]]:
    """What is found, and the settings that were asked for."""
    asked: list[int] = []

    def size(setting: int) -> int:
        asked.append(setting)
        return sizes[setting]

    return search(size, len(sizes), target, tolerance), asked


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0.5, 2e6))
def test_it_finds_the_neighbours_and_asks_once(sizes: list[int], target: float) -> None:
    sizes.sort()
    found, asked = tried(sizes, target)
    assert len(asked) == len(set(asked)) <= len(sizes)
    below = [s for s in sizes if s <= target]
    above = [s for s in sizes if s > target]
    assert (found.below and found.below[1]) == (max(below) if below else None)
    assert (found.above and found.above[1]) == (min(above) if above else None)
    for end in (found.below, found.above):
        assert end is None or sizes[end[0]] == end[1]
    assert found.nearest(target)[1] == min(sizes, key=lambda s: abs(s - target)) or (
        abs(found.nearest(target)[1] - target) == min(abs(s - target) for s in sizes)
    )


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0.5, 2e6))
def test_sizes_that_do_not_rise_end_too(sizes: list[int], target: float) -> None:
    found, asked = tried(sizes, target)
    assert len(asked) == len(set(asked))
    assert found.below is None or found.below[1] <= target
    assert found.above is None or found.above[1] > target


@pytest.mark.parametrize("factor", [4, 20, 64, 300])
def test_few_levels_are_tried(factor: float) -> None:
    chance = random.Random(1)
    counts = []
    for _ in range(200):
        bend = chance.uniform(0.7, 1.4)
        sizes = [round(1000 * factor ** ((i / 448) ** bend) * chance.uniform(0.999, 1.001)) for i in range(449)]
        counts.append(len(tried(sizes, math.exp(chance.uniform(math.log(1000), math.log(1000 * factor))))[1]))
    assert sum(counts) / len(counts) < 8
    assert max(counts) <= 13


def test_a_tolerance_ends_it_early() -> None:
    sizes = [round(1000 * 1.01**i) for i in range(449)]
    exact, close = tried(sizes, 12345)[1], tried(sizes, 12345, 0.05)
    assert len(close[1]) < len(exact)
    assert abs(close[0].nearest(12345)[1] / 12345 - 1) <= 0.05


def coded(level: int) -> bytes:
    return bytes(100 + level)


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, level_of(40, 448)),
        ({"quality": 1}, 0),
        ({"quality": 100}, 448),
        ({"max_bytes": 300}, 200),
        ({"max_bytes": 99}, 0),
        ({"max_bytes": 10**9}, 448),
        ({"bpp": 8 * 200.4 / 1000}, 100),
        ({"bpp": 8 * 200.6 / 1000}, 101),
    ],
)
def test_targets_are_reached(options: dict[str, Any], level: int) -> None:
    assert len(reach(Target(**options), coded, 448, 1000)) == 100 + level


def test_a_lossless_file_is_enough_where_it_fits() -> None:
    assert Target(lossless=True).holds(10**9, 1)
    assert Target(max_bytes=100).holds(100, 1) and not Target(max_bytes=100).holds(101, 1)
    assert Target(bpp=1).holds(100, 800) and not Target(bpp=1).holds(101, 800)
    assert not Target(quality=100).holds(1, 1)


@pytest.mark.parametrize("options", [{"quality": 3, "lossless": True}, {"bpp": 1.0, "max_bytes": 5}])
def test_targets_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=" and .* exclude each other; give one"):
        Target(**options)
