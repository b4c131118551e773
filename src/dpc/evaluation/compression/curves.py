"""From rows to figures of a test set: values at a rate, curves, rate differences.

Every picture is interpolated by itself, linearly in log bpp between its own files, and then the mean is taken over the
pictures. (The mean of files at one quality setting mixes pictures of very different rates.) Nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpc.errors import ToolMissing
from dpc.evaluation.compression.rows import Row
from dpc.evaluation.metrics import METRICS

__all__ = ["NEAR", "Difference", "Point", "at", "band", "bd_rate", "curve", "mean_at", "points", "rate_difference"]

NEAR = 0.03  # a file within this share of a rate stands for it without a neighbour on the other side
STEP = 1.05  # between two rates of a curve
LEAST_FILES = 4  # of a picture by each of two codecs, for a rate difference to be computed
LEAST_OVERLAP = 0.2  # of the range of values that two codecs share, for a rate difference to be computed

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """The mean over so many pictures."""

    value: float
    pictures: int


@dataclass(frozen=True)
class Difference:
    """Mean BD-rate over so many pictures, and the mean share of the two ranges of values that overlaps.

    low, high: the 95 % interval of the mean over the pictures; nan of a single one.
    """

    percent: float
    pictures: int
    overlap: float
    low: float = math.nan
    high: float = math.nan


def points(rows: Sequence[Row], metric: str) -> dict[str, list[tuple[float, float]]]:
    """sha256 of a picture -> its (bpp, value), ascending; metric: a metric, or encode_s, decode_s, memory_mb.

    Of several files of one size the last counts. The largest file, where more was asked for than it takes (nothing is
    left to code in a picture kept without loss), stands for the rate that was asked for too.
    """
    found: dict[str, dict[float, float]] = {}
    asked: dict[str, tuple[float, float]] = {}  # of the largest file: its bpp, and the highest target it was made for
    for row in rows:
        value = getattr(row, metric) if metric in ("encode_s", "decode_s", "memory_mb") else row.metrics.get(metric)
        if value is not None and not math.isnan(value):
            found.setdefault(row.sha256, {})[row.bpp] = value
            asked[row.sha256] = max(asked.get(row.sha256, (0.0, 0.0)), (row.bpp, row.target or 0.0))
    for name, (bpp, target) in asked.items():
        if bpp * (1 + NEAR) < target:
            found[name][target] = found[name][bpp]
    return {sha256: sorted(values.items()) for sha256, values in found.items()}


def at(curve: Points, rate: float, reach: float = 1 + NEAR) -> float | None:
    """The value of one picture at a rate, linear in log bpp; None further outside its files than the factor reach.

    curve: (bpp, value), ascending. Outside its files the line through the last file and the nearest one at least NEAR
    away from it is followed; a single file, or several so near to each other, stand for a rate that they are NEAR to.
    """
    if not curve or not curve[0][0] / reach <= rate <= curve[-1][0] * reach:
        return None
    i = sum(bpp <= rate for bpp, _ in curve)
    if 0 < i < len(curve):
        (b0, v0), (b1, v1) = curve[i - 1], curve[i]
    else:
        (b0, v0), *others = curve if i == 0 else curve[::-1]
        if (found := next((p for p in others if abs(math.log(p[0] / b0)) >= NEAR), None)) is None:
            return v0 if abs(math.log(rate / b0)) <= NEAR else None
        b1, v1 = found
    if math.isinf(v0) or math.isinf(v1):
        return None
    return v0 + (v1 - v0) * math.log(rate / b0) / math.log(b1 / b0)


def mean_at(curves: Mapping[str, Points], rate: float | Mapping[str, float], median: bool = False) -> Point | None:
    """The mean (or median) over all pictures that have a value at a rate; None when none has.

    rate: bpp, of all pictures or of each (the keys are those of curves).
    """
    rates = dict.fromkeys(curves, rate) if isinstance(rate, (int, float)) else rate
    values = [v for name, c in curves.items() if name in rates and (v := at(c, rates[name])) is not None]
    return Point(float((np.median if median else np.mean)(values)), len(values)) if values else None


def curve(curves: Mapping[str, Points], pictures: int) -> list[tuple[float, float]]:
    """(bpp, mean value) at the rates that every picture has, in steps of 5 %; empty when there is no such rate.

    pictures: how many there must be; means over fewer would not be comparable.
    """
    if len(curves) < max(pictures, 1):
        return []
    low, high = max(c[0][0] for c in curves.values()), min(c[-1][0] for c in curves.values())
    if not low < high:
        return []
    count = max(2, 1 + round(math.log(high / low) / math.log(STEP)))
    rates = np.geomspace(low, high, count)
    means = [mean_at(curves, float(rate)) for rate in rates]
    return [(float(r), m.value) for r, m in zip(rates, means, strict=True) if m and m.pictures == len(curves)]


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean of independent values, by Student's t; nan of fewer than two."""
    if len(values) < 2:
        return math.nan
    try:
        from scipy.stats import t
    except ImportError as error:
        raise ToolMissing("intervals need the package scipy; pip install '.[bench]'") from error
    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def band(curves: Mapping[str, Points], line: Points) -> list[float]:
    """Half of the 95 % interval over the pictures at every rate of a curve(); nan where it is not known."""
    return [
        half_width([v for points in curves.values() if (v := at(points, rate)) is not None and math.isfinite(v)])
        for rate, _ in line
    ]


