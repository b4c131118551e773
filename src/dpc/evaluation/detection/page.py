"""The HTML page of a detection report: tables, curves, example pictures, and what was measured, in one file."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from dpc.evaluation import figures
from dpc.evaluation.detection import examples as pictures_of
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset
from dpc.evaluation.detection.points import Seen, Spread, percent, spread
from dpc.evaluation.detection.rows import ORIGINAL
from dpc.evaluation.detection.scoring import NAMES
from dpc.provenance import version_of

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


def page_of(
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
    drawn: Sequence[Sequence[str]],
    shown: str | None,
) -> str:
    """The page. drawn: the curves of each detector in `seen`, as SVG. shown: the example pictures, as HTML."""
    plan = result.plan
    how = (
        "Rates are matched on average: all pictures are coded at one quality, so that some files are larger and others "
        "smaller than the mean, and precision between two mean rates is interpolated linearly in log bpp."
        if plan.match == "average"
        else "Rates are matched per picture: every file is as near to the goal as its codec comes, and precision "
        "between two mean rates is interpolated linearly in log bpp."
    )
    intervals = (
        f"Intervals are 1.96 standard deviations of {resamples} resamples of the pictures (drawn with replacement, the "
        "same for every codec) to each side. They say how far a figure depends on which pictures were tested; a "
        "difference whose interval holds 0 shows nothing. A BD-rate has an interval where nine of ten resamples have a "
        "BD-rate."
        if resamples
        else "No intervals were computed."
    )
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        "<link rel=icon href=data:,>",
        f"<title>Detection on compressed pictures</title><style>{figures.STYLE}{pictures_of.STYLE}</style></head>",
        "<body><h1>Detection on compressed pictures</h1><main>",
        "".join(f"<p>{_text(note)}</p>" for note in data.notes),
        f"<p>{how} Rates count every byte of a file; pictures are coded at their native size. {intervals}</p>",
        "<p>AP is the average precision of COCO in percent, by pycocotools, over IoU 0.50 to 0.95 and all sizes; AR is "
        "average recall with 100 boxes.</p>",
    ]
    heads = ["codec", *(f"{g:g} bpp" for g in goals)]
    for s, pictures in zip(seen, drawn, strict=True):
        name = s.detector.name
        parts.append(
            f"<h2>{_text(name)}</h2><p class=note>{_text(s.detector.settings)}. {_text(s.detector.version)}.</p>"
        )
        whole = spread(s.original.values["AP"], s.original.aps)
        parts.append("<h3>AP at equal bytes</h3>")
        best = {g: max((x.value for c in s.points if (x := spreads.get((name, c, g)))), default=0) for g in goals}
        lines = []
        for codec in s.points:
            cells = []
            for g in goals:
                found = spreads.get((name, codec, g))
                cells.append(_spread(found, percent, " class=best" if found and found.value == best[g] else ""))
            lines.append(f"<tr><th scope=row>{_text(codec)}{''.join(cells)}")
        cell = _spread(whole, percent).replace("<td", f"<td colspan={len(goals)}", 1)
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
        parts += [f"<figure>{picture}</figure>" for picture in pictures]
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
            + "".join(f"<td>{percent(p.values[n])}" for n in NAMES)
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
    parts.append(f"<p class=note>pycocotools {version_of('pycocotools')}; annotations {data.sha256}</p>")
    parts.append("</main></body></html>\n")
    return "".join(parts)
