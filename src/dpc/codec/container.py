"""The .dpc file, format 2: header and chunks <-> bytes. docs/format.md is the norm, rule by rule.

    magic | version flags width height [model level] | (type length payload)... | CRC-32

Two tables, `_START` and `_CHUNKS`, are walked for writing and for reading. Nothing here knows what a payload means,
and no memory is taken for a size before that size was held against its limit.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dpc.codec.fields import DAMAGED, Form, Raw, UInt, Varint, ends_in
from dpc.errors import Corrupt, FormatError, NotADPCFile, TooLarge, Truncated, UnsupportedVersion

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_PIXELS",
    "MAX_SIDE",
    "VERSION",
    "Colour",
    "DPCFile",
    "Header",
    "check_magic",
    "check_size",
    "pack",
    "peek",
    "unpack",
]

MAGIC = b"\x89DPC"
VERSION = 2
MAX_SIDE = 65535
MAX_PIXELS = 1 << 28
DEFAULT_MAX_PIXELS = 178956970
"""The largest picture that is decoded where nothing else is asked for: twice what Pillow warns of."""
HEADER_BYTES = 18
"""The longest header: this many first bytes are always enough for `peek`."""

_GREY, _LOSSLESS, _COLOUR, _COLOUR_SHIFT, _MERGED, _RESERVED = 0x01, 0x02, 0x1C, 2, 0x20, 0xC0
_ANCILLARY = 0x80  # this bit of a chunk's type tells a reader that it may skip the chunk
_LONGEST_UNKNOWN = 1 << 22
_CRC_BYTES = 4
_CHECKSUM = f"the checksum is not that of the content; {DAMAGED}"
_PARTS = "cut the picture into parts"


class Colour(enum.IntEnum):
    """The colour space of the decoded values: bits 2 to 4 of the header's flags.

    ICC: the chunk ICC holds the profile, and is there for this code only.
    """

    UNKNOWN = 0  # the input says nothing; shown as sRGB
    SRGB = 1  # the input says sRGB
    DISPLAY_P3 = 2
    ADOBE_RGB = 3  # Adobe RGB (1998)
    ICC = 4


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the first bytes of a file say.

    width, height: pixels, 1..65535, of at most MAX_PIXELS. grey: the picture has one colour channel.
    model: the first 4 bytes of the artifact's sha256 identity. level: the fine quality level, 0..65535. Both are None
    where the body is lossless, and only there. colour: the colour space of the decoded values. merged: rare colours
    or noise were given to near ones before the rest was kept without loss; in a lossless file only.
    """

    width: int
    height: int
    grey: bool = False
    colour: Colour = Colour.UNKNOWN
    model: bytes | None
    level: int | None
    merged: bool = False

    @property
    def lossless(self) -> bool:
        """The body is the whole picture without loss (codec/lossless.py), which needs no model."""
        return self.model is None


@dataclass(frozen=True, kw_only=True)
class DPCFile(Header):
    """A whole file. Payloads are bytes as they stand in the file, not interpreted; None: the chunk is not there.

    Critical chunks:
    body: the colours. A learned stream (codec/stream.py), or codec/lossless.py's, alpha included, in a lossless file.
    quality_map: deltas of the quality, one for each 64x64 pixels (codec/quality_map.py); never in a lossless file.
    alpha: opacity (codec/opacity.py); None when every pixel is opaque; never in a lossless file.
    overlay: pixels that are blended over the body's (codec/overlay.py); never in a lossless file.
    smoothing: where the body's picture is smoothed, and how much (codec/smoothing.py); never in a lossless file.
    wide_smoothing: the same for what is wider, before it (codec/wide_smoothing.py); never in a lossless file.

    Ancillary chunks, which a reader may skip:
    icc: the colour profile, `deflated`; there if, and only if, colour is Colour.ICC.
    exif: a TIFF structure without "Exif\\0\\0", its orientation 1 or absent.
    xmp: an XMP packet, UTF-8, without the prefix that JPEG puts before it.
    density: 8 bytes, pixels per metre across and down, unsigned, little-endian (300 per inch is 11811); 0 is unknown.
    """

    body: bytes
    quality_map: bytes | None = None
    alpha: bytes | None = None
    overlay: bytes | None = None
    smoothing: bytes | None = None
    wide_smoothing: bytes | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density: bytes | None = None


