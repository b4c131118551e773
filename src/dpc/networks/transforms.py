"""Analysis and synthesis: picture <-> latents.

Both join a linear wavelet codec and a deep branch, so that the first step of a training already is a working transform
codec with overlapping basis functions. The analysis runs in floats. In the synthesis all heavy layers are 8-bit
integers, and nothing but the last sum is done at full resolution: the linear part gives the picture at half the
resolution, the last integer layer gives all 16 phases of a 4x4 cell at once.

Symbols follow Ballé et al. 2018; the dependence on the quality follows Cui et al. 2021 and Perez et al. 2018 (FiLM).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks import wavelet
from dpc.networks.integer import IntegerBlock, IntegerConv, LeakyConv, on_bytes
from dpc.networks.sizes import Network

BITS = 5  # activations of the synthesis are multiples of 2**-BITS
PIXEL_BITS = 8  # what its last layer adds to the picture is a multiple of 2**-PIXEL_BITS, the picture being 0 to 1
COARSE = 192  # coefficients of the wavelet levels 4, 3 and 2 at a latent position
FINE = 36  # details of level 1 in a 4x4 cell
ENTRY = 0.25  # y_hat, of variance 1, enters bytes at this scale: they reach 16 standard deviations
GAIN = 4.0  # samples of the picture at 1/2, less 1, and details of level 1 are bytes times this: they lie in -1 .. 1
SLOPE = 0.125  # of the one leaky ReLU of the synthesis; a power of two


def act(x: Tensor) -> Tensor:
    """The activation of all float networks."""
    return F.leaky_relu(x, 0.1)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias of zero."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class Block(nn.Module):
    """Depthwise 3x3, 1x1 up, leaky ReLU, 1x1 down, residual; (N, C, h, w) -> the same. Starts as the identity."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.up = nn.Conv2d(channels, channels * expansion, 1)
        self.down = zeroed(nn.Conv2d(channels * expansion, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(act(self.up(self.depth(x))))


class Dense(nn.Module):
    """Dense 3x3, leaky ReLU, 1x1, residual; (N, C, h, w) -> the same. Starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 3, padding=1)
        self.merge = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.merge(act(self.spread(x)))


def _stage(channels: int, depth: int, dense: int) -> nn.Sequential:
    """Blocks, then dense blocks; named apart, so that either may grow."""
    blocks: list[tuple[str, nn.Module]] = [(str(i), Block(channels)) for i in range(depth)]
    blocks += [(f"dense{i}", Dense(channels)) for i in range(dense)]
    return nn.Sequential(OrderedDict(blocks))


class Analysis(nn.Module):
    """g_a: x (N, 3, H, W) float in [0, 1], H and W multiples of 16 and at least 64 -> y (N, latents, H/16, W/16).

    Wavelet levels 1 and 2 are computed once and feed both the linear part and the deep branch.
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
        self.at4, self.at8, self.at16 = map(_stage, net.widths, net.encoder_depths, net.encoder_dense)
        self.to8 = nn.Conv2d(c4, c8, 2, stride=2)
        self.to16 = nn.Conv2d(c8, c16, 2, stride=2)
        self.leave = zeroed(nn.Conv2d(c16, n, 1))

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
        f = self.at4(act(self.enter(two) + 4 * self.enter_detail(one[:, 3:])))
        f = self.at8(act(self.to8(f)))
        f = self.at16(act(self.to16(f)))
        return y + self.leave(f).float()


class Film(nn.Module):
    """Scale and shift per channel that follow the quality: f (N, C, h, w), w (N, levels, h, w) -> (N, C, h, w).

    w: at every position the weights of the levels between which the quality lies.
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(levels, channels))
        self.shift = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, f: Tensor, w: Tensor) -> Tensor:
        return f * (1 + interpolated(w, self.scale)) + interpolated(w, self.shift)


def interpolated(w: Tensor, table: Tensor) -> Tensor:
    """A table (levels, C) at the quality of every position: w (N, levels, h, w) -> (N, C, h, w)."""
    return F.conv2d(w, table.T[:, :, None, None])


class Parts(NamedTuple):
    """All at 1/4: hidden (N, C, 4h, 4w) before the last layer, details of level 1 (N, FINE, 4h, 4w) in 4x4 cells, and
    the 48 phases (N, 48, 4h, 4w) of the picture at 1/2."""

    hidden: Tensor
    fine: Tensor
    phases: Tensor


class Synthesis(nn.Module):
    """g_s: y_hat (N, latents, h, w), w (N, levels, h, w) weights of the quality levels -> x_hat (N, 3, 16h, 16w).

    h and w at least 4. The output is not clipped. Phases are those of 4x4 cells, at 1/4 of the resolution.

        y_hat --enter, FiLM--> bytes: blocks 1/16 --> blocks 1/8 --> blocks 1/4 = f;  f --bands--> change of level 2
        y_hat --linear--> wavelet levels 4 to 2, and that change --> picture at 1/2 --upsample--> 48 phases --------+
        f, picture at 1/2, fine --mix--> ReLU --leave--> 48 phases --+--> x_hat
        y_hat --> bytes --fine--> details of level 1 in 4x4 cells --finest--> 48 phases --+
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        c4, c8, c16 = net.widths
        d4, d8, d16 = net.decoder_depths
        n = net.latents

        def conv(inputs: int, outputs: int, kernel: int, bits_out: int = BITS, signed: bool = True) -> IntegerConv:
            return IntegerConv(inputs, outputs, kernel, bits_in=BITS, bits_out=bits_out, signed=signed)

        self.register_buffer("kernel", wavelet.synthesis_kernel())
        self.register_buffer("upsample", wavelet.cell_kernel()[:, :12].clone())
        self.linear = nn.Parameter(torch.zeros(COARSE, n, 1, 1), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(COARSE))
        self.fine = conv(n, 16 * FINE, 1)
        self.enter = nn.Conv2d(n, c16, 1)
        self.film = Film(net.levels, c16)
        self.at16 = nn.Sequential(*[IntegerBlock(c16, BITS) for _ in range(d16)])
        self.to8 = LeakyConv(c16, 4 * c8, BITS)
        self.at8 = nn.Sequential(*[IntegerBlock(c8, BITS) for _ in range(d8)])
        self.to4 = LeakyConv(c8, 4 * c4, BITS)
        self.at4 = nn.Sequential(*[IntegerBlock(c4, BITS) for _ in range(d4)])
        self.bands = conv(c4, 12, 3, PIXEL_BITS)
        self.mix = conv(c4 + 12 + FINE, 2 * c4, 3, signed=False)
        self.leave = conv(2 * c4, 48, 3, PIXEL_BITS)
        self.finest = conv(FINE, 48, 3, PIXEL_BITS)
        for last in (self.bands, self.leave):
            nn.init.zeros_(last.weight)

    def coefficients(self, y_hat: Tensor) -> Tensor:
        """The linear part: (N, latents, h, w) -> coefficients of the wavelet levels 4 to 2, (N, COARSE, h, w)."""
        return F.conv2d(y_hat, self.linear, self.mean)

    def merge(self, bands: Tensor) -> Tensor:
        """One level of the wavelet back."""
        return wavelet.synthesise(bands, self.kernel)  # type: ignore[arg-type]

    def low_band(self, y_hat: Tensor, change: Tensor) -> Tensor:
        """The picture at 1/2 in 0 .. 2, as 4 phases of each colour at 1/4: (N, 12, 4h, 4w).

        change: what the bytes add to the bands of level 2, of the same shape.
        """
        four, three, two = self.coefficients(y_hat).split([12, 36, 144], 1)
        x = self.merge(four)
        x = self.merge(torch.cat([x, F.pixel_shuffle(three, 2)], 1))
        return F.pixel_unshuffle(self.merge(torch.cat([x, F.pixel_shuffle(two, 4)], 1) + change), 2)

    def deep(self, y_hat: Tensor, w: Tensor) -> Tensor:
        """The features at 1/4, (N, C, 4h, 4w)."""
        f = on_bytes(self.film(F.leaky_relu(self.enter(y_hat), SLOPE), w), BITS, signed=True)
        f = F.pixel_shuffle(self.to8(self.at16(f)), 2)
        f = F.pixel_shuffle(self.to4(self.at8(f)), 2)
        features: Tensor = self.at4(f)
        return features

    def parts(self, y_hat: Tensor, w: Tensor) -> Parts:
        """What the last layers read, and the phases of the picture at 1/2."""
        fine = F.pixel_shuffle(self.fine(on_bytes(ENTRY * y_hat, BITS, signed=True)), 4)
        f = self.deep(y_hat, w)
        change = self.bands(f)
        with torch.autocast(y_hat.device.type, enabled=False):
            half = self.low_band(y_hat.float(), change.float())
            phases = F.conv2d(F.pad(half, (1, 1, 1, 1), mode="replicate"), self.upsample)  # type: ignore[arg-type]
        seen = on_bytes(GAIN * (half - 1), BITS, signed=True).to(f.dtype)
        return Parts(self.mix(torch.cat([f, seen, fine], 1)), fine, phases)

    def forward(self, y_hat: Tensor, w: Tensor) -> Tensor:
        hidden, fine, phases = self.parts(y_hat, w)
        detail = on_bytes(self.leave(hidden) + self.finest(fine), PIXEL_BITS, signed=True)
        with torch.autocast(y_hat.device.type, enabled=False):
            return F.pixel_shuffle(phases + detail.float(), 4)
