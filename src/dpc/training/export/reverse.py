"""Reverse-mode differentiation of a graph under construction: nodes are appended that compute a gradient.

It knows the operations that a synthesis is made of. Rounding passes the gradient as it is (Bengio et al. 2013), so do
limits; a ReLU, which here is a byte without a sign, passes it where the byte is above zero. Gradients are those of the
real values that bytes stand for, floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from dpc.training.export.graph import END, FLOAT, ZERO_POINT, Graph

Pairs = list[tuple[str, str]]  # (input, its gradient)


def reverse(graph: Graph, seeds: Mapping[str, str], wrt: str) -> str:
    """The name of the gradient of wrt, by the gradients of some outputs. ValueError for an operation that is not known.

    seeds: output -> its own gradient, what comes to it from other outputs left out.
    """
    nodes = list(graph.nodes)
    reached = {wrt}
    for node in nodes:
        if reached & set(node.input):
            reached |= set(node.output)
    gradients: dict[str, list[str]] = {output: [seed] for output, seed in seeds.items()}
    for node in reversed(nodes):
        known = [gradients.get(name) for name in node.output]
        if not any(known) or not reached & set(node.output):
            continue
        if node.op_type not in _RULES:
            raise ValueError(f"the gradient of {node.op_type} ({node.output[0]}) is not known")
        whole = [
            _summed(graph, parts) if parts else _zeros(graph, n) for n, parts in zip(node.output, known, strict=True)
        ]
        for name, gradient in _RULES[node.op_type](graph, node, whole):
            if name in reached:
                gradients.setdefault(name, []).append(gradient)
    return _summed(graph, gradients[wrt])


def _summed(graph: Graph, parts: list[str]) -> str:
    while len(parts) > 1:
        parts[:2] = [graph.add("Add", parts[0], parts[1])]
    return parts[0]


def _zeros(graph: Graph, like: str) -> str:
    return graph.add("Mul", graph.add("Cast", like, to=FLOAT), graph.constant(0.0))


def _attributes(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


# the rules: graph, node, gradients of its outputs -> gradients of its inputs


def _same(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(node.input[0], g[0])]


def _add(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(name, g[0]) for name in node.input]


def _sub(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(node.input[0], g[0]), (node.input[1], graph.add("Neg", g[0]))]


def _mul(graph: Graph, node: Any, g: list[str]) -> Pairs:
    """One of the factors does not depend on anything here."""
    a, b = node.input
    return [(a, graph.add("Mul", g[0], b)), (b, graph.add("Mul", g[0], a))]


def _max(graph: Graph, node: Any, g: list[str]) -> Pairs:
    first, zero = graph.add("GreaterOrEqual", *node.input), graph.constant(0.0)
    parts = graph.add("Where", first, g[0], zero), graph.add("Where", first, zero, g[0])
    return list(zip(node.input, parts, strict=True))


def _quantised_sum(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(node.input[0], g[0]), (node.input[3], g[0])]


def _quantised_conv(graph: Graph, node: Any, g: list[str]) -> Pairs:
    scale, zero = (numpy_helper.to_array(graph.inside(node.input[i])) for i in (4, 7))
    gradient = graph.add("Mul", g[0], graph.constant(scale.reshape(1, -1, 1, 1)))
    if zero == ZERO_POINT[False]:
        gradient = _above(graph, node.output[0], gradient)
    return [(node.input[0], _back(graph, node, node.input[3], gradient))]


def _conv(graph: Graph, node: Any, g: list[str]) -> Pairs:
    attributes = _attributes(node)
    stride = attributes.get("strides", [1])[0]
    if stride == 1:
        return [(node.input[0], _back(graph, node, node.input[1], g[0]))]
    pads = attributes["pads"]  # sides that the stride divides
    back = {"strides": [stride] * 2, "pads": pads, "output_padding": [stride - 1] * 2}
    return [(node.input[0], graph.add("ConvTranspose", g[0], node.input[1], **back))]


def _relu(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(node.input[0], _above(graph, node.output[0], g[0]))]


def _above(graph: Graph, x: str, gradient: str) -> str:
    """The gradient where x, which is never negative, is above 0; in ONNX Runtime in half the time of Where."""
    return graph.add("Mul", gradient, graph.add("Cast", graph.add("Sign", x), to=FLOAT))


def _where(graph: Graph, node: Any, g: list[str]) -> Pairs:
    where, zero = node.input[0], graph.constant(0.0)
    parts = graph.add("Where", where, g[0], zero), graph.add("Where", where, zero, g[0])
    return list(zip(node.input[1:], parts, strict=True))


def _back(graph: Graph, node: Any, name: str, gradient: str) -> str:
    """The gradient of a convolution's input: a convolution with its kernel turned around, inputs for outputs."""
    attributes = _attributes(node)
    outputs, _, side = graph.weights[name].shape[:3]
    group = attributes.get("group", 1)
    assert group in (1, outputs)
    weight = graph.add("Cast", name, to=FLOAT)
    if group == 1:
        weight = graph.add("Transpose", weight, perm=[1, 0, 2, 3])
    if side > 1:
        ends = [graph.constant(v, np.int64) for v in ([-1, -1], [-END, -END], [2, 3], [-1, -1])]
        weight = graph.add("Slice", weight, *ends)
    pad = side - 1 - attributes.get("pads", [0])[0]
    return graph.add("Conv", gradient, weight, pads=[pad] * 4, group=group)


