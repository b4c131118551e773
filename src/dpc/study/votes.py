"""A vote, and votes as the arrays that dpc.study.scores takes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOT_SURE", "A", "B", "Array", "Vote", "clusters", "ends", "table"]

Array: TypeAlias = NDArray[np.float64]
A, B, NOT_SURE = 0, 1, 2


@dataclass(frozen=True)
class Vote:
    """An answer. a, b: conditions ("avif@0.25"). answer: 0 for a, 1 for b, 2 not sure. kind: pair, identical, trap,
    repeat. side: which side the answer stood on, 0 left, 1 right, 2 none. number: of the comparison, -1 for checks.
    repeats: the answer to the same pair before (kind repeat), in terms of this a and b. weight: so many equal votes.
    rater "" is nobody in particular: every such vote counts as another person's. rater_kind: people, model or
    simulated."""

    rater: str
    picture: str
    a: str
    b: str
    answer: int
    kind: str = "pair"
    side: int = 2
    seconds: float = math.nan
    number: int = -1
    repeats: int | None = None
    weight: int = 1
    rater_kind: str = "people"


def table(votes: Sequence[Vote], index: Mapping[str, int], merge: bool = False) -> Array:
    """(N, 5) for dpc.study.scores: a row for each vote, or for each pair of conditions."""
    if merge:
        counts: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        for v in votes:
            i, j = index[v.a], index[v.b]
            answer = v.answer if i < j or v.answer == NOT_SURE else 1 - v.answer
            counts[min(i, j), max(i, j)][answer] += v.weight
        return np.array([[*pair, *c] for pair, c in sorted(counts.items())], dtype=float).reshape(-1, 5)
    rows = np.zeros((len(votes), 5))
    for n, v in enumerate(votes):
        rows[n, :2] = index[v.a], index[v.b]
        rows[n, 2 + v.answer] = v.weight
    return rows


def ends(votes: Sequence[Vote], index: Mapping[str, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.array([index[v.a] for v in votes], dtype=np.intp), np.array([index[v.b] for v in votes], dtype=np.intp)


def clusters(votes: Sequence[Vote]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the raters (nobody in particular: a new one each time) and of the pictures."""
    raters: dict[str, int] = {}
    pictures: dict[str, int] = {}
    people = [raters.setdefault(v.rater or f"\0{n}", len(raters)) for n, v in enumerate(votes)]
    shown = [pictures.setdefault(v.picture, len(pictures)) for v in votes]
    return np.array(people, dtype=np.intp), np.array(shown, dtype=np.intp)