def check_size(width: int, height: int) -> None:
    """Raise Corrupt for an empty picture and TooLarge for one above the format's limits."""
    if width < 1 or height < 1:
        raise Corrupt(f"a picture of {width}x{height} pixels is empty, the least is 1x1; {DAMAGED}")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise TooLarge(
            f"{width}x{height} pixels: a DPC picture has at most {MAX_SIDE} on a side and "
            f"{MAX_PIXELS} in all; scale it down or cut it into parts"
        )


def pack(file: DPCFile) -> bytes:
    """The bytes of a file; the same file always gives the same bytes.

    What `unpack` would refuse is refused here by the same rule and with the same error.
    """
    check_size(file.width, file.height)
    _check_together(file)
    flags = _GREY * file.grey | _LOSSLESS * file.lossless | file.colour << _COLOUR_SHIFT | _MERGED * file.merged
    _check_flags(flags)
    values: dict[str, Any] = {**vars(file), "version": VERSION, "flags": flags}
    fields = _START if file.lossless else _START + _LEARNED
    parts = [MAGIC, *(field.form.write(values[field.name], field.name) for field in fields)]
    for chunk in _CHUNKS:
        payload: bytes | None = values[chunk.name]
        if payload is None:
            chunk.check_absent()
            continue
        chunk.check_length(len(payload))
        parts.append(_TYPE.write(chunk.type, "chunk type"))
        parts.append(_LENGTH.write(len(payload), "chunk length"))
        parts.append(payload)
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def unpack(data: bytes | bytearray | memoryview) -> DPCFile:
    """The file that these bytes hold, all of it checked; a FormatError says which rule they break.

    Where the checksum is wrong too, it says that they are damaged, or that something was appended.
    Ancillary chunks that this release does not know are checked for their length and left out.
    """
    view = memoryview(data)
    header, at = _read_header(view)
    end = len(view) - _CRC_BYTES
    if at > end:
        raise ends_in("the checksum", len(view))
    try:
        file = _read_file(header, view[:end], at)
    except FormatError as error:
        if (plainer := _plainer(error, view, at)) is error:
            raise
        raise plainer from error
    if not _is_checksum(zlib.crc32(view[:end]), view, end):
        raise _plainer(Corrupt(_CHECKSUM), view, at)
    return file


def _read_file(header: Header, body: memoryview, at: int) -> DPCFile:
    """The file of which `body` is all before the checksum; its chunks begin at `at`."""
    payloads = _read_chunks(body, at)
    for chunk in _CHUNKS:
        if chunk.name not in payloads:
            chunk.check_absent()
    file = DPCFile(**vars(header), **payloads)
    _check_together(file)
    return file


def _plainer(error: FormatError, view: memoryview, at: int) -> FormatError:
    """What to say of a file, its chunks beginning at `at`, that breaks a rule.

    Where the checksum is wrong, damage broke the rule, and to name it helps nobody; where a whole file lies at the
    beginning, something was appended to it.
    """
    end = _first_end(view, at)
    if end is not None and end < len(view):
        return Corrupt(
            f"the file has {len(view)} bytes, its picture ends after {end}: something was appended; "
            "cut it off, or get the file again"
        )
    content = len(view) - _CRC_BYTES
    if isinstance(error, Truncated) or _is_checksum(zlib.crc32(view[:content]), view, content):
        return error
    return Corrupt(_CHECKSUM)


