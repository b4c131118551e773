"""Pages, windows and diagrams with fewer colours: rare ones are given to near ones, then nothing more is lost.

Flat pictures that were rendered have a few colours that cover much, and many that cover little: the half tones at the
edges of letters and lines. Where the half tones go to near colours, a lossless coder needs half the bytes, letters stay
sharp, and plain ground stays as it was. docs/research/tried.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Numbers = NDArray[Any]

TOLERANCES = (4, 8, 12, 16, 24, 32, 48, 64, 72, 80, 88)
"""By how many levels the luma of a merged colour may be off, and by half of that R-G and B-G; the finest first."""
MANY_COLOURS = 255
PRICES = (8, 20)
"""Where a tolerance leaves more colours than an indexed body may have: so many, and what a bit is worth then."""
FEW = (24, 20, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2)
"""Colours of the coarsest pages, where nothing else fits: letters lose their half tones."""
JOINED = 512  # colours at most among which the pairs are looked for that are joined to get these
INK = 24  # levels: a colour that is the inside of strokes is off by no more, so that dim letters stay
COARSE = 40  # levels: or by what a tolerance is above this
RUN = 8  # pixels: what is the same so far on both sides is ground
GROUND = 5000  # a colour that is ground for one pixel in so many stays as it is, so that gradients get no bands
RARE = 1000  # a colour that covers less than one pixel in so many is rare
MOST_COLOURS = 1 << 15  # a picture with more has photographs in it
BLOCK = 16  # pixels a side
PAINTED = 0.7  # a block with this share of rare colours, and with MANY colours, is part of a photograph
MANY = 48
ALLOWED = 0.03  # share of such blocks that a page may have
REFINED, FULL = 2, 0.98  # prices that are tried then, while a file takes no more of the size than this share
NEAR = 1.1  # of the size: what is expected to take no more is tried
SURE = 0.5  # of what is guessed a file never takes less
AT_ONCE = 64  # colours that are compared with all that stay
LARGEST = 9 << 20  # pixels, for time and memory: A4 at 300 dpi is below


class Step(NamedTuple):
    """A way to merge colours: down to so many, or, with 0, by a tolerance. price: of a bit, in squared levels."""

    colours: int
    tolerance: int
    price: int

    def shown(self, of: Colours) -> UInt8:
        """The picture of these colours with fewer of them."""
        return of.joined(self.colours) if self.colours else of.merged(self.tolerance)


JOINED_STEPS = tuple(
    Step(colours, 0, price)
    for colours, prices in (
        (255, (8, 16)),
        (128, (16, 32)),
        (96, (32,)),
        (64, (40, 64)),
        (48, (64,)),
        (32, (64,)),
        (24, (64,)),
    )
    for price in prices
)


def fitting(
    rgb: UInt8,
    encode: Callable[[UInt8, int], bytes],
    size: float,
    guess: Callable[[UInt8], float],
    *,
    finest: int = 0,
    coarsest: int = TOLERANCES[-1],
    joined: bool = False,
    coarse: bool = False,
) -> bytes | None:
    """The file of at most `size` bytes whose colours are merged the least; None where there is none.

    rgb: (H, W, 3). encode: the file of such a picture, or of one near to it that costs less, where a bit is worth so
    many levels squared, which are as many as the tolerance. guess: about its bytes, found faster; where even half of
    that are too many, nothing is encoded. finest, coarsest: the least and the largest tolerance that are tried. joined:
    colours are joined to so many instead, which is better where noise has made many of few ones; rgb is known to be a
    page. coarse: whether FEW colours are tried too: these may be less like the picture than what the networks make of
    it. None too for a picture with photographs in it.
    """
    if rgb.shape[0] * rgb.shape[1] > LARGEST or not (colours := Colours(rgb, page=joined)).few:
        return None
    steps = _steps(colours, finest, coarsest, joined, coarse)
    last = len(steps) - 1
    guesses: dict[int, float] = {}
    files: dict[int, bytes] = {}

    def guessed(step: int) -> float:
        if step not in guesses:
            guesses[step] = guess(steps[step].shown(colours))
        return guesses[step]

    def fits(step: int) -> bool:
        if step not in files:
            files[step] = encode(steps[step].shown(colours), steps[step].price)
        return len(files[step]) <= size

    def expected(scale: float) -> int:
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if scale * guessed(middle) <= size else (middle + 1, high)
        return low

    if SURE * guessed(last) > size:
        return None
    fitting, over = last + 1, -1  # the finest step known to fit, the coarsest known to be over
    step = expected(1.0)
    while over < last:
        if fits(step):
            fitting = step
        else:
            over = step
        known = fitting if fitting <= last else step
        scale = len(files[known]) / max(1.0, guessed(known))
        if fitting <= last and (fitting == over + 1 or scale * guessed(fitting - 1) > NEAR * size):
            return _lower(files[fitting], partial(encode, steps[fitting].shown(colours)), steps[fitting].price, size)
        step = min(max(expected(scale), over + 1), fitting - 1)
    return None


def _lower(file: bytes, encode: Callable[[int], bytes], price: int, size: float) -> bytes:
    """The file at about the lowest price that fits; file: the one at this price, which does."""
    step = price // 2
    for _ in range(REFINED):
        if len(file) > FULL * size or not step:
            break
        finer = encode(price - step)
        if len(finer) <= size:
            file, price = finer, price - step
        step //= 2
    return file


def _steps(colours: Colours, finest: int, coarsest: int, joined: bool, coarse: bool) -> list[Step]:
    """The ways to merge, the finest first."""
    tolerances = [tolerance for tolerance in TOLERANCES if finest <= tolerance <= coarsest]
    steps = [Step(0, tolerance, tolerance) for tolerance in tolerances]
    if joined:
        most = len(colours.kept(TOLERANCES[0], JOINED))
        steps = list(dict.fromkeys(step._replace(colours=min(step.colours, most)) for step in JOINED_STEPS))
    else:
        many = sum(len(colours.kept(tolerance, JOINED)) > MANY_COLOURS for tolerance in tolerances)
        if 0 < many < len(steps):
            steps[many:many] = [Step(MANY_COLOURS, 0, price) for price in PRICES if price < steps[many].price]
    if coarse:
        most = steps[-1].colours or len(colours.kept(tolerances[-1]))
        steps += [Step(count, 0, TOLERANCES[-1]) for count in FEW if count < most]
    return steps


def squares(rgb: UInt8, shown: UInt8, alpha: UInt8 | None) -> float:
    """The squared error of a picture (H, W, 3), all pixels that are not clear together.

    shown: (H, W), or with 2 to 4 channels, as decoders give it. alpha: (H, W); what is clear does not count.
    """
    each = np.square(colours_of(shown).astype(np.float32) - rgb).sum(2)
    return float(each.sum() if alpha is None else each[alpha > 0].sum())


def halves(rgb: UInt8, shown: UInt8, other: UInt8, alpha: UInt8 | None) -> bool:
    """Whether a picture is shown with at most half of the squared error of another way; as `squares` takes them."""
    return 2 * squares(rgb, shown, alpha) <= squares(rgb, other, alpha)


def nearer(rgb: UInt8, shown: UInt8, other: UInt8, alpha: UInt8 | None) -> bool:
    """Whether it is shown with less of it."""
    return squares(rgb, shown, alpha) < squares(rgb, other, alpha)


def colours_of(shown: UInt8) -> UInt8:
    """The colours of what a decoder gives, (H, W) or with 2 to 4 channels, without opacity: (H, W, 1 or 3)."""
    return shown[..., None] if shown.ndim == 2 else shown[..., : 1 if shown.shape[2] == 2 else 3]


class Colours:
    """The colours of a picture, (H, W, 3) uint8. few: they are few, and almost no part holds rare ones alone.

    page: it is known to be no photograph; then no part is looked at.
    """

    def __init__(self, rgb: UInt8, *, page: bool = False) -> None:
        colours = packed(rgb)
        values, where, self._counts = np.unique(colours, return_inverse=True, return_counts=True)
        self._where = where.reshape(colours.shape)
        self._values = np.stack([values >> 16, values >> 8 & 255, values & 255], 1).astype(np.uint8)
        self.few = 1 < len(values) <= MOST_COLOURS and (page or self._painted(colours) <= ALLOWED)
        if not self.few:
            return
        self._kept: dict[tuple[int, int], NDArray[np.int64]] = {}
        r, g, b = self._values.astype(np.int32).T
        # in quarters of a level; colour differences count twice, as a hue that changes is seen before a lightness
        self._seen = np.stack([r + 2 * g + b, 8 * (r - g), 8 * (b - g)], 1)
        self._levels = self._seen / (4, 8, 8)  # of lightness and of both colour differences, which count once here
        self._stays = self._pixels(ground(colours)) >= max(1.0, colours.size / GROUND)
        luma = (self._seen[:, 0] // 4).astype(np.int16)
        self._ink = 2 * self._pixels(_inside(luma[self._where])) >= self._counts

    def merged(self, tolerance: int) -> UInt8:
        """The picture with rare colours given to the nearest of those that stay.

        A colour stays that is ground somewhere, or that no more frequent one that stays is within the tolerance of.
        """
        return self._shown(self.kept(tolerance), self._seen, _largest)

    def joined(self, count: int) -> UInt8:
        """The picture in so many of its colours.

        Of two colours, the one with fewer pixels goes to the other, those first where this adds the least to the
        squared error.
        """
        return self._shown(self._order[-count:], self._levels, _squared)

    def kept(self, tolerance: int, most: int = MOST_COLOURS) -> NDArray[np.int64]:
        """Which colours stay at a tolerance, their numbers, the most frequent first; one more than `most` at most."""
        if (tolerance, most) not in self._kept:
            self._kept[tolerance, most] = self._staying(tolerance, most)
        return self._kept[tolerance, most]

    def _staying(self, tolerance: int, most: int) -> NDArray[np.int64]:
        ink = max(INK, tolerance - COARSE)
        within = 4 * np.where(self._ink, min(tolerance, ink), tolerance)
        stays = np.empty_like(self._seen)
        kept: list[int] = []

        def near(colours: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
            """Whether any that stays, from the first one on, is near to each of the colours."""
            apart = _largest(stays[first : len(kept)] - self._seen[colours, None])
            return np.asarray((apart <= within[colours, None]).any(1))

        order = np.argsort(-self._counts, kind="stable")
        for start in range(0, len(order), AT_ONCE):
            part, before = order[start : start + AT_ONCE], len(kept)
            for i in part[self._stays[part] | ~near(part, 0)]:
                if self._stays[i] or not near(np.array([i]), before)[0]:
                    stays[len(kept)] = self._seen[i]
                    kept.append(i)
                    if len(kept) > most:
                        return np.array(kept)
        return np.array(kept)

    def _nearest(self, kept: NDArray[np.int64], among: Numbers, apart: Callable[[Numbers], Numbers]) -> Numbers:
        """For each colour the number in `kept` of the one that is the least apart from it."""
        parts = (among[start : start + AT_ONCE, None] for start in range(0, len(among), AT_ONCE))
        return np.concatenate([apart(among[kept] - part).argmin(1) for part in parts])

    def _shown(self, kept: NDArray[np.int64], among: Numbers, apart: Callable[[Numbers], Numbers]) -> UInt8:
        return np.asarray(self._values[kept[self._nearest(kept, among, apart)]][self._where])

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Colours in the order in which they go to others, the last two being two that stay."""
        kept = self.kept(TOLERANCES[-1])[:JOINED]
        for tolerance in reversed(TOLERANCES[:-1]):
            if len(finer := self.kept(tolerance, JOINED)) > JOINED:
                break
            kept = finer
        pixels = np.bincount(self._nearest(kept, self._seen, _largest), self._counts, len(kept))
        seen = self._levels[kept]
        apart = _squared(seen[:, None] - seen)
        np.fill_diagonal(apart, np.inf)
        costs = np.minimum(pixels[:, None], pixels) * apart
        gone: list[int] = []
        for _ in range(len(kept) - 2):
            first, second = divmod(int(costs.argmin()), len(kept))
            less, more = (second, first) if pixels[first] > pixels[second] else (first, second)
            gone.append(less)
            pixels[more] += pixels[less]
            costs[less] = costs[:, less] = np.inf
            left = np.isfinite(costs[more])
            costs[more, left] = costs[left, more] = (np.minimum(pixels[more], pixels) * apart[more])[left]
        rest = np.setdiff1d(np.arange(len(kept)), gone)
        return kept[np.concatenate([np.array(gone, np.int64), rest])]

    def _pixels(self, marks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many marked pixels each colour has."""
        return np.bincount(self._where[marks], minlength=len(self._values))

    def _painted(self, colours: NDArray[np.uint32]) -> float:
        """The share of blocks that hold rare colours almost alone, and many of them."""
        rare = (self._counts < self._where.size / RARE)[self._where]
        h, w = (n // BLOCK for n in rare.shape)
        if not h or not w:
            return float(rare.mean() > PAINTED)
        inside = np.s_[: h * BLOCK, : w * BLOCK]
        shares = rare[inside].reshape(h, BLOCK, w, BLOCK).mean((1, 3))
        blocks = colours[inside].reshape(h, BLOCK, w, BLOCK).swapaxes(1, 2).reshape(h, w, -1)
        blocks = np.sort(blocks, 2)
        many = (blocks[..., 1:] != blocks[..., :-1]).sum(2) >= MANY
        return float(((shares > PAINTED) & many).mean())


def _largest(differences: Numbers) -> Numbers:
    return np.asarray(np.abs(differences).max(-1))


def _squared(differences: Numbers) -> Numbers:
    return np.asarray(np.square(differences).sum(-1))


def packed(rgb: UInt8) -> NDArray[np.uint32]:
    """The colours of (H, W, 3) as numbers, (H, W)."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def ground(colours: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Pixels whose colour is the same RUN pixels to the left and right of them, or above and below; (H, W)."""
    found = np.zeros(colours.shape, bool)
    for picture, marks in ((colours, found), (colours.T, found.T)):
        middle = picture[:, RUN:-RUN]
        marks[:, RUN:-RUN] |= (middle == picture[:, : -2 * RUN]) & (middle == picture[:, 2 * RUN :])
    return found


def _inside(luma: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pixels as bright or as dark as any of the 3 x 3 around them, where these differ by more than INK; (H, W)."""
    padded = np.pad(luma, 1, mode="edge")
    rows = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    low = np.minimum.reduce([low[:, :-2], low[:, 1:-1], low[:, 2:]])
    high = np.maximum.reduce([high[:, :-2], high[:, 1:-1], high[:, 2:]])
    return np.asarray(((luma == low) | (luma == high)) & (high - low > INK))
