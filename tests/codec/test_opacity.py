"""The alpha chunk: opacities come back, and what is damaged is Corrupt."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import UInt8, noise, opened, png, saved
from PIL import Image, ImageDraw

from dpc.codec import indexed, lossless, opacity
from dpc.errors import Corrupt

PNG = saved(Image.fromarray(noise(6, 8)))
WEBP = lossless.as_webp(np.dstack([noise(6, 8)] * 3), None)


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_round_trip(alpha: UInt8) -> None:
    data = opacity.to_bytes(alpha)
    back = opacity.from_bytes(data, alpha.shape[1], alpha.shape[0])
    assert back.dtype == np.uint8
    assert np.array_equal(back, alpha)
    assert opacity.to_bytes(alpha) == data


def test_a_strided_array() -> None:
    alpha = noise(6, 8)[::-2, ::3]
    assert np.array_equal(opacity.from_bytes(opacity.to_bytes(alpha), 3, 3), alpha)


def test_it_takes_fewer_bytes_than_a_png() -> None:
    """The edges of a disc took twice as many."""
    large = Image.new("L", (1024, 1024))
    ImageDraw.Draw(large).ellipse((100, 100, 924, 924), 255)
    disc = large.resize((256, 256), Image.Resampling.BOX)
    out = io.BytesIO()
    disc.save(out, "PNG", optimize=True)
    assert len(opacity.to_bytes(np.array(disc))) < 0.6 * len(out.getvalue())


def test_a_side_that_no_webp_has() -> None:
    alpha = np.zeros((1, lossless.MAX_SIDE + 1), np.uint8)
    alpha[:, ::3] = 9
    data = opacity.to_bytes(alpha)
    assert opened(data).mode == "L"
    assert np.array_equal(opacity.from_bytes(data, alpha.shape[1], 1), alpha)


def test_pngs_and_indexed_bodies_are_read() -> None:
    assert np.array_equal(opacity.from_bytes(PNG, 8, 6), noise(6, 8))
    alpha = noise(6, 8) & 0x81
    few = indexed.to_bytes(np.dstack([alpha] * 3))
    assert few is not None
    assert np.array_equal(opacity.from_bytes(few, 8, 6), alpha)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has 0 bytes, the least is 25"),
        (b"x", "has 1 bytes, the least is 25"),
        (PNG[:28], "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.fromarray(noise(8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.fromarray(noise(6, 9))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("RGB", (8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("LA", (8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("P", (8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("1", (8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("I;16", (8, 6))), "is not an 8-bit grey PNG of 8x6 pixels"),
        (png(65535, 65535, 8, 0, b""), "is not an 8-bit grey PNG of 8x6 pixels"),
        (saved(Image.new("L", (8, 6)), "JPEG"), "is not a WebP file of one VP8L chunk"),
        (WEBP + b"!!", "is not a WebP file of one VP8L chunk"),
        (lossless.as_webp(noise(8, 6, 3), None), "is a WebP of 6x8 pixels, not 8x6"),
        (lossless.as_webp(noise(6, 8, 3), noise(6, 8)), "has opacities of its own"),
    ],
)
def test_rule_r23_another_kind_or_size_is_corrupt(data: bytes, message: str) -> None:
    with pytest.raises(Corrupt, match=f"the alpha chunk {message}"):
        opacity.from_bytes(data, 8, 6)


def test_rule_r24_what_cannot_be_decoded_is_corrupt() -> None:
    broken = WEBP[:25] + bytes(len(WEBP) - 25)
    for data in (png(8, 6, 8, 0, b"\0"), PNG[:40], PNG[:29] + b"!!!!" + PNG[33:], PNG[:-30], broken):
        with pytest.raises(Corrupt, match="the alpha chunk cannot be decoded") as caught:
            opacity.from_bytes(data, 8, 6)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [PNG, WEBP])
def test_what_is_damaged_is_an_array_of_its_size_or_corrupt(whole: bytes) -> None:
    chance = random.Random(4)
    for step in range(2000):
        data = bytearray(whole if step % 4 else whole[: chance.randrange(len(whole))])
        for _ in range(chance.randint(1, 4)):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            alpha = opacity.from_bytes(bytes(data), 8, 6)
        except Corrupt:
            continue
        assert alpha.shape == (6, 8)
        assert alpha.dtype == np.uint8


def test_checksums_of_a_png_are_held() -> None:
    for at in range(29, len(PNG)):
        with pytest.raises(Corrupt, match="alpha"):
            opacity.from_bytes(PNG[:at] + bytes([PNG[at] ^ 1]) + PNG[at + 1 :], 8, 6)
