"""SSIM, structural similarity (Wang et al. 2004): 1 is identical, higher is better.

11-tap Gaussian window of sigma 1.5 without padding, K1 = 0.01, K2 = 0.03, at full size (no downscaling before), mean
over the three sRGB channels: the conventions of pytorch-msssim, against which this is tested.
"""

from __future__ import annotations

import numpy as np

from dpc.evaluation.metrics.ms_ssim import maps
from dpc.evaluation.metrics.pair import Picture, check

SMALLEST = 11  # pixels a side: one window


def ssim(original: Picture, decoded: Picture) -> float:
    """SSIM of two uint8 (H, W, 3) pictures, -1 to 1, computed in float64.

    Raises ValueError on a wrong shape or dtype and below 11 pixels a side.
    """
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"SSIM needs at least {SMALLEST} pixels a side, got {width}x{height}")
    values = []
    for c in range(3):
        x, y = original[:, :, c] / 255.0, decoded[:, :, c] / 255.0
        structure, luminance = maps(x + y, x - y)
        values.append(np.mean(structure * luminance))
    return float(np.mean(values))
