"""A cheap look at how a training stands: held-out crops at fixed levels, estimated rates, the averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpc.errors import ToolMissing
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.networks.model import Model
from dpc.networks.sizes import CELL
from dpc.training.data.synthetic import synthetic
from dpc.training.losses.distortion import Distortion
from dpc.training.losses.ground import activity
from dpc.training.losses.ms_ssim import ms_ssim
from dpc.training.losses.pattern import opponent, pattern

SHARES = (0.15, 0.35, 0.55, 0.8)  # of the way from the lowest level to the highest
CROPS = 12  # photographs
PAGES = 6  # synthetic crops beside them
PLAIN = 2.0  # levels squared: activity below which an error counts as one on plain ground


class HeldOut:
    """Crops of photographs (N, 3, S, S) in [0, 1], and synthetic crops made on some of them.

    crops: (N, S, S, 3) uint8.
    """

    def __init__(self, crops: NDArray[np.uint8], device: torch.device) -> None:
        pages = [synthetic(np.random.default_rng([1, i]), crops[i % len(crops)]) for i in range(PAGES)]
        self.photos, self.pages = (
            torch.from_numpy(np.ascontiguousarray(v.transpose(0, 3, 1, 2))).to(device).float() / 255
            for v in (crops, np.stack(pages))
        )
        self.plain = activity(opponent(self.photos)[:, :1]) < PLAIN


def validators(
    distortion: Distortion, nets: Sequence[str], weights: str | None, device: torch.device, say: Callable[[str], None]
) -> dict[str, LPIPS]:
    """The LPIPS networks of the validation: those of the loss, and others whose weights are at hand."""
    found: dict[str, LPIPS] = {n: m for n, m in zip(nets, distortion.nets, strict=True) if isinstance(m, LPIPS)}
    for name in ("alex", "squeeze"):
        if name not in found:
            try:
                found[name] = LPIPS(name, weights, download=False).to(device)
            except ToolMissing as error:
                say(f"the validation goes without lpips_{name}: {error}")
    return dict(sorted(found.items()))


@torch.no_grad()
def validate(model: Model, held_out: HeldOut, nets: Mapping[str, LPIPS]) -> list[dict[str, float]]:
    """A row for each level: level, bpp, psnr, ms_ssim, grid, plain, lpips_NET for every net, of the photographs, and
    letters_bpp, letters of the synthetic crops; means over the 8-bit crops.

    plain: luma error on plain ground, letters: mean absolute luma error, in levels (squared). model: in eval mode, on
    the device of the crops. Computed in float32.
    """
    rows = []
    for share in SHARES:
        level = share * (model.net.levels - 1)
        crops = held_out.photos
        decoded, bpp = _decoded(model, crops, level)
        mse = (decoded - crops).square().mean((1, 2, 3)).clamp(min=1e-10)
        error = opponent(decoded - crops)[:, :1].square()
        pages, letters_bpp = _decoded(model, held_out.pages, level)
        row = {
            "level": level,
            "bpp": bpp,
            "psnr": (-10 * torch.log10(mse)).mean().item(),
            "ms_ssim": ms_ssim(crops, decoded).mean().item(),
            "grid": pattern(crops, decoded).mean().item(),
            "plain": ((error * held_out.plain).sum() / held_out.plain.sum().clamp(min=1)).item(),
            "letters_bpp": letters_bpp,
            "letters": opponent(pages - held_out.pages)[:, 0].abs().mean().item(),
        }
        rows.append(row | {f"lpips_{name}": net(crops, decoded).mean().item() for name, net in nets.items()})
    return rows


def _decoded(model: Model, crops: Tensor, level: float) -> tuple[Tensor, float]:
    """The crops coded at one level, rounded to 8 bits, and their bits per pixel."""
    n, _, height, width = crops.shape
    out = model(crops, crops.new_full((n, height // CELL, width // CELL), level))
    bpp = (out.bits_y + out.bits_z).mean().item() / (height * width)
    return (out.x_hat.clamp(0, 1) * 255).round() / 255, bpp
