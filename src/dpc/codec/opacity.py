"""The alpha chunk: the opacity of every pixel, kept as a WebP or PNG. docs/format.md, "Alpha"."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from dpc.codec import lossless
from dpc.errors import Corrupt

__all__ = ["from_bytes", "to_bytes"]

UInt8 = NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def to_bytes(alpha: UInt8) -> bytes:
    """The payload for opacities (H, W): a WebP of them as greys, a PNG where a side is too long for that."""
    if max(alpha.shape) <= lossless.MAX_SIDE:
        return lossless.as_webp(np.dstack([alpha] * 3), None)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(alpha)).save(out, "PNG", optimize=True)
    return out.getvalue()


def from_bytes(data: bytes, width: int, height: int) -> UInt8:
    """The opacities, (height, width); Corrupt unless the payload is an 8-bit grey PNG or a lossless body of that size.

    Kind and size are compared before anything is decoded.
    """
    if data.startswith(_SIGNATURE[:1]):
        return _from_png(data, width, height)
    rgb, alpha = lossless.from_bytes(data, width, height, "alpha chunk")
    if alpha is not None:
        raise Corrupt("the alpha chunk has opacities of its own; the file is damaged, get it again")
    return rgb[:, :, 0]


def _from_png(data: bytes, width: int, height: int) -> UInt8:
    if not data.startswith(_png_start(width, height)):
        raise Corrupt(
            f"the alpha chunk is not an 8-bit grey PNG of {width}x{height} pixels; the file is damaged, get it again"
        )
    try:
        with PngImageFile(io.BytesIO(_plain_png(data, width, height))) as png:
            return np.asarray(png)
    except Exception as error:  # Pillow's readers raise whatever the damage happens to hit
        why = " ".join(str(error).split()) or type(error).__name__
        raise Corrupt(f"the alpha chunk cannot be decoded ({why}); the file is damaged, get it again") from error


def _plain_png(data: bytes, width: int, height: int) -> bytes:
    """The 8-bit grey PNG again, with its pixels only and every checksum held: Pillow looks at none of the pixels'.

    ValueError where a chunk is cut short or wrong, or where the pixels are not one whole zlib stream of the size.
    """
    kind, at, rows = b"", 8, b""
    while kind != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind, content, crc = data[at + 4 : at + 8], data[at + 4 : end], data[end : end + 4]
        if len(crc) < 4 or zlib.crc32(content) != int.from_bytes(crc, "big"):
            raise ValueError("a chunk of the PNG is cut short, or its checksum is wrong")
        rows += content[4:] if kind == b"IDAT" else b""
        at = end + 4
    stream, size = zlib.decompressobj(), (width + 1) * height
    if len(stream.decompress(rows, size + 1)) != size or not stream.eof or stream.unused_data:
        raise ValueError("the pixels of the PNG are not one whole zlib stream of its size")
    chunks = (_png_start(width, height)[12:], b"IDAT" + rows, b"IEND")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return _SIGNATURE + b"".join(framed)


def _png_start(width: int, height: int) -> bytes:
    """The first 29 bytes of an 8-bit, grey, not interlaced PNG."""
    return _SIGNATURE + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 0, 0, 0, 0)
