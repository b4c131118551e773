"""The codec's networks.

    x --Analysis--> y --gain[q]--> y' --HyperAnalysis--> z --round--> z_hat
    z_hat --ScaleBranch (integers)--> scale index per element
    z_hat, coded parts --MeanBranch--> mu
    r = round(y' - mu)    y_hat = (r + mu) / gain[q]    y_hat --Synthesis--> x_hat

Analysis and Synthesis each are a linear wavelet + KLT codec plus a deep branch that starts at zero, so the first step
of a training already is a working transform codec with overlapping basis functions. y is whitened (unit variance per
channel before training), the gains carry the quantisation steps.

Symbols follow Ballé et al. 2018 and Minnen et al. 2018; gains follow Cui et al. 2021; channel groups follow Minnen and
Singh 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.training import wavelet

STRIDE = 16  # picture pixels per latent position
HYPER_STRIDE = 4  # latent positions per hyper-latent position
Z_LIMIT = 63  # |z_hat| <= Z_LIMIT
INDICES = 64  # scale indices 0..63; index 0 means "always zero, not coded"
SCALE_MIN, SCALE_MAX = 0.055, 48.0  # logistic scale at index 1 and at index 63
A_BITS, A_MAX = 4, 255  # activations of the integer branch: k / 2**A_BITS, 0 <= k <= A_MAX
W_BITS, W_MAX = 6, 127  # weights of the integer branch: k / 2**W_BITS, |k| <= W_MAX
INDEX_BITS = 7  # the heads' accumulators are shifted by this many bits to give a scale index
MAGNITUDE_MAX = 15  # coded residuals enter the integer branch as min(|r|, MAGNITUDE_MAX)


@dataclass(frozen=True)
class Network:
    """Sizes of the networks. Every field is stored in checkpoints and artifacts."""

    latents: int = 192
    hyper_latents: int = 64
    groups: tuple[int, ...] = (32, 64, 96)
    levels: int = 8
    widths: tuple[int, int, int] = (64, 128, 256)  # at 1/4, 1/8, 1/16
    encoder_depths: tuple[int, int, int] = (1, 2, 3)
    decoder_depths: tuple[int, int, int] = (2, 3, 4)
    half_width: int = 16  # refinement at 1/2
    hyper_width: int = 128  # h_a
    scale_width: int = 96  # integer branch
    mean_width: int = 128  # psi
    pass_widths: tuple[int, ...] = (96, 96, 128)  # hidden layers of the mean passes, one per channel group

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_depths", "decoder_depths"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name} {getattr(self, name)} must have three entries, for 1/4, 1/8 and 1/16")
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name.endswith("depths") else 1
            for v in value if isinstance(value, tuple) else (value,):
                if type(v) is not int or v < least:
                    raise ValueError(f"{field.name} = {value}: whole numbers of at least {least} are needed")
        if self.levels < 2:
            raise ValueError(f"levels = {self.levels}: at least 2 are needed, a lowest and a highest rate")
        if self.latents > wavelet.COEFFICIENTS:
            raise ValueError(
                f"latents = {self.latents}: at most {wavelet.COEFFICIENTS}, the coefficients of a position"
            )
        if sum(self.groups) != self.latents:
            raise ValueError(f"groups {self.groups} sum to {sum(self.groups)}, not to latents = {self.latents}")
        if len(self.pass_widths) != len(self.groups):
            raise ValueError(
                f"pass_widths {self.pass_widths} must have one entry for each of the {len(self.groups)} groups"
            )


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


def _asinh(x: Tensor) -> Tensor:
    """asinh, which the ONNX exporter does not know: latents span three decades, h_a sees them compressed."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


