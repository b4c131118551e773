"""LPIPS v0.1, the perceptual distance of Zhang et al. 2018 (arXiv 1801.03924): 0 is identical, lower better.

    x in [0, 1] --affine--> frozen ImageNet trunk --taps--> unit length over channels
        --squared difference--> learned 1x1 head --spatial mean--> sum over taps

What was verified: on the authors' example pictures (ex_ref against ex_p0 / ex_p1) this module gives 0.722 /
0.138 with AlexNet, the values that the authors publish, and 0.7110 / 0.1479 with SqueezeNet 1.1, with the
same weights that give the value of torchmetrics' documented example. VGG16 gives
0.5686 / 0.4217 there, as the authors' package lpips 0.1.4 does with the same weights. The size and sha256 of each
published file are pinned below. They were taken from public records of these files, not from a download of
ours; the sha256 of torchvision's files begin with the digits in their names.

This module needs torch.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import os
import pickle
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpc.errors import ModelError, ToolMissing
from dpc.evaluation.metrics import vgg

TORCHVISION = "https://download.pytorch.org/models/"
AUTHORS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/"
)

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Published:
    """One published weight file: where it is, and how to know it."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file name in the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Net:
    """One trunk: which layers are tapped, their channels, the smallest side it takes, and its files."""

    taps: tuple[int, ...]
    channels: tuple[int, ...]
    smallest: int
    trunk_file: str
    trunk: Published
    head: Published

    @property
    def trunk_files(self) -> tuple[str, ...]:
        """What the file of the trunk may be called: all weights, in half precision, or torchvision's own."""
        return self.trunk_file, self.trunk_file.replace(".pth", "-fp16.pth"), self.trunk.name


NETS: dict[str, Net] = {
    "alex": Net(
        taps=(1, 4, 7, 9, 11),
        channels=(64, 192, 384, 256, 256),
        smallest=31,
        trunk_file="alexnet-features.pth",
        trunk=Published(
            TORCHVISION + "alexnet-owt-7be5be79.pth",
            244408911,
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        head=Published(AUTHORS + "alex.pth", 6009, "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    ),
    "squeeze": Net(
        taps=(1, 4, 7, 9, 10, 11, 12),
        channels=(64, 128, 256, 384, 384, 512, 512),
        smallest=17,
        trunk_file="squeezenet1_1-features.pth",
        trunk=Published(
            TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
            4958839,
            "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        ),
        head=Published(
            AUTHORS + "squeeze.pth",
            10811,
            "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        ),
    ),
    "vgg": Net(
        taps=vgg.TAPS,
        channels=(64, 128, 256, 512, 512),
        smallest=16,
        trunk_file="vgg16-features.pth",
        trunk=Published(
            TORCHVISION + "vgg16-397923af.pth",
            553433881,
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ),
        head=Published(AUTHORS + "vgg.pth", 7289, "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    ),
}


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
        trunk_path, head_path = _find(net, weights, download)
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
        with torch.inference_mode():
            return float(self.distance(self.of(original), self.of(decoded)))

    def of(self, picture: UInt8, first: Tensor | None = None) -> list[Tensor]:
        """`features` of one (H, W, 3) uint8 picture, without a graph. first: what `first` gives of it."""
        with torch.inference_mode():
            if self.net is not NETS["vgg"]:
                return self.features(_tensor(picture))
            first = self.first(picture) if first is None else first
            return _unit(self._pass().rest(first, functools.partial(nn.functional.max_pool2d, kernel_size=2)))

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
        return _unit(self._taps(x, check))

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


def _unit(taps: Sequence[Tensor]) -> list[Tensor]:
    return [f * (torch.linalg.vector_norm(f, dim=1, keepdim=True) + 1e-10).reciprocal() for f in taps]


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


def cache_folder() -> Path:
    """Where downloaded weights are kept: ~/.cache/dpc/lpips."""
    return Path.home() / ".cache" / "dpc" / "lpips"


def locate(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files in a folder, or in its folders lpips and vgg; None when there is none."""
    places = (folder, folder / "lpips", folder / "vgg")
    return next((path for name in names for place in places if (path := place / name).is_file()), None)


def _find(name: str, weights: str | Path | None, download: bool) -> tuple[Path, Path]:
    """Paths of trunk and head: in the folder given, else in the cache, else downloaded to the cache."""
    net = NETS[name]
    folder = cache_folder() if weights is None else Path(weights)
    trunk, head = locate(folder, net.trunk_files), locate(folder, [net.head.name])
    if trunk and head:
        return trunk, head
    head = folder / net.head.name
    reason = ""
    if weights is None and download:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not head.is_file():
                _fetch(net.head, head)
            if not trunk:
                trunk = folder / net.trunk_file
                _fetch(net.trunk, trunk, only="features.")
            return trunk, head
        except (OSError, http.client.HTTPException) as e:
            reason = f" and could not be downloaded ({e})"
    raise ToolMissing(
        f"the LPIPS weights {net.trunk.name} and {net.head.name} are not in {folder}{reason}; fetch "
        f"{net.trunk.url} and {net.head.url} into {cache_folder()}, or elsewhere and pass weights=FOLDER"
    )


def _fetch(file: Published, to: Path, only: str = "") -> None:
    """Download beside `to`, check size and sha256, keep the keys that start with `only`, move to `to`."""
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        part = Path(scratch) / file.name
        digest = hashlib.sha256()
        size = 0
        with urllib.request.urlopen(file.url, timeout=60) as response, part.open("wb") as out:
            while size <= file.size and (block := response.read(1 << 20)):
                size += len(block)
                digest.update(block)
                out.write(block)
        sha256 = digest.hexdigest()
        if size != file.size or sha256 != file.sha256:
            raise ModelError(
                f"{file.url} is not the published file: {size} bytes with sha256 {sha256[:16]}.., expected "
                f"{file.size} bytes with {file.sha256[:16]}..; try again, or pass weights=FOLDER"
            )
        if only:
            state = {k: v for k, v in read_weights(part).items() if k.startswith(only)}
            torch.save(state, part)
        os.replace(part, to)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file; nothing in it is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as e:
        raise ModelError(f"{path} cannot be read as torch weights ({type(e).__name__}); fetch it again") from e
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} holds {type(state).__name__} where a table of tensors was expected")
    return state


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy all weights of a trunk (keys features.*) or of the heads (keys linN.model.1.weight), or fail."""
    names = {
        k: f"lin{k.split('.')[0]}.model.1.weight" if isinstance(module, nn.ModuleList) else f"features.{k}"
        for k in module.state_dict()
    }
    missing = [v for v in names.values() if v not in state]
    if missing:
        raise ModelError(f"{path} holds other weights: {missing[0]} is not in it")
    try:
        module.load_state_dict({k: state[v] for k, v in names.items()})
    except RuntimeError as e:
        raise ModelError(f"{path} holds weights of another shape: {str(e).splitlines()[-1].strip()}") from e
