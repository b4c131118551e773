"""The quality map: where a picture gets more bits than elsewhere. docs/format.md, "The quality map", is the norm.

picture or mask -> deltas, one for each cell of 64x64 pixels -> the fine level of every position -> gains, tables
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from dpc.codec.entropy import PRECISION, Decoder, Encoder, Tables
from dpc.codec.tiles import HYPER, STRIDE, Box
from dpc.errors import Corrupt, OptionError

CELL = STRIDE * HYPER  # pixels
UNIT = 16  # fine levels in a delta of 1
LARGEST = 8  # deltas lie in -LARGEST..LARGEST
RAISE = 5  # the largest delta without a mask
# The share of hard edges from which a cell gets more, and at which it gets RAISE. Cells with letters have 0.10 to 0.17,
# 95 of 100 cells of photographs less than 0.074.
FEW, MANY = 0.06, 0.14
PLAIN = 4.0  # levels squared: activity below which a sample lies on plain ground
STEEP = 12.0  # levels between neighbours: the least step of a hard edge
BAND = 512  # rows of pixels that are looked at at a time, a multiple of CELL
AROUND = 8  # samples around them
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B, ITU-R 601
MASK = 4  # the delta of a white cell of a mask; -MASK of a black one

Int = NDArray[np.int32]
_WEIGHTS = (
    (3, 5, 0),
    (1, 7, 0),
    (0, 7, 1),
    (0, 5, 3),
)  # of the cell before, its own and the next; for a position mod 4


def quality_map(rgb: NDArray[np.uint8]) -> Int | None:
    """The deltas that a picture (H, W, 3) gets without a mask, one for each cell; None for the same quality everywhere.

    Cells with letters, that is with many hard edges on plain ground, get up to RAISE more. It looks at the luma at half
    the resolution, some rows of cells at a time.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < CELL:
        return None
    edges = np.concatenate([_edges(rgb, top) for top in range(0, height, BAND)])
    deltas: Int = np.round(RAISE * np.clip((edges - FEW) / (MANY - FEW), 0, 1)).astype(np.int32)
    return deltas if (deltas != deltas[0, 0]).any() else None


