"""The training of a proxy: its gradient is to be that of LPIPS, in what LPIPS's networks agree on.

The gradients of two LPIPS networks have little in common, and least at high frequencies (docs/research/tried.md). So
both are compared as spectra, in luma and two colour differences, each frequency by what the networks agree on there.
The error is relative to LPIPS's own gradient, and the size of the proxy's is learned too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpc.errors import DPCError
from dpc.training.export.descent import OPPONENT
from dpc.training.proxy.crops import SIDE, Crop, read
from dpc.training.proxy.network import Proxy

CUT = SIDE // 2  # side of what a step sees of a crop
BATCH, RATE = 8, 1.5e-3
HELD = 48  # crops that are held out
BINS = 128
AGREED, FALL, COLOUR = 0.06, 1.2, (0.7, 0.04)  # cycles per pixel up to which the networks agree, and how it falls
HARD = 4.0  # relative error from which a crop counts by its logarithm


class Spectrum:
    """Gradients (N, 3, H, W) by RGB as weighted spectra, whose squares sum to what counts."""

    def __init__(self, crops: Sequence[Crop]) -> None:
        total = sum(
            _share(self._power(_opponent(torch.from_numpy(c.gradient.astype(np.float32))[None]))) for c in crops
        )
        places = _bins(SIDE)
        radial = [np.bincount(places.ravel(), part.ravel(), BINS) for part in np.asarray(total)]
        self._radial = np.array(radial) / np.maximum(np.bincount(places.ravel(), minlength=BINS), 1)
        self._weights: dict[int, Tensor] = {}

    def __call__(self, gradient: Tensor) -> Tensor:
        side = gradient.shape[-1]
        if side not in self._weights:
            self._weights[side] = self._weighted(side)
        return torch.view_as_real(torch.fft.rfft2(_opponent(gradient)) * self._weights[side])

    def _weighted(self, side: int) -> Tensor:
        places = _bins(side)
        frequency = (places + 0.5) / (2 * BINS)
        agreed = np.minimum(1, (AGREED / frequency) ** FALL)
        colour = agreed * np.minimum(COLOUR[0], COLOUR[1] / frequency)
        twice = np.full(places.shape[1], 2.0)  # frequencies that a real transform leaves out
        twice[0] = twice[-1] = 1
        power = np.stack([agreed, colour, colour]) / np.maximum(self._radial[:, places], 1e-30)
        return torch.from_numpy(np.sqrt(power * twice)).float()

    @staticmethod
    def _power(gradient: Tensor) -> np.ndarray:
        return torch.fft.rfft2(gradient[0]).abs().square().numpy()


def _share(power: np.ndarray) -> np.ndarray:
    return power / max(power.sum(), 1e-30)


def _bins(side: int) -> np.ndarray:
    """The bin of each frequency of a real transform."""
    squared = np.add.outer(np.fft.fftfreq(side) ** 2, np.fft.rfftfreq(side) ** 2)
    return np.minimum((np.sqrt(squared) * 2 * BINS).astype(int), BINS - 1)


def _opponent(gradient: Tensor) -> Tensor:
    """Gradients by RGB as gradients by luma, half of R-G and half of B-G."""
    return torch.einsum("ij,njhw->nihw", torch.from_numpy(np.linalg.inv(OPPONENT).T).float(), gradient)


def train(
    proxy: Proxy, folder: Path, minutes: float, seed: int, say: Callable[[str], None], *, rate: float = RATE
) -> tuple[float, float]:
    """Train a proxy in place on the crops of a folder; the mean of its weights is kept at the end.

    Returns what it reaches on crops that it did not see: the mean cosine of its gradient with LPIPS's, and its size in
    that of LPIPS's. DPCError where there are fewer than 2 * HELD crops.
    """
    files = sorted(folder.glob("*.npz"))
    if len(files) < 2 * HELD:
        raise DPCError(f"{folder} holds {len(files)} crops, at least {2 * HELD} are needed; make more of them")
    np.random.default_rng(3).shuffle(files)
    held, files = [read(f) for f in files[:HELD]], files[HELD:]
    spectrum, rng = Spectrum(held), np.random.default_rng(seed)
    parameters = list(proxy.requires_grad_(True).parameters())
    means = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=1e-4)
    began = said = time.monotonic()
    step, order, found = 0, list[int](), list[list[float]]()
    while (part := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, step / 60 + 0.02) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))
        if len(order) < BATCH:
            order = [int(i) for i in rng.permutation(len(files))]
        error, cosine, size = compared(proxy, spectrum, [_cut(read(files[order.pop()]), rng) for _ in range(BATCH)])
        optimiser.zero_grad()
        (HARD * torch.log1p(error / HARD)).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        for mean, p in zip(means, parameters, strict=True):
            mean.lerp_(p.detach(), 1 - min(0.998, step / (step + 10)))
        found.append([float(v.detach().mean()) for v in (error, cosine, size)])
        step += 1
        if time.monotonic() - said > 60:
            said = time.monotonic()
            means_ = ", ".join(f"{v:.3f}" for v in np.mean(found[-150:], 0))
            say(f"step {step}, {(said - began) / 60:.0f} min: error, cosine, size {means_}")
    for mean, p in zip(means, parameters, strict=True):
        p.data.copy_(mean)
    proxy.requires_grad_(False)
    values = [compared(proxy, spectrum, held[i : i + 4]) for i in range(0, HELD, 4)]
    return tuple(float(torch.cat([v[k] for v in values]).mean()) for k in (1, 2))  # type: ignore[return-value]


def compared(proxy: Proxy, spectrum: Spectrum, crops: Sequence[Crop]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each crop: the error of the proxy's gradient in shares of LPIPS's, their cosine, the size in LPIPS's; (N,)."""
    x, shown, wanted = (torch.from_numpy(np.stack(v).astype(np.float32)) for v in zip(*crops, strict=True))
    x, shown = (v.permute(0, 3, 1, 2) / 255 for v in (x, shown))
    shown.requires_grad_(True)
    learns = any(p.requires_grad for p in proxy.parameters())
    distance = proxy(x, shown).sum() * (shown.shape[2] * shown.shape[3])
    (got,) = torch.autograd.grad(distance, shown, create_graph=learns)
    a, b = spectrum(got), spectrum(wanted)
    size, ours = b.square().sum((1, 2, 3, 4)).sqrt(), a.square().sum((1, 2, 3, 4)).sqrt()
    error = (a - b).square().sum((1, 2, 3, 4)) / size.square().clamp(min=1e-30)
    return error, (a * b).sum((1, 2, 3, 4)) / (size * ours + 1e-30), ours / size.clamp(min=1e-15)


def _cut(crop: Crop, rng: np.random.Generator) -> Crop:
    """A part of a crop, at multiples of 4 pixels."""
    top, left = (4 * int(v) for v in rng.integers(0, (SIDE - CUT) // 4 + 1, 2))
    rows, columns = slice(top, top + CUT), slice(left, left + CUT)
    return Crop(crop.x[rows, columns], crop.shown[rows, columns], crop.gradient[:, rows, columns])
