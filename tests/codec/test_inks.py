"""Letters on gradients and photographs: what is found, how it is told, and when it is taken."""

from __future__ import annotations

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

import dpc
from dpc.codec import container, inks, lossless, merging, overlay
from dpc.codec.codec import Codec

UInt8 = npt.NDArray[np.uint8]
MODEL = Codec(make_tiny.BYTES_MODEL, 1)
INKS = (255, 255, 255), (255, 225, 77)


def gradient(height: int = 256, width: int = 320) -> UInt8:
    """From blue to sand, across and down."""
    share = (np.arange(height)[:, None] / height + np.arange(width) / width)[..., None] / 2
    return np.rint((1 - share) * (40, 90, 170) + share * (220, 190, 140)).astype(np.uint8)


def lettered(ground: UInt8, size: int = 20) -> UInt8:
    picture = Image.fromarray(ground)
    draw = ImageDraw.Draw(picture)
    for number in range(4):
        line = f"The {number}th of letters"
        draw.text((20, 20 + 48 * number), line, INKS[number % 2], ImageFont.load_default(size + 4 * number))
    return np.array(picture)


PHOTO = np.array(make_tiny.photograph(60, 40, 320, 256))
ON_GRADIENT, ON_PHOTO = lettered(gradient()), lettered(PHOTO)
PICTURES = pytest.mark.parametrize(("picture", "ground"), [(ON_GRADIENT, gradient()), (ON_PHOTO, PHOTO)])


def error(one: UInt8, other: UInt8) -> float:
    return float(np.square(one.astype(float) - other).mean())


def found_in(picture: UInt8, alpha: UInt8 | None = None) -> inks.Drawn:
    drawn = inks.find(picture, alpha)
    assert drawn is not None
    return drawn


@PICTURES
def test_letters_are_told_as_inks_over_the_ground(picture: UInt8, ground: UInt8) -> None:
    drawn = found_in(picture)
    assert {tuple(ink) for ink in drawn.inks.tolist()} >= set(INKS)
    assert drawn.smooth == (ground is not PHOTO)
    letters = (picture != ground).any(2)
    touched = (drawn.behind != picture).any(2)
    assert (drawn.opacity[letters] > 0).mean() > 0.8 and (drawn.opacity > 0)[~letters].mean() < 0.02
    assert error(drawn.behind[letters], ground[letters]) < error(picture[letters], ground[letters]) / 20
    data = drawn.fitting(1e6, 1e6)
    assert data is not None
    over, opacity = lossless.from_bytes(data, 320, 256)
    assert opacity is not None and len(np.unique(opacity)) <= 16
    shown = overlay.blended(drawn.behind, over, opacity)
    assert np.abs(shown.astype(int) - picture)[touched].max() <= 24
    assert error(shown, picture) < 0.02 * error(ground, picture)


def test_the_ground_of_a_gradient_comes_back() -> None:
    assert error(found_in(ON_GRADIENT).behind, gradient()) < 0.2


def test_letters_on_a_grey_gradient() -> None:
    """Ground of few greys was taken for ink, and letters for a part of it: bands in place of both."""
    grey = np.repeat(gradient().mean(2).astype(np.uint8)[..., None], 3, 2)
    drawn = found_in(np.array(Image.fromarray(lettered(grey)).convert("L").convert("RGB")))
    assert len(drawn.inks) == 2 and drawn.smooth
    assert error(drawn.behind, grey) < 0.2


def test_no_letter_of_dense_lines_is_left() -> None:
    """Some were, as little ground is around them, and so was the middle of strokes."""
    picture = Image.fromarray(gradient())
    draw = ImageDraw.Draw(picture)
    for number in range(12):
        draw.text((8, 6 + 15 * number), "Every letter is in the overlay, hmm " * 2, INKS[0], ImageFont.load_default(15))
    draw.text((30, 190), "Bold", INKS[0], ImageFont.load_default(50), stroke_width=1)
    page = np.array(picture)
    assert (inks._spans(page) > 40).mean() > 0.3 and (inks._spans(found_in(page).behind) > 40).mean() < 0.001


