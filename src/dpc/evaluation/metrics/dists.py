"""DISTS, deep image structure and texture similarity (Ding et al. 2020, arXiv 2004.07728): 0 identical, lower better.

    x in [0, 1] --ImageNet mean and deviation--> VGG16 whose pooling is L2 with a Hanning window
        --the picture itself and five taps--> per channel: similarity of means (alpha) and of covariances (beta)
        --> 1 - the weighted sum

Pictures are compared at full size (the authors' demonstration shrinks them to 256 pixels first: their values are not
comparable with these). The VGG16 trunk is the one of LPIPS, alpha and beta are the authors' file. Genuine BPG 4:4:4 at
QP 43 has 0.206 on every sixth Kodak picture (published: 0.201 on all, at 0.135 bpp).

This module needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dpc.errors import ModelError, ToolMissing
from dpc.evaluation.metrics import vgg
from dpc.evaluation.metrics.lpips import trunk_layers
from dpc.evaluation.metrics.lpips_weights import NETS, cache_folder, fill, locate, read_weights
from dpc.evaluation.metrics.pair import Picture

CHANNELS = (3, 64, 128, 256, 512, 512)
FILES = ("dists.pt", "weights.pt")
"""What the authors' file of alpha and beta may be called; they call it weights.pt."""
SOURCE = "github.com/dingkeyan93/DISTS, DISTS_pytorch/weights.pt"
C1 = C2 = 1e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """What a comparison needs of a tap (N, C, H, W): its mean and variance (N, C), and it less its mean."""

    mean: Tensor
    variance: Tensor
    centred: Tensor

    @classmethod
    def of(cls, tap: Tensor) -> Moments:
        """Of (N, C, H, W) floating point."""
        mean = tap.mean((2, 3))
        centred = tap - mean[:, :, None, None]
        return cls(mean, centred.square().mean((2, 3)), centred)


class DISTS(nn.Module):
    """Distance of two batches of pictures: (N,) float, about 0 to 1, lower is better.

    weights: a folder that holds the VGG16 trunk (`vgg16-features.pth`, or torchvision's own file) and the authors'
    alpha and beta (`dists.pt` or `weights.pt`), in itself or in its
    folders lpips and vgg; default ~/.cache/dpc/lpips. Nothing is downloaded. All weights are
    frozen.

    Raises ToolMissing (weights not there), ModelError (a wrong file).
    """

    smallest = 16

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        folder = cache_folder() if weights is None else Path(weights)
        net = NETS["vgg"]
        trunk_path, path = locate(folder, net.trunk_files), locate(folder, FILES)
        if trunk_path is None or path is None:
            raise ToolMissing(
                f"DISTS needs {net.trunk.name} and {FILES[0]}, which are not both in {folder}; fetch {net.trunk.url} "
                f"and the authors' alpha and beta ({SOURCE}, kept as {FILES[0]}) into it, or give another folder"
            )
        self.trunk = trunk_layers("vgg")
        fill(self.trunk, read_weights(trunk_path), trunk_path)
        state = read_weights(path)
        parts = {}
        for name in ("alpha", "beta"):
            if name not in state or state[name].numel() != sum(CHANNELS):
                raise ModelError(f"{path} holds other weights: {name} with {sum(CHANNELS)} values is not in it")
            parts[name] = state[name].float().reshape(-1)
        total = parts["alpha"].sum() + parts["beta"].sum()
        self.alpha: Tensor
        self.beta: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("alpha", parts["alpha"] / total)
        self.register_buffer("beta", parts["beta"] / total)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))
        self.requires_grad_(False)
        self._pass = vgg.Pass(self.trunk)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) distances of x and y: (N, 3, H, W) float in [0, 1], of one size."""
        return self.distance(self.features(x), self.features(y))

    def of(self, picture: Picture, first: Tensor | None = None) -> list[Moments]:
        """`features` of one (H, W, 3) uint8 picture, without a graph. first: the first tap, see vgg.Pass."""
        with torch.inference_mode():
            return [Moments.of(tap) for tap in self._taps_of(picture, first)]

    def against(self, features: Sequence[Moments], decoded: Picture, first: Tensor | None = None) -> float:
        """The distance from what `of` gives to a picture, whose own features are made strip by strip and not kept."""
        with torch.inference_mode():
            similarity = torch.zeros(1)
            parts = zip(features, self._taps_of(decoded, first), self._alpha, self._beta, strict=True)
            for a, tap, alpha, beta in parts:
                mean = tap.mean((2, 3))
                variance, covariance = torch.zeros_like(mean), torch.zeros_like(mean)
                for other, rows in vgg.strips(a.centred, tap):
                    centred = rows - mean
                    covariance += (centred * other).sum(0)
                    variance += centred.square_().sum(0)
                pixels = tap.shape[2] * tap.shape[3]
                similarity += _similarity(a, mean, variance / pixels, covariance / pixels, alpha, beta)
            return float(1 - similarity)

    def between(self, original: Picture, decoded: Picture) -> float:
        """The distance between two (H, W, 3) uint8 pictures."""
        return self.against(self.of(original), decoded)

    def _taps_of(self, picture: Picture, first: Tensor | None) -> tuple[Tensor, ...]:
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255.0
        self._check(x)
        first = self._pass.first((x - self.mean) / self.deviation) if first is None else first
        return x, *self._pass.rest(first, _pool)

    def features(self, x: Tensor) -> list[Moments]:
        """The picture and the five taps of x, for `distance`. ValueError on a wrong shape, dtype or range."""
        self._check(x)
        h = (x - self.mean) / self.deviation
        taps = [Moments.of(x)]
        for i, layer in enumerate(self.trunk):
            h = _pool(h) if isinstance(layer, nn.MaxPool2d) else layer(h)
            if i in vgg.TAPS:
                taps.append(Moments.of(h))
        return taps

    def distance(self, fx: Sequence[Moments], fy: Sequence[Moments]) -> Tensor:
        """(N,) distances of two results of `features`."""
        similarity = torch.zeros_like(fx[0].mean[:, 0])
        for a, b, alpha, beta in zip(fx, fy, self._alpha, self._beta, strict=True):
            covariance = (a.centred * b.centred).mean((2, 3))
            similarity = similarity + _similarity(a, b.mean, b.variance, covariance, alpha, beta)
        return 1 - similarity

    @property
    def _alpha(self) -> Sequence[Tensor]:
        return self.alpha.split(CHANNELS)

    @property
    def _beta(self) -> Sequence[Tensor]:
        return self.beta.split(CHANNELS)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < self.smallest or not x.is_floating_point():
            raise ValueError(
                f"DISTS needs (N, 3, H, W) floating point of at least {self.smallest} pixels a side, got "
                f"{tuple(x.shape)} {x.dtype}"
            )
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"DISTS needs values in [0, 1], got {low:.4g} to {high:.4g}")


def _similarity(a: Moments, mean: Tensor, variance: Tensor, covariance: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """(N,) weighted similarity of a tap to another one of these moments."""
    means = (2 * a.mean * mean + C1) / (a.mean * a.mean + mean * mean + C1)
    structure = (2 * covariance + C2) / (a.variance + variance + C2)
    return (alpha * means + beta * structure).sum(1)


def _pool(x: Tensor) -> Tensor:
    """Half the size: the root of the weighted mean of squares in a 3x3 Hanning window."""
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return (nn.functional.conv2d(x * x, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
