"""Whose votes are set aside, and why."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpc.study import scores
from dpc.study.plan import Exclusion
from dpc.study.votes import NOT_SURE, A, Array, B, Vote, ends, table

__all__ = ["Reason", "exclusions"]


@dataclass(frozen=True)
class Reason:
    """Why a person's votes are set aside. rule: attention, consistency, likelihood, speed or side."""

    rule: str
    text: str


def exclusions(votes: Sequence[Vote], rules: Exclusion, not_sure: bool) -> dict[str, list[Reason]]:
    """Rater -> reasons, for those who are set aside.

    Attention, speed and side are looked at first; consistency and likelihood are then tested by scores of the others
    that are left, twice, so that spammers do not make each other look normal.
    """
    people: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        if vote.rater:
            people[vote.rater].append(vote)
    found: dict[str, list[Reason]] = defaultdict(list)
    for rater, own in people.items():
        found[rater] += [*_attention(own, rules, not_sure), *_speed(own, rules), *_side(own, rules)]
    first = {rater for rater, reasons in found.items() if reasons}
    out: set[str] = set()
    tested: dict[str, list[Reason]] = {}
    for _ in range(2):
        left = [v for v in votes if v.kind == "pair" and v.rater not in first | out]
        tested = {r: _by_the_others(r, own, left, rules, not_sure) for r, own in people.items()}
        out = {rater for rater, reasons in tested.items() if reasons}
    for rater, reasons in tested.items():
        found[rater] += reasons
    return {rater: reasons for rater, reasons in found.items() if reasons}


def _attention(own: Sequence[Vote], rules: Exclusion, not_sure: bool) -> list[Reason]:
    """Traps, where the original is a or b, and identical pairs where "not sure" is an answer. One error in one or two
    checks is forgiven."""
    right = total = 0
    for v in own:
        if v.kind == "trap":
            total += 1
            right += v.answer == (A if v.a == "original" else B)
        elif v.kind == "identical" and not_sure:
            total += 1
            right += v.answer == NOT_SURE
    wrong = total - right
    if not total or right / total >= rules.attention or (wrong == 1 and total < 3):
        return []
    return [Reason("attention", f"{right} of {total} attention checks right, {rules.attention:.0%} are needed")]


def _speed(own: Sequence[Vote], rules: Exclusion) -> list[Reason]:
    times = [v.seconds for v in own if v.kind == "pair" and math.isfinite(v.seconds)]
    if len(times) < 5 or (median := float(np.median(times))) >= rules.seconds:
        return []
    return [Reason("speed", f"median of {median:.2f} s for a vote, {rules.seconds:g} s are needed")]


def _side(own: Sequence[Vote], rules: Exclusion) -> list[Reason]:
    from scipy.stats import binomtest

    left = sum(v.side == 0 for v in own)
    right = sum(v.side == 1 for v in own)
    if not left + right:
        return []
    chance = float(binomtest(left, left + right).pvalue)
    if chance >= rules.side:
        return []
    return [Reason("side", f"{left} answers left and {right} right: chance {chance:.1g}, {rules.side:g} is needed")]


def _by_the_others(
    rater: str, own: Sequence[Vote], pairs: Sequence[Vote], rules: Exclusion, not_sure: bool
) -> list[Reason]:
    """Consistency and likelihood by the scores of everybody else."""
    others = [v for v in pairs if v.rater != rater]
    items = sorted({name for v in others for name in (v.a, v.b)})
    index = {name: i for i, name in enumerate(items)}
    if len(others) < 10 * max(len(items), 1):
        return []
    fit = scores.davidson(table(others, index, merge=True), len(items), not_sure)
    reasons = []
    again = [v for v in own if v.kind == "repeat" and v.repeats is not None and v.a in index and v.b in index]
    if again:
        p = scores.probabilities(fit, *ends(again, index))
        chance = _at_most(sum(v.answer == v.repeats for v in again), (p**2).sum(1))
        if chance < rules.consistency:
            same = sum(v.answer == v.repeats for v in again)
            text = (
                f"{same} of {len(again)} repeats answered as before: chance {chance:.2g}, {rules.consistency:g} needed"
            )
            reasons.append(Reason("consistency", text))
    asked = [v for v in own if v.kind == "pair" and v.a in index and v.b in index]
    if len(asked) >= 5:
        p = scores.probabilities(fit, *ends(asked, index))
        log = np.log(np.maximum(p, 1e-12))
        expected = (p * log).sum(1)
        variance = float(((p * log**2).sum(1) - expected**2).sum())
        seen = float(log[np.arange(len(asked)), [v.answer for v in asked]].sum())
        z = (seen - float(expected.sum())) / math.sqrt(variance) if variance > 1e-9 else 0.0
        if z < -rules.likelihood:
            text = (
                f"log-likelihood {seen:.1f}, expected {expected.sum():.1f}: {-z:.1f} standard deviations below, "
                f"{rules.likelihood:g} are allowed"
            )
            reasons.append(Reason("likelihood", text))
    return reasons


def _at_most(count: int, chances: Array) -> float:
    """The probability of at most so many successes of independent trials."""
    ways = np.ones(1)
    for p in chances:
        ways = np.convolve(ways, [1 - p, p])
    return float(ways[: count + 1].sum())
