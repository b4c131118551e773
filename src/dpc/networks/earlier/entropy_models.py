"""How likely latents are: a density for each channel, Gaussians whose scales a network gives, integer tables of both.

Ballé et al. 2018, "Variational image compression with a scale hyperprior"; its appendix 6.1 has the density.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec.entropy import ESCAPE_LIMIT, PRECISION, Decoder, Encoder, Tables
from dpc.networks.model import bounded

__all__ = [
    "FactorisedDensity",
    "bits",
    "gaussian_likelihood",
    "gaussian_tables",
    "integers",
    "noisy",
    "read",
    "rounded",
    "scale_index",
    "write",
]

LIKELIHOOD_MIN = 1e-9
SCALES = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0
TAIL = 2.0**-20  # of a table's mass, at most, is left to its escape
REACH = 512  # values of a table around the median of its channel, on either side


def noisy(y: Tensor) -> Tensor:
    """y with uniform noise in [-1/2, 1/2): what a training sees of rounding."""
    return y + torch.rand_like(y) - 0.5


def rounded(y: Tensor) -> Tensor:
    """y rounded to integers that the coder takes, float."""
    return y.round().clamp(-ESCAPE_LIMIT, ESCAPE_LIMIT)


def integers(values: Tensor) -> NDArray[np.int32]:
    """Whole floats as the coder's integers."""
    return values.cpu().numpy().astype(np.int32)


def write(tables: Tables, symbols: Tensor, indices: NDArray[np.integer]) -> bytes:
    """A part of a stream: symbols, whole floats, under the tables of their indices, of one shape."""
    encoder = Encoder(tables)
    encoder.add(integers(symbols), indices)
    return encoder.finish()


def read(tables: Tables, part: bytes, indices: NDArray[np.integer]) -> Tensor:
    """The symbols of a part of `write`, float. Corrupt unless it holds them and nothing else."""
    decoder = Decoder(tables, part)
    symbols = torch.from_numpy(decoder.read(indices)).float()
    decoder.finish()
    return symbols


def bits(likelihood: Tensor) -> Tensor:
    """likelihood (N, ...) -> bits (N,)."""
    return -torch.log2(bounded(likelihood, LIKELIHOOD_MIN, math.inf)).flatten(1).sum(1)


