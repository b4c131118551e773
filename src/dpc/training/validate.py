"""A cheap look at how a training stands: held-out crops at fixed levels, estimated rates, the averaged weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dpc.evaluation.metrics.lpips import LPIPS
from dpc.networks.model import Model
from dpc.training.losses.ms_ssim import ms_ssim
from dpc.training.losses.pattern import pattern

SHARES = (0.15, 0.35, 0.55, 0.8)  # of the way from the lowest level to the highest
CROPS = 12


@torch.no_grad()
def validate(model: Model, crops: Tensor, nets: Mapping[str, LPIPS]) -> list[dict[str, float]]:
    """A row for each level: level, bpp, psnr, ms_ssim, grid, lpips_NET for every net; means over the 8-bit crops.

    model: in eval mode, on the device of the crops (N, 3, H, W) in [0, 1]. Computed in float32.
    """
    rows = []
    for share in SHARES:
        level = share * (model.net.levels - 1)
        out = model(crops, torch.full((len(crops),), level, device=crops.device))
        decoded = (out.x_hat.clamp(0, 1) * 255).round() / 255
        mse = (decoded - crops).square().mean((1, 2, 3)).clamp(min=1e-10)
        bits = out.bits_y + out.bits_z
        row = {
            "level": level,
            "bpp": bits.mean().item() / (crops.shape[2] * crops.shape[3]),
            "psnr": (-10 * torch.log10(mse)).mean().item(),
            "ms_ssim": ms_ssim(crops, decoded).mean().item(),
            "grid": pattern(crops, decoded).mean().item(),
        }
        rows.append(row | {f"lpips_{name}": net(crops, decoded).mean().item() for name, net in nets.items()})
    return rows
