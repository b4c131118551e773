"""A TIFF with EXIF and its sub-directories, compressed: Pillow writes one or the other.

The directory is Pillow's; the strips are deflated here, with horizontal differences.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import BYTE, LONG, UNDEFINED

from dpc.codec.metadata import STRUCTURE, SUB_DIRECTORIES, directory, fits, name_of

__all__ = ["tiff_bytes"]

_STRIP_BYTES = 1 << 18


def tiff_bytes(
    image: Image.Image,
    exif: Image.Exif,
    icc: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
) -> tuple[bytes, list[str]]:
    """The file of an image of mode L, LA, RGB or RGBA, and the names of EXIF's tags that it cannot hold."""
    tags = ImageFileDirectory_v2()
    lost = []
    for tag in exif:
        if tag in STRUCTURE:
            continue
        value = directory(exif, tag) if tag in SUB_DIRECTORIES else exif[tag]
        if fits(tag, value):
            tags[tag] = value
        else:
            lost.append(name_of(tag))
    if exif.get_ifd(ExifTags.IFD.IFD1):
        lost.append("thumbnail")
    strips, rows = _strips(image)
    layout = _layout(image, strips, rows)
    if dpi is not None:
        layout |= {282: (5, dpi[0]), 283: (5, dpi[1]), 296: (3, 2)}
    if xmp is not None:
        layout[700] = (BYTE, xmp)
    if icc is not None:
        layout[34675] = (UNDEFINED, icc)
    for tag, (kind, value) in layout.items():
        tags.tagtype[tag] = kind
        tags[tag] = value
    out = io.BytesIO()
    tags.save(out)
    out.writelines(strips)
    return out.getvalue(), lost


def _strips(image: Image.Image) -> tuple[list[bytes], int]:
    """The deflated strips, and the rows of each but the last."""
    rows = max(1, _STRIP_BYTES // (image.width * len(image.getbands())))
    strips = []
    for top in range(0, image.height, rows):
        pixels = np.array(image.crop((0, top, image.width, min(top + rows, image.height))))
        pixels[:, 1:] = np.diff(pixels, axis=1)  # modulo 256
        strips.append(zlib.compress(pixels.tobytes(), 6))
    return strips, rows


def _layout(image: Image.Image, strips: list[bytes], rows: int) -> dict[int, tuple[int, Any]]:
    """Tag -> type and value of all that says how the pixels lie."""
    bands = len(image.getbands())
    lengths = [len(strip) for strip in strips]
    layout: dict[int, tuple[int, Any]] = {
        256: (LONG, image.width),
        257: (LONG, image.height),
        258: (3, (8,) * bands),
        259: (3, 8),  # deflate
        262: (3, 2 if bands >= 3 else 1),  # RGB, or black is zero
        273: (LONG, tuple(sum(lengths[:i]) for i in range(len(lengths)))),  # Pillow adds the directory's length
        274: (3, 1),
        277: (3, bands),
        278: (LONG, rows),
        279: (LONG, tuple(lengths)),
        284: (3, 1),
        317: (3, 2),  # horizontal differences
    }
    if bands in (2, 4):
        layout[338] = (3, 2)  # alpha that is not multiplied into the colours
    return layout
