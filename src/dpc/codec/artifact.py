"""A model artifact: one file that holds everything an encoder and a decoder need, checked when it is loaded.

The file is a zip archive:

    metadata.json         format, name, identity, sizes of the networks, recipe, training, licence, git commit
    graphs/NAME.onnx      the networks without their weights; preview, gradient and finer may be among them
    weights/NAME.npy      weights, once each: float16, or int8 / int32 in the integer branch (names as in torch)
    tables/NAME.npy       frequencies of the probability tables, gains, index offsets

The identity is a sha256 over all that decides how a stream is read and what latents come out of it: sizes, integer
weights, mean-prediction weights, tables and gains; where "exact_pixels" is true in the metadata also over all that
decides the pixels, the graphs that draw the picture with their weights. Analysis weights are not in it: a better
encoder keeps the identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec.archive import SUFFIX, array_of, content_of, unpacked, unsound
from dpc.codec.entropy import Tables
from dpc.codec.graph_files import external_tensors
from dpc.codec.runtime import Sessions, onnxruntime, releasing, share_memory
from dpc.codec.tiles import halo_of
from dpc.errors import ModelError, UnknownModel, WrongModel

ARTIFACT_FORMAT = 1
FINE = 64  # fine quality levels between two gain levels
GRAPHS = ("analysis", "hyper", "quantise", "means", "synthesis")  # and scale0, scale1, ... one per channel group
DRAWING = ("means", "synthesis")  # those that make the picture
ROUNDED = ("float16", "float64")  # weights stored so are handed over as float32
DEFAULT = "dpc-8"
MAX_TABLES = 255  # scale indices are kept in a byte
MAX_WEIGHT = float(1 << 24)  # of float weights; what is larger overflows in the sums
MAX_LOG_GAIN = 20.0  # gains from 2e-9 to 5e8
MAX_DEPTH = 256  # of networks in blocks, and their halo in latent positions

Array = NDArray[Any]


@dataclass(frozen=True)
class Sizes:
    """What the codec must know of the networks."""

    latents: int
    hyper_latents: int
    groups: tuple[int, ...]
    levels: int
    z_limit: int

    @property
    def fine_levels(self) -> int:
        """Number of quality levels that a file can name."""
        return (self.levels - 1) * FINE + 1


def decoding(groups: int) -> tuple[str, ...]:
    """The graphs that a decoder runs."""
    return (*(f"scale{g}" for g in range(groups)), *DRAWING)


def identity_of(
    sizes: Sizes, weights: Mapping[str, Array], tables: Mapping[str, Array], drawing: Mapping[str, bytes] | None = None
) -> str:
    """The sha256 (64 hex digits) of everything that decides how streams are read.

    drawing: of an exact model the graphs that a decoder runs; then all that decides its pixels counts too.
    """
    digest = hashlib.sha256()
    digest.update(
        json.dumps([ARTIFACT_FORMAT, list(sizes.groups), sizes.hyper_latents, sizes.levels, sizes.z_limit]).encode()
    )
    kinds = ("scales.", "means.", "g_s.") if drawing else ("scales.", "means.")
    deciding = {f"w/{k}": v for k, v in weights.items() if k.startswith(kinds)}
    deciding |= {
        f"t/{k}": v for k, v in tables.items() if k in ("frequencies", "lengths", "log_gain", "offsets", "z_indices")
    }
    for name in sorted(deciding):
        array = np.ascontiguousarray(deciding[name])
        little = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape}\n".encode() + little.tobytes())
    for name, graph in sorted((drawing or {}).items()):
        digest.update(f"g/{name} {len(graph)}\n".encode() + graph)
    return digest.hexdigest()


class Artifact:
    """A loaded model. Sessions are made when first used, one per graph.

    It may be shared between threads and be used after a fork; a pickle holds its path (or, of bytes, the bytes). Raises
    ModelError when the file is not a sound artifact.
    """

    def __init__(self, source: str | Path | bytes, threads: int | None = None, *, optimise: bool = True) -> None:
        self.path = None if isinstance(source, bytes) else Path(source)
        self.threads, self._optimise = threads, optimise
        self._bytes = source if isinstance(source, bytes) else None
        self._sessions = Sessions()
        data = source if isinstance(source, bytes) else content_of(Path(source))
        members = unpacked(data, self._where)
        try:
            self.metadata: dict[str, Any] = json.loads(members["metadata.json"])
            self._graphs = {n[7:-5]: v for n, v in members.items() if n.startswith("graphs/")}
            self.weights = {n[8:-4]: array_of(v) for n, v in members.items() if n.startswith("weights/")}
            self._tables = {n[7:-4]: array_of(v) for n, v in members.items() if n.startswith("tables/")}
        except Exception as error:  # json and numpy raise whatever the damage happens to hit
            raise unsound(self._where, error) from error
        self.bytes = len(data)
        self._check_numbers()
        self._check()

    def __reduce__(self) -> Any:
        return _again, (self._bytes or self.path, self.threads, self._optimise, self.identity)

    def _check_numbers(self) -> None:
        """Numbers that cannot be computed with are told now, not by a black picture."""
        for kind, arrays, limit in (("weights", self.weights, MAX_WEIGHT), ("table", self._tables, MAX_LOG_GAIN)):
            for name, array in arrays.items():
                if array.dtype.kind != "f" or not array.size:
                    continue
                with np.errstate(over="ignore", invalid="ignore"):
                    largest = float(np.abs(array).astype(np.float64).max())  # nan where there is one
                if not largest <= (limit if kind == "weights" or name == "log_gain" else MAX_WEIGHT):
                    raise ModelError(
                        f"the {kind} {name} in {self._where} holds {largest:g}; "
                        f"the limit is {limit:g}: export the model again, or fetch it again"
                    )

    @property
    def _where(self) -> str:
        return str(self.path) if self.path else "the given data"

    def _check(self) -> None:
        meta = self.metadata
        if not isinstance(meta, dict) or meta.get("artifact_format") != ARTIFACT_FORMAT:
            found = meta.get("artifact_format") if isinstance(meta, dict) else None
            raise ModelError(
                f"{self._where} has artifact format {found}; this version of dpc reads {ARTIFACT_FORMAT}: update dpc"
            )
        try:
            self.name: str = str(meta["name"])
            self.sizes = _sizes(meta)
            n = meta["network"]
            (e4, e8, e16), (d4, d8, d16) = n["encoder_depths"], n["decoder_depths"]
            self.depths = (int(e4), int(e8), int(e16)), (int(d4), int(d8), int(d16))
            t = self._tables
            self.log_gain, self.offsets, self.z_indices = t["log_gain"], t["offsets"], t["z_indices"]
            ends = np.cumsum(t["lengths"])
            self.tables = Tables([t["frequencies"][e - k : e] for e, k in zip(ends, t["lengths"], strict=True)])
            if (
                t["frequencies"].dtype.kind not in "iu"
                or t["lengths"].dtype.kind not in "iu"
                or (t["lengths"] < 1).any()
            ):
                raise ValueError("tables whose numbers are no counts")
            if ends.size and ends[-1] != len(t["frequencies"]):
                raise ValueError(f"{len(t['frequencies'])} frequencies where tables of {ends[-1]} are claimed")
            depths = (*self.depths[0], *self.depths[1])
            if max(*depths, self.halo) > MAX_DEPTH or min(depths) < 0:
                raise ValueError(f"depths or a halo outside 0..{MAX_DEPTH}")
            self._needs = {str(k): [str(n) for n in v] for k, v in meta["graph_weights"].items()}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"{self._where} lacks or garbles {error}") from error
        s = self.sizes
        if min(s.latents, s.hyper_latents, s.z_limit, *s.groups) < 1 or sum(s.groups) != s.latents or s.levels < 2:
            raise ModelError(f"{self._where} has sizes that do not fit together: {s}")
        if not 2 <= len(self.tables) <= MAX_TABLES + 1:
            raise ModelError(f"{self._where} has {len(self.tables) - 1} tables; it needs 1 to {MAX_TABLES}")
        self._check_tables(s)
        wanted = {*GRAPHS, *(f"scale{g}" for g in range(len(s.groups)))}
        if missing := wanted - (set(self._graphs) & set(self._needs)):
            raise ModelError(f"{self._where} lacks the graphs {', '.join(sorted(missing))}")
        if missing := {n for names in self._needs.values() for n in names} - set(self.weights):
            raise ModelError(f"{self._where} lacks the weights {', '.join(sorted(missing))}")
        names = decoding(len(s.groups)) if meta.get("native_weights") else DRAWING
        drawing = {g: self._graphs[g] for g in names} if meta.get("exact_pixels") else None
        self.identity = identity_of(s, self.weights, self._tables, drawing)
        if meta.get("identity") != self.identity:
            raise ModelError(
                f"{self._where} is damaged: its content does not have the identity it claims; fetch it again"
            )

    def _check_tables(self, s: Sizes) -> None:
        shapes = {
            "log_gain": (s.levels, s.latents),
            "offsets": (s.fine_levels, s.latents),
            "z_indices": (s.fine_levels, s.hyper_latents),
        } | ({"scales": (len(self.tables),)} if "scales" in self._tables else {})
        for name, shape in shapes.items():
            if self._tables[name].shape != shape:
                raise ModelError(f"{name} in {self._where} has shape {self._tables[name].shape}, not {shape}")
            if self._tables[name].dtype.kind != ("f" if name in ("log_gain", "scales") else "i"):
                raise ModelError(f"{name} in {self._where} has numbers of the wrong kind, {self._tables[name].dtype}")
        if "scales" in self._tables and not (least := self._tables["scales"].min()) > 0:
            raise ModelError(f"scales in {self._where} go down to {least:g}; they must be above 0")
        if self.z_indices.min() < 1 or self.z_indices.max() >= len(self.tables):
            raise ModelError(f"z_indices in {self._where} leave the range 1..{len(self.tables) - 1}")

    @property
    def id(self) -> bytes:
        """The four bytes that name this model in a file."""
        return bytes.fromhex(self.identity[:8])

    @property
    def previews(self) -> bool:
        """Whether it draws previews without its synthesis; dpc-7 does not."""
        return "preview" in self._graphs and "preview" in self._needs

    @property
    def refines(self) -> bool:
        """Whether an encoder can improve the latents of a picture with it; models before that have no gradient."""
        return {"gradient", "finer"} <= set(self._graphs) & set(self._needs) and "scales" in self._tables

    @property
    def quality_map(self) -> bool:
        """Whether its files may have a quality that differs from place to place."""
        return bool(self.metadata.get("quality_map"))

    @cached_property
    def _gains(self) -> NDArray[np.float32]:
        """(fine levels, latents)."""
        t = np.arange(self.sizes.fine_levels)[:, None] / FINE
        low = np.minimum(t.astype(int), self.sizes.levels - 2)
        logs = self.log_gain.astype(np.float64)
        gains: NDArray[np.float32] = np.exp((1 - t + low) * logs[low[:, 0]] + (t - low) * logs[low[:, 0] + 1]).astype(
            np.float32
        )
        return gains

    def gain(self, level: int | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """(1, latents, h, w) float32 gains at fine levels (h, w); (1, latents, 1, 1) at one."""
        return np.ascontiguousarray(np.moveaxis(self._gains[np.atleast_2d(level)], -1, 0))[None]

    def offset(self, level: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """(latents, h, w) offsets of the scale indices at fine levels (h, w)."""
        return np.ascontiguousarray(np.moveaxis(self.offsets[level], -1, 0), np.float32)

    def interpolation(self, level: int | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Float32 weights of the two gain levels around fine levels (h, w): (1, levels, h, w); of dpc-7 (1, levels)."""
        grid = np.arange(self.sizes.levels)[:, None, None]
        weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(np.atleast_2d(level) / FINE - grid)).astype(np.float32)
        return weights[None] if self.metadata.get("native_weights") else weights[None, :, 0, 0]

    @property
    def halo(self) -> int:
        """Latent positions that a network sees around a position, at most."""
        known = self.metadata.get("halo")
        return int(known) if known else halo_of(*self.depths, len(self.sizes.groups))

    def table(self, name: str) -> Array:
        """A table by its name in the artifact. ModelError where it is not there."""
        if name not in self._tables:
            raise ModelError(f"{self._where} lacks the table {name}")
        return self._tables[name]

    @cached_property
    def _handed(self) -> dict[str, Array]:
        """Weights as the runtime gets them: integers as they are where the graphs compute with integers."""
        native = bool(self.metadata.get("native_weights"))

        def kind(array: Array) -> Any:
            return array.dtype if native and array.dtype not in ROUNDED else np.float32

        return {name: np.ascontiguousarray(array, kind(array)) for name, array in self.weights.items()}

    def run(self, graph: str, *, release: bool = False, **inputs: Array) -> list[Array]:
        """Run a graph; arrays in, list of arrays out. release: give the memory that it kept for its next run back.

        Raises ModelError when onnxruntime cannot.
        """
        try:
            options = releasing() if release else None
            outputs: list[Array] = self._sessions.get(graph, self._session).run(None, inputs, options)
        except ModelError:
            raise
        except Exception as error:  # onnxruntime raises its own kinds, none of them public
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the graph {graph} of {self._where} cannot be run by onnxruntime: {first}") from error
        return outputs

    def _session(self, graph: str) -> Any:
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if self.threads:
            options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        share_memory(options)
        options.enable_mem_pattern = False  # no faster here, and it takes twice the memory
        # every session has threads of its own: spinning, they would take the cores from each other and from the coder
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not self._optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        names = self._needs[graph]
        try:
            foreign = external_tensors(self._graphs[graph]) - set(names)
        except ValueError as error:
            raise ModelError(
                f"the graph {graph} of {self._where} is no ONNX model ({error}); fetch it again"
            ) from error
        if foreign:
            raise ModelError(
                f"the graph {graph} of {self._where} wants {sorted(foreign)[0]!r} from a file outside of the model, "
                "which is never read; do not use this model"
            )
        options.add_external_initializers(names, [ort.OrtValue.ortvalue_from_numpy(self._handed[n]) for n in names])
        return ort.InferenceSession(self._graphs[graph], options, providers=["CPUExecutionProvider"])


