"""Pictures and parts of picture files for tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

UInt8 = npt.NDArray[np.uint8]


def noise(*shape: int) -> UInt8:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of a kind that Pillow does not write. rows: filter bytes and samples."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def tiff(order: str, *entries: tuple[int, int, int, int], thumbnail: bytes = b"") -> bytes:
    """A TIFF structure as EXIF has it: entries of (tag, type 3 or 4, count, value), then anything."""
    layouts = {3: "HHIHxx", 4: "HHII"}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    body = b"".join(struct.pack(order + layouts[entry[1]], *entry) for entry in entries)
    return head + body + bytes(4) + thumbnail


def camera_exif(**tags: Any) -> bytes:
    """EXIF as a camera writes it, with sub-directories for exposure and position. tags: more, by Pillow's names."""
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = 1
    for name, value in tags.items():
        exif[getattr(ExifTags.Base, name)] = value
    shot = exif.get_ifd(0x8769)
    shot[0x9003] = "2024:01:01 00:00:00"
    shot[0x829A] = 0.01
    shot[0x927C] = b"maker\0note"
    shot[0xA005] = {1: "R98"}
    place = exif.get_ifd(0x8825)
    place[1] = "N"
    place[2] = (48.0, 51.0, 30.0)
    return exif.tobytes()


def profile_of(space: str, kind: bytes = b"prtr") -> bytes:
    """A small profile with a table of 2 nodes an axis to Lab, for RGB or CMYK; none of the spaces that have a name."""
    channels = {"RGB": 3, "CMYK": 4}[space]
    straight = bytes(range(256))
    nodes = bytearray()
    for node in range(2**channels):
        c, m, y, *k = ((node >> channels - 1 - i & 1) for i in range(channels))
        light = max(0, 255 - 80 * (c + m + y) - 220 * sum(k))
        nodes += bytes([light, 128 - 20 * c + 50 * m, 128 - 10 * c + 60 * y])
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([channels, 3, 2, 0]) + matrix + straight * channels + bytes(nodes) + straight * 3
    head = struct.pack(">I4sI4s4s4s", 144 + len(table), b"lcms", 0x02400000, kind, space.encode().ljust(4), b"Lab ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    assert len(head) == 128
    return head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


LCMS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
"""LittleCMS's own profile of sRGB, 588 bytes."""
