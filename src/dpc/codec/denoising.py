"""Pages and drawings without their noise: what was rendered, before grain or the ringing of a JPEG lay over it.

A screenshot that was kept as a JPEG, or a drawing with grain, has plain ground whose pixels differ by a few levels. No
lossless coder gets past that, and the networks break its letters. Without the noise it is a page of few colours again,
which merging.py and lossless.py take. docs/explanation/architecture.md, "Pages and windows".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpc.codec import lossless, merging

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]

RINGING, GRAIN = 12, 8  # levels: pixels whose red, green and blue differ by no more are averaged
JPEG = 0.3  # share of pixels that equal a neighbour, from which it is ringing: a JPEG leaves plain ground as it is
REACH = 4  # pixels to each side of the one that is averaged
ROUNDS = 3
FRACTION = 16  # values of a level, while averages are taken
BAND = 64  # rows that are averaged at once, so that they stay in the processor's cache
APART = 2  # levels: colours of plain ground that differ by no more are one
TAKEN = 3  # levels: a pixel that is no further off takes the colour of the ground
FREQUENT = 20000  # a colour that one pixel in so many has may be ground
ALIKE = 6  # levels: neighbours that differ by no more
PLAIN = 0.65  # share of such neighbours from which a picture is looked at
ROWS = 48  # of the picture that are looked at first
SAMPLES, SAMPLE = 4, 40  # parts of the picture that are averaged first, and the rows of each
SAMPLED = 0.5  # share of ground in them from which the whole is
LOST = 0.3  # of the squared error that a page saves, what it may lose in blocks where the other way is nearer
GROUND = 0.7  # share of ground without the noise; photographs have less


def page(rgb: UInt8) -> UInt8 | None:
    """The page that a picture (H, W, 3) shows, without noise: few colours on plain ground. None where it is no page."""
    height, width = rgb.shape[:2]
    if height * width > merging.LARGEST or min(height, width) <= 2 * merging.RUN or _alike(rgb) < PLAIN:
        return None
    near = RINGING if lossless.flatness(rgb) > JPEG else GRAIN
    if height > 2 * SAMPLES * SAMPLE:
        tops = [(height - SAMPLE) * n // (SAMPLES - 1) for n in range(SAMPLES)]
        if np.mean([_grounded(_averaged(rgb[top : top + SAMPLE], near)) for top in tops]) < SAMPLED:
            return None
    clean = _few_grounds(_averaged(rgb, near))
    if clean is None or _grounded(clean) < GROUND or not merging.Colours(clean).few:
        return None
    return clean


def nearer(rgb: UInt8, shown: UInt8, other: UInt8, alpha: UInt8 | None) -> bool:
    """Whether a picture is shown nearer to rgb than in another way, and hardly anywhere less near.

    rgb: (H, W, 3). shown, other: (H, W), or with 2 to 4 channels, as decoders give them. alpha: (H, W); what is clear
    does not count. By the squared errors of blocks.
    """
    first, second = (_block_errors(rgb, way, alpha) for way in (shown, other))
    return float(np.maximum(first - second, 0).sum()) <= LOST * float(np.maximum(second - first, 0).sum())


def _block_errors(rgb: UInt8, shown: UInt8, alpha: UInt8 | None) -> NDArray[np.float64]:
    colours = shown[..., None] if shown.ndim == 2 else shown[..., : 1 if shown.shape[2] == 2 else 3]
    errors = np.square(colours.astype(np.int32) - rgb).sum(2)
    if alpha is not None:
        errors[alpha == 0] = 0
    rows, columns = (np.arange(0, n, merging.BLOCK) for n in errors.shape)
    return np.add.reduceat(np.add.reduceat(errors, rows, 0), columns, 1).astype(np.float64)


def _grounded(rgb: UInt8) -> float:
    return float(merging.ground(merging.packed(rgb)).mean())


def _alike(rgb: UInt8) -> float:
    """The share of pixels near to the one to the left and the one above, of about ROWS rows all over the picture."""
    height = rgb.shape[0]
    every = slice(1, height, max(1, (height - 1) // ROWS))
    here, above = rgb[every].astype(np.int16), rgb[slice(0, height - 1, every.step)].astype(np.int16)
    left = np.abs(here[:, 1:] - here[:, :-1]).max(2) <= ALIKE
    return float((left & (np.abs(here - above).max(2)[:, 1:] <= ALIKE)).mean())


def _averaged(rgb: UInt8, near: int) -> UInt8:
    """Each pixel the average of those around it that are within `near` of it, along columns and rows, ROUNDS times."""
    margin, height = ROUNDS * REACH, rgb.shape[0]
    planes = np.moveaxis(rgb, 2, 0).astype(np.uint16) * np.uint16(FRACTION)
    result = np.empty_like(rgb)
    for top in range(0, height, BAND):
        start = max(0, top - margin)
        part = np.ascontiguousarray(planes[:, start : top + BAND + margin])
        for _ in range(ROUNDS):
            _average(part, near)
            _average(part.swapaxes(1, 2), near)
        inside = part[:, top - start : top - start + BAND]
        result[top : top + BAND] = np.moveaxis((inside + np.uint16(FRACTION // 2)) // np.uint16(FRACTION), 0, 2)
    return result


def _average(planes: UInt16, near: int) -> None:
    """One round along the second axis of (3, n, m), in place."""
    sums, counts = planes.copy(), np.ones(planes.shape[1:], np.float32)
    for distance in range(1, min(REACH, planes.shape[1] - 1) + 1):
        first, second = planes[:, :-distance], planes[:, distance:]
        off = np.abs(first.view(np.int16) - second.view(np.int16)) <= near * FRACTION
        taken = off[0] & off[1] & off[2]
        mask = taken * np.uint16(0xFFFF)
        sums[:, :-distance] += second & mask
        sums[:, distance:] += first & mask
        counts[:-distance] += taken
        counts[distance:] += taken
    planes[...] = (sums / counts + np.float32(0.5)).astype(np.uint16)


def _few_grounds(rgb: UInt8) -> UInt8 | None:
    """The same with plain ground in few colours: frequent ones take up those within a few levels of them."""
    packed = merging.packed(rgb)
    values, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    if len(values) > merging.MOST_COLOURS:
        return None
    colours = np.stack([values >> 16, values >> 8 & 255, values & 255], 1).astype(np.int32)
    kept = np.empty_like(colours)
    found = 0
    for i in np.argsort(-counts, kind="stable"):
        if counts[i] * FREQUENT < packed.size:
            break
        if not (np.abs(kept[:found] - colours[i]).max(1) <= APART).any():
            kept[found] = colours[i]
            found += 1
    for some in np.array_split(colours, -(-len(colours) // 1024)) if found else ():  # views
        off = np.abs(some[:, None] - kept[None, :found]).max(2)
        some[...] = np.where((off.min(1) <= TAKEN)[:, None], kept[off.argmin(1)], some)
    return np.asarray(colours.astype(np.uint8)[where.reshape(packed.shape)])
