"""How often one condition is preferred to another, with intervals.

Votes of one person, and votes on one picture, resemble each other. Intervals therefore resample people and pictures.
With fewer than FEW pictures they cover other people only, and say so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dpc.study.votes import NOT_SURE, A, Array, Vote, clusters

__all__ = ["FEW", "LEVEL", "Preference", "clustered_variance", "logit_interval", "points", "preferences", "wilson"]

FEW = 6  # pictures below which nothing is said about other pictures
LEVEL = 0.95


@dataclass(frozen=True)
class Preference:
    """How often a is preferred to b. share: (votes for a + half of "not sure") / votes. wilson: for independent votes.
    interval: by resampling; pictures: whether it covers other pictures, or only other people."""

    a: str
    b: str
    votes: int
    for_a: int
    for_b: int
    not_sure: int
    share: float
    wilson: tuple[float, float]
    interval: tuple[float, float]
    pictures: bool

    @property
    def decided(self) -> bool:
        """Whether the interval lies on one side of one half."""
        return self.interval[0] > 0.5 or self.interval[1] < 0.5


def wilson(successes: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """The interval of Wilson 1927 for a share; (0, 1) for no votes. Half successes are allowed."""
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def preferences(votes: Sequence[Vote], resamples: int = 1000, seed: int = 0) -> list[Preference]:
    """One for each pair of conditions that was asked, in the order of their names; repeats and checks do not count."""
    groups: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for v in votes:
        if v.kind == "pair":
            groups[min(v.a, v.b), max(v.a, v.b)].append(v)
    rng = np.random.default_rng(seed)
    return [_preference(a, b, own, resamples, rng) for (a, b), own in sorted(groups.items())]


def _preference(a: str, b: str, own: Sequence[Vote], resamples: int, rng: np.random.Generator) -> Preference:
    counts = [0, 0, 0]
    for v in own:
        answer = v.answer if v.a == a or v.answer == NOT_SURE else 1 - v.answer
        counts[answer] += v.weight
    n = sum(counts)
    share = (counts[0] + counts[2] / 2) / n
    raters, pictures = clusters(own)
    gain = np.array([v.weight * points(v, a) for v in own])
    weight = np.array([v.weight for v in own], dtype=float)
    variance, degrees, over_pictures = clustered_variance(gain, weight, raters, pictures, resamples, rng)
    interval = logit_interval(share, n, variance, degrees)
    return Preference(a, b, n, counts[0], counts[1], counts[2], share, wilson(share * n, n), interval, over_pictures)


def points(v: Vote, a: str) -> float:
    return 0.5 if v.answer == NOT_SURE else float((v.answer == A) == (v.a == a))


def clustered_variance(
    gain: Array,
    weight: Array,
    raters: NDArray[np.intp],
    pictures: NDArray[np.intp],
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, int, bool]:
    """(variance of sum(gain) / sum(weight), degrees of freedom, whether pictures were resampled).

    Two-way cluster bootstrap: variance over people + over pictures - over votes (Cameron, Gelbach and Miller 2011), no
    smaller than any of the three.
    """

    def resampled(labels: NDArray[np.intp]) -> tuple[float, int]:
        _, index = np.unique(labels, return_inverse=True)
        count = int(index.max()) + 1
        if count < 2:
            return 0.0, 1
        sums = np.stack([np.bincount(index, gain), np.bincount(index, weight)], 1)
        sampled = rng.multinomial(count, np.full(count, 1 / count), size=resamples) @ sums
        sampled = sampled[sampled[:, 1] > 0]
        return float(np.var(sampled[:, 0] / sampled[:, 1])) * count / (count - 1), count

    share = gain.sum() / weight.sum()
    # of a ratio, linearised: a row of weight w holds w votes that are worth gain / w each, "not sure" one half
    alone = float((weight * (gain / weight - share) ** 2).sum() / weight.sum() ** 2)
    by_rater, people = resampled(raters)
    by_picture, shown = resampled(pictures)
    if shown < FEW:
        return max(by_rater, alone), max(people - 1, 1), False
    return max(by_rater + by_picture - alone, by_rater, by_picture, alone), max(min(people, shown) - 1, 1), True


def logit_interval(share: float, n: int, variance: float, degrees: int) -> tuple[float, float]:
    """Symmetric for log(p / (1 - p)), so that it stays within 0 and 1; unanimity takes the interval of Wilson."""
    from scipy.stats import t

    least = 0.5 / (n + 1)
    if share < least or share > 1 - least or variance <= 0:
        return wilson(share * n, n)
    half = float(t.ppf(0.5 + LEVEL / 2, degrees)) * math.sqrt(variance) / (share * (1 - share))
    middle = math.log(share / (1 - share))
    return 1 / (1 + math.exp(min(half - middle, 700))), 1 / (1 + math.exp(max(-half - middle, -700)))
