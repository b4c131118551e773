"""Scales of the channels of a synthesis, so that bytes hold what floats held.

A ReLU passes a factor: ReLU(c x) = c ReLU(x). So every channel between two layers may be multiplied by a factor that
the next layer takes back, and the network computes what it did. Bytes have one scale for all channels of a tensor; with
such factors each of them uses its range (cross-layer equalisation, Nagel et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpc.networks.integer import IntegerBlock, IntegerConv, LeakyConv
from dpc.networks.transforms import BITS, ENTRY, GAIN, SLOPE, Synthesis

PEAK = 0.9 * 2.0 ** (7 - BITS)  # that the largest value of a channel shall have, of the range of signed bytes
RARE = 1e-4  # share of the values that may lie above the peak
STRONGEST = 64.0  # factor


@torch.no_grad()
def balance(s: Synthesis, y_hat: Tensor | None = None, w: Tensor | None = None) -> None:
    """Scale all channels by what these latents (N, latents, h, w) at weights (N, levels, h, w) make of them.

    Without latents: random ones of a Laplace distribution and variance 1, as coded latents about have.
    """
    if y_hat is None or w is None:
        y_hat, w = _random(s)
    x = s.film(F.leaky_relu(s.enter(y_hat), SLOPE), w)
    x = _stage(x, [s.enter], s.at16, _both(s.to8), s.film.shift)
    x = F.pixel_shuffle(F.relu(_float(s.to8.bent, x)) + _float(s.to8.straight, x), 2)
    x = _stage(x, _both(s.to8), s.at8, _both(s.to4))
    x = F.pixel_shuffle(F.relu(_float(s.to4.bent, x)) + _float(s.to4.straight, x), 2)
    x = _stage(x, _both(s.to4), s.at4, [s.bands, s.mix])
    half = s.low_band(y_hat, _float(s.bands, x))
    fine = F.pixel_shuffle(s.fine(y_hat * ENTRY), 4)
    g = F.relu(_float(s.mix, torch.cat([x, GAIN * (half - 1), fine], 1)))
    _between(g, [s.mix], [s.leave], 2 * PEAK)


def _both(layer: LeakyConv) -> list[IntegerConv]:
    return [layer.bent, layer.straight]


def _random(s: Synthesis, side: int = 24) -> tuple[Tensor, Tensor]:
    levels = s.film.scale.shape[0]
    rng = torch.Generator().manual_seed(0)
    one_sided = torch.empty(2, levels, s.linear.shape[1], side, side).exponential_(generator=rng)
    y_hat = (one_sided[0] - one_sided[1]) / 2**0.5  # Laplace, of variance 1
    return y_hat, torch.eye(levels)[:, :, None, None].expand(-1, -1, side, side)


def _float(conv: IntegerConv, x: Tensor) -> Tensor:
    """The convolution in floats."""
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2, groups=conv.groups)


def _factors(x: Tensor, peak: float = PEAK) -> Tensor:
    """(C,) factors that bring the peaks of (N, C, h, w) there."""
    values = x.abs().transpose(0, 1).flatten(1)
    rank = max(1, int(values.shape[1] * (1 - RARE)))
    return (peak / values.kthvalue(rank, 1).values.clamp(min=1e-6)).clamp(1 / STRONGEST, STRONGEST)


def _out(layer: nn.Module, factors: Tensor) -> None:
    """Multiply a layer's output channels; those of a pixel shuffle have four in a row."""
    each = factors.repeat_interleave(len(layer.weight) // len(factors))  # type: ignore[arg-type]
    layer.weight.mul_(each[:, None, None, None])  # type: ignore[operator]
    layer.bias.mul_(each)  # type: ignore[operator]


def _in(layer: IntegerConv, factors: Tensor) -> None:
    """Divide by them the weights of a layer's first input channels, or a depthwise layer's."""
    if layer.groups > 1:
        layer.weight.div_(factors[:, None, None, None])
    else:
        layer.weight[:, : len(factors)].div_(factors[None, :, None, None])


def _between(x: Tensor, before: Sequence[nn.Module], after: Sequence[IntegerConv], peak: float = PEAK) -> Tensor:
    """Scale the channels x between these layers; returns them scaled."""
    factors = _factors(x, peak)
    for layer in before:
        _out(layer, factors)
    for layer in after:
        _in(layer, factors)
    return x * factors[:, None, None]


def _stage(
    x: Tensor,
    before: Sequence[nn.Module],
    blocks: nn.Sequential,
    after: Sequence[IntegerConv],
    shift: Tensor | None = None,
) -> Tensor:
    """Scale what goes through these blocks, x at their entry, and all within them; returns what leaves them, scaled."""
    parts: list[IntegerBlock] = list(blocks)  # type: ignore[arg-type]
    seen = x
    peaks = [x]
    for block in parts:
        d = _float(block.depth, seen)
        d = _between(d, [block.depth], [block.up, block.straight])
        u = _between(F.relu(_float(block.up, d)), [block.up], [block.down], 2 * PEAK)
        seen = seen + _float(block.down, u) + _float(block.straight, d)
        peaks.append(seen)
    factors = torch.stack([_factors(p) for p in peaks]).amin(0)
    for layer in [*before, *[layer for block in parts for layer in (block.down, block.straight)]]:
        _out(layer, factors)
    for layer in [*[block.depth for block in parts], *after]:
        _in(layer, factors)
    if shift is not None:
        shift.mul_(factors)
    return seen * factors[:, None, None]
