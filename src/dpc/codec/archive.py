"""The file of a model artifact, a zip archive: its members out of it and into it, within limits."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dpc.errors import ModelError
from dpc.files import atomic_write

__all__ = ["SUFFIX", "array_of", "content_of", "unpacked", "unsound", "write"]

SUFFIX = ".dpcmodel"
MAX_UNPACKED = 1 << 29  # bytes of all members

Array = NDArray[Any]


def unpacked(source: str | Path | bytes, where: str, only: str | None = None) -> dict[str, bytes]:
    """The members of the archive (or one of them), unpacked; sizes are held against MAX_UNPACKED before that."""
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            if any(name.endswith("data.pkl") for name in archive.namelist()):
                raise ModelError(_checkpoint(where))
            infos = [info for info in archive.infolist() if only in (None, info.filename)]
            claimed = sum(info.file_size for info in infos)
            if claimed > MAX_UNPACKED:
                raise ModelError(f"{where} claims to unpack to {claimed} bytes; the limit is {MAX_UNPACKED}")
            return {info.filename: archive.read(info) for info in infos}
    except ModelError:
        raise
    except Exception as error:  # zipfile and its decompressors raise whatever the damage happens to hit
        raise unsound(where, error) from error


def content_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_UNPACKED:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes, the most of a model is {MAX_UNPACKED:,}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror or error}") from error


def _checkpoint(where: str) -> str:
    return f"{where} is a checkpoint of a training; dpc export {where} MODEL{SUFFIX} makes a model of it"


def unsound(where: str, error: Exception) -> ModelError:
    if where.endswith((".pt", ".pth", ".ckpt")):
        return ModelError(_checkpoint(where))
    return ModelError(f"{where} is not a sound model artifact ({type(error).__name__}: {error}); fetch it again")


def array_of(data: bytes) -> Array:
    """The array in a .npy file; ValueError, before memory is taken, where its header claims other bytes than follow."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version than 1.0")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if kind.kind not in "fiu" or math.prod(shape) * kind.itemsize != len(data) - file.tell():
        raise ValueError(f"an array of {kind} and shape {shape} in {len(data)} bytes")
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def write(
    path: str | Path,
    metadata: Mapping[str, Any],
    graphs: Mapping[str, bytes],
    weights: Mapping[str, Array],
    tables: Mapping[str, Array],
) -> None:
    """Write an artifact file, whole or not at all; the same content gives the same bytes."""
    members: dict[str, bytes] = {"metadata.json": json.dumps(metadata, indent=1, sort_keys=True).encode()}
    members |= {f"graphs/{k}.onnx": v for k, v in graphs.items()}
    for folder, arrays in (("weights", weights), ("tables", tables)):
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            members[f"{folder}/{name}.npy"] = buffer.getvalue()

    def pack(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name in sorted(members):
                archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), members[name], zipfile.ZIP_DEFLATED, 9)

    atomic_write(path, pack)
