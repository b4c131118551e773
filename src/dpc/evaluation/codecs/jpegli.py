"""JPEG by better encoders than libjpeg-turbo: Jpegli and mozjpeg. Any JPEG decoder reads both."""

from __future__ import annotations

import io
from importlib import metadata
from typing import Any

import numpy as np
from PIL import Image

from dpc.errors import ToolMissing
from dpc.evaluation.codecs.protocol import Rgb, check, need

__all__ = ["Jpegli", "MozJpeg"]


class Jpegli:
    """Jpegli of libjxl by pyjpegli: adaptive quantisation, 4:2:0."""

    name = "jpegli"
    settings = "4:2:0, adaptive quantisation, pyjpegli's defaults"
    command = "pyjpegli.encode(rgb, width, height, Q)"
    seen = "butteraugli ssimulacra2"  # its quantisation was tuned with both
    qualities = range(1, 96)

    def __init__(self) -> None:
        self._jpegli: Any = need("pyjpegli", "pyjpegli", "Jpegli")
        self.version = f"pyjpegli {self._jpegli.__version__}"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a quality."""
        check(self, quality)
        height, width = image.shape[:2]
        return bytes(self._jpegli.encode(image.tobytes(), width, height, int(quality)))

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3), by the same decoder as every other JPEG."""
        return _decoded(data)


class MozJpeg:
    """mozjpeg by libvips, whose wheel pyvips-binary is built with it: trellis quantisation, its tables and scans."""

    name = "jpeg-moz"
    settings = "mozjpeg, 4:2:0, trellis quantisation, overshoot deringing, quantisation table 3, optimised scans"
    command = (
        "pyvips.Image.jpegsave_buffer(Q=Q, subsample_mode='on', trellis_quant=True, overshoot_deringing=True, "
        "quant_table=3, interlace=True, optimize_scans=True, optimize_coding=True, keep='none')"
    )
    seen = "none"
    qualities = range(1, 96)

    def __init__(self) -> None:
        self._vips: Any = need("pyvips", "pyvips pyvips-binary", "jpeg-moz")
        self.version = f"libvips {'.'.join(str(self._vips.version(i)) for i in range(3))}, {_package('pyvips-binary')}"
        if not _has_trellis(self._vips):
            raise ToolMissing(
                "jpeg-moz needs a libvips that was built with mozjpeg, and this one was not; pip install pyvips-binary"
            )

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a quality."""
        check(self, quality)
        return _saved(self._vips, image, int(quality), trellis=True)

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        return _decoded(data)


def _saved(vips: Any, image: Rgb, quality: int, trellis: bool) -> bytes:
    height, width = image.shape[:2]
    picture = vips.Image.new_from_memory(image.tobytes(), width, height, 3, "uchar").copy(interpretation="srgb")
    return bytes(
        picture.jpegsave_buffer(
            Q=quality, subsample_mode="on", trellis_quant=trellis, overshoot_deringing=True, quant_table=3,
            interlace=True, optimize_scans=True, optimize_coding=True, keep="none",
        )
    )  # fmt: skip


def _has_trellis(vips: Any) -> bool:
    """Whether the option has an effect: a libvips with libjpeg-turbo only warns of it."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    return _saved(vips, noise, 50, trellis=True) != _saved(vips, noise, 50, trellis=False)


def _package(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"without {name}"


def _decoded(data: bytes) -> Rgb:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.array(image.convert("RGB"))
