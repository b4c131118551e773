"""Checkpoints: written whole or not at all, one older one kept, and a small file with the weights alone.

    last.pt       all that a training needs to go on: model, average, optimiser, step, minutes, recipe, schedule
    previous.pt   the one before it
    weights.pt    the averaged weights in float16: enough to export, to evaluate and to start from

There is no state of random numbers in them: all that is drawn in a step follows from the recipe's seed and the step.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dpc.errors import DPCError
from dpc.files import atomic_write
from dpc.networks.model import Model
from dpc.training.recipe import Recipe, from_dict, to_dict

CHECKPOINT = 1  # version of the layout
WARMING = 300  # steps in which the learning rate rises where a training goes on without its optimiser's state


class CheckpointError(DPCError):
    """A checkpoint that cannot be read or does not fit."""


class Keeper:
    """Writes the checkpoints of one run into a folder.

    found: whether the last.pt that lies there belongs to this run (it was resumed from it). Only then is it kept as
    previous.pt; a broken one never pushes out a sound one.
    """

    def __init__(self, folder: Path, found: bool) -> None:
        self.folder, self._rotate = folder, found

    def save(
        self,
        model: Model,
        average: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
        about: dict[str, Any],
    ) -> Path:
        """Write last.pt and weights.pt; returns the path of last.pt. Killed at any moment, a sound last.pt is there.

        about: step, minutes, crops, data_sha256 and how the training runs (schedule, precision, device), plain data.
        """
        about = {"recipe": json.dumps(to_dict(recipe))} | about
        last = self.save_last(
            about | {"model": model.state_dict(), "ema": average, "optimiser": optimiser.state_dict()}
        )
        small = {"checkpoint": CHECKPOINT} | about | {"ema": half(average)}
        atomic_write(self.folder / "weights.pt", lambda file: torch.save(small, file))
        return last

    def save_last(self, state: dict[str, Any]) -> Path:
        """Write last.pt alone, keeping the one before; returns its path. state: tensors and plain data."""
        last = self.folder / "last.pt"

        def write(file: BinaryIO) -> None:
            torch.save({"checkpoint": CHECKPOINT} | state, file)
            self._keep_previous(last)

        atomic_write(last, write)
        self._rotate = True
        return last

    def _keep_previous(self, last: Path) -> None:
        previous = self.folder / "previous.pt"
        spare = previous.with_suffix(".part")
        if self._rotate:
            with contextlib.suppress(OSError):  # a file system without hard links keeps no previous one
                spare.unlink(missing_ok=True)
                os.link(last, spare)
                os.replace(spare, previous)


def check_finite(weights: Iterable[Tensor], folder: Path) -> None:
    """DPCError where a weight is no number any more: such weights are neither looked at nor kept."""
    if not all(bool(v.isfinite().all()) for v in weights):
        last = folder / "last.pt"
        before = f"{last} holds what was learned before" if last.exists() else "nothing was kept"
        raise DPCError(f"weights are no longer finite: lower the recipe's learning_rate; {before}")


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16 where nothing that counts is lost by it: an artifact stores the same ones so."""
    exact = ("scales.", "log_gain", "offset", "z_index")
    return {k: v if k.startswith(exact) or k.endswith(("kernel", "upsample")) else v.half() for k, v in state.items()}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; CheckpointError with one line when it is missing, broken or of another kind."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path} is a folder without a last.pt; give a checkpoint or the folder of a run"
        ) from error
    except Exception as error:  # torch raises many kinds on damaged files
        older = path.with_name("previous.pt")
        way_out = f"{older} is the one before it" if older.exists() and older != path else "use an older one"
        raise CheckpointError(f"{path} is not a readable checkpoint ({type(error).__name__}); {way_out}") from error
    if not isinstance(state, dict) or state.get("checkpoint") != CHECKPOINT:
        raise CheckpointError(f"{path} is not a checkpoint of this version ({CHECKPOINT})")
    return state


def recipe_of(state: dict[str, Any]) -> Recipe:
    """The recipe stored in a checkpoint."""
    return from_dict(json.loads(state["recipe"]))


def holds_another(last: Path, resume: Path | None) -> bool:
    """Whether a last.pt lies there that is not the one to go on from. A broken one may be replaced when resuming."""
    if not last.exists() or (resume and resume.resolve() == last.resolve()):
        return False
    try:
        return resume is None or bool(load_checkpoint(last))
    except CheckpointError:
        return False


def resumed(state: dict[str, Any], path: Path, recipe: Recipe, say: Callable[[str], None]) -> dict[str, Any]:
    """The checkpoint to go on from, read from path; says where its recipe differs."""
    if "optimiser" not in state:
        say(f"{path} holds the averaged weights alone: the optimiser is warmed anew over {WARMING} steps")
    before, now = to_dict(recipe_of(state)), to_dict(recipe)
    if before["network"] != now["network"]:
        raise CheckpointError(
            f"{path} was trained with another [network] than recipe {recipe.name}; use its own recipe"
        )
    if before["optimiser"] != now["optimiser"]:
        raise CheckpointError(
            f"{path} was trained with {before['optimiser']}, recipe {recipe.name} wants {now['optimiser']}; use its "
            f"own recipe, or --from {path} to start anew from its weights"
        )
    if changed := [k for k in now if now[k] != before.get(k)]:
        say(f"the recipe differs from the one in {path} in {', '.join(changed)}; going on with the new values")
    return state
