"""What a training sees and draws, from any step on: batches that processes of their own may prepare, and its seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dpc.training.data.photos import Batches

EVER = 10**12  # steps: a training ends by its schedule, not by its data


def stream(
    source: Batches, step: int, device: torch.device, world: int, loaders: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches from a step on. On a GPU other processes prepare them; beside a CPU's networks that gains nothing."""
    if loaders is None:
        loaders = min(12, max(1, (os.cpu_count() or 2) // world - 2)) if device.type == "cuda" else 0
    return iter(
        DataLoader(
            source,  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(step, EVER),
            num_workers=loaders,
            prefetch_factor=4 if loaders else None,
            pin_memory=device.type == "cuda",
        )
    )


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of all that a process draws in a step."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
