"""Which comparison is asked next: the one with the fewest votes, one at random, or the one that tells most."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from dpc.study import scores
from dpc.study.plan import Comparison, Plan, condition

__all__ = ["Chooser"]

REFIT = 25  # votes between two fits of the scores


class Chooser:
    """Keeps count of what was asked and answered, and chooses. Not for several threads at once.

    asked: comparison -> trials that were handed out and are answered or still open. votes: comparison ->
    [first preferred, second preferred, not sure].
    """

    def __init__(self, plan: Plan, comparisons: Sequence[Comparison]) -> None:
        self.plan, self.comparisons = plan, comparisons
        self.names = [(condition(c.a, plan.rates), condition(c.b, plan.rates)) for c in comparisons]
        self.asked: Counter[int] = Counter()
        self.votes: dict[int, list[int]] = {}
        self._gain: dict[tuple[str, str], float] = {}
        self._fitted = -1

    def load(self, asked: Mapping[int, int], votes: Mapping[int, Sequence[int]]) -> None:
        """Start from what the database holds."""
        self.asked = Counter(asked)
        self.votes = {number: list(counts) for number, counts in votes.items()}

    def voted(self, number: int, answer: int) -> None:
        """answer: 0 the first of the comparison, 1 the second, 2 not sure."""
        self.votes.setdefault(number, [0, 0, 0])[answer] += 1

    @property
    def complete(self) -> bool:
        """Whether every comparison has (or is about to have) the votes planned; unless pairing is full, on average."""
        if self.plan.design.pairing == "full":
            return all(self.asked[c.number] >= self.plan.design.votes for c in self.comparisons)
        return sum(self.asked.values()) >= self.plan.design.votes * len(self.comparisons)

    def choose(self, seen: Collection[int], chance: random.Random) -> Comparison | None:
        """The next comparison for somebody who has seen some; None when there is no other. It counts as asked."""
        left = [c for c in self.comparisons if c.number not in seen]
        if not left:
            return None
        design = self.plan.design
        if design.pairing == "random":
            chosen = chance.choice(left)
        else:
            if design.pairing == "adaptive":
                left = self._telling(left)
            least = min(self.asked[c.number] for c in left)
            chosen = chance.choice([c for c in left if self.asked[c.number] == least])
        self.asked[chosen.number] += 1
        return chosen

    def _telling(self, left: list[Comparison]) -> list[Comparison]:
        """Those of the pair of conditions that tells most; those of too few votes first."""
        total = sum(map(sum, self.votes.values()))
        if self._fitted < 0 or total - self._fitted >= REFIT:
            self._gain = self._gains()
            self._fitted = total
        if not self._gain:
            return left
        best = max(self._gain[self.names[c.number]] for c in left)
        return [c for c in left if self._gain[self.names[c.number]] >= best - 1e-12]

    def _gains(self) -> dict[tuple[str, str], float]:
        """Pair of conditions -> information that one more vote brings; infinite below adaptive_after votes.

        log(1 + p (1 - p) Var(s_a - s_b)) / 2, the gain of the determinant of the information matrix (D-optimal design),
        over all scores fitted so far.
        """
        pairs = dict.fromkeys(self.names)
        counts = {pair: np.zeros(3) for pair in pairs}
        for number, votes in self.votes.items():
            counts[self.names[number]] += votes
        few = {p: np.inf for p in pairs if counts[p].sum() < self.plan.design.adaptive_after}
        items = sorted({name for pair in pairs for name in pair})
        index = {name: i for i, name in enumerate(items)}
        table = np.array([[index[a], index[b], *counts[a, b]] for a, b in pairs], dtype=float)
        fit = scores.davidson(table, len(items), ties=self.plan.design.not_sure)
        gains = {}
        for a, b in pairs:
            i, j = index[a], index[b]
            p = 1 / (1 + np.exp(fit.scores[j] - fit.scores[i]))
            variance = fit.covariance[i, i] + fit.covariance[j, j] - 2 * fit.covariance[i, j]
            gains[a, b] = float(0.5 * np.log1p(p * (1 - p) * max(variance, 0.0)))
        return gains | few
