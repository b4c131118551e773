"""The lossless body: what comes back, and what docs/format.md calls broken."""

from __future__ import annotations

import io
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import dpc
from dpc.codec import lossless
from dpc.codec.container import DPCFile, pack
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]

RGB = make_tiny.noise(7, 5, 3)
ALPHA = make_tiny.noise(7, 5) | 1  # nothing is clear


def webp(pixels: UInt8, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", **({"lossless": True, "exact": True} | options))
    return out.getvalue()


@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_every_pixel_comes_back(alpha: UInt8 | None) -> None:
    body = lossless.to_bytes(RGB, alpha)
    rgb, found = lossless.from_bytes(body, 5, 7)
    np.testing.assert_array_equal(rgb, RGB)
    assert lossless.has_alpha(body) == (alpha is not None)
    if alpha is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, alpha)


@pytest.mark.parametrize(("grey", "alpha", "mode"), [(0, 0, "RGB"), (0, 1, "RGBA"), (1, 0, "L"), (1, 1, "LA")])
def test_a_file_needs_no_model(grey: int, alpha: int, mode: str) -> None:
    rgb = np.dstack([ALPHA] * 3) if grey else RGB
    body = lossless.to_bytes(rgb, ALPHA if alpha else None)
    data = pack(DPCFile(width=5, height=7, grey=bool(grey), model=None, level=None, body=body))
    image = dpc.decode(data)
    assert (image.mode, image.size) == (mode, (5, 7))
    np.testing.assert_array_equal(np.asarray(image.convert("RGBA"))[:, :, :3], rgb)
    if alpha:
        np.testing.assert_array_equal(np.asarray(image)[:, :, -1], ALPHA)
    info = dpc.inspect(data)
    assert (info.lossless, info.mode, info.model, info.model_id, info.level, info.quality) == (
        (True, mode, None, None, None, 100)
    )
    dpc.register()
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == mode
        assert opened.tobytes() == image.tobytes()


GOOD = webp(RGB)
BROKEN = [
    ("R26", b""),
    ("R26", GOOD[:24]),
    ("R26", GOOD[:-1]),
    ("R26", GOOD + b"!"),
    ("R26", GOOD + b"EXIF\0\0\0\0"),
    ("R26", b"RIFX" + GOOD[4:]),
    ("R26", webp(RGB, lossless=False)),
    ("R26", webp(RGB, exif=b"Exif\0\0MM")),
    ("R26", webp(make_tiny.noise(5, 7, 3))),
    ("R26", make_tiny._saved(Image.fromarray(RGB))),
    ("R26", GOOD[:24] + bytes([GOOD[24] | 0x20]) + GOOD[25:]),
    ("R27", GOOD[:25] + bytes(len(GOOD) - 25)),
]


@pytest.mark.parametrize(("rule", "body"), BROKEN)
def test_what_is_no_lossless_body_is_corrupt(rule: str, body: bytes) -> None:
    with pytest.raises(Corrupt, match="cannot be decoded" if rule == "R27" else "body (is a|has|is not a)") as caught:
        lossless.from_bytes(body, 5, 7)
    assert "; " in str(caught.value)