@PICTURES
def test_smaller_overlays_have_fewer_opacities(picture: UInt8, ground: UInt8) -> None:
    drawn = found_in(picture)
    sizes = [len(drawn._encoded(steps)) for steps in inks.STEPS]
    assert sizes == sorted(sizes, reverse=True)
    for steps, size in zip(inks.STEPS, sizes, strict=True):
        data = drawn.fitting(size, size)
        assert data is not None and len(data) == size
        opacity = lossless.from_bytes(data, 320, 256)[1]
        assert opacity is not None and len(np.unique(opacity)) <= steps + 1
    assert drawn.fitting(sizes[-1] - 1, 1e6) is None
    few, many = (drawn.fitting(1e6, share) for share in (0, sizes[1]))
    assert few is not None and len(few) == sizes[inks.STEPS.index(inks.MIDDLE)]
    assert many is not None and len(many) == sizes[1], "as fine as its share allows"


def test_lines_on_a_gradient_have_inks_of_their_own() -> None:
    picture = Image.fromarray(ON_GRADIENT)
    wide = Image.new("L", (1280, 1024))
    ImageDraw.Draw(wide).line((200, 900, 1100, 960), 255, 6)
    picture.paste((90, 20, 30), (0, 0), wide.resize((320, 256), Image.Resampling.BOX))
    drawn = found_in(np.array(picture))
    line = np.array(picture).astype(int)[220:245] - ON_GRADIENT[220:245]
    assert len(drawn.inks) > len(found_in(ON_GRADIENT).inks)
    assert (drawn.opacity[220:245] > 0)[np.abs(line).max(2) > 40].mean() > 0.9


@pytest.mark.parametrize(
    "picture",
    [PHOTO, gradient(), np.array(make_tiny.page(320, 256, 0.0)), np.full((256, 320, 3), 9, np.uint8), ON_PHOTO[:31]],
    ids=["photograph", "gradient", "page", "one-colour", "small"],
)
def test_nothing_is_found_where_no_letters_are(picture: UInt8) -> None:
    assert inks.find(picture) is None


def test_a_pattern_is_no_letters() -> None:
    """It ends sharply all over, and took ten seconds for two megapixels."""
    rows, columns = np.mgrid[:256, :320] // 3
    assert inks.find(np.where((rows + columns)[..., None] % 2, gradient(), 255).astype(np.uint8)) is None


def test_a_light_in_a_photograph_is_no_ink() -> None:
    """It is of one colour in the middle, but has more pixels of almost that colour."""
    away = np.abs(np.hypot(*np.mgrid[-128:128, -160:160]) % 80 - 40)
    photo = np.clip(PHOTO * 0.3 + np.clip(340 - 8 * away, 0, 300)[..., None], 0, 255).astype(np.uint8)
    assert (photo == 255).all(2).mean() > 10 * inks.DRAWN
    assert inks.find(photo) is None


def test_what_is_clear_is_not_kept() -> None:
    alpha = np.full((256, 320), 255, np.uint8)
    alpha[:60] = 0
    assert not found_in(ON_GRADIENT, alpha).opacity[:60].any()
    assert found_in(ON_GRADIENT).opacity[:60].any()


@pytest.mark.parametrize("target", [{"bpp": 0.5}, {"max_bytes": 5000}])
def test_letters_stay_sharp(target: dict[str, float]) -> None:
    data, plain = (MODEL.encode(ON_PHOTO, **target, lossless=keep) for keep in (None, False))  # type: ignore[arg-type]
    assert "overlay" in dpc.inspect(data).chunks and len(data) <= target.get("max_bytes", 1.01 * 0.5 * PHOTO.size / 24)
    shown, other = (MODEL.decode(file, as_array=True) for file in (data, plain))
    letters = (ON_PHOTO != PHOTO).any(2)
    assert error(shown[letters], ON_PHOTO[letters]) < error(other[letters], ON_PHOTO[letters]) / 4
    assert error(shown, ON_PHOTO) < error(other, ON_PHOTO)


