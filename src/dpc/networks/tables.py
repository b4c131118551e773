"""The probability tables that the scale indices pick: logistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpc.codec.entropy import PRECISION
from dpc.networks.context import INDICES, scale_of_index

Array = NDArray[Any]


def logistic_tables(counts: Sequence[Array] | None = None, prior: float = 3000.0) -> list[Array]:
    """One row of frequencies per scale index 1..63: the logistic of that scale, blended with counted values.

    counts[i]: occurrences of |value| = 0, 1, 2, ... under scale index i + 1; they weigh against a prior of `prior`
    samples of the logistic.
    """
    rows = []
    for i in range(1, INDICES):
        scale = float(scale_of_index(torch.tensor(float(i))))
        limit = max(2, int(np.ceil(scale * np.log(2e5))))
        k = np.arange(0, limit + 1)
        cdf = lambda v, s=scale: 1 / (1 + np.exp(-np.clip(v / s, -700, 700)))  # noqa: E731
        half = np.where(k == 0, cdf(0.5) - cdf(-0.5), 2 * (cdf(-(k - 0.5)) - cdf(-(k + 0.5))))
        tail = max(2 * float(cdf(-(limit + 0.5))), 1e-6)
        mass = np.append(half, tail)
        mass = mass / mass.sum() * prior
        if counts is not None:
            seen = counts[i - 1]
            mass[: limit + 1] += seen[: limit + 1]
            mass[-1] += seen[limit + 1 :].sum()
        both = np.concatenate([mass[limit:0:-1] / 2, mass[:1], mass[1 : limit + 1] / 2, mass[-1:]])
        row = 1 + np.floor(both / both.sum() * (2**PRECISION - len(both))).astype(np.int64)
        row[limit] += 2**PRECISION - row.sum()
        rows.append(row.astype(np.uint32))
    return rows
