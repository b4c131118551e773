"""What the rows say at the rates that were asked for: figures, differences of two codecs, rates at equal precision.

table.csv         detector, codec, quality or target, bpp, and all that pycocotools reports, of every measured point
at-rate.csv       detector, figure, codec, bpp, value, low, high
differences.csv   detector, figure, codec, other, bpp, figure of codec minus figure of other, low, high
bd-rate.csv       detector, codec, anchor, percent, low, high, share of the resamples that have it, overlap
table.md          figures at the rates, and the subject's minus those of the others, to be read

Beside the detectors stands their mean, of what all of them have: what a claim about more than one detector rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpc.evaluation import figures
from dpc.evaluation.detection.points import FIGURES, Seen, Spread, Values, rate_at_equal_ap, spread
from dpc.evaluation.detection.rows import ORIGINAL
from dpc.evaluation.detection.scoring import NAMES, SCORE
from dpc.evaluation.markup import percent, signed
from dpc.files import atomic_write

__all__ = ["Tables", "make", "save"]


@dataclass(frozen=True, eq=False)
class Tables:
    """detectors: their names, first the mean of all where there are several. codecs: those that a detector has.

    targets: bpp. anchor: what rates are compared with. subject: the codec that the others are set against. originals:
    (detector, figure) -> of the uncompressed pictures. spreads: (detector, figure, codec, bpp). differences: (detector,
    figure, codec, other, bpp) -> codec minus other. rates: (detector, codec) -> BD-rate against the anchor, overlap.
    """

    detectors: Sequence[str]
    codecs: Sequence[str]
    targets: Sequence[float]
    anchor: str
    subject: str
    originals: Mapping[tuple[str, str], Spread]
    spreads: Mapping[tuple[str, str, str, float], Spread]
    differences: Mapping[tuple[str, str, str, str, float], Spread]
    rates: Mapping[tuple[str, str], tuple[Spread, float]]

    def others(self, detector: str) -> list[str]:
        """The codecs that the subject is set against, of those that a detector has."""
        mine = {codec for name, _, codec, _ in self.spreads if name == detector}
        return [codec for codec in self.codecs if codec in mine - {self.subject}] if self.subject in mine else []

    def has(self, figure: str) -> bool:
        """Whether any codec has the figure at any rate: a set may have no boxes of a size."""
        return any(key[1] == figure for key in self.spreads)


def make(seen: Sequence[Seen], targets: Sequence[float], anchor: str, subject: str) -> Tables:
    """The tables of what detectors saw."""
    names = [s.detector.name for s in seen]
    codecs = list(dict.fromkeys(codec for s in seen for codec in s.points))
    at = {
        (s.detector.name, figure, c, g): there
        for s in seen
        for figure in FIGURES
        for c in s.points
        for g in targets
        if (there := s.at(c, g, figure))
    }
    whole = {(s.detector.name, f): (s.original.values[f], s.original.drawn[f]) for s in seen for f in FIGURES}
    if len(names) > 1:
        mean = f"mean of {len(names)} detectors"
        at |= _means(mean, names, at)
        whole |= _means(mean, names, whole)
        names = [mean, *names]
    differences = {
        (d, figure, codec, other, g): spread(value - against[0], drawn - against[1])
        for (d, figure, codec, g), (value, drawn) in at.items()
        for other in codecs
        if other != codec and (against := at.get((d, figure, other, g)))
    }
    rates = {
        (s.detector.name, codec): rate
        for s in seen
        for codec in s.points
        if codec != anchor and anchor in s.points and (rate := rate_at_equal_ap(s, anchor, codec))
    }
    originals = {key: spread(*of) for key, of in whole.items()}
    spreads = {key: spread(*of) for key, of in at.items()}
    return Tables(names, codecs, targets, anchor, subject, originals, spreads, differences, rates)


def _means(mean: str, names: Sequence[str], at: Mapping[Any, tuple[float, Values]]) -> dict[Any, tuple[float, Values]]:
    """(mean, ...) -> the mean over the detectors, of the set and of every resample, where all of them have it."""
    found = {}
    for rest in dict.fromkeys(key[1:] for key in at):
        of = [at[(name, *rest)] for name in names if (name, *rest) in at]
        if len(of) == len(names):
            values, drawn = zip(*of, strict=True)
            found[(mean, *rest)] = float(np.mean(values)), np.mean(drawn, 0)
    return found


def save(tables: Tables, seen: Sequence[Seen], out: Path, files: dict[str, Path]) -> None:
    """Write all files into out and note them in files."""

    def table(name: str, header: str, lines: Iterable[Sequence[Any]]) -> None:
        figures.save_table(out, name, header.split(), lines, files)

    table(
        "table.csv",
        f"detector codec point pictures bpp {' '.join(NAMES)} kept AP_low AP_high",
        [
            (
                *(s.detector.name, codec, p.label, s.pictures, p.bpp),
                *(p.values[n] for n in (*NAMES, "kept")),
                *(around.low, around.high),
            )
            for s in seen
            for codec, points in [(ORIGINAL, [s.original]), *s.points.items()]
            for p in points
            for around in [spread(p.values["AP"], p.drawn["AP"])]
        ],
    )
    lines = [(*key, s.value, s.low, s.high) for key, s in tables.spreads.items()]
    table("at-rate.csv", "detector figure codec bpp value low high", lines)
    pairs = [(*key, s.value, s.low, s.high) for key, s in tables.differences.items()]
    table("differences.csv", "detector figure codec other bpp difference low high", pairs)
    table(
        "bd-rate.csv",
        "detector codec anchor percent low high share overlap",
        [
            (d, c, tables.anchor, s.value, s.low, s.high, s.share, overlap)
            for (d, c), (s, overlap) in tables.rates.items()
        ],
    )
    files["table.md"] = out / "table.md"
    atomic_write(files["table.md"], markdown(tables))


def markdown(tables: Tables) -> str:
    """Figures at the rates and the subject's minus those of the others, in percent."""
    lines = [
        "Percent, at equal mean rates, and in brackets 95 % intervals over the pictures. Detections kept: of what a "
        f"detector finds in the uncompressed picture with a score of {SCORE} or more, the share that it finds again. "
        "Differences are in percentage points, of the same resamples for both; bold where the interval lies on one "
        "side of 0: only there a difference is shown."
    ]
    for figure, title in FIGURES.items():
        if tables.has(figure):
            lines += ["", f"## {title}", "", *_figures(tables, figure)]
            if any(map(tables.others, tables.detectors)):
                lines += ["", f"### {title}: {tables.subject} minus the others", "", *_differences(tables, figure)]
    return "\n".join(lines) + "\n"


