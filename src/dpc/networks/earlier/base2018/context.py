"""The context model P: the probabilities of a symbol's centres, given the symbols before it.

Four masked 3D convolutions over (channel, row, column). A filter has 2 x 3 x 3 taps: the channel before with all of its
3 x 3 taps, and the symbol's own channel with those taps that come before in raster order. The first layer leaves out
the symbol itself. Mentzer et al. 2018, section 3.2; the causal filters follow van den Oord et al. 2016 (PixelCNN).
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

LAYERS = 4
Tap = tuple[int, int, int]


def taps(*, first: bool) -> list[Tap]:
    """(channel, row, column) of what a filter sees, relative to the symbol; 13 in the first layer, 14 in the others."""
    before = [(-1, row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    own = [(0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -1)]
    return before + own + ([] if first else [(0, 0, 0)])


class MaskedConv(nn.Module):
    """A masked 3D convolution; (N, C, h, w, inputs) -> (N, C, h, w, outputs), zeros outside.

    It is a 2D convolution on the pictures of all channels, each beside the one before: fast, also on CPUs.
    weight: (outputs, 2 * inputs, 3, 3), first the filters on the channel before, then those on the symbol's own.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, *, first: bool = False) -> None:
        super().__init__()
        self.taps = taps(first=first)
        mask = torch.zeros(1, 2, 1, 3, 3)
        for channel, row, column in self.taps:
            mask[0, channel + 1, 0, row + 1, column + 1] = 1
        self.register_buffer("mask", mask.expand(1, 2, inputs, 3, 3).reshape(1, -1, 3, 3).clone(), persistent=False)
        bound = (3 / (len(self.taps) * inputs)) ** 0.5
        self.weight = nn.Parameter(torch.empty(outputs, 2 * inputs, 3, 3).uniform_(-bound, bound) * self.mask)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w, _ = x.shape
        before = F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        both = torch.cat([before, x], -1).reshape(n * channels, h, w, -1).permute(0, 3, 1, 2)
        y = F.conv2d(both, self.weight * self.mask, self.bias, padding=1)
        return y.permute(0, 2, 3, 1).reshape(n, channels, h, w, -1)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """The weights as (taps * inputs, outputs) in the order of self.taps, and the bias."""
        split = self.weight.detach().unflatten(1, (2, -1))
        rows = [split[:, channel + 1, :, row + 1, column + 1] for channel, row, column in self.taps]
        return torch.stack(rows, 1).flatten(1).T, self.bias.detach()


class Context(nn.Module):
    """Centres of symbols (N, C, h, w) -> logits (N, C, h, w, L); those of a symbol depend on symbols before it only.

    1 -> width, ReLU; residual pair width -> width, ReLU, width -> width; width -> L.
    """

    def __init__(self, width: int, centres: int) -> None:
        super().__init__()
        self.enter = MaskedConv(1, width, first=True)
        self.a = MaskedConv(width, width)
        self.b = MaskedConv(width, width)
        self.leave = MaskedConv(width, centres)

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu(self.enter(z[..., None]))
        h = h + self.b(F.relu(self.a(h)))
        logits: Tensor = self.leave(h)
        return logits

    def costs(self, z: Tensor) -> Tensor:
        """Bits of each centre at each position, float32 (N, C, h, w, L)."""
        return torch.log_softmax(self(z).float(), -1) / -0.6931471805599453
