"""What a session is asked next, and the counts of what was asked and answered that this depends on."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dpc.errors import DPCError
from dpc.study.database import PEOPLE, TRIALS, VOTES
from dpc.study.pairing import Chooser
from dpc.study.plan import Plan, Stimulus, comparisons
from dpc.study.records import RATER_KINDS, RaterKind

__all__ = ["Dealer"]

ABANDONED = 1800.0  # seconds after which an open trial no longer counts as asked
RECOUNT = 60.0  # seconds between two counts of what was asked


class Dealer:
    """Makes trials. Not for several threads at once.

    Each kind of rater is counted apart: models and simulated raters take no votes of people's, and their pairs are
    chosen for themselves.
    """

    def __init__(self, plan: Plan, stimuli: Mapping[str, Stimulus]) -> None:
        self.plan, self.stimuli = plan, stimuli
        self.comparisons = comparisons(plan, list(stimuli.values()))
        self.fixed = {(s.picture, s.kind): s.id for s in stimuli.values() if s.kind in ("original", "worst")}
        self.choosers = {kind: Chooser(plan, self.comparisons) for kind in RATER_KINDS}
        self._counted = -math.inf

    def trial(
        self,
        rater: RaterKind,
        kind: str,
        again: int | None,
        by_place: Mapping[int, Any],
        seen: set[int],
        chance: random.Random,
        place: int,
    ) -> dict[str, Any]:
        """kind, comparison and the three pictures of a new trial. by_place: those of the session before it."""
        comparison = -1
        before = None
        if kind == "pair":
            chosen = self.choosers[rater].choose(seen, chance)
            if chosen is None:  # cannot be: slots() plans no more pairs than there are comparisons
                raise DPCError("There is no further pair.")
            seen.add(chosen.number)
            comparison, picture = chosen.number, chosen.picture
            ends = [chosen.a.id, chosen.b.id]
        elif kind == "repeat" and again is not None:
            row = by_place[self.plan.checks.training + again]
            comparison, before, picture = row.comparison, row.id, self.stimuli[row.left].picture
            ends = [row.right, row.left]
        else:
            picture = chance.choice(self.plan.pictures).name
            original, worst = self.fixed[picture, "original"], self.fixed[picture, "worst"]
            if kind == "identical":
                coded = chance.choice(
                    [s.id for s in self.stimuli.values() if s.picture == picture and s.kind == "coded"]
                )
                ends = [coded, coded]
            elif kind == "training" and place % 2 == 1:  # an easy one, then a real one, then an easy one
                real = chance.choice([x for x in self.comparisons if x.picture == picture])
                ends = [real.a.id, real.b.id]
            else:
                ends = [original, worst]
        if kind != "repeat":
            chance.shuffle(ends)
        original = self.fixed[picture, "original"]
        return {
            "kind": kind,
            "comparison": comparison,
            "left": ends[0],
            "right": ends[1],
            "original": original,
            "again": before,
        }

    def voted(self, rater: RaterKind, number: int, left: str, answer: str) -> None:
        """An answer to a pair whose left picture is known came in."""
        self.choosers[rater].voted(number, self._chosen(number, left, answer))

    def _chosen(self, number: int, left: str, answer: str) -> int:
        """0 the first of the comparison, 1 the second, 2 not sure."""
        return 2 if answer == "none" else int((answer == "a") != (left == self.comparisons[number].a.id))

    def forget(self) -> None:
        """Count again before the next trial: what was dealt last was not stored."""
        self._counted = -math.inf

    def recount_sometimes(self, c: sa.Connection) -> None:
        """Count again when the last count is old."""
        if time.monotonic() - self._counted >= RECOUNT:
            self.recount(c)

    def recount(self, c: sa.Connection) -> None:
        """What was asked and answered, from the database. Open trials of people who left do not count."""
        asked: dict[RaterKind, Counter[int]] = {kind: Counter() for kind in self.choosers}
        votes: dict[RaterKind, dict[int, list[int]]] = {kind: {} for kind in self.choosers}
        query = (
            sa.select(TRIALS.c.comparison, TRIALS.c.left, VOTES.c.answer, PEOPLE.c.kind)
            .select_from(TRIALS.join(PEOPLE).outerjoin(VOTES))
            .where(TRIALS.c.kind == "pair")
            .where(sa.or_(VOTES.c.trial.is_not(None), TRIALS.c.handed_out > time.time() - ABANDONED))
        )
        for row in c.execute(query):
            asked[row.kind][row.comparison] += 1
            if row.answer is not None:
                counts = votes[row.kind].setdefault(row.comparison, [0, 0, 0])
                counts[self._chosen(row.comparison, row.left, row.answer)] += 1
        for kind, chooser in self.choosers.items():
            chooser.load(asked[kind], votes[kind])
        self._counted = time.monotonic()
