"""Large pictures in tiles: every network sees a core and a halo around it, so its memory has a bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIDE = 16  # pixels per latent position
HYPER = 4  # latent positions per hyper-latent position
SIDE = 96  # latent positions: a piece with its halo has at most SIDE * SIDE
HALO = 8  # latent positions; more than the networks of the shipped recipes see

Array = NDArray[Any]
Box = tuple[slice, slice]


def halo_of(encoder_depths: Sequence[int], decoder_depths: Sequence[int], groups: int) -> int:
    """The halo for networks with so many blocks at 1/4, 1/8 and 1/16 and so many channel groups; at least HALO."""

    def seen(depths: Sequence[int]) -> float:
        return depths[2] + depths[1] / 2 + depths[0] / 4 + 1.5

    return max(HALO, HYPER * math.ceil(max(seen(encoder_depths), seen(decoder_depths), groups + 2) / HYPER))


def tiles(h: int, w: int, halo: int | None = None, part: Box | None = None) -> Iterator[tuple[Box, Box, Box]]:
    """Tiles of h x w positions: (core in the whole, core and halo in the whole, core inside the latter).

    The cores cover the whole, or the given part of it, once; row by row. halo: None for HALO.
    """
    halo = HALO if halo is None else halo
    rows, columns = part or (slice(0, h), slice(0, w))
    tall = list(_spans(rows, h, max(SIDE, SIDE * SIDE // w, 2 * halo + HYPER), halo))
    tallest = max(outer.stop - outer.start for _, outer, _ in tall)
    for r_core, r_outer, r_inner in tall:
        for c_core, c_outer, c_inner in _spans(columns, w, max(SIDE * SIDE // tallest, 2 * halo + HYPER), halo):
            yield (r_core, c_core), (r_outer, c_outer), (r_inner, c_inner)


def _spans(part: slice, whole: int, most: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Pieces of a part of 0..whole, of at most `most` with their halo, which are all of one length, of whole HYPERs.

    One length, since ONNX Runtime keeps memory for every shape that it has met.
    """
    length, longest = part.stop - part.start, (most - 2 * halo) // HYPER * HYPER
    pieces = 1 if whole <= most else math.ceil(length / longest)
    step = HYPER * math.ceil(length / pieces / HYPER)
    outer = min(whole, step + 2 * halo) if pieces > 1 else min(whole, part.stop + halo) - max(0, part.start - halo)
    for i in range(part.start, part.stop, step):
        stop, low = min(i + step, part.stop), max(0, min(i - halo, whole - outer))
        yield slice(i, stop), slice(low, low + outer), slice(i - low, stop - low)


def hyper(box: Box) -> Box:
    """The hyper-latent positions of a box of latent positions."""
    rows, columns = (slice(s.start // HYPER, -(-s.stop // HYPER)) for s in box)
    return rows, columns


def pixels(box: Box, stride: int = STRIDE) -> Box:
    """The pixels of a box of latent positions, stride in each."""
    rows, columns = (slice(s.start * stride, s.stop * stride) for s in box)
    return rows, columns


def positions_of(box: Box, stride: int = STRIDE) -> Box:
    """The latent positions of a box of pixels, stride in each."""
    rows, columns = (slice(s.start // stride, -(-s.stop // stride)) for s in box)
    return rows, columns


def overlap(a: Box, b: Box) -> tuple[Box, Box]:
    """What two boxes share: inside of b, and inside of a."""
    shared = [slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True)]
    (i, j), (k, m) = (
        [slice(s.start - t.start, s.stop - t.start) for s, t in zip(shared, box, strict=True)] for box in (b, a)
    )
    return (i, j), (k, m)


def cut(a: Array, box: Box) -> Array:
    """The part of an array whose last two axes are positions; an axis of one element is left as it is."""
    rows, columns = (slice(0, 1) if n == 1 else s for n, s in zip(a.shape[-2:], box, strict=True))
    return np.ascontiguousarray(a[..., rows, columns])
