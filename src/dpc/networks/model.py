"""The whole codec as one torch module: forward for training, and the start from a linear transform codec.

    x --Analysis--> y --gain[q]--> y' --HyperAnalysis--> z --round--> z_hat
    z_hat, |r| of earlier groups --Scales--> scale index per element
    z_hat, decoded groups --Means--> mu
    z_hat --Means--> fineness per element, which multiplies the gain from here on: gain', y'
    r = round(y' - mu)    y_hat = (r + mu) / gain'      y_hat, q --Synthesis--> x_hat

The quality q is a map: one value for each 64x64 pixels, interpolated between their centres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks import wavelet
from dpc.networks.context import (
    INDICES,
    MAGNITUDE_MAX,
    SCALE_MAX,
    SCALE_MIN,
    Z_LIMIT,
    HyperAnalysis,
    Means,
    Scales,
    bits_of,
    features,
    scale_of_index,
)
from dpc.networks.integer import straight
from dpc.networks.sizes import HYPER_STRIDE, Network
from dpc.networks.transforms import COARSE, ENTRY, GAIN, Analysis, Synthesis, interpolated


@dataclass
class Output:
    """x_hat (N, 3, H, W); bits_y, bits_z (N,): bits of the whole crop.

    What the synthesis read: y_hat (N, latents, H/16, W/16), weights of the quality levels (N, levels, H/16, W/16).
    """

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor
    y_hat: Tensor
    weights: Tensor


class At(NamedTuple):
    """What a quality map says: weights of the levels (N, levels, h, w), gains and index offsets (N, latents, h, w),
    scale indices of z (N, hyper_latents, h/4, w/4)."""

    weights: Tensor
    gain: Tensor
    offset: Tensor
    z_index: Tensor


@dataclass
class Group:
    """A group of channels after the context model: which, scale indices, means, rounded residuals, y_hat."""

    part: slice
    index: Tensor
    mu: Tensor
    residual: Tensor
    y_hat: Tensor


Quantise = Callable[[slice, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(part, scale indices, means, gains) of a group -> its residuals, and residuals + means."""


def rate(value: Tensor, rounded: Tensor, scale: Tensor) -> Tensor:
    """Bits of the rounded values, (N,). The scale gets their gradient, value the gradient under uniform noise."""
    hard = bits_of(rounded, scale)
    soft = bits_of(value + torch.rand_like(value) - 0.5, scale.detach())
    return (hard + soft - soft.detach()).sum((1, 2, 3))


