"""Colours under alpha 0 are replaced by what the visible ones say."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import noise

from dpc.codec import hidden
from dpc.codec.hidden import cover


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.where(np.hypot(y - height / 2, x - width / 2) < radius, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (64, 64), (37, 101), (300, 7)])
def test_nothing_of_what_was_hidden_is_left(shape: tuple[int, int]) -> None:
    alpha = np.random.default_rng(3).choice([0, 0, 0, 1, 255], shape).astype(np.uint8)
    one, other = noise(*shape, 3), noise(*shape, 3)
    other[alpha == 0] ^= 0xA5
    before = one.copy()
    cover(one, alpha)
    cover(other, alpha)
    assert np.array_equal(one, other)
    assert np.array_equal(one[alpha > 0], before[alpha > 0])


def test_edges_keep_their_colour() -> None:
    alpha = disc(80, 90, 30)
    rgb = np.where(alpha[:, :, None] > 0, np.uint8([200, 30, 40]), np.uint8([0, 255, 0]))
    cover(rgb, alpha)
    assert np.abs(rgb.astype(int) - [200, 30, 40]).max() <= 4


def test_the_fill_goes_on_from_what_is_near() -> None:
    alpha = np.zeros((64, 256), np.uint8)
    alpha[:, :40] = alpha[:, -40:] = 255
    rgb = noise(64, 256, 3)
    rgb[:, :40], rgb[:, -40:] = 50, 200
    cover(rgb, alpha)
    assert np.abs(rgb[:, 40:44].astype(int) - 50).max() < 25
    assert np.abs(rgb[:, -44:-40].astype(int) - 200).max() < 25
    middle = rgb[32, 40:-40:16, 0].astype(int)
    assert (np.diff(middle) >= -2).all(), "it rises from one side to the other"


def test_all_or_nothing_hidden() -> None:
    rgb = noise(5, 6, 3)
    cover(rgb, np.full((5, 6), 1, np.uint8))
    assert np.array_equal(rgb, noise(5, 6, 3))
    cover(rgb, np.zeros((5, 6), np.uint8))
    assert (rgb == 128).all()


@pytest.mark.parametrize("rows", [2, 16, 64])
def test_strips_meet(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, whole, parts = disc(150, 60, 25), noise(150, 60, 3), noise(150, 60, 3)
    cover(whole, alpha)
    monkeypatch.setattr(hidden, "_STRIP_ROWS", rows)
    cover(parts, alpha)
    assert np.abs(parts.astype(int) - whole).max() <= 1
