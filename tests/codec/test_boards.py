"""Boards in photographs: which are found, and that a file with them in its overlay is better for no more bytes."""

from __future__ import annotations

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dpc.codec import boards, container
from dpc.codec.codec import Codec

UInt8 = npt.NDArray[np.uint8]
MODEL = Codec(make_tiny.BYTES_MODEL, 1)
HEIGHT, WIDTH = 256, 320
BOARD = slice(40, 110), slice(60, 250)


def board(ink: str = "#ffffff", ground: str = "#1c4f8a", text: str = "Market 28") -> Image.Image:
    rows, columns = (part.stop - part.start for part in BOARD)
    image = Image.new("RGB", (columns, rows), ground)
    draw = ImageDraw.Draw(image)
    draw.text((columns // 2, rows // 2), text, ink, ImageFont.load_default(32), anchor="mm")
    return image


def photograph_with(sign: Image.Image, grain: int = 2) -> UInt8:
    """A photograph with a board in it, which has grain of so many levels."""
    picture = np.array(make_tiny.photograph(0, 0, WIDTH, HEIGHT))
    noise = np.random.default_rng(3).integers(-grain, grain + 1, (*sign.size[::-1], 1))
    picture[BOARD] = np.clip(np.asarray(sign).astype(int) + noise, 0, 255)
    return picture


def found_in(picture: UInt8) -> npt.NDArray[np.bool_]:
    """Where boards are found, (H, W)."""
    mask = np.zeros(picture.shape[:2], bool)
    for part, board_ in boards.find(picture):
        mask[part] |= board_
    return mask


def broken(picture: UInt8) -> UInt8:
    """The picture as networks would show it that break letters."""
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(4)))


def wanted() -> npt.NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[BOARD] = True
    return mask


@pytest.mark.parametrize("grain", [0, 2])
def test_a_board_is_found_with_its_letters(grain: int) -> None:
    found = found_in(photograph_with(board(), grain))
    assert found[wanted()].all(), "letters are inside, and no ground is left out"
    assert (found & ~wanted()).sum() < 0.2 * wanted().sum(), "hardly more than the board"


def test_a_board_in_perspective_is_found() -> None:
    picture = photograph_with(board())
    part = Image.fromarray(picture[BOARD])
    width, height = part.size
    leaning = (4, 0, 0, height, width - 6, height - 5, width, 3)
    picture[BOARD] = np.asarray(part.transform(part.size, Image.Transform.QUAD, leaning, Image.Resampling.BICUBIC))
    assert found_in(picture).any()


def test_what_is_no_board_is_not_found() -> None:
    photograph = np.array(make_tiny.photograph(0, 0, WIDTH, HEIGHT))
    assert not found_in(photograph).any()
    assert not found_in(photograph_with(board(text=""))).any(), "without letters the networks do well"
    shaded = board()
    ramp = np.linspace(0.5, 1, shaded.size[0])[None, :, None]
    assert not found_in(photograph_with(Image.fromarray((np.asarray(shaded) * ramp).astype(np.uint8)))).any()
    blurred = photograph.copy()
    blurred[BOARD] = photograph[BOARD].mean((0, 1)).astype(np.uint8)
    assert not found_in(blurred).any()


def test_small_and_plain_pictures_have_none() -> None:
    assert not found_in(np.zeros((31, 400, 3), np.uint8)).any()
    assert not found_in(np.full((200, 200, 3), 9, np.uint8)).any()
    assert not found_in(np.asarray(board())).any(), "a picture that is all board is a page"


def test_a_board_without_noise_is_shown_as_it_is() -> None:
    picture = photograph_with(board(), 0)
    page = boards.page(picture, None, lambda: broken(picture))
    assert page is not None
    np.testing.assert_array_equal(page.rgb[BOARD], picture[BOARD])
    grained = photograph_with(board(), 2)
    page = boards.page(grained, None, lambda: broken(grained))
    assert page is not None
    letters = np.abs(picture[BOARD].astype(int) - picture[45, 65]).max(2) > 8
    assert (page.rgb[BOARD][~letters] == page.rgb[45, 65]).all(), "plain ground is one colour"
    assert np.square(page.rgb[BOARD].astype(float) - picture[BOARD]).mean() < 4, "the noise is gone, nothing else"


def test_a_file_with_a_board_is_better_for_no_more_bytes() -> None:
    picture = photograph_with(board())
    size = len(MODEL.encode(picture, quality=40, lossless=False))
    data = MODEL.encode(picture, max_bytes=size)
    assert container.unpack(data).overlay is not None and len(data) <= size
    plain = MODEL.decode(MODEL.encode(picture, max_bytes=size, lossless=False), as_array=True).astype(float)
    shown = MODEL.decode(data, as_array=True).astype(float)
    error, before = (np.square(one - picture).mean(2) for one in (shown, plain))
    assert error[BOARD].mean() < 0.3 * before[BOARD].mean()
    assert error[~wanted()].mean() < 1.1 * before[~wanted()].mean()


def test_a_part_of_a_photograph_that_looks_like_one_stays_with_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.array(make_tiny.photograph(0, 0, WIDTH, HEIGHT))
    monkeypatch.setattr(boards, "find", lambda rgb: [((slice(0, HEIGHT), slice(0, WIDTH)), wanted())])
    assert container.unpack(MODEL.encode(picture, quality=60)).overlay is None


def test_a_board_that_is_clear_is_not_kept() -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    picture = photograph_with(board())
    assert boards.page(picture, alpha, lambda: broken(picture)) is not None
    alpha[wanted()] = 0
    page = boards.page(picture, alpha, lambda: broken(picture))
    assert page is None or not page.flat[BOARD].any()


def test_a_picture_that_is_all_boards_has_nothing_for_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photograph_with(board())
    everything = np.ones((HEIGHT, WIDTH), bool)
    monkeypatch.setattr(boards, "find", lambda rgb: [((slice(0, HEIGHT), slice(0, WIDTH)), everything)])
    assert boards.page(picture, None, lambda: 255 - picture) is None


def test_a_grey_picture_with_alpha_keeps_its_board() -> None:
    grey = photograph_with(board("#000000", "#ffffff")).mean(2).round().astype(np.uint8)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:20] = 0
    data = MODEL.encode(Image.fromarray(np.dstack([grey, alpha]), "LA"), quality=40)
    assert container.unpack(data).overlay is not None
    shown = MODEL.decode(data, as_array=True)
    assert shown.shape == (HEIGHT, WIDTH, 2)
    assert np.square(shown[BOARD][..., 0].astype(float) - grey[BOARD]).mean() < 100


def test_a_caption_at_the_edge_of_the_picture_is_found() -> None:
    picture = np.array(make_tiny.photograph(0, 0, WIDTH, HEIGHT))
    caption = Image.new("RGB", (WIDTH, 32), "#ffffff")
    ImageDraw.Draw(caption).text((10, 16), "08-03-2015 04:30", "#000000", ImageFont.load_default(20), anchor="lm")
    picture[-32:] = np.asarray(caption)
    found = found_in(picture)
    assert found[-32:].all() and not found[:-40].any()
