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
from dpc.evaluation.detection.scoring import SIZES, Truth, kept
from dpc.evaluation.experiment import engines, point_label
from dpc.files import atomic_write
from dpc.provenance import version_of

SEED = 0  # of the resamples
FIGURES = {**dict(zip(SIZES, ("AP", "AP of small boxes", "AP of medium boxes", "AP of large boxes"), strict=True))}
FIGURES["kept"] = "Detections kept"
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

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0: a difference is shown. False where it is not known."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Point:
    """One codec at one quality or target on all pictures. values: NAMES and kept. drawn: FIGURES of every resample."""

    label: str
    bpp: float
    values: Mapping[str, float]
    drawn: Mapping[str, Values]
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

    def at(self, codec: str, rate: float, figure: str = "AP") -> tuple[float, Values] | None:
        """A figure at a mean rate, of the set and of every resample (nan outside its files).

        None outside the set's files, and where the set has nothing to score for it.
        """
        points = self.points[codec]
        value = curves.at([(p.bpp, p.values[figure]) for p in points], rate)
        if value is None or math.isnan(value):
            return None
        # a resample's rates move with its pictures: the segment that holds the rate in the set is followed
        found = [curves.at(line, rate, reach=math.inf) for line in self.resamples(codec, figure)]
        return value, np.array([math.nan if v is None else v for v in found])

    def resamples(self, codec: str, figure: str = "AP") -> Iterable[list[tuple[float, float]]]:
        """The curve of (bpp, figure) of every resample."""
        points = self.points[codec]
        for i in range(len(points[0].bpps)):
            yield sorted({float(p.bpps[i]): float(p.drawn[figure][i]) for p in points}.items())


def score(
    result: run.Result, data: Dataset, samples: Samples, cache: Path, processes: int, say: Callable[[str], None]
) -> list[Seen]:
    """Every detector of the plan with all codecs in the rows that are complete."""
    groups = [_group(result, text) for text in result.plan.detectors]
    tasks: dict[str, _Task] = {}
    key_of: dict[tuple[str, str, str], str] = {}
    for group in groups:
        for (codec, label), rows_of in group.sets.items():
            if len(rows_of) == len(data.pictures):
                found = {p.id: rows_of[p.id].found for p in data.pictures}
                key = _identity(data, found, samples)
                key_of[group.detector.name, codec, label] = key
                tasks[key] = (data, found, samples)
    scores = _scored(tasks, cache, processes, say)
    seen = []
    for group in groups:
        made = _points(group, key_of, scores, data, samples)
        if isinstance(made, str):
            say(f"{group.detector.name}: {made}")
        else:
            seen.append(made)
    return seen


@dataclass(frozen=True, eq=False)
class _Group:
    """The rows of a detector by codec, and by (codec, label of quality or target) and picture."""

    detector: Detector
    rows: dict[str, list[Row]]
    sets: dict[tuple[str, str], dict[int, Row]]


def _group(result: run.Result, text: str) -> _Group:
    detector = run.detector(text, result.plan.threads, result.plan.device)
    about = (detector.name, detector.version, detector.settings)
    own = [r for r in result.rows if (r.detector, r.detector_version, r.detector_settings) == about]
    by_codec = figures.by_codec(own)
    sets: dict[tuple[str, str], dict[int, Row]] = {}
    for codec, rows in by_codec.items():
        for row in rows:
            quality, target = row.point
            if codec in (ORIGINAL, *result.plan.folders) or (target is None) == (result.plan.match == "average"):
                name = "" if codec == ORIGINAL else point_label(quality, target)
                sets.setdefault((codec, name), {})[row.image] = row
    return _Group(detector, by_codec, sets)


def _scored(
    tasks: Mapping[str, _Task], cache: Path, processes: int, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """What pycocotools gives for every set of boxes; the cache keeps it for the next time."""
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
    return scores


def _points(
    group: _Group,
    key_of: Mapping[tuple[str, str, str], str],
    scores: Mapping[str, Mapping[str, Any]],
    data: Dataset,
    samples: Samples,
) -> Seen | str:
    """What one detector gave, or why that is nothing."""
    detector, originals = group.detector, group.sets.get((ORIGINAL, ""), {})
    if len(originals) < len(data.pictures):
        return "everything is left out: the uncompressed pictures are not complete, see failures.csv"
    made: dict[str, list[Point]] = {}
    left_out = []
    for (codec, label), rows_of in group.sets.items():
        key = key_of.get((detector.name, codec, label), "")
        if not key:
            left_out.append(f"{codec} {label}: {len(rows_of)} of {len(data.pictures)} pictures")
            continue
        bpps = np.array([p.bpp if codec == ORIGINAL else rows_of[p.id].bpp for p in data.pictures])
        values = {name: math.nan if v is None else v for name, v in scores[key]["values"].items()}
        drawn = {name: np.array(v, np.float64) for name, v in scores[key]["resampled"].items()}
        again = np.array([_kept(data, originals[p.id].found, rows_of[p.id].found) for p in data.pictures])
        values["kept"], drawn["kept"] = float(_share(again.sum(0))), _share(again[samples].sum(1))
        made.setdefault(codec, []).append(Point(label, float(bpps.mean()), values, drawn, bpps[samples].mean(1)))
    (original,) = made.pop(ORIGINAL)
    points = {codec: sorted(found, key=lambda p: p.bpp) for codec, found in made.items()}
    points = {codec: points[codec] for codec in group.rows if codec in points}
    return Seen(detector, original, points, group.rows, left_out, len(data.pictures))


_Task: TypeAlias = "tuple[Dataset, dict[int, Boxes], Samples]"


def _score_one(item: tuple[str, _Task]) -> dict[str, Any]:
    """What pycocotools gives for a set of boxes, as JSON holds it."""
    data, found, samples = item[1]
    evaluated = _truth(data).evaluate(found)
    return {
        "values": {name: None if math.isnan(v) else v for name, v in evaluated.values.items()},
        "resampled": {
            name: [None if math.isnan(v) else round(v, 6) for v in drawn.tolist()]
            for name, drawn in evaluated.resampled(list(samples)).items()
        },
    }


def _kept(data: Dataset, *pair: Boxes) -> tuple[int, int]:
    """scoring.kept, of the categories that are scored."""
    before, after = (boxes[np.isin(boxes[:, 0], data.scored)] for boxes in pair)
    return kept(before, after)


def _share(counts: Any) -> Any:
    """The share of (found again, there before) along the last axis; nan where there was nothing."""
    again, before = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        return again / before


@lru_cache(maxsize=2)
def _truth(data: Dataset) -> Truth:
    return Truth(data)


def _identity(data: Dataset, found: Mapping[int, Boxes], samples: Samples) -> str:
    about = [data.sha256, list(data.scored), version_of("pycocotools"), samples.shape, SEED, SIZES]
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
