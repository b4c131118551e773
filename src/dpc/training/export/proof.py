"""The proof that a graph computes the same bits everywhere, from its bytes and weights alone (see exact.py)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dpc.networks.integer import W_MAX
from dpc.training.export.exact import LIMIT, MIX_BITS, NotExact
from dpc.training.export.graph import NEVER

SINGLE = {"Clip", "Add", "Sub", "Mul", "Div", "Min", "Max", "Abs", "QuantizeLinear", "DequantizeLinear", "Cast"}
# these work on single elements, those move them
MOVING = {"Split", "Concat", "Slice", "DepthToSpace", "Transpose", "Gather", "Pad", "Identity"}
BYTES = 255  # largest |byte - zero point| is 255 for unsigned bytes, 128 for signed ones

Array = NDArray[Any]


def proved(name: str, graph: bytes, weights: Mapping[str, Array]) -> int:
    """The largest possible |accumulator| of any convolution of a graph, in units of its channel.

    Of integer convolutions (QLinearConv): weights are at most W_MAX, so that pairs of products fit 16 bits; sums stay
    below 2**31; all scales are powers of two; and a sum of 2**24 or more, whose conversion to a float may round, is far
    outside of the bytes that it becomes. Of float convolutions: inputs are bytes, or were rounded to a grid and
    limited, or are the interpolation weights; no partial sum reaches 2**24 units of its channel; the output meets
    nothing but a limit. All other operations work on single elements or move them. NotExact, naming the place, where
    one of these does not hold. weights: those that lie outside of the graph.
    """
    loaded = onnx.load_from_string(graph).graph
    nodes, values = list(loaded.node), dict(_values(loaded, weights))
    made = {output: node for node in nodes for output in node.output}
    used = defaultdict(list)
    for node in nodes:
        for i in node.input:
            used[i].append(node)
    largest = 0.0
    for node in nodes:
        where = f"{name}, {node.output[0]}"
        if node.op_type == "Conv":
            grid, limit = _entered(where, node, made, values)
            bias = values[node.input[2]] if len(node.input) > 2 else None
            largest = max(largest, reach(where, values[node.input[1]], bias, grid, limit))
            if any(after.op_type != "Clip" for after in used[node.output[0]]):
                raise NotExact(f"{where}: its output goes on without a limit in between")
        elif node.op_type == "QLinearConv":
            largest = max(largest, _integer(where, node, values))
        elif node.op_type == "QLinearAdd":
            scales = {float(values[node.input[i]]) for i in (1, 4, 6)}
            if len(scales) != 1 or not _power(scales.pop()):
                raise NotExact(f"{where}: adds bytes of different scales")
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            if not _power(float(values[node.input[1]])):
                raise NotExact(f"{where}: a scale that is no power of two")
        elif node.op_type not in SINGLE | MOVING:
            raise NotExact(f"{where}: {node.op_type} is not known to be exact")
    return int(largest)


def _values(graph: Any, weights: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Constants of the graph by name."""
    for tensor in graph.initializer:
        inside = tensor.data_location != onnx.TensorProto.EXTERNAL
        yield tensor.name, onnx.numpy_helper.to_array(tensor) if inside else weights[tensor.name]


def _power(value: float) -> bool:
    return value > 0 and math.frexp(value)[0] == 0.5


def _integer(where: str, conv: Any, values: Mapping[str, Array]) -> float:
    """The largest possible |sum| of an integer convolution."""
    x_scale, zero, weight, w_scale, w_zero, y_scale, _, bias = (values[i] for i in conv.input[1:])
    if weight.dtype != np.int8 or np.abs(weight.astype(int)).max() > W_MAX or np.any(w_zero):
        raise NotExact(f"{where}: weights that are no integers in -{W_MAX}..{W_MAX}")
    if not all(_power(float(s)) for s in (x_scale, y_scale, *np.atleast_1d(w_scale))):
        raise NotExact(f"{where}: a scale that is no power of two")
    peak = BYTES if int(zero) == 0 else BYTES - int(zero) + 1
    sums = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1) * peak + np.abs(bias.astype(np.int64))
    # kernels may add up the bytes as they are and take off the zero point at the end
    raw = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1) * BYTES + np.abs(bias.astype(np.int64))
    if raw.max() >= 2**30:
        raise NotExact(f"{where}: a sum can reach {raw.max()}; 32-bit integers need less than {2**30}")
    change = float(x_scale) * np.atleast_1d(w_scale).astype(np.float64) / float(y_scale)
    if (sums >= LIMIT).any() and (change * LIMIT < 2 * BYTES + 2).any():
        raise NotExact(f"{where}: a sum of {LIMIT} could be rounded and still be within the bytes")
    return float(sums.max())


def _entered(where: str, conv: Any, made: Mapping[str, Any], values: Mapping[str, Array]) -> tuple[float, float]:
    """Grid and limit of a convolution's inputs."""
    node = made.get(conv.input[0])
    if node is None:
        if conv.input[0] == "weights":  # of the two levels, which sum to 1
            return 2.0**-MIX_BITS, 1.0
        raise NotExact(f"{where}: its inputs come from outside")
    if node.op_type == "DequantizeLinear":
        grid = float(values[node.input[1]])
        return grid, BYTES * grid
    while node.op_type in MOVING:
        node = made[node.input[0]]
    found = []
    for kind in ("Sub", "Add", "Clip"):
        if node is None or node.op_type != kind:
            raise NotExact(f"{where}: its inputs are not rounded to a grid")
        found.append([float(values[i]) for i in node.input[1:]])
        node = made.get(node.input[0])
    (large,), (same,), (low, limit) = found
    grid = large / (1.5 * 2**23)
    steps = limit / grid
    if large != same or not _power(grid) or low != -limit or steps != round(steps) or steps >= 2**22:
        raise NotExact(f"{where}: grid {grid} and limits {low}, {limit} of its inputs do not fit together")
    return grid, limit


def reach(where: str, weight: Array, bias: Array | None, grid: float, limit: float) -> int:
    """The largest possible |accumulator| of a convolution, in units of its channel; NotExact at 2**24.

    weight (outputs, ...), bias (outputs,): multiples of a power of two, the channel's unit, and of unit times grid.
    """
    rows = weight.astype(np.float64).reshape(len(weight), -1)
    constants = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
    largest = 0.0
    for channel, (row, constant) in enumerate(zip(rows, constants, strict=True)):
        unit = _unit(np.append(row, constant / grid))
        size = (np.abs(row).sum() * limit + abs(constant)) / grid / unit
        if size >= LIMIT:
            raise NotExact(
                f"{where}, channel {channel}: an accumulator can reach {size:.0f}; "
                f"exact float32 needs less than {LIMIT}"
            )
        if size * unit * grid >= NEVER or unit * grid < 2.0**-100:
            raise NotExact(f"{where}, channel {channel}: its numbers are too large or too small")
        largest = max(largest, size)
    return int(largest)


def _unit(values: Array) -> float:
    """The largest power of two that all values are multiples of; 1 where all are 0."""
    mantissas, exponents = np.frexp(values[values != 0])
    integers = (mantissas * 2**53).astype(np.int64)
    lowest = [int(e) - 53 + (int(m) & -int(m)).bit_length() - 1 for m, e in zip(integers, exponents, strict=True)]
    return 2.0 ** min(lowest, default=0)
