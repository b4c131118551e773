"""Recipes with a [codec] table one after the other, within one limit of time; what is over is skipped.

A call that was stopped, by its minutes or by a signal, is gone on with by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dpc.errors import OptionError
from dpc.training.checkpoint import load_checkpoint
from dpc.training.earlier.recipe import Recipe
from dpc.training.earlier.trainer import Trainer
from dpc.training.trainer import Run

__all__ = ["check_order", "in_turn"]

LEAST = 20  # seconds that must be left to begin another training


def in_turn(
    recipes: Sequence[Recipe], run: Run, start: Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Train them all; returns the folders of the runs of this call, run.out/NAME each.

    A training begins with the weights of the recipe that it names (begins_with), where that is among the runs, else
    with those of `start`, else with random ones. run.minutes holds for all together. Raises DPCError.
    """
    check_order(recipes, {path.parent.name for path in run.out.glob("*/weights.pt")}, start)
    until = None if run.minutes is None else run.began + 60 * run.minutes
    made: list[Path] = []
    for recipe in recipes:
        out = run.out / recipe.name
        last = out / "last.pt"
        if _over(last):
            say(f"{recipe.name} is over")
            continue
        if until is not None and time.monotonic() > until - LEAST:
            say(f"{recipe.name} waits for another call")
            break
        weights = run.out / recipe.begins_with / "weights.pt"
        begin = weights if recipe.begins_with and weights.is_file() else start
        resume = last if last.is_file() else None
        say(f"{recipe.name}:")
        Trainer(recipe, replace(run, out=out), resume, None if resume else begin, say).train()
        made.append(out)
        if not _over(last):
            break
    return made


def check_order(recipes: Sequence[Recipe], there: set[str], start: Path | None) -> None:
    """OptionError where a recipe begins with weights that nothing before it gives. there: runs that exist already."""
    known = set(there)
    for recipe in recipes:
        if recipe.begins_with and recipe.begins_with not in known and start is None:
            raise OptionError(
                f"{recipe.name} begins with the weights of {recipe.begins_with}: give that recipe before it, or --from"
            )
        known.add(recipe.name)


def _over(last: Path) -> bool:
    if not last.is_file():
        return False
    state = load_checkpoint(last)
    return bool(state["crops"] >= state.get("in_all", state["crops"] + 1))