class _Bounded(torch.autograd.Function):
    """clamp whose gradient also passes where it would move the value back inside."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        (g,) = gradients
        blocked = ((x < ctx.low) & (g > 0)) | ((x > ctx.high) & (g < 0))  # type: ignore[attr-defined]
        return g.masked_fill(blocked, 0.0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x clipped to [low, high], with a gradient that can lead back inside."""
    result: Tensor = _Bounded.apply(x, low, high)
    return result


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
        self.scales = Scales(net)
        self.means = Means(net)
        self.log_gain = nn.Parameter(torch.zeros(net.levels, net.latents))
        self.offset = nn.Parameter(torch.zeros(net.levels, net.latents))
        self.z_index = nn.Parameter(torch.full((net.levels, net.hyper_latents), index_of_scale(0.5)))

    def interpolation(self, level: Tensor) -> Tensor:
        """level (N, 1, h, w) in [0, levels - 1] -> weights (N, levels, h, w) of linear interpolation."""
        grid = torch.arange(self.net.levels, device=level.device)[:, None, None]
        return (1 - (level - grid).abs()).clamp(min=0)

    def forward(self, x: Tensor, cells: Tensor, *, frozen: bool = False, taught: bool = False) -> Output:
        """x: (N, 3, H, W) in [0, 1], H and W multiples of CELL; cells: (N, H/CELL, W/CELL) in [0, levels - 1].

        frozen: analysis and gains get no gradient. taught: the synthesis alone gets one.
        """
        varied = (cells.amax((1, 2)) > cells.amin((1, 2)))[:, None, None, None]
        at = self.at(cells)
        # where the quality varies the crop's one lambda says nothing of the single gains
        gain = at.gain.detach() if frozen else torch.where(varied, at.gain.detach(), at.gain)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            y = self.g_a(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not taught):
            z = bounded(self.h_a(y * gain), -Z_LIMIT, Z_LIMIT)
            z_scale = scale_of_index(bounded(at.z_index, 1, INDICES - 1))
            z_hat = straight(z, z.round())
            bits_z = rate(z, z_hat.detach(), z_scale)
            decoded, bits_y = self._code(y, z_hat, gain, at.offset)
            y_hat = torch.cat(decoded, 1)
        return Output(self.g_s(y_hat, at.weights), bits_y, bits_z, y_hat, at.weights)

    def at(self, cells: Tensor) -> At:
        """cells: (N, H/CELL, W/CELL) in [0, levels - 1]."""
        level = F.interpolate(cells[:, None], scale_factor=HYPER_STRIDE, mode="bilinear")
        weights, cell_weights = self.interpolation(level), self.interpolation(cells[:, None])
        with torch.autocast(cells.device.type, enabled=False):  # the artifact interpolates its tables in float32
            gain = torch.exp(interpolated(weights, self.log_gain))
            offset = _rounded(interpolated(weights, self.offset))
            z_index = _rounded(interpolated(cell_weights, self.z_index))
        return At(weights, gain, offset, z_index)

    def _code(self, y: Tensor, z_hat: Tensor, gain: Tensor, offset: Tensor) -> tuple[list[Tensor], Tensor]:
        """What a training sees of coding: decoded parts, and the bits of y."""
        values: list[Tensor] = []  # y of a group in units of its quantisation steps

        def quantise(part: slice, index: Tensor, mu: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
            value = y[:, part] * gain
            values.append(value)
            r = (value - mu).detach().round() * (index.detach() > 0).float()
            return r, straight(value, r + mu.detach())

        groups = self.in_order(z_hat, gain, offset, quantise)
        del values[0]  # the first group is quantised twice
        bits_y = y.new_zeros(len(y))
        for group, value in zip(groups, values, strict=True):
            # where the index says "never coded" the rate still sees the residual that was lost, so the index can rise
            error = value - group.mu
            bits_y = bits_y + rate(error, error.detach().round(), scale_of_index(group.index))
        return [group.y_hat for group in groups], bits_y

    def in_order(self, z_hat: Tensor, gain: Tensor, offset: Tensor, quantise: Quantise) -> list[Group]:
        """The context model, group by group: encoder, decoder and training.

        quantise gives what is known of a group once its indices and means are there. It is asked twice for the first
        group: with the means of the positions that are decoded first, then with all.
        """
        with torch.autocast(z_hat.device.type, enabled=False):
            f = features(self.scales.features, z_hat)
        psi = features(self.means.features, z_hat)
        gain = gain * self.means.fineness(psi)
        even = checkerboard(gain.shape[2], gain.shape[3], gain.device)
        magnitudes: list[Tensor] = []
        groups: list[Group] = []
        start = 0
        for g, size in enumerate(self.net.groups):
            part = slice(start, start + size)
            gain_g = gain[:, part]
            with torch.autocast(z_hat.device.type, enabled=False):
                index = bounded(self.scales.index(g, f, magnitudes) + offset[:, part], 0, INDICES - 1)
            if g == 0:
                mu = self.means.first(psi).float()
                seen = quantise(part, index, mu * gain_g, gain_g)[1] / gain_g * even
                mu = mu * even + self.means.second(self.means.context(psi, [seen])).float() * (1 - even)
            else:
                mu = self.means.later[g - 1](self.means.context(psi, [group.y_hat for group in groups])).float()
            mu = mu * gain_g
            r, value = quantise(part, index, mu, gain_g)
            groups.append(Group(part, index, mu, r, value / gain_g))
            magnitudes.append(r.abs().clamp(max=MAGNITUDE_MAX))
            start += size
        return groups

    @torch.no_grad()
    def start_from_wavelet(self, pictures: Iterable[Tensor], steps: Tensor) -> Tensor:
        """Set the linear parts, gains and offsets from photographs.

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
        self.log_gain.copy_((std[None] / steps[:, None].double()).log().float())
        # a logistic of scale s has standard deviation 1.81 s; never below index 1
        scale = (self.log_gain.exp() / 1.81).clamp(SCALE_MIN, SCALE_MAX)
        step = math.log(SCALE_MAX / SCALE_MIN) / (INDICES - 2)
        self.offset.copy_(1 + (scale / SCALE_MIN).log() / step)
        self.start_synthesis((vectors * std).float(), mean.float())
        return values.float()

    @torch.no_grad()
    def start_synthesis(self, basis: Tensor, mean: Tensor) -> None:
        """Set the synthesis to a linear transform codec's: wavelet coefficients = basis @ y_hat + mean.

        basis: (768, latents), mean: (768,), in the order of wavelet.pack. The deep branch adds nothing yet.
        """
        s = self.g_s
        s.linear.copy_(basis[:COARSE, :, None, None])
        s.mean.copy_(mean[:COARSE])
        s.fine.weight.copy_(in_cells(basis[COARSE:])[:, :, None, None] * GAIN / ENTRY)
        s.fine.bias.copy_(in_cells(mean[COARSE:]) * GAIN)
        s.finest.weight[:] = wavelet.cell_kernel()[:, 12:] / GAIN


def in_cells(details: Tensor) -> Tensor:
    """Details of level 1 of wavelet.pack, (576, ...), in the order that a pixel shuffle by 4 brings into 4x4 cells."""
    # band, then row and column of the cell at 1/4, of the sample in it
    parts = details.reshape(9, 4, 2, 4, 2, *details.shape[1:])
    return parts.movedim((1, 3), (3, 4)).reshape(details.shape)


def _rounded(x: Tensor) -> Tensor:
    return straight(x, x.round())
