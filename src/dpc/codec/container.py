"""The .dpc file: fields and sections <-> bytes. docs/format.md is the norm, rule by rule.

    magic | version flags model level width height | (kind length payload)... | CRC-32

Two tables, `_HEADER` and `_SECTIONS`, are walked for writing and for reading. Nothing here knows what a
payload means, and no memory is taken for a size before that size was held against its limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dpc.errors import Corrupt, FormatError, NotADPCFile, TooLarge, Truncated, UnsupportedVersion

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_PIXELS",
    "MAX_SIDE",
    "VERSION",
    "DPCFile",
    "Header",
    "check_magic",
    "check_size",
    "pack",
    "peek",
    "unpack",
]

MAGIC = b"\x89DPC"
VERSION = 1
MAX_SIDE = 65535
MAX_PIXELS = 1 << 28
HEADER_BYTES = 18
"""The longest header: this many first bytes are always enough for `peek`."""

_GREY = 1
_CRC_BYTES = 4
_DAMAGED = "the file is damaged, get it again"


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say.

    width, height: pixels, 1..65535. model: the first 4 bytes of the artifact's sha256 identity.
    level: the fine quality level, 0..65535. grey: the picture has one colour channel.
    """

    width: int
    height: int
    model: bytes
    level: int
    grey: bool


@dataclass(frozen=True)
class DPCFile(Header):
    """A whole file, its payloads not interpreted; None stands for a section that is not there."""

    stream: bytes
    alpha: bytes | None = None
    icc: bytes | None = None
    exif: bytes | None = None


def check_size(width: int, height: int) -> None:
    """Raise Corrupt for an empty picture and TooLarge for one above the format's limits."""
    if width < 1 or height < 1:
        raise Corrupt(f"a picture of {width}x{height} pixels is empty, the least is 1x1; {_DAMAGED}")
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
    values: dict[str, Any] = {**vars(file), "version": VERSION, "flags": _GREY if file.grey else 0}
    parts = [MAGIC, *(field.form.write(values[field.name], field.name) for field in _HEADER)]
    for section in _SECTIONS:
        payload: bytes | None = values[section.name]
        if payload is None:
            section.check_absent()
            continue
        section.check_length(len(payload))
        parts.append(_KIND.write(section.kind, "section kind"))
        parts.append(_LENGTH.write(len(payload), "section length"))
        parts.append(payload)
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def unpack(data: bytes | bytearray | memoryview) -> DPCFile:
    """The file that these bytes hold, all of it checked; a FormatError says which rule they break."""
    view = memoryview(data)
    header, at = _read_header(view)
    end = len(view) - _CRC_BYTES
    if at > end:
        raise _ends_in("the checksum", len(view))
    body = view[:end]
    by_kind = {section.kind: section for section in _SECTIONS}
    payloads: dict[str, Any] = {}
    last = 0
    while at < end:
        kind, at = _KIND.read(body, at, "section kind")
        if kind not in by_kind:
            raise Corrupt(f"section kind {kind} is not one of {', '.join(map(str, by_kind))}; {_DAMAGED}")
        if kind <= last:
            raise Corrupt(f"section kind {kind} comes after kind {last}, kinds must rise; {_DAMAGED}")
        section = by_kind[kind]
        length, at = _LENGTH.read(body, at, f"length of the {section.title} section")
        section.check_length(length)
        if length > end - at:
            raise Truncated(
                f"the {section.title} section is {length} bytes long but {end - at} are left; "
                "the file was cut short, get it again"
            )
        payloads[section.name] = bytes(body[at : at + length])
        at, last = at + length, kind
    for section in _SECTIONS:
        if section.name not in payloads:
            section.check_absent()
    stored, computed = int.from_bytes(view[end:], "little"), zlib.crc32(body)
    if stored != computed:
        raise Corrupt(f"the checksum is {stored:08x} but the content gives {computed:08x}; {_DAMAGED}")
    return DPCFile(**vars(header), **payloads)


def peek(data: bytes | bytearray | memoryview) -> Header:
    """The header, from the first HEADER_BYTES bytes of a file (or more); the rest is not looked at."""
    return _read_header(memoryview(data))[0]


def check_magic(start: bytes | memoryview) -> None:
    """NotADPCFile unless the first bytes are those of a DPC file, as far as they are there."""
    if not MAGIC.startswith(start[: len(MAGIC)]):
        raise NotADPCFile(
            f"the first bytes are {bytes(start[:4]).hex(' ')}, those of a DPC file are "
            f"{MAGIC.hex(' ')}; give a .dpc file"
        )


