"""Latents <-> bytes: strips, groups of channels and the order of symbols. Norm: docs/format.md, "The learned body".

    body    lengths of the strips' streams, then the streams
    stream  z, then r group by group; what was read picks the tables of what follows (the context model)

Only integers decide how a stream is read: z, r and the integer scale networks (see artifact.py, entropy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpc.codec.entropy import Decoder, Encoder
from dpc.codec.quality_map import Levels
from dpc.codec.tiles import HYPER, cut, hyper
from dpc.codec.timing import Clock
from dpc.codec.transforms import Array, Float, Int, Strip, Transforms
from dpc.errors import Corrupt

WORD = 4  # bytes
_LENGTH_BYTES = 4  # of a strip's length in the table, at most
_SLACK = 16  # bytes that a strip may be shorter than its least
_DAMAGED = "the file is damaged"


@dataclass(frozen=True)
class Latents:
    """What a stream holds: z (C, h/4, w/4) and r (N, h, w) int32, and the scale index of every element, uint8."""

    z: Int
    r: Int
    z_index: NDArray[np.uint8]
    index: NDArray[np.uint8]


class StreamCoder:
    """Codes strips with the tables and the scale networks of a model. Safe to share between threads."""

    def __init__(self, transforms: Transforms, clock: Clock) -> None:
        self._transforms, self._artifact, self._clock = transforms, transforms.artifact, clock

    def write(self, z: Int, r: Int, strip: Strip, levels: Levels) -> bytes:
        """The stream of a strip."""
        latents = self.latents(z, r, strip, levels)
        with self._clock.part("entropy"):
            encoder = Encoder(self._artifact.tables)
            encoder.add(latents.z, latents.z_index)
            for part in self._groups():
                encoder.add(latents.r[part], latents.index[part])
            return encoder.finish()

    def read(self, stream: bytes | memoryview, strip: Strip, levels: Levels) -> tuple[Int, Int]:
        """z and r of a strip. Corrupt where the stream breaks a rule of docs/format.md."""
        with self._clock.part("entropy"):
            decoder = Decoder(self._artifact.tables, stream)
            z = decoder.read(self._z_index(strip, levels))
        limit = self._artifact.sizes.z_limit
        if np.abs(z).max() > limit:
            raise Corrupt(f"a hyper-latent lies outside -{limit}..{limit}; {_DAMAGED}")
        r = np.empty((self._artifact.sizes.latents, strip.h, strip.w), np.int32)

        def take(part: slice, index: NDArray[np.uint8]) -> Int:
            with self._clock.part("entropy"):
                r[part] = decoder.read(index)
            return r[part]

        self._indices(z, strip, levels, take)
        decoder.finish()
        return z, r

    def latents(self, z: Int, r: Int, strip: Strip, levels: Levels) -> Latents:
        """z and r with their scale indices; what is not coded is set to zero in r."""

        def take(part: slice, index: NDArray[np.uint8]) -> Int:
            # tiles may see another neighbour's rounding by a hair: what is not coded must be zero
            r[part][index == 0] = 0
            return r[part]

        index = self._indices(z, strip, levels, take)
        return Latents(z, r, self._z_index(strip, levels), index)

    def check_lengths(self, streams: Sequence[memoryview], strips: Sequence[Strip], levels: Levels) -> None:
        """Corrupt where a strip is shorter than its hyper-latents' likeliest values: no few bytes claim a lot."""
        bits = self._artifact.tables.least_bits[self._artifact.z_indices].sum(1)  # of a cell, by fine level
        for stream, strip in zip(streams, strips, strict=True):
            cells = strip.cells.stop - strip.cells.start, -(-strip.w // HYPER)
            least = float(np.broadcast_to(bits[levels.cells(strip.cells)], cells).sum()) / 8 - _SLACK
            if len(stream) < least:
                raise Corrupt(
                    f"a strip's stream has {len(stream)} bytes; {strip.h}x{strip.w} positions take at least "
                    f"{int(least)}; {_DAMAGED}"
                )

    def _groups(self) -> list[slice]:
        ends = np.cumsum(self._artifact.sizes.groups).tolist()
        return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    def _z_index(self, strip: Strip, levels: Levels) -> NDArray[np.uint8]:
        rows = np.moveaxis(self._artifact.z_indices[levels.cells(strip.cells)], -1, 0)
        shape = len(rows), strip.cells.stop - strip.cells.start, -(-strip.w // HYPER)
        return np.ascontiguousarray(np.broadcast_to(rows, shape), np.uint8)

    def _indices(
        self, z: Int, strip: Strip, levels: Levels, take: Callable[[slice, NDArray[np.uint8]], Int]
    ) -> NDArray[np.uint8]:
        """The scale index of every element, group by group; take(part, index) gives the residuals of a group."""
        a, groups, full = self._artifact, self._groups(), strip.padded
        z_hat = z[None].astype(np.float32)
        offsets = a.offset(levels.positions(strip.box()))
        known: Float = np.zeros((1, groups[-1].start, *full), np.float32)
        result = np.empty((a.sizes.latents, strip.h, strip.w), np.uint8)
        features: list[Array] = []
        for g, part in enumerate(groups):
            index = result[part]
            for t, (core, outer, inner) in enumerate(self._transforms.tiles(*full)):
                if g == 0:
                    f, out = self._transforms.run("scale0", z_hat=cut(z_hat, hyper(outer)))
                    features.append(f)
                else:
                    before = cut(known[:, : part.start], outer)
                    (out,) = self._transforms.run(f"scale{g}", features=features[t], r=before)
                here = index[(..., *core)]
                moved = out[0][(..., *inner)] + cut(offsets[part], core)
                here[...] = np.clip(moved, 0, len(a.tables) - 1)[:, : here.shape[1], : here.shape[2]]
            residuals = take(part, index)
            if g < len(groups) - 1:
                known[0, part, : strip.h, : strip.w] = residuals
        return result


# the body


def join(streams: Sequence[bytes]) -> bytes:
    """The body: the lengths of all streams but the last, then the streams."""
    return b"".join([*(_varint(len(stream) // WORD) for stream in streams[:-1]), *streams])


def split(body: bytes, count: int) -> list[memoryview]:
    """The streams of a body. Corrupt where the table of their lengths cannot be."""
    view, at = memoryview(body), 0
    lengths = []
    for _ in range(count - 1):
        words, at = _read_varint(view, at)
        lengths.append(WORD * words)
    if at + sum(lengths) >= len(view):
        raise Corrupt(f"the strips of the picture go on past the end of the body, {len(view)} bytes; {_DAMAGED}")
    streams = []
    for length in lengths:
        streams.append(view[at : at + length])
        at += length
    return [*streams, view[at:]]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(view[at : at + _LENGTH_BYTES]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if not byte:
                break  # 0, or not in the fewest bytes
            return value, at + i + 1
    raise Corrupt(f"the length of a strip cannot be read; {_DAMAGED}")
