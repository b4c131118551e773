"""Pictures that were coded elsewhere, by any codec: their sizes and what was decoded from them.

A folder holds sizes.csv, one line for each coded picture, and the decoded pictures in lossless files:

    image      the original's file name without its ending
    bytes      the size of the compressed file; or leave it out and give
    file       the compressed file itself, beside sizes.csv: its size counts
    decoded    the decoded picture (PNG or lossless WebP), beside sizes.csv
    one more   the quality, under any name (qp, quality, lambda); further columns are ignored
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

from dpc.codec.image import load
from dpc.errors import ImageError, OptionError
from dpc.evaluation.codecs.protocol import Rgb

__all__ = ["Entry", "Folder"]

_KNOWN = ("image", "bytes", "file", "bpp", "decoded")


@dataclass(frozen=True)
class Entry:
    """One coded picture: whose, at which quality, the bytes of its file, and where its decoded picture is."""

    image: str
    quality: float
    bytes: int
    decoded: Path


class Folder:
    """Precomputed pictures under the name of their codec. OptionError where sizes.csv is not as described above."""

    def __init__(self, name: str, path: Path) -> None:
        try:
            text = (path / "sizes.csv").read_text(encoding="utf-8")
            rows = list(csv.DictReader(io.StringIO(text)))
            quality = next(k for k in rows[0] if k not in _KNOWN)
            self.entries = tuple(
                Entry(
                    r["image"],
                    float(r[quality]),
                    int(r["bytes"]) if r.get("bytes") else (path / r["file"]).stat().st_size,
                    path / r["decoded"],
                )
                for r in rows
            )
        except (OSError, IndexError, KeyError, StopIteration, ValueError, TypeError, csv.Error) as error:
            raise OptionError(
                f"{path} holds no sizes.csv with the columns image, bytes or file, decoded and one for the quality "
                f"({type(error).__name__}: {error})"
            ) from error
        file = path / "sizes.csv"
        for entry in self.entries:
            if not 1 <= entry.bytes <= 1 << 53:
                raise OptionError(f"{file} gives {entry.image} {entry.bytes} bytes; a file has 1 or more")
            if not math.isfinite(entry.quality):
                raise OptionError(f"{file} gives {entry.image} the quality {entry.quality}; give a number")
            if not entry.decoded.is_relative_to(path) or ".." in entry.decoded.relative_to(path).parts:
                raise OptionError(f"{file} names {entry.decoded}, which is not inside of {path}")
        self.name = name
        self.version = "files of a folder"  # each file's identity stands in its row
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.settings = f"precomputed, the quality is {quality}"

    def of(self, image: str) -> list[Entry]:
        """What there is of a picture (its file name without ending), from the smallest file to the largest."""
        return sorted((e for e in self.entries if e.image == image), key=lambda e: e.bytes)

    def identity(self, entry: Entry) -> str:
        """Of a coded picture: the hash of its size and of the file that was decoded from it. OSError without that."""
        return hashlib.sha256(f"{entry.bytes} ".encode() + entry.decoded.read_bytes()).hexdigest()

    def decoded(self, entry: Entry, original: Rgb) -> Rgb:
        """The decoded picture, uint8 (H, W, 3). ImageError when it is unreadable or not of the original's size."""
        rgb = load(entry.decoded).rgb
        if rgb.shape != original.shape:
            raise ImageError(
                f"{entry.decoded} is {rgb.shape[1]}x{rgb.shape[0]}, its original is "
                f"{original.shape[1]}x{original.shape[0]}; decode it at full size"
            )
        return rgb