def _edges(rgb: NDArray[np.uint8], top: int) -> NDArray[np.float64]:
    """The share of hard edges on plain ground in the cells from row `top` on, BAND rows of pixels."""
    low, high = max(0, top - 2 * AROUND), min(len(rgb), top + BAND + 2 * AROUND)
    luma = rgb[low:high] @ LUMA
    luma = np.pad(luma, [(0, n % 2) for n in luma.shape], mode="edge")
    h, w = luma.shape
    luma = luma.reshape(h // 2, 2, w // 2, 2).mean((1, 3))
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    steep = np.zeros(luma.shape, bool)
    steep[:, :-1] |= across > STEEP
    steep[:-1] |= down > STEEP
    part = slice((top - low) // 2, min((top - low + BAND) // 2, h // 2))
    return _cell_means(steep[part] & (activity(luma)[part] < PLAIN))


def activity(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest of the four 5x5 variances around a sample, three samples away diagonally: on plain ground beside an
    edge one of the four is small, so an edge hides nothing there."""
    mean = _box(luma)
    variance = np.pad(np.maximum(_box(luma * luma) - mean * mean, 0), 3, mode="edge")
    h, w = luma.shape
    pairs = np.minimum(variance[:h], variance[6:])
    return np.minimum(pairs[:, :w], pairs[:, 6:])


def _box(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """5x5 means, the border repeated."""
    x = np.pad(x, 2, mode="edge")
    x = x[:-4] + x[1:-3] + x[2:-2] + x[3:-1] + x[4:]
    return np.asarray((x[:, :-4] + x[:, 1:-3] + x[:, 2:-2] + x[:, 3:-1] + x[:, 4:]) / 25, np.float32)


def _cell_means(x: NDArray[Any]) -> NDArray[np.float64]:
    """Means over cells, of samples at half the resolution; the last cells may be smaller."""
    rows, columns = (np.arange(0, n, CELL // 2) for n in x.shape)
    total = np.add.reduceat(np.add.reduceat(x, rows, 0, np.float64), columns, 1)
    area = np.outer(np.diff(rows, append=x.shape[0]), np.diff(columns, append=x.shape[1]))
    means: NDArray[np.float64] = total / area
    return means


def from_mask(mask: NDArray[Any], height: int, width: int) -> Int | None:
    """The deltas of a mask (height, width): bool, uint8, or float in 0..1; brighter is better, mid-grey is as asked.

    A cell gets the mean of its part of the mask: -MASK for black, MASK for white. None where every delta is 0.
    Raises OptionError for a mask of another size or kind.
    """
    if mask.shape != (height, width):
        size = "x".join(str(n) for n in mask.shape[1::-1])
        raise OptionError(
            f"the mask has {size} pixels, the picture {width}x{height}; give a mask of the picture's size"
        )
    if mask.dtype.kind not in "buf":
        raise OptionError(f"the mask holds {mask.dtype} values; give bool, uint8, or floats from 0 to 1")
    scale = 255.0 if mask.dtype == np.uint8 else 1.0
    rows, columns = (np.arange(0, n, CELL) for n in (height, width))
    total = np.add.reduceat(np.add.reduceat(mask, rows, 0, np.float64), columns, 1)
    area = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    mean = total / area / scale
    if not (np.isfinite(mean).all() and 0 <= mean.min() and mean.max() <= 1):
        raise OptionError(f"the mask has values outside 0..{scale:g}; scale it to that range")
    deltas: Int = np.round((2 * mean - 1) * MASK).astype(np.int32)
    return deltas if deltas.any() else None


def cells_of(h: int, w: int) -> tuple[int, int]:
    """Rows and columns of the map of a picture with h x w latent positions."""
    return -(-h // HYPER), -(-w // HYPER)


@dataclass(frozen=True, eq=False)
class Levels:
    """The fine level everywhere in a picture: base, the file's, moved by the deltas of a map (None: nowhere).

    top: the model's highest fine level.
    """

    base: int
    top: int
    deltas: Int | None = None

    def cells(self, rows: slice) -> Int:
        """The levels of some rows of cells, (rows, columns); one element where they are all the same."""
        if self.deltas is None:
            return np.full((1, 1), self.base, np.int32)
        return np.clip(self.base + UNIT * self.deltas[rows], 0, self.top)

    def positions(self, box: Box) -> Int:
        """The levels of a box of latent positions; one element where they are all the same."""
        if self.deltas is None:
            return np.full((1, 1), self.base, np.int32)
        rows, columns = (matrix[s] for matrix, s in zip(self._matrices, box, strict=True))
        total = rows @ self.deltas @ columns.T
        return np.clip(self.base + (UNIT * total + 32 >> 6), 0, self.top).astype(np.int32)

    @cached_property
    def _matrices(self) -> tuple[Int, Int]:
        """Integer weights of every cell row for every row of positions, and the same of columns."""
        assert self.deltas is not None
        rows, columns = self.deltas.shape
        return _interpolation(rows), _interpolation(columns)


def _interpolation(cells: int) -> Int:
    matrix = np.zeros((cells * HYPER, cells), np.int32)
    for i in range(cells * HYPER):
        for step, weight in zip((-1, 0, 1), _WEIGHTS[i % HYPER], strict=True):
            matrix[i, min(max(i // HYPER + step, 0), cells - 1)] += weight
    return matrix


# deltas <-> bytes


def _frequencies() -> NDArray[np.int64]:
    d = np.abs(np.arange(-2 * LARGEST, 2 * LARGEST + 1))
    return np.where(d == 0, (1 << PRECISION) - (1 << 22) + (1 << 6), 1 << (21 - np.minimum(d, 21)))


# constriction gives every symbol one unit and shares out the rest, so frequency - 1 comes out exactly
_MODEL = constriction.stream.model.Categorical((_frequencies() - 1).astype(np.float64), perfect=False)
_LEAST = PRECISION - np.log2(_frequencies().max())  # bits of the likeliest difference


def pack(deltas: Int) -> bytes:
    """The payload of the chunk: what `unpack` reads."""
    differences = [deltas[i, j] - predicted(deltas, i, j) for i, j in np.ndindex(deltas.shape)]
    encoder = Encoder(Tables([]))
    encoder.add_symbols(np.array(differences, np.int32) + 2 * LARGEST, _MODEL)
    return encoder.finish()


def unpack(payload: bytes, rows: int, columns: int) -> Int:
    """The deltas in a payload, (rows, columns). Corrupt where it breaks a rule of docs/format.md."""
    least = int(rows * columns * _LEAST / 8) - 16
    if len(payload) < least:
        raise Corrupt(
            f"the quality map has {len(payload)} bytes, {columns}x{rows} cells take at least {least}; "
            "the file is damaged"
        )
    decoder = Decoder(Tables([]), payload)
    differences = decoder.read_symbols(_MODEL, rows * columns).reshape(rows, columns) - 2 * LARGEST
    decoder.finish()
    deltas = np.zeros((rows, columns), np.int32)
    for i, j in np.ndindex(deltas.shape):
        deltas[i, j] = predicted(deltas, i, j) + differences[i, j]
    if np.abs(deltas).max() > LARGEST:
        raise Corrupt(f"a delta of the quality map lies outside -{LARGEST}..{LARGEST}; the file is damaged")
    return deltas


def predicted(deltas: Int, i: int, j: int) -> int:
    """What the cells before (i, j) let expect there: the median of left, above, and left + above - their corner."""
    if i == 0:
        return int(deltas[0, j - 1]) if j else 0
    above = int(deltas[i - 1, j])
    if j == 0:
        return above
    left, corner = int(deltas[i, j - 1]), int(deltas[i - 1, j - 1])
    return sorted((left, above, left + above - corner))[1]