def _depth_to_space(graph: Graph, node: Any, g: list[str]) -> Pairs:
    factor, x = _attributes(node)["blocksize"], node.input[0]
    side = graph.constant([factor], np.int64)
    rows, columns = (graph.add("Shape", x, start=axis, end=axis + 1) for axis in (2, 3))
    cells = graph.add("Concat", graph.constant([1, -1], np.int64), rows, side, columns, side, axis=0)
    moved = graph.add("Transpose", graph.add("Reshape", g[0], cells), perm=[0, 1, 3, 5, 2, 4])
    return [(x, graph.add("Reshape", moved, graph.add("Shape", x)))]


def _concat(graph: Graph, node: Any, g: list[str]) -> Pairs:
    axis = _attributes(node)["axis"]
    sizes = [graph.add("Shape", name, start=axis, end=axis + 1) for name in node.input]
    parts = graph.split("Split", g[0], graph.add("Concat", *sizes, axis=0), outputs=len(sizes), axis=axis)
    return list(zip(node.input, parts, strict=True))


def _split(graph: Graph, node: Any, g: list[str]) -> Pairs:
    return [(node.input[0], graph.add("Concat", *g, axis=_attributes(node)["axis"]))]


def _slice(graph: Graph, node: Any, g: list[str]) -> Pairs:
    x = node.input[0]
    start, stop, axis = (int(numpy_helper.to_array(graph.inside(name))[0]) for name in node.input[1:4])
    zeros = _zeros(graph, x)
    parts = [graph.slice(zeros, 0, start, axis)] if start else []
    parts += [g[0], *([graph.slice(zeros, stop, END, axis)] if stop != END else [])]
    return [(x, graph.add("Concat", *parts, axis=axis))]


def _edge(graph: Graph, node: Any, g: list[str]) -> Pairs:
    """One row and one column around a picture, repeated from its border."""
    pads = numpy_helper.to_array(graph.inside(node.input[1])).tolist()
    assert pads == [0, 0, 1, 1] * 2 and _attributes(node)["mode"] == b"edge"
    gradient = g[0]
    for axis in (2, 3):
        ends = (
            graph.add("Add", graph.slice(gradient, 0, 1, axis), graph.slice(gradient, 1, 2, axis)),
            graph.add("Add", graph.slice(gradient, -2, -1, axis), graph.slice(gradient, -1, END, axis)),
        )
        gradient = graph.add("Concat", ends[0], graph.slice(gradient, 2, -2, axis), ends[1], axis=axis)
    return [(node.input[0], gradient)]


def _gather(graph: Graph, node: Any, g: list[str]) -> Pairs:
    """A permutation."""
    order = numpy_helper.to_array(graph.inside(node.input[1]))
    assert sorted(order.tolist()) == list(range(len(order)))
    back = graph.constant(np.argsort(order), np.int64)
    return [(node.input[0], graph.add("Gather", g[0], back, axis=_attributes(node)["axis"]))]


_RULES: dict[str, Callable[[Graph, Any, list[str]], Pairs]] = {
    "Add": _add,
    "Clip": _same,
    "Concat": _concat,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _same,
    "Gather": _gather,
    "Max": _max,
    "Mul": _mul,
    "Pad": _edge,
    "QLinearAdd": _quantised_sum,
    "QLinearConv": _quantised_conv,
    "QuantizeLinear": _same,
    "Relu": _relu,
    "Slice": _slice,
    "Split": _split,
    "Sub": _sub,
    "Where": _where,
}
