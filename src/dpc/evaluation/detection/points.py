"""What the rows of a run give: every codec's points of rate and precision, and those of resampled pictures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpc.errors import DPCError
from dpc.evaluation import figures
from dpc.evaluation.compression import curves
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset
from dpc.evaluation.detection.protocol import Detector
from dpc.evaluation.detection.rows import ORIGINAL, Boxes, Row
from dpc.evaluation.detection.scoring import Truth
from dpc.evaluation.experiment import engines
from dpc.files import atomic_write
from dpc.provenance import version_of

SEED = 0  # of the resamples
WIDE = 1.96  # standard deviations on each side: 95 % of a normal distribution
Values: TypeAlias = "NDArray[np.float64]"
Samples: TypeAlias = "NDArray[np.int64]"  # (resamples, pictures): places of the pictures


@dataclass(frozen=True, eq=False)
class Spread:
    """A figure and its 95 % interval; nan where that is not known. share: of the resamples that have the figure."""

    value: float
    low: float
    high: float
    share: float


@dataclass(frozen=True, eq=False)
class Point:
    """One codec at one quality or goal on all pictures. aps, bpps: of every resample."""

    label: str
    bpp: float
    values: Mapping[str, float]
    aps: Values
    bpps: Values


@dataclass(frozen=True, eq=False)
class Seen:
    """What one detector gave. points: codec -> from the lowest mean rate to the highest. left_out: what and why."""

    detector: Detector
    original: Point
    points: Mapping[str, Sequence[Point]]
    rows: Mapping[str, Sequence[Row]]
    left_out: Sequence[str]
    pictures: int

    def at(self, codec: str, rate: float) -> tuple[float, Values] | None:
        """AP at a mean rate, of the set and of every resample (nan outside its files); None outside the set's files."""
        points = self.points[codec]
        value = curves.at([(p.bpp, p.values["AP"]) for p in points], rate)
        if value is None:
            return None
        # a resample's rates move with its pictures: the segment that holds the rate in the set is followed
        found = [curves.at(line, rate, reach=math.inf) for line in self.resamples(codec)]
        return value, np.array([math.nan if v is None else v for v in found])

    def resamples(self, codec: str) -> Iterable[list[tuple[float, float]]]:
        """The curve of (bpp, AP) of every resample."""
        points = self.points[codec]
        for i in range(len(points[0].aps)):
            yield sorted({float(p.bpps[i]): float(p.aps[i]) for p in points}.items())


def score(
    result: run.Result, data: Dataset, samples: Samples, cache: Path, processes: int, say: Callable[[str], None]
) -> list[Seen]:
    """Every detector of the plan with all codecs in the rows that are complete."""
    tasks: dict[str, _Task] = {}
    groups: list[tuple[Detector, dict[str, list[Row]], dict[tuple[str, str], dict[int, Row]]]] = []
    for text in result.plan.detectors:
        detector = run.detector(text, result.plan.threads, result.plan.device)
        about = (detector.name, detector.version, detector.settings)
        own = [r for r in result.rows if (r.detector, r.detector_version, r.detector_settings) == about]
        by_codec = figures.by_codec(own)
        sets: dict[tuple[str, str], dict[int, Row]] = {}
        for codec, rows in by_codec.items():
            for row in rows:
                quality, goal = row.point
                if codec in (ORIGINAL, *result.plan.folders) or (goal is None) == (result.plan.match == "average"):
                    label = f"{goal:g} bpp" if goal else "" if quality is None else f"quality {quality:g}"
                    sets.setdefault((codec, label), {})[row.image] = row
        groups.append((detector, by_codec, sets))
    key_of: dict[tuple[int, str, str], str] = {}
    for number, (_, _, sets) in enumerate(groups):
        for (codec, label), rows_of in sets.items():
            if len(rows_of) == len(data.pictures):
                found = {p.id: rows_of[p.id].found for p in data.pictures}
                key = _identity(data, found, samples)
                key_of[number, codec, label] = key
                tasks[key] = (data, found, samples)
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    scores = {key: known[key] for key in tasks if key in known}
    open_tasks = [(key, task) for key, task in tasks.items() if key not in scores]
    scored = engines.work("processes", _score_one, open_tasks, processes)
    for done, ((key, _), values) in enumerate(scored, 1):
        if isinstance(values, str):
            raise DPCError(f"scoring failed: {values}")
        scores[key] = values
        say(f"scored {done}/{len(open_tasks)} sets of boxes")
        atomic_write(cache, json.dumps(scores, indent=0))

    bits = np.array([p.bpp for p in data.pictures])
    seen = []
    for number, (detector, by_codec, sets) in enumerate(groups):
        made: dict[str, list[Point]] = {}
        left_out = []
        for (codec, label), rows_of in sets.items():
            key = key_of.get((number, codec, label), "")
            if not key:
                left_out.append(f"{codec} {label}: {len(rows_of)} of {len(data.pictures)} pictures")
                continue
            bpps = np.array([rows_of[p.id].bpp for p in data.pictures]) if codec != ORIGINAL else bits
            values = {name: math.nan if v is None else v for name, v in scores[key]["values"].items()}
            aps = np.array(scores[key]["resampled"], np.float64)
            made.setdefault(codec, []).append(Point(label, float(bpps.mean()), values, aps, bpps[samples].mean(1)))
        original = made.pop(ORIGINAL, None)
        if not original:
            left_out.append("everything: the uncompressed pictures are not complete, see failures.csv")
            say(f"{detector.name}: {left_out[-1]}")
            continue
        points = {codec: sorted(found, key=lambda p: p.bpp) for codec, found in made.items()}
        points = {codec: points[codec] for codec in by_codec if codec in points}
        seen.append(Seen(detector, original[0], points, by_codec, left_out, len(data.pictures)))
    return seen