def _sizes(meta: Mapping[str, Any]) -> Sizes:
    n = meta["network"]
    return Sizes(
        int(n["latents"]),
        int(n["hyper_latents"]),
        tuple(int(g) for g in n["groups"]),
        int(n["levels"]),
        int(meta["z_limit"]),
    )


def metadata_of(path: str | Path) -> dict[str, Any]:
    """The metadata of an artifact file, without loading or checking the rest. Raises ModelError."""
    try:
        meta: dict[str, Any] = json.loads(unpacked(path, str(path), "metadata.json")["metadata.json"])
    except (KeyError, ValueError, RecursionError) as error:
        raise unsound(str(path), error) from error
    return meta


def sizes_of(path: str | Path) -> Sizes:
    """The Sizes of an artifact file. Raises ModelError."""
    try:
        return _sizes(metadata_of(path))
    except (KeyError, TypeError, ValueError) as error:
        raise unsound(str(path), error) from error


def _again(source: Path | bytes, threads: int | None, optimise: bool, identity: str) -> Artifact:
    """The artifact of a pickle. WrongModel when its path holds another one by now."""
    loaded = Artifact(source, threads, optimise=optimise)
    if loaded.identity != identity:
        raise WrongModel(f"{loaded.path} holds another model than when it was pickled; load it anew")
    return loaded


