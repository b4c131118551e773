"""A recipe: everything that a training depends on, as frozen dataclasses read from TOML; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpc.errors import OptionError
from dpc.evaluation.metrics.reference import NAMES
from dpc.networks.sizes import Network
from dpc.reading import table
from dpc.training.fields import RecipeError, build, check_digits
from dpc.training.losses.distortion import PARTS, Terms

NETS = ("alex", "squeeze", "vgg")
OPTIMISERS = ("adam", "soap")


@dataclass(frozen=True, kw_only=True)
class Stage(Terms):
    """One stretch of a training: its share of the whole, and the terms of D in it.

    lpips_slope: LPIPS weighs lpips times (lambda / middle) ** -lpips_slope. lpips_nets take turns from step to step.
    frozen: analysis and gains stay as they are. teacher: weight of the squared error from the recipe's teacher.
    taught: D is counted from what the teacher makes of the same latents, in place of the picture; all but the synthesis
    stays as it is, or a lower rate would cost nothing.
    """

    share: float
    lpips_slope: float = 0.0
    frozen: bool = False
    teacher: float = 0.0
    taught: bool = False
    lpips_nets: tuple[str, ...] = ("alex", "squeeze")

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise RecipeError(f"a stage has share = {self.share}: it must be above 0 and at most 1")
        for name in (*PARTS, "teacher"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RecipeError(f"a stage has {name} = {getattr(self, name)}: it must be at least 0, and finite")
        if not -1 <= self.lpips_slope <= 1:
            raise RecipeError(f"a stage has lpips_slope = {self.lpips_slope}: it must be at least -1 and at most 1")
        if not self.mse + self.ms_ssim + self.lpips:
            raise RecipeError(
                "a stage has mse = ms_ssim = lpips = 0: one of them must be above 0, or nothing is learned"
            )
        if (self.teacher or self.taught) and not self.frozen:
            raise RecipeError("a stage has a teacher, which knows the latents of a frozen analysis alone: set frozen")
        if self.lpips and (not self.lpips_nets or any(n not in NETS for n in self.lpips_nets)):
            raise RecipeError(f"lpips_nets = {list(self.lpips_nets)}: give one or more of {', '.join(NETS)}")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. See recipes/dpc.toml for what each key means.

    teacher: a released model that the training begins from; see dpc.training.teacher.
    selected_by: the metrics by which this training was chosen among others; see dpc.evaluation.independence.
    """

    name: str
    stages: tuple[Stage, ...]
    network: Network = Network()
    steps: int = 100_000
    crop: int = 192
    batch: int = 4
    synthetic: float = 0.0
    varied: float = 0.0
    lambda_min: float = 0.00016
    lambda_max: float = 0.08
    rate_balance: float = 0.5
    optimiser: str = "adam"
    learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    warmup: float = 0.02
    decay_from: float = 0.5
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 1
    description: str = ""
    teacher: str = ""
    selected_by: tuple[str, ...] = ("unknown",)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise RecipeError(
                f"name = {self.name!r}: letters, digits, dots, - and _ alone, as files and folders get it as their name"
            )
        if not self.stages:
            raise RecipeError("a recipe needs at least one [[stages]] table")
        if any(s.teacher or s.taught for s in self.stages) and not self.teacher:
            raise RecipeError("a stage has a teacher, but the recipe names none: teacher = MODEL")
        if abs(sum(s.share for s in self.stages) - 1) > 1e-6:
            raise RecipeError(f"the shares of the stages sum to {sum(s.share for s in self.stages)}, not to 1")
        if self.crop % 64 or self.crop < 192:
            raise RecipeError(f"crop = {self.crop}: it must be a multiple of 64 and at least 192 (MS-SSIM needs 161)")
        if self.optimiser not in OPTIMISERS:
            raise RecipeError(f"optimiser = {self.optimiser!r}: give one of {', '.join(OPTIMISERS)}")
        for name, most in (("steps", 1 << 40), ("batch", 1 << 16), ("crop", 1 << 13)):
            if not 1 <= getattr(self, name) <= most:
                raise RecipeError(
                    f"{name} = {str(getattr(self, name))[:40]}: it must be at least 1 and at most {most:,}"
                )
        for name in ("learning_rate", "final_learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise RecipeError(f"{name} = {getattr(self, name)}: it must be above 0, and finite")
        for name in ("synthetic", "varied", "warmup", "decay_from", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"{name} = {getattr(self, name)}: it must be at least 0 and below 1")
        if self.decay_from < self.warmup:
            raise RecipeError(f"decay_from = {self.decay_from}: it must be at least warmup = {self.warmup}")
        if not 0 < self.lambda_min < self.lambda_max < math.inf:
            raise RecipeError(
                f"lambda_min = {self.lambda_min}, lambda_max = {self.lambda_max}: 0 < min < max is needed, both finite"
            )
        if not math.isfinite(self.rate_balance):
            raise RecipeError(f"rate_balance = {self.rate_balance}: it must be finite")
        if wrong := [name for name in self.selected_by if name not in (*NAMES, "unknown")]:
            raise RecipeError(f"selected_by names {wrong[0]!r}, which is no metric; choose from {', '.join(NAMES)}")
        if self.seed < 0:
            raise RecipeError(f"seed = {self.seed}: it must be at least 0")

    def stage_at(self, progress: float) -> Stage:
        """The stage at a progress in [0, 1]."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if progress < end:
                return stage
        return self.stages[-1]


def from_dict(table: dict[str, Any]) -> Recipe:
    """A recipe from plain data, as to_dict gives it."""
    check_digits(table, "the recipe")
    nested = {"network": lambda value: build(Network, value, "[network]"), "stages": _stages}
    recipe: Recipe = build(Recipe, table, "the recipe", nested)
    return recipe


def _stages(value: Any) -> tuple[Stage, ...]:
    if not isinstance(value, (list, tuple)):
        raise RecipeError("stages must be written as [[stages]] tables")
    return tuple(build(Stage, stage, f"stage {i + 1}") for i, stage in enumerate(value))


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data (for checkpoints and artifacts)."""
    return dataclasses.asdict(recipe)


def has_codec(path: str | Path) -> bool:
    """Whether it is the recipe file of an earlier codec, for dpc.training.earlier: one with a [codec] table."""
    return Path(path).is_file() and "codec" in table(Path(path))


def read(path: str | Path) -> Recipe:
    """Read a recipe file, TOML or JSON; a bare name such as "dpc" means the recipe of that name in the package."""
    path = Path(path)
    if not path.suffix and not path.is_file():
        folder = Path(__file__).parent / "recipes"
        known = sorted(p.stem for p in folder.glob("*.toml"))
        if path.name not in known:
            raise RecipeError(f"there is no recipe {str(path)!r}; known: {', '.join(known)}; or give a .toml file")
        path = folder / f"{path.name}.toml"
    try:
        return from_dict(table(path))  # JSON is what a pack for another machine holds: its Python may have no TOML
    except (RecipeError, OptionError) as error:
        text = str(error)
        raise RecipeError(text if str(path) in text else f"{path}: {text}") from error
