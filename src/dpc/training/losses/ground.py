"""Errors where nothing hides them: on plain ground, beside letters and edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dpc.training.losses.pattern import opponent

FLAT = 0.25  # levels squared: activity below which a pixel lies on plain ground


def activity(luma: Tensor) -> Tensor:
    """What hides an error: the smallest of the four 5x5 variances around a pixel, three pixels away diagonally.

    luma: (N, 1, H, W) float in 8-bit levels -> the same shape, levels squared. On plain ground beside an edge one of
    the four is small: an edge hides nothing there.
    """
    mean = F.avg_pool2d(F.pad(luma, (2, 2, 2, 2), mode="replicate"), 5, 1)
    square = F.avg_pool2d(F.pad(luma * luma, (2, 2, 2, 2), mode="replicate"), 5, 1)
    variance = F.pad((square - mean * mean).clamp(min=0), (3, 3, 3, 3), mode="replicate")
    height, width = luma.shape[2:]
    corners = [variance[:, :, i : i + height, j : j + width] for i in (0, 6) for j in (0, 6)]
    return torch.minimum(torch.minimum(corners[0], corners[1]), torch.minimum(corners[2], corners[3]))


def flatness(hidden: Tensor) -> Tensor:
    """How flat a crop is, 0 to 1: 1 where at least a quarter of it lies on plain ground. hidden: activity(); (N,)."""
    return ((hidden < FLAT).float().mean((1, 2, 3)) * 4).clamp(max=1)


def masked_error(x: Tensor, x_hat: Tensor, hidden: Tensor) -> Tensor:
    """The squared error of luma, R-G and B-G (halved), divided by what hides it, at three scales: (N,) float32.

    x, x_hat: (N, 3, H, W) float in [0, 1]; hidden: activity() of x. The error itself counts by 1 / (hidden + 4), its
    means over 4x4 by 1 / (hidden / 4 + 1), over 8x8 by 1 / (hidden / 8 + 1/2), hidden averaged likewise.
    """
    e = opponent(x_hat - x) * x.new_tensor([1.0, 0.5, 0.5])[:, None, None]
    total = (e.square() / (hidden + 4)).mean((1, 2, 3))
    for n, share, least in ((4, 0.25, 1.0), (8, 0.125, 0.5)):
        coarse = F.avg_pool2d(e, n).square() / (share * F.avg_pool2d(hidden, n) + least)
        total = total + coarse.mean((1, 2, 3))
    return total
