"""MS-SSIM, multi-scale structural similarity (Wang et al. 2003): 1 is identical, higher is better.

Five scales, 11-tap Gaussian window of sigma 1.5 without padding, K1 = 0.01, K2 = 0.03. The scales are halved
by averaging 2x2 pixels (an odd side gets a row of zeros before its first), each colour channel is taken by
itself and negative contrast-structure terms count as 0: the conventions of pytorch-msssim, against which this
is tested, and of the learned-compression literature.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dpc.evaluation.metrics.pair import Picture, check

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1 = 0.01**2
C2 = 0.03**2
SMALLEST = 161  # pixels a side: the window must fit into the picture at the fifth scale
_GAUSS = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
WINDOW = tuple(g / sum(_GAUSS) for g in _GAUSS)

_Plane = npt.NDArray[np.float64]


def ms_ssim(original: Picture, decoded: Picture) -> float:
    """MS-SSIM of two uint8 (H, W, 3) pictures, 0 to 1, computed in float64.

    Raises ValueError on a wrong shape or dtype and below 161 pixels a side.
    """
    return ssim_and_ms_ssim(original, decoded)[1]


def ssim_and_ms_ssim(original: Picture, decoded: Picture) -> tuple[float, float]:
    """Both at the price of MS-SSIM, whose first scale is SSIM's. Raises ValueError as ms_ssim does."""
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"MS-SSIM needs at least {SMALLEST} pixels a side, got {width}x{height}")
    channels = [_channel(original[:, :, c] / 255.0, decoded[:, :, c] / 255.0) for c in range(3)]
    single, multiple = np.mean(channels, axis=0)
    return float(single), float(multiple)


def maps(s: _Plane, d: _Plane) -> tuple[_Plane, _Plane]:
    """The terms of contrast with structure and of luminance of x and y, given s = x + y and d = x - y.

    var(x + y) - var(x - y) = 4 cov, and so on.
    """
    ms, md = blur(s) ** 2, blur(d) ** 2
    vs, vd = blur(s * s) - ms, blur(d * d) - md
    return (vs - vd + 2 * C2) / (vs + vd + 2 * C2), (ms - md + 2 * C1) / (ms + md + 2 * C1)


def _channel(x: _Plane, y: _Plane) -> tuple[float, float]:
    """SSIM and MS-SSIM of one channel."""
    s, d = x + y, x - y
    single, product = 0.0, 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            s, d = _halve(s), _halve(d)
        term, luminance = maps(s, d)
        if scale == 0:
            single = float(np.mean(term * luminance))
        if scale == len(WEIGHTS) - 1:
            term *= luminance
        product *= max(float(term.mean()), 0.0) ** weight
    return single, product


def blur(x: _Plane) -> _Plane:
    """x filtered by the Gaussian window along both axes, without padding."""
    for _ in range(2):
        n = x.shape[0] - 10
        out = x[5 : 5 + n] * WINDOW[5]
        for i in range(5):
            out += (x[i : i + n] + x[10 - i : 10 - i + n]) * WINDOW[i]
        x = out.T
    return x


def _halve(x: _Plane) -> _Plane:
    """Means of 2x2 pixels; an odd side gets a row of zeros in front."""
    x = np.pad(x, [(n % 2, 0) for n in x.shape])
    return (x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]) / 4
