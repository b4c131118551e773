"""Merged colours: what stays, what may change and by how much, when it happens."""

from __future__ import annotations

from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest

import dpc
from dpc.codec import container, lossless, merging
from dpc.codec.codec import Codec
from dpc.codec.merging import Colours
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]
PAGE: UInt8 = np.asarray(make_tiny.page(96, 128))
MODEL = Codec(make_tiny.BYTES_MODEL, 1)


def luma(rgb: Any) -> Any:
    return np.asarray(rgb, int) @ (1, 2, 1) / 4


@pytest.mark.parametrize("tolerance", merging.TOLERANCES)
def test_ground_stays_and_nothing_is_off_by_more_than_the_tolerance(tolerance: int) -> None:
    merged = Colours(PAGE).merged(tolerance)
    ground = (PAGE == (244, 240, 228)).all(2)
    np.testing.assert_array_equal(merged[ground], PAGE[ground])
    assert np.abs(luma(merged) - luma(PAGE)).max() <= tolerance
    difference = merged.astype(int) - PAGE
    assert np.abs(difference[..., 0] - difference[..., 1]).max() <= tolerance / 2
    assert 1 < len(np.unique(merged.reshape(-1, 3), axis=0)) < len(np.unique(PAGE.reshape(-1, 3), axis=0))


def test_dim_strokes_do_not_vanish() -> None:
    """Grey strokes of 45 levels on light ground are within the coarsest tolerance of the ground, and stay."""
    strokes = luma(PAGE) == luma((190, 190, 184))
    assert strokes.any()
    merged = Colours(PAGE).merged(64)
    assert (luma(merged)[strokes] <= luma((190, 190, 184)) + merging.INK).all()


def test_gradients_get_no_bands() -> None:
    page = np.tile(np.linspace(40, 200, 160).astype(np.uint8)[:, None, None], (1, 400, 3))
    page[60:70, 100:110] = (250, 30, 30)
    np.testing.assert_array_equal(Colours(page).merged(64), page)


def test_photographs_and_pages_with_photographs_are_left_alone() -> None:
    photo = np.asarray(make_tiny.photograph(100, 40, 160, 160))
    page = np.full((640, 640, 3), 250, np.uint8)
    assert not Colours(photo).few
    page[100:260, 100:260] = photo
    assert not Colours(page).few
    assert merging.fitting(page, lambda _, price: b"", 10, lambda _: 0) is None
    assert Colours(PAGE).few and not Colours(np.full((8, 8, 3), 7, np.uint8)).few


