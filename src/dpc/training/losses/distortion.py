"""The joint perceptual loss: D = mse 255^2 MSE + ms_ssim (1 - MS-SSIM) + lpips LPIPS + guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dpc.evaluation.metrics.lpips import LPIPS
from dpc.evaluation.metrics.ms_ssim import WEIGHTS
from dpc.training.losses.ground import activity, flatness, masked_error
from dpc.training.losses.ms_ssim import ms_ssim
from dpc.training.losses.pattern import opponent, pattern

JITTER = 8  # the LPIPS input is shifted by 0 .. JITTER - 1 pixels unless said otherwise
LETTERS = 0.25  # share of LPIPS's weight that is left where `edges` counts in full
PARTS = ("mse", "ms_ssim", "lpips", "chroma", "grid", "plain", "edges")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The weights of the terms of D; a term of weight 0 is not computed.

    mse: of 255^2 MSE. ms_ssim: of 1 - MS-SSIM. lpips: of LPIPS. The rest are guards against what LPIPS does not see:
    chroma: of the squared error of R-G and B-G, in 8-bit levels. grid: of pattern(). plain: of masked_error().
    edges: of the mean absolute error of luma, R-G and B-G in crops that are synthetic or, by flatness(), flat; LPIPS's
    weight there falls to LETTERS of itself.
    """

    mse: float = 0.0
    ms_ssim: float = 0.0
    lpips: float = 0.0
    chroma: float = 0.0
    grid: float = 0.0
    plain: float = 0.0
    edges: float = 0.0


class Distortion(nn.Module):
    """D per sample. nets names the LPIPS trunks, which take turns (none where lpips stays 0: no weights are needed).

    Before LPIPS both pictures lose the same 0 to jitter - 1 rows and columns at the top and left, so that no grid
    pattern can hide between the strides of a trunk. weights, download: see LPIPS. scales, fitted: see ms_ssim.
    """

    def __init__(
        self,
        nets: Sequence[str] = ("alex", "squeeze"),
        weights: str | Path | None = None,
        *,
        download: bool = True,
        jitter: int = JITTER,
        scales: int = len(WEIGHTS),
        fitted: bool = False,
    ) -> None:
        super().__init__()
        self.jitter, self.scales, self.fitted = jitter, scales, fitted
        self.nets = nn.ModuleList(LPIPS(net, weights, download=download) for net in nets)

    def forward(
        self,
        x: Tensor,
        x_hat: Tensor,
        terms: Terms,
        turn: int = 0,
        *,
        emphasis: Tensor | None = None,
        synthetic: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) distortions of x_hat from x, and their parts without weights, detached, each (N,): PARTS.

        x, x_hat: (N, 3, H, W) float, x in [0, 1], large enough for the MS-SSIM where ms_ssim is not 0. x_hat may
        overshoot. turn: which net. emphasis: (N,), multiplies LPIPS's weight of each sample. synthetic: (N,) bool.
        generator (on the CPU) draws the shift. Raises ValueError on a wrong shape, or where lpips has no net.
        """
        if x.shape != x_hat.shape or x.ndim != 4:
            raise ValueError(f"D needs two (N, 3, H, W) of one shape, got {tuple(x.shape)}, {tuple(x_hat.shape)}")
        if terms.lpips and not len(self.nets):
            raise ValueError(f"the LPIPS weight is {terms.lpips:g} but no net was named; give nets=('alex', 'squeeze')")
        parts = {name: x.new_zeros(x.shape[0], dtype=torch.float32) for name in PARTS}
        parts["mse"] = 255.0**2 * (x_hat.float() - x.float()).square().mean((1, 2, 3))
        strength = x.new_ones(x.shape[0], dtype=torch.float32) if emphasis is None else emphasis
        if terms.plain or terms.edges:
            with torch.no_grad():
                hidden = activity(opponent(x)[:, :1])
            if terms.plain:
                parts["plain"] = masked_error(x, x_hat, hidden)
            if terms.edges:
                flat = flatness(hidden)
                flat = flat if synthetic is None else torch.where(synthetic, 1.0, flat)
                parts["edges"] = flat * opponent(x_hat - x).abs().mean((1, 2, 3))
                strength = strength * (1 - (1 - LETTERS) * flat)
        if terms.ms_ssim:
            parts["ms_ssim"] = ms_ssim(x, x_hat, self.scales, self.fitted)
        if terms.lpips:
            down, right = torch.randint(self.jitter, (2,), generator=generator).tolist()
            net = self.nets[turn % len(self.nets)]
            parts["lpips"] = net(x[:, :, down:, right:], x_hat[:, :, down:, right:], check=False)
        if terms.chroma:
            parts["chroma"] = opponent(x_hat - x)[:, 1:].square().mean((1, 2, 3))
        if terms.grid:
            parts["grid"] = pattern(x, x_hat)
        total = terms.ms_ssim * (1.0 - parts["ms_ssim"]) + terms.lpips * strength * parts["lpips"]
        for name in PARTS:
            if name not in ("ms_ssim", "lpips"):
                total = total + getattr(terms, name) * parts[name]
        return total, {k: v.detach() for k, v in parts.items()}
