"""What a picture's file says of its colours, wherever it says it, as an ICC profile.

PNG        cICP, else iCCP, else sRGB, else gAMA and cHRM
AVIF       an ICC profile, else the code points of the colr box (nclx)
HEIC       the same, as pillow-heif reads it
JPEG 2000  the colr box
others     the ICC profile that Pillow finds
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

from PIL import Image

from dpc.codec import colour
from dpc.codec.boxes import boxes
from dpc.codec.container import Colour

__all__ = ["declared"]

_CHUNKS = 1000  # of a PNG that are looked at
_GAMMA_OF_SRGB = 1 / 2.2  # what writers put beside sRGB colours
_NEAR = 0.01


def declared(image: Image.Image) -> tuple[bytes | None, bool, str | None]:
    """The profile that an open, not yet loaded image's colours are in; whether it stood there as one; and a note.

    The profile is None where nothing is said, or nothing that 8 bits can show: the note, a line, says which.
    """
    icc = image.info.get("icc_profile")
    icc = icc if isinstance(icc, bytes) and icc else None
    try:
        points = _code_points(image)
        if points is not None and (icc is None or image.format == "PNG"):
            made = colour.of_cicp(*points)
            if made is not None or icc is None:
                return made, False, None
        if icc is None and image.format == "JPEG2000":
            icc = _jpeg_2000(image)
        if icc is None and image.format == "PNG":
            return _png(image.info), False, None
    except ValueError as error:
        if icc is None:
            return None, False, f"its colours are taken as sRGB, they cannot be read as its file says ({error})"
    return icc, icc is not None, None


def _png(info: dict[Any, Any]) -> bytes | None:
    if info.get("srgb") is not None:
        return colour.profile(Colour.SRGB)
    gamma, points = info.get("gamma"), info.get("chromaticity")
    if not gamma and not points:
        return None
    white, *primaries = (
        zip(points[::2], points[1::2], strict=True) if points else [(0.3127, 0.3290), *colour.SRGB_PRIMARIES]
    )
    if not gamma or abs(gamma - _GAMMA_OF_SRGB) <= _NEAR:
        icc = colour.of_chromaticities(white, tuple(primaries), colour.SRGB_CURVE)
        if not gamma or colour.recognise(icc) is not None:
            return icc
    return colour.of_chromaticities(white, tuple(primaries), (1 / gamma,))


def _code_points(image: Image.Image) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics (ITU-T H.273), where the file has them."""
    nclx = image.info.get("nclx_profile")
    if isinstance(nclx, dict):
        return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    file = getattr(image, "fp", None)
    if image.format not in ("PNG", "AVIF") or file is None or file.closed:
        return None
    place = file.tell()
    try:
        return _cicp_of_png(file) if image.format == "PNG" else _nclx_of_avif(file)
    except (OSError, struct.error):
        return None
    finally:
        file.seek(place)


def _cicp_of_png(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(8)
    for _ in range(_CHUNKS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"cICP" and length == 4:
            primaries, transfer = file.read(2)
            return primaries, transfer
        if name in (b"IDAT", b"IEND"):
            break
        file.seek(length + 4, io.SEEK_CUR)
    return None


def _nclx_of_avif(file: BinaryIO) -> tuple[int, int] | None:
    size = file.seek(0, io.SEEK_END)
    for body in boxes(file, 0, size, (b"meta", b"iprp", b"ipco", b"colr")):
        if body[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", body, 4)
            return primaries, transfer
    return None


def _jpeg_2000(image: Image.Image) -> bytes | None:
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return None
    place = file.tell()
    try:
        size = file.seek(0, io.SEEK_END)
        for body in boxes(file, 0, size, (b"jp2h", b"colr")):
            if body[:1] == b"\2":
                return body[3:]
            if body[:1] == b"\1" and struct.unpack_from(">I", body, 3) in ((16,), (17,)):
                return colour.profile(Colour.SRGB)
        return None
    except (OSError, struct.error):
        return None
    finally:
        file.seek(place)
