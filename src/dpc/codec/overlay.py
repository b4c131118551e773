"""The overlay: the flat parts of a picture, kept nearly without loss over what the networks make of the rest.

Windows and pages with photographs in them: text and plain ground go to a lossless body with merged colours
(codec/merging.py), which is clear elsewhere; the networks code the picture with these parts smoothed away.
docs/format.md, "The overlay", is the norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.codec import lossless, merging, rdo, regions

UInt8 = NDArray[np.uint8]

BLOCK = merging.BLOCK
FLAT = 0.15  # flatness from which a picture is looked at; photographs lie below
SAME = 0.5  # share of pixels around a flat block that equal a neighbour, and in it more than half of that
PAINTED = 0.6  # share of rare colours from which a block is no flat one
OWN = 0.2  # share of ground in a flat block; dark cloth has less
GROUNDED = 0.4  # share of ground in the flat parts; the dark and the blown-out parts of photographs have less
LEAST = 0.05  # share of the picture that is worth an overlay
GROUNDS = 64  # pixels of ground in the flat blocks from which a colour is ground beside them
THICK = 3  # pixels: what is no further than so many from its border all over is no photograph
LARGEST_LETTER = 4096  # pixels
LETTERS = 160  # colours that a letter, a button or an icon has at most; photographs have more
SMOOTHED = 64  # rounds in which what lies under the overlay is filled from its borders


@dataclass(frozen=True)
class Page:
    """The flat parts of a picture.

    rgb: (H, W, 3), what the overlay shows; flat: (H, W) bool; behind: the picture without them, for the networks.
    """

    rgb: UInt8
    flat: NDArray[np.bool_]
    behind: UInt8

    @property
    def mask(self) -> UInt8:
        """255 where the overlay shows the picture, (H, W)."""
        return np.where(self.flat, 255, 0).astype(np.uint8)

    def fitting(self, size: float, *, finest: int = 0, coarse: bool = False) -> tuple[bytes, UInt8] | None:
        """The overlay of at most `size` bytes whose colours are merged the least, and what it shows, (H, W, 3).

        None where there is none. finest, coarse: as merging.fitting has them; with finest at 0 all colours may stay.
        """
        alpha = self.mask
        pictures: dict[bytes, UInt8] = {}

        def shown(rgb: UInt8) -> UInt8:
            return np.where(self.flat[..., None], rgb, 0).astype(np.uint8)

        alone = shown(self.rgb)

        def encode(rgb: UInt8, price: int = 0) -> bytes:
            picture = shown(rgb)
            if price:
                picture = rdo.optimised(picture, alone, price, alpha)
            data = lossless.to_bytes(picture, alpha)
            pictures[data] = picture
            return data

        def guess(rgb: UInt8) -> float:
            return lossless.guessed(shown(rgb), alpha)

        exact = b"" if finest else encode(alone)
        data = exact if exact and len(exact) <= size else None
        if data is None:
            data = merging.fitting(alone, encode, size, guess, finest=finest, coarse=coarse)
        return None if data is None else (data, pictures[data])


def find(rgb: UInt8, alpha: UInt8 | None = None) -> Page | None:
    """The flat parts of a picture (H, W, 3) that has others too; None where they are not worth an overlay.

    alpha: (H, W); what lies under 0 is never kept.
    """
    height, width = rgb.shape[:2]
    if height * width > merging.LARGEST or max(height, width) > lossless.MAX_SIDE or min(height, width) < 2 * BLOCK:
        return None
    if lossless.flatness(rgb) < FLAT:
        return None
    packed = merging.packed(rgb)
    blocks = _flat_blocks(packed)
    if not LEAST <= blocks.mean() or blocks.all():
        return None
    flat = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
    if _ground(packed)[flat].mean() < GROUNDED:
        return None
    flat |= _beside(packed, flat, alpha)
    if flat.all():
        return None  # a page, and nothing else
    found = laid_out(rgb, flat, rgb, alpha)
    return found if found.flat.mean() >= LEAST else None


def laid_out(rgb: UInt8, flat: NDArray[np.bool_], shown: UInt8, alpha: UInt8 | None) -> Page:
    """The page with these flat parts (H, W) of a picture (H, W, 3). shown: what the overlay is to show there."""
    behind = np.where(flat[..., None], _filled(rgb, flat), rgb).astype(np.uint8)
    return Page(shown, flat if alpha is None else flat & (alpha > 0), behind)


def laid_over(rgb: UInt8, overlay: bytes, width: int, height: int, part: tuple[slice, slice]) -> None:
    """Put an overlay over the rows and columns `part` of its picture, (h, w, 3), in place. Corrupt."""
    colours, opacity = lossless.from_bytes(overlay, width, height, "overlay")
    if opacity is None:
        rgb[:] = colours[part]
        return
    shown = opacity[part] > 0
    rgb[shown] = blended(rgb[shown], colours[part][shown], opacity[part][shown])


def blended(under: UInt8, over: UInt8, opacity: UInt8) -> UInt8:
    """Colours (..., 3) over others of these opacities (...), as the norm has it."""
    share = opacity[..., None].astype(np.uint32)
    return np.asarray((share * over + (255 - share) * under + 127) // 255, np.uint8)


def _means(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Means over the blocks of (H, W, C), the last ones over what there is of them."""
    rows, columns = (np.arange(0, n * BLOCK, BLOCK) for n in shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones((*values.shape[:2], 1), np.float32), rows, 0), columns, 1)
    return np.asarray(sums / counts, np.float32)


