"""The tables of an artifact: probabilities, gains, offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec.artifact import FINE
from dpc.errors import ModelError
from dpc.networks.context import INDICES, scale_of_index
from dpc.networks.model import Model
from dpc.networks.tables import logistic_tables

Array = NDArray[Any]


def fine(table: Tensor, low: int, high: int) -> Array:
    """(levels, n) float anchors -> ((levels - 1) * FINE + 1, n) int16: interpolated, rounded half up, clipped."""
    levels = table.shape[0]
    position = torch.arange((levels - 1) * FINE + 1, dtype=torch.float64) / FINE
    weights = (1 - (position[:, None] - torch.arange(levels)).abs()).clamp(min=0)
    rows = torch.floor(weights @ table.detach().double() + 0.5).clamp(low, high)
    return rows.numpy().astype(np.int16)


def steady(log_gain: Array) -> Array:
    """log_gain (levels, n) float32, changed by a unit in the last place where it must be: no gain of any fine level may
    lie so near to the middle between two float32 numbers that the last bits of an exp() decide how it is rounded."""
    position = np.arange((len(log_gain) - 1) * FINE + 1) / FINE
    share = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(len(log_gain))))
    for _ in range(100):
        gain = np.exp(share @ log_gain.astype(np.float64))
        near = gain * (1 + np.array([-8, 8])[:, None, None] * np.finfo(np.float64).eps)
        doubtful = (near[0].astype(np.float32) != near[1].astype(np.float32)).any(0)
        if not doubtful.any():
            if not (gain.min() > 2.0**-40 and gain.max() < 2.0**40):
                raise ModelError(f"gains from {gain.min():g} to {gain.max():g} leave the range 2^-40 to 2^40")
            return log_gain
        log_gain = np.where(doubtful, np.nextafter(log_gain, np.float32(np.inf)), log_gain)
    raise ModelError("log_gain holds values whose gains cannot be rounded safely")


def tables_of(model: Model, counts: list[Array] | None = None) -> dict[str, Array]:
    """All tables of an artifact. counts: see logistic_tables."""
    rows = logistic_tables(counts)
    return {
        "frequencies": np.concatenate(rows),
        "lengths": np.array([len(r) for r in rows], np.int32),
        "log_gain": steady(model.log_gain.detach().numpy().astype(np.float32)),
        "offsets": fine(model.offset, -INDICES, 2 * INDICES),
        "z_indices": fine(model.z_index, 1, INDICES - 1),
        "offset_anchors": model.offset.detach().numpy().astype(np.float32),
        "scales": scale_of_index(torch.arange(INDICES)).numpy().astype(np.float32),
        "z_index_anchors": model.z_index.detach().numpy().astype(np.float32),
    }
