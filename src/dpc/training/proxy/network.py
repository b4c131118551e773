"""A proxy of LPIPS: a small network of our own whose gradient is near to that of LPIPS, and which may ship.

The encoder goes down its gradient when it refines latents (`codec/refining.py`). The weights of LPIPS are others' and
large. The proxy learned from pictures that the codec had drawn, and from the gradients of LPIPS, by AlexNet and by
SqueezeNet, at these (docs/research/tried.md, "A proxy of LPIPS"; a proxy in place of a metric that is slow or has no
gradient: Chen et al. 2020, ProxIQA).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

WIDTHS = 32, 64, 96, 128  # of the features at 1/2, 1/4, 1/8 and 1/16
MIDDLE, CONTRAST = 0.45, 4.0  # what is taken from a value, and by how much it is multiplied


class Proxy(nn.Module):
    """The distance of two pictures: squared differences of features, in shares of the energy of the original's."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        sizes = zip((12, *widths[:-1]), widths, strict=True)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2 if level else 1, padding=1) for level, (i, o) in enumerate(sizes)
        )
        # logarithms of: the weights of differences, the weights in the energy, what is added to that
        self.w = nn.ParameterList(nn.Parameter(torch.full((o, 1, 1), -1.0)) for o in widths)
        self.a = nn.ParameterList(nn.Parameter(torch.zeros(o, 1, 1)) for o in widths)
        self.eps = nn.ParameterList(nn.Parameter(torch.full((1, 1, 1), -2.0)) for _ in widths)

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[np.generic]]) -> Proxy | None:
        """The proxy whose weights are here as proxy.NAME, as artifacts have them; None where there is none."""
        state = {
            k.removeprefix("proxy."): torch.from_numpy(np.asarray(v, np.float32))
            for k, v in weights.items()
            if k.startswith("proxy.")
        }
        if not state:
            return None
        made = cls([len(v) for k, v in sorted(state.items()) if k.startswith("w.")])
        made.load_state_dict(state)
        return made.eval().requires_grad_(False)

    def stored(self) -> dict[str, NDArray[np.float16]]:
        """The weights as `of` reads them: proxy.NAME -> float16."""
        return {f"proxy.{name}": value.detach().half().numpy() for name, value in self.state_dict().items()}

    def features(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W) in 0 .. 1, sides multiples of 16 -> features at 1/2, 1/4, 1/8, 1/16."""
        f, levels = pixel_unshuffle((x - MIDDLE) * CONTRAST, 2), []
        for conv in self.convs:
            f = torch.relu(conv(f))
            levels.append(f)
        return levels

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """The distance of x_hat from x, both (N, 3, H, W) in 0 .. 1 -> (N,)."""
        total = torch.zeros(len(x), device=x.device)
        for level, (f, f_hat) in enumerate(zip(self.features(x), self.features(x_hat), strict=True)):
            energy = self.eps[level].exp() + (self.a[level].exp() * f.square()).mean(1, keepdim=True)
            squared = (self.w[level].exp() * (f - f_hat).square()).mean(1, keepdim=True)
            total = total + (squared / energy).mean((1, 2, 3))
        return total
