"""The body of a lossless file: a WebP of the whole picture, or an indexed body where that is smaller.

docs/format.md, "The lossless body", is the norm. numpy is loaded when a body is read or written only: opening a file
needs neither.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

from PIL import Image

from dpc.errors import Corrupt, OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    UInt8 = NDArray[np.uint8]

__all__ = ["MAX_SIDE", "from_bytes", "guessed", "has_alpha", "to_bytes", "worth_trying"]

MAX_SIDE = 16383  # pixels; what WebP can hold
INDEXED = ((4, 8, 16, 32, 64, 128, 256), (0.47, 0.49, 0.52, 0.58, 0.66, 0.73, 0.83))
"""Colours, and about the bytes of an indexed body for one of a WebP, within a fifth on this project's pages."""
SMALL = 64 * 64  # pixels: a picture of no more is always tried
FLAT = 0.5  # flatness from which a picture is tried; photographs lie below
ROWS = 48
_HEADER = struct.Struct("<4sI8sIBI")  # RIFF, size, "WEBPVP8L", size, 0x2f, 14 + 14 + 1 + 3 bits
_INDEXED = (b"\1", b"\2", b"\3")  # the first byte of an indexed body; the first kind alone is opaque
_DAMAGED = "the file is damaged, get it again"


def worth_trying(rgb: UInt8) -> bool:
    """Whether a picture (H, W, 3) may well take fewer bytes without loss: SMALL, or FLAT as flags and pages are."""
    height, width = rgb.shape[:2]
    return height * width <= SMALL or flatness(rgb) >= FLAT


def flatness(rgb: UInt8) -> float:
    """The share of pixels that equal the one to the left or above, of about ROWS rows all over the picture."""
    height, width = rgb.shape[:2]
    if min(height, width) < 2:
        line = rgb.reshape(-1, 3)
        return float((line[1:] == line[:-1]).all(1).mean()) if len(line) > 1 else 1.0
    every = slice(1, height, max(1, (height - 1) // ROWS))
    here, above = rgb[every], rgb[slice(0, height - 1, every.step)]
    left, up = here[:, 1:] == here[:, :-1], here[:, 1:] == above[:, 1:]
    same = left[..., 0] & left[..., 1] & left[..., 2] | up[..., 0] & up[..., 1] & up[..., 2]
    return float(same.mean())


def to_bytes(rgb: UInt8, alpha: UInt8 | None) -> bytes:
    """The body of rgb (H, W, 3) and alpha (H, W), uint8; the same pixels come back.

    Where the opacity is 0 the colour that comes back may be another. OptionError where a side is above MAX_SIDE and no
    indexed body holds the picture.
    """
    from dpc.codec import indexed

    few = indexed.to_bytes(rgb, alpha)
    if max(rgb.shape) > MAX_SIDE:
        if few is None:
            raise OptionError(
                f"lossless: the picture has {rgb.shape[1]}x{rgb.shape[0]} pixels, and more than {MAX_SIDE} a side can "
                f"be kept without loss only where it has at most {indexed.MOST_COLOURS} colours and {indexed.LARGEST} "
                "pixels; cut it into parts, or give a quality"
            )
        return few
    webp = as_webp(rgb, alpha)
    return webp if few is None or len(few) >= len(webp) else few


def guessed(rgb: UInt8, alpha: UInt8 | None) -> float:
    """About the bytes of a body of few colours, found in a tenth of the time; infinite where there is no body."""
    import numpy as np

    from dpc.codec import indexed

    colours = len(np.unique(indexed.keyed(rgb, alpha)))
    many, wide = colours > indexed.MOST_COLOURS, max(rgb.shape) > MAX_SIDE
    if many and wide:
        return float("inf")
    share = float(np.interp(np.log2(colours), np.log2(INDEXED[0]), INDEXED[1]))
    return (1.0 if many else share) * sum(len(as_webp(*part)) for part in _parts(rgb, alpha))


def _parts(rgb: UInt8, alpha: UInt8 | None) -> list[tuple[UInt8, UInt8 | None]]:
    """A picture cut so that no side is above MAX_SIDE."""
    tops, lefts = (range(0, side, MAX_SIDE) for side in rgb.shape[:2])
    boxes = [(slice(top, top + MAX_SIDE), slice(left, left + MAX_SIDE)) for top in tops for left in lefts]
    return [(rgb[box], None if alpha is None else alpha[box]) for box in boxes]


def as_webp(rgb: UInt8, alpha: UInt8 | None) -> bytes:
    """The same as a WebP. Colours under opacity 0, which nobody sees, become what takes least."""
    import numpy as np

    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "WEBP", lossless=True, exact=False, quality=80, method=4)
    return out.getvalue()


def from_bytes(body: bytes, width: int, height: int, title: str = "lossless body") -> tuple[UInt8, UInt8 | None]:
    """(rgb (H, W, 3), alpha (H, W) or None), uint8; Corrupt unless the body is an indexed one or a WebP of this size.

    Kind and size are compared before anything is decoded. title: what an error calls it.
    """
    import numpy as np

    from dpc.codec import indexed

    if body[:1] in _INDEXED:
        return indexed.from_bytes(body, width, height, title)
    found = _start(body, title)
    if found[:2] != (width, height):
        raise Corrupt(f"the {title} is a WebP of {found[0]}x{found[1]} pixels, not {width}x{height}; {_DAMAGED}")
    try:
        with Image.open(io.BytesIO(body), formats=["WEBP"]) as webp:
            pixels: Any = np.asarray(webp.convert("RGBA" if found[2] else "RGB"))
    except Exception as error:  # Pillow's readers raise whatever the damage happens to hit
        raise Corrupt(f"the {title} cannot be decoded ({' '.join(str(error).split())}); {_DAMAGED}") from error
    return pixels[:, :, :3], pixels[:, :, 3] if found[2] else None


def has_alpha(body: bytes) -> bool:
    """Whether the picture of a lossless body has an alpha channel; Corrupt where it is no such body."""
    return body[:1] != _INDEXED[0] if body[:1] in _INDEXED else _start(body)[2]


def _start(body: bytes, title: str = "lossless body") -> tuple[int, int, bool]:
    """(width, height, alpha) of a WebP file that is one VP8L chunk; Corrupt for all else."""
    if len(body) < _HEADER.size:
        raise Corrupt(f"the {title} has {len(body)} bytes, the least is {_HEADER.size}; {_DAMAGED}")
    riff, size, kind, length, signature, bits = _HEADER.unpack_from(body)
    whole = size + 8 == len(body) and length + length % 2 + 20 == len(body)
    if riff != b"RIFF" or kind != b"WEBPVP8L" or signature != 0x2F or bits >> 29 or not whole:
        raise Corrupt(f"the {title} is not a WebP file of one VP8L chunk; {_DAMAGED}")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
