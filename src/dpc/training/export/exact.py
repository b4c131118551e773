"""Exact floats: the few sums of the decoder that are no integers, made so that no machine rounds them.

Machines differ in the order in which a convolution adds, and in whether its products are rounded. So here none rounds
anything: inputs are rounded to a grid and limited, weights are integers times a power of two (one for each output
channel), and no partial sum can reach 2**24 units, below which float32 holds every integer. All that is left are
operations on single elements, which IEEE 754 defines to the last bit and a runtime may not reorder; a convolution whose
output is added or multiplied ends with a limit that never acts, so that no runtime takes the sum into it. The wavelet
runs as lifting steps (Daubechies and Sweldens 1998).

proof.py proves all of this of the graphs that were exported.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpc.errors import ModelError
from dpc.networks.transforms import Film

LIMIT = 2**24  # float32 holds every integer up to here
WEIGHT_MAX = 2**11  # largest integer weight: float16, which artifacts store, holds these times powers of two
PIECES = (2.0**-1, 384.0), (2.0**-11, 2.0**-2)  # grid and limit of the two pieces of y_hat; stripes reach 160
UPSAMPLED = (2.0**-11, 4.0)  # grid and limit of the picture at half the resolution, which lies in 0 .. 2
FILM_BITS = 10  # FiLM tables are multiples of 2**-FILM_BITS
MIX_BITS = 6  # and the two weights between which they are interpolated, which sum to 1, of 2**-MIX_BITS

# lifting steps of the CDF 9/7 wavelet, and the factor that makes its filters nearly orthonormal
STEPS = (-0.443506852043971, -0.882911075530934, 0.052980118572961, 1.586134342059924)
SCALE = 1.230174104914001 / math.sqrt(2)


class NotExact(ModelError):
    """A network whose sums could be rounded, so that machines may differ."""


def integers(weight: Tensor, bias: Tensor | None, grid: float, limit: float) -> tuple[Tensor, Tensor]:
    """weight and bias, each output channel rounded to multiples of the finest power of two that is exact.

    grid, limit: of the inputs. The units of a channel's sum are its weight's unit times grid.
    """
    w = weight.detach().double()
    b = torch.zeros(len(w), dtype=torch.float64) if bias is None else bias.detach().double()
    inputs = limit / grid
    size, largest = w.abs().flatten(1).sum(1), w.abs().flatten(1).amax(1).clamp(min=2.0**-24)
    # rounding adds up to half a unit a weight
    room = LIMIT - inputs * w[0].numel() / 2 - 2
    if room <= 0:
        raise NotExact(f"{inputs:.0f} steps for each of {w[0].numel()} inputs leave no room for weights")
    unit = torch.maximum((size * inputs + b.abs() / grid) / room, largest / (WEIGHT_MAX - 1)).clamp(min=2.0**-24)
    unit = 2.0 ** torch.ceil(torch.log2(unit))
    shape = (-1, *[1] * (w.ndim - 1))
    w = torch.round(w / unit.reshape(shape)) * unit.reshape(shape)
    b = torch.round(b / (unit * grid)) * unit * grid
    return w.float(), b.float()


def film_tables(film: Film) -> Tensor:
    """Both tables of a Film on their grid, as weights (2 C, levels, 1, 1) of a convolution."""
    tables = torch.cat([film.scale, film.shift], 1).detach().T
    return (torch.round(tables * 2**FILM_BITS) * 2.0**-FILM_BITS)[:, :, None, None].contiguous()


def balanced(kernel: Tensor, grid: float, limit: float) -> Tensor:
    """A kernel rounded as integers() does it, each output channel with its sum kept: plain ground stays as it is.

    kernel: (outputs, inputs, k, k), its sums multiples of 2**-8. The largest weight takes what rounding changed.
    """
    rounded = integers(kernel, None, grid, limit)[0].double().flatten(1)
    missing = torch.round(kernel.double().flatten(1).sum(1) * 2**8) * 2.0**-8 - rounded.sum(1)
    largest = kernel.flatten(1).abs().argmax(1)
    rounded[torch.arange(len(rounded)), largest] += missing
    return rounded.reshape(kernel.shape).float()