def released() -> dict[str, Path]:
    """The artifacts that ship in the package: name -> path."""
    return _artifacts(Path(str(resources.files("dpc.codec"))) / "models")


def folder() -> Path:
    """Where models are that a user added: DPC_MODELS, or the folder for data of this user."""
    if given := os.environ.get("DPC_MODELS"):
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "dpc" / "models"


def installed() -> dict[str, Path]:
    """The artifacts of the package and those that a user added: name -> path. A name of the package goes first."""
    return _artifacts(folder()) | released()


def _artifacts(place: Path) -> dict[str, Path]:
    try:
        return {p.stem: p for p in sorted(place.glob(f"*{SUFFIX}"))}
    except OSError:  # the folder of another user, where a service keeps the HOME it was started with
        return {}


def find(model: str | Path | None = None) -> Path:
    """The path of a model given by name or by path; None is the default one. UnknownModel if there is none."""
    names = installed()
    if model is None:
        if DEFAULT in names:
            return names[DEFAULT]
        raise UnknownModel(f"the released model {DEFAULT} is missing from this installation; install dpc again")
    if str(model) in names:
        return names[str(model)]
    path = Path(model)
    if path.is_file():
        return path
    raise UnknownModel(f"there is no model {str(model)!r}; give a {SUFFIX} file or one of {', '.join(names) or 'none'}")
