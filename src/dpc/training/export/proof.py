"""The proof that a graph computes the same bits everywhere, from its bytes and weights alone (see exact.py)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dpc.errors import ModelError

LIMIT = 2**24  # float32 holds every integer up to here
NEVER = 2.0**20  # the limits that end convolutions whose output is added or multiplied: they never act
FILM_BITS = 10  # FiLM tables are multiples of 2**-FILM_BITS
MIX_BITS = 6  # and the two weights between which they are interpolated, which sum to 1, of 2**-MIX_BITS
SINGLE = {"Clip", "Add", "Sub", "Mul", "Div", "LeakyRelu", "Floor", "Cast"}  # on single elements
MOVING = {
    "Split",
    "Concat",
    "Slice",
    "DepthToSpace",
    "Reshape",
    "Transpose",
    "Unsqueeze",
    "Shape",
    "Gather",
    "Constant",
}
THROUGH = {"DepthToSpace", "Concat", "Split"}  # what may stand between a convolution and its end
ENDS = {"Clip", "LeakyRelu"}

Array = NDArray[Any]


class NotExact(ModelError):
    """A network whose sums could be rounded, so that machines may differ."""


def proved(name: str, graph: bytes, weights: Mapping[str, Array]) -> int:
    """The largest possible |accumulator| of any convolution or matrix product of a graph, in units of its channel.

    Every convolution has inputs that were rounded to a grid and limited, (clip(x) + c) - c with c = 1.5 * 2**23 grids,
    and an output that meets nothing but a limit or a leaky ReLU; no channel reaches 2**24 units; matrix products are
    interpolations of tables on a grid; all other operations work on single elements or move them. NotExact, naming the
    place, where one of these does not hold. weights: those that lie outside of the graph.
    """
    loaded = onnx.load_from_string(graph).graph
    nodes, values = list(loaded.node), dict(_values(loaded, weights))
    # where weights are equal the exporter keeps one of them
    values |= {n.output[0]: values[n.input[0]] for n in nodes if n.op_type == "Identity" and n.input[0] in values}
    made = {output: node for node in nodes for output in node.output}
    used = defaultdict(list)
    for node in nodes:
        for i in node.input:
            used[i].append(node)
    largest = 0.0
    for node in nodes:
        where = f"{name}, {node.name}"
        if node.op_type == "Conv":
            grid, limit = _entered(where, node, made, values)
            bias = values[node.input[2]] if len(node.input) > 2 else None
            largest = max(largest, reach(where, values[node.input[1]], bias, grid, limit))
            following = list(used[node.output[0]])
            while following:
                after = following.pop()
                if after.op_type in THROUGH:
                    following += [n for output in after.output for n in used[output]]
                elif after.op_type not in ENDS:
                    raise NotExact(f"{where}: its output goes to {after.op_type} without a limit in between")
        elif node.op_type == "MatMul":
            table = values.get(node.input[1])
            if node.input[0] != "weights" or table is None:
                raise NotExact(f"{where}: a matrix product that is no interpolation of a table")
            steps = table.astype(np.float64) * 2**FILM_BITS
            peak = float(np.abs(steps).max()) * 2**MIX_BITS
            if not np.array_equal(steps, np.round(steps)) or peak >= LIMIT:
                raise NotExact(f"{where}: a table that is not on its grid, or too large")
            largest = max(largest, peak)
        elif node.op_type not in SINGLE | MOVING and node.output[0] not in values:
            raise NotExact(f"{where}: {node.op_type} is not known to be exact")
    return int(largest)


def _values(graph: Any, weights: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Constants of the graph by name."""
    for tensor in graph.initializer:
        inside = tensor.data_location != onnx.TensorProto.EXTERNAL
        yield tensor.name, onnx.numpy_helper.to_array(tensor) if inside else weights[tensor.name]
    for node in graph.node:
        if node.op_type == "Constant":
            yield node.output[0], onnx.numpy_helper.to_array(node.attribute[0].t)


def _entered(where: str, conv: Any, made: Mapping[str, Any], values: Mapping[str, Array]) -> tuple[float, float]:
    """Grid and limit of a convolution's inputs."""
    node, found = conv, []
    for kind in ("Sub", "Add", "Clip"):
        node = made.get(node.input[0])
        if node is None or node.op_type != kind:
            raise NotExact(f"{where}: its inputs are not rounded to a grid")
        found.append([float(values[i]) for i in node.input[1:]])
    (large,), (same,), (low, limit) = found
    grid = large / (1.5 * 2**23)
    steps = limit / grid
    if large != same or math.frexp(grid)[0] != 0.5 or low != -limit or steps != round(steps) or steps >= 2**22:
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