def _flat_blocks(packed: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which blocks of the colours (H, W) are flat and rendered."""
    height, width = packed.shape
    same = np.zeros((height, width), bool)
    same[:, 1:] |= packed[:, 1:] == packed[:, :-1]
    same[1:] |= packed[1:] == packed[:-1]
    _, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rare = (counts < packed.size / merging.RARE)[where.reshape(packed.shape)]
    shape = (-(-height // BLOCK), -(-width // BLOCK))
    shares = _means(np.stack([same, rare, _ground(packed)], 2).astype(np.float32), shape)
    own, painted = shares[..., 0], shares[..., 1] > PAINTED
    around = _boxed(own)
    flat = (around > SAME) & (own > SAME / 2) & (shares[..., 2] > OWN) & ~painted
    # a block beside others may hold the edge of a photograph, which merged colours would turn to stripes
    return np.asarray(_boxed(flat.astype(np.float32)) > 0.99)


def _beside(packed: NDArray[np.uint32], flat: NDArray[np.bool_], alpha: UInt8 | None) -> NDArray[np.bool_]:
    """The ground that goes on beside flat parts (H, W) of the colours (H, W), and letters on it: (H, W).

    So a photograph on a page ends at its own border. Ground is of the colours that are ground in the flat parts, and
    connected with them. What it surrounds and has few colours is a letter or the like. What is clear, where alpha
    (H, W) is 0, surrounds things too.
    """
    ground = _ground(packed)
    values, counts = np.unique(packed[flat & ground], return_counts=True)
    open_ = np.isin(packed, values[counts >= GROUNDS])
    plain = regions.reached(open_, flat)
    found = flat | plain
    if alpha is not None:
        plain = plain | (alpha == 0)
    found = found | _few(packed, ~plain)
    rest = np.pad(~found & ~open_, THICK, mode="edge")
    thick = regions.grown(regions.shrunk(rest, THICK), THICK + 1)[THICK:-THICK, THICK:-THICK]
    return found | _few(packed, ~found & ~thick)  # of letters that touch a photograph, all but what touches it


def _few(packed: NDArray[np.uint32], marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those connected parts of the marks (H, W) that are small and have few colours.

    A grey photograph, or one from a palette, has few colours as well, and is large.
    """
    labels = regions.labelled(marks)
    keys = np.sort(labels[marks].astype(np.int64) << 24 | packed[marks])
    first = np.ones(len(keys), bool)  # of each colour in each part
    first[1:] = keys[1:] != keys[:-1]
    colours, sizes = (np.bincount(of >> 24, minlength=marks.size + 1) for of in (keys[first], keys))
    few = (colours <= LETTERS) & (sizes <= LARGEST_LETTER)
    few[0] = False
    return np.asarray(few[labels])


def _ground(packed: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """merging.ground, but beyond the picture its border goes on: the last blocks of a page are ground as well."""
    run = merging.RUN
    return merging.ground(np.pad(packed, run, mode="edge"))[run:-run, run:-run]


def _boxed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over 3 x 3."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, np.float32)


def _filled(rgb: UInt8, flat: NDArray[np.bool_]) -> UInt8:
    """A smooth picture that takes up the colours around the flat parts (H, W)."""
    height, width = rgb.shape[:2]
    shape = (-(-height // BLOCK), -(-width // BLOCK))
    rest = ~flat
    sums = _means(np.dstack([rgb * rest[..., None], rest]).astype(np.float32), shape)
    covered = sums[..., 3] == 0
    means = sums[..., :3] / np.maximum(sums[..., 3:], 1 / BLOCK**2)
    fill = np.where(covered[..., None], means[~covered].mean(0), means).astype(np.float32)
    for _ in range(SMOOTHED):
        padded = np.pad(fill, ((1, 1), (1, 1), (0, 0)), mode="edge")
        near = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
        fill = np.where(covered[..., None], near, means)
    small = Image.fromarray(fill.round().astype(np.uint8))
    size = (shape[1] * BLOCK, shape[0] * BLOCK)
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR))[:height, :width]
