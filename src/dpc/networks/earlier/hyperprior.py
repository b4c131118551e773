"""The factorised prior and the codecs with side information, re-implemented from their papers.

    factorised              Ballé, Laparra, Simoncelli 2017, with the transforms of 2018 (a fourth stage)
    scale-hyperprior        Ballé, Minnen, Singh, Hwang, Johnston 2018
    mean-scale-hyperprior   Minnen, Ballé, Toderici 2018, without their context model

    x --g_a--> y --h_a--> z --round--> z_hat --h_s--> scale, mean of y    y --round--> y_hat --g_s--> x_hat

Rounding is uniform noise in training. z has a density of its own for each channel, y is Gaussian.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn as nn
from torch import Tensor

from dpc.networks.earlier import layers
from dpc.networks.earlier.entropy_models import (
    FactorisedDensity,
    bits,
    gaussian_likelihood,
    gaussian_tables,
    noisy,
    read,
    rounded,
    scale_index,
    write,
)
from dpc.networks.earlier.protocol import EarlierCodec, Forward, register
from dpc.networks.earlier.stream import exactly

__all__ = ["Factorised", "Hyperprior", "MeanScaleHyperprior", "ScaleHyperprior"]

STRIDE = 16  # picture pixels per value of y
HYPER_STRIDE = 4  # values of y per value of z


@register
class Factorised(EarlierCodec):
    """Every channel of y has a density of its own; no side information. filters: N, latents: M of the papers."""

    kind = "factorised"
    stride = STRIDE

    def __init__(self, filters: int = 64, latents: int = 96) -> None:
        super().__init__()
        self.g_a, self.g_s = layers.analysis(filters, latents), layers.synthesis(filters, latents)
        self.density = FactorisedDensity(latents)

    def tables(self) -> None:
        """One table for each channel."""
        self.density.update()

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward."""
        y_hat = self.density.quantised(self.g_a(x).float())
        return Forward(self.g_s(y_hat).float(), bits(self.density.likelihood(y_hat)))

    def payload(self, x: Tensor) -> list[bytes]:
        """One part: y."""
        return [self.density.encode(self.g_a(x))]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """See EarlierCodec.restore."""
        (part,) = exactly(parts, 1)
        x: Tensor = self.g_s(self.density.decode(part, height // STRIDE, width // STRIDE))
        return x


class Hyperprior(EarlierCodec):
    """What the codecs with side information share: z, and two parts of a stream, z and y."""

    stride = STRIDE * HYPER_STRIDE

    def __init__(self, filters: int, latents: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.g_a, self.g_s = layers.analysis(filters, latents), layers.synthesis(filters, latents)
        self.density = FactorisedDensity(filters)
        self.h_a = nn.Sequential(
            nn.Conv2d(latents, filters, 3, padding=1),
            activation(),
            layers.down(filters, filters),
            activation(),
            layers.down(filters, filters, layers.Conv32),
        )
        self.h_s: nn.Module

    def tables(self) -> None:
        """One table for each channel of z, one for each scale of y."""
        self.density.update()
        self._y_tables = gaussian_tables()

    def side(self, y: Tensor) -> Tensor:
        """z of y."""
        z: Tensor = self.h_a(y)
        return z

    @abstractmethod
    def gaussian(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of y from h_s(z_hat)."""

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward."""
        y = self.g_a(x).float()
        z_hat = self.density.quantised(self.side(y).float())
        mean, scale = self.gaussian(self.h_s(z_hat).float())
        residual = noisy(y) - mean if self.training else rounded(y - mean)
        rate = bits(gaussian_likelihood(residual, scale)) + bits(self.density.likelihood(z_hat))
        return Forward(self.g_s(residual + mean).float(), rate)

    def payload(self, x: Tensor) -> list[bytes]:
        """Two parts: z, y."""
        y = self.g_a(x)
        z = self.side(y)
        return [self.density.encode(z), self._y_part(y, self.h_s(self.density.quantised(z)))]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """See EarlierCodec.restore."""
        z_part, y_part = exactly(parts, 2)
        z_hat = self.density.decode(z_part, height // self.stride, width // self.stride)
        x: Tensor = self.g_s(self._read_y(y_part, self.h_s(z_hat)))
        return x

    def _y_part(self, y: Tensor, side: Tensor) -> bytes:
        mean, scale = self.gaussian(side)
        return write(self._y_tables, rounded(y - mean), scale_index(scale))

    def _read_y(self, part: bytes, side: Tensor) -> Tensor:
        """y_hat; the scale indices equal the encoder's, as the same network saw the same z_hat in the same shape."""
        mean, scale = self.gaussian(side)
        return read(self._y_tables, part, scale_index(scale)).to(mean.device) + mean


@register
class ScaleHyperprior(Hyperprior):
    """Ballé et al. 2018: z tells the scale of every value of y, whose mean is 0. filters: N, latents: M."""

    kind = "scale-hyperprior"

    def __init__(self, filters: int = 64, latents: int = 96) -> None:
        super().__init__(filters, latents, nn.ReLU)
        self.h_s = nn.Sequential(
            layers.up(filters, filters),
            nn.ReLU(),
            layers.up(filters, filters),
            nn.ReLU(),
            layers.Conv32(filters, latents, 3, padding=1),
            nn.ReLU(),
        )

    def side(self, y: Tensor) -> Tensor:
        """z of |y|."""
        return super().side(y.abs())

    def gaussian(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """See Hyperprior.gaussian."""
        return torch.zeros_like(side), side


@register
class MeanScaleHyperprior(Hyperprior):
    """Minnen et al. 2018 without context model: z tells mean and scale. filters: N, latents: M, an even number."""

    kind = "mean-scale-hyperprior"

    def __init__(self, filters: int = 64, latents: int = 96) -> None:
        super().__init__(filters, latents, nn.LeakyReLU)
        self.h_s = nn.Sequential(
            layers.up(filters, latents),
            nn.LeakyReLU(),
            layers.up(latents, latents * 3 // 2),
            nn.LeakyReLU(),
            layers.Conv32(latents * 3 // 2, latents * 2, 3, padding=1),
        )

    def gaussian(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """See Hyperprior.gaussian. side (N, 2 M, h, w): scales, then means."""
        scale, mean = side.chunk(2, 1)
        return mean, scale
