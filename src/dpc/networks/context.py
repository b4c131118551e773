"""Side information and context model: what the latents' distributions are predicted from."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.integer import A_BITS, INDEX_BITS, W_BITS, IntegerConv, _straight, requantise
from dpc.networks.sizes import Network
from dpc.networks.transforms import _act, _zero

Z_LIMIT = 63  # |z_hat| <= Z_LIMIT
INDICES = 64  # scale indices 0..63; index 0 means "always zero, not coded"
SCALE_MIN, SCALE_MAX = 0.055, 48.0  # logistic scale at index 1 and at index 63
MAGNITUDE_MAX = 15  # coded residuals enter the integer branch as min(|r|, MAGNITUDE_MAX)


def _asinh(x: Tensor) -> Tensor:
    """asinh, which the ONNX exporter does not know: latents span three decades, h_a sees them compressed."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


class HyperAnalysis(nn.Module):
    """h_a: y' (N, latents, h, w), h and w multiples of 4 -> z (N, hyper_latents, h/4, w/4), not rounded."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.hyper_width
        self.a = nn.Conv2d(net.latents, w, 3, padding=1)
        self.b = nn.Conv2d(w, w, 4, stride=2, padding=1)
        self.c = nn.Conv2d(w, net.hyper_latents, 4, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        return self.c(_act(self.b(_act(self.a(_asinh(y)))))).float()


class ScaleBranch(nn.Module):
    """The integer network that picks the probability tables. Every tensor in it holds integers in float32.

    features: z_hat (N, hyper_latents, h/4, w/4) -> (N, scale_width, h, w) in 0..A_MAX.
    head g: features and min(|r|, MAGNITUDE_MAX) of all earlier groups -> scale index accumulators of group g, already
    shifted: floor(acc * 2**-INDEX_BITS + 1/2), not yet offset by quality and channel, not clipped.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.scale_width
        self.groups = net.groups
        self.a = IntegerConv(net.hyper_latents, 4 * w)
        self.b = IntegerConv(w, w, 3)
        self.c = IntegerConv(w, 4 * w)
        self.mix = nn.ModuleList()
        self.head = nn.ModuleList()
        before = 0
        for size in net.groups:
            self.mix.append(IntegerConv(w + before, w, 3 if before else 1))
            self.head.append(IntegerConv(w, size))
            nn.init.normal_(self.head[-1].weight, std=0.02)  # type: ignore[arg-type]
            before += size
        with torch.no_grad():
            for conv in (self.a, self.c):
                weight = conv.weight.reshape(-1, 4, *conv.weight.shape[1:])
                weight.copy_(weight[:, :1].expand_as(weight).clone())

    def features(self, z_hat: Tensor) -> Tensor:
        # z_hat has no fractional bits: its accumulators are 2**W_BITS times the value
        weight, bias = self.a.integers()
        acc = F.conv2d(z_hat, weight, _straight(bias, (bias * 2.0**-A_BITS).round()))
        f = F.pixel_shuffle(requantise(acc, W_BITS - A_BITS), 2)
        f = requantise(self.b(f), W_BITS)
        return F.pixel_shuffle(requantise(self.c(f), W_BITS), 2)

    def index(self, group: int, f: Tensor, magnitudes: list[Tensor]) -> Tensor:
        """Group's index before the offset. magnitudes: min(|r|, MAGNITUDE_MAX) of the earlier groups."""
        parts = torch.cat([f] + [m * 2**A_BITS for m in magnitudes], 1) if magnitudes else f
        acc = self.head[group](requantise(self.mix[group](parts), W_BITS))
        real = acc * 2.0**-INDEX_BITS
        return _straight(real, torch.floor(real.detach() + 0.5))


class MeanBranch(nn.Module):
    """mu from z_hat and the parts decoded before, in plain float; the first group in two checkerboard passes.

    psi: z_hat -> (N, mean_width, h, w). first / second / later give normalised means (times gain is y').
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.mean_width
        self.a = nn.Conv2d(net.hyper_latents, 4 * w, 1)
        self.b = nn.Conv2d(w, w, 3, padding=1)
        self.c = nn.Conv2d(w, 4 * w, 1)
        self.first = _zero(nn.Conv2d(w, net.groups[0], 1))
        hidden = net.pass_widths
        self.second = self._pass(w + net.groups[0], hidden[0], net.groups[0])
        self.later = nn.ModuleList(
            [self._pass(w + sum(net.groups[:g]), hidden[g], net.groups[g]) for g in range(1, len(net.groups))]
        )

    @staticmethod
    def _pass(inputs: int, hidden: int, size: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            _zero(nn.Conv2d(hidden, size, 1)),
        )

    def psi(self, z_hat: Tensor) -> Tensor:
        f = _act(F.pixel_shuffle(self.a(z_hat * 0.25), 2))
        return _act(F.pixel_shuffle(self.c(_act(self.b(f))), 2))


def scale_of_index(index: Tensor) -> Tensor:
    """Logistic scale of a (possibly fractional) scale index."""
    step = torch.log(torch.tensor(SCALE_MAX / SCALE_MIN)).item() / (INDICES - 2)
    return SCALE_MIN * torch.exp((index - 1) * step)


def bits_of(value: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the logistic's mass on [value - 1/2, value + 1/2], per element."""
    v = value.abs()
    mass = torch.sigmoid((0.5 - v) / scale) - torch.sigmoid((-0.5 - v) / scale)
    # far tail: log of the difference tends to -(v - 1/2)/s; the clamp keeps a gradient through the linear term
    tail = torch.clamp((v - 0.5) / scale - 14.0, min=0.0) / 0.6931472
    return -torch.log2(mass.clamp(min=1e-6)) + tail
