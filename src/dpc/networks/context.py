"""Side information and context model: z, the scale indices that pick the probability tables, the means.

What decides how a stream is read, and the latents that come out of it, is made of integers: see integer.py.
Symbols follow Ballé et al. 2018 and Minnen et al. 2018; channel groups follow Minnen and Singh 2020, the checkerboard
of the first group He et al. 2021.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.integer import IntegerConv, on_bytes, straight
from dpc.networks.sizes import Network
from dpc.networks.transforms import act

Z_LIMIT = 63  # |z_hat| <= Z_LIMIT
INDICES = 64  # scale indices 0..63; index 0 means "always zero, not coded"
SCALE_MIN, SCALE_MAX = 0.055, 48.0  # logistic scale at index 1 and at index 63
FEATURE_BITS = 4  # features of scales and means are multiples of 2**-FEATURE_BITS
INDEX_BITS = 3  # the heads give scale indices / 2**INDEX_BITS
WIDTH_BITS = 6  # the octaves by which the gains change from place to place are multiples of 2**-WIDTH_BITS, -2 to 2
MAGNITUDE_MAX = 15  # coded residuals enter the network of the scales as min(|r|, MAGNITUDE_MAX)

FINENESS = np.exp2(np.arange(-128, 128) / 2.0**WIDTH_BITS).astype(np.float32)  # of every byte


def asinh(x: Tensor) -> Tensor:
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
        return self.c(act(self.b(act(self.a(asinh(y)))))).float()


def _icnr(conv: IntegerConv) -> IntegerConv:
    """All phases of a pixel shuffle start equal: no checkerboard to begin with (Aitken et al. 2017)."""
    with torch.no_grad():
        weight = conv.weight.reshape(-1, 4, *conv.weight.shape[1:])
        weight.copy_(weight[:, :1].expand_as(weight).clone())
    return conv


def _features(inputs: int, width: int, *, signed: bool) -> nn.ModuleDict:
    """Layers of features(). signed: the last one is linear, so that signed bytes can stand beside its outputs."""
    bits = FEATURE_BITS
    return nn.ModuleDict(
        {
            "a": _icnr(IntegerConv(inputs, 4 * width, 1, bits_in=0, bits_out=bits)),
            "b": IntegerConv(width, width, 3, bits_in=bits, bits_out=bits),
            "c": _icnr(IntegerConv(width, 4 * width, 1, bits_in=bits, bits_out=bits, signed=signed)),
        }
    )


def features(net: nn.ModuleDict, z_hat: Tensor) -> Tensor:
    """z_hat (N, hyper_latents, h/4, w/4) integers -> features (N, width, h, w), multiples of 2**-FEATURE_BITS."""
    return F.pixel_shuffle(net["c"](net["b"](F.pixel_shuffle(net["a"](z_hat), 2))), 2)


class Scales(nn.Module):
    """The network that picks the probability tables.

    features: of z_hat. index(g): features and min(|r|, MAGNITUDE_MAX) of all earlier groups -> the scale indices of
    group g before the offset of quality and channel, integers in -128 .. 127.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w, bits = net.scale_width, FEATURE_BITS
        self.features = _features(net.hyper_latents, w, signed=False)
        self.mix = nn.ModuleList()
        self.head = nn.ModuleList()
        before = 0
        for size in net.groups:
            self.mix.append(IntegerConv(w + before, w, 3 if before else 1, bits_in=bits, bits_out=bits))
            self.head.append(IntegerConv(w, size, 1, bits_in=bits, bits_out=INDEX_BITS, signed=True))
            nn.init.normal_(self.head[-1].weight, std=0.02)  # type: ignore[arg-type]
            before += size

    def index(self, group: int, f: Tensor, magnitudes: list[Tensor]) -> Tensor:
        """Group's index before the offset. magnitudes: min(|r|, MAGNITUDE_MAX) of the earlier groups."""
        parts = torch.cat([f, *magnitudes], 1) if magnitudes else f
        head: Tensor = self.head[group](self.mix[group](parts))
        return head * 2.0**INDEX_BITS


class Means(nn.Module):
    """mu, divided by the gain, from z_hat and the parts decoded before; the first group in two checkerboard passes.

    Decoded parts enter as signed bytes; the last layer of each pass gives exact floats. From the same features come the
    widths of the quantisation steps at every place: where much hides an error they grow. They start at 1.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w, hidden = net.mean_width, net.pass_widths
        self.features = _features(net.hyper_latents, w, signed=True)
        self.first = self._last(w, net.groups[0])
        self.second = self._pass(w + net.groups[0], hidden[0], net.groups[0])
        self.later = nn.ModuleList(
            [self._pass(w + sum(net.groups[:g]), hidden[g], net.groups[g]) for g in range(1, len(net.groups))]
        )

        self.octaves = IntegerConv(w, net.latents, 1, bits_in=FEATURE_BITS, bits_out=WIDTH_BITS, signed=True)
        nn.init.zeros_(self.octaves.weight)

    def fineness(self, psi: Tensor) -> Tensor:
        """What multiplies the gains at every place, 1/4 to 4: psi (N, width, h, w) -> (N, latents, h, w) float32.

        A power of two of a byte, so it is looked up: the same float everywhere.
        """
        octaves = self.octaves(psi).float()
        table = torch.from_numpy(FINENESS).to(psi.device)
        return straight(torch.exp2(octaves), table[(octaves * 2.0**WIDTH_BITS).long() + 128])

    @staticmethod
    def _last(inputs: int, size: int) -> IntegerConv:
        conv = IntegerConv(inputs, size, 1, bits_in=FEATURE_BITS, bits_out=None, signed=True)
        nn.init.zeros_(conv.weight)
        return conv

    @classmethod
    def _pass(cls, inputs: int, hidden: int, size: int) -> nn.Sequential:
        mix = IntegerConv(inputs, hidden, 3, bits_in=FEATURE_BITS, bits_out=FEATURE_BITS)
        return nn.Sequential(mix, cls._last(hidden, size))

    @staticmethod
    def context(psi: Tensor, decoded: list[Tensor]) -> Tensor:
        """The input of a pass: features and the parts decoded before, as bytes."""
        return torch.cat([psi, *[on_bytes(d, FEATURE_BITS, signed=True).to(psi.dtype) for d in decoded]], 1)


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
