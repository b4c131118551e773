"""Pixels in cheaper colours: fewer bytes, small errors, and what stays as it is."""

from __future__ import annotations

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest

from dpc.codec import fast_mixing, indexed, merging, rdo

UInt8 = npt.NDArray[np.uint8]
LETTERS = np.asarray(make_tiny.page(352, 300))[:256]


def noisy(rgb: UInt8) -> UInt8:
    """The same with letters that are unlike: noise where a pixel and its neighbour differ."""
    edge = np.zeros(rgb.shape[:2], bool)
    edge[:, 1:] = (rgb[:, 1:] != rgb[:, :-1]).any(2)
    noise = 4 * np.random.default_rng(3).integers(-2, 3, (*rgb.shape[:2], 1))
    return np.asarray(np.where(edge[..., None], rgb + noise, rgb).clip(0, 255).astype(np.uint8))


def size(rgb: UInt8, alpha: UInt8 | None = None) -> int:
    return len(indexed.to_bytes(rgb, alpha) or b"")


def off(one: UInt8, other: UInt8) -> npt.NDArray[np.float64]:
    """Squared levels of each pixel: of lightness, and half of those of both hues."""
    red, green, blue = np.moveaxis(one.astype(float) - other, -1, 0)
    return np.asarray(((red + 2 * green + blue) / 4) ** 2 + ((red - green) ** 2 + (blue - green) ** 2) / 2)


PAGE = noisy(merging.Colours(LETTERS).merged(24))


def test_letters_that_noise_made_unlike_cost_less() -> None:
    found = [rdo.optimised(PAGE, PAGE, price) for price in (0, 20, 60)]
    sizes = [size(rgb) for rgb in found]
    assert sizes[2] < sizes[1] < sizes[0] <= size(PAGE)
    assert sizes[1] < 0.85 * sizes[0]
    errors = [float(off(rgb, PAGE).mean()) for rgb in found]
    assert errors[0] == 0 < errors[1] < errors[2]
    assert {tuple(colour) for colour in np.unique(found[2].reshape(-1, 3), axis=0)} <= {
        tuple(colour) for colour in np.unique(PAGE.reshape(-1, 3), axis=0)
    }


@pytest.mark.parametrize("price", [30, 1000, 1 << 30])
def test_no_pixel_is_further_off_however_much_a_bit_costs(price: int) -> None:
    found = rdo.optimised(PAGE, PAGE, price)
    assert 0 < off(found, PAGE).max() <= 24**2
    second = rdo.optimised(merging.Colours(PAGE).merged(24), PAGE, price)
    assert off(second, PAGE).max() <= off(merging.Colours(PAGE).merged(24), PAGE).max() + 24**2


def test_plain_ground_its_borders_and_lines_stay() -> None:
    """A panel hardly darker than the ground is cheaper without its border; it was gone, row by row."""
    page = np.full((128, 128, 3), 244, np.uint8)
    page[30:90, 20:100] = 236
    page[100, 10:60] = 230  # a line
    page[40:60, 30:60] = LETTERS[:20, :30]
    found = rdo.optimised(page, page, 1000)
    inside = np.zeros(page.shape[:2], bool)
    inside[40:60, 30:60] = True
    np.testing.assert_array_equal(found[~inside], page[~inside])


def test_what_is_clear_stays_clear_and_takes_no_part() -> None:
    alpha = np.full(PAGE.shape[:2], 255, np.uint8)
    alpha[:, 100:200] = 0
    found = rdo.optimised(PAGE, PAGE, 40, alpha)
    np.testing.assert_array_equal(found[:, 100:200], PAGE[:, 100:200])
    assert (found != PAGE).any()
    assert size(found, alpha) < size(PAGE, alpha)
    black = np.zeros_like(PAGE)  # black is not what is clear
    black[::3, ::5] = (0, 0, 12)
    hidden = np.where(np.arange(black.shape[1]) % 7 == 0, np.uint8(0), np.uint8(255)) * np.ones((256, 1), np.uint8)
    shown = rdo.optimised(black, black, 40, hidden)
    np.testing.assert_array_equal(shown[hidden == 0], black[hidden == 0])
    translucent = np.full(PAGE.shape[:2], 100, np.uint8)
    assert rdo.optimised(PAGE, PAGE, 40, translucent) is PAGE


def test_pictures_of_one_colour_or_too_many_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.full((64, 64, 3), 7, np.uint8)
    many = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for rgb in (plain, many):
        assert rdo.optimised(rgb, rgb, 40) is rgb
    monkeypatch.setattr(indexed, "LARGEST", 100)
    assert rdo.optimised(PAGE, PAGE, 40) is PAGE
    monkeypatch.undo()
    monkeypatch.setattr(fast_mixing, "_program", lambda: None)  # no wasmtime: nothing is saved
    assert rdo.optimised(PAGE, PAGE, 40) is PAGE


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (7, 9), (65, 70), (200, 30)])
def test_any_size(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    rgb = np.asarray(rng.integers(0, 5, (*shape, 1)) * np.array((9, 9, 9)) + 100, np.uint8)
    found = rdo.optimised(rgb, rgb, 20)
    assert found.shape == rgb.shape and off(found, rgb).max() <= 24**2
    assert size(found) <= size(rgb)


def test_the_error_is_told_from_what_is_wanted() -> None:
    """Merged colours that lie on the other side of the picture's own are not thrown further off."""
    shown = merging.Colours(PAGE).merged(32)
    found = rdo.optimised(shown, PAGE, 16)
    assert size(found) < size(shown)
    assert off(found, PAGE).sum() - off(shown, PAGE).sum() < 16 * 8 * (size(shown) - size(found))


def test_a_price_that_is_not_paid_changes_nothing() -> None:
    np.testing.assert_array_equal(rdo.optimised(PAGE, PAGE, 0), PAGE)