def _read_header(view: memoryview) -> tuple[Header, int]:
    """The header, checked, and the offset of the first section."""
    check_magic(view)
    at = len(MAGIC)
    values: dict[str, Any] = {}
    for field in _HEADER:
        values[field.name], at = field.form.read(view, at, field.name)
        if field.check is not None:
            field.check(values[field.name])
    check_size(values["width"], values["height"])
    grey = bool(values["flags"] & _GREY)
    return Header(values["width"], values["height"], values["model"], values["level"], grey), at


def _check_version(version: int) -> None:
    if version != VERSION:
        raise UnsupportedVersion(
            f"the file is of format version {version}, this release reads {VERSION}; use a release of dpc that reads it"
        )


def _check_flags(flags: int) -> None:
    if flags & ~_GREY:
        raise Corrupt(f"flags are {flags:#04x} but only bit 0 may be set; {_DAMAGED}")


def _ends_in(name: str, length: int) -> FormatError:
    return Truncated(f"the file ends in {name}, after {length} bytes; it was cut short, get it again")


class _Form(Protocol):
    """How one value is laid out. Both directions raise FormatError; `name` is for the message."""

    def write(self, value: Any, name: str) -> bytes: ...

    def read(self, view: memoryview, at: int, name: str) -> tuple[Any, int]: ...


@dataclass(frozen=True)
class _Raw:
    """Exactly `size` bytes, as they are."""

    size: int

    def write(self, value: bytes, name: str) -> bytes:
        if len(value) != self.size:
            raise Corrupt(f"{name} is {len(value)} bytes long, it must be {self.size}; give that many")
        return value

    def read(self, view: memoryview, at: int, name: str) -> tuple[bytes, int]:
        end = at + self.size
        if end > len(view):
            raise _ends_in(name, len(view))
        return bytes(view[at:end]), end


@dataclass(frozen=True)
class _UInt:
    """An unsigned integer of exactly `size` bytes, the lowest first."""

    size: int

    def write(self, value: int, name: str) -> bytes:
        if not 0 <= value < 1 << 8 * self.size:
            raise Corrupt(f"{name} is {value}, it must be 0 to {(1 << 8 * self.size) - 1}; change it")
        return value.to_bytes(self.size, "little")

    def read(self, view: memoryview, at: int, name: str) -> tuple[int, int]:
        raw, at = _Raw(self.size).read(view, at, name)
        return int.from_bytes(raw, "little"), at


@dataclass(frozen=True)
class _Varint:
    """An unsigned LEB128 integer in its shortest form, of `size` bytes at most; callers check its range."""

    size: int

    def write(self, value: int, name: str) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
        return bytes(out)

    def read(self, view: memoryview, at: int, name: str) -> tuple[int, int]:
        value = 0
        for i in range(self.size):
            if at + i >= len(view):
                raise _ends_in(name, len(view))
            byte = view[at + i]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if i and not byte:
                    raise Corrupt(f"{name} is {value} in {i + 1} bytes, it must take the fewest; {_DAMAGED}")
                return value, at + i + 1
        raise Corrupt(f"{name} is longer than {self.size} bytes; {_DAMAGED}")


@dataclass(frozen=True)
class _Field:
    """One field of the header; `check` runs as soon as the field is read."""

    name: str
    form: _Form
    check: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class _Section:
    """One kind of section; `name` is the attribute of DPCFile that holds its payload."""

    kind: int
    name: str
    title: str
    shortest: int
    longest: int
    too_long: str
    required: bool = False

    def check_length(self, length: int) -> None:
        if length < self.shortest:
            raise Corrupt(
                f"the {self.title} section is {length} bytes long, the least is {self.shortest}; leave the section out"
            )
        if length > self.longest:
            raise TooLarge(
                f"the {self.title} section is {length} bytes long, the limit is {self.longest}; {self.too_long}"
            )

    def check_absent(self) -> None:
        if self.required:
            raise Corrupt(f"there is no {self.title} section, a DPC file has exactly one; get the file again")


_HEADER = (
    _Field("version", _UInt(1), _check_version),
    _Field("flags", _UInt(1), _check_flags),
    _Field("model", _Raw(4)),
    _Field("level", _UInt(2)),
    _Field("width", _Varint(3)),
    _Field("height", _Varint(3)),
)

_SECTIONS = (
    _Section(1, "stream", "stream", 0, 1 << 30, "cut the picture into parts", required=True),
    _Section(2, "alpha", "alpha", 1, 1 << 29, "cut the picture into parts"),
    _Section(3, "icc", "ICC profile", 1, 1 << 22, "convert the picture to sRGB and remove its profile"),
    _Section(4, "exif", "EXIF", 1, 1 << 20, "encode without EXIF (exif=False)"),
)

_KIND = _UInt(1)
_LENGTH = _Varint(5)