def _first_end(view: memoryview, at: int) -> int | None:
    """Where the file that these bytes begin with ends, by its chunks from `at` on and its checksum; None: nowhere."""
    crc, last = zlib.crc32(view[:at]), 0
    try:
        while True:
            kind, begin = _TYPE.read(view, at, "chunk type")
            length, begin = _LENGTH.read(view, begin, "chunk length")
            if kind <= last:
                return None
            end = begin + length
            crc, at, last = zlib.crc32(view[at:end], crc), end, kind
            if _is_checksum(crc, view, end):
                return end + _CRC_BYTES
    except FormatError:
        return None


def _is_checksum(crc: int, view: memoryview, at: int) -> bool:
    """Whether the bytes at `at` are this checksum."""
    return view[at : at + _CRC_BYTES] == crc.to_bytes(_CRC_BYTES, "little")


def _read_chunks(body: memoryview, at: int) -> dict[str, Any]:
    """Name -> payload of every known chunk from `at` to the end of body."""
    payloads: dict[str, Any] = {}
    last = 0
    while at < len(body):
        kind, at = _TYPE.read(body, at, "chunk type")
        if kind <= last:
            raise Corrupt(f"chunk type {kind} comes after type {last}, types must rise from 1; {DAMAGED}")
        chunk = _BY_TYPE.get(kind) or _unknown(kind)
        length, at = _LENGTH.read(body, at, f"length of the {chunk.title} chunk")
        chunk.check_length(length)
        if length > len(body) - at:
            raise Truncated(
                f"the {chunk.title} chunk is {length} bytes long but {len(body) - at} are left; "
                "the file was cut short, get it again"
            )
        if kind in _BY_TYPE:
            payloads[chunk.name] = bytes(body[at : at + length])
        at, last = at + length, kind
    return payloads


def _unknown(kind: int) -> _Chunk:
    """What stands for a chunk that is to be skipped; UnsupportedVersion for one that must be understood."""
    if not kind & _ANCILLARY:
        raise UnsupportedVersion(
            f"the file holds a chunk of type {kind}, which this release does not know and must not skip; update dpc"
        )
    return _Chunk(kind, "", f"type {kind}", 0, _LONGEST_UNKNOWN, "remove the chunk")


def _check_together(file: DPCFile) -> None:
    """Corrupt where header and chunks contradict each other."""
    if (file.model is None) != (file.level is None):
        raise Corrupt(f"model is {file.model!r} and level {file.level}; give both, or for a lossless file neither")
    for name in ("quality_map", "alpha", "overlay", "smoothing", "wide_smoothing"):
        if file.lossless and getattr(file, name) is not None:
            raise Corrupt(f"a lossless file has no {_title(name)} chunk of its own; {DAMAGED}")
    if (file.colour == Colour.ICC) != (file.icc is not None):
        there = "there is one" if file.icc is not None else "there is none"
        raise Corrupt(
            f"the colour code is {int(file.colour)}, an ICC profile belongs to {int(Colour.ICC)} and to no other, "
            f"and {there}; {DAMAGED}"
        )


def peek(data: bytes | bytearray | memoryview) -> Header:
    """The header, from at least the first HEADER_BYTES bytes of a file (or all of a shorter one)."""
    return _read_header(memoryview(data))[0]


def check_magic(start: bytes | memoryview) -> None:
    """NotADPCFile unless the first bytes are those of a DPC file, as far as they are there."""
    if not MAGIC.startswith(start[: len(MAGIC)]):
        raise NotADPCFile(
            f"the first bytes are {bytes(start[:4]).hex(' ')}, those of a DPC file are "
            f"{MAGIC.hex(' ')}; give a .dpc file"
        )


