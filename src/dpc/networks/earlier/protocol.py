"""What every earlier codec has. A codec is a torch module that a training, a benchmark and a file can all use.

    codec = make("scale-hyperprior", filters=64, latents=96)
    out = codec(x)                      # training: out.x_hat, out.bits
    codec.update()                      # after training or loading: tables, evaluation mode
    data = codec.compress(rgb)          # bytes
    rgb = codec.decompress(data)

docs/guide/learned.md shows how to add one.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dpc.errors import Corrupt, ImageError, ModelError, OptionError
from dpc.networks.earlier import stream

__all__ = ["EarlierCodec", "Forward", "kinds", "make", "padded", "register"]


class Forward(NamedTuple):
    """What a training sees.

    x_hat: (N, 3, H, W) float, not clipped. bits: (N,) estimated bits of each whole crop, differentiable. extra: terms
    that only one codec has, by name, such as the base network's entropy of the masked symbols.
    """

    x_hat: Tensor
    bits: Tensor
    extra: Mapping[str, Tensor] = {}


class EarlierCodec(nn.Module, ABC):
    """A learned codec at one rate.

    kind: its name in checkpoints. stride: H and W of forward, payload and restore are multiples of it. exact: starts of
    the names of parameters that a checkpoint keeps in float32; all others are kept in float16, buffers in float32.
    sizes: the keyword arguments it was made with (what JSON can hold), set by `make`.
    """

    kind: ClassVar[str]
    stride: int
    exact: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, Any] | None = None
        self._identity: str | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Forward:
        """x: (N, 3, H, W) float in [0, 1], H and W multiples of stride.

        self.training decides whether quantisation is soft (noise, soft assignment) or that of real coding.
        """

    @abstractmethod
    def payload(self, x: Tensor) -> list[bytes]:
        """x: (1, 3, H, W) float32 in [0, 1], H and W multiples of stride -> the parts of the stream."""

    @abstractmethod
    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """parts of `payload`, height and width of its x (multiples of stride) -> x_hat (1, 3, height, width).

        Raises FormatError when the parts are damaged.
        """

    def tables(self) -> None:
        """Make the integer probability tables of the weights as they are; nothing where there are none to make."""

    def update(self) -> None:
        """Evaluation mode, tables and identity for the weights as they are: call it after training or loading.

        `train()` and `load_state_dict` make that stale, and `compress` then refuses.
        """
        self.eval()
        with torch.no_grad():
            self.tables()
        digest = hashlib.sha256(f"{self.kind} {json.dumps(self.sizes, sort_keys=True)}".encode())
        for name, value in self.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self._identity = digest.hexdigest()

    @property
    def identity(self) -> str:
        """Hexadecimal SHA-256 of kind, sizes and weights. ModelError before `update`."""
        if self._identity is None:
            raise ModelError(f"the codec {self.kind} has no tables for its weights; call its update() first")
        return self._identity

    def train(self, mode: bool = True) -> EarlierCodec:
        """Training mode makes tables stale, evaluation mode keeps them."""
        super().train(mode)
        if mode:
            self._identity = None
        return self

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """Other weights make tables stale."""
        self._identity = None
        return super().load_state_dict(*args, **options)

    @torch.inference_mode()
    def compress(self, rgb: NDArray[np.uint8]) -> bytes:
        """The file of a uint8 (H, W, 3) picture of any size. ImageError for another array, ModelError before update."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ImageError(f"the picture is {rgb.dtype} {rgb.shape}; uint8 (height, width, 3) is needed")
        height, width = rgb.shape[:2]
        if not height or not width:
            raise ImageError(f"the picture has {width}x{height} pixels; it needs one or more")
        identity = self.identity
        x = torch.tensor(np.ascontiguousarray(rgb)).to(self._device()).permute(2, 0, 1)[None].float() / 255
        with torch.autocast(x.device.type, enabled=False):
            parts = self.payload(padded(x, self.stride))
        return stream.pack(identity, height, width, parts)

    @torch.inference_mode()
    def decompress(self, data: bytes) -> NDArray[np.uint8]:
        """The uint8 (H, W, 3) picture in a file of `compress`; FormatError or WrongModel in one line otherwise."""
        height, width, parts = stream.unpack(data, self.identity)
        tall, wide = (size + -size % self.stride for size in (height, width))
        with torch.autocast(self._device().type, enabled=False):
            x = self.restore(parts, tall, wide)
        if x.shape != (1, 3, tall, wide):
            raise Corrupt(f"the parts hold {tuple(x.shape)}, not a picture of {wide}x{tall}; the file is damaged")
        pixels = x[0, :, :height, :width].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
        result: NDArray[np.uint8] = pixels.contiguous().cpu().numpy()
        return result

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def padded(x: Tensor, stride: int) -> Tensor:
    """x (N, 3, H, W) with its last row and column repeated, so that H and W are multiples of stride."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


_MODULES = {
    "factorised": "dpc.networks.earlier.hyperprior",
    "scale-hyperprior": "dpc.networks.earlier.hyperprior",
    "mean-scale-hyperprior": "dpc.networks.earlier.hyperprior",
    "joint": "dpc.networks.earlier.joint",
    "base-2018": "dpc.networks.earlier.base2018",
}
"""Kinds, and the modules whose import registers them."""
_CLASSES: dict[str, Callable[..., EarlierCodec]] = {}

C = TypeVar("C", bound=type[EarlierCodec])


def register(cls: C) -> C:
    """A decorator: `make` and `load` know this class by its kind from now on."""
    _CLASSES[cls.kind] = cls
    return cls


def kinds() -> list[str]:
    """The kinds that `make` knows."""
    return sorted({*_MODULES, *_CLASSES})


def make(kind: str, **sizes: Any) -> EarlierCodec:
    """A codec with random weights. sizes: keyword arguments of its class; all of them are kept as codec.sizes.

    OptionError, in one line, for an unknown kind or sizes that the class does not take.
    """
    if kind not in _CLASSES:
        if kind not in _MODULES:
            raise OptionError(f"the codec kind {kind!r} is unknown; choose from {', '.join(kinds())}")
        import_module(_MODULES[kind])
    signature = inspect.signature(_CLASSES[kind])
    try:
        bound = signature.bind(**sizes)
    except TypeError as error:
        raise OptionError(f"{kind}: {error}; it takes {', '.join(signature.parameters)}") from error
    bound.apply_defaults()
    codec = _CLASSES[kind](**bound.arguments)
    codec.sizes = dict(bound.arguments)
    return codec
