"""Analysis and Synthesis: pictures to latents and back."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks import wavelet
from dpc.networks.sizes import Network


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class Block(nn.Module):
    """Depthwise 3x3, 1x1 up, leaky ReLU, 1x1 down, residual; (N, C, h, w) -> the same. Starts as identity."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.up = nn.Conv2d(channels, channels * expansion, 1)
        self.down = nn.Conv2d(channels * expansion, channels, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(_act(self.up(self.depth(x))))


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*[Block(channels) for _ in range(depth)])


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _icnr(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """All phases of a pixel shuffle start equal: no checkerboard to begin with (Aitken et al. 2017)."""
    with torch.no_grad():
        weight = conv.weight.reshape(-1, factor * factor, *conv.weight.shape[1:])
        weight.copy_(weight[:, :1].expand_as(weight).clone())
    return conv


class Analysis(nn.Module):
    """g_a: x (N, 3, H, W) float in [0, 1], H and W multiples of 16 and at least 64 -> y (N, latents, H/16, W/16).

    Wavelet levels 1 and 2 are computed once and feed both the linear shortcut and the deep branch.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        c4, c8, c16 = net.widths
        n = net.latents
        self.register_buffer("kernel", wavelet.analysis_kernel())
        self.mean = nn.Parameter(torch.zeros(n))
        # the KLT on packed coefficients, one strided convolution per level
        self.linear4 = nn.Parameter(torch.zeros(n, 12, 1, 1), requires_grad=False)
        self.linear3 = nn.Parameter(torch.zeros(n, 9, 2, 2), requires_grad=False)
        self.linear2 = nn.Parameter(torch.zeros(n, 9, 4, 4), requires_grad=False)
        self.linear1 = nn.Parameter(torch.zeros(n, 9, 8, 8), requires_grad=False)
        self.enter = nn.Conv2d(12, c4, 3, padding=1)
        self.enter_detail = nn.Conv2d(9, c4, 4, stride=2, padding=1)
        self.at4 = _blocks(c4, net.encoder_depths[0])
        self.to8 = nn.Conv2d(c4, c8, 2, stride=2)
        self.at8 = _blocks(c8, net.encoder_depths[1])
        self.to16 = nn.Conv2d(c8, c16, 2, stride=2)
        self.at16 = _blocks(c16, net.encoder_depths[2])
        self.leave = _zero(nn.Conv2d(c16, n, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            one = wavelet.analyse(x.float(), self.kernel)  # type: ignore[arg-type]
            two = wavelet.analyse(one[:, :3], self.kernel)  # type: ignore[arg-type]
            three = wavelet.analyse(two[:, :3], self.kernel)  # type: ignore[arg-type]
            four = wavelet.analyse(three[:, :3], self.kernel)  # type: ignore[arg-type]
            y = F.conv2d(four, self.linear4, -self.mean)
            y = y + F.conv2d(three[:, 3:], self.linear3, stride=2)
            y = y + F.conv2d(two[:, 3:], self.linear2, stride=4)
            y = y + F.conv2d(one[:, 3:], self.linear1, stride=8)
        f = self.at4(_act(self.enter(two) + 4 * self.enter_detail(one[:, 3:])))
        f = self.at8(_act(self.to8(f)))
        f = self.at16(_act(self.to16(f)))
        return y + self.leave(f).float()


class Film(nn.Module):
    """Scale and shift per channel that depend on the quality: f (N, C, h, w), w (N, levels) -> (N, C, h, w)."""

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(levels, channels))
        self.shift = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, f: Tensor, w: Tensor) -> Tensor:
        return f * (1 + w @ self.scale)[:, :, None, None] + (w @ self.shift)[:, :, None, None]


class Synthesis(nn.Module):
    """g_s: y_hat (N, latents, h, w), w (N, levels) interpolation weights of the quality -> x_hat (N, 3, 16h, 16w).

    h and w at least 4. The output is not clipped.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        c4, c8, c16 = net.widths
        n = net.latents
        self.register_buffer("kernel", wavelet.synthesis_kernel())
        self.linear = nn.Parameter(torch.zeros(wavelet.COEFFICIENTS, n, 1, 1), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(wavelet.COEFFICIENTS))
        self.enter = nn.Conv2d(n, c16, 1)
        self.film16 = Film(net.levels, c16)
        self.at16 = _blocks(c16, net.decoder_depths[2])
        self.to8 = _icnr(nn.Conv2d(c16, 4 * c8, 1), 2)
        self.film8 = Film(net.levels, c8)
        self.at8 = _blocks(c8, net.decoder_depths[1])
        self.to4 = _icnr(nn.Conv2d(c8, 4 * c4, 1), 2)
        self.film4 = Film(net.levels, c4)
        self.at4 = _blocks(c4, net.decoder_depths[0])
        self.leave4 = _zero(nn.Conv2d(c4, 12, 3, padding=1))
        self.to2 = _icnr(nn.Conv2d(c4, 4 * net.half_width, 1), 2)
        self.mix2 = nn.Conv2d(net.half_width + 12, 2 * net.half_width, 3, padding=1)
        self.leave2 = _zero(nn.Conv2d(2 * net.half_width, 12, 3, padding=1))

    def coefficients(self, y_hat: Tensor) -> Tensor:
        """The linear part: (N, latents, h, w) -> packed wavelet coefficients (N, COEFFICIENTS, h, w)."""
        return F.conv2d(y_hat, self.linear, self.mean)

    def merge(self, bands: Tensor) -> Tensor:
        """One level of the wavelet back."""
        return wavelet.synthesise(bands, self.kernel)  # type: ignore[arg-type]

    def forward(self, y_hat: Tensor, w: Tensor) -> Tensor:
        f = self.at16(self.film16(_act(self.enter(y_hat)), w))
        f = self.at8(self.film8(_act(F.pixel_shuffle(self.to8(f), 2)), w))
        f = self.at4(self.film4(_act(F.pixel_shuffle(self.to4(f), 2)), w))
        with torch.autocast(y_hat.device.type, enabled=False):
            four, three, two, one = wavelet.unpack(self.coefficients(y_hat.float()))
            x = self.merge(four)
            x = self.merge(torch.cat([x, three], 1))
            bands = torch.cat([x, two], 1) + 0.1 * self.leave4(f.float())
            half = torch.cat([self.merge(bands), one], 1)
        g = _act(self.mix2(torch.cat([half.to(f.dtype), F.pixel_shuffle(self.to2(f), 2)], 1)))
        with torch.autocast(y_hat.device.type, enabled=False):
            return self.merge(half + 0.1 * self.leave2(g.float()))
