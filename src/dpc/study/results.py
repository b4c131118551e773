"""All that is computed of the votes of one kind of raters, with and without those who are set aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpc.study import bits, preferences, ranking
from dpc.study.agreement import Agreement, Correlation, agreement, correlations
from dpc.study.collected import Collected
from dpc.study.exclusions import Reason, exclusions
from dpc.study.records import RATER_KINDS, RaterKind
from dpc.study.votes import Vote

__all__ = ["NAMES", "Group", "Results", "analyse", "groups"]

NAMES = {"people": "people", "model": "models", "simulated": "simulated raters"}
"""What raters of each kind are called on pages."""


@dataclass(frozen=True)
class Results:
    """All that is computed of one set of votes."""

    votes: list[Vote]
    raters: int
    preferences: list[preferences.Preference]
    scores: ranking.Scores
    bits: list[bits.Bits]
    agreement: Agreement
    metrics: list[Correlation]
    ceiling: float


@dataclass(frozen=True)
class Group:
    """Raters of one kind. data: with their votes only. out_of: who is set aside, and why. sets: "kept" and "all"."""

    kind: RaterKind
    data: Collected
    out_of: Mapping[str, Sequence[Reason]]
    sets: Mapping[str, Results]


def groups(data: Collected, resamples: int) -> list[Group]:
    """One for each kind of raters that has votes on pairs, people first: kinds are never mixed."""
    there = {v.rater_kind for v in data.votes if v.kind == "pair"}
    return [_group(data, kind, resamples) for kind in RATER_KINDS if kind in there]


def _group(data: Collected, kind: RaterKind, resamples: int) -> Group:
    own = dataclasses.replace(
        data,
        votes=[v for v in data.votes if v.rater_kind == kind],
        people=[(person, screen) for person, screen in data.people if person.kind == kind],
        notes=list(data.notes),
    )
    out_of = exclusions(own.votes, own.rules, own.not_sure)
    kept = [v for v in own.votes if v.rater not in out_of]
    if not any(v.kind == "pair" for v in kept):
        own.notes.append("Everybody is set aside by the rules, so both sets below hold all votes.")
        kept = own.votes
    return Group(kind, own, out_of, {"kept": analyse(own, kept, resamples), "all": analyse(own, own.votes, resamples)})


def analyse(data: Collected, votes: list[Vote], resamples: int) -> Results:
    """Everything for one set of votes."""
    scored = ranking.score(votes, data.not_sure)
    metrics, ceiling = correlations(votes, data.values, data.higher, scored, resamples)
    return Results(
        votes,
        len({v.rater for v in votes if v.rater}),
        preferences.preferences(votes, resamples),
        scored,
        bits.bits_at_equal_preference(scored, data.bpp),
        agreement(votes),
        metrics,
        ceiling,
    )
