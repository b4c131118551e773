"""Models for browsers: an artifact cut into the half that decodes and what encoding needs besides."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpc.codec import artifact
from dpc.codec.archive import SUFFIX

__all__ = ["INDEX", "Half", "WebModel", "index_of", "web_models"]

INDEX = "models.json"
_TABLES = ("_anchors.npy", "/scales.npy")  # that only the export reads, or what browsers do not do
_DROPPED = ("training", "description", "git_commit")  # metadata that no codec reads
_ENCODING = ("analysis", "hyper", "quantise")
_REFINING = ("finer", "gradient")  # which browsers do not do


@dataclass(frozen=True)
class Half:
    """A file for the browser: its name, which changes with its content, and its bytes."""

    file: str
    data: bytes

    @property
    def entry(self) -> dict[str, Any]:
        return {"file": self.file, "bytes": len(self.data), "sha256": hashlib.sha256(self.data).hexdigest()}


@dataclass(frozen=True)
class WebModel:
    """A model in two halves; id: the 8 hexadecimal digits that files name it by."""

    name: str
    id: str
    default: bool
    decode: Half
    encode: Half


def web_models(extra: Sequence[Path] = ()) -> list[WebModel]:
    """The installed models and others by their paths, cut into halves. Raises ModelError for a damaged one."""
    return [_cut(name, path) for name, path in [*artifact.installed().items(), *((p.stem, p) for p in extra)]]


def index_of(models: list[WebModel]) -> bytes:
    """The list that the browser reads first."""
    entries = [
        {"name": m.name, "id": m.id, "default": m.default, "decode": m.decode.entry, "encode": m.encode.entry}
        for m in models
    ]
    return json.dumps({"models": entries}, indent=1).encode()


def _cut(name: str, path: Path) -> WebModel:
    loaded = artifact.Artifact(path)  # checks the identity
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = {key: value for key, value in loaded.metadata.items() if key not in _DROPPED}
    needs = {graph: names for graph, names in metadata["graph_weights"].items() if graph not in _REFINING}
    metadata["graph_weights"] = needs
    decoding = [graph for graph in needs if graph not in _ENCODING]
    deciding = {n for graph in decoding for n in needs[graph]}
    rest = {n for graph in _ENCODING for n in needs[graph]} - deciding
    decode = [f"graphs/{graph}.onnx" for graph in decoding]
    decode += [f"weights/{n}.npy" for n in deciding]
    decode += [n for n in members if n.startswith("tables/") and not n.endswith(_TABLES)]
    encode = [f"graphs/{graph}.onnx" for graph in _ENCODING] + [f"weights/{n}.npy" for n in rest]
    identity = {"identity": metadata["identity"], "name": metadata["name"]}
    return WebModel(
        name=name,
        id=loaded.identity[:8],
        default=name == artifact.DEFAULT,
        decode=_zip(f"{name}.decode{SUFFIX}", metadata, {n: members[n] for n in decode}),
        encode=_zip(f"{name}.encode{SUFFIX}", identity, {n: members[n] for n in encode}),
    )


def _zip(file: str, metadata: Mapping[str, Any], members: Mapping[str, bytes]) -> Half:
    out = io.BytesIO()
    whole = {**members, "metadata.json": json.dumps(metadata, sort_keys=True).encode()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(whole):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), whole[name], zipfile.ZIP_DEFLATED, 9)
    return Half(file, out.getvalue())