def test_a_large_page_with_many_small_gradients_is_no_photograph() -> None:
    page = np.full((640, 640, 3), 250, np.uint8)
    for n in range(30):  # buttons with gradients: colours that are rare, but few in a block
        top, left = 100 * (n // 6), 100 * (n % 6)
        page[top : top + 48, left : left + 64] = (np.linspace(40 + n, 200, 48).astype(np.uint8))[:, None, None]
        page[top : top + 48, left : left + 64, 2] ^= np.uint8(n)
    assert Colours(page).few


def test_the_finest_that_fits_is_taken() -> None:
    tried: list[int] = []

    def encode(rgb: UInt8, price: int) -> bytes:
        tried.append(len(np.unique(rgb.reshape(-1, 3), axis=0)))
        return bytes(tried[-1])

    counts = [len(np.unique(Colours(PAGE).merged(t).reshape(-1, 3), axis=0)) for t in merging.TOLERANCES]
    for size, expected in ((counts[0], counts[0]), (counts[3], counts[3]), (counts[3] - 1, counts[4])):
        for wrong in (0.5, 1.0, 1.5):  # however good the guess is
            tried.clear()
            found = merging.fitting(
                PAGE, encode, size, lambda rgb, wrong=wrong: wrong * len(np.unique(rgb.reshape(-1, 3), axis=0))
            )
            assert found is not None and len(found) == expected
        assert len(tried) <= len(counts)
    tried.clear()
    assert merging.fitting(PAGE, encode, 1, lambda _: 2.1) is None and not tried  # hopeless: nothing is encoded
    assert merging.fitting(PAGE, encode, counts[-1] - 1, lambda _: counts[-1]) is None and tried


def test_the_fewest_colours_are_those_that_cost_the_least() -> None:
    page = np.zeros((40, 40, 3), np.uint8)
    page[:, :20] = 255
    page[:, 20:22] = 150  # fewer pixels than the next, and as far from another colour
    page[:, 22:30] = 105
    colours = Colours(page)
    assert [len(np.unique(colours.joined(count))) for count in (2, 3, 4, 9)] == [2, 3, 4, 4]
    np.testing.assert_array_equal(np.unique(colours.joined(3)), (0, 105, 255))
    assert (colours.joined(3)[:, 20:22] == 105).all()


@pytest.mark.parametrize("count", merging.FEW)
def test_no_more_than_so_many_colours_of_the_picture_stay(count: int) -> None:
    joined = Colours(PAGE).joined(count).reshape(-1, 3)
    kept = {tuple(colour) for colour in np.unique(joined, axis=0)}
    assert 2 <= len(kept) <= count
    assert kept <= {tuple(colour) for colour in np.unique(PAGE.reshape(-1, 3), axis=0)}


def test_the_coarsest_are_tried_only_where_they_are_asked_for() -> None:
    def encode(rgb: UInt8, price: int = 0) -> bytes:
        return bytes(100 * len(np.unique(rgb.reshape(-1, 3), axis=0)))

    def guess(rgb: UInt8) -> float:
        return len(encode(rgb))

    least = len(encode(Colours(PAGE).merged(merging.TOLERANCES[-1])))
    assert least > 300
    assert merging.fitting(PAGE, encode, 300, guess) is None
    coarse = merging.fitting(PAGE, encode, 300, guess, coarse=True)
    assert coarse is not None and len(coarse) <= 300
    assert merging.fitting(PAGE, encode, least, guess, coarse=True) == merging.fitting(PAGE, encode, least, guess)
    assert merging.fitting(PAGE, encode, 100, guess, coarse=True) is None


def test_joined_colours_are_tried_from_many_at_a_low_price_to_few_at_a_high_one() -> None:
    tried: list[tuple[int, int]] = []

    def encode(rgb: UInt8, price: int) -> bytes:
        tried.append((len(np.unique(rgb.reshape(-1, 3), axis=0)), price))
        return bytes(100 * tried[-1][0] - price)

    def guess(rgb: UInt8) -> float:
        return 100.0 * len(np.unique(rgb.reshape(-1, 3), axis=0))

    found = merging.fitting(PAGE, encode, 1e9, guess, joined=True)
    most = len(Colours(PAGE).kept(merging.TOLERANCES[0]))
    assert found is not None and tried[-3:] == [(min(255, most), price) for price in (8, 4, 2)]  # there is room
    found = merging.fitting(PAGE, encode, 2350, guess, joined=True)
    assert found is not None and len(found) == 2400 - 64 and (24, 64) in tried
    assert merging.fitting(PAGE, encode, 2300, guess, joined=True) is None
    coarse = merging.fitting(PAGE, encode, 1930, guess, joined=True, coarse=True)
    assert coarse is not None and len(coarse) == 2000 - merging.TOLERANCES[-1]
    few = (PAGE // 128 * 128).astype(np.uint8)  # fewer than the least of these
    assert merging.fitting(few, encode, 1e9, guess, joined=True) is not None


def test_where_a_tolerance_leaves_too_many_colours_as_many_as_there_may_be_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    colours = Colours(PAGE)
    counts = {tolerance: len(colours.kept(tolerance)) for tolerance in merging.TOLERANCES}
    assert counts[16] > counts[24]
    monkeypatch.setattr(merging, "MANY_COLOURS", counts[24])
    tried: list[tuple[int, int]] = []

    def encode(rgb: UInt8, price: int) -> bytes:
        tried.append((len(np.unique(rgb.reshape(-1, 3), axis=0)), price))
        return bytes(100 * tried[-1][0] - price)

    def guess(rgb: UInt8) -> float:
        return 100.0 * len(np.unique(rgb.reshape(-1, 3), axis=0))

    for price in (8, 20, 24):
        size = 100 * counts[24] - price
        found = merging.fitting(PAGE, encode, size, guess)
        assert found is not None and len(found) == size and (counts[24], price) in tried


def test_a_lower_price_is_taken_where_there_is_room_for_it() -> None:
    def encode(rgb: UInt8, price: int) -> bytes:
        return bytes(1000 - 5 * price)

    for size, price in ((800, 40), (849, 40), (900, 20), (1000, 10), (950, 10), (870, 30)):
        found = merging._lower(encode(PAGE, 40), lambda price: encode(PAGE, price), 40, size)
        assert len(found) == 1000 - 5 * price


def test_half_of_the_error_is_asked_for() -> None:
    alpha = np.full(PAGE.shape[:2], 255, np.uint8)
    off = [np.clip(PAGE.astype(int) - by, 0, 255).astype(np.uint8) for by in (4, 5, 6)]
    assert merging.halves(PAGE, off[0], off[2], None) and not merging.halves(PAGE, off[1], off[2], None)
    worse = off[0].copy()
    worse[:20] = 0
    alpha[:20] = 0
    assert merging.halves(PAGE, worse, off[2], alpha) and not merging.halves(PAGE, worse, off[2], None)
    grey = np.repeat(PAGE[..., :1], 3, 2)
    assert merging.halves(grey, np.dstack([grey[..., 0], alpha]), grey[..., 0] // 2, None)


def test_a_page_that_fits_no_other_way_keeps_its_letters_in_few_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """At such rates the networks broke every letter; AVIF did better."""
    page = np.asarray(make_tiny.page(384, 256))
    size = len(lossless.to_bytes(Colours(page).merged(merging.TOLERANCES[-1]), None)) - 40
    target = {"bpp": 8 * size / (384 * 256)}
    learned, data = (MODEL.encode(page, **target, lossless=keep) for keep in (False, None))
    assert dpc.inspect(data).merged and len(data) <= size
    assert merging.halves(page, *(MODEL.decode(file, as_array=True) for file in (data, learned)), None)
    monkeypatch.setattr(merging, "halves", lambda *_: False)
    other = MODEL.encode(page, **target)
    assert dpc.inspect(other).merged and size < len(other) <= len(learned), "else what the smallest learned file takes"


def test_a_file_says_that_colours_were_merged() -> None:
    exact = MODEL.encode(PAGE, lossless=True)
    data = MODEL.encode(PAGE, max_bytes=len(exact) * 2 // 3)
    assert len(data) <= len(exact) * 2 // 3
    info = dpc.inspect(data)
    assert (info.lossless, info.merged, info.level, info.quality) == (False, True, None, 100)
    pixels = dpc.decode(data, as_array=True)
    assert 0 < np.square(pixels.astype(float) - PAGE).mean() < 20
    learned = dpc.inspect(MODEL.encode(PAGE, max_bytes=len(exact) * 2 // 3, lossless=False))
    assert not learned.merged and learned.level is not None
    assert dpc.inspect(exact).lossless and not dpc.inspect(exact).merged


def test_at_a_quality_a_page_is_merged_where_that_takes_no_more_bytes() -> None:
    learned = MODEL.encode(PAGE, quality=60, lossless=False)
    exact = MODEL.encode(PAGE, lossless=True)
    assert len(learned) < len(exact)
    data = MODEL.encode(PAGE, quality=60)
    assert data == learned or (dpc.inspect(data).merged and len(data) <= len(learned))
    assert dpc.inspect(MODEL.encode(PAGE, quality=100)).level is None


def test_merged_colours_belong_to_lossless_files() -> None:
    data = bytearray(MODEL.encode(PAGE, quality=20, lossless=False))
    data[5] |= 0x20
    with pytest.raises(Corrupt, match="bit 5, merged colours, stands with bit 1, lossless, only; .*get it again"):
        dpc.inspect(bytes(data))
    file = container.unpack(MODEL.encode(PAGE, quality=20, lossless=False))
    with pytest.raises(Corrupt, match="bit 5"):
        container.pack(container.DPCFile(**vars(file) | {"merged": True}))


def test_ink_goes_to_ink_and_not_to_the_ground() -> None:
    """By the largest difference red was nearer to white than to blue: lines of letters vanished."""
    page = np.full((120, 120, 3), 250, np.uint8)
    page[10:30, ::4] = (160, 0, 0)
    page[50:80, ::4] = (0, 0, 160)
    for count in (3, 2):
        joined = Colours(page).joined(count)
        assert (joined[10:30, ::4] != 250).any(2).all() and (joined[50:80, ::4] != 250).any(2).all()
