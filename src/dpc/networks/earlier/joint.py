"""Minnen, Ballé, Toderici 2018, "Joint autoregressive and hierarchical priors": a mean-scale hyperprior and a context.

Mean and scale of a position follow from z_hat and from the decoded positions of a 5x5 window above and to the left.
Positions whose windows are known at the same time are decoded together: column + 3 row is equal for them. A picture
of 768x512 pixels takes 141 such steps instead of 1536.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.codec.entropy import Decoder, Encoder
from dpc.networks.earlier.entropy_models import bits, gaussian_likelihood, integers, noisy, rounded, scale_index
from dpc.networks.earlier.hyperprior import MeanScaleHyperprior
from dpc.networks.earlier.layers import Conv32
from dpc.networks.earlier.protocol import Forward, register

__all__ = ["Joint", "wavefronts"]

REACH = 2  # rows and columns of the window on each side
SLOPE = REACH + 1  # columns by which a row's front lies behind that of the row above


def wavefronts(height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, columns) of the positions of each step, int64 (n,). Every position occurs once, after its window."""
    for step in range(width + SLOPE * (height - 1)):
        rows = torch.arange(max(0, -(-(step - width + 1) // SLOPE)), min(height, step // SLOPE + 1))
        yield rows, step - SLOPE * rows


def _before() -> Tensor:
    """(5, 5) bool: the positions of a window that are decoded before its centre, in raster order."""
    size = 2 * REACH + 1
    return (torch.arange(size * size) < size * size // 2).reshape(size, size)


@register
class Joint(MeanScaleHyperprior):
    """filters: N, latents: M, an even number. See above."""

    kind = "joint"
    causal: Tensor

    def __init__(self, filters: int = 64, latents: int = 96) -> None:
        super().__init__(filters, latents)
        self.context = nn.Conv2d(latents, latents * 2, 2 * REACH + 1, padding=REACH)
        self.register_buffer("causal", _before(), persistent=False)
        self.parameters_of = nn.Sequential(
            nn.Conv2d(latents * 4, latents * 10 // 3, 1),
            nn.LeakyReLU(),
            nn.Conv2d(latents * 10 // 3, latents * 8 // 3, 1),
            nn.LeakyReLU(),
            Conv32(latents * 8 // 3, latents * 2, 1),
        )

    def all_at_once(self, y_hat: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, scale) of all positions when y_hat is known, as in training. side: h_s(z_hat)."""
        context = F.conv2d(y_hat, self.context.weight * self.causal, self.context.bias, padding=REACH)
        return self.gaussian(self.parameters_of(torch.cat([side, context], 1)).float())

    def in_order(self, side: Tensor, residual: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """y_hat (1, M, h, w), position by position: encoder, decoder and forward all compute it here.

        residual(rows, columns, mean, scale) gives the rounded residuals of a step; mean, scale, residuals (n, M). As
        all three run the same products on the same shapes, their floats are equal bit for bit, on one machine with one
        number of threads: a decoder then picks the tables that the encoder picked.
        """
        _, channels, height, width = side.shape
        channels //= 2
        padded = side.new_zeros(height + REACH, width + 2 * REACH, channels)  # rows above, columns on both sides
        down, right = (where.cpu() for where in self.causal.nonzero(as_tuple=True))
        weight = self.context.weight[:, :, self.causal].permute(2, 1, 0).flatten(0, 1)  # (12 M, 2 M)
        bias = self.context.bias
        columnwise = side[0].permute(1, 2, 0)
        for rows, columns in wavefronts(height, width):
            window = padded[rows[:, None] + down, columns[:, None] + right].flatten(1)
            context = window @ weight if bias is None else torch.addmm(bias, window, weight)
            both = torch.cat([columnwise[rows, columns], context], 1)
            mean, scale = self.gaussian(self.parameters_of(both[:, :, None, None])[:, :, 0, 0])
            padded[rows + REACH, columns + REACH] = residual(rows, columns, mean, scale) + mean
        return padded[REACH:, REACH : REACH + width].permute(2, 0, 1)[None]

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward. In evaluation mode one sample after the other, in the order of coding."""
        y = self.g_a(x).float()
        z_hat = self.density.quantised(self.side(y).float())
        side = self.h_s(z_hat).float()
        rate = bits(self.density.likelihood(z_hat))
        if self.training:
            y_hat = noisy(y)
            mean, scale = self.all_at_once(y_hat, side)
            rate = rate + bits(gaussian_likelihood(y_hat - mean, scale))
        else:
            found = [self._rounded(a[None], b[None]) for a, b in zip(y, side, strict=True)]
            y_hat = torch.cat([one for one, _ in found])
            rate = rate + torch.stack([more for _, more in found])
        return Forward(self.g_s(y_hat).float(), rate)

    def _rounded(self, y: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """(y_hat, bits) of y (1, M, h, w)."""
        values = y[0].permute(1, 2, 0)
        total = y.new_zeros(())

        def residual(rows: Tensor, columns: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
            nonlocal total
            found = rounded(values[rows, columns] - mean)
            total = total + bits(gaussian_likelihood(found, scale)).sum()
            return found

        return self.in_order(side, residual), total

    def _y_part(self, y: Tensor, side: Tensor) -> bytes:
        encoder = Encoder(self._y_tables)
        values = y[0].permute(1, 2, 0)

        def residual(rows: Tensor, columns: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
            found = rounded(values[rows, columns] - mean)
            encoder.add(integers(found), scale_index(scale))
            return found

        self.in_order(side, residual)
        return encoder.finish()

    def _read_y(self, part: bytes, side: Tensor) -> Tensor:
        decoder = Decoder(self._y_tables, part)

        def residual(rows: Tensor, columns: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
            return torch.from_numpy(decoder.read(scale_index(scale))).to(mean)

        y_hat = self.in_order(side, residual)
        decoder.finish()
        return y_hat
