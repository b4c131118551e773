"""The CSV files of a study's report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dpc.study.collected import Collected
from dpc.study.exclusions import Reason
from dpc.study.plan import condition
from dpc.study.results import Results
from dpc.study.votes import Vote

__all__ = ["everybody", "tables"]


def tables(
    table: Callable[[str, Sequence[str], Sequence[Sequence[Any]]], None],
    data: Collected,
    sets: Mapping[str, Results],
    out_of: Mapping[str, Sequence[Reason]],
) -> None:
    answers = ("a", "b", "not sure")
    table(
        "votes.csv",
        ("rater", "picture", "a", "b", "answer", "kind", "side", "seconds", "weight", "kept"),
        [
            (
                v.rater,
                v.picture,
                v.a,
                v.b,
                answers[v.answer],
                v.kind,
                ("left", "right", "")[v.side],
                v.seconds,
                v.weight,
                "no" if v.rater in out_of else "yes",
            )
            for v in data.votes
        ],
    )
    table(
        "people.csv",
        (
            "rater",
            "phase",
            "votes",
            "attention_right",
            "attention_asked",
            "median_seconds",
            "screen",
            "excluded",
            "why",
        ),
        [
            (
                name,
                phase,
                sum(v.kind == "pair" for v in own),
                *_attention(own, data.not_sure),
                float(np.median(times)) if (times := [v.seconds for v in own if math.isfinite(v.seconds)]) else None,
                screen,
                "yes" if name in out_of else "no",
                "; ".join(f"{r.rule}: {r.text}" for r in out_of.get(name, ())),
            )
            for name, phase, screen, own in everybody(data)
        ],
    )
    table(
        "preferences.csv",
        (
            *("set", "a", "b", "votes", "for_a", "for_b", "not_sure", "share_a", "wilson_low", "wilson_high"),
            *("low", "high", "interval_over"),
        ),
        [
            (
                *(which, p.a, p.b, p.votes, p.for_a, p.for_b, p.not_sure, p.share, *p.wilson, *p.interval),
                "people and pictures" if p.pictures else "people",
            )
            for which, r in sets.items()
            for p in r.preferences
        ],
    )
    table(
        "scores.csv",
        (
            *("set", "condition", "bpp", "davidson", "low", "high", "bradley_terry", "elo", "elo_low", "elo_high"),
            *("votes", "group"),
        ),
        [
            (
                *(which, s.condition, data.bpp.get(s.condition), s.davidson, *s.interval, s.bradley_terry, s.elo),
                *(*s.elo_interval, s.votes, s.group),
            )
            for which, r in sets.items()
            for s in r.scores.items
        ],
    )
    table(
        "bits.csv",
        ("set", "anchor", "test", "percent", "low", "high", "overlap"),
        [
            (which, b.anchor, b.test, b.percent, *(b.interval or (None, None)), b.overlap)
            for which, r in sets.items()
            for b in r.bits
        ],
    )
    table(
        "metrics.csv",
        ("set", "metric", "accuracy", "low", "high", "ceiling", "spearman_pairs", "spearman_scores", "votes"),
        [
            (which, m.metric, m.accuracy, *m.interval, r.ceiling, m.spearman, m.scores, m.votes)
            for which, r in sets.items()
            for m in r.metrics
        ],
    )
    if data.made is not None:
        made = data.made
        names = list(data.values)
        table(
            "stimuli.csv",
            ("id", "picture", "kind", "method", "rate", "bytes", "bpp", "quality", "sha256", *names),
            [
                (
                    *(
                        s.id,
                        s.picture,
                        s.kind,
                        s.method,
                        made.plan.rates[s.rate] if s.rate >= 0 else "",
                        s.bytes,
                        s.bpp,
                    ),
                    *(s.quality, s.sha256),
                    *(data.values[m].get((s.picture, condition(s, made.plan.rates))) for m in names),
                )
                for s in made.stimuli
            ],
        )


def everybody(data: Collected) -> list[tuple[str, str, str, list[Vote]]]:
    """(name, phase, screen, votes) of everybody who is known by name."""
    own: dict[str, list[Vote]] = defaultdict(list)
    for v in data.votes:
        if v.rater:
            own[v.rater].append(v)
    if data.made is None:
        return [(name, "", "", votes) for name, votes in own.items()]
    simulated = bool(data.votes) and data.votes[0].simulated
    found = []
    for person, screen in data.people:
        if person.simulated == simulated:
            words = " ".join(f"{k}={v}" for k, v in screen.items())
            phase = person.phase + (f" ({person.reason})" if person.reason else "")
            found.append((person.name, phase, words, own.get(person.name, [])))
    return found


def _attention(own: Sequence[Vote], not_sure: bool) -> tuple[int, int]:
    checks = [v for v in own if v.kind == "trap" or (v.kind == "identical" and not_sure)]
    right = sum(v.answer == (2 if v.kind == "identical" else int(v.a != "original")) for v in checks)
    return right, len(checks)
