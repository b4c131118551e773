"""What codecs make of the pictures of a study, in about so many bytes: found by search, and kept on disk.

Everything that is coded stays in the folder `coded`, so that a second run codes nothing again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpc.errors import ImageError, OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Rgb
from dpc.files import atomic_write
from dpc.study.shown import srgb
from dpc.study.sources import Loose, Precomputed, Source

__all__ = ["NEARBY", "File", "Shelf", "pixels_of", "spread"]

NEARBY = (1.0, 0.98, 1.02, 0.96, 1.04, 0.94, 1.06)  # of a target, tried when codecs do not meet within the tolerance


@dataclass(frozen=True)
class File:
    """A compressed file, or a decoded picture of a folder. bytes: 0 where the compressed size is not known."""

    method: str
    quality: float
    bytes: int
    path: Path


class Shelf(MutableMapping[float, bytes]):
    """The files that one method makes of one picture: quality -> file, in a folder of their own for a codec."""

    def __init__(self, folder: Path, source: Source, name: str, original: Rgb) -> None:
        self.source, self.name, self.original = source, name, original
        digest = hashlib.sha256(np.ascontiguousarray(original).tobytes())
        digest.update(json.dumps([original.shape, source.name, source.version, source.settings]).encode())
        self.folder = folder / digest.hexdigest()[:32]

    def __getitem__(self, quality: float) -> bytes:
        try:
            return self._path(quality).read_bytes()
        except FileNotFoundError:
            raise KeyError(quality) from None

    def __setitem__(self, quality: float, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path(quality), data)

    def __delitem__(self, quality: float) -> None:
        self._path(quality).unlink()

    def __iter__(self) -> Iterator[float]:
        return (float(path.stem[1:]) for path in self.folder.glob("q*.bin"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, quality: float) -> Path:
        return self.folder / f"q{float(quality)!r}.bin"

    def near(self, target: float) -> File:
        """The file nearest to so many bytes."""
        if isinstance(self.source, (Loose, Precomputed)):
            entries = self.source.of(self.name)
            if not entries:
                raise OptionError(
                    f"{self.source.name} has no picture called {self.name}; every method needs every original"
                )
            quality, size, path = min(entries, key=lambda e: abs(math.log(max(e[1], 1) / max(target, 1))))
            return File(self.source.name, quality, size, path)
        note = self.folder / f"target-{target:.3f}.json"  # for a codec with a search of its own
        if note.exists() and (quality := float(json.loads(note.read_text()))) in self:
            return File(self.source.name, quality, self._path(quality).stat().st_size, self._path(quality))
        pixels = self.original.shape[0] * self.original.shape[1]
        quality, data = baselines.at_bpp(self.source, self.original, 8 * target / pixels, self)  # type: ignore[arg-type]
        if quality not in self:
            self[quality] = data
        atomic_write(note, json.dumps(quality))
        return File(self.source.name, quality, len(data), self._path(quality))

    def reaches(self, low: float, high: float) -> tuple[int, int]:
        """(bytes of a file of at most low, or of the smallest; bytes of one of at least high, or of the largest)."""
        if isinstance(self.source, (Loose, Precomputed)):
            sizes = [size for _, size, _ in self.source.of(self.name)]
            return (min(sizes), max(sizes)) if sizes else (0, 0)
        last = len(self.source.qualities) - 1
        return (
            self._walk(self.source, lambda place: place // 2, lambda size: size <= low, 0),
            self._walk(self.source, lambda place: (place + last + 1) // 2, lambda size: size >= high, last),
        )

    def _walk(self, codec: Codec, step: Callable[[int], int], enough: Callable[[int], bool], end: int) -> int:
        """From the middle of the scale towards an end, as a bisection would go, until the size is enough."""
        place = (end + len(codec.qualities) - 1 - end) // 2
        while True:
            quality = codec.qualities[place]
            if quality not in self:
                self[quality] = codec.encode(self.original, quality)
            size = self._path(quality).stat().st_size
            if enough(size) or place == end:
                return size
            place = step(place)


def pixels_of(source: Source, file: File, original: Rgb) -> Rgb:
    """The decoded picture. ImageError where its size is not that of the original."""
    if isinstance(source, (Loose, Precomputed)):
        rgb = srgb(file.path)
    else:
        rgb = source.decode(file.path.read_bytes())
    if rgb.shape != original.shape:
        place = file.path if isinstance(source, (Loose, Precomputed)) else f"what {source.name} decodes"
        raise ImageError(
            f"{place} is {rgb.shape[1]}x{rgb.shape[0]}, its original is {original.shape[1]}x{original.shape[0]}; "
            "decode it at full size"
        )
    return rgb


def spread(files: Sequence[File]) -> float:
    """By which share the smallest file is smaller than the largest; unknown sizes do not count."""
    known = [f.bytes for f in files if f.bytes]
    return 1 - min(known) / max(known) if known else 0.0
