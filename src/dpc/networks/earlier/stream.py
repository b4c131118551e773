"""The bytes of a picture coded by an earlier codec: what is needed to read it, nothing more.

    magic "LIC1" | model (4 bytes) | height width | number of parts | length of each part | the parts | CRC-32

Numbers are unsigned LEB128, the CRC-32 (of all before it) is little-endian. model is the start of the SHA-256 of the
weights: other weights would read other symbols from the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from dpc.codec.container import DEFAULT_MAX_PIXELS, MAX_SIDE
from dpc.errors import Corrupt, FormatError, OptionError, TooLarge, Truncated, WrongModel

__all__ = ["MAGIC", "MODEL_BYTES", "exactly", "made_with", "pack", "unpack"]

MAGIC = b"LIC1"
MODEL_BYTES = 4
MAX_PARTS = 255
_LONGEST = 5  # bytes of a number
_DAMAGED = "the file is damaged, get it again"


def pack(identity: str, height: int, width: int, parts: Sequence[bytes]) -> bytes:
    """The file. identity: hexadecimal SHA-256 of the weights. OptionError or TooLarge for what a file cannot hold."""
    _check_size(height, width, OptionError)
    if len(parts) > MAX_PARTS:
        raise OptionError(f"a stream of {len(parts)} parts: at most {MAX_PARTS}; join some")
    numbers = (height, width, len(parts), *map(len, parts))
    head = MAGIC + bytes.fromhex(identity)[:MODEL_BYTES] + b"".join(map(_number, numbers))
    data = head + b"".join(parts)
    return data + zlib.crc32(data).to_bytes(4, "little")


def unpack(data: bytes, identity: str) -> tuple[int, int, list[bytes]]:
    """(height, width, parts) of a file of `pack`.

    FormatError when it is not such a file, Truncated or Corrupt when it is damaged, WrongModel when it was made with
    other weights, TooLarge above the limits on a picture's size.
    """
    made_with(data)
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise Corrupt(f"the CRC-32 does not fit; {_DAMAGED}")
    theirs, ours = made_with(data), identity[: 2 * MODEL_BYTES]
    if theirs != ours:
        raise WrongModel(f"the file was made with the model {theirs}..., not with {ours}...; load that one")
    at, end = len(MAGIC) + MODEL_BYTES, len(data) - 4
    (height, width, count), at = _numbers(data, at, end, 3)
    _check_size(height, width, Corrupt)
    lengths, at = _numbers(data, at, end, count)
    if sum(lengths) != end - at:
        raise Corrupt(f"the parts take {sum(lengths)} bytes, {end - at} are there; {_DAMAGED}")
    parts = []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return height, width, parts


def exactly(parts: Sequence[bytes], count: int) -> Sequence[bytes]:
    """The parts; Corrupt unless there are that many."""
    if len(parts) != count:
        raise Corrupt(f"the file has {len(parts)} parts, its codec makes {count}; {_DAMAGED}")
    return parts


def made_with(data: bytes) -> str:
    """The first digits of the identity of the weights that a file was made with. FormatError, Truncated."""
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"the first bytes are {data[:4]!r}, not {MAGIC!r}: no file of an earlier codec")
    if len(data) < len(MAGIC) + MODEL_BYTES + 4:
        raise Truncated(f"the file ends after {len(data)} bytes, within its header; {_DAMAGED}")
    return data[len(MAGIC) : len(MAGIC) + MODEL_BYTES].hex()


def _check_size(height: int, width: int, error: type[Exception]) -> None:
    if height < 1 or width < 1:
        raise error(f"a picture of {width}x{height} pixels; it has one or more")
    if max(height, width) > MAX_SIDE or height * width > DEFAULT_MAX_PIXELS:
        raise TooLarge(
            f"{width}x{height} pixels: at most {MAX_SIDE} on a side and {DEFAULT_MAX_PIXELS} in all; scale it down"
        )


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _numbers(data: bytes, at: int, end: int, count: int) -> tuple[list[int], int]:
    """The next numbers, and where they end."""
    found = []
    for _ in range(count):
        value = 0
        for shift in range(0, 7 * _LONGEST, 7):
            if at == end:
                raise Corrupt(f"the header does not end; {_DAMAGED}")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
        else:
            raise Corrupt(f"a number has more than {_LONGEST} bytes; {_DAMAGED}")
        found.append(value)
    return found, at
