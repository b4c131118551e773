"""Where the pictures of a study come from: codecs, folders with sizes, folders without."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from dpc.errors import OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Folder

__all__ = ["Loose", "Precomputed", "Source", "sources_of"]

LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".ppm")
LOSSY = (".jpg", ".jpeg", ".webp", ".avif", ".jp2")


class Loose:
    """A folder without sizes.csv: pictures that are called as the originals.

    A JPEG, WebP, AVIF or JPEG 2000 file counts with its own bytes; a PNG (BMP, TIFF, PPM) with those of the file of
    the same name and another ending beside it, which is taken for the compressed one. Where there is none the size is
    unknown, which `unknown_sizes` must allow.
    """

    def __init__(self, name: str, path: Path, unknown_sizes: bool) -> None:
        if not path.is_dir():
            raise OptionError(f"{name}={path} is not a folder; give one with pictures that are called as the originals")
        self.name, self.path, self.unknown_sizes = name, path, unknown_sizes
        self.files: dict[str, list[Path]] = {}
        digest = hashlib.sha256()
        for file in sorted(p for p in path.iterdir() if p.is_file()):
            self.files.setdefault(file.stem, []).append(file)
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        self.version, self.settings = f"folder {digest.hexdigest()[:16]}", "precomputed"

    def of(self, picture: str) -> list[tuple[float, int, Path]]:
        """(quality: nan, bytes: 0 for unknown, file) of a picture, at most one."""
        files = self.files.get(picture, [])
        shown = [p for p in files if p.suffix.lower() in LOSSLESS] or [p for p in files if p.suffix.lower() in LOSSY]
        if not shown:
            return []
        if shown[0].suffix.lower() in LOSSY:
            return [(math.nan, shown[0].stat().st_size, shown[0])]
        coded = [p for p in files if p.suffix.lower() not in LOSSLESS]
        if len(coded) > 1:
            raise OptionError(f"{self.path} holds several files {picture}.*: name one size each in a sizes.csv")
        if not coded and not self.unknown_sizes:
            raise OptionError(
                f"the compressed size of {shown[0]} is not known: put the compressed file beside it, write sizes.csv, "
                "or allow it with sources.unknown_sizes = true"
            )
        return [(math.nan, coded[0].stat().st_size if coded else 0, shown[0])]


class Precomputed:
    """A folder with sizes.csv, see dpc.evaluation.codecs.Folder."""

    def __init__(self, name: str, path: Path) -> None:
        self.folder = Folder(name, path)
        self.name, self.version = name, f"sizes.csv {self.folder.digest[:16]}"
        self.settings = self.folder.settings

    def of(self, picture: str) -> list[tuple[float, int, Path]]:
        """(quality, bytes, file) of a picture, from the smallest."""
        return [(e.quality, e.bytes, e.decoded) for e in self.folder.of(picture)]


Source: TypeAlias = "Codec | Loose | Precomputed"


def sources_of(
    codecs: Sequence[str], folders: Sequence[tuple[str, Path]], unknown_sizes: bool, threads: int | None
) -> list[Source]:
    """Folders first: where no rates are given the first one sets the sizes."""
    found: list[Source] = [
        Precomputed(name, path) if (path / "sizes.csv").is_file() else Loose(name, path, unknown_sizes)
        for name, path in folders
    ]
    for name in codecs:
        codec = baselines.get(name, threads=threads)
        found.append(_Named(name, codec) if codec.name != name else codec)
    names = [s.name for s in found]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise OptionError(f"method {twice!r} is there twice; give the folder another name")
    return found


class _Named:
    """A codec under the name that it was asked for."""

    def __init__(self, name: str, codec: Codec) -> None:
        self.name, self.version, self.settings, self.qualities = name, codec.version, codec.settings, codec.qualities
        self.encode, self.decode = codec.encode, codec.decode
