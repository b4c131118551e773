"""Distortions to train on: differentiable MS-SSIM, and the joint perceptual loss with its two guards.

D = a 255^2 MSE + b (1 - MS-SSIM) + c LPIPS + chroma 255^2 MSE of R-G and B-G + grid * pattern(x, x_hat)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dpc.evaluation.metrics.lpips import LPIPS
from dpc.training.losses.ms_ssim import ms_ssim
from dpc.training.losses.pattern import opponent, pattern

JITTER = 8  # the LPIPS input is shifted by 0 .. JITTER - 1 pixels


class Distortion(nn.Module):
    """The joint perceptual loss, per sample: D = a 255^2 MSE + b (1 - MS-SSIM) + c LPIPS + guards.

    The guards are against what LPIPS does not see: `chroma` weighs the squared error of R-G and B-G (in 8-bit levels),
    `grid` weighs pattern(). a, b, c, chroma and grid may be changed at any time; a term of weight 0 is not computed
    and reported as 0. `nets` names the LPIPS trunks, which take turns from step to step (empty where c stays 0: no
    weights are then needed). Before them both pictures lose the same 0 to 7 rows and columns at the top and left, so
    that no grid pattern can hide between the strides of a trunk. `weights`, `download`: see LPIPS.
    """

    def __init__(
        self,
        a: float,
        b: float,
        c: float,
        nets: Sequence[str] = ("alex", "squeeze"),
        weights: str | Path | None = None,
        *,
        chroma: float = 0.0,
        grid: float = 0.0,
        download: bool = True,
    ) -> None:
        super().__init__()
        self.a, self.b, self.c = a, b, c
        self.chroma, self.grid = chroma, grid
        self.nets = nn.ModuleList(LPIPS(net, weights, download=download) for net in nets)

    def forward(
        self,
        x: Tensor,
        x_hat: Tensor,
        step: int = 0,
        generator: torch.Generator | None = None,
        emphasis: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) distortions of x_hat from x, and their detached parts, each (N,): {"mse", "ms_ssim", "lpips",
        "chroma", "grid"}.

        x, x_hat: (N, 3, H, W) float, x in [0, 1], at least 161 pixels a side when b is not 0. x_hat may
        overshoot. "mse" is in 8-bit levels squared. `generator` (on the CPU) draws the shift. emphasis: (N,),
        multiplies the weight c of each sample; the part "lpips" is without it. Raises ValueError on a wrong shape, or
        when c is not 0 and there is no net.
        """
        if x.shape != x_hat.shape or x.ndim != 4:
            raise ValueError(f"D needs two (N, 3, H, W) of one shape, got {tuple(x.shape)}, {tuple(x_hat.shape)}")
        if self.c and not len(self.nets):
            raise ValueError(f"the LPIPS weight c is {self.c:g} but no net was named; give nets=('alex', 'squeeze')")
        similarity = perceptual = colour = mesh = x.new_zeros(x.shape[0], dtype=torch.float32)
        mse = 255.0**2 * (x_hat.float() - x.float()).square().mean((1, 2, 3))
        total = self.a * mse
        if self.b:
            similarity = ms_ssim(x, x_hat)
            total = total + self.b * (1.0 - similarity)
        if self.c:
            down, right = torch.randint(JITTER, (2,), generator=generator).tolist()
            net = self.nets[step % len(self.nets)]
            perceptual = net(x[:, :, down:, right:], x_hat[:, :, down:, right:], check=False)
            total = total + self.c * (perceptual if emphasis is None else emphasis * perceptual)
        if self.chroma:
            colour = opponent(x_hat - x)[:, 1:].square().mean((1, 2, 3))
            total = total + self.chroma * colour
        if self.grid:
            mesh = pattern(x, x_hat)
            total = total + self.grid * mesh
        parts = {"mse": mse, "ms_ssim": similarity, "lpips": perceptual, "chroma": colour, "grid": mesh}
        return total, {k: v.detach() for k, v in parts.items()}
