"""Wide smoothing: the rule in plain loops, parts of a picture, where it is chosen, and that gradients get better."""

from __future__ import annotations

import dataclasses
import math

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.codec import container, smoothing, smoothing_choice, wide_smoothing
from dpc.codec.codec import Codec
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int_]


def plainly(rgb: UInt8, strengths: UInt8) -> UInt8:
    """docs/format.md, "Wide smoothing", block by block and pixel by pixel."""
    height, width = rgb.shape[:2]
    rows, columns = math.ceil(height / 4), math.ceil(width / 4)
    before = np.zeros((rows, columns, 3), int)
    for y, x in np.ndindex(rows * 4, columns * 4):
        before[y // 4, x // 4] += rgb[min(y, height - 1), min(x, width - 1)]
    values = before.copy()
    for spacing, least in ((1, 1), (4, 2)):
        for down, across in ((1, 0), (0, 1)):
            old = values.copy()
            for i, j in np.ndindex(rows, columns):
                strength = strengths[i * 4 // 32, j * 4 // 32]
                if strength < least:
                    continue
                limit, total, count = 16 * (0, 6, 6, 12)[strength], old[i, j].copy(), 1
                for d in range(spacing, 4 * spacing + 1, spacing):
                    places = [(i - d * down, j - d * across), (i + d * down, j + d * across)]
                    if not all(0 <= a < rows and 0 <= b < columns for a, b in places):
                        continue
                    if all(np.abs(old[place] - old[i, j]).max() <= limit for place in places):
                        total, count = total + sum(old[place] for place in places), count + 2
                values[i, j] = (total + count // 2) // count
    change = values - before
    shown = np.zeros_like(rgb)
    for y, x in np.ndindex(height, width):
        i, j = (2 * y - 3) // 8, (2 * x - 3) // 8
        v, u = 2 * y - 3 - 8 * i, 2 * x - 3 - 8 * j
        (a, b), (c, d) = (
            [change[min(max(m, 0), rows - 1), min(max(n, 0), columns - 1)] for n in (j, j + 1)] for m in (i, i + 1)
        )
        moved = ((8 - v) * ((8 - u) * a + u * b) + v * ((8 - u) * c + u * d) + 512) // 1024
        shown[y, x] = np.clip(rgb[y, x] + moved, 0, 255)
    return shown


def picture(height: int, width: int, seed: int) -> UInt8:
    """Slopes with blotches and some steps, so that some neighbours are near and others are not."""
    rng = np.random.default_rng(seed)
    slope = np.arange(width)[None, :, None] / 2 + np.arange(height)[:, None, None] / 3
    shape = -(-height // 6), -(-width // 6), 3
    blotches = rng.integers(-5, 6, shape).repeat(6, 0).repeat(6, 1)[:height, :width]
    steps = 60 * rng.integers(0, 2, (-(-height // 40), -(-width // 50), 1)).repeat(40, 0).repeat(50, 1)
    return np.clip(slope + blotches + steps[:height, :width], 0, 255).astype(np.uint8)


def whole(rgb: UInt8) -> tuple[slice, slice]:
    return slice(0, rgb.shape[0]), slice(0, rgb.shape[1])


@pytest.mark.parametrize(("height", "width"), [(90, 141), (150, 66), (33, 5), (2, 70), (1, 1)])
def test_it_is_what_the_format_says(height: int, width: int) -> None:
    rgb = picture(height, width, height)
    strengths = make_tiny.noise(*smoothing.cells_of(height, width)) % 4
    strengths[0, 0] = 3
    shown = rgb.copy()
    wide_smoothing.smooth(shown, strengths, whole(rgb))
    np.testing.assert_array_equal(shown, plainly(rgb, strengths))
    assert (shown != rgb).any() or min(height, width) < 9


def test_bands_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, strengths = picture(150, 100, 1), np.full((5, 4), 2, np.uint8)
    strengths[:2] = 0
    expected = rgb.copy()
    wide_smoothing.smooth(expected, strengths, whole(rgb))
    monkeypatch.setattr(wide_smoothing, "BAND", 7)
    wide_smoothing.smooth(rgb, strengths, whole(rgb))
    np.testing.assert_array_equal(rgb, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 260), st.integers(1, 260), st.data())
def test_a_part_is_smoothed_as_in_the_whole(height: int, width: int, data: st.DataObject) -> None:
    rgb, (rows, columns) = picture(height, width, width), smoothing.cells_of(height, width)
    strengths = (3 - np.arange(rows * columns).reshape(rows, columns) % 4).astype(np.uint8)
    expected = rgb.copy()
    wide_smoothing.smooth(expected, strengths, whole(rgb))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    part = (
        slice(top, data.draw(st.integers(top + 1, height))),
        slice(left, data.draw(st.integers(left + 1, width))),
    )
    wide = wide_smoothing.WideSmooth(wide_smoothing.pack(strengths), height, width)
    np.testing.assert_array_equal(wide.shown(rgb[wide.seen(part)].copy(), part), expected[part])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_strengths_come_back(rows: int, columns: int, seed: int) -> None:
    strengths = np.random.default_rng(seed).integers(0, 4, (rows, columns)).astype(np.uint8)
    np.testing.assert_array_equal(wide_smoothing.unpack(wide_smoothing.pack(strengths), rows, columns), strengths)


def test_what_is_longer_than_its_picture_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="more than its part"):
        wide_smoothing.unpack(wide_smoothing.pack(np.zeros((90, 30), np.uint8)), 2, 3)


def test_a_slope_stays_as_it_is() -> None:
    """Averages of one side alone pulled the borders of the picture towards its middle."""
    slope = (np.arange(200)[:, None] + np.arange(160)).astype(float)[..., None].repeat(3, 2)
    rgb = np.rint(slope / 2).astype(np.uint8)
    shown = rgb.copy()
    wide_smoothing.smooth(shown, np.full(smoothing.cells_of(200, 160), 3, np.uint8), whole(rgb))
    assert np.abs(shown.astype(int) - rgb).max() <= 1


def test_it_is_chosen_for_blotches_on_gradients_and_not_for_clouds() -> None:
    rng = np.random.default_rng(2)
    slope = 60 + np.arange(256)[None, :, None] / 4 + np.zeros((256, 1, 3))

    def blotches(height: int, width: int) -> npt.NDArray[np.float64]:
        return rng.normal(0, 2, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)

    original = slope.copy()
    original[128:] += 2 * blotches(128, 256)  # these are the picture's own
    original = np.clip(np.rint(original), 0, 255).astype(np.uint8)
    shown = np.clip(np.rint(original + blotches(256, 256)), 0, 255).astype(np.uint8)
    strengths = smoothing_choice.chosen_wide(original, lambda: shown)
    assert strengths is not None
    assert (strengths[:3] > 0).mean() > 0.9 and (strengths[5:] > 0).mean() < 0.1
    before = np.square(shown[:96].astype(float) - original[:96]).mean()
    wide_smoothing.smooth(shown, strengths, whole(shown))
    assert np.square(shown[:96].astype(float) - original[:96]).mean() < before / 3
    assert smoothing_choice.chosen_wide(original, lambda: original) is None
    assert smoothing_choice.chosen_wide(make_tiny.noise(200, 200, 3), pytest.fail) is None, "nothing is decoded"


def gradient() -> UInt8:
    share = (np.arange(320)[:, None] / 320 + np.arange(400) / 400)[..., None] / 2
    return np.asarray(np.rint((1 - share) * (20, 130, 120) + share * (90, 230, 240)).astype(np.uint8))


@pytest.mark.parametrize("target", [{"quality": 30}, {"max_bytes": 700}, {"bpp": 0.06}])
def test_a_file_says_where_and_stays_within_its_bytes(target: dict[str, float]) -> None:
    """At a rate it was left out wherever the nearest file without it left no room for it."""
    rgb, model = gradient(), Codec(threads=1)
    data = model.encode(rgb, lossless=False, **target)  # type: ignore[arg-type]
    file = container.unpack(data)
    assert file.wide_smoothing is not None
    assert len(data) <= target.get("max_bytes", 1.01 * target.get("bpp", 9) * rgb.size / 24)
    fast = model.encode(rgb, lossless=False, fast=True, **target)  # type: ignore[arg-type]
    assert container.unpack(fast).wide_smoothing is None
    shown = model.decode(data, as_array=True)
    part = model.decode(data, region=(50, 30, 311, 177), as_array=True)
    np.testing.assert_array_equal(part, shown[30:177, 50:311])
    bare = dataclasses.replace(file, smoothing=None, wide_smoothing=None)
    without = model.decode(container.pack(bare), as_array=True)
    blocks = wide_smoothing.blocks(rgb)
    errors = [np.square((wide_smoothing.blocks(way) - blocks) / 16).mean() for way in (shown, without)]
    assert errors[0] < 0.7 * errors[1]


def test_a_small_picture_has_no_bytes_for_it() -> None:
    assert (
        container.unpack(Codec(threads=1).encode(gradient()[:100], quality=30, lossless=False)).wide_smoothing is None
    )
