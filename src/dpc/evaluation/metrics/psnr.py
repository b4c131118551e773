"""PSNR, peak signal-to-noise ratio over the three sRGB channels together: in dB, higher is better."""

from __future__ import annotations

import math

import numpy as np

from dpc.evaluation.metrics.pair import Picture, check


def psnr(original: Picture, decoded: Picture) -> float:
    """10 log10(255^2 / MSE) of two uint8 (H, W, 3) pictures, infinite for identical ones."""
    check(original, decoded)
    error = original.astype(np.int32) - decoded
    mse = float(np.mean(error * error))
    return 10.0 * math.log10(255.0**2 / mse) if mse else math.inf