def _read_header(view: memoryview) -> tuple[Header, int]:
    """The header, checked, and the offset of the first chunk."""
    check_magic(view)
    values, at = _read_fields(_START, view, len(MAGIC))
    check_size(values["width"], values["height"])
    flags = values["flags"]
    learned: dict[str, Any] = {"model": None, "level": None}
    if not flags & _LOSSLESS:
        learned, at = _read_fields(_LEARNED, view, at)
    colour = Colour((flags & _COLOUR) >> _COLOUR_SHIFT)
    size = {"width": values["width"], "height": values["height"]}
    return Header(**size, grey=bool(flags & _GREY), colour=colour, merged=bool(flags & _MERGED), **learned), at


def _read_fields(fields: tuple[_Field, ...], view: memoryview, at: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    for field in fields:
        values[field.name], at = field.form.read(view, at, field.name)
        if field.check is not None:
            field.check(values[field.name])
    return values, at


def _check_version(version: int) -> None:
    if version != VERSION:
        raise UnsupportedVersion(f"the file is of format version {version}, this release reads {VERSION}; update dpc")


def _check_flags(flags: int) -> None:
    if flags & _RESERVED or (flags & _COLOUR) >> _COLOUR_SHIFT > max(Colour):
        raise Corrupt(
            f"flags are {flags:#04x}: bits 6 and 7 must be 0 and bits 2 to 4 at most {int(max(Colour))}; {DAMAGED}"
        )
    if flags & _MERGED and not flags & _LOSSLESS:
        raise Corrupt(f"flags are {flags:#04x}: bit 5, merged colours, stands with bit 1, lossless, only; {DAMAGED}")


@dataclass(frozen=True)
class _Field:
    """One field of the header; `check` runs as soon as the field is read."""

    name: str
    form: Form
    check: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class _Chunk:
    """One type of chunk; `name` is the attribute of DPCFile that holds its payload."""

    type: int
    name: str
    title: str
    shortest: int
    longest: int
    too_long: str
    required: bool = False

    def check_length(self, length: int) -> None:
        if length < self.shortest:
            raise Corrupt(
                f"the {self.title} chunk is {length} bytes long, the least is {self.shortest}; leave the chunk out"
            )
        if length > self.longest:
            raise TooLarge(
                f"the {self.title} chunk is {length} bytes long, the limit is {self.longest}; {self.too_long}"
            )

    def check_absent(self) -> None:
        if self.required:
            raise Corrupt(f"there is no {self.title} chunk, a DPC file has exactly one; get the file again")


_START = (
    _Field("version", UInt(1), _check_version),
    _Field("flags", UInt(1), _check_flags),
    _Field("width", Varint(3)),
    _Field("height", Varint(3)),
)
_LEARNED = (
    _Field("model", Raw(4)),
    _Field("level", UInt(2)),
)

_CHUNKS = (
    _Chunk(0x01, "quality_map", "quality map", 4, 1 << 18, _PARTS),
    _Chunk(0x02, "body", "body", 4, 1 << 30, _PARTS, required=True),
    _Chunk(0x03, "alpha", "alpha", 1, 1 << 29, _PARTS),
    _Chunk(0x04, "overlay", "overlay", 1, 1 << 29, _PARTS),
    _Chunk(0x05, "smoothing", "smoothing", 4, 1 << 19, _PARTS),
    _Chunk(0x06, "wide_smoothing", "wide smoothing", 4, 1 << 19, _PARTS),
    _Chunk(0x81, "icc", "ICC profile", 1, 1 << 22, "convert the picture to sRGB and remove its profile"),
    _Chunk(0x82, "exif", "EXIF", 1, 1 << 20, "encode without EXIF (exif=False)"),
    _Chunk(0x83, "xmp", "XMP", 1, 1 << 22, "encode without XMP"),
    _Chunk(0x84, "density", "density", 8, 8, "leave the chunk out"),
)
_BY_TYPE = {chunk.type: chunk for chunk in _CHUNKS}

_TYPE = UInt(1)
_LENGTH = Varint(5)


def _title(name: str) -> str:
    return next(chunk.title for chunk in _CHUNKS if chunk.name == name)
