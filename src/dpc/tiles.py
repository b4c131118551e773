"""Large pictures in tiles: every network sees a core and a halo around it, so its memory has a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIDE = 16  # pixels per latent position
HYPER = 4  # latent positions per hyper-latent position
CORE = 96  # latent positions of a tile, without its halo
HALO = 8  # latent positions; more than any network sees

Array = NDArray[Any]
Box = tuple[slice, slice]


def tiles(h: int, w: int) -> Iterator[tuple[Box, Box, Box]]:
    """Tiles of h x w positions: (core in the whole, core and halo in the whole, core inside the latter)."""

    def spans(n: int) -> list[tuple[slice, slice, slice]]:
        starts = range(0, n, CORE) if n > CORE + 2 * HALO else [0]
        result = []
        for i in starts:
            stop = min(i + CORE, n) if len(starts) > 1 else n
            low, high = max(0, i - HALO), min(n, stop + HALO)
            # a last piece too thin for the networks borrows more from its neighbour
            low = min(low, max(0, high - 2 * HALO))
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
