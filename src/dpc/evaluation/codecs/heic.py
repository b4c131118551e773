"""HEIC by pillow-heif (libheif, x265). Its container adds about 370 bytes, so it is not BPG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from dpc.evaluation.codecs.protocol import Rgb, check, need

__all__ = ["Heic"]


class Heic:
    """HEVC intra in an HEIF file."""

    name = "heic"
    seen = "ssim"
    command = "save(quality=Q, subsampling='4:4:4', enc_params={preset: slow, tune: ssim, x265:pools: 1})"
    settings = "4:4:4, x265 preset slow, tune ssim, one thread"
    qualities = range(101)

    def __init__(self) -> None:
        self._heif: Any = need("pillow_heif", "pillow-heif", "HEIC")
        info = self._heif.libheif_info()
        self.version = f"pillow-heif {self._heif.__version__}, libheif {info['libheif']}, {info['HEIF']}"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a quality."""
        check(self, quality)
        out = io.BytesIO()
        self._heif.from_pillow(Image.fromarray(image)).save(
            out,
            quality=int(quality),
            subsampling="4:4:4",
            enc_params={"preset": "slow", "tune": "ssim", "x265:pools": "1", "x265:frame-threads": "1"},
        )
        return out.getvalue()

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        return np.array(self._heif.open_heif(io.BytesIO(data)).to_pillow().convert("RGB"))
