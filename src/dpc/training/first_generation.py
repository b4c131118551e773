"""A model of the first generation (dpc-7) as a start for the networks of today; goes when dpc-7 goes.

Analysis, side information, tables and the linear synthesis are taken over as they are. The means and the synthesis had
leaky ReLUs and floats: their weights are taken over, to be trained on. The synthesis also had a stage at 1/2 of the
resolution, which becomes one on 2x2 cells at 1/4, and a FiLM at every resolution, of which the two finer ones become
constants, their means over the levels. Channels are scaled so that bytes hold them.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dpc.codec.artifact import Artifact
from dpc.networks import wavelet
from dpc.networks.model import Model
from dpc.networks.sizes import Network
from dpc.networks.transforms import GAIN, Synthesis
from dpc.training.balance import balance
from dpc.training.teacher import LEAVING

_BLOCK = re.compile(r"(.*\.weight)\d+")
_SCALE_BITS, _BIAS_BITS = 6, 10  # of the integer network: weights k / 2**6, biases k / 2**10
OLD_SLOPE = 0.1  # of the old leaky ReLUs
LEVELS = slice(1, 5)  # whose FiLM becomes a constant: 0.1 to 0.5 bits per pixel
_LINEAR = {"g_s.linear.weight": "g_s.linear", "g_s.linear.bias": "g_s.mean"}


def is_first(source: Artifact) -> bool:
    """Whether an artifact's networks are of the first generation."""
    return "half_width" in source.metadata["network"]


def network_of(source: Artifact) -> Network:
    """The network that goes on from it: its sizes where they still exist."""
    known: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in source.metadata["network"].items()
        if k in Network.__dataclass_fields__
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
    synthesis = synthesis_of(source)
    if len(model.g_s.mix.weight) == 4 * len(synthesis["mix2.weight"]):  # dpc-7's; a small one of the tests has others
        _take_synthesis(model.g_s, synthesis)
        balance(model.g_s)
    return model.state_dict()


def _take_synthesis(s: Synthesis, old: dict[str, Tensor]) -> None:
    """Set the deep branch to the old one's, as far as its layers allow."""

    def take(conv: Any, weight: Tensor, bias: Tensor) -> None:
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)

    take(s.enter, old["enter.weight"], old["enter.bias"])
    s.film.scale.copy_(old["film16.scale"])
    s.film.shift.copy_(old["film16.shift"])
    ground = torch.zeros(len(s.enter.weight))  # what the old features have and the new ones, before any bias, lack
    for size, blocks, leave in ((16, s.at16, s.to8), (8, s.at8, s.to4), (4, s.at4, None)):
        for n, block in enumerate(blocks):
            name = f"at{size}.{n}"
            weight = old[f"{name}.depth.weight"]
            take(block.depth, weight, old[f"{name}.depth.bias"] + weight.sum((1, 2, 3)) * ground)
            up, down = (old[f"{name}.{part}.weight"] for part in ("up", "down"))
            take(block.up, up, old[f"{name}.up.bias"])
            take(block.down, (1 - OLD_SLOPE) * down, old[f"{name}.down.bias"])
            past = OLD_SLOPE * down.flatten(1)  # a leaky ReLU is ReLU(x) for 1 - a of it, and a x
            take(block.straight, (past @ up.flatten(1))[:, :, None, None], past @ old[f"{name}.up.bias"])
        if leave is not None:  # the FiLM after it scales it, as ReLU(c x) = c ReLU(x), and its shift becomes the ground
            name, finer = f"to{size // 2}", f"film{size // 2}"
            scale = (1 + old[f"{finer}.scale"][LEVELS].mean(0)).clamp(min=0.05).repeat_interleave(4)
            weight = old[f"{name}.weight"] * scale[:, None, None, None]
            bias = old[f"{name}.bias"] * scale + weight.flatten(1) @ ground
            take(leave.bent, (1 - OLD_SLOPE) * weight, (1 - OLD_SLOPE) * bias)
            take(leave.straight, OLD_SLOPE * weight, OLD_SLOPE * bias)
            ground = old[f"{finer}.shift"][LEVELS].mean(0)
    weight = old["leave4.weight"] * LEAVING
    take(s.bands, weight, old["leave4.bias"] * LEAVING + weight.sum((2, 3)) @ ground)
    to2 = old["to2.weight"].flatten(1)
    # its inputs: 3 colours of the picture at 1/2, 9 details, 16 features; 4 samples of each
    mix = _in_cells(old["mix2.weight"])
    features = torch.einsum("ocyx,cf->ofyx", mix[:, 48:], to2)
    bias = old["mix2.bias"].repeat_interleave(4) + mix[:, 48:].sum((2, 3)) @ old["to2.bias"]
    bias = bias + features.sum((2, 3)) @ ground + mix[:, :12].sum((1, 2, 3))  # the picture at 1/2 enters less 1
    take(s.mix, torch.cat([features, mix[:, :48] / GAIN], 1), bias)
    last = LEAVING * _in_cells(old["leave2.weight"])
    kernel = wavelet.cell_kernel()
    whole = F.conv2d(F.pad(last.transpose(0, 1), (2, 2, 2, 2)), kernel.flip(2, 3))  # 5x5, of which 3x3 hold nearly all
    s.leave.weight[:] = whole.transpose(0, 1)[:, :, 1:-1, 1:-1]
    s.leave.bias.copy_(kernel.sum((2, 3)) @ (LEAVING * old["leave2.bias"].repeat_interleave(4)))


def _in_cells(weight: Tensor) -> Tensor:
    """A 3x3 convolution (outputs, inputs, 3, 3) as the one on 2x2 cells: (4 outputs, 4 inputs, 3, 3), in the order of
    a pixel shuffle."""
    outputs, inputs = weight.shape[:2]
    made = weight.new_zeros(outputs, 2, 2, inputs, 2, 2, 3, 3)
    for py, px, qy, qx, ky, kx in itertools.product(*[range(2)] * 4, *[range(3)] * 2):
        dy, dx = 2 * (ky - 1) + qy - py + 1, 2 * (kx - 1) + qx - px + 1
        if 0 <= dy < 3 and 0 <= dx < 3:
            made[:, py, px, :, qy, qx, ky, kx] = weight[:, :, dy, dx]
    return made.reshape(4 * outputs, 4 * inputs, 3, 3)


def synthesis_of(source: Artifact) -> dict[str, Tensor]:
    """The weights of an artifact of the first generation for its OldSynthesis."""
    return {name.removeprefix("g_s."): v for name, v in _weights(source).items() if name.startswith("g_s.")}
