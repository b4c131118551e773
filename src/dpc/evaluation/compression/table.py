"""Tables of rows: all codecs at the same rates, and each picture at the size of its file in a precomputed folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpc.evaluation import independence
from dpc.evaluation.compression import curves
from dpc.evaluation.compression.rows import Row
from dpc.evaluation.kinds import KINDS
from dpc.evaluation.metrics import METRICS
from dpc.evaluation.metrics.reference import PEAKS
from dpc.evaluation.metrics.spectrum import PERIODS, SUSPECT

__all__ = ["SECONDS", "Section", "cell", "head", "markdown", "measured", "sections", "seen"]

SECONDS = ("encode_s", "decode_s")


@dataclass(frozen=True)
class Section:
    """One table. bpp: the rate, or the mean of the pictures' rates. at: name and quality of a precomputed folder, or
    nothing. kind: of the pictures, "" for all. pictures: how many there are. cells: (codec, metric) -> mean (median for
    the peaks), None where no picture has a value."""

    bpp: float
    at: str
    pictures: int
    cells: Mapping[tuple[str, str], curves.Point | None]
    kind: str = ""

    @property
    def title(self) -> str:
        if self.kind:
            return f"{self.bpp:g} bpp, {self.kind} ({self.pictures} of the pictures)"
        if not self.at:
            return f"{self.bpp:g} bpp"
        return f"every picture at its size in {self.at}: mean {self.bpp:.3f} bpp"


def measured(rows: Sequence[Row]) -> list[str]:
    """The metrics that some row has a value of, those first that no codec was trained on or selected by."""
    names = {name for row in rows for name, value in row.metrics.items() if not math.isnan(value)}
    cells = {f"{row.codec} {row.version}": row.seen for row in rows}
    return independence.leading([name for name in (*METRICS, *PEAKS) if name in names], cells)


def seen(data: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Codec -> what it was trained on or selected by. data: see figures.by_codec."""
    return {codec: rows[-1].seen for codec, rows in data.items() if rows}


def head(name: str, data: Mapping[str, Sequence[Row]]) -> str:
    """The head of a metric's column: title, direction, and a mark where a codec of the table has seen it."""
    metric = METRICS[name]
    title = f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"
    return independence.heading(title, name, seen(data))


def sections(data: Mapping[str, Sequence[Row]], rates: Sequence[float]) -> list[Section]:
    """A table for each rate, for each quality of each precomputed folder, and for each kind of pictures and rate.

    data: see figures.by_codec.
    """
    found = _sections(data, rates)
    named = {row.kind for rows in data.values() for row in rows}
    if len(named) > 1:
        for kind in sorted(named - {""}, key=lambda k: (KINDS.index(k) if k in KINDS else len(KINDS), k)):
            part = {codec: [row for row in rows if row.kind == kind] for codec, rows in data.items()}
            found += [replace(section, kind=kind) for section in _sections(part, rates) if not section.at]
    return found


def _sections(data: Mapping[str, Sequence[Row]], rates: Sequence[float]) -> list[Section]:
    """The tables of all pictures together."""
    names = (*measured([row for rows in data.values() for row in rows]), *SECONDS)
    points = {(codec, name): curves.points(rows, name) for codec, rows in data.items() for name in names}
    pictures = {row.sha256 for rows in data.values() for row in rows}
    targets: list[tuple[str, Mapping[str, float]]] = [("", dict.fromkeys(pictures, rate)) for rate in rates]
    for codec, rows in data.items():
        files: dict[float, dict[str, float]] = {}
        for row in rows:
            if row.precomputed:
                files.setdefault(row.quality, {})[row.sha256] = row.bpp
        ordered = sorted(files.items(), key=lambda item: float(np.mean(list(item[1].values()))))
        targets += [(f"{codec} {quality:g}", target) for quality, target in ordered]
    return [
        Section(
            float(np.mean(list(target.values()))) if at else next(iter(target.values())),
            at,
            len(target),
            {key: curves.mean_at(found, target, median=key[1] in PEAKS) for key, found in points.items()},
        )
        for at, target in targets
    ]


def cell(metric: str, point: curves.Point | None, pictures: int) -> str:
    """A mean as text, and behind it how many pictures it is of where not all have a value."""
    if point is None:
        return independence.NO_VALUE
    digits = 1 if metric in PEAKS else 2 if metric in SECONDS else METRICS[metric].digits
    return f"{point.value:.{digits}f}" + (f" ({point.pictures})" if point.pictures < pictures else "")


def _together(between: str, texts: Sequence[str]) -> str:
    """Several means of the same pictures in one cell, the number of pictures once."""
    values, counts = zip(*(text.partition(" ")[::2] for text in texts), strict=True)
    return between.join(values) + next((f" {count}" for count in counts if count), "")


def markdown(data: Mapping[str, Sequence[Row]], rates: Sequence[float]) -> str:
    """All `sections` in Markdown."""
    names = measured([row for rows in data.values() for row in rows])
    shown = [name for name in names if name not in PEAKS]
    peaks = [name for name in names if name in PEAKS]
    heads = [head(name, data) for name in shown]
    heads += [f"peaks {' '.join(name.removeprefix('peak_') for name in peaks)}"] if peaks else []
    heads += ["encode, decode s"]
    lines = [
        "Means over the pictures, each interpolated linearly in log bpp between its own files, without extrapolation. "
        "In brackets: how many pictures have a value, where not all have; do not compare such a mean with the others."
    ]
    if peaks:
        lines[0] += (
            f" Peaks: median of the error spectrum's ratio at periods of {', '.join(map(str, PERIODS))} pixels; "
            f"1 is none, above {SUSPECT:g} is a pattern."
        )
    if told := independence.note(names, seen(data)):
        lines[0] += f" {told}"
    for section in sections(data, rates):
        lines += ["", f"| {section.title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for codec in data:
            texts = {name: cell(name, section.cells[codec, name], section.pictures) for name in (*names, *SECONDS)}
            told = data[codec][-1].seen if data[codec] else ""
            cells = [independence.marked(texts[name], name, told) for name in shown]
            cells += [_together(" ", [texts[name] for name in peaks])] if peaks else []
            cells += [_together(", ", [texts[name] for name in SECONDS])]
            if any(section.cells[codec, name] for name in names):
                lines.append(f"| {codec} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
