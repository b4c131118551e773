"""What each format that decoded pictures are written in can carry, as Pillow writes it: one table, FORMATS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FORMATS", "Format"]

_ANY = 1 << 32


@dataclass(frozen=True)
class Format:
    """A format that pictures are written in.

    name: Pillow's. options: of Pillow's save. side: the most pixels on a side that readers take. alpha, grey, icc:
    whether transparency, one channel, a profile have a place. exif, xmp: the most bytes of them, 0 for none.
    density: where dots per inch go: "field" of their own, "exif" or nowhere (None).
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    side: int = 65535
    alpha: bool = True
    grey: bool = True
    icc: bool = True
    exif: int = _ANY
    xmp: int = _ANY
    density: str | None = "field"


_TIFF = Format("TIFF")
_JPEG = Format(
    "JPEG", {"quality": 95, "subsampling": 0}, side=65500, alpha=False, exif=65527, xmp=65504
)  # one segment holds 65,533 bytes, their names included

FORMATS: dict[str, Format] = {
    "png": Format("PNG", {"compress_level": 3}),
    "tif": _TIFF,
    "tiff": _TIFF,
    "webp": Format("WEBP", {"lossless": True, "exact": True}, side=16383, grey=False, density="exif"),
    "avif": Format("AVIF", {"quality": 90, "subsampling": "4:4:4"}, side=32768, grey=False, density="exif"),
    "jpg": _JPEG,
    "jpeg": _JPEG,
    "jfif": _JPEG,
    "bmp": Format("BMP", alpha=False, icc=False, exif=0, xmp=0),
    "ppm": Format("PPM", alpha=False, icc=False, exif=0, xmp=0, density=None),
}
"""File name ending -> format."""
