"""Layers whose arithmetic is in integers, so that it is the same on every machine."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

A_BITS, A_MAX = 4, 255  # activations of the integer branch: k / 2**A_BITS, 0 <= k <= A_MAX
W_BITS, W_MAX = 6, 127  # weights of the integer branch: k / 2**W_BITS, |k| <= W_MAX
INDEX_BITS = 7  # the heads' accumulators are shifted by this many bits to give a scale index


def _straight(x: Tensor, value: Tensor) -> Tensor:
    """value going forward, the gradient of x going back."""
    return x + (value - x).detach()


class _Bounded(torch.autograd.Function):
    """clamp whose gradient also passes where it would move the value back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (g,) = gradients
        blocked = ((x < ctx.low) & (g > 0)) | ((x > ctx.high) & (g < 0))
        return g.masked_fill(blocked, 0.0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x clipped to [low, high], with a gradient that can lead back inside."""
    result: Tensor = _Bounded.apply(x, low, high)
    return result


class IntegerConv(nn.Module):
    """A convolution on dyadic integers: forward is exactly what the integer network of the artifact computes.

    Weights are rounded to multiples of 2**-W_BITS and clipped to W_MAX of them, the bias to multiples of
    2**-(W_BITS + A_BITS). Rows whose worst accumulator could reach 2**24 are scaled down before rounding, so the bound
    that export checks holds for any weights.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.padding = kernel // 2
        nn.init.kaiming_uniform_(self.weight, a=1)

    def integers(self) -> tuple[Tensor, Tensor]:
        """Integer weights (outputs, inputs, k, k) and biases (outputs,), as floats, with straight-through gradients."""
        scaled = self.weight * 2**W_BITS
        limit = (2**24 - 2**20) / A_MAX
        scaled = scaled * (limit / scaled.detach().abs().sum((1, 2, 3), keepdim=True)).clamp(max=1)
        weight = _straight(scaled, scaled.round().clamp(-W_MAX, W_MAX))
        bias = self.bias * 2 ** (W_BITS + A_BITS)
        return weight, _straight(bias, bias.round().clamp(-(2**19), 2**19))

    def forward(self, a: Tensor) -> Tensor:
        """a: integers in float32 -> accumulators, integers in float32 (real value times 2**(W_BITS + A_BITS))."""
        weight, bias = self.integers()
        return F.conv2d(a, weight, bias, padding=self.padding)


def requantise(acc: Tensor, shift: int) -> Tensor:
    """floor(acc * 2**-shift + 1/2), clipped to 0..A_MAX; the gradient passes inside the range."""
    real = acc * 2.0**-shift
    return _straight(bounded(real, 0, A_MAX), torch.floor(real.detach() + 0.5).clamp(0, A_MAX))
