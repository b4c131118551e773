"""The quality map: masks, bytes, levels; against docs/format.md written out in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from PIL import Image, ImageDraw, ImageFont

from dpc.codec import quality_map
from dpc.codec.quality_map import Levels, from_mask, pack, unpack
from dpc.errors import Corrupt, OptionError

Int = npt.NDArray[np.int32]

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def maps(draw: st.DrawFn) -> Int:
    rows, columns = draw(shapes)
    values = draw(st.lists(st.integers(-8, 8), min_size=rows * columns, max_size=rows * columns))
    return np.array(values, np.int32).reshape(rows, columns)


# bytes


@given(maps())
def test_round_trip(deltas: Int) -> None:
    payload = pack(deltas)
    np.testing.assert_array_equal(unpack(payload, *deltas.shape), deltas)
    assert len(payload) % 4 == 0


def test_frequencies_are_the_documented_ones() -> None:
    frequencies = quality_map._frequencies()
    assert len(frequencies) == 33 and frequencies.sum() == 2**24
    assert frequencies[16] == 2**24 - 2**22 + 2**6
    for d in range(1, 17):
        assert frequencies[16 - d] == frequencies[16 + d] == 2 ** (21 - d)
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    assert "2^24 - 2^22 + 2^6 for the difference 0 and 2^(21 - |d|) for d = -16 ... -1 and 1 ... 16" in text


def test_the_coder_is_the_documented_one() -> None:
    from test_entropy import Reference

    deltas = np.array([[0, 0, 3, -8], [1, 8, 8, -1]], np.int32)
    coder = Reference()
    frequencies = quality_map._frequencies().tolist()
    for i, j in reversed(list(np.ndindex(2, 4))):
        symbol = int(deltas[i, j]) - predicted(deltas, i, j) + 16
        coder.push(sum(frequencies[:symbol]), frequencies[symbol])
    assert pack(deltas) == np.array(coder.result(), "<u4").tobytes()


def predicted(deltas: Int, i: int, j: int) -> int:
    """As docs/format.md has it."""
    if i == j == 0:
        return 0
    if i == 0:
        return int(deltas[i, j - 1])
    if j == 0:
        return int(deltas[i - 1, j])
    a, b, c = int(deltas[i, j - 1]), int(deltas[i - 1, j]), int(deltas[i - 1, j - 1])
    if c >= max(a, b):
        return min(a, b)
    if c <= min(a, b):
        return max(a, b)
    return a + b - c


@given(maps())
def test_the_prediction_is_the_documented_one(deltas: Int) -> None:
    for i, j in np.ndindex(deltas.shape):
        assert quality_map.predicted(deltas, i, j) == predicted(deltas, i, j)


def test_a_flat_map_takes_less_than_half_a_bit_for_a_cell() -> None:
    assert len(pack(np.zeros((40, 50), np.int32))) <= 0.42 * 2000 / 8 + 8


def test_a_delta_out_of_range_is_corrupt() -> None:  # S9
    deltas = np.array([[9, 9], [9, 9]], np.int32)
    with pytest.raises(Corrupt, match=r"outside -8\.\.8"):
        unpack(pack(deltas), 2, 2)


def test_a_map_that_is_too_short_or_too_long_is_corrupt() -> None:
    payload = pack(np.zeros((4, 4), np.int32))
    for rows in (3, 5, 1000):
        with pytest.raises(Corrupt):
            unpack(payload, rows, 4)


@settings(max_examples=200)
@given(st.binary(min_size=4, max_size=40), shapes)
def test_any_bytes_are_a_map_or_corrupt(payload: bytes, shape: tuple[int, int]) -> None:
    try:
        deltas = unpack(payload, *shape)
    except Corrupt:
        return
    assert pack(deltas) == payload


# levels


def level_at(deltas: Int, base: int, top: int, i: int, j: int) -> int:
    """As docs/format.md has it."""

    def cells(k: int, count: int) -> list[tuple[int, int]]:
        first, weights = {0: (-1, (3, 5)), 1: (-1, (1, 7)), 2: (0, (7, 1)), 3: (0, (5, 3))}[k % 4]
        return [(min(max(k // 4 + first + n, 0), count - 1), w) for n, w in enumerate(weights)]

    rows, columns = cells(i, deltas.shape[0]), cells(j, deltas.shape[1])
    s = sum(int(deltas[r, c]) * v * w for r, v in rows for c, w in columns)
    return min(max(base + (s + 2) // 4, 0), top)


@settings(max_examples=50)
@given(maps(), st.integers(0, 448))
def test_levels_are_the_documented_ones(deltas: Int, base: int) -> None:
    levels = Levels(base, 448, deltas)
    h, w = 4 * deltas.shape[0], 4 * deltas.shape[1]
    got = levels.positions((slice(0, h), slice(0, w)))
    assert got.tolist() == [[level_at(deltas, base, 448, i, j) for j in range(w)] for i in range(h)]
    np.testing.assert_array_equal(levels.positions((slice(2, 4), slice(1, w))), got[2:4, 1:])
    np.testing.assert_array_equal(levels.cells(slice(0, None)), np.clip(base + 16 * deltas, 0, 448))


def test_a_flat_map_moves_every_level_alike() -> None:
    levels = Levels(100, 448, np.full((3, 3), -3, np.int32))
    assert set(levels.positions((slice(0, 12), slice(0, 12))).ravel().tolist()) == {52}
    assert Levels(100, 448).positions((slice(0, 12), slice(0, 12))).tolist() == [[100]]


# masks


@pytest.mark.parametrize("kind", [np.uint8, np.float32, bool])
def test_masks_are_means_of_cells(kind: Any) -> None:
    mask = np.zeros((130, 70), kind)
    mask[:64, :64] = 255 if kind is np.uint8 else 1
    mask[64:96, :64] = mask[0, 0]
    deltas = from_mask(mask, 130, 70)
    assert deltas is not None
    assert deltas.tolist() == [[4, -4], [0, -4], [-4, -4]]


def test_a_grey_mask_is_no_map() -> None:
    assert from_mask(np.full((9, 9), 128, np.uint8), 9, 9) is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((9, 8), bool), "the mask has 8x9 pixels, the picture 9x9; give"),
        (np.zeros((9, 9), np.int64), "the mask holds int64 values; give bool"),
        (np.full((9, 9), 2.0), r"the mask has values outside 0\.\.1; scale"),
        (np.full((9, 9), np.nan), "the mask has values outside"),
        (np.full((9, 9), -1.0), "the mask has values outside"),
    ],
)
def test_bad_masks_are_refused(mask: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        from_mask(mask, 9, 9)


# what a picture gets without a mask


TEXT = "\n".join(
    ["North station 14", "Platforms to left", "Bakery and cafes", "Open daily 9 to 5", "Mind the step now"]
)


def scene(height: int, width: int) -> Any:
    """Plain ground, with letters on the upper left and texture on the right."""
    rgb = np.full((height, width, 3), 230, np.uint8)
    rng = np.random.default_rng(1)
    rgb[:, width // 2 :] = rng.integers(0, 256, (height, width - width // 2, 3))
    page = Image.fromarray(rgb)
    ImageDraw.Draw(page).multiline_text((6, 4), TEXT, (20, 20, 20), ImageFont.load_default(17), spacing=6)
    rgb[:128, :128] = np.asarray(page)[:128, :128]
    return rgb


def test_letters_on_plain_ground_are_raised() -> None:
    deltas = quality_map.quality_map(scene(320, 512))
    assert deltas is not None and deltas.shape == (5, 8)
    assert (deltas[:2, :2] >= quality_map.RAISE - 2).all()
    assert (deltas[3:] == 0).all() and (deltas[:, 4:] == 0).all()


def test_a_single_edge_is_not_text() -> None:
    roof = np.full((256, 256, 3), 210, np.uint8)
    roof[np.add.outer(np.arange(256), np.arange(256)) > 256] = 60
    assert quality_map.quality_map(roof) is None
    roof[:, 40:43] = 20  # a pole
    deltas = quality_map.quality_map(roof)
    assert deltas is not None and 0 < deltas[:3].max() < quality_map.RAISE


def test_a_picture_of_one_kind_has_no_map() -> None:
    assert quality_map.quality_map(np.full((200, 300, 3), 77, np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3)).astype(np.uint8)
    assert quality_map.quality_map(noise) is None
    assert quality_map.quality_map(scene(63, 512)) is None  # less than a cell high


@pytest.mark.parametrize(("height", "width"), [(64, 128), (65, 127), (200, 70), (1025, 131)])
def test_the_map_has_a_delta_for_every_cell(height: int, width: int) -> None:
    deltas = quality_map.quality_map(scene(height, width))
    assert deltas is not None and deltas.shape == (-(-height // 64), -(-width // 64))
    assert np.abs(deltas).max() <= quality_map.LARGEST


def test_bands_see_what_is_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.concatenate([scene(320, 256), scene(320, 256)[::-1]])
    whole = quality_map.quality_map(rgb)
    for band in (64, 192, 1024):
        monkeypatch.setattr(quality_map, "BAND", band)
        np.testing.assert_array_equal(quality_map.quality_map(rgb), whole)
