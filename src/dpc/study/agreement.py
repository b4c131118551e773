"""How far raters agree with each other and with themselves, and how far metrics agree with raters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpc.study.preferences import clustered_variance, logit_interval
from dpc.study.ranking import Scores
from dpc.study.votes import NOT_SURE, A, Vote, clusters

__all__ = ["Agreement", "Correlation", "agreement", "correlations", "difference", "krippendorff", "rank", "shares"]


@dataclass(frozen=True)
class Agreement:
    """alpha: of Krippendorff, nominal, over comparisons that several people answered; nan where there are none.
    consistency: share of repeats answered as before, nan without repeats."""

    alpha: float
    comparisons: int
    consistency: float
    repeats: int


def agreement(votes: Sequence[Vote]) -> Agreement:
    """How far people agree with each other, and with themselves."""
    units: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)
    for v in votes:
        if v.kind == "pair":
            a, b = sorted((v.a, v.b))
            answer = v.answer if v.a == a or v.answer == NOT_SURE else 1 - v.answer
            units[v.picture, a, b][answer] += v.weight
    again = [v for v in votes if v.kind == "repeat" and v.repeats is not None]
    same = sum(v.answer == v.repeats for v in again)
    alpha, count = krippendorff([list(c.elements()) for c in units.values()])
    return Agreement(alpha, count, same / len(again) if again else math.nan, len(again))


def krippendorff(units: Iterable[Sequence[int]]) -> tuple[float, int]:
    """(alpha for nominal data, units with two values or more); Krippendorff 2011, Computing alpha-reliability.

    1 is full agreement, 0 is chance. nan where nothing can be compared or all values are equal.
    """
    weights: dict[tuple[int, int], float] = defaultdict(float)
    used = 0
    for values in units:
        if len(values) < 2:
            continue
        used += 1
        counts = Counter(values)
        for a, n in counts.items():
            for b, m in counts.items():
                weights[a, b] += n * (m - (a == b)) / (len(values) - 1)
    totals: dict[int, float] = defaultdict(float)
    for (a, _), w in weights.items():
        totals[a] += w
    total = sum(totals.values())
    expected = total * total - sum(t * t for t in totals.values())
    if not used or expected <= 0:
        return math.nan, used
    seen = sum(w for (a, b), w in weights.items() if a != b)
    return 1 - (total - 1) * seen / expected, used


@dataclass(frozen=True)
class Correlation:
    """A metric beside the votes. accuracy: share of votes (without "not sure") that went to the picture that the metric
    holds for better; interval by resampling pictures and people. spearman: rank correlation of the difference of the
    metric and the share of votes, over comparisons. scores: rank correlation of the metric's mean and the score, over
    conditions; nan below four."""

    metric: str
    accuracy: float
    interval: tuple[float, float]
    spearman: float
    scores: float
    votes: int


def correlations(
    votes: Sequence[Vote],
    values: Mapping[str, Mapping[tuple[str, str], float]],
    higher: Mapping[str, bool],
    found: Scores,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[list[Correlation], float]:
    """(one for each metric, the best accuracy that any metric could have: that of the majority for each comparison).

    values: metric -> (picture, condition) -> value. higher: whether more of a metric is better.
    """
    shared, ceiling = shares(votes)
    rng = np.random.default_rng(seed)
    results = []
    for metric, measured in values.items():
        sign = 1.0 if higher[metric] else -1.0
        better = difference(measured, sign)
        decided = [v for v in votes if v.kind == "pair" and v.answer != NOT_SURE]
        compared = [(v, d) for v in decided if math.isfinite(d := better(v.picture, v.a, v.b))]
        if not compared:
            continue
        gain = np.array([v.weight * (0.5 if not d else float((d > 0) == (v.answer == A))) for v, d in compared])
        weight = np.array([v.weight for v, _ in compared], dtype=float)
        accuracy = float(gain.sum() / weight.sum())
        variance, degrees, _ = clustered_variance(gain, weight, *clusters([v for v, _ in compared]), resamples, rng)
        means = [(sign * m, s) for m, s in _condition_means(measured, found)]
        results.append(
            Correlation(
                metric,
                accuracy,
                logit_interval(accuracy, int(weight.sum()), variance, degrees),
                rank([(d, share) for key, share in shared.items() if math.isfinite(d := better(*key))]),
                rank(means) if len(means) >= 4 else math.nan,
                int(weight.sum()),
            )
        )
    return sorted(results, key=lambda c: -c.accuracy), ceiling


def shares(votes: Sequence[Vote]) -> tuple[dict[tuple[str, str, str], float], float]:
    """((picture, a, b) -> share of the votes for a, share of the decided votes that the majority of each has)."""
    counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for v in votes:
        if v.kind == "pair":
            a, b = sorted((v.a, v.b))
            answer = v.answer if v.a == a or v.answer == NOT_SURE else 1 - v.answer
            counts[v.picture, a, b][answer] += v.weight
    total = sum(a + b for a, b, _ in counts.values())
    ceiling = sum(max(a, b) for a, b, _ in counts.values()) / total if total else math.nan
    return {key: (a + ties / 2) / (a + b + ties) for key, (a, b, ties) in counts.items()}, ceiling


def difference(measured: Mapping[tuple[str, str], float], sign: float) -> Callable[[str, str, str], float]:
    """(picture, a, b) -> by how much the metric holds a for better than b; nan where it is not known."""

    def better(picture: str, a: str, b: str) -> float:
        one, two = measured.get((picture, a), math.nan), measured.get((picture, b), math.nan)
        return 0.0 if one == two else sign * (one - two)

    return better


def _condition_means(table: Mapping[tuple[str, str], float], found: Scores) -> list[tuple[float, float]]:
    """(mean of a metric, score) of the conditions of the largest group."""
    largest = Counter(item.group for item in found.items).most_common(1)
    means = []
    for item in found.items:
        own = [v for (_, name), v in table.items() if name == item.condition and math.isfinite(v)]
        if own and item.group == largest[0][0]:
            means.append((float(np.mean(own)), item.davidson))
    return means


def rank(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's rank correlation; nan for fewer than three pairs, or where one side is constant."""
    from scipy.stats import spearmanr

    x, y = [p[0] for p in pairs], [p[1] for p in pairs]
    if len(pairs) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(spearmanr(x, y).statistic)
