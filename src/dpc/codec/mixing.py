"""Context mixing of pictures of few colours: probabilities of binary decisions, in integers.

docs/format.md, "The indexed body", is the norm. Every pixel is a number of a colour. It is told by decisions: is it the
one to the left, is it the one above, and else the bits of the number. For each decision six contexts, of 1 to 26 pixels
that are known, have counts of what followed them before; a mixer, that learns too, makes one probability of them.

The picture is cut into bands of 64 rows. All bands go on at the same time, and the rows of a band follow each other
three pixels behind, so that a step decides one pixel of each row: an array operation here, a loop elsewhere. All
decisions of a round see the counts and weights from before it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BAND = 64  # rows
LAG = 3  # pixels by which a row follows the one above it
MARGIN = 8  # pixels of colour 0 around what is known
NEIGHBOURS = (
    *((-1, 0), (0, -1), (-1, -1), (1, -1), (-2, 0), (0, -2), (2, -1), (-2, -1), (1, -2), (-1, -2), (-3, 0), (-3, -1)),
    *((2, -2), (-2, -2), (0, -3), (-1, -3), (1, -3), (-4, 0), (3, -2), (-3, -2), (2, -3), (-2, -3), (-4, -1), (4, -2)),
    *((-5, 0), (3, -3)),
)
"""(columns, rows) from the pixel to those of its contexts, the nearest first."""
SIZES = (1, 3, 6, 10, 16, 26)  # neighbours that a context sees
SLOTS = 1048573  # of a context, a prime; contexts that fall on the same one share its counts
MOST = 60  # a count is no larger
MOST_FLAT = 65535  # of the two counts of a colour that all neighbours have, together
ONE = 65536  # a probability of 1, and a weight of 1
LEAST = 24  # no probability is smaller
STEEP = 2047  # the largest logit, of 256 for a factor of e
FIRST_WEIGHT = 19660
LARGEST_WEIGHT = 4 * ONE
SETS = 4  # of weights for a decision, by which contexts are known
SLOW, FAST = 15, 13  # bits by which the mixer's steps are shifted: neighbours, bits of the number

Ints = NDArray[np.int64]
Code = Callable[[Ints, NDArray[np.bool_] | None], NDArray[np.bool_]]
"""Takes the probabilities of 1, out of ONE, and what is to be coded, or None; gives what is coded."""


class _Tables(NamedTuple):
    logs: Ints
    squash: Ints
    contexts: NDArray[np.float64]
    decisions: Ints


@cache
def _tables() -> _Tables:
    """Logarithms of counts, probabilities of logits, factors of the contexts' neighbours and of the decisions.

    No value lies nearer to the middle of two integers than 1e-4, so every machine rounds alike.
    """
    logs = np.rint(256 * np.log(5.0 * np.arange(MOST + 1) + 2)).astype(np.int64)
    logits = np.arange(-STEEP, STEEP + 1) / 256
    squash = np.clip(np.rint(ONE / (1 + np.exp(-logits))), LEAST, ONE - LEAST).astype(np.int64)
    numbers, state = [], 1
    for _ in range(len(SIZES) * len(NEIGHBOURS) + 258):
        state = state * 48271 % 2147483647
        numbers.append(state)
    contexts = np.array(numbers[: len(SIZES) * len(NEIGHBOURS)], np.float64).reshape(len(SIZES), len(NEIGHBOURS)).T
    for column, size in enumerate(SIZES):
        contexts[size:, column] = 0
    return _Tables(logs, squash, contexts, np.array(numbers[contexts.size :], np.int64))


class _Mixer:
    """Counts and weights, and what a round of decisions makes of them."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._logs, self._squash, _, self._decisions = _tables()
        self._counts = np.zeros(2 * len(SIZES) * SLOTS, np.uint16)  # a round has less than 2**16 - MOST decisions
        self._first = 2 * SLOTS * np.arange(len(SIZES))
        self._flat = np.zeros(512, np.int64)  # stayed, left; of each colour
        self._weights = np.full((10, SETS, len(SIZES)), FIRST_WEIGHT, np.int64)

    def leave(self, colours: NDArray[np.uint8], wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """For each of these colours, which all neighbours have: whether the pixel has another one."""
        places = 2 * colours.astype(np.int64)
        stayed, left = self._flat[places], self._flat[places + 1]
        p = np.minimum(np.maximum(ONE * (2 * left + 1) // (2 * (stayed + left) + 40), 1), ONE // 2)
        bits = self._code(p, wanted)
        np.add.at(self._flat, places + bits, np.int64(1))
        self._flat.reshape(-1, 2)[self._flat[::2] + self._flat[1::2] > MOST_FLAT] >>= 1
        return bits

    def decide(
        self, hashes: Ints, decision: Ints | int, kind: int, shift: int, wanted: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_]:
        """One binary decision for each row of hashes, (n, contexts).

        decision: its number, 0 to 257, that the counts are told apart by. kind: 0 to 9, for the weights.
        """
        factors = self._decisions[decision]
        slots = (hashes + (factors if np.ndim(factors) == 0 else factors[:, None])) % SLOTS * 2 + self._first
        zeros, ones = self._counts[slots], self._counts[slots + 1]
        logits = self._logs[ones] - self._logs[zeros]
        known = (zeros | ones)[:, 2:] > 0
        sets = known[:, 3] * 1 + known[:, 2] + known[:, 0]
        chosen = sets[:, None] == np.arange(SETS)
        weights = self._weights[kind]
        mixed = np.minimum(np.maximum((weights[sets] * logits).sum(1) >> 16, -STEEP), STEEP)
        p = self._squash[mixed + STEEP]
        bits = self._code(p, wanted)
        error = (bits * ONE - p)[:, None] * logits
        weights += (chosen.T.astype(np.float64) @ error.astype(np.float64)).astype(np.int64) >> shift
        np.minimum(np.maximum(weights, -LARGEST_WEIGHT, out=weights), LARGEST_WEIGHT, out=weights)
        self._learn(slots, bits)
        return bits

    def _learn(self, slots: Ints, bits: NDArray[np.bool_]) -> None:
        """Count; what did not happen is halved where something else did."""
        happened = (slots + bits[:, None]).ravel()
        other = happened ^ 1
        np.add.at(self._counts, happened, np.uint16(1))  # of another type it is fifty times slower
        counts = self._counts[other]
        self._counts[other] = np.where(counts > 2, (counts >> 1) + 1, counts)
        for touched in (happened, other):
            self._counts[touched] = np.minimum(self._counts[touched], MOST)


def run(height: int, width: int, colours: int, code: Code, known: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The numbers of the pixels, (height, width), as code tells them, or those known, that it is told.

    colours: 2 to 256; colour 0 is what lies outside of the picture. A number may come out that is no colour's.
    """
    mixer = _Mixer(code)
    depth = (colours - 1).bit_length()
    stride = width + 2 * MARGIN
    rows = np.arange(height)
    rows = rows[np.argsort(rows % BAND, kind="stable")]
    delay = rows % BAND
    places = (rows // BAND * (BAND + LAG) + LAG + delay) * stride + MARGIN - LAG * delay  # in plane, of step 0
    first = np.searchsorted(delay, np.arange(BAND + 1))
    plane = np.zeros((-(-height // BAND) * (BAND + LAG)) * stride, np.uint8)
    offsets = np.array([down * stride + across for across, down in NEIGHBOURS])
    for step in range(width + LAG * (min(height, BAND) - 1)):
        begun, over = min(BAND - 1, step // LAG), max(0, -((width - 1 - step) // LAG))
        now = slice(first[over], first[begun + 1])
        if now.start == now.stop:
            continue
        here = places[now] + step
        near = plane[here[:, None] + offsets]
        truth = None if known is None else known[rows[now], step - LAG * delay[now]]
        plane[here] = _pixels(mixer, near, depth, truth)
    strips = plane.reshape(-1, BAND + LAG, stride)[:, LAG:, MARGIN : MARGIN + width]
    return strips.reshape(-1, width)[:height]


def _pixels(mixer: _Mixer, near: NDArray[np.uint8], depth: int, truth: Any) -> NDArray[np.uint8]:
    """The pixels of a step. near: (n, neighbours); truth: (n,) or None."""
    left, above = near[:, 0], near[:, 1]
    found = left.copy()
    other = np.zeros(len(near), bool)
    flat = (near == left[:, None]).all(1)
    if len(here := np.flatnonzero(flat)):
        other[here] = mixer.leave(left[here], None if truth is None else (truth != left)[here])
    if len(here := np.flatnonzero(~flat)):
        hashes = _hashes(near[here])
        other[here] = mixer.decide(hashes, 0, 0, SLOW, None if truth is None else (truth != left)[here])
        second = other[here] & (left != above)[here]
        if len(there := here[second]):
            wanted = None if truth is None else (truth != above)[there]
            other[there] = mixer.decide(hashes[second], 1, 1, SLOW, wanted)
            found[there] = above[there]
    if len(here := np.flatnonzero(other)):
        hashes, node = _hashes(near[here]), np.ones(len(here), np.int64)
        for bit in reversed(range(depth)):
            wanted = None if truth is None else (truth[here] >> bit & 1).astype(bool)
            node = 2 * node + mixer.decide(hashes, 1 + node, 2 + bit, FAST, wanted)
        found[here] = node - (1 << depth)
    return found


def _hashes(near: NDArray[np.uint8]) -> Ints:
    return (near.astype(np.float64) @ _tables().contexts).astype(np.int64)
