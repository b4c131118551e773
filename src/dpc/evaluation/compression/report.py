"""The report of rows: tables, curves and rate differences in one page, and each as a file of its own.

report.html            everything, with its pictures inside; nothing is fetched
table.csv              codec, rate, metric, mean, pictures, and the precomputed folder whose sizes were met, if any
table.md               the same to read
bd-rate.csv            codec, anchor, metric, percent, pictures, overlap
curve-METRIC.csv       codec, bpp, mean
curve-METRIC.svg, .png and speed.svg, .png
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpc.errors import OptionError
from dpc.evaluation import figures, independence
from dpc.evaluation.compression import curves
from dpc.evaluation.compression.drawing import curve_of
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
LEAST_FILES = 4  # of each picture, for a codec to be the anchor without being asked for


@dataclass(frozen=True)
class _Set:
    """The rows of one report, by codec."""

    rows: dict[str, list[Row]]
    metrics: list[str]
    pictures: int

    def points(self, codec: str, metric: str) -> dict[str, list[tuple[float, float]]]:
        return curves.points(self.rows[codec], metric)

    def enough(self, codec: str) -> bool:
        """Whether a rate difference against a codec can be known: four files of each of its pictures."""
        files = Counter(row.sha256 for row in self.rows.get(codec, ()))
        return bool(files) and min(files.values()) >= LEAST_FILES


def report(
    paths: Sequence[Path],
    out: Path,
    rates: Sequence[float] = RATES,
    anchor: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write the report of one or several rows.csv (or folders that hold one) into out; name -> file.

    A codec under one name with two versions or settings is told apart. anchor: the codec of the rate differences; by
    default the first of ANCHORS that is there. kinds: of the pictures, in place of those in the rows. Raises
    OptionError, ToolMissing (matplotlib, bjontegaard).
    """
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
    if anchor is None:
        anchor = next((name for name in ANCHORS if data.enough(name)), next(iter(data.rows)))
    if anchor not in data.rows:
        raise OptionError(f"anchor {anchor!r} is not among the codecs {', '.join(data.rows)}")
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}

    def table(name: str, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
        figures.save_table(out, name, header, lines, written)

    tables = sections(data.rows, rates)
    table(
        "table.csv",
        ("codec", "bpp", "metric", "mean", "pictures", "at", "kind"),
        [
            (*key, point.value, point.pictures, section.at, section.kind)
            for section in tables
            for (codec, metric), point in section.cells.items()
            if point
            for key in [(codec, section.bpp, metric)]
        ],
    )
    written["table.md"] = out / "table.md"
    atomic_write(written["table.md"], markdown(data.rows, rates))
    shown = [m for m in data.metrics if m not in PEAKS]
    differences = {
        (codec, metric): curves.rate_difference(data.points(anchor, metric), data.points(codec, metric), metric)
        for codec in data.rows
        for metric in shown
        if codec != anchor
    }
    table(
        "bd-rate.csv",
        ("codec", "anchor", "metric", "percent", "pictures", "overlap"),
        [(c, anchor, m, d.percent, d.pictures, d.overlap) for (c, m), d in differences.items() if d],
    )
    pictures = []
    partial: dict[str, int] = {}
    for metric in shown:
        lines = {codec: curves.curve(data.points(codec, metric), data.pictures) for codec in data.rows}
        table(
            f"curve-{metric}.csv",
            ("codec", "bpp", "mean"),
            [(codec, *point) for codec, line in lines.items() for point in line],
        )
        counts = {codec: len(data.points(codec, metric)) for codec in data.rows}
        partial |= {codec: count for codec, count in counts.items() if 0 < count < data.pictures}
        if any(lines.values()):
            pictures.append(
                figures.save(curve_of(metric, lines, data.rows, seen(data.rows)), out, f"curve-{metric}", written)
            )
    speed = _speed(data, differences, anchor)
    if speed:
        pictures.append(figures.save(speed, out, "speed", written))
    written["report.html"] = out / "report.html"
    atomic_write(written["report.html"], _page(data, tables, anchor, differences, pictures, partial))
    return written


def _seconds(rows: Sequence[Row], name: str) -> float:
    """Median seconds per megapixel."""
    values = np.array([getattr(r, name) / (r.width * r.height / 1e6) for r in rows])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _speed(data: _Set, differences: dict[tuple[str, str], curves.Difference | None], anchor: str) -> Figure | None:
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
    differences: dict[tuple[str, str], curves.Difference | None],
    pictures: Sequence[str],
    partial: dict[str, int],
) -> str:
    text = html.escape
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Codecs compared</title><style>{figures.STYLE}</style></head><body><h1>Codecs compared</h1>",
        f"<p>{data.pictures} pictures, {sum(map(len, data.rows.values()))} files. Rates count every byte of a file; "
        "metrics are those of the decoded 8-bit picture. Each picture is interpolated by itself, linearly in log bpp "
        "between its own files, without extrapolation; then the mean is taken over the pictures. A number in brackets "
        "is how many pictures have that rate, where not all have: do not compare such a mean with the others.</p>",
    ]
    shown = [m for m in data.metrics if m not in PEAKS]
    peaks = [m for m in data.metrics if m in PEAKS]
    if told := independence.note(data.metrics, seen(data.rows)):
        parts.append(f"<p class=note>{text(told)}</p>")
    for section in tables:
        parts.append(
            f"<h2>{text(section.title[0].upper() + section.title[1:])}</h2><div class=scroll><table><tr><th>codec"
        )
        parts += [f"<th>{text(head(m, data.rows))}" for m in shown]
        parts += [f"<th>peak {m.removeprefix('peak_')}" for m in peaks]
        parts += ["<th>encode s<th>decode s</tr>"]
        best = {m: _best(m, [section.cells[c, m] for c in data.rows], section.pictures) for m in shown}
        for codec in data.rows:
            parts.append(f"<tr><td>{text(codec)}")
            for m in (*shown, *peaks, *SECONDS):
                point = section.cells[codec, m]
                mark = " class=best" if point and m in best and point.value == best[m] else ""
                parts.append(f"<td{mark}>{cell(m, point, section.pictures)}")
            parts.append("</tr>")
        parts.append("</table></div>")
    if peaks:
        parts.append(
            "<p class=note>Peaks: median of the error spectrum's ratio at periods of that many pixels to its "
            f"surroundings; 1 is none, above {SUSPECT:g} is a visible pattern.</p>"
        )
    parts.append(
        f"<h2>Rate at equal quality</h2><p>BD-rate against {text(anchor)} in percent: negative needs fewer bits. Per "
        "picture (package bjontegaard, pchip), then the mean; below it the number of pictures and the mean share of "
        "the two codecs' ranges of values that overlaps. Read those of a small overlap with caution.</p>"
        "<div class=scroll><table><tr><th>codec"
    )
    parts += [f"<th>{text(independence.heading(METRICS[m].title, m, seen(data.rows)))}" for m in shown]
    parts.append("</tr>")
    for codec in data.rows:
        if codec != anchor:
            parts.append(f"<tr><td>{text(codec)}")
            for m in shown:
                d = differences[codec, m]
                parts.append(
                    f"<td>{d.percent:+.1f} %<br><small>{d.pictures}, overlap {d.overlap:.0%}</small>" if d else "<td>–"
                )
            parts.append("</tr>")
    parts.append("</table></div><h2>Curves</h2>")
    if partial:
        said = ", ".join(f"{text(codec)} ({count} of {data.pictures})" for codec, count in partial.items())
        parts.append(f"<p class=note>Curves are drawn of codecs that have all pictures. These have fewer: {said}.</p>")
    parts += [f"<figure>{picture}</figure>" for picture in pictures]
    parts.append(
        "<h2>What was measured</h2><div class=scroll><table><tr><th>codec<th>version<th>settings<th>pictures<th>files"
        "<th>encode, s/MP<th>decode, s/MP<th>memory, MB</tr>"
    )
    for codec, rows in data.rows.items():
        first = rows[0]
        memory = [r.memory_mb for r in rows if np.isfinite(r.memory_mb)]
        cells = [
            text(codec),
            text(first.version),
            text(first.settings),
            str(len({r.sha256 for r in rows})),
            str(len(rows)),
            *(f"{s:.3f}" if np.isfinite(s := _seconds(rows, n)) else "–" for n in ("encode_s", "decode_s")),
            f"{max(memory):.0f}" if memory else "–",
        ]
        parts.append("<tr>" + "".join(f"<td>{c}" for c in cells) + "</tr>")
    parts.append("</table></div>")
    measurers = dict.fromkeys((r.dpc, r.commit, r.tools) for rows in data.rows.values() for r in rows)
    for version, commit, tools in measurers:
        parts.append(f"<p class=note>dpc {text(version)}, commit {text(commit or 'unknown')}; {text(tools)}</p>")
    parts.append("</body></html>\n")
    return "".join(parts)


def _best(metric: str, found: Sequence[curves.Point | None], pictures: int) -> float | None:
    values = [p.value for p in found if p and p.pictures == pictures]
    return (max if METRICS[metric].higher_is_better else min)(values, default=None)