_Task: TypeAlias = "tuple[Dataset, dict[int, Boxes], Samples]"


def _score_one(item: tuple[str, _Task]) -> dict[str, Any]:
    """What pycocotools gives for a set of boxes, as JSON holds it."""
    data, found, samples = item[1]
    evaluated = _truth(data).evaluate(found)
    return {
        "values": {name: None if math.isnan(v) else v for name, v in evaluated.values.items()},
        "resampled": [round(v, 6) for v in evaluated.resampled(list(samples)).tolist()],
    }


@lru_cache(maxsize=2)
def _truth(data: Dataset) -> Truth:
    return Truth(data)


def _identity(data: Dataset, found: Mapping[int, Boxes], samples: Samples) -> str:
    about = [data.sha256, list(data.scored), version_of("pycocotools"), samples.shape, SEED]
    digest = hashlib.sha256(json.dumps(about).encode())
    for image, boxes in found.items():
        digest.update(f"{image} {len(boxes)} ".encode() + np.ascontiguousarray(boxes).tobytes())
    return digest.hexdigest()[:32]


def spread(value: float, drawn: Values) -> Spread:
    """The value with an interval of WIDE standard deviations of its resamples on each side.

    Around the value, as resamples with pictures that come twice lie above it; of standard deviations, as with 50
    resamples percentiles are those of the outermost one or two. nan where there are fewer than two resamples, or more
    than a tenth lack the figure: those are not a fair draw, a BD-rate lacks where a curve is ragged.
    """
    there = drawn[np.isfinite(drawn)]
    share = len(there) / len(drawn) if len(drawn) else math.nan
    if len(there) < max(2, 0.9 * len(drawn)):
        return Spread(value, math.nan, math.nan, share)
    half = WIDE * float(np.std(there, ddof=1))
    return Spread(value, value - half, value + half, share)


def rate_at_equal_ap(s: Seen, anchor: str, codec: str) -> tuple[Spread, float] | None:
    """BD-rate at equal AP and the overlap of the two ranges of AP; None where they have too little in common."""

    def line(name: str) -> list[tuple[float, float]]:
        return [(p.bpp, p.values["AP"]) for p in s.points[name]]

    found = curves.bd_rate(line(anchor), line(codec))
    if found is None:
        return None
    drawn = [curves.bd_rate(a, b) for a, b in zip(s.resamples(anchor), s.resamples(codec), strict=True)]
    # rates are ratios: their interval is that of the logarithm
    logs = np.log1p(np.array([d[0] if d else math.nan for d in drawn]) / 100)
    ratio = spread(math.log1p(found[0] / 100), logs)
    low, high = (100 * math.expm1(v) for v in (ratio.low, ratio.high))
    return Spread(found[0], low, high, ratio.share), found[1]


def percent(value: float) -> str:
    """AP in percent as tables show it."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"
