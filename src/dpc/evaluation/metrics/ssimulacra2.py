"""SSIMULACRA2 (Jon Sneyers, Cloudinary): 100 is identical, 90 visually lossless, 30 low quality; higher is better.

Computed by the package ssimulacra2, a port of the authors' program; it is not symmetric and has no lower bound.
"""

from __future__ import annotations

import io

from PIL import Image

from dpc.errors import ToolMissing
from dpc.evaluation.metrics.pair import Picture, check

SMALLEST = 8  # pixels a side


def ssimulacra2(original: Picture, decoded: Picture) -> float:
    """SSIMULACRA2 of two uint8 (H, W, 3) pictures, at most 100.

    Raises ValueError on a wrong shape or dtype and below 8 pixels a side, ToolMissing without the package.
    """
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"SSIMULACRA2 needs at least {SMALLEST} pixels a side, got {width}x{height}")
    try:
        from ssimulacra2 import compute_ssimulacra2
    except ImportError as error:
        raise ToolMissing("SSIMULACRA2 needs the package ssimulacra2; pip install ssimulacra2") from error
    return float(compute_ssimulacra2(_file(original), _file(decoded)))


def _file(picture: Picture) -> io.BytesIO:
    """The package reads files only."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "BMP")
    out.seek(0)
    return out
