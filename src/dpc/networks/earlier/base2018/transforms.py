"""Encoder and decoder of the base network: residual groups with long skips between strided convolutions.

    encoder   conv 5x5/2, F/2   conv 5x5/2, F   G groups of B residual blocks, long skip   conv 5x5/2, C + 1
    decoder   deconv 3x3/2, F   the same groups, long skip   deconv 5x5/2, F/2   deconv 5x5/2, 3

F filters, G groups, B blocks, C channels of symbols. Mentzer et al. 2018, "Conditional Probability Models for Deep
Image Compression": F = 128, G = 5, B = 3, C = 32 or 64.
"""

from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class Conv(nn.Sequential):
    """Convolution, then batch norm; (N, inputs, h, w) -> (N, outputs, h/stride, w/stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class Deconv(nn.Sequential):
    """Transposed convolution of stride 2, then batch norm; (N, inputs, h, w) -> (N, outputs, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        conv = nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding=kernel // 2, output_padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Residual block: 3x3, ReLU, 3x3, plus its input; (N, filters, h, w) -> the same."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.a = Conv(filters, filters, 3)
        self.b = Conv(filters, filters, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.relu(self.a(x)))


class Group(nn.Sequential):
    """Modules one after the other, plus the input of the first: the skip of a group, or the one over all groups."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _trunk(filters: int, groups: int, blocks: int) -> Group:
    return Group(*[Group(*[Block(filters) for _ in range(blocks)]) for _ in range(groups)])


class Encoder(nn.Module):
    """E: normalised picture (N, 3, H, W) -> (N, channels + 1, H/8, W/8); channel 0: importance map before sigmoid."""

    def __init__(self, filters: int, groups: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.enter = Conv(3, filters // 2, 5, 2)
        self.down = Conv(filters // 2, filters, 5, 2)
        self.trunk = _trunk(filters, groups, blocks)
        self.leave = Conv(filters, channels + 1, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down(F.relu(self.enter(x))))
        z: Tensor = self.leave(self.trunk(x))
        return z


class Decoder(nn.Module):
    """D: centres (N, channels, h, w) -> normalised picture (N, 3, 8h, 8w).

    The last layer has a bias and no batch norm: that would give every batch the same mean colour.
    """

    def __init__(self, filters: int, groups: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.enter = Deconv(channels, filters, 3)
        self.trunk = _trunk(filters, groups, blocks)
        self.up = Deconv(filters, filters // 2, 5)
        self.leave = nn.ConvTranspose2d(filters // 2, 3, 5, 2, padding=2, output_padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.trunk(F.relu(self.enter(z)))
        picture: Tensor = self.leave(F.relu(self.up(x)))
        return picture
