"""The HTML page of a detection report: tables, curves, example pictures, and what was measured, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpc.evaluation import markup
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset
from dpc.evaluation.detection.points import FIGURES, Seen, Spread, spread
from dpc.evaluation.detection.rows import ORIGINAL
from dpc.evaluation.detection.scoring import NAMES, SCORE
from dpc.provenance import version_of

__all__ = ["page_of"]

Spreads = Mapping[tuple[str, str, str, float], Spread]
Differences = Mapping[tuple[str, str, str, str, float], Spread]
Rates = Mapping[tuple[str, str], tuple[Spread, float]]


def page_of(
    seen: Sequence[Seen],
    data: Dataset,
    result: run.Result,
    targets: Sequence[float],
    resamples: int,
    anchor: str,
    subject: str,
    spreads: Spreads,
    differences: Differences,
    rates: Rates,
    drawn: Sequence[Sequence[str]],
    examples: Mapping[str, Any] | None,
) -> str:
    """The page. drawn: the curves of each detector in `seen`, as SVG. examples: see examples.make."""
    first = seen[0].rows if seen else {}
    return markup.render(
        "detect.html",
        notes=data.notes,
        match=result.plan.match,
        targets=targets,
        resamples=resamples,
        anchor=anchor,
        subject=subject,
        score=SCORE,
        names=(*NAMES, "kept"),
        detectors=[
            _detector(s, targets, anchor, subject, spreads, differences, rates, curves)
            for s, curves in zip(seen, drawn, strict=True)
        ],
        examples=examples,
        missing=result.missing,
        measured=[
            {"codec": codec, "version": rows[0].version, "settings": rows[0].settings}
            for codec, rows in first.items()
            if codec != ORIGINAL
        ],
        made=list(dict.fromkeys((r.dpc, r.commit, r.tools) for r in result.rows)),
        pycocotools=version_of("pycocotools"),
        sha256=data.sha256,
        percent=markup.percent,
        signed=markup.signed,
        rate=lambda value: f"{value:+.0f} %",
    )


def _detector(
    s: Seen,
    targets: Sequence[float],
    anchor: str,
    subject: str,
    spreads: Spreads,
    differences: Differences,
    rates: Rates,
    curves: Sequence[str],
) -> dict[str, Any]:
    """The part of a detector."""
    points = [{"codec": "uncompressed", "point": s.original}]
    points += [{"codec": codec, "point": p} for codec, of in s.points.items() for p in of]
    found = [(codec, rates.get((s.detector.name, codec))) for codec in s.points if codec != anchor]
    return {
        "name": s.detector.name,
        "settings": s.detector.settings,
        "version": s.detector.version,
        "tables": [_table(s, figure, targets, subject, spreads, differences) for figure in FIGURES],
        "curves": markup.svg(curves),
        "rates": [{"codec": c, "rate": rate and rate[0], "overlap": rate[1] if rate else 0.0} for c, rate in found],
        "points": points,
        "left_out": s.left_out,
    }


def _table(
    s: Seen, figure: str, targets: Sequence[float], subject: str, spreads: Spreads, differences: Differences
) -> dict[str, Any]:
    """A figure of every codec at the rates, and the subject's minus that of the others."""
    name = s.detector.name
    lines = [{"codec": c, "cells": [spreads.get((name, figure, c, g)) for g in targets]} for c in s.points]
    others = [codec for codec in s.points if codec != subject] if subject in s.points else []
    best = [max((x.value for c in s.points if (x := spreads.get((name, figure, c, g)))), default=0) for g in targets]
    return {
        "title": FIGURES[figure],
        "lines": lines,
        "best": best,
        "original": spread(s.original.values[figure], s.original.drawn[figure]) if figure != "kept" else None,
        "differences": [
            {"codec": other, "cells": [differences.get((name, figure, subject, other, g)) for g in targets]}
            for other in others
        ],
    }
