"""The guards against regular patterns and against power that the picture does not have."""

from __future__ import annotations

import torch
from torch import Tensor

PERIOD = 8  # pixels: the longest period that pattern() sees, with 4 and 2
STEADY = 0.01  # weight of a regular pattern of one level squared in pattern()
EXCESS = 0.1  # weight of excess() in pattern()
_NOISE = 0.5  # levels squared: the power of white noise that is added to the spectra, for flat pictures
_FLOOR = 0.3  # levels added to a mean difference, so that the logarithm of a flat picture's is harmless


def opponent(x: Tensor) -> Tensor:
    """(N, 3, H, W) RGB in [0, 1] -> luma, R-G and B-G in 8-bit levels, float32."""
    r, g, b = x.float().mul(255.0).unbind(1)
    return torch.stack([0.299 * r + 0.587 * g + 0.114 * b, r - g, b - g], 1)


def pattern(x: Tensor, x_hat: Tensor) -> Tensor:
    """How much x_hat shows a grid artefact of period 2, 4 or 8 pixels that x does not have: (N,) float32, 0 for none.

    x, x_hat: (N, 3, H, W) float in [0, 1]. A grid artefact has differences between neighbours that are larger at some
    phases of the grid than at others, whatever their sign. So: the mean absolute first and second difference at each of
    8 phases, over the whole crop, their logarithms, and the variance of these over the phases; mean over both
    differences, rows and columns, and over luma, R-G and B-G of x_hat and the luma of the error. Doubled pixels have
    0.1 or more.
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
