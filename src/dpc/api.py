"""dpc.encode, decode, inspect and models: the codec with the installed models, which stay loaded between calls."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from dpc.codec import artifact, container, image
from dpc.codec.codec import Codec, Note, Progress, Region, decode_lossless, file_bytes
from dpc.codec.installed import add, by_id, needed
from dpc.codec.lossless import has_alpha
from dpc.errors import ModelError


@dataclass(frozen=True)
class FileInfo:
    """What a .dpc file says of itself. bpp counts every byte of the file.

    lossless: every pixel was kept. merged: all was kept but noise and rare colours, which were given to near ones; at
    the lowest rates only a few colours stay.
    In both cases no model is needed: quality is 100, level and model_id are None. model: its name, None when it is not
    installed or not needed. chunks: name -> bytes of the payload.
    """

    width: int
    height: int
    mode: str
    quality: float
    level: int | None
    lossless: bool
    merged: bool
    model: str | None
    model_id: str | None
    bytes: int
    bpp: float
    chunks: dict[str, int]


@dataclass(frozen=True)
class ModelInfo:
    """An installed model. path: where it lies. id: sha256 identity, 64 hex digits; the first 8 name it in files.
    exact_pixels: whether its files decode to the same pixels on every machine; else they may differ by one level."""

    name: str
    id: str
    path: str
    bytes: int
    default: bool
    description: str
    exact_pixels: bool


@lru_cache(maxsize=4)
def _codec(path: Path, threads: int | None) -> Codec:
    return Codec(path, threads)


def codec(model: str | Path | None = None, threads: int | None = None) -> Codec:
    """The Codec that encode and decode use for a model, kept for the next call."""
    return _codec(artifact.find(model), threads)


def encode(
    image: image.Source,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    max_bytes: int | None = None,
    lossless: bool | None = None,
    roi: image.Source | NDArray[Any] | None = None,
    model: str | Path | None = None,
    exif: bool = True,
    icc: bool = True,
    xmp: bool = True,
    strip: bool = False,
    fast: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> bytes:
    """The picture as a .dpc file; see Codec.encode. The networks stay loaded for the next call."""
    codec = _codec(artifact.find(model), threads)
    return codec.encode(
        image,
        quality=quality,
        bpp=bpp,
        max_bytes=max_bytes,
        lossless=lossless,
        roi=roi,
        exif=exif,
        icc=icc,
        xmp=xmp,
        strip=strip,
        fast=fast,
        progress=progress,
        note=note,
    )


def decode(
    data: bytes | str | os.PathLike[str] | BinaryIO,
    *,
    region: Region | None = None,
    preview: bool = False,
    as_array: bool = False,
    max_pixels: int | None = container.DEFAULT_MAX_PIXELS,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Any:
    """The picture in a .dpc file, with the installed model that made it; see Codec.decode. UnknownModel names a model
    that is not installed."""
    raw = file_bytes(data)
    header = container.peek(raw)
    if header.model is None:
        return decode_lossless(raw, region=region, preview=preview, as_array=as_array, max_pixels=max_pixels)
    if header.model not in by_id():
        container.unpack(raw)  # a damaged file is reported as such
    found = needed(header.model)
    return _codec(found, threads).decode(
        raw, region=region, preview=preview, as_array=as_array, max_pixels=max_pixels, progress=progress
    )


def inspect(data: bytes | str | os.PathLike[str] | BinaryIO) -> FileInfo:
    """What a .dpc file holds, without decoding the picture. Raises FormatError."""
    raw = file_bytes(data)
    file = container.unpack(raw)
    path = None if file.model is None else by_id().get(file.model)
    alpha = has_alpha(file.body) if file.lossless else file.alpha is not None
    chunks = ("quality_map", "body", "alpha", "overlay", "smoothing", "wide_smoothing", "icc", "exif", "xmp", "density")
    return FileInfo(
        width=file.width,
        height=file.height,
        mode=("L" if file.grey else "RGB") + "A" * alpha,
        quality=100.0 if file.level is None else 1 + 99 * file.level / _top(path),
        level=file.level,
        lossless=file.lossless and not file.merged,
        merged=file.merged,
        model=path.stem if path else None,
        model_id=None if file.model is None else file.model.hex(),
        bytes=len(raw),
        bpp=8 * len(raw) / (file.width * file.height),
        chunks={name: len(part) for name in chunks if (part := getattr(file, name)) is not None},
    )


def _top(path: Path | None) -> int:
    """The highest fine level of a model; of one that is not installed, that of all released ones."""
    return (artifact.sizes_of(path).fine_levels if path else 449) - 1


def models() -> list[ModelInfo]:
    """The models that are installed: of the package, and added ones. ModelError names a file that is no model."""
    return [_about(name, path) for name, path in artifact.installed().items()]


def add_model(path: str | os.PathLike[str]) -> ModelInfo:
    """Install a model for this user, so that its files can be read; one that is installed stays as it is.

    Where: the folder in the environment variable DPC_MODELS; else ~/.local/share/dpc/models (Linux; XDG_DATA_HOME
    moves it), ~/Library/Application Support/dpc/models (macOS), %LOCALAPPDATA%\\dpc\\models (Windows). The content is
    checked against the identity that it claims. Raises ModelError; OSError when the folder cannot be written to.
    """
    added = add(Path(path))
    return _about(added.stem, added)


def _about(name: str, path: Path) -> ModelInfo:
    meta = artifact.metadata_of(path)
    try:
        return ModelInfo(
            name=name,
            id=meta["identity"],
            path=str(path),
            bytes=path.stat().st_size,
            default=name == artifact.DEFAULT,
            description=meta["description"],
            exact_pixels=meta.get("exact_pixels", False),
        )
    except (LookupError, TypeError) as error:
        raise ModelError(
            f"{path} is not a sound model artifact; it lacks {error}: remove it or fetch it again"
        ) from error
