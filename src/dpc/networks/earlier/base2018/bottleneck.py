"""Importance map and quantiser: what of the encoder's output becomes symbols."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SIGMA = 1.0
"""Hardness of the soft assignment, as published."""


class Symbols(NamedTuple):
    """What Q gives, all for z of shape (N, C, h, w).

    indices: int64, the nearest centre. soft: (N, C, h, w, L) float, the weight of each centre, sums to 1. value: the
    centre itself; backward it is the mean of all centres under soft.
    """

    indices: Tensor
    soft: Tensor
    value: Tensor


def passed(forward: Tensor, backward: Tensor) -> Tensor:
    """The value of one and the gradient of the other (straight-through)."""
    return forward.detach() + (backward - backward.detach())


def importance_mask(raw: Tensor, channels: int) -> Tensor:
    """raw (N, 1, h, w), the encoder's channel 0 -> mask (N, channels, h, w): ones, then zeros, along the channels.

    y = channels * sigmoid(raw); m[c] = clip(y - c, 0, 1). Forward it is ceil(m), backward m (section 3.4 of the paper).
    """
    y = channels * torch.sigmoid(raw)
    soft = (y - torch.arange(channels, device=raw.device, dtype=raw.dtype).reshape(1, -1, 1, 1)).clamp(0, 1)
    return passed(soft.ceil(), soft)


def quantise(z: Tensor, centres: Tensor) -> Symbols:
    """z (N, C, h, w) float32, centres (L,) -> the nearest centres forward, the soft assignment backward.

    soft = softmax over l of -SIGMA (z - centres[l])^2 (section 3.1 of the paper).
    """
    distance = (z[..., None] - centres).square()
    soft = torch.softmax(-SIGMA * distance, -1)
    index = distance.argmin(-1)
    mean = soft @ centres
    return Symbols(index, soft, passed(centres[index], mean))
