"""JPEG by better encoders than libjpeg-turbo: Jpegli, and mozjpeg's choice of scans. Any JPEG decoder reads both."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from dpc.evaluation.codecs import pillow
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
    """libjpeg-turbo's coefficients with the scans and tables that mozjpeg finds for them: the same pixels, fewer bytes.

    mozjpeg's own quantisation (trellis) is not in a package.
    """

    name = "jpeg-moz"
    settings = "4:2:0, libjpeg-turbo's coefficients, scans and tables by mozjpeg"
    command = "Image.save(format='JPEG', quality=Q, subsampling='4:2:0', progressive=True), then mozjpeg's optimize"
    seen = "none"
    qualities = range(1, 96)

    def __init__(self) -> None:
        what = "mozjpeg_lossless_optimization"
        self._mozjpeg: Any = need(what, what.replace("_", "-"), "jpeg-moz")
        self.version = f"{pillow.make('jpeg').version}, {what} {self._mozjpeg_version()}"

    def _mozjpeg_version(self) -> str:
        from importlib.metadata import version

        return version("mozjpeg-lossless-optimization")

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a quality."""
        check(self, quality)
        out = io.BytesIO()
        Image.fromarray(image).save(out, "JPEG", quality=int(quality), subsampling="4:2:0", progressive=True)
        return bytes(self._mozjpeg.optimize(out.getvalue()))

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        return _decoded(data)


def _decoded(data: bytes) -> Rgb:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.array(image.convert("RGB"))