def _figures(tables: Tables, figure: str) -> list[str]:
    lines = _head("codec", tables.targets)
    for d in tables.detectors:
        if figure != "kept":
            original = _cell(tables.originals.get((d, figure)), percent)
            lines.append(_line(d, "uncompressed, at any rate", original, *[""] * (len(tables.targets) - 1)))
        for c in tables.codecs:
            cells = [tables.spreads.get((d, figure, c, g)) for g in tables.targets]
            lines += [_line(d, c, *(_cell(cell, percent) for cell in cells))] if any(cells) else []
    return lines


def _differences(tables: Tables, figure: str) -> list[str]:
    lines = _head("other", tables.targets)
    for d in tables.detectors:
        for c in tables.others(d):
            cells = [tables.differences.get((d, figure, tables.subject, c, g)) for g in tables.targets]
            lines.append(_line(d, c, *(_cell(cell, signed) for cell in cells)))
    return lines


def _head(second: str, targets: Sequence[float]) -> list[str]:
    return [_line("detector", second, *(f"{g:g} bpp" for g in targets)), "|---" * (2 + len(targets)) + "|"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(found: Spread | None, show: Callable[[float], str]) -> str:
    """A value and its interval; a difference is bold where it is shown."""
    if found is None:
        return "–"
    value = show(found.value)
    if show is signed and found.excludes_zero:
        value = f"**{value}**"
    return value if math.isnan(found.low) else f"{value} ({show(found.low)} to {show(found.high)})"
