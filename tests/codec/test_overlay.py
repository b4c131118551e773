"""The overlay: which parts of a picture it takes, that nothing gets worse by it, and how it is laid over."""

from __future__ import annotations

import dataclasses

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

import dpc
from dpc.codec import container, hidden, lossless, merging, overlay, pages
from dpc.codec.codec import Codec
from dpc.errors import Corrupt, TooLarge

UInt8 = npt.NDArray[np.uint8]
MODEL = Codec(make_tiny.BYTES_MODEL, 1)
PHOTO = slice(48, 128), slice(64, 160)


def window() -> UInt8:
    """A page with a photograph in it."""
    page = make_tiny.page(384, 320, 0.0)
    page.paste(make_tiny.photograph(100, 40, 96, 80), (64, 48))
    return np.array(page)


WINDOW = window()


def error(one: UInt8, other: UInt8) -> float:
    return float(np.square(one.astype(float) - other).mean())


def test_it_takes_the_page_and_leaves_the_photograph() -> None:
    page = overlay.find(WINDOW)
    assert page is not None
    assert not page.flat[PHOTO].any() and page.flat.mean() > 0.7
    np.testing.assert_array_equal(page.behind[PHOTO], WINDOW[PHOTO])
    blocks = page.behind[160:, :64].astype(int)
    assert np.abs(np.diff(blocks, axis=0)).max() < 12, "what lies under the overlay is smooth"


def test_letters_beside_a_photograph_are_taken_too() -> None:
    """Within 16 pixels of a photograph they were left to the networks, which smeared them."""
    captioned = WINDOW.copy()
    line = WINDOW[160:176, 40:200]  # letters of the page, right below the photograph and beside it
    assert np.ptp(line.astype(int)) > 100
    captioned[128:144, 40:200] = line
    captioned[48:128, 160:176] = line[:, :80].transpose(1, 0, 2)
    page = overlay.find(captioned)
    assert page is not None
    assert page.flat[128:144, 40:200].mean() > 0.95 and page.flat[48:128, 160:176].mean() > 0.9
    assert not page.flat[PHOTO].any()


def test_a_page_ends_at_the_border_of_a_photograph() -> None:
    """Up to 31 pixels around it were left to the networks, which drew ghosts there and broke captions."""
    page = Image.new("RGB", (384, 320), (250, 250, 250))
    page.paste(make_tiny.photograph(100, 40, 96, 80), (67, 51))
    draw = ImageDraw.Draw(page)
    draw.text((70, 134), "IMG_2048.jpg by the harbour", (20, 20, 20), ImageFont.load_default(12))
    draw.rounded_rectangle((200, 60, 320, 90), 12, (255, 216, 20))
    draw.text((214, 67), "Add to basket", (15, 17, 17), ImageFont.load_default(13))
    found = overlay.find(np.array(page))
    assert found is not None
    photo = np.zeros((320, 384), bool)
    photo[51:131, 67:163] = True
    np.testing.assert_array_equal(found.flat, ~photo)


def test_letters_that_touch_a_photograph_are_letters() -> None:
    page = Image.new("RGB", (384, 320), (250, 250, 250))
    page.paste(make_tiny.photograph(100, 40, 160, 120), (60, 120))
    bottom = ImageDraw.Draw(page).textbbox((64, 0), "gypping", font=ImageFont.load_default(20))[3]
    ImageDraw.Draw(page).text((64, 121 - bottom), "gypping", (20, 20, 20), ImageFont.load_default(20))
    rgb = np.array(page)
    assert (rgb[119, 60:220] < 200).any(), "they do touch"
    found = overlay.find(rgb)
    assert found is not None and found.flat[:117].all() and not found.flat[120:240, 60:220].any()


def test_a_small_photograph_is_no_letter() -> None:
    page = Image.new("RGB", (384, 320), (250, 250, 250))
    page.paste(make_tiny.photograph(100, 40, 24, 20), (60, 50))
    page.paste(make_tiny.photograph(100, 40, 160, 120), (160, 120))
    found = overlay.find(np.array(page))
    assert found is not None and not found.flat[50:70, 60:84].any() and not found.flat[120:240, 160:320].any()


def test_what_is_clear_in_the_picture_is_not_kept() -> None:
    alpha = np.full(WINDOW.shape[:2], 255, np.uint8)
    alpha[:, 200:] = 0
    rgb = WINDOW.copy()
    hidden.cover(rgb, alpha)
    page, whole = overlay.find(rgb, alpha), overlay.find(WINDOW)
    assert page is not None and whole is not None
    assert not page.flat[:, 200:].any() and page.flat[:, :176].any()
    assert page.flat[200:, :199].all(), "letters that end at what is clear are letters"
    assert overlay.find(rgb, np.zeros_like(alpha)) is None
    data = MODEL.encode(np.dstack([WINDOW, alpha]), quality=60)
    assert container.unpack(data).overlay is not None
    decoded = MODEL.decode(data, as_array=True)
    np.testing.assert_array_equal(decoded[..., 3], alpha)
    assert error(decoded[160:, :176, :3], WINDOW[160:, :176]) < 30


