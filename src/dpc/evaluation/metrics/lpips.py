"""LPIPS v0.1, the perceptual distance of Zhang et al. 2018 (arXiv 1801.03924): 0 is identical, lower better.

    x in [0, 1] --affine--> frozen ImageNet trunk --taps--> unit length over channels
        --squared difference--> learned 1x1 head --spatial mean--> sum over taps

What was verified: on the authors' example pictures (ex_ref against ex_p0 / ex_p1) this module gives 0.722 /
0.138 with AlexNet, the values that the authors publish, and 0.7110 / 0.1479 with SqueezeNet 1.1, with the
same weights that give the value of torchmetrics' documented example. VGG16 gives
0.5686 / 0.4217 there, as the authors' package lpips 0.1.4 does with the same weights.

This module needs torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpc.evaluation.metrics import vgg
from dpc.evaluation.metrics.lpips_weights import NETS, fill, find, read_weights

__all__ = ["LPIPS", "trunk_layers"]

UInt8 = NDArray[np.uint8]


class LPIPS(nn.Module):
    """Distance of two batches of pictures: (N,) float, 0 or more, lower is better.

    net: "alex", "squeeze" or "vgg". weights: a folder that holds the trunk (`alexnet-features.pth`, or
    torchvision's own file) and the authors' head (`alex.pth`), in itself or in its folders lpips and vgg. Without it
    the files are looked for in
    ~/.cache/dpc/lpips and, with download=True, fetched to there and checked. All weights are frozen.

    Raises ValueError (unknown net), ToolMissing (weights neither there nor to be had), ModelError (a wrong
    file).
    """

    def __init__(self, net: str = "alex", weights: str | Path | None = None, *, download: bool = True) -> None:
        super().__init__()
        if net not in NETS:
            raise ValueError(f"LPIPS net {net!r} is unknown; choose one of {', '.join(NETS)}")
        self.net = NETS[net]
        trunk_path, head_path = find(net, weights, download)
        self.trunk = trunk_layers(net)
        fill(self.trunk, read_weights(trunk_path), trunk_path)
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 1, bias=False) for c in self.net.channels)
        fill(self.heads, read_weights(head_path), head_path)
        # (2 x - 1 - shift) / scale as one multiplication and one addition
        shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)
        self.mul: Tensor
        self.add: Tensor
        self.register_buffer("mul", 2.0 / scale)
        self.register_buffer("add", (-1.0 - shift) / scale)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fast: vgg.Pass | None = None

    @property
    def smallest(self) -> int:
        """Pixels a side that the network needs."""
        return self.net.smallest

    def forward(self, x: Tensor, y: Tensor, *, check: bool = True) -> Tensor:
        """(N,) distances of x and y: (N, 3, H, W) float in [0, 1], of one size.

        check=False skips the range check (it reads every pixel) for use inside training, where a decoder may
        overshoot; nothing is ever clamped. No graph is kept for an argument that needs no gradient.
        Raises ValueError on a wrong shape, dtype or range.
        """
        if x.shape != y.shape:
            raise ValueError(f"LPIPS needs two batches of one shape, got {tuple(x.shape)}, {tuple(y.shape)}")
        return self._distance(self.features(x, check=check), self._taps(y, check))

    def between(self, original: UInt8, decoded: UInt8) -> float:
        """The distance between two (H, W, 3) uint8 pictures."""
        return self.against(self.of(original), decoded)

    def of(self, picture: UInt8, first: Tensor | None = None) -> list[Tensor]:
        """`features` of one (H, W, 3) uint8 picture, without a graph. first: what `first` gives of it."""
        with torch.inference_mode():
            return [_unit(tap) for tap in self._taps_of(picture, first)]

    def against(self, features: Sequence[Tensor], decoded: UInt8, first: Tensor | None = None) -> float:
        """The distance from what `of` gives to a picture; its own features are made strip by strip and not kept."""
        with torch.inference_mode():
            total = 0.0
            for head, unit, tap in zip(self.heads, features, self._taps_of(decoded, first), strict=True):
                weight, sum_of = head.get_parameter("weight").flatten(), torch.zeros(())
                for other, rows in vgg.strips(unit, tap):
                    sum_of += (_unit(rows).sub_(other).square_() @ weight).sum()
                total += float(sum_of) / (tap.shape[2] * tap.shape[3])
            return total

    def _taps_of(self, picture: UInt8, first: Tensor | None) -> Sequence[Tensor]:
        if self.net is not NETS["vgg"]:
            return self._taps(_tensor(picture), True)
        first = self.first(picture) if first is None else first
        return self._pass().rest(first, functools.partial(nn.functional.max_pool2d, kernel_size=2))

    def first(self, picture: UInt8) -> Tensor:
        """The first tap of VGG16 of one (H, W, 3) uint8 picture, which DISTS takes too."""
        x = _tensor(picture)
        _check(x, self.net.smallest, values=False)
        return self._pass().first(x * self.mul + self.add)

    def _pass(self) -> vgg.Pass:
        if self._fast is None:
            self._fast = vgg.Pass(self.trunk)
        return self._fast

    def features(self, x: Tensor, *, check: bool = True) -> list[Tensor]:
        """Unit-length taps of x, for `distance`; keep those of a reference to compute them only once."""
        return [_unit(tap) for tap in self._taps(x, check)]

    def _taps(self, x: Tensor, check: bool) -> list[Tensor]:
        _check(x, self.net.smallest, check)
        h = x.to(dtype=self.mul.dtype, memory_format=torch.channels_last) * self.mul + self.add
        taps = []
        for i, layer in enumerate(self.trunk):
            h = layer(h)
            if i in self.net.taps:
                taps.append(h.float() if h.dtype in (torch.float16, torch.bfloat16) else h)
        return taps

    def distance(self, fx: Sequence[Tensor], fy: Sequence[Tensor]) -> Tensor:
        """(N,) distances of two results of `features`; one with N = 1 is compared with all of the other."""
        with torch.autocast(fx[0].device.type, enabled=False):
            return torch.stack(
                [head((a - b).square()).mean((1, 2, 3)) for head, a, b in zip(self.heads, fx, fy, strict=True)]
            ).sum(0)

    def _distance(self, fx: Sequence[Tensor], taps: Sequence[Tensor]) -> Tensor:
        """(N,) distances of a result of `features` and one of `_taps`, both of the same N."""
        with torch.autocast(fx[0].device.type, enabled=False):
            parts = [_Tap.apply(f, unit, head.weight) for head, unit, f in zip(self.heads, fx, taps, strict=True)]
            return torch.stack(parts).sum(0)


class _Tap(torch.autograd.Function):
    """f / |f|, its squared difference from unit-length features, weighted and averaged: (N,).

    f, unit: (N, C, h, w); weight: (1, C, 1, 1), constant. What autograd would do step by step, in a third of the time
    on a CPU: the elementwise passes over the first taps were a sixth of a training step.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, unit: Tensor, weight: Tensor) -> Tensor:
        n, c = f.shape[:2]
        rows, others = (t.permute(0, 2, 3, 1).reshape(-1, c) for t in (f, unit))  # views in channels_last
        inverse = (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + 1e-10).reciprocal()
        own = rows * inverse
        difference = own - others
        weighted = difference * weight.reshape(1, c)
        ctx.save_for_backward(own, weighted, inverse)
        ctx.shape = f.shape
        return torch.einsum("mc,mc->m", weighted, difference).reshape(n, -1).mean(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        own, weighted, inverse = ctx.saved_tensors
        n, c, h, w = ctx.shape
        scale = (gradients[0] * (2 / (h * w))).repeat_interleave(h * w).unsqueeze(1)
        to_f = to_unit = None
        if ctx.needs_input_grad[1]:
            to_unit = (weighted * -scale).reshape(n, h, w, c).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            along = torch.einsum("mc,mc->m", weighted, own).unsqueeze(1)
            to_f = torch.addcmul(weighted, own, along, value=-1).mul_(scale * inverse)
            to_f = to_f.reshape(n, h, w, c).permute(0, 3, 1, 2)
        return to_f, to_unit, None


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 convolution to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2 expand, H, W) of (N, channels, H, W)."""
        s = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(s), self.expand3x3(s)], 1).relu_()


def trunk_layers(net: str) -> nn.Sequential:
    """The convolutional part of an ImageNet network, numbered as in torchvision."""
    if net == "alex":
        return nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True),
        )  # fmt: skip
    if net == "squeeze":
        return nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


def _tensor(picture: UInt8) -> Tensor:
    """(1, 3, H, W) in [0, 1], with the channels of a pixel side by side."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255.0


def _unit(f: Tensor) -> Tensor:
    """Of unit length over the second axis, the channels."""
    return f * (torch.linalg.vector_norm(f, dim=1, keepdim=True) + 1e-10).reciprocal()


def _check(x: Tensor, smallest: int, values: bool) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] < 1:
        raise ValueError(f"LPIPS needs pictures as (N, 3, H, W), got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"LPIPS needs floating point in [0, 1], got {x.dtype}; divide 8-bit values by 255")
    if min(x.shape[2:]) < smallest:
        raise ValueError(f"LPIPS with this net needs {smallest} pixels a side, got {x.shape[3]}x{x.shape[2]}")
    if values:
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"LPIPS needs values in [0, 1], got {low:.4g} to {high:.4g}")
