"""The graphs of an artifact that are made of integers and exact floats: scales, means, quantisation, synthesis.

Each mirrors a module of dpc.networks; a test holds the two against each other, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dpc.networks.context import FEATURE_BITS, FINENESS, INDEX_BITS, MAGNITUDE_MAX
from dpc.networks.integer import LeakyConv
from dpc.networks.model import Model
from dpc.networks.transforms import BITS, COARSE, ENTRY, GAIN, SLOPE
from dpc.training.export.exact import PIECES, SCALE, STEPS, UPSAMPLED, balanced, film_tables, integers
from dpc.training.export.graph import BYTE, END, FLOAT, INT, Array, Bytes, Graph

MAP = ("h", "w")  # latent positions
HYPER = ("h4", "w4")  # hyper-latent positions
CENTRED = (-567 / 8192, 5301 / 8192, 3899 / 8192, -441 / 8192)  # Keys's cubic, a = -1/2, at 7/16


def _features(graph: Graph, model: Model, name: str, z_hat: str) -> Bytes:
    """context.features() of the scales or the means."""
    net = getattr(model, name).features
    x = graph.on_bytes(z_hat, 0, signed=True)
    x = graph.shuffle(graph.conv(x, f"{name}.features.a", net["a"]), 2)
    x = graph.conv(x, f"{name}.features.b", net["b"])
    return graph.shuffle(graph.conv(x, f"{name}.features.c", net["c"]), 2)


def _index(graph: Graph, model: Model, group: int, parts: Sequence[Bytes]) -> str:
    """Scales.index(), as floats that are integers."""
    x = graph.concat(parts) if len(parts) > 1 else parts[0]
    x = graph.conv(x, f"scales.mix.{group}", model.scales.mix[group])  # type: ignore[arg-type]
    x = graph.conv(x, f"scales.head.{group}", model.scales.head[group])  # type: ignore[arg-type]
    return graph.floats(Bytes(x.name, x.bits - INDEX_BITS, x.signed))


def _magnitudes(graph: Graph, r: str) -> Bytes:
    limited = graph.add("Min", graph.add("Abs", r), graph.constant(float(MAGNITUDE_MAX)))
    return graph.on_bytes(limited, FEATURE_BITS, signed=False)


def scale0(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """z_hat (1, C, h/4, w/4) -> features (1, scale_width, h, w) uint8, index (1, N0, h, w)."""
    g = Graph(weights)
    f = _features(g, model, "scales", g.input("z_hat", FLOAT, (1, model.net.hyper_latents, *HYPER)))
    return g.finish({"features": (f.name, BYTE), "index": (_index(g, model, 0, [f]), FLOAT)})


def scale_later(model: Model, group: int, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """features, r (1, channels of all earlier groups, h, w) -> index (1, Ng, h, w)."""
    g = Graph(weights)
    f = Bytes(g.input("features", BYTE, (1, model.net.scale_width, *MAP)), FEATURE_BITS, False)
    r = g.input("r", FLOAT, (1, sum(model.net.groups[:group]), *MAP))
    return g.finish({"index": (_index(g, model, group, [f, _magnitudes(g, r)]), FLOAT)})


def _mean(graph: Graph, model: Model, name: str, psi: Bytes, decoded: Sequence[str]) -> str:
    """One pass of the means over features and decoded parts."""
    part = model.get_submodule(name)
    x = graph.concat([psi, *[graph.on_bytes(d, FEATURE_BITS, signed=True) for d in decoded]])
    return graph.last(graph.conv(x, f"{name}.0", part[0]), f"{name}.1", part[1])  # type: ignore[index]


def _finer(graph: Graph, model: Model, psi: Bytes, gain: str) -> str:
    """The gain times Means.fineness()."""
    octaves = graph.conv(psi, "means.octaves", model.means.octaves)
    table = graph.constant(FINENESS)
    return graph.add("Mul", gain, graph.add("Gather", table, graph.add("Cast", octaves.name, to=INT), axis=0))


def _blend(graph: Graph, even: str, first: str, second: str) -> str:
    """first where even is 1, second where it is 0."""
    odd = graph.add("Sub", graph.constant(1.0), even)
    return graph.add("Add", graph.add("Mul", first, even), graph.add("Mul", second, odd))


def _split(graph: Graph, x: str, sizes: Sequence[int]) -> list[str]:
    return graph.split("Split", x, graph.constant(list(sizes), np.int64), outputs=len(sizes), axis=1)


def means(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """z_hat, r (1, N, h, w), gain (1, N, h or 1, w or 1), even (1, 1, h, w) -> y_hat, divided by the gain."""
    g, n = Graph(weights), model.net.latents
    z_hat = g.input("z_hat", FLOAT, (1, model.net.hyper_latents, *HYPER))
    r = g.input("r", FLOAT, (1, n, *MAP))
    gain = g.input("gain", FLOAT, (1, n, "gh", "gw"))
    even = g.input("even", FLOAT, (1, 1, *MAP))
    psi = _features(g, model, "means", z_hat)
    parts = _split(g, g.add("Div", r, _finer(g, model, psi, gain)), model.net.groups)
    first = g.last(psi, "means.first", model.means.first)
    seen = g.add("Mul", g.add("Add", parts[0], first), even)
    second = _mean(g, model, "means.second", psi, [seen])
    decoded = [g.add("Add", parts[0], _blend(g, even, first, second))]
    for i, part in enumerate(parts[1:]):
        decoded.append(g.add("Add", part, _mean(g, model, f"means.later.{i}", psi, decoded)))
    return g.finish({"y_hat": (g.add("Concat", *decoded, axis=1), FLOAT)})


def finer(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """z_hat, gain (1, N, h or 1, w or 1) -> finer (1, N, h, w): the gain with what the side information says of it."""
    g = Graph(weights)
    psi = _features(g, model, "means", g.input("z_hat", FLOAT, (1, model.net.hyper_latents, *HYPER)))
    gain = g.input("gain", FLOAT, (1, model.net.latents, "gh", "gw"))
    return g.finish({"finer": (_finer(g, model, psi, gain), FLOAT)})


def quantise(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """The encoder's side of means: y, z_hat, gain, even, offset (as gain), valid (1, 1, h, w), rounding (1, 1, 1, 1) ->
    r (1, N, h, w), integers in floats, 0 where the scale index is 0 or valid is 0.

    r = sign(d) * floor(|d| + rounding) with d = y' - mu; rounding 1/2 is plain rounding, less is a dead zone.
    """
    g, n, groups = Graph(weights), model.net.latents, model.net.groups
    y = g.input("y", FLOAT, (1, n, *MAP))
    z_hat = g.input("z_hat", FLOAT, (1, model.net.hyper_latents, *HYPER))
    gain = g.input("gain", FLOAT, (1, n, "gh", "gw"))
    even = g.input("even", FLOAT, (1, 1, *MAP))
    offset = g.input("offset", FLOAT, (1, n, "oh", "ow"))
    valid = g.input("valid", FLOAT, (1, 1, *MAP))
    rounding = g.input("rounding", FLOAT, (1, 1, 1, 1))
    features, psi = _features(g, model, "scales", z_hat), _features(g, model, "means", z_hat)
    finer = _finer(g, model, psi, gain)
    ys, gains, offsets = (_split(g, x, groups) for x in (g.add("Mul", y, finer), finer, offset))
    residuals: list[str] = []
    decoded: list[str] = []

    def rounded(value: str, mu: str, gain: str, coded: str) -> str:
        d = g.add("Sub", value, g.add("Mul", mu, gain))
        whole = g.add("Floor", g.add("Add", g.add("Abs", d), rounding))
        return g.add("Mul", g.add("Mul", g.add("Sign", d), whole), coded)

    for i in range(len(groups)):
        before = [_magnitudes(g, g.add("Concat", *residuals, axis=1))] if residuals else []
        index = g.add("Add", _index(g, model, i, [features, *before]), offsets[i])
        positive = g.add("Cast", g.add("Greater", index, g.constant(0.0)), to=FLOAT)
        coded = g.add("Mul", positive, valid)
        if i == 0:
            mu = g.last(psi, "means.first", model.means.first)
            seen = g.add("Add", g.add("Div", rounded(ys[0], mu, gains[0], coded), gains[0]), mu)
            second = _mean(g, model, "means.second", psi, [g.add("Mul", seen, even)])
            mu = _blend(g, even, mu, second)
        else:
            mu = _mean(g, model, f"means.later.{i - 1}", psi, decoded)
        residuals.append(rounded(ys[i], mu, gains[i], coded))
        decoded.append(g.add("Add", g.add("Div", residuals[-1], gains[i]), mu))
    return g.finish({"r": (g.add("Concat", *residuals, axis=1), FLOAT)})


def synthesis(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """y_hat (1, N, h, w), weights (1, levels, h or 1, w or 1) -> image (1, 16h, 16w, 3) uint8."""
    g = Graph(weights)
    pixels = g.shuffle(cells(g, model, *drawn_from(g, model)), 4)
    return g.finish({"image": (g.add("Transpose", pixels.name, perm=[0, 2, 3, 1]), BYTE)})


def drawn_from(graph: Graph, model: Model) -> tuple[str, str]:
    """The inputs of the synthesis: y_hat, weights."""
    y_hat = graph.input("y_hat", FLOAT, (1, model.net.latents, *MAP))
    return y_hat, graph.input("weights", FLOAT, (1, model.net.levels, "wh", "ww"))


def cells(g: Graph, model: Model, y_hat: str, levels: str) -> Bytes:
    """The picture as 4x4 cells, 48 channels: colour * 16 + phase."""
    s = model.g_s
    coefficients, entered = _enter(g, model, y_hat)
    scaled = g.on_bytes(g.add("Mul", y_hat, g.constant(ENTRY)), BITS, signed=True)
    fine = g.shuffle(g.conv(scaled, "g_s.fine", s.fine), 4)
    f = _film(g, model, g.add("Max", entered, g.add("Mul", entered, g.constant(SLOPE))), levels)
    f = _blocks(g, f, "g_s.at16", s.at16)
    f = g.shuffle(_leaky(g, f, "g_s.to8", s.to8), 2)
    f = _blocks(g, f, "g_s.at8", s.at8)
    f = g.shuffle(_leaky(g, f, "g_s.to4", s.to4), 2)
    f = _blocks(g, f, "g_s.at4", s.at4)
    half = _low_band(g, coefficients, g.floats(g.conv(f, "g_s.bands", s.bands)))
    around = g.add("Mul", g.add("Sub", half, g.constant(1.0)), g.constant(GAIN))
    seen = g.on_bytes(around, BITS, signed=True)
    mixed = g.conv(g.concat([f, seen, fine]), "g_s.mix", s.mix)
    detail = g.floats(g.sum(g.conv(mixed, "g_s.leave", s.leave), g.conv(fine, "g_s.finest", s.finest)))
    x = g.add("Mul", g.add("Add", _upsampled(g, model, half), detail), g.constant(255.0))
    return g.on_bytes(x, 0, signed=False)


def preview(model: Model, weights: dict[str, Array]) -> tuple[bytes, list[str]]:
    """y_hat (1, N, h, w) -> image (1, 2h, 2w, 3) uint8: the picture at 1/8, of the low band of its wavelet alone.

    A low band at 1/8 has 8 times the size of the picture's mean. Its samples lie at the first of 8 pixels; those of
    the preview lie in the middle of them, 7/16 of a sample further.
    """
    g = Graph(weights)
    y_hat = g.input("y_hat", FLOAT, (1, model.net.latents, *MAP))
    four = _split(g, _enter(g, model, y_hat)[0], [12, COARSE - 12])[0]
    low = _centred(g, _centred(g, _merge(g, four), 2), 3)
    pixels = g.on_bytes(g.add("Mul", low, g.constant(255.0 / 8)), 0, signed=False)
    return g.finish({"image": (g.add("Transpose", pixels.name, perm=[0, 2, 3, 1]), BYTE)})


def _centred(graph: Graph, x: str, axis: int) -> str:
    """x, 7/16 of a sample further along an axis, by the cubic of four samples (Keys 1981); its borders repeated."""
    ahead = _shifted(graph, x, axis, ahead=True)
    samples = (_shifted(graph, x, axis, ahead=False), x, ahead, _shifted(graph, ahead, axis, ahead=True))
    parts = [graph.add("Mul", s, graph.constant(c)) for s, c in zip(samples, CENTRED, strict=True)]
    return graph.add("Add", graph.add("Add", parts[0], parts[1]), graph.add("Add", parts[2], parts[3]))


def _blocks(graph: Graph, x: Bytes, name: str, blocks: nn.Sequential) -> Bytes:
    """IntegerBlocks, one after the other."""
    for i, block in enumerate(blocks):
        d = graph.conv(x, f"{name}.{i}.depth", block.depth)  # type: ignore[arg-type]
        up = graph.conv(d, f"{name}.{i}.up", block.up)  # type: ignore[arg-type]
        down = graph.conv(up, f"{name}.{i}.down", block.down)  # type: ignore[arg-type]
        x = graph.sum(x, graph.sum(down, graph.conv(d, f"{name}.{i}.straight", block.straight)))  # type: ignore[arg-type]
    return x


def _leaky(graph: Graph, x: Bytes, name: str, layer: LeakyConv) -> Bytes:
    return graph.sum(graph.conv(x, f"{name}.straight", layer.straight), graph.conv(x, f"{name}.bent", layer.bent))


def _enter(graph: Graph, model: Model, y_hat: str) -> tuple[str, str]:
    """Coefficients of the linear part, and what enters the deep branch: one 1x1 convolution of y_hat.

    y_hat spans decades, so it comes in two pieces, a coarse one and the rest.
    """
    s = model.g_s
    weight = torch.cat([s.linear, s.enter.weight]).detach()
    bias = torch.cat([s.mean, s.enter.bias]).detach()  # type: ignore[list-item]
    whole = integers(weight, None, *PIECES[0])[0].numpy()
    coarse = graph.on_grid(y_hat, *PIECES[0])
    fine = graph.on_grid(graph.add("Sub", y_hat, coarse), *PIECES[1])
    name = graph.weight("g_s.enter.weight", whole.astype(np.float16), np.float32)
    parts = [graph.barrier(graph.add("Conv", p, name)) for p in (coarse, fine)]
    constants = graph.weight("g_s.enter.bias", bias.numpy().reshape(1, -1, 1, 1))
    both = graph.add("Add", graph.add("Add", *parts), constants)
    return tuple(_split(graph, both, [COARSE, model.net.widths[2]]))  # type: ignore[return-value]


def _film(graph: Graph, model: Model, f: str, levels: str) -> Bytes:
    """Film, on bytes."""
    tables = film_tables(model.g_s.film).numpy()
    both = graph.add("Conv", levels, graph.weight("g_s.film", tables.astype(np.float32)))
    scale, shift = _split(graph, graph.barrier(both), [model.net.widths[2]] * 2)
    scaled = graph.add("Mul", f, graph.add("Add", scale, graph.constant(1.0)))
    return graph.on_bytes(graph.add("Add", scaled, shift), BITS, signed=True)


def _low_band(graph: Graph, coefficients: str, change: str) -> str:
    """Synthesis.low_band(), the wavelet by lifting steps."""
    four, three, two = _split(graph, coefficients, [12, 36, 144])
    x = _merge(graph, four)
    x = _merge(graph, graph.add("Concat", x, _shuffled(graph, three, 2), axis=1))
    bands = graph.add("Concat", x, _shuffled(graph, two, 4), axis=1)
    return _merge(graph, graph.add("Add", bands, change), packed=True)


def _upsampled(graph: Graph, model: Model, half: str) -> str:
    """The picture at 1/2 as 48 phases at 1/4."""
    pads = graph.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    x = graph.add("Pad", graph.on_grid(half, *UPSAMPLED), pads, mode="edge")
    kernel = balanced(model.g_s.upsample, *UPSAMPLED).numpy()  # type: ignore[arg-type]
    return graph.barrier(graph.add("Conv", x, graph.weight("g_s.upsample", kernel.astype(np.float32))))


def _shuffled(graph: Graph, x: str, factor: int) -> str:
    return graph.add("DepthToSpace", x, blocksize=factor, mode="CRD")


def _merge(graph: Graph, bands: str, packed: bool = False) -> str:
    """One level of the wavelet back by lifting: (1, 12, h, w) -> (1, 3, 2h, 2w), or its 12 phases at (h, w)."""
    ll, lh, hl, hh = _split(graph, bands, [3] * 4)
    columns = _lift(graph, graph.add("Concat", ll, hl, axis=1), graph.add("Concat", lh, hh, axis=1), 3)
    halves = [_split(graph, c, [3, 3]) for c in columns]
    low, high = (graph.add("Concat", halves[0][i], halves[1][i], axis=1) for i in (0, 1))
    even, odd = (_split(graph, rows, [3, 3]) for rows in _lift(graph, low, high, 2))
    phases = graph.add("Concat", *even, *odd, axis=1)  # phase * 3 + colour
    order = [phase * 3 + colour for colour in range(3) for phase in range(4)]
    phases = graph.add("Gather", phases, graph.constant(order, np.int64), axis=1)
    return phases if packed else _shuffled(graph, phases, 2)


def _shifted(graph: Graph, x: str, axis: int, *, ahead: bool) -> str:
    """x[1:] along an axis, and its last sample again; or its first sample, and x[:-1]."""
    if ahead:
        return graph.add("Concat", graph.slice(x, 1, END, axis), graph.slice(x, -1, END, axis), axis=axis)
    return graph.add("Concat", graph.slice(x, 0, 1, axis), graph.slice(x, 0, -1, axis), axis=axis)


def _lift(graph: Graph, low: str, high: str, axis: int) -> tuple[str, str]:
    """The even and the odd samples along an axis of what has these bands; mirrored at the borders."""

    even = graph.add("Mul", low, graph.constant(SCALE))
    odd = graph.add("Mul", high, graph.constant(1 / SCALE))
    for turn, step in enumerate(STEPS):
        ahead = bool(turn % 2)
        source = even if ahead else odd
        change = graph.add(
            "Mul", graph.add("Add", source, _shifted(graph, source, axis, ahead=ahead)), graph.constant(step)
        )
        if ahead:
            odd = graph.add("Add", odd, change)
        else:
            even = graph.add("Add", even, change)
    return even, odd


def graphs(model: Model) -> tuple[dict[str, bytes], dict[str, list[str]], dict[str, Array]]:
    """All graphs of integers and exact floats: bytes, names of the weights that each needs, and the weights."""
    weights: dict[str, Array] = {}
    made = {"scale0": scale0(model, weights)}
    made |= {f"scale{i}": scale_later(model, i, weights) for i in range(1, len(model.net.groups))}
    made |= {"means": means(model, weights), "quantise": quantise(model, weights)}
    made |= {"synthesis": synthesis(model, weights), "preview": preview(model, weights)}
    made |= {"finer": finer(model, weights)}
    return {k: v[0] for k, v in made.items()}, {k: v[1] for k, v in made.items()}, weights
