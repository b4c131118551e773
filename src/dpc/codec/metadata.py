"""EXIF, XMP and pixel density: taken out of a picture on its way in, given to it on its way out.

Neither numpy nor a network is loaded here: opening a file needs this.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from dpc.codec import colour
from dpc.codec.container import Colour, DPCFile
from dpc.codec.icc import inflated

__all__ = [
    "EXIF_PREFIX",
    "STRUCTURE",
    "SUB_DIRECTORIES",
    "Beside",
    "density_in",
    "directory",
    "fits",
    "info_of",
    "name_of",
    "of_image",
    "of_tiff",
    "orientation",
    "parsed",
    "without_orientation",
]

EXIF_PREFIX = b"Exif\0\0"
_INCH = 0.0254
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>\s*))[0-9](?=["\'<\s])')
_XMP_PADDING = re.compile(rb"\s{100,}(?=<\?xpacket end)")
SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_LONGEST_TAG = 65535  # bytes of a TIFF's tag that is kept

# Tags of a TIFF that say how its own pixels lie, or that have a place of their own in a .dpc file.
STRUCTURE = frozenset(
    [*range(254, 260), *range(262, 267), 273, 274, *range(277, 285), *range(288, 294), 296, 297, 300, 301]
    + [*range(317, 329), 330, *range(332, 348), *range(512, 522), *range(529, 533), 559, 700, 34675]
)
# Tags that are whole data bases of one program.
_FOREIGN = {
    33723: "IPTC",
    34377: "Photoshop resources",
    37724: "Photoshop layers",
    50838: "ImageJ data",
    50839: "ImageJ data",
}


@dataclass(frozen=True)
class Beside:
    """What stands beside the colours of an upright picture.

    exif: a TIFF structure without the "Exif" prefix, its orientation 1. xmp: UTF-8, its orientation 1. density: pixels
    per metre across and down, None where unknown or where EXIF says the same. notes: what was not kept, a line each.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    density: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def density_bytes(self) -> bytes | None:
        """The payload of the density chunk."""
        return None if self.density is None else struct.pack("<II", *self.density)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation (1..8) of a loaded image, which Pillow also finds in XMP and in PNG text."""
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata is no reason to refuse a picture
        return 1
    return int(value) if value in range(2, 9) else 1


def of_image(image: Image.Image, turned: bool, tiff: tuple[bytes | None, tuple[str, ...]]) -> Beside:
    """Of a loaded image. turned: its rows become columns. tiff: what `of_tiff` gave before it was loaded."""
    exif, notes = tiff
    if exif is None:
        exif = _upright_exif(image.info.get("exif") or _exif_in_text(image))
    xmp, more = _upright_xmp(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    density = _density(image)
    if density is not None and turned:
        density = density[::-1]
    if density is not None and exif is not None and _about(density, density_in(exif)):
        density = None
    return Beside(exif, xmp, density, (*notes, *more))


# EXIF


def parsed(exif: bytes) -> Image.Exif | None:
    """EXIF, with or without its prefix, as Pillow reads it, sub-directories included; None for what cannot be read."""
    result = Image.Exif()
    try:
        result.load(exif)
        for tag in SUB_DIRECTORIES:
            directory(result, tag)
        return result
    except Exception:  # Pillow's reader raises whatever the damage happens to hit
        return None


def of_tiff(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """The descriptive tags of an open TIFF, not yet loaded, as EXIF, and a note of those that are left out."""
    if image.format != "TIFF":
        return None, ()
    try:
        tags = image.getexif()
        kept, lost = Image.Exif(), set()
        for tag in tags:
            if tag in STRUCTURE:
                continue
            value = directory(tags, tag) if tag in SUB_DIRECTORIES else tags[tag]
            if tag in _FOREIGN or not fits(tag, value, _LONGEST_TAG):
                lost.add(name_of(tag))
            elif tag in SUB_DIRECTORIES:
                kept.get_ifd(tag).update(value)
            else:
                kept[tag] = value
        anything = any(tag not in STRUCTURE and tag not in _FOREIGN for tag in tags)
        exif = kept.tobytes().removeprefix(EXIF_PREFIX) if anything else None
    except Exception:  # as above
        return None, ("its TIFF tags are not kept, they cannot be read",)
    return exif, (f"of its TIFF tags these are not kept: {', '.join(sorted(lost))}",) if lost else ()


def directory(tags: Image.Exif, tag: int) -> dict[int, Any]:
    """A sub-directory of EXIF, the one inside of it (interoperability) too."""
    found = dict(tags.get_ifd(tag))
    if ExifTags.IFD.Interop in found:
        found[ExifTags.IFD.Interop] = dict(tags.get_ifd(ExifTags.IFD.Interop))
    return found


def name_of(tag: int) -> str:
    """The name of a tag, for people."""
    return _FOREIGN.get(tag) or ExifTags.TAGS.get(tag) or f"tag {tag}"


def fits(tag: int, value: Any, limit: float = math.inf) -> bool:
    """Whether Pillow can write a tag, in so many bytes at most."""
    one = Image.Exif()
    if tag in SUB_DIRECTORIES:
        one.get_ifd(tag).update(value)
    else:
        one[tag] = value
    try:
        return len(one.tobytes()) <= limit
    except Exception:  # as above
        return False


def _exif_in_text(image: Image.Image) -> bytes | None:
    """EXIF that a PNG has as text, as ImageMagick once wrote it."""
    if "Raw profile type exif" not in image.info:
        return None
    try:
        return bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
    except (ValueError, AttributeError):
        return None


def _upright_exif(data: bytes | None) -> bytes | None:
    """EXIF without its prefix, its orientation (if there) 1; None for what is not EXIF.

    Only the entry of the orientation changes: offsets, maker notes and thumbnail stay as they are.
    """
    exif = bytearray((data or b"").removeprefix(EXIF_PREFIX))
    entries = _entries(exif)
    if entries is None:
        return None
    order, first, count = entries
    for entry in range(first, first + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", exif, entry)
        if tag == ExifTags.Base.Orientation:
            struct.pack_into(order + "HIHH", exif, entry + 2, 3, 1, 1, 0)  # one SHORT, of value 1
    return bytes(exif)


def without_orientation(exif: bytes) -> bytes:
    """EXIF, with or without its prefix, whose first directory has no orientation; all else stays at its place."""
    bare = bytearray(exif.removeprefix(EXIF_PREFIX))
    entries = _entries(bare)
    if entries is None:
        return exif
    order, first, count = entries
    old = [bytes(bare[at : at + 12]) for at in range(first, first + 12 * count, 12)]
    kept = [entry for entry in old if struct.unpack_from(order + "H", entry) != (ExifTags.Base.Orientation,)]
    end = first + 12 * count + 4
    table = struct.pack(order + "H", len(kept)) + b"".join(kept) + bare[end - 4 : end]
    bare[first - 2 : end] = table.ljust(end - first + 2, b"\0")
    return EXIF_PREFIX + bytes(bare)


def _entries(exif: bytearray) -> tuple[str, int, int] | None:
    """Byte order, place and number of the entries of the first directory; None for what is not EXIF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4]))
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
    except struct.error:
        return None
    first = directory + 2
    return (order, first, count) if len(exif) >= first + 12 * count else None


