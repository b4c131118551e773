"""The report of rows: precision against mean rate, differences at equal bytes, rates at equal precision, one page.

table.csv         detector, codec, quality or goal, bpp, and all that pycocotools reports, of every measured point
at-rate.csv       detector, codec, bpp, AP, low, high
differences.csv   detector, codec, other, bpp, AP of codec minus AP of other, low, high
bd-rate.csv       detector, codec, anchor, percent, low, high, overlap
curve-NAME-DETECTOR.svg, .png
scores.json       what pycocotools gave for each set of boxes, so that it need not be computed again
detect.html       everything and example pictures, with nothing outside it

low and high bound the middle 95 % of resamples of the pictures, the same resamples for every codec.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpc import figures
from dpc.benchmark import curves, engines
from dpc.benchmark.report import ANCHORS
from dpc.benchmark.run import metadata_version
from dpc.detection import examples as pictures_of
from dpc.detection import run
from dpc.detection.dataset import Dataset
from dpc.detection.protocol import Detector
from dpc.detection.rows import ORIGINAL, Boxes, Row
from dpc.detection.scoring import NAMES, Truth
from dpc.errors import DPCError, OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Written", "report"]

SEED = 0  # of the resamples
MIDDLE = (2.5, 97.5)  # percentiles
DRAWN = ("AP", "AP50")
Values: TypeAlias = "NDArray[np.float64]"
Samples: TypeAlias = "NDArray[np.int64]"  # (resamples, pictures): places of the pictures


@dataclass(frozen=True)
class Written:
    """page: the HTML file. files: name -> all files. summary: lines of text for a terminal."""

    page: Path
    files: dict[str, Path]
    summary: list[str]


@dataclass(frozen=True, eq=False)
class Spread:
    """A figure and where the middle 95 % of its resamples lie; nan where that is not known."""

    value: float
    low: float
    high: float


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


def report(
    result: run.Result,
    data: Dataset,
    truth: Truth,
    out: Path,
    *,
    goals: Sequence[float] = run.GOALS,
    resamples: int = 200,
    anchor: str | None = None,
    examples: int = 3,
    example_bpp: float = 0.15,
    processes: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Written:
    """Score the rows of a run and write the report into out.

    goals: mean rates of the tables. anchor: codec of the rate differences, by default the first of the benchmark's that
    is there. What is set against all others is the first DPC of the run. examples: so many pictures, at example_bpp.
    Raises OptionError, ToolMissing (matplotlib, bjontegaard).
    """
    count = len(data.pictures)
    samples = np.random.default_rng(SEED).integers(0, count, (resamples, count))
    seen = _score(result, data, samples, out / "scores.json", processes, say)
    codecs = list(dict.fromkeys(codec for s in seen for codec in s.points))
    if anchor is not None and anchor not in codecs:
        raise OptionError(f"anchor {anchor!r} is not among the codecs {', '.join(codecs) or '(none)'}")
    anchor = anchor or next((name for name in ANCHORS if name in codecs), codecs[0] if codecs else "")
    # the DPC that was asked for now, or any, is set against the others
    subject = next((c for c in [*result.codecs, *codecs] if figures.is_own(c) and c in codecs), anchor)
    files: dict[str, Path] = {}

    def table(name: str, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
        figures.save_table(out, name, header, lines, files)

    table(
        "table.csv",
        ("detector", "codec", "point", "pictures", "bpp", *NAMES, "AP_low", "AP_high"),
        [
            (s.detector.name, codec, p.label, s.pictures, p.bpp, *(p.values[n] for n in NAMES), *_middle(p.aps))
            for s in seen
            for codec, points in [(ORIGINAL, [s.original]), *s.points.items()]
            for p in points
        ],
    )
    at = {(s.detector.name, c, g): there for s in seen for c in s.points for g in goals if (there := s.at(c, g))}
    spreads = {key: Spread(value, *_middle(drawn)) for key, (value, drawn) in at.items()}
    table(
        "at-rate.csv",
        ("detector", "codec", "bpp", "AP", "low", "high"),
        [(*key, s.value, s.low, s.high) for key, s in spreads.items()],
    )
    differences = {
        (d, codec, other, g): Spread(value - against[0], *_middle(drawn - against[1]))
        for (d, codec, g), (value, drawn) in at.items()
        for other in codecs
        if other != codec and (against := at.get((d, other, g)))
    }
    table(
        "differences.csv",
        ("detector", "codec", "other", "bpp", "difference", "low", "high"),
        [(*key, s.value, s.low, s.high) for key, s in differences.items()],
    )
    rates = {
        (s.detector.name, codec): rate
        for s in seen
        for codec in s.points
        if codec != anchor and anchor in s.points and (rate := _rate(s, anchor, codec))
    }
    table(
        "bd-rate.csv",
        ("detector", "codec", "anchor", "percent", "low", "high", "overlap"),
        [(d, c, anchor, s.value, s.low, s.high, overlap) for (d, c), (s, overlap) in rates.items()],
    )
    drawn = [
        figures.save(_figure(s, name), out, f"curve-{name}-{s.detector.name}", files) for s in seen for name in DRAWN
    ]
    shown = None
    if examples and seen:
        say(f"coding {examples} example pictures")
        shown = pictures_of.make(result, data, truth, seen[0].detector, list(seen[0].points), examples, example_bpp)
    files["detect.html"] = out / "detect.html"
    page = _page(seen, data, result, goals, resamples, anchor, subject, spreads, differences, rates, drawn, shown)
    part = out / "detect.html.part"
    part.write_text(page, encoding="utf-8")
    part.replace(files["detect.html"])
    return Written(files["detect.html"], files, _summary(seen, goals, spreads))


# scoring


def _score(
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
    if processes == 1:
        scored: Iterable[tuple[Any, Any]] = ((task, _score_one(task)) for task in open_tasks)
    else:
        scored = engines.work("processes", _score_one, open_tasks, processes)
    for done, ((key, _), values) in enumerate(scored, 1):
        if isinstance(values, str):
            raise DPCError(f"scoring failed: {values}")
        scores[key] = values
        say(f"scored {done}/{len(open_tasks)} sets of boxes")
        part = cache.with_suffix(".part")
        part.write_text(json.dumps(scores, indent=0), encoding="utf-8")
        part.replace(cache)

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
    about = [data.sha256, list(data.scored), metadata_version("pycocotools"), samples.shape, SEED]
    digest = hashlib.sha256(json.dumps(about).encode())
    for image, boxes in found.items():
        digest.update(f"{image} {len(boxes)} ".encode() + np.ascontiguousarray(boxes).tobytes())
    return digest.hexdigest()[:32]


def _middle(values: Values) -> tuple[float, float]:
    """Where the middle of resampled values lies; nan where half of them or more are missing."""
    there = values[np.isfinite(values)]
    if len(there) <= len(values) / 2:
        return math.nan, math.nan
    low, high = np.percentile(there, MIDDLE)
    return float(low), float(high)


def _rate(s: Seen, anchor: str, codec: str) -> tuple[Spread, float] | None:
    """BD-rate at equal AP and the overlap of the two ranges of AP; None where they have too little in common."""

    def line(name: str) -> list[tuple[float, float]]:
        return [(p.bpp, p.values["AP"]) for p in s.points[name]]

    found = curves.bd_rate(line(anchor), line(codec))
    if found is None:
        return None
    drawn = [curves.bd_rate(a, b) for a, b in zip(s.resamples(anchor), s.resamples(codec), strict=True)]
    return Spread(found[0], *_middle(np.array([d[0] if d else math.nan for d in drawn]))), found[1]


# figures and words


def _figure(s: Seen, name: str) -> Figure:
    made = figures.new_figure(7.2, 4.6)
    axes = made.subplots()
    for codec, points in s.points.items():
        style = figures.line_style(codec, s.points)
        bpps = [p.bpp for p in points]
        axes.plot(bpps, [p.values[name] for p in points], "o", markersize=4, color=style["color"])
        axes.plot(bpps, [p.values[name] for p in points], label=codec, **style)
        middle = np.array([_middle(p.aps) for p in points])
        if name == "AP" and figures.is_own(codec) and np.isfinite(middle).all():
            axes.fill_between(bpps, middle[:, 0], middle[:, 1], color=style["color"], alpha=0.1)
    axes.axhline(s.original.values[name], color="#777777", linestyle=(0, (1, 2)), label="uncompressed")
    if s.points:
        figures.log_rates(axes, [p.bpp for points in s.points.values() for p in points])
    axes.set_xlabel("bits per pixel of the whole file, mean of the pictures")
    axes.set_ylabel(f"{name} of {s.detector.name}, higher is better")
    axes.legend(fontsize=8, framealpha=0.8)
    return made


def _ap(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _summary(seen: Sequence[Seen], goals: Sequence[float], spreads: Mapping[Any, Spread]) -> list[str]:
    lines = []
    for s in seen:
        lines.append(f"{s.detector.name}, uncompressed: AP {_ap(s.original.values['AP'])} %")
        width = max(map(len, s.points), default=0)
        for codec in s.points:
            cells = [
                f"{g:g} bpp {_ap(found.value):>5}"
                if (found := spreads.get((s.detector.name, codec, g)))
                else f"{g:g} bpp     –"
                for g in goals
            ]
            lines.append(f"  {codec:<{width}}  AP % at " + "   ".join(cells))
    return lines


# the page

_text = html.escape


def _spread(s: Spread | None, show: Callable[[float], str], mark: str = "") -> str:
    if s is None:
        return "<td>–"
    interval = "" if math.isnan(s.low) else f"<br><small>{show(s.low)} to {show(s.high)}</small>"
    return f"<td{mark}>{show(s.value)}{interval}"


def _table(head: Sequence[str], lines: Iterable[str]) -> str:
    return (
        "<div class=scroll><table><thead><tr>"
        + "".join(f"<th scope=col{' class=wrap' if 'wrap' in cell else ''}>{cell}" for cell in head)
        + "</thead><tbody>"
        + "".join(lines)
        + "</tbody></table></div>"
    )


def _page(
    seen: Sequence[Seen],
    data: Dataset,
    result: run.Result,
    goals: Sequence[float],
    resamples: int,
    anchor: str,
    subject: str,
    spreads: Mapping[tuple[str, str, float], Spread],
    differences: Mapping[tuple[str, str, str, float], Spread],
    rates: Mapping[tuple[str, str], tuple[Spread, float]],
    drawn: Sequence[str],
    shown: str | None,
) -> str:
    plan = result.plan
    how = (
        "Rates are matched on average: all pictures are coded at one quality, so that some files are larger and others "
        "smaller than the mean, and precision between two mean rates is interpolated linearly in log bpp."
        if plan.match == "average"
        else "Rates are matched per picture: every file is as near to the goal as its codec comes, and precision "
        "between two mean rates is interpolated linearly in log bpp."
    )
    spread = (
        f"Intervals hold the middle 95 % of {resamples} resamples of the pictures (drawn with replacement, the same "
        "for every codec). They say how far a figure depends on which pictures were tested; a difference whose "
        "interval holds 0 shows nothing."
        if resamples
        else "No intervals were computed."
    )
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        "<link rel=icon href=data:,>",
        f"<title>Detection on compressed pictures</title><style>{figures.STYLE}{pictures_of.STYLE}</style></head>",
        "<body><h1>Detection on compressed pictures</h1><main>",
        "".join(f"<p>{_text(note)}</p>" for note in data.notes),
        f"<p>{how} Rates count every byte of a file; pictures are coded at their native size. {spread}</p>",
        "<p>AP is the average precision of COCO in percent, by pycocotools, over IoU 0.50 to 0.95 and all sizes; AR is "
        "average recall with 100 boxes.</p>",
    ]
    heads = ["codec", *(f"{g:g} bpp" for g in goals)]
    for number, s in enumerate(seen):
        name = s.detector.name
        parts.append(
            f"<h2>{_text(name)}</h2><p class=note>{_text(s.detector.settings)}. {_text(s.detector.version)}.</p>"
        )
        whole = Spread(s.original.values["AP"], *_middle(s.original.aps))
        parts.append("<h3>AP at equal bytes</h3>")
        best = {g: max((x.value for c in s.points if (x := spreads.get((name, c, g)))), default=0) for g in goals}
        lines = []
        for codec in s.points:
            cells = []
            for g in goals:
                found = spreads.get((name, codec, g))
                cells.append(_spread(found, _ap, " class=best" if found and found.value == best[g] else ""))
            lines.append(f"<tr><th scope=row>{_text(codec)}{''.join(cells)}")
        cell = _spread(whole, _ap).replace("<td", f"<td colspan={len(goals)}", 1)
        lines.append(f"<tr><th scope=row>uncompressed{cell}")
        parts.append(_table(heads, lines))
        others = [c for c in s.points if c != subject]
        if subject in s.points and others:
            parts.append(
                f"<h3>AP of {_text(subject)} minus AP of the others, at equal bytes</h3><p>In percentage points; "
                f"above 0 the detector is more accurate on the pictures of {_text(subject)}. Bold where the "
                "interval is on one side of 0.</p>"
            )
            lines = []
            for codec in others:
                cells = []
                for g in goals:
                    found = differences.get((name, subject, codec, g))
                    clear = found is not None and found.low * found.high > 0
                    cells.append(_spread(found, lambda v: f"{100 * v:+.1f}", " class=best" if clear else ""))
                lines.append(f"<tr><th scope=row>{_text(codec)}{''.join(cells)}")
            parts.append(_table(heads, lines))
        parts += [f"<figure>{picture}</figure>" for picture in drawn[number * len(DRAWN) : (number + 1) * len(DRAWN)]]
        parts.append(
            f"<h3>Rate at equal AP</h3><p>BD-rate against {_text(anchor)} in percent: negative needs fewer bits "
            "(package bjontegaard, pchip; points that are no better than a smaller one are left out; four are needed). "
            "Read those of a small overlap of the two ranges of AP with caution.</p>"
        )
        lines = []
        for codec in s.points:
            if codec != anchor:
                rate = rates.get((name, codec))
                overlap = f"<td>{rate[1]:.0%}" if rate else "<td>–"
                lines.append(
                    f"<tr><th scope=row>{_text(codec)}{_spread(rate and rate[0], lambda v: f'{v:+.0f} %')}{overlap}"
                )
        parts.append(_table(["codec", "rate", "overlap"], lines))
        parts.append("<h3>Everything measured</h3>")
        lines = [
            f"<tr><th scope=row>{_text(codec)}<td>{_text(p.label)}<td>{p.bpp:.3f}"
            + "".join(f"<td>{_ap(p.values[n])}" for n in NAMES)
            for codec, points in [("uncompressed", [s.original]), *s.points.items()]
            for p in points
        ]
        parts.append(_table(["codec", "", "mean bpp", *NAMES], lines))
        if s.left_out:
            parts.append(f"<p>Not complete and left out: {_text('; '.join(s.left_out))}.</p>")
    if result.missing:
        words = "; ".join(f"{name}: {why}" for name, why in result.missing.items())
        parts.append(f"<p>Not measured: {_text(words)}.</p>")
    if shown:
        parts.append(shown)
    parts.append("<h2>What was measured</h2>")
    first = seen[0].rows if seen else {}
    parts.append(
        _table(
            ["codec", "version<th class=wrap>settings"],
            [
                f"<tr><th scope=row>{_text(c)}<td class=wrap>{_text(r[0].version)}<td class=wrap>{_text(r[0].settings)}"
                for c, r in first.items()
                if c != ORIGINAL
            ],
        )
    )
    for version, commit, tools in dict.fromkeys((r.dpc, r.commit, r.tools) for r in result.rows):
        parts.append(f"<p class=note>dpc {_text(version)}, commit {_text(commit or 'unknown')}; {_text(tools)}</p>")
    parts.append(f"<p class=note>pycocotools {metadata_version('pycocotools')}; annotations {data.sha256}</p>")
    parts.append("</main></body></html>\n")
    return "".join(parts)
