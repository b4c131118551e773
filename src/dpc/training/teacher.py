"""An older model's synthesis as a teacher: what it makes of the same latents; goes when dpc-7 goes.

While the analysis and the gains are frozen, a new synthesis reads the latents of the model that the training began
from. What that model's own synthesis makes of them, texture and all, follows from the latents alone. So its picture
teaches more per crop than the original, whose texture the latents do not hold (docs/research/tried.md).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpc.errors import OptionError
from dpc.networks import wavelet
from dpc.networks.model import Output
from dpc.networks.transforms import act
from dpc.training.weights import is_artifact, located

CORNER = 32  # pixels
LEAVING = 0.1  # the details of the deep branch leave it at this scale


class OldSynthesis(nn.Module):
    """The synthesis of the first generation in floats.

    y_hat (N, latents, h, w), quality (N, levels) -> x_hat (N, 3, 16h, 16w). weights: by their names after "g_s.". The
    exact graph of the artifact differs by some hundredths of a level squared, and by its rounding to 8 bits.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = list(weights)
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value)
        self.register_buffer("kernel", wavelet.synthesis_kernel())

    def _conv(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (getattr(self, f"{name}_{kind}".replace(".", "_")) for kind in ("weight", "bias"))
        groups = len(weight) if weight.shape[1] == 1 else 1
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=weight.shape[-1] // 2, groups=groups)

    def _stage(self, size: int, f: Tensor, quality: Tensor) -> Tensor:
        scale, shift = (quality @ getattr(self, f"film{size}_{kind}") for kind in ("scale", "shift"))
        f = f * (1 + scale)[:, :, None, None].to(f.dtype) + shift[:, :, None, None].to(f.dtype)
        for n in range(sum(name.startswith(f"at{size}.") and name.endswith("up.weight") for name in self.names)):
            block = f"at{size}.{n}"
            f = f + self._conv(f"{block}.down", act(self._conv(f"{block}.up", self._conv(f"{block}.depth", f))))
        return f

    def _merge(self, bands: Tensor) -> Tensor:
        return wavelet.synthesise(bands, self.kernel)  # type: ignore[arg-type]

    def forward(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        f = self._stage(16, act(self._conv("enter", y_hat)), quality)
        f = self._stage(8, act(F.pixel_shuffle(self._conv("to8", f), 2)), quality)
        f = self._stage(4, act(F.pixel_shuffle(self._conv("to4", f), 2)), quality)
        with torch.autocast(y_hat.device.type, enabled=False):
            four, three, two, one = wavelet.unpack(F.conv2d(y_hat.float(), self.linear, self.mean))  # type: ignore[arg-type]
            x = self._merge(torch.cat([self._merge(four), three], 1))
            half = self._merge(torch.cat([x, two], 1) + LEAVING * self._conv("leave4", f.float()))
            half = torch.cat([half, one], 1)
        g = act(self._conv("mix2", torch.cat([half.to(f.dtype), F.pixel_shuffle(self._conv("to2", f), 2)], 1)))
        with torch.autocast(y_hat.device.type, enabled=False):
            return self._merge(half + LEAVING * self._conv("leave2", g.float()))


def weights_of_teacher(name: str) -> dict[str, Tensor]:
    """Of an OldSynthesis: of a model of the first generation, by its name or the path of its artifact, or, in a pack,
    of the file DPC_TEACHER. OptionError where there is none."""
    if packed := os.environ.get("DPC_TEACHER"):
        try:
            weights: dict[str, Tensor] = torch.load(packed, map_location="cpu", weights_only=True)
            return {name: value.float() for name, value in weights.items()}
        except Exception as error:  # torch and pickle raise whatever the damage happens to hit
            raise OptionError(f"DPC_TEACHER: {packed} holds no teacher's weights; make the pack again") from error
    from dpc.codec.artifact import Artifact  # a pack trains without what this needs
    from dpc.training import first_generation

    path = located(Path(name))
    if not is_artifact(path) or not first_generation.is_first(source := Artifact(path)):
        raise OptionError(f"teacher = {name!r} is no model of the first generation; give the path of dpc-7.dpcmodel")
    return first_generation.synthesis_of(source)


class Teacher:
    """Draws what the model of that name, or path, makes of latents. OptionError where there is none that can."""

    def __init__(self, name: str) -> None:
        self._draw = OldSynthesis(weights_of_teacher(name)).eval().requires_grad_(False)

    def error(self, out: Output) -> Tensor:
        """(N,) squared error of x_hat from the teacher's picture, in 8-bit levels; the gradient is x_hat's."""
        return (255 * (out.x_hat.float() - self.picture(out))).square().mean((1, 2, 3))

    def target(self, out: Output, x: Tensor) -> Tensor:
        """The teacher's picture, (N, 3, H, W) in [0, 1], with x's in the four corners: there dpc-7 draws dots."""
        picture = self.picture(out)
        for rows in (slice(0, CORNER), slice(-CORNER, None)):
            for columns in (slice(0, CORNER), slice(-CORNER, None)):
                picture[:, :, rows, columns] = x[:, :, rows, columns]
        return picture

    @torch.no_grad()
    def picture(self, out: Output) -> Tensor:
        """What the teacher makes of the latents: (N, 3, H, W) float32 in [0, 1]."""
        if (has := out.y_hat.shape[1]) != (reads := self._draw.enter_weight.shape[1]):  # type: ignore[index]
            raise OptionError(f"the teacher reads {reads} latents, the recipe's network has {has}; give them alike")
        self._draw.to(out.y_hat.device)
        quality = out.weights.float().mean((2, 3))  # it knows one quality for a whole picture
        picture: Tensor = self._draw(out.y_hat.float(), quality).float().clamp(0, 1)
        return picture
