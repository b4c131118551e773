"""How single values lie in a .dpc file: raw bytes, unsigned integers, varints; both directions, with limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dpc.errors import Corrupt, FormatError, Truncated

__all__ = ["DAMAGED", "Form", "Raw", "UInt", "Varint", "ends_in"]

DAMAGED = "the file is damaged, get it again"


def ends_in(name: str, length: int) -> FormatError:
    """The error of a file that ends within a value."""
    return Truncated(f"the file ends in {name}, after {length} bytes; it was cut short, get it again")


class Form(Protocol):
    """How one value is laid out. Both directions raise FormatError; `name` is for the message."""

    def write(self, value: Any, name: str) -> bytes: ...

    def read(self, view: memoryview, at: int, name: str) -> tuple[Any, int]: ...


@dataclass(frozen=True)
class Raw:
    """Exactly `size` bytes, as they are."""

    size: int

    def write(self, value: bytes, name: str) -> bytes:
        if len(value) != self.size:
            raise Corrupt(f"{name} is {len(value)} bytes long, it must be {self.size}; give that many")
        return value

    def read(self, view: memoryview, at: int, name: str) -> tuple[bytes, int]:
        end = at + self.size
        if end > len(view):
            raise ends_in(name, len(view))
        return bytes(view[at:end]), end


@dataclass(frozen=True)
class UInt:
    """An unsigned integer of exactly `size` bytes, the lowest first."""

    size: int

    def write(self, value: int, name: str) -> bytes:
        if not 0 <= value < 1 << 8 * self.size:
            raise Corrupt(f"{name} is {value}, it must be 0 to {(1 << 8 * self.size) - 1}; change it")
        return value.to_bytes(self.size, "little")

    def read(self, view: memoryview, at: int, name: str) -> tuple[int, int]:
        raw, at = Raw(self.size).read(view, at, name)
        return int.from_bytes(raw, "little"), at


@dataclass(frozen=True)
class Varint:
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
                raise ends_in(name, len(view))
            byte = view[at + i]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if i and not byte:
                    raise Corrupt(f"{name} is {value} in {i + 1} bytes, it must take the fewest; {DAMAGED}")
                return value, at + i + 1
        raise Corrupt(f"{name} is longer than {self.size} bytes; {DAMAGED}")
