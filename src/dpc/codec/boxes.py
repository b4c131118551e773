"""Boxes of ISO media files and of JPEG 2000 (ISO 14496-12, ISO 15444-1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["boxes"]

_BOXES = 1000  # of one level
_LONGEST = 1 << 22  # bytes of a payload


def boxes(file: BinaryIO, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[bytes]:
    """The payloads of the boxes at the end of a path of boxes, between two places of a file.

    What is damaged ends the search. OSError and struct.error where the file is cut short.
    """
    for _ in range(_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            head = 16
        length = end - start if length == 0 else length
        if length < head or start + length > end:
            return
        if name == path[0] and len(path) > 1:
            version = 4 if name == b"meta" else 0
            yield from boxes(file, start + head + version, start + length, path[1:])
        elif name == path[0] and length <= _LONGEST:
            file.seek(start + head)
            yield file.read(length - head)
        start += length
