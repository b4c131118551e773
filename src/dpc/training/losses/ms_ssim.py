"""Multi-scale structural similarity that can be differentiated."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dpc.evaluation.metrics.ms_ssim import C1, C2, WEIGHTS, WINDOW

SIGMA = 1.5  # of the Gaussian window of 11 taps


def smallest(scales: int = len(WEIGHTS), fitted: bool = False) -> int:
    """Pixels a side that ms_ssim needs: 161 for its published form."""
    return 1 << scales if fitted else (len(WINDOW) - 1) * (1 << (scales - 1)) + 1


def ms_ssim(x: Tensor, y: Tensor, scales: int = len(WEIGHTS), fitted: bool = False) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003): (N,) float, at most 1, higher is better.

    x, y: (N, C, H, W) float in [0, 1], both sides at least smallest(scales, fitted). scales: the first of the five;
    with fewer their weights are divided by their sum. fitted: where a scale is smaller than the window of 11 taps, the
    window shrinks to its shorter side and sigma with it, so that crops of 160 have five scales.
    Differentiable in both, also where they are identical or a contrast-structure term is not positive (such a term
    counts as 0, as in pytorch-msssim, and passes no gradient). Raises ValueError on a wrong shape.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"MS-SSIM needs two (N, C, H, W) of one shape, got {tuple(x.shape)}, {tuple(y.shape)}")
    if min(x.shape[2:]) < (least := smallest(scales, fitted)):
        raise ValueError(f"MS-SSIM needs at least {least} pixels a side, got {x.shape[3]}x{x.shape[2]}")
    weights = [w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales]] if scales < len(WEIGHTS) else WEIGHTS
    n, c, height, width = x.shape
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of large numbers
        # SSIM's terms follow from the sum and the difference of the pictures alone: with their variances vs,
        # vd, 2 cov = (vs - vd) / 2 and var x + var y = (vs + vd) / 2; likewise for the means. All pictures
        # and colours become channels of one picture: by far the fastest layout for depthwise filters.
        x, y = x.float(), y.float()
        t = torch.cat([x + y, x - y]).reshape(1, 2 * n * c, height, width)
        if t.device.type == "cpu":
            t = t.contiguous(memory_format=torch.channels_last)
        product = torch.ones(n, c, device=t.device)
        for scale, weight in enumerate(weights):
            if scale:
                t = F.avg_pool2d(t, 2, padding=(t.shape[2] % 2, t.shape[3] % 2))
            window = torch.tensor(_window(min(len(WINDOW), *t.shape[2:])), device=t.device)
            mean = _blur(t, window)
            vs, vd = (_blur(t.square(), window) - mean.square()).chunk(2, 1)
            below = vs + vd + 2 * C2
            term = (below - 2 * vd) / below
            if scale == scales - 1:
                ms, md = mean.square().chunk(2, 1)
                below = ms + md + 2 * C1
                term = term * ((below - 2 * md) / below)
            value = term.mean((2, 3)).reshape(n, c)
            positive = value > 0
            product = product * torch.where(positive, torch.where(positive, value, 1.0) ** weight, 0.0)
    return product.mean(1)


def _window(taps: int) -> tuple[float, ...]:
    """The Gaussian window, which sums to 1; with fewer taps than published its sigma shrinks with it."""
    if taps == len(WINDOW):
        return WINDOW
    sigma = SIGMA * taps / len(WINDOW)
    values = [math.exp(-((i - (taps - 1) / 2) ** 2) / (2 * sigma**2)) for i in range(taps)]
    return tuple(v / sum(values) for v in values)


def _blur(x: Tensor, window: Tensor) -> Tensor:
    """Each channel filtered by the Gaussian window along both axes, without padding."""
    c, k = x.shape[1], window.numel()
    x = F.conv2d(x, window.reshape(1, 1, k, 1).expand(c, 1, k, 1), groups=c)
    return F.conv2d(x, window.reshape(1, 1, 1, k).expand(c, 1, 1, k), groups=c)
