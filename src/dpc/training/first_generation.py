"""A model of the first generation (dpc-7) as a start for the networks of today; goes when dpc-7 goes.

Analysis, side information, tables and the linear synthesis are taken over. The means had leaky ReLUs and the deep
synthesis other layers: the former are taken over as they are, to be trained on, the latter starts as the linear
transform codec that it was built on (Model.start_synthesis).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpc.codec.artifact import Artifact
from dpc.networks.model import Model
from dpc.networks.sizes import Network

_BLOCK = re.compile(r"(.*\.weight)\d+")
_SCALE_BITS, _BIAS_BITS = 6, 10  # of the integer network: weights k / 2**6, biases k / 2**10
_LINEAR = {"g_s.linear.weight": "g_s.linear", "g_s.linear.bias": "g_s.mean"}


def is_first(source: Artifact) -> bool:
    """Whether an artifact's networks are of the first generation."""
    return "half_width" in source.metadata["network"]


def network_of(source: Artifact) -> Network:
    """The network that goes on from it: its sizes where they still exist."""
    known: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in source.metadata["network"].items()
        if k in Network.__dataclass_fields__ and k != "decoder_depths"
    }
    return Network(**known)


def _weights(source: Artifact) -> dict[str, Tensor]:
    """Weights by their names in the networks; blocks of an exact convolution (weight0, weight1, ...) become one."""
    blocks: dict[str, list[Tensor]] = {}
    for name in sorted(source.weights):
        value = torch.from_numpy(source.weights[name].astype(np.float32))
        if name.startswith("scales."):
            # the first layer, whose input has no fractional bits, has biases with fewer bits
            bits = _SCALE_BITS if name.endswith("weight") or name == "scales.a.bias" else _BIAS_BITS
            value = value * 2.0**-bits
        blocks.setdefault(_LINEAR.get(name) or _BLOCK.sub(r"\1", name), []).append(value)
    return {name: torch.cat(v, 1) if len(v) > 1 else v[0] for name, v in blocks.items()}


@torch.no_grad()
def state_of(source: Artifact) -> dict[str, Tensor]:
    """The state of a Model that begins where the artifact ended."""
    torch.manual_seed(0)
    model = Model(network_of(source))
    state, old = model.state_dict(), _weights(source)
    for name, value in old.items():
        parts = name.split(".")
        if parts[0] in ("scales", "means") and parts[1] in "abc":
            name = ".".join([parts[0], "features", *parts[1:]])
        elif parts[0] == "means" and parts[-2] in ("0", "2"):
            name = ".".join([*parts[:-2], "0" if parts[-2] == "0" else "1", parts[-1]])
        if not name.startswith("g_s."):
            state[name].copy_(value)
    state["means.features.a.weight"].mul_(0.25)  # z_hat came in quarters
    state["log_gain"].copy_(torch.from_numpy(source.log_gain))
    state["offset"].copy_(torch.from_numpy(source.table("offset_anchors")))
    state["z_index"].copy_(torch.from_numpy(source.table("z_index_anchors")))
    model.start_synthesis(old["g_s.linear"].flatten(1), old["g_s.mean"])
    return model.state_dict()


def synthesis_of(source: Artifact) -> dict[str, Tensor]:
    """The weights of an artifact of the first generation for its OldSynthesis."""
    return {name.removeprefix("g_s."): v for name, v in _weights(source).items() if name.startswith("g_s.")}
