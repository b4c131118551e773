"""Distortions to train on: differentiable MS-SSIM, and the joint perceptual loss with its two guards.

D = a 255^2 MSE + b (1 - MS-SSIM) + c LPIPS + chroma 255^2 MSE of R-G and B-G + grid * pattern(x, x_hat)
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
PERIOD = 8  # pixels: the longest period that pattern() sees, with 4 and 2
STEADY = 0.01  # weight of a regular pattern of one level squared in pattern()
EXCESS = 0.1  # weight of excess() in pattern()
_NOISE = 0.5  # levels squared: the power of white noise that is added to the spectra, for flat pictures
_FLOOR = 0.3  # levels added to a mean difference, so that the logarithm of a flat picture's is harmless


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


def opponent(x: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] -> luma, R-G and B-G in 8-bit levels, float32."""
    r, g, b = x.float().mul(255.0).unbind(1)
    return torch.stack([0.299 * r + 0.587 * g + 0.114 * b, r - g, b - g], 1)


def pattern(x: Tensor, x_hat: Tensor) -> Tensor:
    """How much x_hat shows a mesh of period 2, 4 or 8 pixels that x does not have: (N,) float32, 0 for none.

    x, x_hat: (N, 3, H, W) float in [0, 1]. A mesh has differences between neighbours that are larger at some phases of
    the grid than at others, whatever their sign. So: the mean absolute first and second difference at each of 8 phases,
    over the whole crop, their logarithms, and the variance of these over the phases; mean over both differences, rows
    and columns, and over luma, R-G and B-G of x_hat and the luma of the error. Doubled pixels have 0.1 or more.
    To that comes what such differences cannot see, a fixed pattern that is added to the picture. LPIPS rewards one: it
    takes it for texture. So: the variance, in levels squared and times STEADY, of the error's means at the phases of a
    4x4 grid within each crop, and at those of the 16x16 grid of the latents over the whole batch (one crop is too
    small to tell it from chance), averaged over luma, R-G and B-G; and, times EXCESS, excess() of the luma.
    """
    own, error = opponent(x), opponent(x_hat - x)
    s = torch.cat([own + error, error[:, :1]], 1)
    total = s.new_zeros(s.shape[0])
    for axis in (3, 2):
        n = (s.shape[axis] - 2) // PERIOD * PERIOD
        first = s.diff(dim=axis).narrow(axis, 0, n + 1)
        ahead = first.narrow(axis, 1, n)
        for d in (ahead, ahead - first.narrow(axis, 0, n)):
            size = (d.square() + 0.01).sqrt().mean(5 - axis)  # (N, 4, n)
            phases = (size.unflatten(2, (-1, PERIOD)).mean(2) + _FLOOR).log()
            total = total + phases.var(2, correction=0).mean(1) / 2
    height, width = (n // 16 * 16 for n in x.shape[2:])
    error = error[:, :, :height, :width]
    means, common = _means(error, 4), _means(error, 16).mean(0)
    steady = means.var((2, 3), correction=0).mean(1) + common.var((1, 2), correction=0).mean()
    return total / 2 + STEADY * steady + EXCESS * excess(own[:, 0], s[:, 0])


def excess(x: Tensor, x_hat: Tensor) -> Tensor:
    """How much more power at high frequencies x_hat has than x: (N,) float32, 0 for no more.

    x, x_hat: (N, H, W) float, in 8-bit levels. Power spectra along rows and along columns, windowed, averaged over the
    picture; the squared logarithm of their ratio wherever x_hat's is larger, mean over the frequencies from 1/8 cycle
    per pixel on and over both directions. A codec has less power than the picture there, so this says nothing of an
    honest one. LPIPS, for which such power is texture, would fill the band below the highest frequency with it.
    """
    total = x.new_zeros(x.shape[0])
    s = torch.stack([x_hat, x])
    for axis in (3, 2):
        n = s.shape[axis]
        window = torch.hann_window(n, device=s.device)
        windowed = (s - s.mean(axis, keepdim=True)) * (window if axis == 3 else window[:, None])
        power = torch.fft.rfft(windowed, dim=axis).narrow(axis, n // 8, n // 2 + 1 - n // 8).abs().square()
        log = (power.mean(5 - axis) / window.square().sum() + _NOISE).log()
        total = total + (log[0] - log[1]).clamp(min=0).square().mean(1)
    return total / 2


def _means(x: Tensor, period: int) -> Tensor:
    """(N, C, H, W) -> (N, C, period, period): the mean at each phase of a grid."""
    return x.unflatten(3, (-1, period)).unflatten(2, (-1, period)).mean((2, 4))


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
