"""Pages and drawings without their noise: what was rendered, before grain or the ringing of a JPEG lay over it.

A screenshot that was kept as a JPEG, or a drawing with grain, has plain ground whose pixels differ by a few levels. No
lossless coder gets past that, and the networks break its letters. Without the noise it is a page of few colours again,
which merging.py and lossless.py take. docs/explanation/architecture.md, "Pages and windows".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from dpc.codec import merging

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]

STRENGTHS = ((6, 1, True), (6, 1, False), (12, 2, True), (12, 2, False), (20, 2, False))
"""Levels within which pixels are averaged, and within which colours of plain ground are one; whether faint lines are
kept. The gentlest first."""
USUAL = 3
STRONG, AROUND = 48, 8  # levels between pixels so near to each other: there a JPEG has noise, elsewhere hardly any
QUIET = 2.0, 90  # times this percentile of neighbours' differences elsewhere: within so many levels is averaged there
REACH = 4  # pixels to each side of the one that is averaged
ROUNDS = 3
FRACTION = 16  # values of a level, while averages are taken
BAND = 64  # rows that are averaged at once, so that they stay in the processor's cache
FREQUENT, LEAST = 20000, 64  # a colour that one pixel in so many has, and so many pixels, may be ground
ALIKE = 6  # levels: neighbours that differ by no more
SMALL, NOISE = 3, 0.12  # levels of a step that is noise, and the share of such steps below which there is none
PLAIN = 0.65  # share of such neighbours from which a picture is looked at
ROWS = 48  # of the picture that are looked at first
SAMPLES, SAMPLE = 4, 40  # parts of the picture that are averaged first, and the rows of each
SAMPLED = 0.5  # share of ground in them from which the whole is
TOLERANCE = 48  # levels by which colours are merged in the page that is chosen, about
KEPT = 12  # such a tolerance at most where the noise is kept
CHEAPER = 0.65  # of the bytes that are guessed, what such a page may take with colours that cost less
ROWS_AT_ONCE = 16 * merging.BLOCK  # that are compared at once
LOST = 0.3  # of the squared error that a page saves, what it may lose in blocks where the other way is nearer
FAINT = 1.0  # squared levels, a block's mean: gone is what has more, and WORSE times that of the other way
WORSE = 3.0
GONE = 0.1  # of the squared error that a page saves, what it may lose in such blocks
GROUND = 0.7  # share of ground without the noise; photographs have less


def page(rgb: UInt8) -> UInt8 | None:
    """The page that a picture (H, W, 3) shows, without noise: few colours on plain ground. None where it is no page."""
    height, width = rgb.shape[:2]
    if height * width > merging.LARGEST or min(height, width) <= 2 * merging.RUN:
        return None
    alike, noise = _alike(rgb)
    if alike < PLAIN or noise < NOISE:
        return None
    if height > 2 * SAMPLES * SAMPLE:
        tops = [(height - SAMPLE) * n // (SAMPLES - 1) for n in range(SAMPLES)]
        parts = (_averaged(rgb[top : top + SAMPLE], STRENGTHS[USUAL][0]) for top in tops)
        if np.mean([_grounded(part) for part in parts]) < SAMPLED:
            return None
    near, apart, _ = STRENGTHS[USUAL]
    averaged = _averaged(rgb, near)
    if _grounded(averaged) < SAMPLED:
        return None
    clean = _few_grounds(averaged, apart)
    return clean if _grounded(clean) >= GROUND and merging.Colours(clean).few else None


def pages(rgb: UInt8, clean: UInt8, guess: Callable[[UInt8], float], size: float) -> Iterator[UInt8]:
    """The page without noise, from the gentlest strength whose guessed bytes fit `size` on; the last one in any case.

    rgb, clean: the picture, and what page() made of it. guess: about the bytes of a page of few colours.
    """
    last = len(STRENGTHS) - 1
    fits = False
    for strength in range(last + 1):
        found = clean if strength == USUAL else cleaned(rgb, strength)
        colours = merging.Colours(found, page=True)
        fits = fits or (colours.few and CHEAPER * guess(colours.merged(TOLERANCE)) <= size)
        if fits or strength == last:
            yield found


def nearer(rgb: UInt8, shown: UInt8, other: UInt8, alpha: UInt8 | None) -> bool:
    """Whether a picture is shown nearer to rgb than in another way, and hardly anywhere less near.

    rgb: (H, W, 3). shown, other: (H, W), or with 2 to 4 channels, as decoders give them. alpha: (H, W); what is clear
    does not count. By the squared errors of blocks, of means over 3 x 3 pixels: noise that is gone counts little there,
    and faint letters that are gone count in full.
    """
    first, second = (_block_errors(rgb, way, alpha) for way in (shown, other))
    lost, saved = np.maximum(first - second, 0), np.maximum(second - first, 0)
    gone = (first > FAINT) & (first > WORSE * second)
    return bool(lost.sum() <= LOST * saved.sum() and lost[gone].sum() <= GONE * saved.sum())


def _block_errors(rgb: UInt8, shown: UInt8, alpha: UInt8 | None) -> NDArray[np.float32]:
    """The squared errors of means over 3 x 3 pixels, summed over blocks and divided by a whole one's pixels."""
    colours = merging.colours_of(shown)
    height, width = rgb.shape[:2]
    across = np.arange(0, width, merging.BLOCK)
    sums = []
    for top in range(0, height, ROWS_AT_ONCE):  # for memory
        start, rows = max(0, top - 1), min(ROWS_AT_ONCE, height - top)
        part = slice(start, top + rows + 1)
        errors = colours[part].astype(np.float32) - rgb[part]
        if alpha is not None:
            errors[alpha[part] == 0] = 0
        padded = np.pad(errors, ((1, 1), (1, 1), (0, 0)), mode="edge")
        down = padded[:-2] + padded[1:-1] + padded[2:]
        means = (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / 9
        squares = np.square(means).mean(2)[top - start : top - start + rows]
        sums.append(np.add.reduceat(np.add.reduceat(squares, np.arange(0, rows, merging.BLOCK), 0), across, 1))
    return np.asarray(np.concatenate(sums) / merging.BLOCK**2, np.float32)


def _grounded(rgb: UInt8) -> float:
    return float(merging.ground(merging.packed(rgb)).mean())


def cleaned(rgb: UInt8, strength: int = USUAL) -> UInt8:
    """A picture (H, W, 3) without noise: averaged, and its plain ground in few colours."""
    near, apart, faint = STRENGTHS[strength]
    return _few_grounds(_averaged(rgb, _limits(rgb, near) if faint else near), apart)


def _alike(rgb: UInt8) -> tuple[float, float]:
    """The share of pixels near to the one to the left and the one above, of about ROWS rows all over the picture.

    And of those that differ from the one to the left, the share that differs by SMALL levels at most.
    """
    height = rgb.shape[0]
    every = slice(1, height, max(1, (height - 1) // ROWS))
    here, above = rgb[every].astype(np.int16), rgb[slice(0, height - 1, every.step)].astype(np.int16)
    steps = np.abs(here[:, 1:] - here[:, :-1]).max(2)
    near = (steps <= ALIKE) & (np.abs(here - above).max(2)[:, 1:] <= ALIKE)
    small, unequal = (int(found.sum()) for found in ((steps > 0) & (steps <= SMALL), steps > 0))
    return float(near.mean()), small / max(1, unequal)


def _limits(rgb: UInt8, near: int) -> NDArray[np.int16]:
    """Within how many levels pixels are averaged so that faint lines stay, (H, W).

    `near` beside strong edges, elsewhere as little as the noise there asks for.
    """
    strong = np.zeros(rgb.shape[:2], bool)
    steps = np.zeros(rgb.shape[:2], np.int16)
    for channel in np.moveaxis(rgb, 2, 0):
        strong |= _extreme(channel, np.maximum) - _extreme(channel, np.minimum) > STRONG
        np.maximum(steps[:, 1:], np.abs(np.diff(channel.astype(np.int16), axis=1)), out=steps[:, 1:])
    quiet = steps[:, 1:][~strong[:, 1:]]
    least = near if not quiet.size else np.clip(np.ceil(QUIET[0] * np.percentile(quiet, QUIET[1])), 2, near)
    return np.where(strong, near, least).astype(np.int16)


def _extreme(values: UInt8, of: np.ufunc) -> UInt8:
    """The largest or smallest of (H, W) within AROUND pixels, along both axes."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        n = len(lines)
        padded = np.pad(lines, ((AROUND, AROUND), (0, 0)), mode="edge")
        values = np.moveaxis(reduce(of, (padded[k : k + n] for k in range(2 * AROUND + 1))), 0, axis)
    return values


def _averaged(rgb: UInt8, near: int | NDArray[np.int16]) -> UInt8:
    """Each pixel the average of those around it that are within `near` of it, along columns and rows, ROUNDS times.

    near: for all, or (H, W); of two pixels the smaller one counts.
    """
    limits = np.broadcast_to(np.int16(near) * np.int16(FRACTION), rgb.shape[:2])
    margin, height = ROUNDS * REACH, rgb.shape[0]
    planes = np.moveaxis(rgb, 2, 0).astype(np.uint16) * np.uint16(FRACTION)
    result = np.empty_like(rgb)
    for top in range(0, height, BAND):
        start = max(0, top - margin)
        part = np.ascontiguousarray(planes[:, start : top + BAND + margin])
        within = limits[start : top + BAND + margin]
        for _ in range(ROUNDS):
            _average(part, within)
            _average(part.swapaxes(1, 2), within.T)
        inside = part[:, top - start : top - start + BAND]
        result[top : top + BAND] = np.moveaxis((inside + np.uint16(FRACTION // 2)) // np.uint16(FRACTION), 0, 2)
    return result


def _average(planes: UInt16, limits: NDArray[np.int16]) -> None:
    """One round along the second axis of (3, n, m), in place. limits: (n, m), of FRACTION."""
    sums, counts = planes.copy(), np.ones(planes.shape[1:], np.float32)
    for distance in range(1, min(REACH, planes.shape[1] - 1) + 1):
        first, second = planes[:, :-distance], planes[:, distance:]
        most = np.minimum(limits[:-distance], limits[distance:])
        off = np.abs(first.view(np.int16) - second.view(np.int16)) <= most
        taken = off[0] & off[1] & off[2]
        mask = taken * np.uint16(0xFFFF)
        sums[:, :-distance] += second & mask
        sums[:, distance:] += first & mask
        counts[:-distance] += taken
        counts[distance:] += taken
    planes[...] = (sums / counts + np.float32(0.5)).astype(np.uint16)


def _few_grounds(rgb: UInt8, apart: int) -> UInt8:
    """The same with plain ground in few colours.

    Frequent ones are more than `apart` levels from each other, and take up those that are one more from them at most.
    """
    packed = merging.packed(rgb)
    values, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    if len(values) > merging.MOST_COLOURS:
        return rgb
    colours = np.stack([values >> 16, values >> 8 & 255, values & 255], 1).astype(np.int32)
    kept = np.empty_like(colours)
    found = 0
    for i in np.argsort(-counts, kind="stable"):
        if counts[i] < max(LEAST, packed.size / FREQUENT):
            break
        if not (np.abs(kept[:found] - colours[i]).max(1) <= apart).any():
            kept[found] = colours[i]
            found += 1
    if not found:
        return rgb
    taken = np.full(len(colours), -1)
    for start in range(0, len(colours), 1024):
        off = np.abs(colours[start : start + 1024, None] - kept[None, :found]).max(2)
        taken[start : start + 1024] = np.where(off.min(1) <= apart + 1, off.argmin(1), -1)
    members = taken >= 0  # a ground's colour is the mean of its pixels
    pixels = np.bincount(taken[members], counts[members], found)
    sums = [np.bincount(taken[members], counts[members] * channel[members], found) for channel in colours.T]
    means = (np.stack(sums, 1) / pixels[:, None]).round().astype(np.int32)
    shown = np.where(members[:, None], means[taken], colours)
    return np.asarray(shown.astype(np.uint8)[where.reshape(packed.shape)])
