"""Large pictures in tiles: every network sees a core and a halo around it, so its memory has a bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIDE = 16  # pixels per latent position
HYPER = 4  # latent positions per hyper-latent position
CORE = 96  # latent positions of a tile, without its halo
HALO = 8  # latent positions; more than the networks of the shipped recipes see

Array = NDArray[Any]
Box = tuple[slice, slice]


def halo_of(encoder_depths: Sequence[int], decoder_depths: Sequence[int], groups: int) -> int:
    """The halo for networks with so many blocks at 1/4, 1/8 and 1/16 and so many channel groups; at least HALO."""

    def seen(depths: Sequence[int]) -> float:
        return depths[2] + depths[1] / 2 + depths[0] / 4 + 1.5

    return max(HALO, HYPER * math.ceil(max(seen(encoder_depths), seen(decoder_depths), groups + 2) / HYPER))


def tiles(h: int, w: int, halo: int | None = None) -> Iterator[tuple[Box, Box, Box]]:
    """Tiles of h x w positions: (core in the whole, core and halo in the whole, core inside the latter).

    halo: None for HALO.
    """
    halo = HALO if halo is None else halo

    def spans(n: int) -> list[tuple[slice, slice, slice]]:
        starts = range(0, n, CORE) if n > CORE + 2 * halo else [0]
        result = []
        for i in starts:
            stop = min(i + CORE, n) if len(starts) > 1 else n
            low, high = max(0, i - halo), min(n, stop + halo)
            # a last piece too thin for the networks borrows more from its neighbour
            low = min(low, max(0, high - 2 * halo))
            result.append((slice(i, stop), slice(low, high), slice(i - low, stop - low)))
        return result

    for r_core, r_outer, r_inner in spans(h):
        for c_core, c_outer, c_inner in spans(w):
            yield (r_core, c_core), (r_outer, c_outer), (r_inner, c_inner)


def hyper(box: Box) -> Box:
    rows, columns = (slice(s.start // HYPER, -(-s.stop // HYPER)) for s in box)
    return rows, columns


def cut(a: Array, box: Box) -> Array:
    return np.ascontiguousarray(a[(..., *box)])
