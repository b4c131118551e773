"""How many bits the values of a picture's file have, where Pillow gives 8 whatever they are."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from PIL import Image

from dpc.codec.boxes import boxes

__all__ = ["is_deep"]

_SSIZ = 42  # bytes before the depth of the first component in a JPEG 2000 codestream


def is_deep(image: Image.Image) -> bool:
    """Whether the values of an open, not yet loaded image have more than 8 bits in its file.

    PNG, TIFF, PPM, SGI as Pillow reads them; HEIC as pillow-heif says; AVIF and JPEG 2000 by their boxes.
    """
    if image.mode.startswith("I;16"):
        return True
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8)) > 8
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(";16" in a for a in args if isinstance(a, str)) or tile[0] == "SGI16":
            return True
        if tile[0] in ("ppm", "ppm_plain") and args[-1] > 255 or tile[0] == "sgi_rle" and args[-1] == 2:
            return True
    file = getattr(image, "fp", None)
    if image.format not in ("AVIF", "JPEG2000") or file is None or file.closed:
        return False
    place = file.tell()
    try:
        return (_of_avif(file) if image.format == "AVIF" else _of_jpeg_2000(file)) > 8
    except (OSError, struct.error):
        return False
    finally:
        file.seek(place)


def _of_avif(file: BinaryIO) -> int:
    """The largest depth in the pixi boxes: version and flags, number of channels, bits of each."""
    size = file.seek(0, io.SEEK_END)
    found = boxes(file, 0, size, (b"meta", b"iprp", b"ipco", b"pixi"))
    return max((bits for body in found for bits in body[5:]), default=8)


def _of_jpeg_2000(file: BinaryIO) -> int:
    """The depth in the ihdr box (255: it varies, see bpcc) or, without boxes, in the codestream; stored less one."""
    size = file.seek(0, io.SEEK_END)
    stored = [body[10] for body in boxes(file, 0, size, (b"jp2h", b"ihdr")) if len(body) > 10]
    stored += [bits for body in boxes(file, 0, size, (b"jp2h", b"bpcc")) for bits in body]
    file.seek(0)
    start = file.read(_SSIZ + 1)
    if start[:4] == b"\xff\x4f\xff\x51" and len(start) > _SSIZ:
        stored.append(start[_SSIZ])
    return max((1 + (bits & 0x7F) for bits in stored if bits != 0xFF), default=8)
