"""The report of rows: tables, curves and rate differences in one page, and each as a file of its own.

report.html            everything, with its pictures inside; nothing is fetched
                       low, high: the 95 % interval over the pictures
table.csv              codec, rate, metric, mean, pictures, and the precomputed folder whose sizes were met, if any
table.md               the same to read
bd-rate.csv            codec, anchor, metric, percent, low, high, pictures, overlap
curve-METRIC.csv       codec, bpp, mean, low, high
curve-METRIC.svg, .png and speed.svg, .png
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dpc.errors import OptionError
from dpc.evaluation import figures, independence, markup
from dpc.evaluation.compression import curves
from dpc.evaluation.compression.drawing import curve_of
from dpc.evaluation.compression.gallery import Gallery, gallery
from dpc.evaluation.compression.rows import Row, read
from dpc.evaluation.compression.table import SECONDS, Section, cell, head, markdown, measured, sections, seen
from dpc.evaluation.metrics import METRICS
from dpc.evaluation.metrics.reference import PEAKS
from dpc.evaluation.metrics.spectrum import SUSPECT
from dpc.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RATES", "report"]

RATES = (0.15, 0.25, 0.5)
ANCHORS = ("bpg", "bpg-like", "jpeg2000", "jpeg")


@dataclass(frozen=True)
class _Set:
    """The rows of one report, by codec."""

    rows: dict[str, list[Row]]
    metrics: list[str]
    pictures: int

    @property
    def shown(self) -> list[str]:
        """The metrics that stand in tables by themselves."""
        return [metric for metric in self.metrics if metric not in PEAKS]

    def points(self, codec: str, metric: str) -> dict[str, list[tuple[float, float]]]:
        return curves.points(self.rows[codec], metric)

    def enough(self, codec: str) -> bool:
        """Whether a rate difference against a codec can be known: four files of each of its pictures."""
        files = Counter(row.sha256 for row in self.rows.get(codec, ()))
        return bool(files) and min(files.values()) >= curves.LEAST_FILES


def report(
    paths: Sequence[Path],
    out: Path,
    rates: Sequence[float] = RATES,
    anchor: str | None = None,
    kinds: Mapping[str, str] | None = None,
    *,
    pictures: Path | None = None,
    at: float = 0.25,
    codecs: Sequence[str] = (),
    folders: Mapping[str, str] | None = None,
    least: int = curves.LEAST_FILES,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Path]:
    """Write the report of one or several rows.csv (or folders that hold one) into out; name -> file.

    A codec under one name with two versions or settings is told apart. anchor: the codec of the rate differences; by
    default the first of ANCHORS that is there. kinds: of the pictures, in place of those in the rows. pictures: the
    folder that was measured, to look at what codecs make of it `at` a rate; codecs, folders: see gallery.gallery.
    least: files of a picture that its rate difference needs.
    Raises OptionError, ToolMissing (matplotlib, bjontegaard, Jinja2).
    """
    data = _read(paths, kinds)
    if anchor is None:
        anchor = next((name for name in ANCHORS if data.enough(name)), next(iter(data.rows)))
    if anchor not in data.rows:
        raise OptionError(f"anchor {anchor!r} is not among the codecs {', '.join(data.rows)}")
    shown = gallery(data.rows, pictures, at, codecs, folders, say=say) if pictures else None
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    tables = sections(data.rows, rates)
    lines = [
        (codec, section.bpp, metric, point.value, point.pictures, section.at, section.kind)
        for section in tables
        for (codec, metric), point in section.cells.items()
        if point
    ]
    figures.save_table(out, "table.csv", ("codec", "bpp", "metric", "mean", "pictures", "at", "kind"), lines, written)
    written["table.md"] = out / "table.md"
    atomic_write(written["table.md"], markdown(data.rows, rates))
    differences = _differences(data, anchor, least, out, written)
    curves_drawn, partial = _curves(data, out, written)
    speed = _speed(data, differences, anchor)
    if speed:
        curves_drawn.append(figures.save(speed, out, "speed", written))
    written["report.html"] = out / "report.html"
    atomic_write(written["report.html"], _page(data, tables, anchor, differences, curves_drawn, partial, shown))
    return written


def _read(paths: Sequence[Path], kinds: Mapping[str, str] | None) -> _Set:
    rows: list[Row] = []
    for path in paths:
        file = path / "rows.csv" if path.is_dir() else path
        if not file.is_file():
            raise OptionError(f"{file} does not exist; make it with dpc bench")
        rows += read(file)
    rows = list({row.key: row for row in rows}.values())
    if kinds is not None:
        rows = [replace(row, kind=kinds.get(row.image, "")) for row in rows]
    data = _Set(figures.by_codec(rows), measured(rows), len({row.sha256 for row in rows}))
    if not rows or not data.metrics:
        raise OptionError(f"{', '.join(map(str, paths))}: there are no rows in it yet; run dpc bench")
    return data


Differences: TypeAlias = "dict[tuple[str, str], curves.Difference | None]"


def _differences(data: _Set, anchor: str, least: int, out: Path, written: dict[str, Path]) -> Differences:
    """Rates at equal quality of every codec and metric, in a file too."""
    found = {
        (codec, metric): curves.rate_difference(data.points(anchor, metric), data.points(codec, metric), metric, least)
        for codec in data.rows
        for metric in data.shown
        if codec != anchor
    }
    header = ("codec", "anchor", "metric", "percent", "low", "high", "pictures", "overlap")
    lines = [(c, anchor, m, d.percent, d.low, d.high, d.pictures, d.overlap) for (c, m), d in found.items() if d]
    figures.save_table(out, "bd-rate.csv", header, lines, written)
    return found


def _curves(data: _Set, out: Path, written: dict[str, Path]) -> tuple[list[str], dict[str, int]]:
    """The curves of every metric as SVG, and the codecs that have not all pictures with how many they have."""
    drawn: list[str] = []
    partial: dict[str, int] = {}
    for metric in data.shown:
        lines = {codec: curves.curve(data.points(codec, metric), data.pictures) for codec in data.rows}
        bands = {codec: curves.band(data.points(codec, metric), line) for codec, line in lines.items()}
        cells = [
            (codec, rate, mean, mean - half, mean + half)
            for codec, line in lines.items()
            for (rate, mean), half in zip(line, bands[codec], strict=True)
        ]
        figures.save_table(out, f"curve-{metric}.csv", ("codec", "bpp", "mean", "low", "high"), cells, written)
        counts = {codec: len(data.points(codec, metric)) for codec in data.rows}
        partial |= {codec: count for codec, count in counts.items() if 0 < count < data.pictures}
        if any(lines.values()):
            drawn.append(
                figures.save(
                    curve_of(metric, lines, data.rows, seen(data.rows), bands), out, f"curve-{metric}", written
                )
            )
    return drawn, partial


def _seconds(rows: Sequence[Row], name: str) -> float:
    """Median seconds per megapixel."""
    values = np.array([getattr(r, name) / (r.width * r.height / 1e6) for r in rows])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _speed(data: _Set, differences: Differences, anchor: str) -> Figure | None:
    """Rate at equal quality over seconds; None where nothing was timed or no rate difference is known."""
    preferred = ("lpips_squeeze", "ms_ssim", "psnr")
    metric = next((m for m in preferred if any(differences.get((c, m)) for c in data.rows)), "")
    places = {c: d.percent for c in data.rows if (d := differences.get((c, metric)))}
    timed = {c: (_seconds(rows, "encode_s"), _seconds(rows, "decode_s")) for c, rows in data.rows.items()}
    places = {c: p for c, p in (places | {anchor: 0.0}).items() if np.isfinite(timed[c]).all()}
    if len(places) < 2:
        return None
    made = figures.new_figure(9.6, 4.4)
    for i, (axes, title) in enumerate(zip(made.subplots(1, 2, sharey=True), ("encode", "decode"), strict=True)):
        for codec, percent in places.items():
            colour = figures.line_style(codec, data.rows)["color"]
            axes.plot(timed[codec][i], percent, "o", color=colour)
            place = (timed[codec][i], percent)
            axes.annotate(figures.label(codec), place, (5, 4), textcoords="offset points", fontsize=8, color=colour)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # the default is a formula, and names are not read as such
        axes.xaxis.set_minor_formatter("")
        axes.margins(0.3, 0.2)
        axes.set_xlabel(f"{title}, seconds per megapixel")
        axes.grid(alpha=0.3)
        if not i:
            axes.set_ylabel(
                f"rate at equal {METRICS[metric].title}\nagainst {figures.label(anchor)}, % (lower is better)"
            )
    return made


# the page


def _page(
    data: _Set,
    tables: Sequence[Section],
    anchor: str,
    differences: Differences,
    drawn: Sequence[str],
    partial: Mapping[str, int],
    shown: Gallery | None,
) -> str:
    peaks = [m for m in data.metrics if m in PEAKS]
    heads = [head(m, data.rows) for m in data.shown]
    heads += [f"peak {m.removeprefix('peak_')}" for m in peaks] + ["encode s", "decode s"]
    rows = [row for of in data.rows.values() for row in of]
    return markup.render(
        "report.html",
        count=data.pictures,
        files=len(rows),
        heads=heads,
        tables=[_table(data, section, (*data.shown, *peaks, *SECONDS)) for section in tables],
        peaks=peaks,
        suspect=SUSPECT,
        gallery=shown,
        anchor=anchor,
        titles=[independence.heading(METRICS[m].title, m, seen(data.rows)) for m in data.shown],
        told=independence.note(data.metrics, seen(data.rows)),
        rates=[
            {"codec": codec, "cells": [differences[codec, m] for m in data.shown]}
            for codec in data.rows
            if codec != anchor
        ],
        partial=partial,
        curves=markup.svg(drawn),
        measured=[_measured(codec, of) for codec, of in data.rows.items()],
        made=list(dict.fromkeys((r.dpc, r.commit, r.tools) for r in rows)),
    )


def _table(data: _Set, section: Section, names: Sequence[str]) -> dict[str, Any]:
    """A section as the template takes it. A codec is never called the best by a metric that it has seen."""
    seen_by = independence.seen_by(seen(data.rows))
    fair = {m: [c for c in data.rows if c not in seen_by.get(m, ())] for m in data.shown}
    best = {m: _best(m, [section.cells[c, m] for c in fair[m]], section.pictures) for m in data.shown}
    lines = []
    for codec in data.rows:
        points = [(m, section.cells[codec, m]) for m in names]
        cells = [
            {"text": independence.marked(cell(m, point, section.pictures), m, seen(data.rows)[codec])}
            | {"best": bool(point and codec in fair.get(m, ()) and point.value == best[m])}
            for m, point in points
        ]
        lines.append({"codec": codec, "cells": cells})
    return {"title": section.title[0].upper() + section.title[1:], "lines": lines}


def _measured(codec: str, rows: Sequence[Row]) -> list[str]:
    """The line of a codec: version, settings, how many, seconds and memory."""
    memory = [r.memory_mb for r in rows if np.isfinite(r.memory_mb)]
    seconds = [_seconds(rows, name) for name in SECONDS]
    return [
        *(codec, rows[0].version, rows[0].settings, str(len({r.sha256 for r in rows})), str(len(rows))),
        *(f"{s:.3f}" if np.isfinite(s) else "–" for s in seconds),
        f"{max(memory):.0f}" if memory else "–",
    ]


def _best(metric: str, found: Sequence[curves.Point | None], pictures: int) -> float | None:
    values = [p.value for p in found if p and p.pictures == pictures]
    return (max if METRICS[metric].higher_is_better else min)(values, default=None)
