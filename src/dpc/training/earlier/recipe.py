"""The recipe of an earlier codec at one rate: a TOML file with a [codec] table. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dpc.evaluation.metrics.ms_ssim import WEIGHTS
from dpc.evaluation.metrics.reference import NAMES
from dpc.reading import table, validated
from dpc.training.losses.distortion import Terms
from dpc.training.losses.ms_ssim import smallest

__all__ = ["Codec", "Loss", "Rate", "Recipe", "read"]


class Strict(BaseModel):
    """A table whose keys are all known, with finite numbers, that nobody changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True)


class Codec(Strict):
    """[codec]: its kind, and the sizes that dpc.networks.earlier.make takes for this kind."""

    model_config = ConfigDict(extra="allow")

    kind: str

    @property
    def sizes(self) -> dict[str, Any]:
        """The keyword arguments of the codec."""
        return dict(self.model_extra or {})


class Loss(Strict):
    """[loss]: D = mse 255^2 MSE + ms_ssim (1 - MS-SSIM) + lpips LPIPS.

    ms_ssim and lpips are K1 and K2 of Deep Perceptual Compression (Patel et al. 2019). lpips_nets take turns from step
    to step. Both pictures lose 0 to lpips_shift - 1 rows and columns before LPIPS: 1 is the plain form.
    ms_ssim_scales, ms_ssim_fitted: see losses/ms_ssim.py; the published form has five scales and is not fitted.
    """

    mse: float = Field(0.0, ge=0)
    ms_ssim: float = Field(0.0, ge=0)
    lpips: float = Field(0.0, ge=0)
    lpips_nets: tuple[Literal["alex", "squeeze", "vgg"], ...] = Field(("alex",), min_length=1, strict=False)
    lpips_shift: int = Field(8, ge=1, le=16)
    ms_ssim_scales: int = Field(len(WEIGHTS), ge=1, le=len(WEIGHTS))
    ms_ssim_fitted: bool = False

    @model_validator(mode="after")
    def _something(self) -> Loss:
        if not self.mse + self.ms_ssim + self.lpips:
            raise ValueError("mse = ms_ssim = lpips = 0; one of them must be above 0, or nothing is learned")
        return self

    @property
    def terms(self) -> Terms:
        """The weights, as Distortion takes them."""
        return Terms(mse=self.mse, ms_ssim=self.ms_ssim, lpips=self.lpips)


class Rate(Strict):
    """[rate]: what is minimised with D.

    Either lambda: bits per pixel + lambda D. Or beta and target: D + beta max(H - target, 0), where H is what the codec
    gives as extra["H"] (base-2018: bits per symbol of its latents), or else bits per pixel.
    """

    lambda_: float | None = Field(None, alias="lambda", gt=0)
    beta: float | None = Field(None, gt=0)
    target: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_form(self) -> Rate:
        given = [v is not None for v in (self.lambda_, self.beta, self.target)]
        if given not in ([True, False, False], [False, True, True]):
            raise ValueError("give lambda alone, or beta and target")
        return self


class Recipe(Strict):
    """The whole recipe. crops: of the whole training. The other keys are those of dpc's own recipes."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    description: str = ""
    codec: Codec
    loss: Loss
    rate: Rate
    crops: int = Field(ge=1, le=1 << 40)
    crop: int = Field(192, ge=64, le=1 << 13, multiple_of=16)
    batch: int = Field(8, ge=1, le=1 << 16)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1e-6, gt=0)
    warmup: float = Field(0.02, ge=0, lt=1)
    decay_from: float = Field(0.5, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = Field(1, ge=0, lt=1 << 63)
    selected_by: tuple[str, ...] = Field(("unknown",), strict=False)

    @field_validator("selected_by")
    @classmethod
    def _metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if name not in (*NAMES, "unknown")]:
            raise ValueError(f"{wrong[0]!r} is no metric; choose from {', '.join(NAMES)}")
        return names

    @model_validator(mode="after")
    def _sizes(self) -> Recipe:
        least = smallest(self.loss.ms_ssim_scales, self.loss.ms_ssim_fitted)
        if self.loss.ms_ssim and self.crop < least:
            raise ValueError(
                f"crop = {self.crop}: this MS-SSIM needs {least} pixels; give larger crops, fewer ms_ssim_scales, or "
                "ms_ssim_fitted = true"
            )
        if self.decay_from < self.warmup:
            raise ValueError(f"decay_from = {self.decay_from} must be at least warmup = {self.warmup}")
        return self

    @property
    def steps(self) -> int:
        """Steps of the optimiser in the whole training."""
        return max(1, self.crops // self.batch)

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON can hold it, for checkpoints."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def read(path: str | Path) -> Recipe:
    """Read a recipe file. OptionError in one line for all that is wrong with it."""
    recipe: Recipe = validated(Path(path), table(Path(path)), Recipe)
    return recipe
