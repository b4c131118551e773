"""The graphs of an artifact that only an encoder runs: analysis and hyper-analysis, in plain floats."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from dpc.errors import ModelError
from dpc.networks.context import Z_LIMIT
from dpc.networks.model import Model

INLINE = 4096  # initialisers below this many elements that are not trained weights stay inside their graph
PREFIXES = ("g_a.", "h_a.")
Array = NDArray[Any]


class AnalysisGraph(nn.Module):
    """image (1, H, W, 3) uint8 -> y (1, latents, H/16, W/16)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.g_a = model.g_a

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.g_a(image.permute(0, 3, 1, 2).float() * (1 / 255))
        return y


class HyperGraph(nn.Module):
    """y, gain (1, latents, h or 1, w or 1) -> z_hat, integers in float32."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.h_a = model.h_a

    def forward(self, y: Tensor, gain: Tensor) -> Tensor:
        return torch.floor(self.h_a(y * gain) + 0.5).clamp(-Z_LIMIT, Z_LIMIT)


def float_graphs(model: Model) -> tuple[dict[str, bytes], dict[str, list[str]], dict[str, Array]]:
    """Both graphs: bytes, names of the weights that each needs, and the weights, float16."""
    weights = {
        name: value.half().numpy()
        for name, value in model.state_dict().items()
        if name.startswith(PREFIXES) and not name.endswith("kernel")
    }
    h, w, n = 8, 12, model.net.latents
    jobs: dict[str, tuple[nn.Module, tuple[Tensor, ...], list[str], list[str]]] = {
        "analysis": (AnalysisGraph(model), (torch.zeros(1, 16 * h, 16 * w, 3, dtype=torch.uint8),), ["image"], ["y"]),
        "hyper": (HyperGraph(model), (torch.randn(1, n, h, w), torch.ones(1, n, h, w)), ["y", "gain"], ["z_hat"]),
    }
    graphs: dict[str, bytes] = {}
    needs: dict[str, list[str]] = {}
    for graph, job in jobs.items():
        graphs[graph], needs[graph] = _onnx(*job, weights)
    return graphs, needs, weights


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
