"""The report of rows: precision against mean rate, differences at equal bytes, rates at equal precision, one page.

table.md, table.csv, at-rate.csv, differences.csv, bd-rate.csv
                  see dpc.evaluation.detection.tables
curve-FIGURE-DETECTOR.svg, .png
                  AP and the share of detections kept, with the interval of DPC
scores.json       what pycocotools gave for each set of boxes, so that it need not be computed again
detect.html       everything and example pictures, with nothing outside it

low and high are 1.96 standard deviations of resamples of the pictures from the figure, the same resamples for every
codec; of a BD-rate in the logarithm of the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpc.errors import OptionError
from dpc.evaluation import figures
from dpc.evaluation.compression.report import ANCHORS
from dpc.evaluation.detection import examples as pictures_of
from dpc.evaluation.detection import run, tables
from dpc.evaluation.detection.dataset import Dataset
from dpc.evaluation.detection.page import page_of
from dpc.evaluation.detection.points import FIGURES, SEED, Seen, score, spread
from dpc.evaluation.detection.scoring import Truth
from dpc.evaluation.markup import percent
from dpc.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Written", "report"]

DRAWN = ("AP", "kept")


@dataclass(frozen=True)
class Written:
    """page: the HTML file. files: name -> all files. summary: lines of text for a terminal."""

    page: Path
    files: dict[str, Path]
    summary: list[str]


def report(
    result: run.Result,
    data: Dataset,
    truth: Truth,
    out: Path,
    *,
    targets: Sequence[float] = run.TARGETS,
    resamples: int = 200,
    anchor: str | None = None,
    examples: int = 3,
    example_bpp: float = 0.15,
    processes: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Written:
    """Score the rows of a run and write the report into out.

    targets: mean rates of the tables. anchor: codec of the rate differences, by default the first of the benchmark's
    that is there. What is set against all others is the first DPC of the run. examples: so many pictures, at
    example_bpp.

    Raises OptionError, ToolMissing (matplotlib, bjontegaard).
    """
    count = len(data.pictures)
    samples = np.random.default_rng(SEED).integers(0, count, (resamples, count))
    seen = score(result, data, samples, out / "scores.json", processes, say)
    codecs = list(dict.fromkeys(codec for s in seen for codec in s.points))
    if anchor is not None and anchor not in codecs:
        raise OptionError(f"anchor {anchor!r} is not among the codecs {', '.join(codecs) or '(none)'}")
    anchor = anchor or next((name for name in ANCHORS if name in codecs), codecs[0] if codecs else "")
    # the DPC that was asked for now, or any, is set against the others
    subject = next((c for c in [*result.codecs, *codecs] if figures.is_own(c) and c in codecs), anchor)
    files: dict[str, Path] = {}
    made = tables.make(seen, targets, anchor, subject)
    tables.save(made, seen, out, files)
    drawn = [
        [figures.save(_figure(s, name), out, f"curve-{name}-{s.detector.name}", files) for name in DRAWN] for s in seen
    ]
    shown = None
    if examples and seen:
        say(f"coding {examples} example pictures")
        shown = pictures_of.make(result, data, truth, seen[0].detector, list(seen[0].points), examples, example_bpp)
    files["detect.html"] = out / "detect.html"
    atomic_write(files["detect.html"], page_of(made, seen, data, result, resamples, drawn, shown))
    return Written(files["detect.html"], files, _summary(made))


def _figure(s: Seen, name: str) -> Figure:
    made = figures.new_figure(7.2, 4.6)
    axes = made.subplots()
    bands = sum(map(figures.is_own, s.points)) <= 3  # of more they hide each other
    for codec, points in s.points.items():
        style = figures.line_style(codec, s.points)
        bpps = [p.bpp for p in points]
        axes.plot(bpps, [p.values[name] for p in points], "o", markersize=4, color=style["color"])
        axes.plot(bpps, [p.values[name] for p in points], label=figures.label(codec), **style)
        around = [spread(p.values[name], p.drawn[name]) for p in points]
        bounds = np.array([(a.low, a.high) for a in around])
        if bands and figures.is_own(codec) and np.isfinite(bounds).all():
            axes.fill_between(bpps, bounds[:, 0], bounds[:, 1], color=style["color"], alpha=0.1)
    axes.axhline(s.original.values[name], color="#777777", linestyle=(0, (1, 2)), label="uncompressed")
    if s.points:
        figures.log_rates(axes, [p.bpp for points in s.points.values() for p in points])
    axes.set_xlabel("bits per pixel of the whole file, mean of the pictures")
    axes.set_ylabel(f"{FIGURES[name]}, {figures.label(s.detector.name)}, higher is better")
    axes.legend(fontsize=8, framealpha=0.8)
    return made


def _summary(made: tables.Tables) -> list[str]:
    lines = []
    width = max(map(len, made.codecs), default=0)
    for detector in made.detectors:
        lines.append(f"{detector}, uncompressed: AP {percent(made.originals[detector, 'AP'].value)} %")
        for codec in made.codecs:
            found = [made.spreads.get((detector, "AP", codec, g)) for g in made.targets]
            cells = [f"{g:g} bpp {percent(x.value) if x else '–':>5}" for g, x in zip(made.targets, found, strict=True)]
            lines.append(f"  {codec:<{width}}  AP % at " + "   ".join(cells))
    return lines
