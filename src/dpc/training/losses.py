"""Distortions to train on: differentiable MS-SSIM, and the joint perceptual loss.

D = a 255^2 MSE + b (1 - MS-SSIM) + c LPIPS
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpc.metrics.lpips import LPIPS
from dpc.metrics.ms_ssim import C1, C2, SMALLEST, WEIGHTS, WINDOW

JITTER = 8  # the LPIPS input is shifted by 0 .. JITTER - 1 pixels


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003): (N,) float, at most 1, higher is better.

    x, y: (N, C, H, W) float in [0, 1], both sides at least 161. Differentiable in both, also where they are
    identical or a contrast-structure term is not positive (such a term counts as 0, as in pytorch-msssim, and
    passes no gradient). Raises ValueError on a wrong shape.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"MS-SSIM needs two (N, C, H, W) of one shape, got {tuple(x.shape)}, {tuple(y.shape)}")
    if min(x.shape[2:]) < SMALLEST:
        raise ValueError(f"MS-SSIM needs at least {SMALLEST} pixels a side, got {x.shape[3]}x{x.shape[2]}")
    n, c, height, width = x.shape
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of large numbers
        # SSIM's terms follow from the sum and the difference of the pictures alone: with their variances vs,
        # vd, 2 cov = (vs - vd) / 2 and var x + var y = (vs + vd) / 2; likewise for the means. All pictures
        # and colours become channels of one picture: by far the fastest layout for depthwise filters.
        x, y = x.float(), y.float()
        t = torch.cat([x + y, x - y]).reshape(1, 2 * n * c, height, width)
        if t.device.type == "cpu":
            t = t.contiguous(memory_format=torch.channels_last)
        window = torch.tensor(WINDOW, device=t.device)
        product = torch.ones(n, c, device=t.device)
        for scale, weight in enumerate(WEIGHTS):
            if scale:
                t = F.avg_pool2d(t, 2, padding=(t.shape[2] % 2, t.shape[3] % 2))
            mean = _blur(t, window)
            vs, vd = (_blur(t.square(), window) - mean.square()).chunk(2, 1)
            below = vs + vd + 2 * C2
            term = (below - 2 * vd) / below
            if scale == len(WEIGHTS) - 1:
                ms, md = mean.square().chunk(2, 1)
                below = ms + md + 2 * C1
                term = term * ((below - 2 * md) / below)
            value = term.mean((2, 3)).reshape(n, c)
            positive = value > 0
            product = product * torch.where(positive, torch.where(positive, value, 1.0) ** weight, 0.0)
    return product.mean(1)


def _blur(x: Tensor, window: Tensor) -> Tensor:
    """Each channel filtered by the Gaussian window along both axes, without padding."""
    c, k = x.shape[1], window.numel()
    x = F.conv2d(x, window.reshape(1, 1, k, 1).expand(c, 1, k, 1), groups=c)
    return F.conv2d(x, window.reshape(1, 1, 1, k).expand(c, 1, 1, k), groups=c)


class Distortion(nn.Module):
    """The joint perceptual loss, per sample: D = a 255^2 MSE + b (1 - MS-SSIM) + c LPIPS.

    a, b, c may be changed at any time. MS-SSIM or LPIPS of weight 0 is not computed and reported as 0. `nets`
    names the LPIPS trunks, which take turns from step to step (empty where c stays 0: no weights are then
    needed). Before them both pictures lose the same 0 to 7 rows and columns at the top and left, so that no
    grid pattern can hide between the strides of a trunk. `weights`, `download`: see LPIPS.
    """

    def __init__(
        self,
        a: float,
        b: float,
        c: float,
        nets: Sequence[str] = ("alex", "squeeze"),
        weights: str | Path | None = None,
        *,
        download: bool = True,
    ) -> None:
        super().__init__()
        self.a, self.b, self.c = a, b, c
        self.nets = nn.ModuleList(LPIPS(net, weights, download=download) for net in nets)

    def forward(
        self, x: Tensor, x_hat: Tensor, step: int = 0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) distortions of x_hat from x, and their detached parts {"mse", "ms_ssim", "lpips"}, each (N,).

        x, x_hat: (N, 3, H, W) float, x in [0, 1], at least 161 pixels a side when b is not 0. x_hat may
        overshoot. "mse" is in 8-bit levels squared. `generator` (on the CPU) draws the shift. Raises
        ValueError on a wrong shape, or when c is not 0 and there is no net.
        """
        if x.shape != x_hat.shape or x.ndim != 4:
            raise ValueError(f"D needs two (N, 3, H, W) of one shape, got {tuple(x.shape)}, {tuple(x_hat.shape)}")
        if self.c and not len(self.nets):
            raise ValueError(f"the LPIPS weight c is {self.c:g} but no net was named; give nets=('alex', 'squeeze')")
        similarity = perceptual = x.new_zeros(x.shape[0], dtype=torch.float32)
        mse = 255.0**2 * (x_hat.float() - x.float()).square().mean((1, 2, 3))
        total = self.a * mse
        if self.b:
            similarity = ms_ssim(x, x_hat)
            total = total + self.b * (1.0 - similarity)
        if self.c:
            down, right = torch.randint(JITTER, (2,), generator=generator).tolist()
            net = self.nets[step % len(self.nets)]
            perceptual = net(x[:, :, down:, right:], x_hat[:, :, down:, right:], check=False)
            total = total + self.c * perceptual
        return total, {"mse": mse.detach(), "ms_ssim": similarity.detach(), "lpips": perceptual.detach()}
