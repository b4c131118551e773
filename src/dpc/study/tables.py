"""The CSV files of a study's report. Every line that comes from votes says of which kind of raters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from dpc.study.collected import Collected
from dpc.study.plan import condition
from dpc.study.results import Group
from dpc.study.votes import Vote

__all__ = ["everybody", "tables"]

Table: TypeAlias = tuple[Sequence[str], list[Sequence[Any]]]

ANSWERS = ("a", "b", "not sure")
SIDES = ("left", "right", "")


def tables(groups: Sequence[Group], data: Collected) -> dict[str, Table]:
    """File name -> (columns, lines)."""
    found: dict[str, Table] = {}
    for name, (columns, lines) in _OF_A_GROUP.items():
        every: list[Sequence[Any]] = [(group.kind, *line) for group in groups for line in lines(group)]
        found[name] = (("rater_kind", *columns), every)
    if data.made is not None:
        found["stimuli.csv"] = _stimuli(data)
    return found


def _votes(group: Group) -> list[Sequence[Any]]:
    def line(v: Vote) -> Sequence[Any]:
        kept = "no" if v.rater in group.out_of else "yes"
        return (v.rater, v.picture, v.a, v.b, ANSWERS[v.answer], v.kind, SIDES[v.side], v.seconds, v.weight, kept)

    return [line(v) for v in group.data.votes]


def _raters(group: Group) -> list[Sequence[Any]]:
    lines: list[Sequence[Any]] = []
    for name, phase, screen, own in everybody(group.data):
        times = [v.seconds for v in own if math.isfinite(v.seconds)]
        reasons = group.out_of.get(name, ())
        lines.append(
            (
                *(name, phase, sum(v.kind == "pair" for v in own), *_attention(own, group.data.not_sure)),
                *(float(np.median(times)) if times else None, screen, "yes" if reasons else "no"),
                "; ".join(f"{r.rule}: {r.text}" for r in reasons),
            )
        )
    return lines


def _preferences(group: Group) -> list[Sequence[Any]]:
    return [
        (
            *(which, p.a, p.b, p.votes, p.for_a, p.for_b, p.not_sure, p.share, *p.wilson, *p.interval),
            "raters and pictures" if p.pictures else "raters",
        )
        for which, r in group.sets.items()
        for p in r.preferences
    ]


def _scores(group: Group) -> list[Sequence[Any]]:
    return [
        (
            *(which, s.condition, group.data.bpp.get(s.condition), s.davidson, *s.interval, s.bradley_terry, s.elo),
            *(*s.elo_interval, s.votes, s.group),
        )
        for which, r in group.sets.items()
        for s in r.scores.items
    ]


def _bits(group: Group) -> list[Sequence[Any]]:
    return [
        (which, b.anchor, b.test, b.percent, *(b.interval or (None, None)), b.overlap)
        for which, r in group.sets.items()
        for b in r.bits
    ]


def _metrics(group: Group) -> list[Sequence[Any]]:
    return [
        (which, m.metric, m.accuracy, *m.interval, r.ceiling, m.spearman, m.scores, m.votes)
        for which, r in group.sets.items()
        for m in r.metrics
    ]


_OF_A_GROUP = {
    "votes.csv": (
        ("rater", "picture", "a", "b", "answer", "kind", "side", "seconds", "weight", "kept"),
        _votes,
    ),
    "raters.csv": (
        (
            *("rater", "phase", "votes", "attention_right", "attention_asked", "median_seconds", "screen"),
            *("excluded", "why"),
        ),
        _raters,
    ),
    "preferences.csv": (
        (
            *("set", "a", "b", "votes", "for_a", "for_b", "not_sure", "share_a", "wilson_low", "wilson_high"),
            *("low", "high", "interval_over"),
        ),
        _preferences,
    ),
    "scores.csv": (
        (
            *("set", "condition", "bpp", "davidson", "low", "high", "bradley_terry", "elo", "elo_low", "elo_high"),
            *("votes", "group"),
        ),
        _scores,
    ),
    "bits.csv": (("set", "anchor", "test", "percent", "low", "high", "overlap"), _bits),
    "metrics.csv": (
        ("set", "metric", "accuracy", "low", "high", "ceiling", "spearman_pairs", "spearman_scores", "votes"),
        _metrics,
    ),
}


def _stimuli(data: Collected) -> Table:
    assert data.made is not None
    rates, names = data.made.plan.rates, list(data.values)
    lines: list[Sequence[Any]] = [
        (
            *(s.id, s.picture, s.kind, s.method, rates[s.rate] if s.rate >= 0 else "", s.bytes, s.bpp, s.quality),
            *(s.sha256, *(data.values[m].get((s.picture, condition(s, rates))) for m in names)),
        )
        for s in data.made.stimuli
    ]
    return ("id", "picture", "kind", "method", "rate", "bytes", "bpp", "quality", "sha256", *names), lines


def everybody(data: Collected) -> list[tuple[str, str, str, list[Vote]]]:
    """(name, phase, screen, votes) of every rater who is known by name."""
    own: dict[str, list[Vote]] = defaultdict(list)
    for v in data.votes:
        if v.rater:
            own[v.rater].append(v)
    if data.made is None:
        return [(name, "", "", votes) for name, votes in own.items()]
    found = []
    for person, screen in data.people:
        words = " ".join(f"{k}={v}" for k, v in screen.items())
        phase = person.phase + (f" ({person.reason})" if person.reason else "")
        found.append((person.name, phase, words, own.get(person.name, [])))
    return found


def _attention(own: Sequence[Vote], not_sure: bool) -> tuple[int, int]:
    checks = [v for v in own if v.kind == "trap" or (v.kind == "identical" and not_sure)]
    right = sum(v.answer == (2 if v.kind == "identical" else int(v.a != "original")) for v in checks)
    return right, len(checks)
