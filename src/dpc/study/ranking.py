"""Scores of all conditions, with intervals that know that votes of one person or on one picture resemble each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dpc.study import scores
from dpc.study.preferences import FEW, LEVEL
from dpc.study.votes import Array, Vote, clusters, table

__all__ = ["Score", "Scores", "score"]


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
        low, s, high = (float(fit.scores[i] + h) for h in (-half[i], 0, half[i]))
        elo = [float(1500 + scores.ELO * value) for value in (low, s, high)]
        place = (counts[name], int(groups[i]))
        items.append(Score(name, s, (low, high), float(plain[i]), elo[1], (elo[0], elo[2]), *place))
    items.sort(key=lambda item: (item.group, -item.davidson))
    normal = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    return Scores(tuple(items), tuple(names), covariance * (wide / normal) ** 2, fit.tie, over_pictures)