def test_the_border_of_a_picture_is_ground() -> None:
    """A bar that ends in the last, narrow blocks: nothing there goes to the networks."""
    ragged = WINDOW[:, :-8].copy()
    ragged[:40] = (50, 70, 120)
    page = overlay.find(ragged)
    assert page is not None and page.flat[:, 192:].all()


def test_letters_in_an_overlay_are_not_said_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    for target in ({"quality": 60}, {"max_bytes": 7400}):
        MODEL.encode(WINDOW, **target, note=notes.append)  # type: ignore[arg-type]
    assert not notes
    monkeypatch.setattr(overlay, "find", lambda rgb, alpha: None)
    MODEL.encode(WINDOW, quality=60, note=notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize("size", [(300, 250), (40, 30), (200, 20)])
def test_photographs_have_none(size: tuple[int, int]) -> None:
    photo = np.array(make_tiny.photograph(0, 0, *size))
    assert overlay.find(photo) is None
    blown_out = np.clip(photo.astype(int) * 3, 0, 255).astype(np.uint8)
    page = overlay.find(blown_out)
    assert page is None or (blown_out[page.flat] == 255).mean() > 0.4


def test_a_page_without_others_has_none() -> None:
    assert overlay.find(np.array(make_tiny.page(256, 224, 0.0))) is None


@pytest.mark.parametrize("target", [{"quality": 60}, {"max_bytes": 7400}, {"bpp": 0.48}])
def test_nothing_gets_worse_and_letters_stay(target: dict[str, float]) -> None:
    plain, data = (MODEL.encode(WINDOW, **target, lossless=keep) for keep in (False, None))  # type: ignore[arg-type]
    before, info = dpc.inspect(plain), dpc.inspect(data)
    assert "overlay" in info.chunks and "overlay" not in before.chunks and not info.merged
    assert info.bytes <= max(before.bytes, target.get("max_bytes", 0)) * 1.01
    assert info.level is not None and before.level is not None and info.level >= before.level
    one, other = (MODEL.decode(d, as_array=True) for d in (plain, data))
    page = overlay.find(WINDOW)
    assert page is not None
    assert error(other[page.flat], WINDOW[page.flat]) < 0.1 * error(one[page.flat], WINDOW[page.flat])
    assert error(other[PHOTO], WINDOW[PHOTO]) < 1.15 * error(one[PHOTO], WINDOW[PHOTO])


def dense(lines: int = 12) -> UInt8:
    """A photograph and lines of small letters."""
    page = Image.new("RGB", (384, 320), (250, 250, 250))
    page.paste(make_tiny.photograph(100, 40, 200, 120), (67, 51))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(10)
    for n in range(lines):
        line = f"Nets lay in heaps along the quay and gulls walked between them {n} looking"
        draw.text((10, 182 + 11 * n), line, (20, 20 + 9 * n, 120 - 9 * n), font)
    return np.array(page)


@pytest.mark.parametrize("bpp", [0.35, 0.4])
def test_letters_that_do_not_fit_take_bytes_from_the_photograph(bpp: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """They went to the networks, which broke all of them. At the lower rate they fit in few colours only."""
    page = dense()
    data, plain = (MODEL.encode(page, bpp=bpp, lossless=keep) for keep in (None, False))
    assert container.unpack(data).overlay is not None and len(data) <= 1.01 * bpp * page.size / 24
    shown, other = (MODEL.decode(file, as_array=True) for file in (data, plain))
    assert error(shown, page) < error(other, page) / 4
    assert error(shown[180:], page[180:]) < error(other[180:], page[180:]) / 4
    monkeypatch.setattr(merging, "nearer", lambda *_: False)
    assert MODEL.encode(page, bpp=bpp) == plain


def test_a_part_and_a_grey_picture() -> None:
    data = MODEL.encode(WINDOW, quality=60)
    whole = MODEL.decode(data, as_array=True)
    part = MODEL.decode(data, region=(30, 20, 170, 131), as_array=True)
    np.testing.assert_array_equal(part, whole[20:131, 30:170])
    with pytest.raises(TooLarge, match="max_pixels is 20000"):
        MODEL.decode(data, region=(30, 20, 170, 131), max_pixels=20000)
    grey = np.repeat(WINDOW[..., 1:2], 3, 2)
    made = MODEL.encode(grey[..., 0], quality=40)
    assert "overlay" in dpc.inspect(made).chunks
    shown = MODEL.decode(made, as_array=True)
    page = overlay.find(grey)
    assert page is not None and shown.shape == WINDOW.shape[:2]
    assert error(shown[page.flat], grey[..., 0][page.flat]) < 16


def test_an_overlay_is_blended_over_the_body() -> None:
    file = container.unpack(MODEL.encode(WINDOW, quality=60, lossless=False))
    below = MODEL.decode(container.pack(file), as_array=True)
    opacity = np.zeros(WINDOW.shape[:2], np.uint8)
    opacity[:10, :10], opacity[20:30, 20:30], opacity[40:, 5:] = 255, 1, 144
    red = np.broadcast_to(np.array([200, 10, 20], np.uint8), WINDOW.shape)
    laid = container.pack(dataclasses.replace(file, overlay=lossless.to_bytes(red, opacity)))
    shown = MODEL.decode(laid, as_array=True)
    share = opacity[..., None].astype(int)
    np.testing.assert_array_equal(shown, (share * red + (255 - share) * below + 127) // 255)
    np.testing.assert_array_equal(shown[:10, :10], red[:10, :10])
    np.testing.assert_array_equal(shown[30:40], below[30:40])
    np.testing.assert_array_equal(MODEL.decode(laid, region=(3, 25, 90, 77), as_array=True), shown[25:77, 3:90])
    everywhere = container.pack(dataclasses.replace(file, overlay=lossless.to_bytes(red, None)))
    np.testing.assert_array_equal(MODEL.decode(everywhere, as_array=True), red)


def test_a_wrong_overlay_is_one_line() -> None:
    file = container.unpack(MODEL.encode(WINDOW, quality=60, lossless=False))
    for payload, message in (
        (lossless.to_bytes(WINDOW[:20], None), "the overlay is a WebP of 384x20 pixels, not 384x320; .*get it again"),
        (b"x", "the overlay has 1 bytes, the least is 25"),
    ):
        with pytest.raises(Corrupt, match=message):
            MODEL.decode(container.pack(dataclasses.replace(file, overlay=payload)))


@pytest.mark.parametrize("size", [4600, 5900, 7300])
def test_no_file_is_larger_than_it_may_be(size: int) -> None:
    data = MODEL.encode(dense(), max_bytes=size)
    assert len(data) <= size and container.unpack(data).overlay is not None


def test_the_photograph_gains_more_than_half_tones_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    page = dense(5)
    made = [dpc.encode(page, **target) for target in ({"bpp": 0.6}, {"quality": 95})]  # type: ignore[arg-type]
    monkeypatch.setattr(pages, "FINEST", 0)
    finest = [dpc.encode(page, **target) for target in ({"bpp": 0.6}, {"quality": 95})]  # type: ignore[arg-type]
    assert (container.peek(made[0]).level or 0) > (container.peek(finest[0]).level or 0)
    errors = [error(dpc.decode(data, as_array=True), page) for data in (made[0], finest[0])]
    assert errors[0] < errors[1]
    assert made[1] == finest[1], "at a high quality all colours stay"


def test_a_grey_photograph_is_no_letter() -> None:
    """It has few colours, and was kept nearly without loss: four times the bytes, and letters paid for it."""
    page = Image.new("RGB", (384, 320), (250, 250, 250))
    grey = make_tiny.photograph(100, 40, 160, 120).convert("L").point([40 + 110 * n // 255 for n in range(256)])
    page.paste(grey.convert("RGB"), (100, 100))
    found = overlay.find(np.array(page))
    assert found is not None and found.flat[:100].all() and found.flat[100:220, 100:260].mean() < 0.1


def test_a_page_of_one_colour_beside_a_photograph_is_kept() -> None:
    page = Image.new("RGB", (384, 320))
    page.paste(make_tiny.photograph(60, 40, 384, 160), (0, 80))
    data = MODEL.encode(np.array(page), bpp=0.4)
    assert container.unpack(data).overlay is not None
    assert not MODEL.decode(data, as_array=True)[:64].any()


def test_a_page_that_is_cheap_without_loss_is_not_searched_for_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.array(make_tiny.page(384, 320, 0.0))
    looked: list[bool] = []
    monkeypatch.setattr(overlay, "find", lambda rgb, alpha: looked.append(True))
    assert container.peek(MODEL.encode(page, quality=80)).lossless and not looked
    monkeypatch.setattr(pages, "CHEAP", 0)
    assert container.peek(MODEL.encode(page, quality=80)).lossless and looked, "the same file, after a search"
