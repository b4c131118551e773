"""From what a person says to what the loop takes: the one function behind `dpc train` and `python -m dpc.training`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dpc.errors import OptionError
from dpc.training.earlier import recipe as earlier
from dpc.training.earlier.trainer import Trainer
from dpc.training.in_turn import in_turn
from dpc.training.recipe import has_codec, read
from dpc.training.trainer import Run, train
from dpc.training.weights import grown, weights_of


def begin(
    recipe: str | Sequence[str],
    *,
    data: Sequence[Path],
    began: float,
    minutes: float | None = None,
    steps: int | None = None,
    horizon: float | None = None,
    resume: Path | None = None,
    start: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    precision: str = "auto",
    lpips_weights: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train by a recipe (a name or a file); returns the path of the last checkpoint. With a [codec] table it is one of
    an earlier codec, whose schedule is its number of crops: `minutes` then end the call and no more. Several of those
    are trained in turn, each below `out`.

    began: time.monotonic() at the start of the program, from which `minutes` are counted. resume: a checkpoint, or the
    folder of a run. start: an artifact or checkpoint whose weights to begin with. out: default runs/NAME, or the folder
    of the checkpoint that is resumed. Raises DPCError.
    """
    for name, value in (("--minutes", minutes), ("--horizon", horizon)):
        if value is not None and not 0 < value < math.inf:
            raise OptionError(f"{name} {value:g}: give a number of minutes, more than 0")
    if steps is not None and steps < 1:
        raise OptionError(f"--steps {steps}: give at least 1")
    if horizon is not None and (minutes is None or steps is not None or horizon < minutes):
        raise OptionError("--horizon is the minutes of all calls together: it goes with --minutes, and is no smaller")
    if minutes is not None and steps is not None:
        raise OptionError("--minutes and --steps exclude each other; give one of them")
    if resume and start:
        raise OptionError("--resume and --from exclude each other; --resume goes on, --from begins a new training")
    if resume and resume.is_dir():
        resume = resume / "last.pt"
    run = Run(
        out=out or (resume.parent if resume else Path("runs")),
        data=list(data),
        minutes=minutes,
        horizon=horizon,
        steps=steps,
        device=device,
        devices=devices,
        precision=precision,
        lpips_weights=str(lpips_weights) if lpips_weights else None,
        began=began,
    )
    in_folder = out is None and resume is None
    if not isinstance(recipe, str):
        return _several(recipe, run, resume, start, say)
    if has_codec(recipe):
        return _earlier(recipe, run, in_folder, resume, start, say)
    plan = read(recipe)
    warm = grown(weights_of(start), plan.network, start) if start else None
    return train(plan, _named(run, plan.name, in_folder), resume=resume, warm=warm, say=say)


def _several(
    recipes: Sequence[str], run: Run, resume: Path | None, start: Path | None, say: Callable[[str], None]
) -> Path:
    """The same for several recipes; returns the folder of their runs."""
    if run.horizon is not None or run.devices != 1 or resume:
        raise OptionError("--horizon, --devices and --resume are for one recipe; what lies in --out is gone on with")
    if others := [recipe for recipe in recipes if not has_codec(recipe)]:
        raise OptionError(f"{others[0]} has no [codec] table: only recipes that have one are trained in turn")
    in_turn([earlier.read(recipe) for recipe in recipes], run, start, say)
    return run.out


def _earlier(
    recipe: str, run: Run, in_folder: bool, resume: Path | None, start: Path | None, say: Callable[[str], None]
) -> Path:
    """The same for an earlier codec at one rate."""
    if run.horizon is not None:
        raise OptionError("--horizon: a recipe with a [codec] table has its number of crops as its schedule")
    plan = earlier.read(recipe)
    return Trainer(plan, _named(run, plan.name, in_folder), resume, start, say).train()


def _named(run: Run, name: str, in_folder: bool) -> Run:
    """The run, below its folder of all runs if it is one that nobody named."""
    return replace(run, out=run.out / name) if in_folder else run
