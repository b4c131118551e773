"""Which cells are smoothed, and how much: where it brings the picture nearer to the original and takes no texture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec.quality_map import LUMA, activity
from dpc.codec.smoothing import CELL, FRACTION, NEAR, cells_of, cut, patches, rows_at_once, smoothed
from dpc.codec.wide_smoothing import BLOCK, STRENGTHS, averaged, blocks, blocks_of

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float32]

LEAST = 128  # pixels: a smaller picture has no bytes for it
HIDES = 8.0  # levels squared: an error counts by 1 / (activity + this)
SHARE = 0.3  # a cell with this share of activities below HIDES is looked at
MARGIN = 8  # rows around those that are looked at, so that their activity is right
LESS = 0.9  # the most of the error that may be left
KEPT = 0.7  # the least of the texture that must be left
SLACK, WIDE_SLACK = 0.2, 0.05  # levels squared a pixel or block: texture that may go anyway
MIDDLE = 2  # the strength that is tried first; the stronger one where it helps, the weaker one elsewhere


def chosen(original: UInt8, shown: Callable[[], UInt8]) -> UInt8 | None:
    """The strengths for a picture (H, W, 3); None where nothing is to be smoothed.

    shown: gives what the networks show of it, of the same shape; not called where the picture has no plain ground.
    """
    strengths = np.zeros(cells_of(*original.shape[:2]), np.uint8)
    if min(original.shape[:2]) < LEAST:
        return None
    decoded: UInt8 | None = None
    step = rows_at_once(strengths.shape[1])
    for first in range(0, len(strengths), step):
        weights = _weights(original, first, step)
        edges = np.arange(0, weights.shape[0], CELL), np.arange(0, weights.shape[1], CELL)
        plain = np.add.reduceat(np.add.reduceat(weights > 0.5 / HIDES, edges[0], 0, np.int32), edges[1], 1)
        cells = np.argwhere(plain >= SHARE * CELL * CELL)
        if len(cells):
            decoded = shown() if decoded is None else decoded
            found = _strengths(original, decoded, weights, cells, first)
            strengths[first : first + step][tuple(cells.T)] = found
    return strengths if strengths.any() else None


def chosen_wide(original: UInt8, shown: Callable[[], UInt8]) -> UInt8 | None:
    """The same for the wide smoothing, by the errors of blocks: what is finer is no concern of it."""
    height, width = original.shape[:2]
    if min(height, width) < LEAST:
        return None
    rows, columns = cells_of(height, width)
    weights = np.empty(blocks_of(height, width), np.float32)
    step = rows_at_once(columns)
    for first in range(0, rows, step):
        means = _block_means(_weights(original, first, step))
        weights[first * CELL // BLOCK :][: len(means)] = means
    plain = _by_cell(weights > 0.5 / HIDES) >= SHARE * (CELL // BLOCK) ** 2
    if not plain.any():
        return None
    wanted, values = blocks(original), blocks(shown())
    texture = _block_texture(wanted)
    best = LESS * _block_errors(wanted, values, weights)
    strengths = np.zeros((rows, columns), np.uint8)
    for strength in STRENGTHS:
        found = averaged(values, np.full(weights.shape, strength, np.uint8))
        error = _block_errors(wanted, found, weights)
        kept = _block_texture(found) >= KEPT * texture - WIDE_SLACK * (CELL // BLOCK) ** 2
        good = plain & kept & (error < best)
        best[good], strengths[good] = error[good], strength
    return strengths if strengths.any() else None


def _block_means(values: Float) -> Float:
    """Of (h, w), those of whole blocks by theirs, of cut ones by what there is."""
    down, across = (np.arange(0, n, BLOCK) for n in values.shape)
    sums, counts = (np.add.reduceat(np.add.reduceat(of, down, 0), across, 1) for of in (values, np.ones_like(values)))
    return np.asarray(sums / counts)


def _by_cell(of_blocks: NDArray[Any]) -> NDArray[np.float64]:
    """Sums over the blocks of each cell."""
    down, across = (np.arange(0, n, CELL // BLOCK) for n in of_blocks.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(of_blocks, down, 0, np.float64), across, 1))


def _block_errors(wanted: NDArray[np.int32], values: NDArray[np.int32], weights: Float) -> NDArray[np.float64]:
    """The squared error of each cell, weighted."""
    return _by_cell(np.square((wanted - values).astype(np.float32) / FRACTION).sum(2) * weights)


def _block_texture(values: NDArray[np.int32]) -> NDArray[np.float64]:
    """The squared differences of neighbouring blocks' luma in each cell, with the blocks right of it and below."""
    luma = values.astype(np.float32) @ (LUMA / FRACTION)
    squares = np.zeros(luma.shape, np.float32)
    squares[:, :-1] += np.square(np.diff(luma, axis=1))
    squares[:-1] += np.square(np.diff(luma, axis=0))
    return _by_cell(squares)


def _weights(original: UInt8, first: int, step: int) -> Float:
    """By how much an error counts, (rows, W), in `step` rows of cells from `first` on."""
    top, bottom = first * CELL, min((first + step) * CELL, len(original))
    start = max(0, top - MARGIN)
    luma = original[start : bottom + MARGIN] @ LUMA
    return np.asarray(1 / (activity(luma)[top - start : bottom - start] + HIDES), np.float32)


def _strengths(
    original: UInt8, shown: UInt8, weights: Float, cells: NDArray[np.int64], first: int
) -> NDArray[np.int64]:
    """The best strength of each of the cells, whose rows are counted from the row of cells `first` on."""
    rows, whole = (slice(0, n) for n in weights.shape)
    weight = cut(weights[..., None], (rows, whole), cells, 0, np.float32(0))[0]
    in_all = cells + (first, 0)
    part = slice(0, original.shape[0]), whole
    wanted = cut(original, part, in_all, 0, np.float32(0))
    seen = patches(shown, part, in_all)
    texture = _texture(wanted, weight)
    best = LESS * _error(wanted, cut(shown, part, in_all, 0, np.float32(0)), weight)
    found = np.zeros(len(cells), np.int64)

    def attempt(strength: int, among: NDArray[np.bool_]) -> None:
        here = np.flatnonzero(among)
        if not len(here):
            return
        colours = smoothed(seen[:, :, here], np.full(len(here), NEAR[strength])).astype(np.float32)
        error = _error(wanted[:, :, here], colours, weight[:, here])
        kept = _texture(colours, weight[:, here]) >= KEPT * texture[here] - SLACK * CELL * CELL
        good = kept & (error < best[here])
        best[here[good]], found[here[good]] = error[good], strength

    attempt(MIDDLE, np.ones(len(cells), bool))
    attempt(MIDDLE + 1, found > 0)
    attempt(MIDDLE - 1, found == 0)
    return found


def _error(wanted: Float, colours: Float, weight: Float) -> Float:
    """The squared error of each cell, weighted."""
    difference: Any = wanted - colours
    return np.einsum("cynx,cynx,ynx->n", difference, difference, weight, optimize=["einsum_path", (0, 1), (0, 1)])


def _texture(colours: Float, weight: Float) -> Float:
    """The squared differences of neighbours' luma in each cell, where there are pixels."""
    luma = np.einsum("c,cynx->ynx", LUMA, colours)
    across, down = np.diff(luma, axis=2), np.diff(luma, axis=0)
    inside = weight > 0
    across *= inside[:, :, 1:] & inside[:, :, :-1]
    down *= inside[1:] & inside[:-1]
    return np.einsum("ynx,ynx->n", across, across) + np.einsum("ynx,ynx->n", down, down)
