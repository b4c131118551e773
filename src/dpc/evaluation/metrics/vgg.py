"""A pass through VGG16 without gradients, for LPIPS and DISTS: in two thirds of the time, with the same values.

LPIPS and DISTS prepare a picture alike and differ from the first pooling on, so one `first` serves both. From 256
channels on the 3x3 convolutions are computed by Winograd's algorithm (Lavin and Gray 2016, arXiv 1509.09308, F(4x4,
3x3)): a quarter of the multiplications, on any processor. It rounds at 1e-5 of the largest value. bfloat16 would be as
fast where a processor has it, but moves DISTS by 0.1 to 2 %.

This module needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

__all__ = ["TAPS", "Pass", "strips"]

TAPS = (3, 8, 15, 22, 29)
"""The last layer of each of the five blocks."""
LEAST = 256  # output channels from which Winograd's algorithm is faster than the library's convolution
CHUNK = 500_000  # numbers in a step's transformed tiles, so that they stay in the processor's cache
STRIP = 1 << 16  # numbers of a tap that are worked on at a time, for the same reason
TILE = 4  # pixels a side of what one tile gives; it reads two more

# The matrices of the paper's section 4: B^T of the input, G of the weights, A^T of the output.
_B = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
      [0, 4, 0, -5, 0, 1]]  # fmt: skip
_G = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # over 24
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


class Pass:
    """The pass through the layers of `lpips.trunk_layers("vgg")`, whose weights must not change any more."""

    def __init__(self, trunk: nn.Sequential) -> None:
        self._trunk = trunk
        self._transformed = {
            i: _transformed(layer.weight)
            for i, layer in enumerate(trunk)
            if isinstance(layer, nn.Conv2d) and layer.out_channels >= LEAST
        }

    def first(self, x: Tensor) -> Tensor:
        """The first tap (1, 64, H, W) of a picture (1, 3, H, W) whose channels are normalised as ImageNet's."""
        with torch.inference_mode():
            return self._block(x, 0, TAPS[0])

    def rest(self, first: Tensor, pool: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """All five taps, of the first one. pool: halves the size of (1, C, H, W); it must leave its input alone."""
        with torch.inference_mode():
            taps = [first]
            for begin, end in zip(TAPS, TAPS[1:], strict=False):
                taps.append(self._block(pool(taps[-1]), begin + 2, end))
            return taps

    def _block(self, x: Tensor, begin: int, end: int) -> Tensor:
        """Convolutions and ReLUs number begin to end."""
        for i in range(begin, end + 1, 2):
            layer = self._trunk[i]
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            weight = self._transformed.get(i)
            x = layer(x).relu_() if weight is None else _convolve(x, weight, layer.bias).relu_()
        return x


def strips(*taps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Taps (1, C, H, W) of one shape as (pixels, C), some pixels at a time; views where channels lie side by side."""
    rows = [tap[0].permute(1, 2, 0).reshape(-1, tap.shape[1]) for tap in taps]
    step = max(1, STRIP // rows[0].shape[1])
    for begin in range(0, len(rows[0]), step):
        yield tuple(tap[begin : begin + step] for tap in rows)


def _transformed(weight: Tensor) -> Tensor:
    """(36, I, O): the weights (O, I, 3, 3) of a convolution in Winograd's terms."""
    g = torch.tensor(_G, dtype=torch.float64) / 24
    return torch.einsum("ab,oibc,dc->adio", g, weight.detach().double(), g).flatten(0, 1).to(weight.dtype).contiguous()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(1, O, H, W): a 3x3 convolution of (1, I, H, W), padded with zeros. weight: of `_transformed`."""
    height, width = x.shape[2:]
    inputs, outputs = weight.shape[1:]
    to_tiles, from_tiles = (
        torch.kron(m, m) for m in (torch.tensor(_B, dtype=x.dtype), torch.tensor(_A, dtype=x.dtype))
    )
    rows, columns = -(-height // TILE), -(-width // TILE)
    pixels = x[0].permute(1, 2, 0)
    out = x.new_empty(rows, TILE, columns, TILE, outputs)
    step = max(1, CHUNK // (36 * columns * max(inputs, outputs)))
    for begin in range(0, rows, step):
        count = min(step, rows - begin)
        strip = x.new_zeros(TILE * count + 2, TILE * columns + 2, inputs)
        top, bottom = TILE * begin - 1, min(TILE * (begin + count) + 1, height)
        strip[max(0, -top) : bottom - top, 1 : width + 1] = pixels[max(0, top) : bottom]
        tiles = strip.unfold(0, TILE + 2, TILE).unfold(1, TILE + 2, TILE).permute(3, 4, 0, 1, 2)
        spread = (to_tiles @ tiles.reshape(36, -1)).view(36, -1, inputs)
        product = torch.bmm(spread, weight).view(36, -1)
        part = (from_tiles @ product).view(TILE, TILE, count, columns, outputs)
        out[begin : begin + count] = part.permute(2, 0, 3, 1, 4)
    whole = out.view(TILE * rows, TILE * columns, outputs)[:height, :width]
    return (whole + bias).permute(2, 0, 1)[None]
