"""Pages without their noise: what it takes away, what it leaves, when it happens."""

from __future__ import annotations

import io
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import dpc
from dpc.codec import denoising, exact, image, lossless, merging, overlay
from dpc.codec.codec import Codec

UInt8 = npt.NDArray[np.uint8]
MODEL = Codec(make_tiny.BYTES_MODEL, 1)
INK = (20, 24, 40)
GROUND = (244, 240, 228)


def drawn() -> UInt8:
    """A page of lines of strokes, a box and a good deal of ground."""
    page = np.full((448, 384, 3), GROUND, np.uint8)
    page[150:300, 40:200] = (30, 60, 140)
    for top in (20, 100, 320, 390):
        page[top : top + 24, 16:368] = np.asarray(make_tiny.page(352, 60))[4:28]
    return page


CLEAN = drawn()


def grained(rgb: UInt8, levels: float = 1.5) -> UInt8:
    noise = np.random.default_rng(1).normal(0, levels, rgb.shape)
    return np.asarray((rgb + noise).clip(0, 255).round().astype(np.uint8))


def as_jpeg(rgb: UInt8, quality: int) -> UInt8:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def counted(rgb: UInt8) -> Any:
    """The colours, and how many pixels each has."""
    return np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)


def error(one: Any, other: Any) -> float:
    return float(np.square(np.asarray(one, float) - other).mean())


def damaged(name: str) -> UInt8:
    return {"grain": grained(CLEAN), "jpeg": as_jpeg(CLEAN, 75)}[name]


@pytest.mark.parametrize("name", ["grain", "jpeg"])
def test_the_noise_goes_and_the_letters_stay(name: str) -> None:
    noisy = damaged(name)
    found = denoising.page(noisy)
    assert found is not None
    ground = (CLEAN == GROUND).all(2)
    share = {id(rgb): counted(rgb[ground])[1].max() / ground.sum() for rgb in (noisy, found)}
    assert share[id(found)] > max(0.75, share[id(noisy)])
    values, counts = counted(found[ground])
    assert np.abs(values[counts.argmax()].astype(int) - GROUND).max() <= 3
    ink = (CLEAN == INK).all(2)
    assert ink.any() and error(found[ink], noisy[ink]) < 60  # a stroke of 8 levels less than it had would be 64
    assert merging.Colours(found).few and len(counted(found)[0]) < 0.7 * len(counted(noisy)[0])


def test_two_colours_are_a_page() -> None:
    bars = np.full((400, 400, 3), GROUND, np.uint8)
    bars[50:90, 40:360] = INK
    found = denoising.page(grained(bars))
    assert found is not None and len(counted(found)[0]) == 2
    assert dpc.inspect(MODEL.encode(grained(bars), bpp=0.1)).merged


