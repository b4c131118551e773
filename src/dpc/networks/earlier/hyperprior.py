"""The factorised prior and the codecs with side information, re-implemented from their papers.

    factorised              Ballé, Laparra, Simoncelli 2017, with the transforms of 2018 (a fourth stage)
    scale-hyperprior        Ballé, Minnen, Singh, Hwang, Johnston 2018
    mean-scale-hyperprior   Minnen, Ballé, Toderici 2018, without their context model

    x --g_a--> y --h_a--> z --round--> z_hat --h_s--> scale, mean of y    y --round--> y_hat --g_s--> x_hat

Rounding is uniform noise in training. z has a density of its own for each channel, y is Gaussian.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec.entropy import Decoder, Encoder, Tables
from dpc.errors import Corrupt
from dpc.networks.earlier import layers
from dpc.networks.earlier.entropy_models import (
    FactorisedDensity,
    bits,
    gaussian_likelihood,
    gaussian_tables,
    noisy,
    rounded,
    scale_index,
)
from dpc.networks.earlier.protocol import EarlierCodec, Forward, register

__all__ = ["Factorised", "Hyperprior", "MeanScaleHyperprior", "ScaleHyperprior", "coded", "read", "take"]

STRIDE = 16  # picture pixels per value of y
HYPER_STRIDE = 4  # values of y per value of z


def integers(values: Tensor) -> NDArray[np.int32]:
    """Whole floats as the coder's integers."""
    return values.cpu().numpy().astype(np.int32)


def coded(tables: Tables, symbols: Tensor, indices: NDArray[np.integer]) -> bytes:
    """A part of a stream that holds symbols, integers of the indices' shape."""
    encoder = Encoder(tables)
    encoder.add(integers(symbols), indices)
    return encoder.finish()


def read(tables: Tables, part: bytes, indices: NDArray[np.integer]) -> Tensor:
    """The symbols of a part of `coded`, float. Corrupt unless it holds them and nothing else."""
    decoder = Decoder(tables, part)
    symbols = torch.from_numpy(decoder.read(indices)).float()
    decoder.finish()
    return symbols


def take(parts: Sequence[bytes], count: int) -> Sequence[bytes]:
    """The parts; Corrupt unless there are that many."""
    if len(parts) != count:
        raise Corrupt(f"the file has {len(parts)} parts, its codec makes {count}; the file is damaged")
    return parts


def _channels(count: int, height: int, width: int) -> NDArray[np.uint16]:
    """Indices (1, count, height, width) of the tables of a density."""
    index = np.arange(1, count + 1, dtype=np.uint16)[None, :, None, None]
    return np.broadcast_to(index, (1, count, height, width))


def _coded_density(density: FactorisedDensity, tables: Tables, z: Tensor) -> tuple[bytes, Tensor]:
    """(part, z_hat) of z (1, channels, h, w)."""
    symbols = density.symbols(z)
    return coded(tables, symbols, _channels(*z.shape[1:])), density.values(symbols)


