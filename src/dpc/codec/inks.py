"""Letters, lines and signs on gradients and photographs: a few inks, and how opaque they are in each pixel.

Where the ground is of one colour, half tones are few colours, and the flat parts of a picture are kept as they are
(codec/overlay.py). On a gradient or a photograph each half tone is another colour. So the ground under the letters is
filled in from around them, and each of their pixels is told as an ink and its opacity; the networks see the picture
without letters. docs/explanation/architecture.md, "Letters on gradients and photographs".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import lossless, merging, regions

UInt8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[Any]

STEPS = (15, 7, 5, 3)
"""Opacities above 0 that an overlay has; the finest first."""
MIDDLE = 5
SHARES = {True: 0.5, False: 0.15}
"""Of the bytes, what an overlay of the finer steps takes at most: on gradients, and on photographs."""
DRAWN = 0.001  # share of the picture that is of an ink; else nothing was drawn on it
EXACT = 0.3  # share of what is almost of an ink that is exactly of it; photographs have less
LEAST = 24  # pixels of one colour from which it may be an ink
CANDIDATES, MOST_INKS = 32, 16
FOUND = 12  # inks of which pixels are found as they are; the others are the colours of what these do not explain
SHARP, REACH = 32, 3  # levels by which the colour has changed where a letter ended so many pixels ago
ENDS, INK_ENDS = 0.8, 0.3  # share of such ends around a letter, and around all that is of an ink
MOST_PIXELS = 1 << 23  # of a picture, for time
LARGEST = 20000  # pixels of a part of one ink
NEAR, BESIDE = 24, 16  # levels by which pixels of thin letters are off their ink, pixels from others of it
SMOOTH, STEEP = 3, 16  # levels: the range of 3 x 3 pixels on smooth ground, and from which they hold an edge
GRADIENTS, GRADED = 0.4, 0.1  # share of smooth pixels from which a picture has smooth ground; of those not all alike
MARK, AROUND, BY = 6000, 0.2, 6  # pixels of a mark on it at most, share of ground within BY pixels of marks
MOST = 0.75  # share of the picture that letters and what is beside them take at most; patterns take more
HOLE = 2  # pixels: half of the width of a hole in marks that belongs to them
FILLED = 40  # rounds in which the ground under letters is made smooth
TOLERANCE = 14  # levels by which an explained pixel may be off
SEEN = 8  # levels: what is less off the ground is ground
UNEXPLAINED = 0.25  # share of the pixels of a part from which it is left to the networks
LOOKED, EVERY = 200, 10  # pixels of which one in so many may be the next ink
FAINT = 0.2  # the least opacity on a photograph, where the ground is known less well


@dataclass(frozen=True)
class Drawn:
    """Inks over a picture.

    inks: (K, 3). numbers: (H, W), which of them. opacity: (H, W), 0 to 1. behind: the picture without them, for the
    networks, (H, W, 3). smooth: whether that is smooth ground rather than a photograph.
    """

    inks: UInt8
    numbers: UInt8
    opacity: Floats
    behind: UInt8
    smooth: bool

    def fitting(self, room: float, share: float) -> bytes | None:
        """The overlay of at most `room` bytes; None where there is none.

        The finest of at most `share` bytes, else one of MIDDLE steps or fewer.
        """
        for steps in STEPS:
            data = self._encoded(steps)
            if len(data) <= (room if steps <= MIDDLE else min(room, share)):
                return data
        return None

    def _encoded(self, steps: int) -> bytes:
        levels = np.rint(self.opacity * steps)
        opacity = np.rint(levels * (255 / steps)).astype(np.uint8)
        return lossless.to_bytes(np.where(opacity[..., None] > 0, self.inks[self.numbers], 0).astype(np.uint8), opacity)


def find(rgb: UInt8, alpha: UInt8 | None = None) -> Drawn | None:
    """The letters on gradients or photographs in a picture (H, W, 3); None where there are none. alpha: (H, W)."""
    height, width = rgb.shape[:2]
    if height * width > MOST_PIXELS or max(height, width) > lossless.MAX_SIDE or min(height, width) < 32:
        return None
    core, inks = _cores(rgb)
    if not len(inks):
        return None
    spans = _spans(rgb)
    smooth = float((spans <= SMOOTH).mean()) >= GRADIENTS
    if smooth and not _graded(spans):
        return None
    zone = regions.grown(core, 2)
    if smooth:
        zone |= regions.grown(_on_smooth(spans > STEEP), 1)
        zone |= _inside(rgb, zone, inks)
    if alpha is not None:
        zone &= alpha > 0
    if not 0 < zone.mean() <= MOST:
        return None
    return _told(rgb, zone, inks, smooth=smooth)


def graded(rgb: UInt8) -> bool:
    """Whether a picture (H, W, 3) has gradients, rather than plain colours."""
    return _graded(_spans(rgb))


def _graded(spans: UInt8) -> bool:
    return bool(((spans > 0) & (spans <= SMOOTH)).mean() >= GRADED)


def _cores(rgb: UInt8) -> tuple[Bools, Floats]:
    """What of a picture is of an ink, (H, W), and the inks, (K, 3), those of most pixels first; none in a photograph.

    Rendered letters have many pixels of exactly one colour; what is so in a photograph, such as a light, has many more
    that are almost of it.
    """
    packed, levels = merging.packed(rgb), rgb.astype(np.int16)
    marks = _same(packed) & _steep(levels)
    values, counts = np.unique(packed[marks], return_counts=True)
    often = counts >= LEAST
    values = values[often][np.argsort(-counts[often], kind="stable")[:CANDIDATES]]
    numbers = np.zeros(packed.shape, np.uint8)
    none = numbers > 0, np.zeros((0, 3), np.float32)
    if counts[often].sum() < DRAWN * packed.size / 2:
        return none
    for number, value in enumerate(values, 1):
        numbers[packed == value] = number
    core = _sharp(levels, numbers)
    pixels = np.bincount(numbers[core], minlength=len(values) + 1)[1:]
    kept = [number for number in np.argsort(-pixels, kind="stable")[:FOUND] if pixels[number] >= LEAST]
    core &= np.isin(numbers, np.array(kept, np.int64) + 1)
    if core.sum() < max(LEAST, DRAWN * packed.size):
        return none
    inks = np.stack([values[kept] >> 16, values[kept] >> 8 & 255, values[kept] & 255], 1).astype(np.float32)
    almost = core | _near(levels, core, inks)
    return (almost, inks) if core.sum() >= EXACT * almost.sum() else none


def _same(packed: NDArray[np.uint32]) -> Bools:
    """Pixels that are as one beside them, (H, W)."""
    same = np.zeros(packed.shape, bool)
    for colours, marks in ((packed, same), (packed.T, same.T)):
        alike = colours[1:] == colours[:-1]
        marks[1:] |= alike
        marks[:-1] |= alike
    return same


def _steep(levels: Ints) -> Bools:
    """Pixels from which the colour has changed REACH pixels on, (H, W)."""
    steep = np.zeros(levels.shape[:2], bool)
    for channel in np.moveaxis(levels, 2, 0):
        for lines, marks in ((channel, steep), (channel.T, steep.T)):
            far = np.abs(lines[REACH:] - lines[:-REACH]) > SHARP
            marks[REACH:] |= far
            marks[:-REACH] |= far
    return steep


def _near(levels: Ints, core: Bools, inks: Floats) -> Bools:
    """Parts near to the core whose pixels are almost of an ink: strokes of thin letters have few that are; (H, W)."""
    beside = regions.grown(core, BESIDE)
    off = np.stack([np.abs(levels[beside] - ink.astype(np.int16)).max(1) for ink in inks])
    numbers = np.zeros(core.shape, np.uint8)
    numbers[beside] = np.where(off.min(0) <= NEAR, off.argmin(0) + 1, 0)
    return _sharp(levels, numbers)


def _sharp(levels: Ints, numbers: UInt8) -> Bools:
    """The connected parts that end sharply of what has a number above 0, each number's ends counting; (H, W).

    Numbers that end sharply nearly nowhere are ground of few colours, and are left out first.
    """
    height, width = numbers.shape
    ends = np.zeros((2, height, width), np.uint8)  # soft, sharp
    for axis in (0, 1):
        lines = np.moveaxis(numbers, axis, 0)
        for towards in (1, -1):
            ahead = np.roll(lines, -towards, 0)
            marks = (lines > 0) & (ahead != lines)
            marks[-1 if towards > 0 else 0] = False
            at = list(np.nonzero(np.moveaxis(marks, 0, axis)))
            off = np.zeros(len(at[0]), np.int16)
            for by in (REACH - 1, REACH):
                there = list(at)
                there[axis] = np.clip(at[axis] + by * towards, 0, numbers.shape[axis] - 1)
                off = np.maximum(off, np.abs(levels[tuple(at)] - levels[tuple(there)]).max(1))
            np.add.at(ends, ((off > SHARP).astype(np.intp), *at), np.uint8(1))
    soft, sharp = (np.bincount(numbers.ravel(), of.ravel()) for of in ends)
    marked = (numbers > 0) & (sharp >= INK_ENDS * (sharp + soft))[numbers]
    labels = regions.labelled(marked)[marked]
    soft, sharp = (np.bincount(labels, of[marked]) for of in ends)
    sharp_parts = (sharp > 0) & (sharp >= ENDS * (sharp + soft)) & (np.bincount(labels) <= LARGEST)
    found = np.zeros(marked.shape, bool)
    found[marked] = sharp_parts[labels]
    return found


def _spans(rgb: UInt8) -> UInt8:
    """By how many levels the 3 x 3 pixels around each differ at most, in the channel where they do the most; (H, W)."""
    low = high = rgb
    for axis in (0, 1):
        beside = [(1, 1) if of == axis else (0, 0) for of in range(3)]
        lows, highs = (np.moveaxis(np.pad(of, beside, mode="edge"), axis, 0) for of in (low, high))
        low = np.moveaxis(np.minimum(np.minimum(lows[:-2], lows[2:]), lows[1:-1]), 0, axis)
        high = np.moveaxis(np.maximum(np.maximum(highs[:-2], highs[2:]), highs[1:-1]), 0, axis)
    return np.asarray((high - low).max(2))


def _on_smooth(edges: Bools) -> Bools:
    """The marks on smooth ground among what holds edges, (H, W)."""
    labels = regions.labelled(edges)
    small = edges & (np.bincount(labels.ravel())[labels] <= MARK)
    sums = np.pad(~edges, ((BY + 1, BY), (BY + 1, BY)), mode="edge").astype(np.int32).cumsum(0).cumsum(1)
    wide = 2 * BY + 1
    ground = sums[wide:, wide:] - sums[:-wide, wide:] - sums[wide:, :-wide] + sums[:-wide, :-wide]
    labels = regions.labelled(regions.grown(small, 1))
    pixels = np.bincount(labels[small], minlength=int(labels.max()) + 1)
    around = np.bincount(labels[small], ground[small], len(pixels))
    return np.asarray(small & (around >= AROUND * wide**2 * pixels)[labels])


def _inside(rgb: UInt8, zone: Bools, inks: Floats) -> Bools:
    """Holes in the zone (H, W) that have almost the colour of an ink: the middle of a stroke is as smooth as ground."""
    holes = regions.shrunk(regions.grown(zone, HOLE), HOLE) & ~zone
    holes[holes] = np.abs(rgb[holes].astype(np.float32)[:, None] - inks).max(2).min(1) <= NEAR
    return holes


def _filled(rgb: UInt8, zone: Bools) -> Floats:
    """The picture (H, W, 3) with a zone (H, W) filled smoothly from around it."""
    sums, counts = rgb * (~zone[..., None]).astype(np.float32), (~zone).astype(np.float32)
    coarser = []
    while max(counts.shape) > 1:
        coarser.append((sums, counts))
        height, width = counts.shape
        odd = (0, height % 2), (0, width % 2)
        shape = -(-height // 2), 2, -(-width // 2), 2
        sums = np.pad(sums, (*odd, (0, 0))).reshape(*shape, 3).sum((1, 3))
        counts = np.pad(counts, odd).reshape(shape).sum((1, 3))
    filled = sums / np.maximum(counts, 1)[..., None]
    for sums, counts in reversed(coarser):
        above = filled.repeat(2, 0).repeat(2, 1)[: counts.shape[0], : counts.shape[1]]
        filled = np.where(counts[..., None] > 0, sums / np.maximum(counts, 1)[..., None], above)
    rows, columns = np.nonzero(zone)
    height, width = zone.shape
    up, down = np.maximum(rows - 1, 0) * width + columns, np.minimum(rows + 1, height - 1) * width + columns
    left, right = (rows * width + np.clip(columns + by, 0, width - 1) for by in (-1, 1))
    flat, here = np.ascontiguousarray(filled, np.float32).reshape(-1, 3), rows * width + columns
    for _ in range(FILLED):
        flat[here] = (flat.take(up, 0) + flat.take(down, 0) + flat.take(left, 0) + flat.take(right, 0)) / 4
    return flat.reshape(height, width, 3)


def _told(rgb: UInt8, zone: Bools, inks: Floats, *, smooth: bool) -> Drawn | None:
    """The zone (H, W) of a picture as inks over a ground; None where nothing of it is explained by inks."""
    filled = _filled(rgb, zone)
    pixels, ground = rgb[zone].astype(np.float32), filled[zone]
    labels = np.unique(regions.labelled(zone)[zone], return_inverse=True)[1]
    mixture = _Mixture(pixels, ground, labels, inks)
    numbers, opacity, off = mixture.told()
    while smooth and len(mixture.inks) < MOST_INKS and mixture.one_more(off > TOLERANCE):
        numbers, opacity, off = mixture.told()
    unexplained = mixture.seen & (off > TOLERANCE)
    left = mixture.summed(unexplained) > UNEXPLAINED * mixture.summed(mixture.seen)
    left = left[labels] if smooth else np.zeros(len(labels), bool)
    shown = (opacity >= (1 / STEPS[0] if smooth else FAINT)) & ~left & ~unexplained
    if not shown.any():
        return None
    behind = rgb.copy()
    covered = zone.copy()
    covered[zone] = shown | (~mixture.seen & ~left) if smooth else shown
    behind[covered] = np.rint(filled[covered]).astype(np.uint8)
    number, opaque = np.zeros(zone.shape, np.uint8), np.zeros(zone.shape, np.float32)
    number[zone] = numbers
    opaque[zone] = np.where(shown, opacity, 0)
    return Drawn(np.rint(mixture.inks).astype(np.uint8), number, opaque, behind, smooth)


class _Mixture:
    """Pixels (N, 3) of parts (N) whose ground (N, 3) is known, as inks (3,) over it.

    seen: the pixels that are not ground, (N).
    """

    def __init__(self, pixels: Floats, ground: Floats, parts: NDArray[np.intp], inks: Floats) -> None:
        self._pixels, self._ground, self._parts = pixels, ground, parts
        self._away = np.abs(pixels - ground).max(1)
        self.seen = self._away > SEEN
        self.inks: list[Floats] = []
        self._opacity: list[Floats] = []
        self._off: list[Floats] = []
        self._errors: list[NDArray[np.float64]] = []
        for ink in inks:
            self._add(ink)

    def summed(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """By part."""
        return np.asarray(np.bincount(self._parts, values), np.float64)

    def told(self) -> tuple[Ints, Floats, Floats]:
        """(number, opacity, levels by which the pixel is off) of each, (N): that of its part's ink where it fits."""
        off, at = np.stack(self._off), np.arange(len(self._parts))
        own = np.stack(self._errors).argmin(0)[self._parts]
        numbers = np.where(off[own, at] <= TOLERANCE, own, off.argmin(0))
        return numbers, np.stack(self._opacity)[numbers, at], off[numbers, at]

    def one_more(self, unexplained: Bools) -> bool:
        """Add the colour that explains most of these pixels, of those the furthest from the ground; False for few."""
        marks = unexplained & self.seen
        if marks.sum() < LEAST:
            return False
        pixels, ground = self._pixels[marks], self._ground[marks]
        furthest = np.argsort(-self._away[marks], kind="stable")[:LOOKED:EVERY]
        explained = [(_mixed(ink, pixels, ground)[1] <= TOLERANCE).sum() for ink in pixels[furthest]]
        best = int(np.argmax(explained))
        if explained[best] >= LEAST:
            self._add(pixels[furthest[best]])
        return bool(explained[best] >= LEAST)

    def _add(self, ink: Floats) -> None:
        opacity, off = _mixed(ink, self._pixels, self._ground)
        self.inks.append(ink)
        self._opacity.append(opacity)
        self._off.append(off)
        self._errors.append(self.summed(np.square(np.minimum(off, 3 * TOLERANCE)) * self.seen))


def _mixed(ink: Floats, pixels: Floats, ground: Floats) -> tuple[Floats, Floats]:
    """(opacity in the finest steps, levels by which each pixel is off) of an ink (3,) over the ground of pixels (N, 3).

    The levels are those of the channel that is off the most.
    """
    towards = ink - ground
    opacity = ((pixels - ground) * towards).sum(1) / np.maximum(np.square(towards).sum(1), 1)
    opacity = (np.rint(np.clip(opacity, 0, 1) * STEPS[0]) / STEPS[0]).astype(np.float32)
    return opacity, np.abs(pixels - ground - opacity[:, None] * towards).max(1)