def test_bytes_that_the_networks_cannot_use_make_letters_finer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inks, "SHARES", {True: 0.0, False: 0.0})
    few, many = (container.unpack(MODEL.encode(ON_PHOTO, bpp=bpp)).overlay for bpp in (0.5, 2))
    assert few is not None and many is not None
    assert [len(few), len(many)] == [len(found_in(ON_PHOTO)._encoded(steps)) for steps in (5, 15)]


def test_at_a_quality_no_file_gets_larger() -> None:
    picture = Image.fromarray(PHOTO)
    ImageDraw.Draw(picture).text((20, 60), "HARBOUR", INKS[0], ImageFont.load_default(64))
    data, plain = (dpc.encode(picture, quality=60, lossless=keep) for keep in (None, False))
    assert "overlay" in dpc.inspect(data).chunks and len(data) <= len(plain)
    assert dpc.inspect(data).level == dpc.inspect(plain).level


def test_they_are_left_to_the_networks_where_that_is_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MODEL.encode(ON_PHOTO, bpp=0.5, lossless=False)
    monkeypatch.setattr(merging, "nearer", lambda *_: False)
    assert MODEL.encode(ON_PHOTO, bpp=0.5) == plain


def test_they_are_not_coded_where_the_rest_would_lose_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second coder takes as long as the first one."""
    made: list[UInt8] = []
    coder = Codec._coder
    monkeypatch.setattr(Codec, "_coder", lambda *args: made.append(args[2]) or coder(*args))  # type: ignore[func-returns-value]
    MODEL.encode(ON_PHOTO, bpp=0.5)
    assert len(made) == 2
    made.clear()
    monkeypatch.setattr(merging, "squares", lambda rgb, shown, alpha: 1.0 if alpha is None else 0.05)
    MODEL.encode(ON_PHOTO, bpp=0.5)
    assert len(made) == 1


def test_with_a_mask_letters_take_nothing_from_the_rest() -> None:
    """They got worse inside of a mask, as none were looked for."""
    roi = np.zeros((256, 320))
    roi[128:] = 1
    data, plain = (dpc.encode(ON_GRADIENT, bpp=0.3, roi=roi, lossless=keep) for keep in (None, False))
    info, other = dpc.inspect(data), dpc.inspect(plain)
    assert "overlay" in info.chunks and info.level is not None and other.level is not None
    assert info.level >= other.level and len(data) <= 1.01 * 0.3 * PHOTO.size / 24
    shown, before = (dpc.decode(file, as_array=True) for file in (data, plain))
    assert error(shown[128:], ON_GRADIENT[128:]) < error(before[128:], ON_GRADIENT[128:]) / 4
    assert container.unpack(MODEL.encode(ON_PHOTO, bpp=0.5)).overlay is not None
    assert container.unpack(MODEL.encode(ON_PHOTO, bpp=0.5, roi=roi)).overlay is None, "too large beside the rest"


def test_a_page_with_gradients_is_kept_the_nearer_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its colours could be merged, nothing else was looked at: bands and ragged letters."""
    coders: list[int] = []
    coder = Codec._coder
    monkeypatch.setattr(Codec, "_coder", lambda *args: coders.append(1) or coder(*args))  # type: ignore[func-returns-value]
    for letters in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(merging, "nearer", lambda *_, letters=letters: letters)
            info = dpc.inspect(MODEL.encode(ON_GRADIENT, bpp=0.5))
        assert info.merged != letters and ("overlay" in info.chunks) == letters
    assert len(coders) == 4
    monkeypatch.setattr(inks, "find", lambda *_: None)
    assert dpc.inspect(MODEL.encode(ON_GRADIENT, bpp=0.5)).merged
    assert len(coders) == 4, "the networks have nothing to do where no letters are found"
