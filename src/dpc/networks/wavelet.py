"""The CDF 9/7 wavelet as plain convolutions: the linear part of the transforms.

One level is a strided convolution 3 -> 12 channels (LL, LH, HL, HH of each colour) and, back, a 5x5 convolution
12 -> 12 channels followed by a pixel shuffle: the polyphase form of the separable filters, so no full-resolution
grouped convolution is ever run. The borders are extended symmetrically, as JPEG 2000 does: the inverse is exact.

Filters: Cohen, Daubechies, Feauveau 1992, as used in JPEG 2000 part 1, scaled to be nearly orthonormal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_R2 = 2**0.5
ANALYSIS_LOW = _R2 * torch.tensor(
    [0.026748757411, -0.016864118443, -0.078223266529, 0.266864118443, 0.602949018236,
     0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411], dtype=torch.float64)  # fmt: skip
ANALYSIS_HIGH = torch.tensor(
    [0.091271763114, -0.057543526229, -0.591271763114, 1.115087052457,
     -0.591271763114, -0.057543526229, 0.091271763114], dtype=torch.float64) / _R2  # fmt: skip
SYNTHESIS_LOW = ANALYSIS_HIGH * torch.tensor([-1, 1, -1, 1, -1, 1, -1], dtype=torch.float64)
SYNTHESIS_HIGH = ANALYSIS_LOW * torch.tensor([1, -1, 1, -1, 1, -1, 1, -1, 1], dtype=torch.float64)

LEVELS = 4
COEFFICIENTS = 3 * 4**LEVELS  # per 16x16 position of an RGB picture


def _place(taps: Tensor, centre: int, length: int) -> Tensor:
    out = torch.zeros(length, dtype=torch.float64)
    half = len(taps) // 2
    out[centre - half : centre + half + 1] = taps
    return out


def analysis_kernel() -> Tensor:
    """Weights (12, 3, 10, 10) of one level: convolve with stride 2 after reflecting 4 pixels on every side.

    Channel order: LL (3 colours), then LH, HL, HH (3 colours each); the first letter is the vertical filter.
    """
    low, high = _place(ANALYSIS_LOW, 4, 10), _place(ANALYSIS_HIGH, 5, 10)
    kernel = torch.zeros(4, 3, 3, 10, 10, dtype=torch.float64)
    for band, (vertical, horizontal) in enumerate([(low, low), (low, high), (high, low), (high, high)]):
        for colour in range(3):
            kernel[band, colour, colour] = torch.outer(vertical, horizontal)
    return kernel.reshape(12, 3, 10, 10).float()


def synthesis_kernel() -> Tensor:
    """Weights (12, 12, 5, 5) of one level back: extend by 2 (see _extend), convolve, pixel shuffle by 2.

    Input channels as analysis_kernel gives them; output channels are colour * 4 + phase (pixel-shuffle order).
    """
    # x[2n+p] = sum_k low[k] * s_low[2n+p-2k] + high[k] * s_high[2n+p-(2k+1)]
    phases = torch.zeros(2, 2, 5, dtype=torch.float64)  # band, phase, offset k-n+2
    for band, taps in enumerate([SYNTHESIS_LOW, SYNTHESIS_HIGH]):
        half = len(taps) // 2
        for phase in range(2):
            for offset in range(-2, 3):
                lag = phase - 2 * offset - band
                if abs(lag) <= half:
                    phases[band, phase, offset + 2] = taps[lag + half]
    kernel = torch.zeros(3, 2, 2, 4, 3, 5, 5, dtype=torch.float64)  # colour, py, px, band, colour, ky, kx
    for band, (vertical, horizontal) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        for py in range(2):
            for px in range(2):
                for colour in range(3):
                    kernel[colour, py, px, band, colour] = torch.outer(phases[vertical, py], phases[horizontal, px])
    return kernel.reshape(12, 12, 5, 5).float()


def _cell_taps(taps: Tensor, odd: int) -> Tensor:
    """One direction of the finest level back on cells of 4 pixels that hold 2 samples of a band: (4, 2, 3) pixel,
    sample, cell + 1."""
    # x[4j+p] = sum over d, h of band[2 (j+d) + h] * taps[p - 4d - 2h - odd]
    half = len(taps) // 2
    out = torch.zeros(4, 2, 3, dtype=torch.float64)
    for p in range(4):
        for h in range(2):
            for d in (-1, 0, 1):
                lag = p - 4 * d - 2 * h - odd
                if abs(lag) <= half:
                    out[p, h, d + 1] = taps[lag + half]
    return out


def cell_kernel() -> Tensor:
    """Weights (48, 48, 3, 3) of the finest level back on 4x4 cells of the picture, without its borders.

    Input channels are band * 4 + phase in the 2x2 cells of the band (12 bands: LL, LH, HL, HH of each colour), output
    channels colour * 16 + phase in the cells of the picture, both in pixel-shuffle order. The support is exact.
    """
    low, high = _cell_taps(SYNTHESIS_LOW, 0), _cell_taps(SYNTHESIS_HIGH, 1)
    kernel = torch.zeros(3, 16, 4, 3, 4, 3, 3, dtype=torch.float64)
    for band, (vertical, horizontal) in enumerate([(low, low), (low, high), (high, low), (high, high)]):
        one = torch.einsum("phd,qge->pqhgde", vertical, horizontal).reshape(16, 4, 3, 3)
        for colour in range(3):
            kernel[colour, :, band, colour] = one
    return kernel.reshape(48, 48, 3, 3).float()


def analyse(x: Tensor, kernel: Tensor) -> Tensor:
    """One level: (N, 3, H, W) -> (N, 12, H/2, W/2). H and W even and at least 6."""
    return F.conv2d(F.pad(x, (4, 4, 4, 4), mode="reflect"), kernel, stride=2)


def synthesise(bands: Tensor, kernel: Tensor) -> Tensor:
    """One level back: (N, 12, h, w) -> (N, 3, 2h, 2w). h and w at least 3."""
    ll, lh, hl, hh = bands.split(3, 1)
    low = torch.cat([_extend(ll, 3, 0), _extend(lh, 3, 1)], 1)
    high = torch.cat([_extend(hl, 3, 0), _extend(hh, 3, 1)], 1)
    return F.pixel_shuffle(F.conv2d(torch.cat([_extend(low, 2, 0), _extend(high, 2, 1)], 1), kernel), 2)


def _extend(x: Tensor, dim: int, odd: int) -> Tensor:
    """Two samples of whole-sample symmetry on both ends of a band that holds the even (odd=0) or odd samples."""

    def at(i: int) -> Tensor:
        stop = i + 1 if i != -1 else None
        return x[:, :, i:stop] if dim == 2 else x[:, :, :, i:stop]

    first, last = (1, -2) if odd else (2, -1)
    return torch.cat([at(first), at(first - 1), x, at(last), at(last - 1)], dim)


def pack(x: Tensor) -> Tensor:
    """All four levels packed at 1/16: (N, 3, H, W) -> (N, 768, H/16, W/16).

    Order: level 4 (LL and details, 12), then the details of level 3 (36), 2 (144), 1 (576), each pixel-unshuffled.
    """
    kernel = analysis_kernel().to(x)
    parts: list[Tensor] = []
    for level in range(1, LEVELS + 1):
        bands = analyse(x, kernel)
        x, detail = bands[:, :3], bands[:, 3:] if level < LEVELS else bands
        parts.insert(0, F.pixel_unshuffle(detail, 2 ** (LEVELS - level)) if level < LEVELS else detail)
    return torch.cat(parts, 1)


def unpack(coefficients: Tensor) -> list[Tensor]:
    """(N, 768, h, w) -> bands of level 4 (N, 12, h, w), 3 (N, 9, 2h, 2w), 2 (N, 9, 4h, 4w) and 1 (N, 9, 8h, 8w)."""
    four, three, two, one = coefficients.split([12, 36, 144, 576], 1)
    return [four, F.pixel_shuffle(three, 2), F.pixel_shuffle(two, 4), F.pixel_shuffle(one, 8)]
