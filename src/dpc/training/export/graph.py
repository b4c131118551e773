"""Writes ONNX graphs node by node: bytes, integer convolutions, and the exact floats between them.

torch's exporter knows no QLinearConv, and an exact graph must hold nothing that was not meant. Weights lie outside of
the graphs, once each, under their names in the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dpc.networks.integer import IntegerConv

OPSET = 19
IR_VERSION = 9
FLOAT, BYTE, INT, BOOL = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32, TensorProto.BOOL
END = 2**31 - 1  # of a slice: to the last one
ZERO_POINT = {False: 0, True: 128}  # of unsigned and of signed bytes
NEVER = 2.0**20  # a limit that never acts: no runtime takes a sum or a factor through it into a convolution

Array = NDArray[Any]
Axes = tuple[str | int, ...]


@dataclass(frozen=True)
class Bytes:
    """A tensor of bytes in a graph: its name; values are (byte - zero point) * 2**-bits."""

    name: str
    bits: int
    signed: bool


class Graph:
    """A graph under construction. weights collects what lies outside of it: name -> array."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inside: list[Any] = []
        self._outside: dict[str, Any] = {}
        self._inputs: list[Any] = []

    def input(self, name: str, kind: int, shape: Axes) -> str:
        """An input of the graph; a named dimension may have any size."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        return self.split(op, *inputs, outputs=1, domain=domain, **attributes)[0]

    def split(self, op: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """A node with several outputs."""
        names = [f"v{len(self._nodes)}" + (f".{i}" if outputs > 1 else "") for i in range(outputs)]
        self._nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A small array inside of the graph."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name = f"c{len(self._constants)}"
            self._inside.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def weight(self, name: str, array: Array, kind: Any = None) -> str:
        """Weights outside of the graph, stored as they are and handed to the runtime as kind (default: their own)."""
        self.weights[name] = array
        handed = np.dtype(kind or array.dtype)
        tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(handed))
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", "weights"), ("offset", "0"), ("length", str(array.size * handed.itemsize))):
            tensor.external_data.add(key=key, value=text)
        self._outside[name] = tensor
        return name

    @property
    def nodes(self) -> Sequence[Any]:
        """The nodes so far, in order."""
        return self._nodes

    def inside(self, name: str) -> Any:
        """The TensorProto of a constant()."""
        return next(tensor for tensor in self._inside if tensor.name == name)

    # bytes

    def on_bytes(self, x: str, bits: int, *, signed: bool) -> Bytes:
        """Floats rounded to bytes; integer.on_bytes()."""
        return Bytes(self.add("QuantizeLinear", x, *self._scale(bits, signed)), bits, signed)

    def floats(self, x: Bytes) -> str:
        """Bytes as exact floats."""
        return self.add("DequantizeLinear", x.name, *self._scale(x.bits, x.signed))

    def shuffle(self, x: Bytes, factor: int) -> Bytes:
        """torch's pixel_shuffle."""
        return Bytes(self.add("DepthToSpace", x.name, blocksize=factor, mode="CRD"), x.bits, x.signed)

    def concat(self, parts: Sequence[Bytes]) -> Bytes:
        """Bytes of one kind, side by side."""
        first = parts[0]
        assert all((p.bits, p.signed) == (first.bits, first.signed) for p in parts)
        return Bytes(self.add("Concat", *[p.name for p in parts], axis=1), first.bits, first.signed)

    def conv(self, x: Bytes, name: str, conv: IntegerConv) -> Bytes:
        """An IntegerConv to bytes; name: of its weights in the model."""
        assert conv.bits_out is not None and conv.bits_in == x.bits
        weight, bias, exponents = self._integers(name, conv)
        pad = conv.weight.shape[-1] // 2
        output = self.add(
            "QLinearConv",
            x.name,
            *self._scale(x.bits, x.signed),
            self.weight(f"{name}.weight", weight),
            self.constant(2.0 ** -exponents.astype(np.float64)),
            self.constant(0, np.int8),
            *self._scale(conv.bits_out, conv.signed),
            self.weight(f"{name}.bias", bias),
            pads=[pad] * 4,
            group=conv.groups,
        )
        return Bytes(output, conv.bits_out, conv.signed)

    def last(self, x: Bytes, name: str, conv: IntegerConv) -> str:
        """An IntegerConv to exact floats (bits_out None)."""
        assert conv.bits_out is None and conv.bits_in == x.bits
        weight, bias, exponents = self._integers(name, conv)
        unit = 2.0 ** -exponents.astype(np.float64)
        floats = (weight * unit[:, None, None, None]).astype(np.float16)
        biases = (bias * unit * 2.0**-x.bits).astype(np.float32)
        pad = conv.weight.shape[-1] // 2
        y = self.add(
            "Conv",
            self.floats(x),
            self.weight(f"{name}.weight", floats, np.float32),
            self.weight(f"{name}.bias", biases),
            pads=[pad] * 4,
        )
        return self.barrier(y)

    def sum(self, x: Bytes, y: Bytes) -> Bytes:
        """Bytes of one scale added; the sum is limited to the kind of the first."""
        assert x.bits == y.bits
        ours, theirs = (self._scale(v.bits, v.signed) for v in (x, y))
        added = self.add("QLinearAdd", x.name, *ours, y.name, *theirs, *ours, domain="com.microsoft")
        return Bytes(added, x.bits, x.signed)

    # exact floats

    def barrier(self, x: str) -> str:
        """A limit that never acts."""
        return self.clip(x, NEVER)

    def clip(self, x: str, limit: float) -> str:
        return self.add("Clip", x, self.constant(-limit), self.constant(limit))

    def on_grid(self, x: str, grid: float, limit: float) -> str:
        """Limited to -limit .. limit and rounded to a multiple of grid; exact.on_grid()."""
        large = self.constant(1.5 * 2**23 * grid)
        return self.add("Sub", self.add("Add", self.clip(x, limit), large), large)

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """x[start:stop] along an axis; stop may be 2**31 for the end."""
        ends = [self.constant([v], np.int64) for v in (start, stop, axis)]
        return self.add("Slice", x, *ends)

    def finish(self, outputs: Mapping[str, tuple[str, int]]) -> tuple[bytes, list[str]]:
        """The graph's bytes, and the names of the weights that it needs. outputs: name -> (tensor, type)."""
        for name, (tensor, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        infos = [helper.make_tensor_value_info(name, kind, None) for name, (_, kind) in outputs.items()]
        graph = helper.make_graph(self._nodes, "dpc", self._inputs, infos, [*self._inside, *self._outside.values()])
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
        )
        return model.SerializeToString(deterministic=True), sorted(self._outside)

    def _scale(self, bits: int, signed: bool) -> tuple[str, str]:
        return self.constant(2.0**-bits), self.constant(ZERO_POINT[signed], np.uint8)

    def _integers(self, name: str, conv: IntegerConv) -> tuple[Array, Array, Array]:
        weight, bias, exponents = (v.numpy() for v in conv.integers())
        self.weights[f"{name}.exponent"] = exponents.astype(np.int8)
        return weight.astype(np.int8), bias.astype(np.int32), exponents
