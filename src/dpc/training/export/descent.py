"""The graph of the gradient by which an encoder refines latents (`codec/refining.py`): D, the proxy, and back."""

from __future__ import annotations

import numpy as np

from dpc.networks.model import Model
from dpc.training.export.graph import BOOL, BYTE, FLOAT, Array, Graph
from dpc.training.export.graphs import cells, drawn_from
from dpc.training.export.reverse import reverse
from dpc.training.proxy.network import CONTRAST, MIDDLE, Proxy

OPPONENT = np.array([[0.299, 0.587, 0.114], [0.5, -0.5, 0], [0, -0.5, 0.5]])
# the 48 phases of a 4x4 cell (colour * 16 + row * 4 + column) as four cells of 2x2 pixels, for DepthToSpace
HALVES = [
    colour * 16 + (2 * high + row) * 4 + 2 * right + column
    for colour in range(3)
    for row in range(2)
    for column in range(2)
    for high in range(2)
    for right in range(2)
]


def gradient(model: Model, proxy: Proxy | None, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """The inputs of the synthesis, target (1, 48, 4h, 4w) uint8, pixel (1, 16, 4h, 4w), four (1, 1, 4h, 4w), eight
    (1, 1, 2h, 2w), and with a proxy share (1,) -> gradient (1, N, h, w) of D by y_hat.

    target: the picture's 4x4 cells, channels colour * 16 + phase. E is the error of the picture in luma, half of R-G
    and half of B-G, in 8-bit levels. D: the sum over all pixels of the mean over the three of pixel * E^2 + four * its
    mean over the 4x4 cell squared + eight * that over 8x8 squared; and share times the number of pixels times the
    distance of the proxy, which sees no difference where pixel is 0.
    """
    g = Graph(weights)
    y_hat, levels = drawn_from(g, model)
    drawn = cells(g, model, y_hat, levels)
    target = g.add("Cast", g.input("target", BYTE, (1, 48, "ch", "cw")), to=FLOAT)
    pixel = g.input("pixel", FLOAT, (1, 16, "ch", "cw"))
    three = g.add("Concat", pixel, pixel, pixel, axis=1)
    shown = g.floats(drawn)
    seeds = _of_proxy(g, proxy, shown, target, three) if proxy else {}
    seeds[drawn.name] = _of_errors(g, g.add("Sub", shown, target), three)
    return g.finish({"gradient": (reverse(g, seeds, y_hat), FLOAT)})


def _of_errors(g: Graph, error: str, pixel: str) -> str:
    """The gradient of the squared errors by the cells."""
    four, eight = g.input("four", FLOAT, (1, 1, "ch", "cw")), g.input("eight", FLOAT, (1, 1, "eh", "ew"))

    def mixed(x: str, matrix: Array) -> str:
        return g.add("Conv", x, g.constant(matrix[:, :, None, None]))

    colours, mean = np.kron(OPPONENT, np.eye(16)), np.kron(np.eye(3), np.full((1, 16), 1 / 16))
    error = mixed(error, colours)
    mean4 = mixed(error, mean)
    mean8 = g.add("AveragePool", mean4, kernel_shape=[2, 2], strides=[2, 2])
    larger = g.constant([1, 1, 2, 2])
    coarse = g.add("Resize", g.add("Mul", mean8, eight), "", larger, mode="nearest", nearest_mode="floor")
    coarse = g.add("Add", g.add("Mul", mean4, four), coarse)
    both = g.add("Add", g.add("Mul", error, pixel), mixed(coarse, 16 * mean.T))
    return mixed(both, 2 / 3 * colours.T)


def _of_proxy(g: Graph, proxy: Proxy, shown: str, target: str, pixel: str) -> dict[str, str]:
    """The proxy's features of the cells, and the gradient of its distance by each."""
    share = g.input("share", FLOAT, (1,))
    inside = g.add("Cast", pixel, to=BOOL)
    stored = {name.removeprefix("proxy."): g.weight(name, v, np.float32) for name, v in proxy.stored().items()}

    def features(x: str) -> list[str]:
        scaled = g.add("Sub", g.add("Mul", x, g.constant(CONTRAST / 255)), g.constant(CONTRAST * MIDDLE))
        f = g.add(
            "DepthToSpace", g.add("Gather", scaled, g.constant(HALVES, np.int64), axis=1), blocksize=2, mode="CRD"
        )
        levels = []
        for n in range(len(proxy.convs)):
            kernel = stored[f"convs.{n}.weight"], stored[f"convs.{n}.bias"]
            f = g.add("Relu", g.add("Conv", f, *kernel, pads=[1] * 4, strides=[2 if n else 1] * 2))
            levels.append(f)
        return levels

    def mean(x: str) -> str:
        return g.add("ReduceMean", x, g.constant([1], np.int64))

    of_target, of_shown = features(target), features(g.add("Where", inside, shown, target))
    seeds = {}
    for n, (f, f_hat) in enumerate(zip(of_target, of_shown, strict=True)):
        w, a, floor = (g.add("Exp", stored[name]) for name in (f"w.{n}", f"a.{n}", f"eps.{n}"))
        energy = g.add("Add", floor, mean(g.add("Mul", a, g.add("Mul", f, f))))
        scale = g.add("Div", g.add("Mul", share, g.constant(2.0 * 4 ** (n + 1) / len(proxy.w[n]))), energy)
        seeds[f_hat] = g.add("Mul", g.add("Mul", w, g.add("Sub", f_hat, f)), scale)
    return seeds
