"""Export: a trained Model -> an artifact file, and back. What is not exact for every input is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec import archive, artifact
from dpc.codec.artifact import Artifact, Sizes
from dpc.codec.tiles import halo_of
from dpc.errors import ModelError
from dpc.networks.context import Z_LIMIT
from dpc.networks.integer import IntegerConv
from dpc.networks.model import Model
from dpc.networks.sizes import Network
from dpc.networks.transforms import COARSE
from dpc.provenance import commit
from dpc.training.export.descent import gradient
from dpc.training.export.float_graphs import PREFIXES, float_graphs
from dpc.training.export.graphs import graphs as exact_graphs
from dpc.training.export.proof import proved
from dpc.training.export.tables import tables_of
from dpc.training.proxy.network import Proxy

Array = NDArray[Any]


def half_precision(model: Model) -> Model:
    """A copy whose analysis weights are representable in float16, as an artifact stores them."""
    copy = Model(model.net)
    state = {}
    for name, value in model.state_dict().items():
        plain = name.startswith(PREFIXES) and not name.endswith("kernel")
        state[name] = value.detach().half().float() if plain else value.detach().clone()
    copy.load_state_dict(state)
    return copy.eval()


@torch.no_grad()
def export(
    model: Model,
    path: str | Path,
    name: str,
    *,
    counts: list[Array] | None = None,
    proxy: Proxy | None = None,
    training: Mapping[str, Any] | None = None,
    description: str = "",
) -> Artifact:
    """Write an artifact and load it back. Refuses (NotExact) what is not exact for every input.

    counts: see logistic_tables. proxy: of LPIPS, for encoders that refine latents. training: recorded in the
    metadata (recipe, steps, data hash).
    """
    model = half_precision(model.to("cpu"))
    if broken := [k for k, v in model.state_dict().items() if not torch.isfinite(v).all()]:
        raise ModelError(f"{broken[0]} holds values that are not finite in float16; export an older checkpoint")
    graphs, needs, weights = exact_graphs(model)
    graphs["gradient"], needs["gradient"] = gradient(model, proxy, weights)
    decoding = artifact.decoding(len(model.net.groups))
    reach = max(proved(graph, graphs[graph], weights) for graph in (*decoding, "preview"))
    more_graphs, more_needs, more_weights = float_graphs(model)
    graphs, needs, weights = graphs | more_graphs, needs | more_needs, weights | more_weights
    tables = tables_of(model, counts)
    net = model.net
    sizes = Sizes(net.latents, net.hyper_latents, net.groups, net.levels, Z_LIMIT)
    metadata = {
        "artifact_format": artifact.ARTIFACT_FORMAT,
        "name": name,
        "description": description,
        "network": dataclasses.asdict(net),
        "z_limit": Z_LIMIT,
        "halo": _halo(net),
        "exact_pixels": True,
        "native_weights": True,
        "quality_map": True,
        "largest_accumulator": reach,
        "graph_weights": needs,
        "training": dict(training or {}),
        "licence": "Apache-2.0",
        "git_commit": commit(),
    }
    metadata["identity"] = artifact.identity_of(sizes, weights, tables, {g: graphs[g] for g in decoding})
    archive.write(path, metadata, graphs, weights, tables)
    return Artifact(path)


def with_proxy(source: Path, out: Path, proxy: Proxy) -> Artifact:
    """Write a model of this generation with another proxy and load it back. Its identity stays, so its files do."""
    before, new = Artifact(source), dict[str, Array]()
    graph, needs = gradient(load(before), proxy, new)
    members = archive.unpacked(archive.content_of(source), str(source))
    weights, tables = (
        {n[len(kind) : -4]: archive.array_of(v) for n, v in members.items() if n.startswith(kind)}
        for kind in ("weights/", "tables/")
    )
    weights = {n: v for n, v in weights.items() if not n.startswith("proxy.")}
    weights |= {n: v for n, v in new.items() if n.startswith("proxy.")}
    graphs = {n[7:-5]: v for n, v in members.items() if n.startswith("graphs/")} | {"gradient": graph}
    metadata = before.metadata | {"graph_weights": before.metadata["graph_weights"] | {"gradient": needs}}
    archive.write(out, metadata, graphs, weights, tables)
    return Artifact(out)


def _halo(net: Network) -> int:
    """Latent positions that a network sees around a position, at most; a multiple of HYPER_STRIDE."""
    encoder = [a + b for a, b in zip(net.encoder_depths, net.encoder_dense, strict=True)]
    return halo_of(encoder, net.decoder_depths, len(net.groups))


def network_of(source: Artifact) -> Network:
    """The Network of an artifact of this generation."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in source.metadata["network"].items()}
    return Network(**fields)


@torch.no_grad()
def load(source: Artifact) -> Model:
    """The torch Model of an artifact, as a warm start: it computes what the artifact computes, up to rounding."""
    model = Model(network_of(source))
    state = model.state_dict()
    w = {k: torch.from_numpy(v.astype(np.float32)) for k, v in source.weights.items()}

    def put(name: str, value: Tensor) -> None:
        if state[name].shape != value.shape:
            raise ModelError(
                f"{name} has shape {tuple(value.shape)} in the artifact and {tuple(state[name].shape)} in the network"
            )
        state[name] = value

    convolutions = {name: conv for name, conv in model.named_modules() if isinstance(conv, IntegerConv)}
    if missing := [name for name in convolutions if f"{name}.weight" not in w]:
        raise ModelError(
            f"{source.metadata['name']} has no {missing[0]}: it was exported from the networks of an earlier release; "
            "files decode with it, a training cannot begin with it"
        )
    for name, conv in convolutions.items():
        unit = torch.exp2(-w[f"{name}.exponent"]) if conv.bits_out is not None else torch.ones(len(conv.weight))
        put(f"{name}.weight", w[f"{name}.weight"] * unit[:, None, None, None])
        put(f"{name}.bias", w[f"{name}.bias"] * (unit * 2.0**-conv.bits_in if conv.bits_out is not None else 1.0))
    for name in w:
        if name.startswith(PREFIXES):
            put(name, w[name])
    put("g_s.linear", w["g_s.enter.weight"][:COARSE])
    put("g_s.enter.weight", w["g_s.enter.weight"][COARSE:])
    put("g_s.mean", w["g_s.enter.bias"].flatten()[:COARSE])
    put("g_s.enter.bias", w["g_s.enter.bias"].flatten()[COARSE:])
    scale, shift = w["g_s.film"].flatten(1).T.chunk(2, 1)
    put("g_s.film.scale", scale.contiguous())
    put("g_s.film.shift", shift.contiguous())
    put("log_gain", torch.from_numpy(source.log_gain.copy()))
    put("offset", torch.from_numpy(source.table("offset_anchors").copy()))
    put("z_index", torch.from_numpy(source.table("z_index_anchors").copy()))
    model.load_state_dict(state)
    return model
