"""Smoothing: the rule in plain loops, parts of a picture, where it is chosen, and that a picture gets better by it."""

from __future__ import annotations

import dataclasses

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.codec import container, refining, smoothing, smoothing_choice
from dpc.codec.codec import Codec
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]
MODEL = Codec(make_tiny.BYTES_MODEL, 1)


def plainly(rgb: UInt8, strengths: UInt8) -> UInt8:
    """docs/format.md, "Smoothing", pixel by pixel."""
    height, width = rgb.shape[:2]
    values = rgb.astype(int) * 16

    def mean(middle: npt.NDArray[np.int_], others: list[npt.NDArray[np.int_]], near: int, unit: int) -> list[int]:
        taken = [other for other in others if np.abs(other - middle).max() <= 16 * near]
        return [(int(sum(t[k] for t in taken)) + unit * len(taken) // 2) // (unit * len(taken)) for k in range(3)]

    shown = rgb.copy()
    for y, x in np.ndindex(height, width):
        near = smoothing.NEAR[strengths[y // 32, x // 32]]
        if not near:
            continue
        row = [
            np.array(mean(values[y, i], [values[j, i] for j in range(max(0, y - 4), min(height, y + 5))], near, 1))
            for i in range(max(0, x - 4), min(width, x + 5))
        ]
        shown[y, x] = mean(row[x - max(0, x - 4)], row, near, 16)
    return shown


def picture(height: int, width: int, seed: int) -> UInt8:
    """Steps and slopes with noise, so that some neighbours are near and others are not."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 256, (-(-height // 7), -(-width // 9), 3)).repeat(7, 0).repeat(9, 1)[:height, :width]
    return np.clip(steps + rng.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)


def whole(rgb: UInt8) -> tuple[slice, slice]:
    return slice(0, rgb.shape[0]), slice(0, rgb.shape[1])


@pytest.mark.parametrize(("height", "width"), [(45, 70), (32, 33), (3, 66), (70, 2), (1, 1)])
def test_it_is_what_the_format_says(height: int, width: int) -> None:
    rgb = picture(height, width, height)
    strengths = make_tiny.noise(*smoothing.cells_of(height, width)) % 4
    strengths[0, 0] = 3
    shown = rgb.copy()
    smoothing.smooth(shown, strengths, whole(rgb))
    np.testing.assert_array_equal(shown, plainly(rgb, strengths))
    assert (shown != rgb).any() or rgb.size < 9


def test_cells_above_have_seen_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows of cells are done at once."""
    rgb, strengths = picture(150, 100, 1), np.full((5, 4), 3, np.uint8)
    expected = rgb.copy()
    smoothing.smooth(expected, strengths, whole(rgb))
    monkeypatch.setattr(smoothing, "CELLS_AT_ONCE", 1)
    smoothing.smooth(rgb, strengths, whole(rgb))
    np.testing.assert_array_equal(rgb, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.data())
def test_a_part_is_smoothed_as_in_the_whole(height: int, width: int, data: st.DataObject) -> None:
    rgb, (rows, columns) = picture(height, width, width), smoothing.cells_of(height, width)
    strengths = (np.arange(rows * columns).reshape(rows, columns) % 4).astype(np.uint8)
    expected = rgb.copy()
    smoothing.smooth(expected, strengths, whole(rgb))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    part = (
        slice(top, data.draw(st.integers(top + 1, height))),
        slice(left, data.draw(st.integers(left + 1, width))),
    )
    smooth = smoothing.Smooth(smoothing.pack(strengths), height, width)
    np.testing.assert_array_equal(smooth.shown(rgb[smooth.seen(part)].copy(), part), expected[part])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_strengths_come_back(rows: int, columns: int, seed: int) -> None:
    strengths = np.random.default_rng(seed).integers(0, 4, (rows, columns)).astype(np.uint8)
    np.testing.assert_array_equal(smoothing.unpack(smoothing.pack(strengths), rows, columns), strengths)


def test_nothing_costs_nearly_nothing() -> None:
    assert len(smoothing.pack(np.zeros((20, 30), np.uint8))) <= 12
    with pytest.raises(Corrupt, match="more than its part"):
        smoothing.unpack(smoothing.pack(np.zeros((20, 30), np.uint8)), 2, 3)


def test_it_is_chosen_for_dirt_on_plain_ground_and_not_for_texture() -> None:
    """Left: letters on a plain board. Right: grain. Both were coded with the same dirt."""
    rng = np.random.default_rng(2)
    original = np.full((128, 256, 3), 180, np.uint8)
    original[20:110:18, 20:100] = (20, 30, 60)
    original[:, 128:] = rng.integers(100, 160, (128, 128, 1))
    shown = np.clip(original + rng.normal(0, 4, original.shape), 0, 255).astype(np.uint8)
    strengths = smoothing_choice.chosen(original, lambda: shown)
    assert strengths is not None
    assert (strengths[:, :3] > 0).all() and not strengths[:, 5:].any()
    smoothing.smooth(shown, strengths, whole(shown))
    left = np.square(shown[:, :96].astype(float) - original[:, :96]).mean()
    assert left < 4, "noise of 16 levels squared"
    assert smoothing_choice.chosen(original, lambda: original) is None
    assert smoothing_choice.chosen(original[:, 128:], pytest.fail) is None, "no plain ground, nothing is decoded"


def test_a_file_says_where_and_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "STEPS", 0)  # latents are refined at the level before the last search
    rgb = np.array(make_tiny.photograph(0, 0, 448, 288).resize((448, 288)))
    rgb[40:200, 60:300] = (236, 232, 220)
    rgb[90:120, 100:260], rgb[130:160, 80:200:24] = (40, 20, 90), (150, 30, 30)
    model = Codec(threads=1)
    for target in ({"quality": 40}, {"max_bytes": 9000}, {"bpp": 0.5}):
        data = model.encode(rgb, lossless=False, **target)  # type: ignore[arg-type]
        file = container.unpack(data)
        assert file.smoothing is not None
        assert len(data) <= 9000 or "max_bytes" not in target
        assert len(data) <= 1.01 * 0.5 * rgb.size / 24 or "bpp" not in target
        level = 1 + 99 * (file.level or 0) / (model.artifact.sizes.fine_levels - 1)
        assert model.encode(rgb, lossless=False, quality=level) == data, "as at the quality that it has"
        fast = model.encode(rgb, lossless=False, fast=True, **target)  # type: ignore[arg-type]
        assert container.unpack(fast).smoothing is None
        shown = model.decode(data, as_array=True)
        part = model.decode(data, region=(50, 30, 311, 177), as_array=True)
        np.testing.assert_array_equal(part, shown[30:177, 50:311])
        without = model.decode(container.pack(dataclasses.replace(file, smoothing=None)), as_array=True)
        board = slice(44, 196), slice(64, 296)
        errors = [np.square(way[board].astype(float) - rgb[board]).mean() for way in (shown, without)]
        assert errors[0] < 0.98 * errors[1]


def test_a_small_picture_has_no_bytes_for_it() -> None:
    rgb = np.array(make_tiny.photograph(0, 0, 96, 80))
    rgb[20:60, 20:80] = 200
    assert container.unpack(MODEL.encode(rgb, quality=30)).smoothing is None
