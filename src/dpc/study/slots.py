"""The order of a session's trials: pairs, checks and repeats."""

from __future__ import annotations

import random

from dpc.study.plan import Plan

__all__ = ["slots"]

REPEAT_AFTER = 4  # trials between a pair and its repeat, where there are so many


def slots(plan: Plan, count: int, seed: str) -> list[tuple[str, int | None]]:
    """(kind, for a repeat the place of the pair that comes again) of a session's trials after the training.

    Checks are spread evenly, in an order that depends on the seed. A repeat comes at least REPEAT_AFTER places after
    its pair, where the session is so long.
    """
    chance = random.Random(f"{seed} slots")
    pairs = min(plan.design.trials, count)
    checks = ["identical"] * plan.checks.identical + ["trap"] * plan.checks.traps
    chance.shuffle(checks)
    repeats = min(plan.checks.repeats, pairs)
    order: list[tuple[str, int | None]] = [("pair", None)] * pairs
    for i, kind in enumerate(checks):  # one in each equal stretch, not before the first pair
        step = len(order) / len(checks)
        order.insert(max(1, int(i * step + chance.uniform(0, step))), (kind, None))
    for i in range(repeats):
        low = max(len(order) * (i + 1) // (repeats + 1), 1)
        place = min(len(order), low + REPEAT_AFTER // 2 + chance.randint(0, 2))
        order.insert(place, ("repeat", None))
    used: set[int] = set()
    for place, (kind, _) in enumerate(order):
        if kind == "repeat":
            earlier = [p for p in range(place) if order[p][0] == "pair"]  # never empty: the first place is a pair
            fresh = [p for p in earlier if p not in used] or earlier
            chosen = chance.choice([p for p in fresh if place - p > REPEAT_AFTER] or fresh[:1])
            used.add(chosen)
            order[place] = ("repeat", chosen)
    return order