class FactorisedDensity(nn.Module):
    """A density of its own for each of (N, channels, H, W)'s channels, of any shape (Ballé et al. 2018, 6.1).

    The cumulative is a sigmoid of a small monotone network: layers x -> softplus(H) x + b, then x + tanh(a) tanh(x).
    median: (channels,), where `update` finds the cumulative to be 1/2; values are rounded around it. It is no weight.
    """

    median: Tensor
    tables: Tables

    def __init__(self, channels: int, widths: tuple[int, ...] = (3, 3, 3, 3), spread: float = 10.0) -> None:
        super().__init__()
        sizes = (1, *widths, 1)
        scale = spread ** (1 / (len(sizes) - 1))  # spread: how wide the density is to begin with
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            start = math.log(math.expm1(1 / scale / after))
            self.matrices.append(nn.Parameter(torch.full((channels, after, before), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, after, 1) - 0.5))
            if after != 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, after, 1)))
        self.register_buffer("median", torch.zeros(channels), persistent=False)

    def logits(self, x: Tensor) -> Tensor:
        """x (channels, 1, n) -> logits of the cumulative, the same shape."""
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix.to(x.dtype)) @ x + bias.to(x.dtype)
            if k < len(self.factors):
                x = x + torch.tanh(self.factors[k].to(x.dtype)) * torch.tanh(x)
        return x

    def likelihood(self, z: Tensor) -> Tensor:
        """The mass on [z - 1/2, z + 1/2], for z (N, channels, H, W)."""
        with torch.autocast(z.device.type, enabled=False):
            x = z.float().transpose(0, 1).flatten(1)[:, None]
            mass = self._mass(x)
        return mass.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)

    def _mass(self, x: Tensor) -> Tensor:
        low, high = self.logits(x - 0.5), self.logits(x + 0.5)
        sign = -torch.sign(low + high).detach()  # the side of the sigmoid where a difference loses least
        return (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()

    def symbols(self, z: Tensor) -> Tensor:
        """z (N, channels, H, W) -> integers to code, float."""
        return rounded(z - self.median[:, None, None])

    def values(self, symbols: Tensor) -> Tensor:
        """z_hat of symbols, the same shape."""
        return symbols + self.median[:, None, None]

    def quantised(self, z: Tensor) -> Tensor:
        """z_hat: with uniform noise in training, else rounded."""
        return noisy(z) if self.training else self.values(self.symbols(z))

    @torch.no_grad()
    def update(self) -> None:
        """Find the medians, and make the tables: that of channel c has scale index c + 1."""
        low, high = (torch.full_like(self.median, end, dtype=torch.float64) for end in (-32768.0, 32768.0))
        for _ in range(60):
            middle = (low + high) / 2
            above = self.logits(middle[:, None, None])[:, 0, 0] > 0
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        self.median.copy_(high)
        grid = torch.arange(-REACH, REACH + 1, dtype=torch.float64, device=self.median.device)
        mass = self._mass(self.median.double()[:, None, None] + grid)[:, 0].cpu().numpy()
        self.tables = Tables([frequencies(row) for row in mass])

    def encode(self, z: Tensor) -> bytes:
        """A part of a stream that holds z (1, channels, H, W), rounded; see write."""
        return write(self.tables, self.symbols(z), self._indices(*z.shape[2:]))

    def decode(self, part: bytes, height: int, width: int) -> Tensor:
        """z_hat (1, channels, height, width) in a part of `encode`. Corrupt unless it is there."""
        return self.values(read(self.tables, part, self._indices(height, width)).to(self.median.device))

    def _indices(self, height: int, width: int) -> NDArray[np.uint16]:
        channels = len(self.median)
        index = np.arange(1, channels + 1, dtype=np.uint16)[None, :, None, None]
        return np.broadcast_to(index, (1, channels, height, width))


def gaussian_likelihood(y: Tensor, scale: Tensor) -> Tensor:
    """The mass of a Gaussian of mean 0 on [y - 1/2, y + 1/2]; scale at least SCALE_MIN. All of one shape."""
    with torch.autocast(y.device.type, enabled=False):
        y, scale = y.float().abs(), bounded(scale.float(), SCALE_MIN, math.inf)
        upper, lower = ((0.5 - y) / scale, (-0.5 - y) / scale)
        return 0.5 * (torch.erfc(-upper / math.sqrt(2)) - torch.erfc(-lower / math.sqrt(2)))


def _step() -> float:
    return math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)


def gaussian_tables() -> Tables:
    """Tables of the SCALES scales SCALE_MIN .. SCALE_MAX, spaced evenly in the logarithm; scale indices 1 .. SCALES."""
    rows = []
    for k in range(SCALES):
        scale = SCALE_MIN * math.exp(k * _step())
        reach = math.ceil(6 * scale) + 1
        edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
        mass = torch.special.ndtr(edges[1:] / scale) - torch.special.ndtr(edges[:-1] / scale)
        rows.append(frequencies(mass.numpy()))
    return Tables(rows)


def scale_index(scale: Tensor) -> NDArray[np.uint8]:
    """The scale indices, 1 .. SCALES, of the tables that are nearest in the logarithm."""
    position = (scale.clamp(SCALE_MIN, SCALE_MAX) / SCALE_MIN).log() / _step()
    return cast(NDArray[np.uint8], (position.round() + 1).to(torch.uint8).cpu().numpy())


def frequencies(mass: NDArray[np.float64]) -> NDArray[np.uint32]:
    """mass (2 K + 1,) of the values -K .. K -> (2 k + 2,) frequencies of -k .. k and escape, k as small as TAIL lets.

    See dpc.codec.entropy.Tables.
    """
    reach = len(mass) // 2
    outwards = mass[reach + 1 :] + mass[reach - 1 :: -1]
    inside = mass[reach] + np.cumsum(outwards)
    k = min(reach, int(np.searchsorted(inside, (1 - TAIL) * inside[-1])) + 1)
    kept = mass[reach - k : reach + k + 1]
    probabilities = np.append(kept, max(1 - kept.sum(), 0.0))
    total = 1 << PRECISION
    shares = probabilities / probabilities.sum() * (total - len(probabilities))
    result = np.floor(shares).astype(np.int64) + 1
    result[np.argsort(np.floor(shares) - shares, kind="stable")[: total - result.sum()]] += 1  # the largest remainders
    return result.astype(np.uint32)
