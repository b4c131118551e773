"""JPEG XL by imagecodecs (libjxl)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dpc.evaluation.codecs.protocol import Rgb, check, need

__all__ = ["JpegXL"]


class JpegXL:
    """Lossy JPEG XL (VarDCT), codestream only; the quality is the distance, 25 (smallest) down to 0.1."""

    seen = "butteraugli ssimulacra2"  # the encoder searches with the one and was tuned with both
    qualities = tuple(round(25 / 1.025**i, 3) for i in range(224))

    def __init__(self, effort: int = 7) -> None:
        self.name = "jpegxl" if effort == 7 else f"jpegxl-{effort}"
        self.settings = f"VarDCT, effort {effort}, codestream, one thread; the quality is the distance"
        self.command = f"jpegxl_encode(distance=Q, effort={effort}, lossless=False, usecontainer=False, numthreads=1)"
        self._effort = effort
        self._codecs: Any = need("imagecodecs", "imagecodecs", "JPEG XL")
        self.version = f"imagecodecs {self._codecs.__version__}, {self._codecs.jpegxl_version()}"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a distance."""
        check(self, quality)
        data = self._codecs.jpegxl_encode(
            image, distance=quality, effort=self._effort, lossless=False, usecontainer=False, numthreads=1
        )
        return bytes(data)

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        return np.asarray(self._codecs.jpegxl_decode(data, numthreads=1), np.uint8)