def rate_difference(
    anchor: Mapping[str, Points], test: Mapping[str, Points], metric: str, least: int = LEAST_FILES
) -> Difference | None:
    """BD-rate of test against anchor at equal values of a metric, in percent; negative: test needs fewer bits.

    Per picture by the package bjontegaard (piecewise cubic, pchip, through the files that are better than all smaller
    ones), then the mean. A picture needs `least` such files of each codec and ranges that overlap by LEAST_OVERLAP;
    None when none has. Raises ToolMissing without the package.
    """
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    curves = (
        [[(bpp, sign * v) for bpp, v in c[sha256] if math.isfinite(v)] for c in (anchor, test)]
        for sha256 in anchor.keys() & test.keys()
    )
    found = [bd_rate(first, second, least) for first, second in curves]
    percents, overlaps = [f[0] for f in found if f], [f[1] for f in found if f]
    if not percents:
        return None
    half = half_width(percents)
    mean = float(np.mean(percents))
    return Difference(mean, len(percents), float(np.mean(overlaps)), mean - half, mean + half)


def bd_rate(anchor: Points, test: Points, least: int = LEAST_FILES) -> tuple[float, float] | None:
    """(percent, overlap) of two curves of (bpp, value), higher values being better; None where they are too short.

    As in rate_difference, which takes the mean over pictures of it. Raises ToolMissing without the package.
    """
    try:
        import bjontegaard
    except ImportError as error:
        raise ToolMissing("BD-rates need the package bjontegaard; pip install '.[bench]'") from error
    a, b = _rising(anchor), _rising(test)
    if min(len(a), len(b)) < least:
        return None
    low, high = max(a[0][1], b[0][1]), min(a[-1][1], b[-1][1])
    overlap = (high - low) / (max(a[-1][1], b[-1][1]) - min(a[0][1], b[0][1]))
    if overlap < LEAST_OVERLAP:
        return None
    values = [np.array(part) for curve in (a, b) for part in zip(*curve, strict=True)]
    percent = bjontegaard.bd_rate(*values, method="pchip", require_matching_points=False, min_overlap=0)
    return float(percent), overlap


def _rising(curve: Points) -> list[tuple[float, float]]:
    """Without the files that are no better than a smaller one."""
    kept: list[tuple[float, float]] = []
    for bpp, value in curve:
        if not kept or value > kept[-1][1]:
            kept.append((bpp, value))
    return kept