class HyperAnalysis(nn.Module):
    """h_a: y' (N, latents, h, w), h and w multiples of 4 -> z (N, hyper_latents, h/4, w/4), not rounded."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.hyper_width
        self.a = nn.Conv2d(net.latents, w, 3, padding=1)
        self.b = nn.Conv2d(w, w, 4, stride=2, padding=1)
        self.c = nn.Conv2d(w, net.hyper_latents, 4, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        return self.c(_act(self.b(_act(self.a(_asinh(y)))))).float()


def _straight(x: Tensor, value: Tensor) -> Tensor:
    """value going forward, the gradient of x going back."""
    return x + (value - x).detach()


class _Bounded(torch.autograd.Function):
    """clamp whose gradient also passes where it would move the value back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (g,) = gradients
        blocked = ((x < ctx.low) & (g > 0)) | ((x > ctx.high) & (g < 0))
        return g.masked_fill(blocked, 0.0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x clipped to [low, high], with a gradient that can lead back inside."""
    result: Tensor = _Bounded.apply(x, low, high)
    return result


class IntegerConv(nn.Module):
    """A convolution on dyadic integers: forward is exactly what the integer network of the artifact computes.

    Weights are rounded to multiples of 2**-W_BITS and clipped to W_MAX of them, the bias to multiples of
    2**-(W_BITS + A_BITS). Rows whose worst accumulator could reach 2**24 are scaled down before rounding, so the bound
    that export checks holds for any weights.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.padding = kernel // 2
        nn.init.kaiming_uniform_(self.weight, a=1)

    def integers(self) -> tuple[Tensor, Tensor]:
        """Integer weights (outputs, inputs, k, k) and biases (outputs,), as floats, with straight-through gradients."""
        scaled = self.weight * 2**W_BITS
        limit = (2**24 - 2**20) / A_MAX
        scaled = scaled * (limit / scaled.detach().abs().sum((1, 2, 3), keepdim=True)).clamp(max=1)
        weight = _straight(scaled, scaled.round().clamp(-W_MAX, W_MAX))
        bias = self.bias * 2 ** (W_BITS + A_BITS)
        return weight, _straight(bias, bias.round().clamp(-(2**19), 2**19))

    def forward(self, a: Tensor) -> Tensor:
        """a: integers in float32 -> accumulators, integers in float32 (real value times 2**(W_BITS + A_BITS))."""
        weight, bias = self.integers()
        return F.conv2d(a, weight, bias, padding=self.padding)


def requantise(acc: Tensor, shift: int) -> Tensor:
    """floor(acc * 2**-shift + 1/2), clipped to 0..A_MAX; the gradient passes inside the range."""
    real = acc * 2.0**-shift
    return _straight(bounded(real, 0, A_MAX), torch.floor(real.detach() + 0.5).clamp(0, A_MAX))


class ScaleBranch(nn.Module):
    """The integer network that picks the probability tables. Every tensor in it holds integers in float32.

    features: z_hat (N, hyper_latents, h/4, w/4) -> (N, scale_width, h, w) in 0..A_MAX.
    head g: features and min(|r|, MAGNITUDE_MAX) of all earlier groups -> scale index accumulators of group g, already
    shifted: floor(acc * 2**-INDEX_BITS + 1/2), not yet offset by quality and channel, not clipped.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.scale_width
        self.groups = net.groups
        self.a = IntegerConv(net.hyper_latents, 4 * w)
        self.b = IntegerConv(w, w, 3)
        self.c = IntegerConv(w, 4 * w)
        self.mix = nn.ModuleList()
        self.head = nn.ModuleList()
        before = 0
        for size in net.groups:
            self.mix.append(IntegerConv(w + before, w, 3 if before else 1))
            self.head.append(IntegerConv(w, size))
            nn.init.normal_(self.head[-1].weight, std=0.02)  # type: ignore[arg-type]
            before += size
        with torch.no_grad():
            for conv in (self.a, self.c):
                weight = conv.weight.reshape(-1, 4, *conv.weight.shape[1:])
                weight.copy_(weight[:, :1].expand_as(weight).clone())

    def features(self, z_hat: Tensor) -> Tensor:
        # z_hat has no fractional bits: its accumulators are 2**W_BITS times the value
        weight, bias = self.a.integers()
        acc = F.conv2d(z_hat, weight, _straight(bias, (bias * 2.0**-A_BITS).round()))
        f = F.pixel_shuffle(requantise(acc, W_BITS - A_BITS), 2)
        f = requantise(self.b(f), W_BITS)
        return F.pixel_shuffle(requantise(self.c(f), W_BITS), 2)

    def index(self, group: int, f: Tensor, magnitudes: list[Tensor]) -> Tensor:
        """Group's index before the offset. magnitudes: min(|r|, MAGNITUDE_MAX) of the earlier groups."""
        parts = torch.cat([f] + [m * 2**A_BITS for m in magnitudes], 1) if magnitudes else f
        acc = self.head[group](requantise(self.mix[group](parts), W_BITS))
        real = acc * 2.0**-INDEX_BITS
        return _straight(real, torch.floor(real.detach() + 0.5))


class MeanBranch(nn.Module):
    """mu from z_hat and the parts decoded before, in plain float; the first group in two checkerboard passes.

    psi: z_hat -> (N, mean_width, h, w). first / second / later give normalised means (times gain is y').
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        w = net.mean_width
        self.a = nn.Conv2d(net.hyper_latents, 4 * w, 1)
        self.b = nn.Conv2d(w, w, 3, padding=1)
        self.c = nn.Conv2d(w, 4 * w, 1)
        self.first = _zero(nn.Conv2d(w, net.groups[0], 1))
        hidden = net.pass_widths
        self.second = self._pass(w + net.groups[0], hidden[0], net.groups[0])
        self.later = nn.ModuleList(
            [self._pass(w + sum(net.groups[:g]), hidden[g], net.groups[g]) for g in range(1, len(net.groups))]
        )

    @staticmethod
    def _pass(inputs: int, hidden: int, size: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            _zero(nn.Conv2d(hidden, size, 1)),
        )

    def psi(self, z_hat: Tensor) -> Tensor:
        f = _act(F.pixel_shuffle(self.a(z_hat * 0.25), 2))
        return _act(F.pixel_shuffle(self.c(_act(self.b(f))), 2))


def scale_of_index(index: Tensor) -> Tensor:
    """Logistic scale of a (possibly fractional) scale index."""
    step = torch.log(torch.tensor(SCALE_MAX / SCALE_MIN)).item() / (INDICES - 2)
    return SCALE_MIN * torch.exp((index - 1) * step)


def bits_of(value: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the logistic's mass on [value - 1/2, value + 1/2], per element."""
    v = value.abs()
    mass = torch.sigmoid((0.5 - v) / scale) - torch.sigmoid((-0.5 - v) / scale)
    # far tail: log of the difference tends to -(v - 1/2)/s; the clamp keeps a gradient through the linear term
    tail = torch.clamp((v - 0.5) / scale - 14.0, min=0.0) / 0.6931472
    return -torch.log2(mass.clamp(min=1e-6)) + tail
