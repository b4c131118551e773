"""Bits at equal preference: how many bits a method needs to be liked as much as another."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpc.study.preferences import LEVEL
from dpc.study.ranking import Scores
from dpc.study.votes import Array

__all__ = ["Bits", "bits_at_equal_preference", "equal_bits"]


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
    if not methods:
        return []
    by_name = {item.condition: item.davidson for item in found.items}
    centre = np.array([by_name[name] for name in found.names])
    rng = np.random.default_rng(seed)
    draws_of_scores = rng.multivariate_normal(centre, found.covariance, size=draws, method="eigh")
    place = {name: i for i, name in enumerate(found.names)}

    def curve(key: tuple[str, int], values: Array) -> list[tuple[float, float]]:
        return [(bpp[name], float(values[place[name]])) for name in methods[key]]

    results = []
    keys = sorted(key for key, names in methods.items() if len(names) > 1)
    for anchor, test in itertools.combinations(keys, 2):
        best = equal_bits(curve(anchor, centre), curve(test, centre)) if anchor[1] == test[1] else None
        if best is None:
            continue
        tried = [equal_bits(curve(anchor, values), curve(test, values)) for values in draws_of_scores]
        results.append(Bits(anchor[0], test[0], best[0], _interval([t[0] for t in tried if t], draws), best[1]))
    return results


def _interval(percents: Sequence[float], draws: int) -> tuple[float, float] | None:
    if len(percents) < 0.9 * draws:
        return None
    low, high = np.quantile(percents, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _rising(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for bpp, value in curve:
        if not kept or value > kept[-1][1]:
            kept.append((bpp, value))
    return kept
