"""The body of a picture of few colours: a palette, and the number of each pixel's colour by context mixing.

docs/format.md, "The indexed body", is the norm. It takes about two thirds of a lossless WebP of pages, windows and
diagrams whose colours were merged.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dpc.codec import fast_mixing, merging, mixing
from dpc.errors import Corrupt

__all__ = ["CLEAR", "LARGEST", "MOST_COLOURS", "OPAQUE", "TRANSLUCENT", "from_bytes", "keyed", "to_bytes"]

OPAQUE, CLEAR, TRANSLUCENT = 1, 2, 3
"""The first byte of such a body; a WebP begins with an R. CLEAR: the last colour is no colour but opacity 0.
TRANSLUCENT: each colour has its opacity."""
MOST_COLOURS = 256
LARGEST = 1 << 24  # pixels, for time and memory
SAMPLED = 16  # rows of which one is looked at first
_START = 1 << 24  # the coder's first and last state
_CLEAR = 255 << 24  # opacity 0, in place of a colour
_WIDE = {OPAQUE: 3, CLEAR: 3, TRANSLUCENT: 4}
"""Bytes of a colour of the palette, by the first byte."""
_DAMAGED = "the file is damaged, get it again"

UInt8 = NDArray[np.uint8]


def to_bytes(rgb: UInt8, alpha: UInt8 | None = None) -> bytes | None:
    """The body of a picture, (H, W, 3) and (H, W).

    None where it has more than MOST_COLOURS colours, opacities counted with them, or more than LARGEST pixels. What is
    clear comes back black. The palette of a picture of one colour has a second one, which no pixel has.
    """
    height, width = rgb.shape[:2]
    if height * width > LARGEST:
        return None
    keys = keyed(rgb, alpha)
    if len(np.unique(keys[::SAMPLED])) > MOST_COLOURS:  # a photograph is found out quickly
        return None
    values, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if len(values) > MOST_COLOURS:
        return None
    if len(values) == 1:
        values, counts = np.append(values, np.uint32(0 if values[0] else 1)), np.append(counts, 0)
    translucent = bool(((values >> 24 > 0) & (values != _CLEAR)).any())
    last = (values == _CLEAR) & (not translucent)
    order = np.lexsort((-counts, last))
    numbers = np.empty(len(values), np.uint8)
    numbers[order] = np.arange(len(values))
    words = _coded(numbers[where].reshape(height, width), len(values))
    colours = values[order]
    columns = [colours >> 16 & 255, colours >> 8 & 255, colours & 255, 255 - (colours >> 24)]
    kind = TRANSLUCENT if translucent else CLEAR if last.any() else OPAQUE
    palette = np.stack(columns[: _WIDE[kind]], 1).astype(np.uint8).tobytes()
    return bytes([kind, len(values) - 1]) + palette + words


def keyed(rgb: UInt8, alpha: UInt8 | None = None) -> NDArray[np.uint32]:
    """Colour and opacity of each pixel as one number, (H, W); all that is clear has the same."""
    keys = merging.packed(rgb)
    if alpha is None:
        return keys
    return np.where(alpha > 0, keys | (255 - alpha.astype(np.uint32)) << 24, np.uint32(_CLEAR))


def _coded(numbers: UInt8, colours: int) -> bytes:
    """The stream of the numbers, (H, W)."""
    import constriction

    p, bits = fast_mixing.encode(numbers, colours) or _told(numbers, colours)
    coder = constriction.stream.stack.AnsCoder(np.array([_START], np.uint32))
    coder.encode_reverse(bits.astype(np.int32), _bernoulli(), p / mixing.ONE)
    return cast(bytes, coder.get_compressed().astype("<u4").tobytes())


def _told(numbers: UInt8, colours: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What fast_mixing.encode gives, without it."""
    coded: list[tuple[NDArray[np.bool_], Any]] = []

    def code(p: mixing.Ints, wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        bits = cast(NDArray[np.bool_], wanted)
        coded.append((bits, p))
        return bits

    height, width = numbers.shape
    mixing.run(height, width, colours, code, numbers)
    return np.concatenate([p for _, p in coded]), np.concatenate([bits for bits, _ in coded])


def from_bytes(body: bytes, width: int, height: int, title: str) -> tuple[UInt8, UInt8 | None]:
    """(rgb (height, width, 3), alpha (height, width) or None) of a body; Corrupt for one that no writer makes.

    title: what an error calls it.
    """
    import constriction

    if width * height > LARGEST:
        raise Corrupt(f"the {title} is an indexed one of {width}x{height} pixels, above {LARGEST} in all; {_DAMAGED}")
    colours = body[1] + 1 if len(body) > 1 else 0
    wide = _WIDE.get(body[0], 0)
    start = 2 + wide * colours
    if not wide or colours < 2 or len(body) < start + 4 or (len(body) - start) % 4:
        raise Corrupt(f"the {title} has {len(body)} bytes, which are not those of {colours} colours; {_DAMAGED}")
    try:
        coder = constriction.stream.stack.AnsCoder(np.frombuffer(body[start:], "<u4").astype(np.uint32))
    except ValueError as error:
        raise Corrupt(f"the {title} ends in a zero word; {_DAMAGED}") from error
    numbers = fast_mixing.decode(body[start:], height, width, colours)
    if numbers is None:
        numbers = _read(coder, height, width, colours, title)
    if numbers.max() >= colours:
        raise Corrupt(f"the {title} uses colour {numbers.max()} of {colours}; {_DAMAGED}")
    palette = np.frombuffer(body[2:start], np.uint8).reshape(-1, wide)
    opacity = np.full(colours, 255, np.uint8)
    if body[0] == CLEAR:
        opacity[-1] = 0
    elif body[0] == TRANSLUCENT:
        opacity = palette[:, 3]
    return palette[numbers, :3], None if body[0] == OPAQUE else opacity[numbers]


def _read(coder: Any, height: int, width: int, colours: int, title: str) -> UInt8:
    """The numbers of the pixels by numpy; Corrupt for a stream that no writer makes."""
    model = _bernoulli()

    def code(p: mixing.Ints, _: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        if coder.pos()[1] < _START:  # once below, no word is left to refill it
            raise Corrupt(f"the {title} ends before its picture; {_DAMAGED}")
        return np.asarray(coder.decode(model, p / mixing.ONE), bool)

    numbers = mixing.run(height, width, colours, code)
    if coder.pos() != (0, _START):
        raise Corrupt(f"the {title} does not end with its picture; {_DAMAGED}")
    return numbers


def _bernoulli() -> Any:
    """Of constriction: with probabilities of n / 65536 it gives 1 exactly 256 n of 2**24, the last ones."""
    import constriction

    return constriction.stream.model.Bernoulli(perfect=True)
