"""Export: a trained Model -> an artifact file, with the exactness of the integer branch checked channel by channel."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec import artifact
from dpc.codec.artifact import FINE, Artifact, Sizes
from dpc.codec.entropy import PRECISION
from dpc.errors import ModelError
from dpc.networks.context import INDICES, Z_LIMIT, scale_of_index
from dpc.networks.graphs import (
    AnalysisGraph,
    HyperGraph,
    IntegerStage,
    LaterScaleGraph,
    MeanGraph,
    QuantiseGraph,
    ScaleGraph,
    SynthesisGraph,
)
from dpc.networks.integer import A_BITS, A_MAX, W_BITS, W_MAX, IntegerConv
from dpc.networks.model import Model
from dpc.networks.sizes import Network
from dpc.provenance import commit
from dpc.training.export.exact import exact
from dpc.training.export.proof import NotExact, proved

RENAMED = {"g_s.linear.weight": "g_s.linear", "g_s.linear.bias": "g_s.mean"}  # names in exact models: in a Model
BLOCK = re.compile(r"(.*\.weight)\d+")
INLINE = 4096  # initialisers below this many elements that are not trained weights stay inside their graph
Array = NDArray[Any]


def check_exact(model: Model) -> int:
    """The largest possible |accumulator| in the integer branch; NotExact at 2**24 or where a weight is no integer."""
    graphs = {"scale0": ScaleGraph(model)} | {
        f"scale{g}": LaterScaleGraph(model, g) for g in range(1, len(model.net.groups))
    }
    worst = 0
    for name, graph in graphs.items():
        for part, layer in graph.named_modules():
            if isinstance(layer, IntegerStage):
                peak = Z_LIMIT if name == "scale0" and part == "a" else A_MAX
                worst = max(worst, check_layer(f"{name}.{part}", layer, peak))
    return worst


def check_layer(name: str, layer: IntegerStage, peak: int) -> int:
    """The largest possible |accumulator| of one layer whose inputs lie in -peak..peak; NotExact as above."""
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()  # type: ignore[operator]
    if not (torch.equal(weight, weight.round()) and torch.equal(bias, bias.round())) or weight.abs().max() > W_MAX:
        raise NotExact(f"{name} holds weights that are not integers in -{W_MAX}..{W_MAX}")
    reach = weight.abs().sum((1, 2, 3)) * peak + bias.abs()
    if reach.max() >= 2**24:
        channel = int(reach.argmax())
        raise NotExact(
            f"{name}, channel {channel}: an accumulator can reach {int(reach[channel])}; "
            f"exact float32 needs less than {2**24}"
        )
    return int(reach.max())


def logistic_tables(counts: list[Array] | None = None, prior: float = 3000.0) -> list[Array]:
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


def half_precision(model: Model) -> Model:
    """A copy whose float weights are representable in float16; gains, offsets and the integer branch are left alone."""
    copy = Model(model.net)
    state = {}
    for name, value in model.state_dict().items():
        plain = name.startswith(("scales.", "log_gain", "offset", "z_index")) or name.endswith("kernel")
        state[name] = value.detach().clone() if plain else value.detach().half().float()
    copy.load_state_dict(state)
    return copy.eval()


def _weights(model: Model) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    for name, value in model.state_dict().items():
        if name.startswith(("g_a.", "g_s.", "h_a.", "means.")) and not name.endswith("kernel"):
            weights[name] = value.half().numpy()
            if not torch.equal(value.half().float(), value):
                raise NotExact(f"{name} is not representable in float16")
    for name, conv in model.scales.named_modules():
        if not isinstance(conv, IntegerConv):
            continue
        weight, bias = conv.integers()
        if name == "a":
            bias = torch.round(bias * 2.0**-A_BITS)
        weights[f"scales.{name}.weight"] = weight.detach().numpy().astype(np.int8)
        weights[f"scales.{name}.bias"] = bias.detach().numpy().astype(np.int32)
    return weights


def _onnx(
    module: nn.Module, args: tuple[Tensor, ...], inputs: list[str], outputs: list[str], weights: Mapping[str, Array]
) -> tuple[bytes, list[str]]:
    """The graph without its weights, and the names of the weights that it needs."""
    axes = {}
    for name, value in zip(inputs, args, strict=True):
        dims = (1, 2) if name == "image" else (2, 3)
        if value.ndim == 4 and value.shape[dims[0]] > 1:
            axes[name] = {d: f"{name}_{d}" for d in dims}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            args,
            buffer,  # type: ignore[arg-type]  # the exporter without dynamo takes file objects
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
            do_constant_folding=True,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    by_content = {_digest(v.astype(np.float32)): k for k, v in weights.items()}
    names: dict[str, str] = {}
    for tensor in graph.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        found = by_content.get(_digest(array)) if array.dtype == np.float32 and array.size > 1 else None
        if found is None:
            if array.size >= INLINE:
                raise ModelError(
                    f"initialiser {tensor.name} with {array.size} elements is not one of the model's weights"
                )
            continue
        names[tensor.name] = found
        tensor.name = found
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, text in (("location", "weights"), ("offset", "0"), ("length", str(array.nbytes))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text
    unique = {}
    for tensor in graph.graph.initializer:
        unique[tensor.name] = tensor
    kept = list(unique.values())
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    # where two weights are equal the exporter keeps one and makes the other's name a copy of it: not an external weight
    copies = {name: f"{name} copy" for node in graph.graph.node for name in node.output if name in weights}
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name) or copies.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = copies.get(name, name)
        node.doc_string = ""
    return graph.SerializeToString(deterministic=True), sorted(set(names.values()))


def _digest(array: Array) -> bytes:
    return hashlib.sha256(str(array.shape).encode() + np.ascontiguousarray(array, np.float32).tobytes()).digest()


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


def export(
    model: Model,
    path: str | Path,
    name: str,
    *,
    counts: list[Array] | None = None,
    training: Mapping[str, Any] | None = None,
    description: str = "",
) -> Artifact:
    """Write an artifact and load it back. Refuses (NotExact) what is not exact for every input: the integer branch, and
    the graphs that make the picture, which get exact networks here.

    counts: see logistic_tables. training: recorded in the metadata (recipe, steps, data hash).
    """
    model = half_precision(model.to("cpu"))
    if broken := [k for k, v in model.state_dict().items() if not torch.isfinite(v).all()]:
        raise ModelError(f"{broken[0]} holds values that are not finite in float16; export an older checkpoint")
    model = exact(model)
    reach = check_exact(model)
    net = model.net
    weights = _weights(model)
    h, w, n = 8, 12, net.latents
    y, z, gain = torch.randn(1, n, h, w), torch.zeros(1, net.hyper_latents, h // 4, w // 4), torch.ones(1, n, 1, 1)
    plane = torch.ones(1, 1, h, w)
    features = torch.zeros(1, net.scale_width, h, w)
    jobs: dict[str, tuple[nn.Module, tuple[Tensor, ...], list[str], list[str]]] = {
        "analysis": (
            AnalysisGraph(model),
            (torch.zeros(1, 16 * h, 16 * w, 3, dtype=torch.uint8),),
            ["image"],
            ["y"],
        ),
        "hyper": (HyperGraph(model), (y, gain), ["y", "gain"], ["z_hat"]),
        "scale0": (ScaleGraph(model), (z,), ["z_hat"], ["features", "index"]),
        "means": (MeanGraph(model), (z, y, gain, plane), ["z_hat", "r", "gain", "even"], ["y_hat"]),
        "quantise": (
            QuantiseGraph(model),
            (y, z, gain, plane, torch.zeros(1, n, 1, 1), plane, torch.full((1, 1, 1, 1), 0.5)),
            ["y", "z_hat", "gain", "even", "offset", "valid", "rounding"],
            ["r"],
        ),
        "synthesis": (SynthesisGraph(model), (y, torch.zeros(1, net.levels)), ["y_hat", "weights"], ["image"]),
    }
    for g in range(1, len(net.groups)):
        jobs[f"scale{g}"] = (
            LaterScaleGraph(model, g),
            (features, y[:, : sum(net.groups[:g])]),
            ["features", "r"],
            ["index"],
        )
    graphs: dict[str, bytes] = {}
    needs: dict[str, list[str]] = {}
    for graph, job in jobs.items():
        graphs[graph], needs[graph] = _onnx(*job, weights)
    reach = max(reach, *(proved(graph, graphs[graph], weights) for graph in artifact.DRAWING))
    rows = logistic_tables(counts)
    tables = {
        "frequencies": np.concatenate(rows),
        "lengths": np.array([len(r) for r in rows], np.int32),
        "log_gain": steady(model.log_gain.detach().numpy().astype(np.float32)),
        "offsets": fine(model.offset, -INDICES, 2 * INDICES),
        "z_indices": fine(model.z_index, 1, INDICES - 1),
        "offset_anchors": model.offset.detach().numpy().astype(np.float32),
        "z_index_anchors": model.z_index.detach().numpy().astype(np.float32),
    }
    sizes = Sizes(net.latents, net.hyper_latents, net.groups, net.levels, Z_LIMIT)
    metadata = {
        "artifact_format": artifact.ARTIFACT_FORMAT,
        "name": name,
        "description": description,
        "identity": artifact.identity_of(sizes, weights, tables, {g: graphs[g] for g in artifact.DRAWING}),
        "network": dataclasses.asdict(net),
        "z_limit": Z_LIMIT,
        "exact_pixels": True,
        "largest_accumulator": reach,
        "graph_weights": needs,
        "training": dict(training or {}),
        "licence": "Apache-2.0",
        "git_commit": commit(),
    }
    artifact.write(path, metadata, graphs, weights, tables)
    return Artifact(path)


def network_of(source: Artifact) -> Network:
    """The Network of an artifact."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in source.metadata["network"].items()}
    return Network(**fields)


