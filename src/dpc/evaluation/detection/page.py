"""The HTML page of a detection report: tables, curves, example pictures, and what was measured, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpc.evaluation import markup
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset
from dpc.evaluation.detection.points import FIGURES, Seen
from dpc.evaluation.detection.rows import ORIGINAL
from dpc.evaluation.detection.scoring import NAMES, SCORE, SIZES
from dpc.evaluation.detection.tables import Tables
from dpc.provenance import version_of

__all__ = ["page_of"]


def page_of(
    tables: Tables,
    seen: Sequence[Seen],
    data: Dataset,
    result: run.Result,
    resamples: int,
    drawn: Sequence[Sequence[str]],
    examples: Mapping[str, Any] | None,
) -> str:
    """The page. drawn: the curves of each detector in `seen`, as SVG. examples: see examples.make."""
    first = seen[0].rows if seen else {}
    curves = {s.detector.name: markup.svg(of) for s, of in zip(seen, drawn, strict=True)}
    by_name = {s.detector.name: s for s in seen}
    return markup.render(
        "detect.html",
        notes=data.notes,
        match=result.plan.match,
        tables=tables,
        resamples=resamples,
        score=SCORE,
        names=(*NAMES, "kept"),
        parts=[_part(name, by_name.get(name), tables) | {"curves": curves.get(name, [])} for name in tables.detectors],
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


def _part(name: str, one: Seen | None, tables: Tables) -> dict[str, Any]:
    """The part of a detector, or of the mean of all (one is None): its tables, and of one all that was measured."""
    part = {"name": name, "tables": [_table(name, figure, tables) for figure in FIGURES if tables.has(figure)]}
    if one is None:
        return part | {"about": "", "rates": [], "points": [], "left_out": []}
    points = [{"codec": "uncompressed", "point": one.original}]
    points += [{"codec": codec, "point": p} for codec, of in one.points.items() for p in of]
    found = [(codec, tables.rates.get((name, codec))) for codec in one.points if codec != tables.anchor]
    return part | {
        "about": f"{one.detector.settings}. {one.detector.version}.",
        "rates": [{"codec": c, "rate": rate and rate[0], "overlap": rate[1] if rate else 0.0} for c, rate in found],
        "points": points,
        "left_out": one.left_out,
    }


def _table(name: str, figure: str, tables: Tables) -> dict[str, Any]:
    """A figure of every codec at the rates, and the subject's minus that of the others."""

    def lines(of: Mapping[Any, Any], codecs: Sequence[str], *before: str) -> list[dict[str, Any]]:
        found = [(c, [of.get((name, figure, *before, c, g)) for g in tables.targets]) for c in codecs]
        return [{"codec": codec, "cells": cells} for codec, cells in found if any(cells)]

    return {
        "title": FIGURES[figure],
        "of_size": figure in SIZES[1:],
        "original": tables.originals.get((name, figure)) if figure != "kept" else None,
        "lines": lines(tables.spreads, tables.codecs),
        "differences": lines(tables.differences, tables.others(name), tables.subject),
    }