# XMP


def _upright_xmp(data: bytes | str | None) -> tuple[bytes | None, tuple[str, ...]]:
    """An XMP packet in UTF-8, its orientation 1, without the white space that is kept for edits; and notes."""
    packet = data.encode() if isinstance(data, str) else bytes(data or b"")
    packet = packet.rstrip(b"\0 ")
    if not packet:
        return None, ()
    try:
        packet.decode()
    except UnicodeDecodeError:
        return None, ("its XMP is not kept, it is not UTF-8",)
    packet = _XMP_PADDING.sub(b"\n", _XMP_ORIENTATION.sub(rb"\g<1>1", packet))
    extended = b"xmpNote:HasExtendedXMP" in packet
    return packet, ("the extended part of its XMP is not kept",) if extended else ()


# pixel density


def _density(image: Image.Image) -> tuple[int, int] | None:
    """Pixels per metre across and down, as the image's file says in a field of its own or, for want of it, in EXIF."""
    if image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2):
        return None  # Pillow has it from EXIF, or has made it up
    try:
        across, down = (float(value) / _INCH for value in image.info["dpi"])
        return _whole(across, down)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def density_in(exif: bytes) -> tuple[int, int] | None:
    """Pixels per metre across and down that EXIF names."""
    with contextlib.suppress(Exception):  # as above
        tags = Image.Exif()
        tags.load(exif)
        unit = {2: _INCH, 3: 0.01}[tags.get(ExifTags.Base.ResolutionUnit, 2)]
        return _whole(float(tags[ExifTags.Base.XResolution]) / unit, float(tags[ExifTags.Base.YResolution]) / unit)
    return None


def _whole(across: float, down: float) -> tuple[int, int] | None:
    usable = all(math.isfinite(value) and 1 <= value < 2**32 - 1 for value in (across, down))
    return (round(across), round(down)) if usable else None


def _about(one: tuple[int, int], other: tuple[int, int] | None) -> bool:
    return other is not None and all(abs(a - b) <= 0.001 * b for a, b in zip(one, other, strict=True))


# on the way out


def info_of(file: DPCFile) -> dict[str, Any]:
    """What Pillow's `info` has of a file: icc_profile, exif, xmp, dpi, each where there is one. Raises Corrupt."""
    info: dict[str, Any] = {}
    if file.icc is not None:
        info["icc_profile"] = inflated(file.icc)
    elif file.colour != Colour.UNKNOWN:
        info["icc_profile"] = colour.profile(file.colour, file.grey)
    if file.exif is not None:
        info["exif"] = EXIF_PREFIX + file.exif
    if file.xmp is not None:
        info["xmp"] = file.xmp
    density = struct.unpack("<II", file.density) if file.density is not None else None
    if density is None and file.exif is not None:
        density = density_in(file.exif)
    if density is not None:
        info["dpi"] = tuple(value * _INCH for value in density)
    return info
