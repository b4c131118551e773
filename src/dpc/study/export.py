"""Votes in the form that other programs read: choix (Python), BradleyTerry2 (R). docs/guide/study.md has examples.

choix.csv           one line for each vote that was decided, two of half the weight for one that was not
bradley-terry.csv   one line for each picture and pair of conditions, with counts
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpc.errors import OptionError
from dpc.evaluation import figures
from dpc.study.collected import read_study, read_table
from dpc.study.exclusions import exclusions
from dpc.study.records import RATER_KINDS
from dpc.study.votes import NOT_SURE, Vote

__all__ = ["export"]


def export(source: Path, out: Path, url: str | None = None) -> dict[str, Path]:
    """Write the votes on pairs of a study's folder, or of a table of votes; the files. OptionError for no votes."""
    data = read_study(source, url, [], None, lambda line: None) if source.is_dir() else read_table(source)
    kept: list[tuple[str, Vote]] = []
    for kind in RATER_KINDS:
        own = [v for v in data.votes if v.rater_kind == kind]
        out_of = exclusions(own, data.rules, data.not_sure)
        kept += [("no" if v.rater in out_of else "yes", v) for v in own if v.kind == "pair"]
    if not kept:
        raise OptionError(f"{source} holds no votes yet; let people take part (dpc study serve), then export")
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    columns = ("rater_kind", "rater", "picture", "winner", "loser", "weight", "kept")
    figures.save_table(out, "choix.csv", columns, [line for k, v in kept for line in _decided(k, v)], files)
    counted = ("rater_kind", "kept", "picture", "player1", "player2", "win1", "win2", "not_sure")
    figures.save_table(out, "bradley-terry.csv", counted, _counted(kept), files)
    return files


def _decided(kept: str, v: Vote) -> list[Sequence[Any]]:
    """The lines of a vote: who won, and with what weight."""
    ends = [(v.a, v.b), (v.b, v.a)]
    weight = v.weight if v.answer != NOT_SURE else v.weight / 2
    shown = ends if v.answer == NOT_SURE else [ends[v.answer]]
    return [(v.rater_kind, v.rater, v.picture, *pair, weight, kept) for pair in shown]


def _counted(kept: Sequence[tuple[str, Vote]]) -> list[Sequence[Any]]:
    counts: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for mark, v in kept:
        a, b = sorted((v.a, v.b))
        answer = v.answer if v.a == a or v.answer == NOT_SURE else 1 - v.answer
        counts[v.rater_kind, mark, v.picture, a, b][answer] += v.weight
    return [(*key, *own) for key, own in sorted(counts.items())]
