"""All that is computed of one set of votes."""

from __future__ import annotations

from dataclasses import dataclass

from dpc.study import analysis
from dpc.study.collected import Collected
from dpc.study.votes import Vote

__all__ = ["Results", "analyse"]


@dataclass(frozen=True)
class Results:
    """All that is computed of one set of votes."""

    votes: list[Vote]
    people: int
    preferences: list[analysis.Preference]
    scores: analysis.Scores
    bits: list[analysis.Bits]
    agreement: analysis.Agreement
    metrics: list[analysis.Correlation]
    ceiling: float


def analyse(data: Collected, votes: list[Vote], resamples: int) -> Results:
    """Everything for one set of votes."""
    scored = analysis.score(votes, data.not_sure)
    metrics, ceiling = analysis.correlations(votes, data.values, data.higher, scored, resamples)
    return Results(
        votes,
        len({v.rater for v in votes if v.rater}),
        analysis.preferences(votes, resamples),
        scored,
        analysis.bits_at_equal_preference(scored, data.bpp),
        analysis.agreement(votes),
        metrics,
        ceiling,
    )
