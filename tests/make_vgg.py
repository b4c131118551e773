"""Random weights in the shape of VGG16's trunk, for metrics whose published weights are not at hand."""

from __future__ import annotations

from pathlib import Path

import torch

from dpc.evaluation.metrics import lpips, lpips_weights


def trunk(folder: Path, generator: torch.Generator) -> None:
    """Write the trunk's file into the folder, where LPIPS and DISTS look for it."""
    weights = {}
    for name, w in lpips.trunk_layers("vgg").state_dict().items():
        scale = (2 / w[0].numel()) ** 0.5 if w.ndim == 4 else 0.05
        weights[f"features.{name}"] = torch.randn(w.shape, generator=generator) * scale
    torch.save(weights, folder / lpips_weights.NETS["vgg"].trunk_file)


def heads(folder: Path, generator: torch.Generator) -> None:
    """Write the file of LPIPS' heads on it."""
    net = lpips_weights.NETS["vgg"]
    weights = {
        f"lin{i}.model.1.weight": torch.rand((1, c, 1, 1), generator=generator) for i, c in enumerate(net.channels)
    }
    torch.save(weights, folder / net.head.name)