def test_what_is_no_page_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = grained(CLEAN)
    assert denoising.page(np.asarray(make_tiny.photograph(0, 0, 320, 320))) is None
    rows = np.linspace(0, 255, 400)[:, None, None] + 40 * np.sin(np.arange(400) / 9)[None, :, None]
    assert denoising.page(grained(np.asarray(np.repeat(rows, 3, 2).clip(0, 255), np.uint8))) is None
    assert denoising.page(grained(CLEAN, 40.0)) is None
    assert denoising.page(noisy) is not None
    monkeypatch.setattr(merging, "LARGEST", noisy.size // 3 - 1)
    assert denoising.page(noisy) is None


def test_a_page_longer_than_webp_can_hold_is_a_page() -> None:
    strip = grained(np.concatenate([CLEAN[:, :48]] * 37))
    assert strip.shape[0] > lossless.MAX_SIDE
    assert dpc.inspect(MODEL.encode(strip, bpp=0.5)).merged


def test_a_page_without_noise_has_none_to_take() -> None:
    assert denoising.page(CLEAN) is None
    assert denoising.page(grained(CLEAN)) is not None


def test_little_is_taken_where_there_is_room() -> None:
    """A page whose faint line stays at a size that allows it."""
    faint = CLEAN.copy()
    line = np.s_[310, 20:360]
    faint[line] = np.array(GROUND) - 12
    noisy = grained(faint)
    clean = denoising.page(noisy)
    assert clean is not None
    tried, last = (list(denoising.pages(noisy, clean, lambda _: 100.0, size)) for size in (200.0, 50.0))
    assert len(tried) == len(denoising.STRENGTHS) and len(last) == 1
    np.testing.assert_array_equal(tried[-1], last[0])
    assert error(tried[0][line], faint[line]) < 4 < error(last[0][line], faint[line])


def test_a_page_whose_bytes_were_guessed_too_low_loses_more_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such pages went to the networks."""
    noisy = damaged("grain")
    clean = denoising.page(noisy)
    assert clean is not None
    monkeypatch.setattr(lossless, "guessed", lambda rgb, alpha: 1.0)
    monkeypatch.setattr(merging, "JOINED_STEPS", (merging.Step(255, 0, 1),))
    picture = image.load(noisy)
    about = {"width": noisy.shape[1], "height": noisy.shape[0], "grey": False, "colour": picture.colour}
    pages = (denoising.cleaned(noisy, strength) for strength in range(len(denoising.STRENGTHS)))
    gentle, *_, strong = (len(exact.merged_file(picture, about, 1e9, page) or b"") for page in pages)
    assert strong < gentle
    for size in (gentle, gentle - 1, strong):
        found = exact.without_noise(picture, about, size, clean)
        assert found is not None and strong <= len(found) <= size
    assert exact.without_noise(picture, about, strong - 1, clean) is None


def test_faint_lines_of_a_jpeg_stay() -> None:
    """Rules and contours within 12 levels of their ground, away from letters, were averaged away."""
    page = CLEAN.copy()
    line = np.s_[309:311, 20:360]
    page[line] = np.array(GROUND) - 9
    out = io.BytesIO()
    Image.fromarray(page).save(out, "JPEG", quality=85)
    noisy = np.asarray(Image.open(out).convert("RGB"))
    strengths = denoising.STRENGTHS
    kept, gone = (denoising.cleaned(noisy, strengths.index((12, 2, faint))) for faint in (True, False))
    assert error(kept[line], page[line]) < 12 < 60 < error(gone[line], page[line])
    beside = np.s_[90:130, 10:380]  # around letters the noise goes all the same
    assert len(np.unique(kept[beside].reshape(-1, 3), axis=0)) < 0.6 * len(
        np.unique(noisy[beside].reshape(-1, 3), axis=0)
    )


def test_grain_is_noise_everywhere() -> None:
    noisy = grained(CLEAN)
    limits = denoising._limits(noisy, 12)
    assert limits[60, 200] >= 6 and limits[110, 200] == 12


@pytest.mark.parametrize("near", sorted({near for near, _, _ in denoising.STRENGTHS}))
def test_edges_are_not_averaged_away(near: int) -> None:
    sides = np.full((64, 96, 3), 100, np.uint8)
    sides[:, 48:] = 100 + 2 * near
    averaged = denoising._averaged(grained(sides, 1.0), near)
    assert np.abs(averaged.astype(int) - sides).max() <= 1


@pytest.mark.parametrize("height", [1, 63, 64, 65, 200])
def test_bands_leave_no_trace(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = grained(CLEAN[:height])
    limits = denoising._limits(noisy, 12)
    in_bands = [denoising._averaged(noisy, near) for near in (8, limits)]
    monkeypatch.setattr(denoising, "BAND", 1000)
    np.testing.assert_array_equal(in_bands, [denoising._averaged(noisy, near) for near in (8, limits)])


def test_rows_compared_at_once_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, shown = CLEAN[:400, :200], grained(CLEAN, 3.0)[:400, :200]
    parts = denoising._block_errors(rgb, shown, None)
    monkeypatch.setattr(denoising, "ROWS_AT_ONCE", 1 << 20)
    np.testing.assert_allclose(parts, denoising._block_errors(rgb, shown, None), rtol=1e-5)
    assert parts.shape == (25, 13) and 0.5 < parts[:, :-1].mean() < 1.5  # 9 / 9


def test_nearer_looks_at_every_part() -> None:
    rgb = grained(CLEAN)
    moon = np.s_[160:240, 160:240]
    rgb[moon] = np.asarray(make_tiny.photograph(0, 0, 80, 80))
    flat, near = rgb.copy(), grained(rgb, 2.0)
    assert denoising.nearer(rgb, flat, near, None) and not denoising.nearer(rgb, near, flat, None)
    flat[moon] = rgb[moon].mean((0, 1)).astype(np.uint8)  # exact but for the texture that it lost
    assert not denoising.nearer(rgb, flat, near, None)
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[moon] = 0
    assert denoising.nearer(rgb, flat, near, alpha)
    grey = np.repeat(rgb[..., :1], 3, 2)
    assert denoising.nearer(grey, grey[..., 0], grained(grey)[..., 0], None)
    assert not denoising.nearer(grey, np.dstack([grained(grey)[..., 0], alpha]), np.dstack([grey[..., 0], alpha]), None)


@pytest.mark.parametrize("name", ["grain", "jpeg"])
@pytest.mark.parametrize("target", [{"bpp": 0.6}, {"max_bytes": 12000}, {"quality": 60}])
def test_a_noisy_page_is_kept_as_a_page(name: str, target: dict[str, Any]) -> None:
    noisy = damaged(name)
    learned = MODEL.encode(noisy, **target, lossless=False)
    data = MODEL.encode(noisy, **target)
    info = dpc.inspect(data)
    assert (info.lossless, info.merged, info.level) == (False, True, None)
    assert len(data) <= (len(learned) if "quality" in target else 0.6 * noisy.size / 24 if "bpp" in target else 12000)
    shown = dpc.decode(data, as_array=True)
    assert error(shown, noisy) < min(40.0, error(MODEL.decode(learned, as_array=True), noisy))
    assert dpc.inspect(learned).level is not None


def test_a_page_that_is_not_nearer_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, tried = [], []
    monkeypatch.setattr(denoising, "nearer", lambda *_: bool(asked.append(1)))
    monkeypatch.setattr(overlay, "find", lambda *_: tried.append(1))
    assert dpc.inspect(MODEL.encode(damaged("grain"), bpp=0.6)).level is not None
    assert asked and tried


def test_what_has_room_is_kept_exactly() -> None:
    noisy = damaged("grain")
    for target in ({"max_bytes": 10**7}, {"bpp": 23.0}):
        data = MODEL.encode(noisy, **target)
        assert dpc.inspect(data).lossless
        np.testing.assert_array_equal(dpc.decode(data, as_array=True), noisy)


def test_a_mask_and_no_loss_say_no() -> None:
    noisy = damaged("grain")
    mask = np.zeros(noisy.shape[:2], np.uint8)
    assert dpc.inspect(MODEL.encode(noisy, quality=60, roi=mask)).level is not None
    assert dpc.inspect(MODEL.encode(noisy, quality=60, lossless=False)).level is not None
    assert dpc.inspect(MODEL.encode(noisy, lossless=True)).lossless


def test_the_only_file_that_fits_is_taken() -> None:
    noisy = damaged("grain")
    smallest = len(MODEL.encode(noisy, quality=1, lossless=False))
    data = MODEL.encode(noisy, max_bytes=smallest // 2)
    assert len(data) <= smallest // 2 and dpc.inspect(data).merged


def test_a_grey_page_with_alpha() -> None:
    grey = np.asarray(Image.fromarray(grained(CLEAN)).convert("L"))
    alpha = np.full(grey.shape, 255, np.uint8)
    alpha[:64] = 0
    data = MODEL.encode(Image.fromarray(np.dstack([grey, alpha])), bpp=0.6)
    assert dpc.inspect(data).merged
    shown = dpc.decode(data, as_array=True)
    np.testing.assert_array_equal(shown[..., 1], alpha)
    assert error(shown[64:, :, 0], grey[64:]) < 20
