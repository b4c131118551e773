"""The networks as they run in an artifact: one torch module per ONNX graph, integer branch in plain integers."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.context import MAGNITUDE_MAX, Z_LIMIT
from dpc.networks.integer import A_BITS, A_MAX, INDEX_BITS, W_BITS, IntegerConv
from dpc.networks.model import Model


class AnalysisGraph(nn.Module):
    """image (1, H, W, 3) uint8 -> y (1, latents, H/16, W/16)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.g_a = model.g_a

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.g_a(image.permute(0, 3, 1, 2).float() * (1 / 255))
        return y


class HyperGraph(nn.Module):
    """y, gain (1, latents, 1, 1) -> z_hat, integers in float32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.h_a = model.h_a

    def forward(self, y: Tensor, gain: Tensor) -> Tensor:
        return torch.floor(self.h_a(y * gain) + 0.5).clamp(-Z_LIMIT, Z_LIMIT)


class IntegerStage(nn.Module):
    """A convolution with integer weights in float32, followed by floor(acc * 2**-shift + 1/2) and an optional clip."""

    def __init__(self, weight: Tensor, bias: Tensor, shift: int, clip: bool) -> None:
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias.clone())
        self.shift, self.clip = shift, clip

    def forward(self, a: Tensor) -> Tensor:
        acc = F.conv2d(a, self.weight, self.bias, padding=self.weight.shape[-1] // 2)  # type: ignore[arg-type,index]
        real = torch.floor(acc * 2.0**-self.shift + 0.5)
        return real.clamp(0, A_MAX) if self.clip else real


def _exact(conv: IntegerConv, shift: int, *, clip: bool = True, bias_bits: int = 0) -> IntegerStage:
    weight, bias = conv.integers()
    if bias_bits:
        bias = torch.round(bias * 2.0**-bias_bits)
    return IntegerStage(weight.detach(), bias.detach(), shift, clip)


class ScaleGraph(nn.Module):
    """Group 0: z_hat -> features (1, scale_width, h, w), index accumulators of group 0."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        s = model.scales
        self.a = _exact(s.a, W_BITS - A_BITS, bias_bits=A_BITS)
        self.b = _exact(s.b, W_BITS)
        self.c = _exact(s.c, W_BITS)
        self.mix = _exact(s.mix[0], W_BITS)  # type: ignore[arg-type]
        self.head = _exact(s.head[0], INDEX_BITS, clip=False)  # type: ignore[arg-type]

    def forward(self, z_hat: Tensor) -> tuple[Tensor, Tensor]:
        f = F.pixel_shuffle(self.c(self.b(F.pixel_shuffle(self.a(z_hat), 2))), 2)
        return f, self.head(self.mix(f))


class LaterScaleGraph(nn.Module):
    """Group g > 0: features, r (1, elements of all earlier groups, h, w) -> index accumulators of group g."""

    def __init__(self, model: Model, group: int) -> None:
        super().__init__()
        self.mix = _exact(model.scales.mix[group], W_BITS)  # type: ignore[arg-type]
        self.head = _exact(model.scales.head[group], INDEX_BITS, clip=False)  # type: ignore[arg-type]

    def forward(self, features: Tensor, r: Tensor) -> Tensor:
        m = r.abs().clamp(max=MAGNITUDE_MAX) * 2**A_BITS
        index: Tensor = self.head(self.mix(torch.cat([features, m], 1)))
        return index


class MeanGraph(nn.Module):
    """z_hat, r (1, latents, h, w), gain, even (1, 1, h, w) -> y_hat, divided by the gain."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.means, self.groups = model.means, model.net.groups

    def forward(self, z_hat: Tensor, r: Tensor, gain: Tensor, even: Tensor) -> Tensor:
        n = r / gain
        psi = self.means.psi(z_hat)
        parts = n.split(list(self.groups), 1)
        mu = self.means.first(psi)
        second = self.means.second(torch.cat([psi, (parts[0] + mu) * even], 1))
        decoded = [parts[0] + mu * even + second * (1 - even)]
        for later, part in zip(self.means.later, parts[1:], strict=True):
            decoded.append(part + later(torch.cat([psi, *decoded], 1)))
        return torch.cat(decoded, 1)


class QuantiseGraph(nn.Module):
    """The encoder's side of MeanGraph: y, z_hat, gain, even, offset (1, latents, 1, 1), valid (1, 1, h, w), rounding
    (1, 1, 1, 1) -> r (1, latents, h, w), integers in float32, 0 where the scale index is 0 or valid is 0.

    r = sign(d) * floor(|d| + rounding) with d = y' - mu; rounding 1/2 is plain rounding, less is a dead zone.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.means, self.groups = model.means, model.net.groups
        self.scales = ScaleGraph(model)
        self.later = nn.ModuleList(LaterScaleGraph(model, g) for g in range(1, len(self.groups)))

    def forward(
        self, y: Tensor, z_hat: Tensor, gain: Tensor, even: Tensor, offset: Tensor, valid: Tensor, rounding: Tensor
    ) -> Tensor:
        sizes = list(self.groups)
        ys, gains, offsets = (y * gain).split(sizes, 1), gain.split(sizes, 1), offset.split(sizes, 1)
        features, index = self.scales(z_hat)
        psi = self.means.psi(z_hat)
        residuals: list[Tensor] = []
        decoded: list[Tensor] = []
        for g in range(len(sizes)):
            if g:
                index = self.later[g - 1](features, torch.cat(residuals, 1))
            coded = ((index + offsets[g]) > 0).float() * valid
            if g == 0:
                mu = self.means.first(psi)
                seen = _round(ys[0] - mu * gains[0], rounding) * coded / gains[0] + mu
                mu = mu * even + self.means.second(torch.cat([psi, seen * even], 1)) * (1 - even)
            else:
                mu = self.means.later[g - 1](torch.cat([psi, *decoded], 1))
            r = _round(ys[g] - mu * gains[g], rounding) * coded
            residuals.append(r)
            decoded.append(r / gains[g] + mu)
        return torch.cat(residuals, 1)


def _round(d: Tensor, rounding: Tensor) -> Tensor:
    return torch.sign(d) * torch.floor(d.abs() + rounding)


class SynthesisGraph(nn.Module):
    """y_hat, weights (1, levels) -> image (1, H, W, 3) uint8."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.g_s = model.g_s

    def forward(self, y_hat: Tensor, weights: Tensor) -> Tensor:
        x = self.g_s(y_hat, weights).clamp(0, 1)
        return torch.floor(x * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
