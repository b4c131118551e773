"""How far a training is, and what follows from it: the learning rate, and lambda at every level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dpc.errors import OptionError
from dpc.training.recipe import Recipe


@dataclass(frozen=True)
class Schedule:
    """The end of a training, to which learning rate and stages are fitted: minutes over all calls, or else steps.

    lasting: it was said with --horizon or --steps, so it is stored in checkpoints and holds when the training goes on.
    """

    steps: int
    horizon: float | None = None
    lasting: bool = False

    def progress(self, steps: float, minutes: float) -> float:
        """Share of the training that is done, 0 to 1 (and above it, when it is over). steps: crops / batch, so that a
        batch that was changed on the way moves nothing."""
        return minutes / self.horizon if self.horizon else steps / self.steps

    def stored(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        if not self.lasting:
            return {}
        return {"horizon": self.horizon} if self.horizon else {"steps": self.steps}

    def __str__(self) -> str:
        return f"to minute {self.horizon:.4g} of the training" if self.horizon else f"to step {self.steps}"


def schedule(
    recipe: Recipe,
    minutes: float | None,
    horizon: float | None,
    steps: int | None,
    before: Mapping[str, Any] | None = None,
) -> Schedule:
    """The schedule of a call: its own steps or horizon, else those stored in the checkpoint, else its minutes, else the
    steps of the recipe.

    before: the checkpoint that the training goes on from. OptionError where nothing of the training is left to do.
    """
    done, spent = (before["crops"] / recipe.batch, before["minutes"]) if before else (0.0, 0.0)
    known = (before or {}).get("schedule", {})
    if steps or horizon:
        plan = Schedule(steps or recipe.steps, horizon, lasting=True)
    elif known:
        plan = Schedule(int(known.get("steps", recipe.steps)), known.get("horizon"), lasting=True)
    else:
        plan = Schedule(recipe.steps, spent + minutes if minutes else None)
    if before and plan.progress(done, spent) >= 1:
        raise OptionError(
            f"this training goes {plan} and is over (step {done:.0f}, minute {spent:.4g}); a larger --steps, or "
            "--minutes with a larger --horizon, gives it more"
        )
    return plan


def lambdas(recipe: Recipe) -> list[float]:
    """lambda at every level, exponentially from lambda_min to lambda_max."""
    n = recipe.network.levels
    ratio = recipe.lambda_max / recipe.lambda_min
    return [recipe.lambda_min * ratio ** (i / (n - 1)) for i in range(n)]


def steps_of(lam: Sequence[float]) -> Tensor:
    """The uniform quantisation step, in [0, 1] units, at which bpp + lambda 255^2 MSE is stationary at high rate."""
    return torch.tensor([math.sqrt(18 / (math.log(2) * v)) / 255 for v in lam])


class Rates(Protocol):
    """What a recipe says of the learning rate."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def final_learning_rate(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def decay_from(self) -> float: ...


def learning_rate(recipe: Rates, progress: float) -> float:
    """Linear warm-up, constant, cosine decay from decay_from to the end."""
    if progress < recipe.warmup:
        return recipe.learning_rate * (0.02 + 0.98 * progress / recipe.warmup)
    if progress < recipe.decay_from:
        return recipe.learning_rate
    t = (progress - recipe.decay_from) / max(1 - recipe.decay_from, 1e-9)
    low = recipe.final_learning_rate
    return low + (recipe.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * min(t, 1)))
