"""Convolutions of 8-bit integers, as they are trained and as they run.

Activations are bytes, weights are integers of 7 bits, and every scale is a power of two. So a sum is an integer that is
the same in any order, and bringing it back to a byte is one multiplication by a power of two and one rounding:

    byte = clip(round(sum * 2**-shift) + zero point, 0, 255), halves to the even number

which is what ONNX's QLinearConv computes. Weights of 7 bits keep the pairwise 16-bit sums of AVX2 (vpmaddubsw) from
saturating: 2 * 255 * 63 < 2**15. In training the same numbers are carried in floats, with straight-through gradients
(Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

W_MAX = 63  # largest |weight|
E_MAX = 14  # weights are multiples of 2**-E_MAX at the finest
SIGNED = (-128, 127)
UNSIGNED = (0, 255)


class _Bytes(torch.autograd.Function):
    """round(x * 2**bits), clipped, as a multiple of 2**-bits; see on_bytes()."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, low: int, high: int) -> Tensor:
        steps = x.mul(2.0**bits).round_()
        clipped = steps.clamp(low, high)
        ctx.save_for_backward(steps == clipped)
        return clipped.mul_(2.0**-bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


def on_bytes(x: Tensor, bits: int, *, signed: bool) -> Tensor:
    """x rounded to multiples of 2**-bits and clipped to what a byte holds of them, of x's shape and dtype.

    signed: -128 .. 127 multiples, else 0 .. 255, which rectifies. The gradient passes inside of the range.
    """
    result: Tensor = _Bytes.apply(x, bits, *(SIGNED if signed else UNSIGNED))
    return result


def power_of_two(e: Tensor) -> Tensor:
    """2**e, exact, of whole numbers e; float32 of e's shape."""
    return torch.ldexp(torch.ones(e.shape, device=e.device), e)


def straight(x: Tensor, value: Tensor) -> Tensor:
    """value going forward, the gradient of x going back."""
    return x + (value - x).detach()


class IntegerConv(nn.Module):
    """A convolution of bytes to bytes (or, with bits_out None, to exact floats), stride 1, zeros around.

    depthwise: each channel by itself. Inputs are multiples of 2**-bits_in. Each output channel has weights that are
    multiples of 2**-e, with e as large as W_MAX allows, and a bias of multiples of 2**-(e + bits_in). Outputs are
    multiples of 2**-bits_out, signed or not; those that are not signed are rectified.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        bits_in: int,
        bits_out: int | None,
        signed: bool = False,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.groups = inputs if depthwise else 1
        self.bits_in, self.bits_out, self.signed = bits_in, bits_out, signed
        self.weight = nn.Parameter(torch.empty(outputs, inputs // self.groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear" if signed else "relu")

    def exponents(self) -> Tensor:
        """e of every output channel, (outputs,) int32."""
        peak = self.weight.detach().abs().amax((1, 2, 3)).clamp(min=2.0**-20)
        return (torch.frexp(W_MAX / peak)[1] - 1).clamp(max=E_MAX)

    def integers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (outputs, inputs, k, k) and biases (outputs,) as integers in floats, and the exponents."""
        e = self.exponents()
        weight = (self.weight.detach() * power_of_two(e)[:, None, None, None]).round_().clamp_(-W_MAX, W_MAX)
        bias = (self.bias.detach() * power_of_two(e + self.bits_in)).round_().clamp_(-(2**23), 2**23)
        return weight, bias, e

    def forward(self, a: Tensor) -> Tensor:
        weight, bias, e = self.integers()
        w = straight(self.weight, weight * power_of_two(-e)[:, None, None, None])
        b = straight(self.bias, bias * power_of_two(-e - self.bits_in))
        y = F.conv2d(a, w, b, padding=w.shape[-1] // 2, groups=self.groups)
        if self.bits_out is None:
            return y
        return on_bytes(y, self.bits_out, signed=self.signed)


class IntegerBlock(nn.Module):
    """x + down(relu(up(d))) + straight(d), d = depth(x), on signed bytes: (N, C, h, w) -> the same.

    Depthwise 3x3, 1x1 to twice the channels, 1x1 back, and 1x1 past the ReLU, as a leaky ReLU has it. Starts as the
    identity.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.depth = IntegerConv(channels, channels, 3, bits_in=bits, bits_out=bits, signed=True, depthwise=True)
        self.up = IntegerConv(channels, 2 * channels, 1, bits_in=bits, bits_out=bits)
        self.down = IntegerConv(2 * channels, channels, 1, bits_in=bits, bits_out=bits, signed=True)
        self.straight = IntegerConv(channels, channels, 1, bits_in=bits, bits_out=bits, signed=True)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.straight.weight)

    def forward(self, x: Tensor) -> Tensor:
        d = self.depth(x)
        change = on_bytes(self.down(self.up(d)) + self.straight(d), self.bits, signed=True)
        return on_bytes(x + change, self.bits, signed=True)


class LeakyConv(nn.Module):
    """A 1x1 convolution of signed bytes with a ReLU, and one without, added: (N, C, h, w) -> (N, outputs, h, w).

    With weights W and a W the two are a leaky ReLU.
    """

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.bent = IntegerConv(inputs, outputs, 1, bits_in=bits, bits_out=bits)
        self.straight = IntegerConv(inputs, outputs, 1, bits_in=bits, bits_out=bits, signed=True)

    def forward(self, x: Tensor) -> Tensor:
        return on_bytes(self.bent(x) + self.straight(x), self.bits, signed=True)