def _read_density(density: FactorisedDensity, tables: Tables, part: bytes, height: int, width: int) -> Tensor:
    """z_hat (1, channels, height, width)."""
    symbols = read(tables, part, _channels(len(density.median), height, width))
    return density.values(symbols.to(density.median.device))


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
        self._tables = self.density.tables()

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward."""
        y = self.g_a(x).float()
        y_hat = noisy(y) if self.training else self.density.values(self.density.symbols(y))
        return Forward(self.g_s(y_hat).float(), bits(self.density.likelihood(y_hat)))

    def payload(self, x: Tensor) -> list[bytes]:
        """One part: y."""
        return [_coded_density(self.density, self._tables, self.g_a(x))[0]]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """See EarlierCodec.restore."""
        (part,) = take(parts, 1)
        y_hat = _read_density(self.density, self._tables, part, height // STRIDE, width // STRIDE)
        x: Tensor = self.g_s(y_hat)
        return x


class Hyperprior(EarlierCodec):
    """What the codecs with side information share: z, and two parts of a stream, z and y."""

    stride = STRIDE * HYPER_STRIDE

    def __init__(self, filters: int, latents: int) -> None:
        super().__init__()
        self.g_a, self.g_s = layers.analysis(filters, latents), layers.synthesis(filters, latents)
        self.density = FactorisedDensity(filters)
        self.h_a: nn.Module
        self.h_s: nn.Module

    def tables(self) -> None:
        """One table for each channel of z, one for each scale of y."""
        self._z_tables, self._y_tables = self.density.tables(), gaussian_tables()

    def side(self, y: Tensor) -> Tensor:
        """z of y."""
        z: Tensor = self.h_a(y)
        return z

    @abstractmethod
    def gaussian(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of y from h_s(z_hat)."""

    def quantised(self, z: Tensor) -> Tensor:
        """z_hat: with noise in training, else rounded."""
        return noisy(z) if self.training else self.density.values(self.density.symbols(z))

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward."""
        y = self.g_a(x).float()
        z_hat = self.quantised(self.side(y).float())
        mean, scale = self.gaussian(self.h_s(z_hat).float())
        residual = noisy(y) - mean if self.training else rounded(y - mean)
        rate = bits(gaussian_likelihood(residual, scale)) + bits(self.density.likelihood(z_hat))
        return Forward(self.g_s(residual + mean).float(), rate)

    def payload(self, x: Tensor) -> list[bytes]:
        """Two parts: z, y."""
        y = self.g_a(x)
        z_part, z_hat = _coded_density(self.density, self._z_tables, self.side(y))
        return [z_part, self._y_part(y, self.h_s(z_hat))]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """See EarlierCodec.restore."""
        z_part, y_part = take(parts, 2)
        z_hat = _read_density(self.density, self._z_tables, z_part, height // self.stride, width // self.stride)
        x: Tensor = self.g_s(self._read_y(y_part, self.h_s(z_hat)))
        return x

    def _y_part(self, y: Tensor, side: Tensor) -> bytes:
        mean, scale = self.gaussian(side)
        return coded(self._y_tables, rounded(y - mean), scale_index(scale))

    def _read_y(self, part: bytes, side: Tensor) -> Tensor:
        """y_hat; the scale indices equal the encoder's, as the same network saw the same z_hat in the same shape."""
        mean, scale = self.gaussian(side)
        return read(self._y_tables, part, scale_index(scale)).to(mean.device) + mean


@register
class ScaleHyperprior(Hyperprior):
    """Ballé et al. 2018: z tells the scale of every value of y, whose mean is 0. filters: N, latents: M."""

    kind = "scale-hyperprior"

    def __init__(self, filters: int = 64, latents: int = 96) -> None:
        super().__init__(filters, latents)
        self.h_a = nn.Sequential(
            nn.Conv2d(latents, filters, 3, padding=1),
            nn.ReLU(),
            layers.down(filters, filters),
            nn.ReLU(),
            layers.down(filters, filters),
        )
        self.h_s = nn.Sequential(
            layers.up(filters, filters),
            nn.ReLU(),
            layers.up(filters, filters),
            nn.ReLU(),
            nn.Conv2d(filters, latents, 3, padding=1),
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
        super().__init__(filters, latents)
        self.h_a = nn.Sequential(
            nn.Conv2d(latents, filters, 3, padding=1),
            nn.LeakyReLU(),
            layers.down(filters, filters),
            nn.LeakyReLU(),
            layers.down(filters, filters),
        )
        self.h_s = nn.Sequential(
            layers.up(filters, latents),
            nn.LeakyReLU(),
            layers.up(latents, latents * 3 // 2),
            nn.LeakyReLU(),
            nn.Conv2d(latents * 3 // 2, latents * 2, 3, padding=1),
        )

    def gaussian(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """See Hyperprior.gaussian. side (N, 2 M, h, w): scales, then means."""
        scale, mean = side.chunk(2, 1)
        return mean, scale
