"""The optimiser of a training, and its groups of parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from dpc.networks.model import Model
from dpc.training.optimisers.soap import SOAP
from dpc.training.recipe import Recipe


def optimiser_of(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    """SOAP or Adam over all parameters. A group's "factor" multiplies the learning rate."""
    tables = {"log_gain", "offset", "z_index"}
    # constants of wavelet bands: the noise of full steps here is a fixed pattern in every picture
    steady = {"g_s.mean", "g_s.leave.bias"}
    groups: dict[str, list[Tensor]] = {"matrix": [], "vector": [], "table": [], "steady": []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            kind = "table" if name in tables else "steady" if name in steady else "matrix" if p.ndim > 1 else "vector"
            groups[kind].append(p)
    factors = {"table": 4.0, "steady": 0.1}
    sets = [{"params": v, "factor": factors.get(k, 1.0)} for k, v in groups.items()]
    if recipe.optimiser == "soap":
        for kind, group in zip(groups, sets, strict=True):
            group["plain"] = kind != "matrix"
        return SOAP(sets, lr=recipe.learning_rate)
    return torch.optim.Adam(sets, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-9)
