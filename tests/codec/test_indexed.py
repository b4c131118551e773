"""The indexed body: what comes back, where it does not apply, and what docs/format.md calls broken."""

from __future__ import annotations

import make_tiny
import make_vectors
import numpy as np
import numpy.typing as npt
import pytest

from dpc.codec import indexed, lossless
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]


def of(colours: int, height: int, width: int) -> UInt8:
    """A picture of so many colours, each there at least once."""
    values = np.resize(make_tiny.noise(height * width).astype(int) % colours, height * width)
    values[:colours] = np.arange(colours)
    return np.stack([values, 255 - values, values // 2], 1).astype(np.uint8).reshape(height, width, 3)


def same(rgb: UInt8, alpha: UInt8 | None = None) -> bytes:
    """The body of a picture, once it was seen that it comes back."""
    body = indexed.to_bytes(rgb, alpha)
    assert body is not None
    height, width = rgb.shape[:2]
    found, opacity = indexed.from_bytes(body, width, height, "body")
    np.testing.assert_array_equal(found, rgb)
    assert found.dtype == np.uint8
    if alpha is None or (alpha == 255).all():
        assert opacity is None
    else:
        np.testing.assert_array_equal(opacity, alpha)
    return body


@pytest.mark.parametrize("colours", [2, 3, 4, 5, 16, 17, 128, 129, 255, 256])
def test_pictures_come_back(colours: int) -> None:
    body = same(of(colours, 67, 13))
    assert body[:2] == bytes([indexed.OPAQUE, colours - 1])


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 300), (300, 1), (64, 5), (65, 5), (128, 3), (2, 200)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    same(of(2, *size))
    same(of(min(size[0] * size[1], 200), *size))


def test_letters_take_less_than_a_webp() -> None:
    rgb = np.array(make_vectors.letters(137, 150))
    assert len(same(rgb)) < 0.9 * len(lossless.as_webp(rgb, None))
    assert lossless.to_bytes(rgb, None) == indexed.to_bytes(rgb)


def test_clear_pixels_come_back_black() -> None:
    rgb, alpha = of(5, 70, 9), np.full((70, 9), 255, np.uint8)
    alpha[3:40, 2:] = 0
    body = indexed.to_bytes(rgb, alpha)
    assert body is not None and lossless.has_alpha(body)
    assert body[:2] == bytes([indexed.CLEAR, 5]) and body[2 + 15 : 2 + 18] == bytes(3)
    assert same(np.where(alpha[..., None] > 0, rgb, 0).astype(np.uint8), alpha) == body
    assert same(rgb, np.full((70, 9), 255, np.uint8)) == indexed.to_bytes(rgb), "nothing is clear"
    same(np.repeat(np.where(alpha > 0, 7, 0)[..., None], 3, 2).astype(np.uint8), alpha)


def test_each_colour_may_have_its_opacity() -> None:
    rgb, alpha = of(5, 70, 9), np.resize(np.array([255, 0, 17, 254], np.uint8), (70, 9))
    alpha[:40] = 255
    black = np.where(alpha[..., None] > 0, rgb, 0).astype(np.uint8)
    body = same(black, alpha)
    assert body[:2] == bytes([indexed.TRANSLUCENT, 15]) and lossless.has_alpha(body)
    assert indexed.to_bytes(rgb, alpha) == body and len({body[2:][k : k + 4] for k in range(0, 64, 4)}) == 16
    assert body[5] == 255, "the most frequent colour comes first"
    assert same(rgb, np.full((70, 9), 9, np.uint8))[:2] == bytes([indexed.TRANSLUCENT, 4]), "all translucent"


def test_the_most_frequent_colour_comes_first() -> None:
    rgb = np.full((9, 9, 3), (200, 100, 50), np.uint8)
    rgb[0, :3], rgb[1, 1] = (1, 2, 3), (0, 0, 0)
    assert same(rgb)[2:11] == bytes([200, 100, 50, 1, 2, 3, 0, 0, 0])


ALL_BUT_THE_LAST = np.where(np.arange(400).reshape(20, 20) < 399, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("rgb", "alpha"),
    [
        (of(256, 20, 20), ALL_BUT_THE_LAST),
        (of(2, 20, 20), np.arange(400).reshape(20, 20).astype(np.uint8)),
        (np.zeros((4097, 4096, 3), np.uint8), None),
        (make_tiny.noise(30, 30, 3), None),
    ],
    ids=["256-and-clear", "many-opacities", "large", "many"],
)
def test_it_does_not_apply(rgb: UInt8, alpha: UInt8 | None) -> None:
    assert indexed.to_bytes(rgb, alpha) is None


@pytest.mark.parametrize("colour", [(0, 0, 0), (0, 0, 1), (255, 254, 253)])
def test_one_colour_has_a_second_that_no_pixel_has(colour: tuple[int, ...]) -> None:
    rgb = np.broadcast_to(np.uint8(colour), (40, 30, 3))
    body = same(rgb)
    assert body[:2] == bytes([indexed.OPAQUE, 1]) and len(body) == 12 and body[2:5] != body[5:8]
    assert same(rgb, np.full((40, 30), 9, np.uint8))[:2] == bytes([indexed.TRANSLUCENT, 1])
    clear = same(np.zeros((40, 30, 3), np.uint8), np.zeros((40, 30), np.uint8))
    assert clear[:2] == bytes([indexed.CLEAR, 1])


GOOD = same(np.array(make_vectors.letters(80, 60))[:30, :40])
WORDS = 2 + 3 * (GOOD[1] + 1)
BROKEN = [
    ("bytes, which are not those of 0 colours", GOOD[:1]),
    ("bytes, which are not those of 1 colours", b"\1\0" + GOOD[2:]),
    ("bytes, which are not those of", GOOD[:WORDS]),
    ("bytes, which are not those of", GOOD[:-1]),
    ("bytes, which are not those of", GOOD + b"\1"),
    ("bytes, which are not those of", b"\1\xff" + GOOD[2:200]),
    ("bytes, which are not those of 2 colours", b"\3\1" + bytes(7) + GOOD[-4:]),
    ("ends in a zero word", GOOD + bytes(4)),
    ("ends before its picture", GOOD[:WORDS] + GOOD[WORDS + 4 :]),
    ("ends before its picture", GOOD[:WORDS] + b"\xff\xff\xff\0"),
    ("does not end with its picture", GOOD[:WORDS] + b"\1\0\0\0" + GOOD[WORDS:]),
    ("does not end with its picture", GOOD[:WORDS] + bytes(4) + GOOD[WORDS:]),
    ("uses colour 3 of 3", b"\1\2" + bytes(9) + indexed._coded(np.full((30, 40), 3, np.uint8), 3)),
]


@pytest.mark.parametrize(("message", "body"), BROKEN)
def test_what_no_writer_makes_is_corrupt(message: str, body: bytes) -> None:
    with pytest.raises(Corrupt, match=rf"^the body .*{message}.*; the file is damaged") as caught:
        indexed.from_bytes(body, 40, 30, "body")
    assert "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_before_anything_is_read() -> None:
    with pytest.raises(Corrupt, match="of 4096x4097 pixels, above 16777216 in all"):
        indexed.from_bytes(GOOD, 4096, 4097, "overlay")