def _joined(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights by the names of a Model: blocks of an exact convolution (weight0, weight1, ...) become one."""
    blocks: dict[str, list[Array]] = {}
    for name in sorted(weights):
        own = RENAMED.get(name) or BLOCK.sub(r"\1", name)
        blocks.setdefault(own, []).append(weights[name])
    return {name: np.concatenate(v, 1) if len(v) > 1 else v[0] for name, v in blocks.items()}


def load(source: Artifact) -> Model:
    """The torch Model of an artifact, as a warm start: it computes what the artifact computes, up to rounding."""
    model = Model(network_of(source))
    state = model.state_dict()
    for name, value in _joined(source.weights).items():
        tensor = torch.from_numpy(value.astype(np.float32))
        if name.startswith("scales."):
            weight = name.endswith("weight")
            # biases are stored as accumulators; in scales.a, whose input has no fractional bits, with fewer bits
            bits = W_BITS if weight or name == "scales.a.bias" else W_BITS + A_BITS
            tensor = tensor * 2.0**-bits
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"{name} has shape {tuple(tensor.shape)} in the artifact and {tuple(state[name].shape)} in the network"
            )
        state[name] = tensor
    state["log_gain"] = torch.from_numpy(source.log_gain.copy())
    state["offset"] = torch.from_numpy(source._tables["offset_anchors"].copy())
    state["z_index"] = torch.from_numpy(source._tables["z_index_anchors"].copy())
    model.load_state_dict(state)
    return model
