"""The whole codec as one torch module: forward for training, and the start from a linear transform codec."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from dpc.networks import wavelet
from dpc.networks.context import (
    INDICES,
    MAGNITUDE_MAX,
    SCALE_MAX,
    SCALE_MIN,
    Z_LIMIT,
    HyperAnalysis,
    MeanBranch,
    ScaleBranch,
    bits_of,
    scale_of_index,
)
from dpc.networks.integer import _straight, bounded
from dpc.networks.sizes import Network
from dpc.networks.transforms import Analysis, Synthesis


@dataclass
class Output:
    """x_hat (N, 3, H, W); bits_y, bits_z (N,): bits of the whole crop."""

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor


def rate(value: Tensor, rounded: Tensor, scale: Tensor) -> Tensor:
    """Bits of the rounded values, (N,). The scale gets their gradient, value the gradient under uniform noise."""
    hard = bits_of(rounded, scale)
    soft = bits_of(value + torch.rand_like(value) - 0.5, scale.detach())
    return (hard + soft - soft.detach()).sum((1, 2, 3))


def index_of_scale(scale: float) -> float:
    """The fractional scale index of a logistic scale; inverse of scale_of_index."""
    return 1 + (INDICES - 2) * math.log(scale / SCALE_MIN) / math.log(SCALE_MAX / SCALE_MIN)


def checkerboard(h: int, w: int, device: torch.device | None = None) -> Tensor:
    """(1, 1, h, w) float: 1 where row + column is even (decoded first), else 0."""
    rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)[None, :]
    return ((rows + columns) % 2 == 0).float()[None, None]


class Model(nn.Module):
    """All networks, gains and index offsets.

    log_gain: (levels, latents); gains between levels are interpolated linearly in the logarithm.
    offset: (levels, latents) scale-index offsets and z_index: (levels, hyper_latents) scale indices of z, interpolated
    linearly and rounded.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net
        self.g_a = Analysis(net)
        self.g_s = Synthesis(net)
        self.h_a = HyperAnalysis(net)
        self.scales = ScaleBranch(net)
        self.means = MeanBranch(net)
        self.log_gain = nn.Parameter(torch.zeros(net.levels, net.latents))
        self.offset = nn.Parameter(torch.zeros(net.levels, net.latents))
        self.z_index = nn.Parameter(torch.full((net.levels, net.hyper_latents), index_of_scale(0.5)))

    def interpolation(self, level: Tensor) -> Tensor:
        """level (N,) in [0, levels - 1] -> weights (N, levels) of linear interpolation."""
        grid = torch.arange(self.net.levels, device=level.device)
        return (1 - (level[:, None] - grid).abs()).clamp(min=0)

    def forward(self, x: Tensor, level: Tensor) -> Output:
        """x: (N, 3, H, W) in [0, 1], H and W multiples of 64; level: (N,) in [0, levels - 1]."""
        weights = self.interpolation(level)
        with torch.autocast(x.device.type, enabled=False):  # the artifact interpolates its tables in float32
            gain = torch.exp(weights @ self.log_gain)[:, :, None, None]
            offset = self._rounded(weights @ self.offset)
            z_index = self._rounded(weights @ self.z_index)
        y = self.g_a(x) * gain
        z = bounded(self.h_a(y), -Z_LIMIT, Z_LIMIT)
        z_scale = scale_of_index(bounded(z_index, 1, INDICES - 1))
        z_hat = _straight(z, z.round())
        bits_z = rate(z, z_hat.detach(), z_scale)

        with torch.autocast(x.device.type, enabled=False):
            features = self.scales.features(z_hat)
        psi = self.means.psi(z_hat)
        even = checkerboard(y.shape[2], y.shape[3], x.device)
        bits_y = torch.zeros_like(bits_z)
        magnitudes: list[Tensor] = []
        decoded: list[Tensor] = []  # divided by the gain
        start = 0
        for g, size in enumerate(self.net.groups):
            part = slice(start, start + size)
            y_g, gain_g = y[:, part], gain[:, part]
            with torch.autocast(x.device.type, enabled=False):
                index = bounded(self.scales.index(g, features, magnitudes) + offset[:, part], 0, INDICES - 1)
            coded = (index.detach() > 0).float()
            scale = scale_of_index(index)
            if g == 0:
                mu = self.means.first(psi).float()
                seen = (_straight(y_g, self._residual(y_g, mu * gain_g, coded) + mu.detach() * gain_g) / gain_g) * even
                mu = mu * even + self.means.second(torch.cat([psi, seen.to(psi.dtype)], 1)).float() * (1 - even)
            else:
                mu = self.means.later[g - 1](torch.cat([psi, *[d.to(psi.dtype) for d in decoded]], 1)).float()
            mu = mu * gain_g
            # where the index says "never coded" the rate still sees the residual that was lost, so the index can rise
            bits_y = bits_y + rate(y_g - mu, (y_g - mu).detach().round(), scale)
            r = self._residual(y_g, mu, coded)
            decoded.append(_straight(y_g, r + mu.detach()) / gain_g)
            magnitudes.append(r.abs().clamp(max=MAGNITUDE_MAX))
            start += size
        return Output(self.g_s(torch.cat(decoded, 1), weights), bits_y, bits_z)

    @staticmethod
    def _rounded(x: Tensor) -> Tensor:
        return _straight(x, x.round())[:, :, None, None]

    @staticmethod
    def _residual(y: Tensor, mu: Tensor, coded: Tensor) -> Tensor:
        return ((y - mu).detach().round()) * coded

    @torch.no_grad()
    def start_from_wavelet(self, pictures: Iterable[Tensor], steps: Tensor) -> Tensor:
        """Set the linear shortcut, gains and offsets from photographs.

        pictures: (N, 3, H, W) batches in [0, 1]; steps (levels,): quantisation step of a pixel-domain orthonormal
        transform at every level. Returns the eigenvalues that were kept, (latents,).
        Only the parts that are a fixed function of the statistics are touched; deep branches start at zero.
        """
        total = torch.zeros(wavelet.COEFFICIENTS, dtype=torch.float64)
        second = torch.zeros(wavelet.COEFFICIENTS, wavelet.COEFFICIENTS, dtype=torch.float64)
        count = 0
        for batch in pictures:
            c = wavelet.pack(batch).permute(1, 0, 2, 3).flatten(1).double()
            total += c.sum(1)
            second += c @ c.T
            count += c.shape[1]
        mean = total / count
        values, vectors = torch.linalg.eigh(second / count - torch.outer(mean, mean))
        values, vectors = values.flip(0)[: self.net.latents], vectors.flip(1)[:, : self.net.latents]
        std = values.clamp(min=1e-12).sqrt()
        forward = (vectors / std).T  # (latents, 768)
        n = self.net.latents
        four, three, two, one = forward.float().split([12, 36, 144, 576], 1)
        self.g_a.linear4.copy_(four.reshape(n, 12, 1, 1))
        self.g_a.linear3.copy_(three.reshape(n, 9, 2, 2))
        self.g_a.linear2.copy_(two.reshape(n, 9, 4, 4))
        self.g_a.linear1.copy_(one.reshape(n, 9, 8, 8))
        self.g_a.mean.copy_((forward @ mean).float())
        self.g_s.linear.copy_((vectors * std).float()[:, :, None, None])
        self.g_s.mean.copy_(mean.float())
        self.log_gain.copy_((std[None] / steps[:, None].double()).log().float())
        # a logistic of scale s has standard deviation 1.81 s; never below index 1
        scale = (self.log_gain.exp() / 1.81).clamp(SCALE_MIN, SCALE_MAX)
        step = math.log(SCALE_MAX / SCALE_MIN) / (INDICES - 2)
        self.offset.copy_(1 + (scale / SCALE_MIN).log() / step)
        return values.float()
