"""From votes to what they say: preferences, scores, bits at equal preference, agreement, metrics.

Votes of one person, and votes on one picture, resemble each other. Intervals therefore resample (or, for scores, sum
over) people and pictures. With fewer than FEW pictures they cover other people only, and say so.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dpc.study import scores
from dpc.study.votes import NOT_SURE, A, Array, Vote, clusters, table

__all__ = [
    "FEW",
    "Agreement",
    "Bits",
    "Correlation",
    "Preference",
    "Score",
    "Scores",
    "agreement",
    "bits_at_equal_preference",
    "correlations",
    "equal_bits",
    "krippendorff",
    "preferences",
    "score",
    "wilson",
]

FEW = 6  # pictures below which nothing is said about other pictures
LEVEL = 0.95


# preferences


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
    gain = np.array([v.weight * _points(v, a) for v in own])
    weight = np.array([v.weight for v in own], dtype=float)
    variance, degrees, over_pictures = _variance(gain, weight, raters, pictures, resamples, rng)
    interval = _logit_interval(share, n, variance, degrees)
    return Preference(a, b, n, counts[0], counts[1], counts[2], share, wilson(share * n, n), interval, over_pictures)


def _points(v: Vote, a: str) -> float:
    return 0.5 if v.answer == NOT_SURE else float((v.answer == A) == (v.a == a))


def _variance(
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
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples) @ sums
        drawn = drawn[drawn[:, 1] > 0]
        return float(np.var(drawn[:, 0] / drawn[:, 1])) * count / (count - 1), count

    share = gain.sum() / weight.sum()
    # of a ratio, linearised: a row of weight w holds w votes that are worth gain / w each, "not sure" one half
    alone = float((weight * (gain / weight - share) ** 2).sum() / weight.sum() ** 2)
    by_rater, people = resampled(raters)
    by_picture, shown = resampled(pictures)
    if shown < FEW:
        return max(by_rater, alone), max(people - 1, 1), False
    return max(by_rater + by_picture - alone, by_rater, by_picture, alone), max(min(people, shown) - 1, 1), True


def _logit_interval(share: float, n: int, variance: float, degrees: int) -> tuple[float, float]:
    """Symmetric for log(p / (1 - p)), so that it stays within 0 and 1; unanimity takes the interval of Wilson."""
    from scipy.stats import t

    least = 0.5 / (n + 1)
    if share < least or share > 1 - least or variance <= 0:
        return wilson(share * n, n)
    half = float(t.ppf(0.5 + LEVEL / 2, degrees)) * math.sqrt(variance) / (share * (1 - share))
    middle = math.log(share / (1 - share))
    return 1 / (1 + math.exp(min(half - middle, 700))), 1 / (1 + math.exp(max(-half - middle, -700)))


# scores


@dataclass(frozen=True)
class Score:
    """A condition's score. davidson: the score s, mean 0 in its group. interval: of it. bradley_terry: by choix, "not
    sure" as half a vote each. elo: 1500 + 400 / ln 10 times davidson. votes: that it took part in. group: only scores
    of one group can be compared."""

    condition: str
    davidson: float
    interval: tuple[float, float]
    bradley_terry: float
    elo: float
    elo_interval: tuple[float, float]
    votes: int
    group: int


@dataclass(frozen=True)
class Scores:
    """items: by group, the best first. covariance: (K, K) in the order of names, with the widening of the t
    distribution. tie: log of nu. pictures: whether intervals cover other pictures."""

    items: tuple[Score, ...]
    names: tuple[str, ...]
    covariance: Array
    tie: float
    pictures: bool


def score(votes: Sequence[Vote], not_sure: bool) -> Scores:
    """Scores of all conditions in pairs; none for no votes."""
    from scipy.stats import t

    own = [v for v in votes if v.kind == "pair"]
    names = sorted({name for v in own for name in (v.a, v.b)})
    if not own:
        return Scores((), (), np.zeros((0, 0)), -math.inf, False)
    index = {name: i for i, name in enumerate(names)}
    merged = table(own, index, merge=True)
    fit = scores.davidson(merged, len(names), not_sure)
    plain = scores.bradley_terry(merged, len(names))
    groups = scores.components(merged, len(names))
    raters, pictures = clusters(own)
    people, shown = len(np.unique(raters)), len(np.unique(pictures))
    over_pictures = shown >= FEW
    clusterings = [raters] if people > 1 else []
    clusterings += [pictures] if over_pictures else []
    covariance = scores.robust(fit, table(own, index), not_sure, clusterings)[:-1, :-1]
    degrees = max(min([people, *([shown] if over_pictures else [])]) - 1, 1)
    wide = float(t.ppf(0.5 + LEVEL / 2, degrees))
    half = wide * np.sqrt(np.maximum(np.diag(covariance), 0))
    counts: Counter[str] = Counter()
    for v in own:
        counts[v.a] += v.weight
        counts[v.b] += v.weight
    items = []
    for name, i in index.items():
        s, h = float(fit.scores[i]), float(half[i])
        elo = (1500 + scores.ELO * (s - h), 1500 + scores.ELO * (s + h))
        items.append(
            Score(
                name,
                s,
                (s - h, s + h),
                float(plain[i]),
                float(1500 + scores.ELO * s),
                (float(elo[0]), float(elo[1])),
                counts[name],
                int(groups[i]),
            )
        )
    items.sort(key=lambda item: (item.group, -item.davidson))
    normal = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    return Scores(tuple(items), tuple(names), covariance * (wide / normal) ** 2, fit.tie, over_pictures)


# bits at equal preference


@dataclass(frozen=True)
class Bits:
    """test needs so many percent more bits (negative: fewer) than anchor where people like both equally. overlap: share
    of the two ranges of scores that both have. interval: None where too few draws overlap."""

    anchor: str
    test: str
    percent: float
    interval: tuple[float, float] | None
    overlap: float


def equal_bits(
    anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """(percent, overlap) between two curves of (bpp, score), two points or more each; None where they do not overlap.

    log bpp is interpolated linearly between scores and its difference averaged over the scores that both have. A rate
    that is liked less than a lower one is left out of its curve. Nothing is extrapolated.
    """
    ends = [_rising(sorted(curve)) for curve in (anchor, test)]
    if min(map(len, ends)) < 2:
        return None
    (low, high), (all_low, all_high) = (
        (max(c[0][1] for c in ends), min(c[-1][1] for c in ends)),
        (min(c[0][1] for c in ends), max(c[-1][1] for c in ends)),
    )
    if not low < high:
        return None
    # piecewise linear, so that the trapezoid rule on all corners is exact
    corners = np.unique([low, high, *(s for c in ends for _, s in c if low < s < high)])
    logs = [np.interp(corners, [s for _, s in c], [math.log(b) for b, _ in c]) for c in ends]
    mean = float(np.trapezoid(logs[1] - logs[0], corners)) / (high - low)
    return 100 * math.expm1(mean), (high - low) / (all_high - all_low)


def bits_at_equal_preference(found: Scores, bpp: Mapping[str, float], draws: int = 2000, seed: int = 0) -> list[Bits]:
    """For every pair of methods whose conditions ("method@rate") are in one group and were shown at several rates.

    bpp: mean rate of each condition. The interval is that of draws of all scores from their joint distribution; it is
    left out where fewer than 90 % of them overlap.
    """
    groups = {item.condition: item.group for item in found.items}
    methods: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in found.names:
        if "@" in name and bpp.get(name, 0) > 0:
            methods[name.rpartition("@")[0], groups[name]].append(name)
    rng = np.random.default_rng(seed)
    place = {name: i for i, name in enumerate(found.names)}
    by_name = {item.condition: item.davidson for item in found.items}
    centre = np.array([by_name[name] for name in found.names])
    drawn = rng.multivariate_normal(centre, found.covariance, size=draws, method="eigh") if len(centre) else centre
    keys = sorted(key for key, names in methods.items() if len(names) > 1)
    results = []
    for n, (anchor, group) in enumerate(keys):
        for test, other in keys[n + 1 :]:
            if other != group:
                continue

            def curve(method: str, values: Array, group: int = group) -> list[tuple[float, float]]:
                return [(bpp[name], float(values[place[name]])) for name in methods[method, group]]

            best = equal_bits(curve(anchor, centre), curve(test, centre))
            if best is None:
                continue
            tried = [equal_bits(curve(anchor, values), curve(test, values)) for values in drawn]
            percents = [t[0] for t in tried if t is not None]
            interval = None
            if len(percents) >= 0.9 * draws:
                low, high = np.quantile(percents, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                interval = (float(low), float(high))
            results.append(Bits(anchor, test, best[0], interval, best[1]))
    return results


def _rising(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for bpp, value in curve:
        if not kept or value > kept[-1][1]:
            kept.append((bpp, value))
    return kept


# agreement


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


# metrics


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
    from scipy.stats import spearmanr

    own = [v for v in votes if v.kind == "pair" and v.answer != NOT_SURE]
    shares: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for v in votes:
        if v.kind == "pair":
            a, b = sorted((v.a, v.b))
            shares[v.picture, a, b][0] += v.weight * _points(v, a)
            shares[v.picture, a, b][1] += v.weight
    majority: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for v in own:
        a, b = sorted((v.a, v.b))
        majority[v.picture, a, b][int((v.answer == A) == (v.a == a))] += v.weight
    total = sum(sum(c) for c in majority.values())
    ceiling = sum(max(c) for c in majority.values()) / total if total else math.nan
    rng = np.random.default_rng(seed)
    results = []
    for metric, measured in values.items():
        sign = 1.0 if higher[metric] else -1.0

        def better(
            picture: str, a: str, b: str, measured: Mapping[tuple[str, str], float] = measured, sign: float = sign
        ) -> float:
            one, two = measured.get((picture, a), math.nan), measured.get((picture, b), math.nan)
            return 0.0 if one == two else sign * (one - two)

        judged = [(v, d) for v in own if math.isfinite(d := better(v.picture, v.a, v.b))]
        if not judged:
            continue
        gain = np.array([v.weight * (0.5 if not d else float((d > 0) == (v.answer == A))) for v, d in judged])
        weight = np.array([v.weight for v, _ in judged], dtype=float)
        accuracy = float(gain.sum() / weight.sum())
        variance, degrees, _ = _variance(gain, weight, *clusters([v for v, _ in judged]), resamples, rng)
        interval = _logit_interval(accuracy, int(weight.sum()), variance, degrees)
        pairs = [(d, s / n) for key, (s, n) in shares.items() if math.isfinite(d := better(*key))]
        means = _condition_means(measured, found)
        results.append(
            Correlation(
                metric,
                accuracy,
                interval,
                _rank(spearmanr, pairs),
                _rank(spearmanr, [(sign * m, s) for m, s in means]) if len(means) >= 4 else math.nan,
                int(weight.sum()),
            )
        )
    return sorted(results, key=lambda c: -c.accuracy), ceiling


def _condition_means(table: Mapping[tuple[str, str], float], found: Scores) -> list[tuple[float, float]]:
    """(mean of a metric, score) of the conditions of the largest group."""
    largest = Counter(item.group for item in found.items).most_common(1)
    means = []
    for item in found.items:
        own = [v for (_, name), v in table.items() if name == item.condition and math.isfinite(v)]
        if own and item.group == largest[0][0]:
            means.append((float(np.mean(own)), item.davidson))
    return means


def _rank(correlate: object, pairs: Sequence[tuple[float, float]]) -> float:
    x, y = ({p[i] for p in pairs} for i in (0, 1))
    if len(pairs) < 3 or len(x) < 2 or len(y) < 2:
        return math.nan
    return float(correlate([p[0] for p in pairs], [p[1] for p in pairs]).statistic)  # type: ignore[operator]
