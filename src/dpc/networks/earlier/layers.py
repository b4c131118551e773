"""Layers of the codecs of Ballé et al. 2017, 2018 and Minnen et al. 2018."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.model import bounded

__all__ = ["GDN", "Conv32", "analysis", "down", "synthesis", "up"]

PEDESTAL = 2.0**-36  # keeps the gradient of a square alive at 0
BETA_MIN = 1e-6


class Conv32(nn.Conv2d):
    """A convolution in float32 under autocast too: bfloat16 rounds latents of 128 and more to whole numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """See torch.nn.Conv2d."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class ConvTranspose32(nn.ConvTranspose2d):
    """A transposed convolution in float32 under autocast too."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """See torch.nn.ConvTranspose2d."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float(), output_size)


def down(inputs: int, outputs: int, conv: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    """A convolution with stride 2: (N, inputs, 2h, 2w) -> (N, outputs, h, w)."""
    return conv(inputs, outputs, 5, stride=2, padding=2)


def up(inputs: int, outputs: int, conv: type[nn.ConvTranspose2d] = nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """A transposed convolution with stride 2: (N, inputs, h, w) -> (N, outputs, 2h, 2w)."""
    return conv(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


class GDN(nn.Module):
    """Generalised divisive normalisation (Ballé, Laparra, Simoncelli 2016), (N, channels, H, W) -> the same shape.

    x / sqrt(beta + gamma x^2), the sum over channels as a 1x1 convolution; inverse multiplies instead. beta and gamma
    are kept as square roots, which the papers found to train well: beta is at least BETA_MIN, gamma at least 0.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.full((channels,), math.sqrt(1 + PEDESTAL)))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        beta = bounded(self.beta, math.sqrt(BETA_MIN + PEDESTAL), math.inf).square() - PEDESTAL
        gamma = bounded(self.gamma, math.sqrt(PEDESTAL), math.inf).square() - PEDESTAL
        norm = F.conv2d(x.square(), gamma[:, :, None, None], beta)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


def analysis(filters: int, latents: int) -> nn.Sequential:
    """g_a of Ballé et al. 2018: (N, 3, 16h, 16w) -> (N, latents, h, w)."""
    layers: list[nn.Module] = []
    for inputs in (3, filters, filters):
        layers += [down(inputs, filters), GDN(filters)]
    return nn.Sequential(*layers, down(filters, latents, Conv32))


def synthesis(filters: int, latents: int) -> nn.Sequential:
    """g_s of Ballé et al. 2018: (N, latents, h, w) -> (N, 3, 16h, 16w)."""
    layers: list[nn.Module] = []
    for k in range(3):
        conv = up(filters, filters) if k else up(latents, filters, ConvTranspose32)
        layers += [conv, GDN(filters, inverse=True)]
    return nn.Sequential(*layers, up(filters, 3))
