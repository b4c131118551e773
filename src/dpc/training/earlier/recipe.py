"""The recipe of an earlier codec at one rate: a TOML file with a [codec] table. Unknown keys are refused."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpc.errors import OptionError
from dpc.evaluation.metrics.ms_ssim import WEIGHTS
from dpc.evaluation.metrics.reference import NAMES
from dpc.reading import table
from dpc.training.fields import RecipeError, build, check_digits, within
from dpc.training.losses.distortion import Terms
from dpc.training.losses.ms_ssim import smallest
from dpc.training.recipe import NETS

__all__ = ["Codec", "Loss", "Rate", "Recipe", "from_plain", "read"]


@dataclass(frozen=True)
class Codec:
    """[codec]: its kind, and the sizes that dpc.networks.earlier.make takes for this kind."""

    kind: str
    sizes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """[loss]: D = mse 255^2 MSE + ms_ssim (1 - MS-SSIM) + lpips LPIPS.

    ms_ssim and lpips are K1 and K2 of Deep Perceptual Compression (Patel et al. 2019). lpips_nets take turns from step
    to step. Both pictures lose 0 to lpips_shift - 1 rows and columns before LPIPS: 1 is the plain form.
    ms_ssim_scales, ms_ssim_fitted: see losses/ms_ssim.py; the published form has five scales and is not fitted.
    """

    mse: float = 0.0
    ms_ssim: float = 0.0
    lpips: float = 0.0
    lpips_nets: tuple[str, ...] = ("alex",)
    lpips_shift: int = 8
    ms_ssim_scales: int = len(WEIGHTS)
    ms_ssim_fitted: bool = False

    def __post_init__(self) -> None:
        within(self, "mse ms_ssim lpips", 0)
        within(self, "lpips_shift", 1, 16)
        within(self, "ms_ssim_scales", 1, len(WEIGHTS))
        if not self.lpips_nets or any(net not in NETS for net in self.lpips_nets):
            raise ValueError(f"lpips_nets = {list(self.lpips_nets)}: give one or more of {', '.join(NETS)}")
        if not self.mse + self.ms_ssim + self.lpips:
            raise ValueError("mse = ms_ssim = lpips = 0; one of them must be above 0, or nothing is learned")

    @property
    def terms(self) -> Terms:
        """The weights, as Distortion takes them."""
        return Terms(mse=self.mse, ms_ssim=self.ms_ssim, lpips=self.lpips)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """[rate]: what is minimised with D.

    Either lambda: bits per pixel + lambda D. Or beta and target: D + beta max(H - target, 0), where H is what the codec
    gives as extra["H"] (base-2018: bits per symbol of its latents), or else bits per pixel.
    """

    lambda_: float | None = None
    beta: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        within(self, "lambda_ beta target", 0, above=True)
        given = [v is not None for v in (self.lambda_, self.beta, self.target)]
        if given not in ([True, False, False], [False, True, True]):
            raise ValueError("give lambda alone, or beta and target")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole recipe. crops: of the whole training. The other keys are those of dpc's own recipes.

    begins_with: the recipe whose weights this training begins with; a pack finds them by it.
    """

    name: str
    codec: Codec
    loss: Loss
    rate: Rate
    crops: int
    description: str = ""
    begins_with: str = ""
    crop: int = 192
    batch: int = 8
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    warmup: float = 0.02
    decay_from: float = 0.5
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 1
    selected_by: tuple[str, ...] = ("unknown",)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name = {self.name!r}: letters, digits, dots, - and _ alone, as folders get it as a name")
        within(self, "crops", 1, 1 << 40)
        within(self, "crop", 64, 1 << 13)
        within(self, "batch", 1, 1 << 16)
        within(self, "learning_rate final_learning_rate clip", 0, above=True)
        within(self, "warmup decay_from ema", 0, 1)
        within(self, "seed", 0, (1 << 63) - 1)
        if self.crop % 16:
            raise ValueError(f"crop = {self.crop}: it must be a multiple of 16")
        if wrong := [name for name in self.selected_by if name not in (*NAMES, "unknown")]:
            raise ValueError(f"{wrong[0]!r} is no metric; choose from {', '.join(NAMES)}")
        least = smallest(self.loss.ms_ssim_scales, self.loss.ms_ssim_fitted)
        if self.loss.ms_ssim and self.crop < least:
            raise ValueError(
                f"crop = {self.crop}: this MS-SSIM needs {least} pixels; give larger crops, fewer ms_ssim_scales, or "
                "ms_ssim_fitted = true"
            )
        if not self.warmup <= self.decay_from < 1 or self.ema == 1:
            raise ValueError(
                f"decay_from = {self.decay_from} must be at least warmup = {self.warmup}, and they and ema below 1"
            )

    @property
    def steps(self) -> int:
        """Steps of the optimiser in the whole training."""
        return max(1, self.crops // self.batch)

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON can hold it, for checkpoints and packs."""
        found = asdict(self)
        found["codec"] = {"kind": self.codec.kind, **self.codec.sizes}
        found["loss"]["lpips_nets"] = list(self.loss.lpips_nets)
        found["selected_by"] = list(self.selected_by)
        if not self.begins_with:
            del found["begins_with"]
        found["rate"] = {k.rstrip("_"): v for k, v in found["rate"].items() if v is not None}
        return found


def from_plain(found: dict[str, Any]) -> Recipe:
    """A recipe from plain data, as Recipe.plain gives it."""
    check_digits(found, "the recipe")
    nested = {
        "codec": _codec,
        "loss": lambda value: build(Loss, value, "[loss]"),
        "rate": lambda value: build(Rate, value, "[rate]"),
    }
    recipe: Recipe = build(Recipe, found, "the recipe", nested)
    return recipe


def _codec(found: Any) -> Codec:
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise RecipeError('[codec] must be a table with its kind, such as kind = "base-2018"')
    return Codec(found["kind"], {k: v for k, v in found.items() if k != "kind"})


def read(path: str | Path) -> Recipe:
    """Read a recipe file, TOML or JSON. RecipeError or OptionError in one line for what is wrong with it."""
    try:
        return from_plain(table(Path(path)))
    except (RecipeError, OptionError) as error:
        text = str(error)
        raise RecipeError(text if str(path) in text else f"{path}: {text}") from error
