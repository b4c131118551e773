"""Training pictures: any folders of images, decoded once into a memory-mapped cache; random crops with flips and random down-scaling."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.errors import DPCError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
VALIDATION_EVERY = 32  # every 32nd picture is held out


class DataError(DPCError):
    """The training pictures cannot be used."""


def find(folders: Sequence[str | Path]) -> list[Path]:
    """All picture files below the folders, sorted; DataError when a folder is missing or holds none."""
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give folders of pictures with --data")
        here = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not here:
            raise DataError(
                f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}); give another folder with --data"
            )
        found += here
    return found


class Photos:
    """Decoded photographs in one memory-mapped file.

    train and validation: lists of indices. picture(i): uint8 (H, W, 3). Pictures whose shorter side is below minimum are
    left out; fewer than two usable pictures is a DataError.
    """

    def __init__(self, folders: Sequence[str | Path], minimum: int, cache: str | Path | None = None) -> None:
        paths = find(folders)
        key = hashlib.sha256()
        for p in paths:
            key.update(f"{p.resolve()}|{p.stat().st_size}|{p.stat().st_mtime_ns}\n".encode())
        root = Path(cache) if cache else Path(tempfile.gettempdir()) / f"dpc-photos-{os.getuid()}"
        root.mkdir(parents=True, exist_ok=True)
        self.pixels_path = root / f"{key.hexdigest()[:16]}.rgb"
        index_path = self.pixels_path.with_suffix(".json")
        if not index_path.exists():
            self._decode(paths, index_path)
        index = json.loads(index_path.read_text())
        self.sha256: str = index["sha256"]
        self._pixels = np.memmap(self.pixels_path, np.uint8, "r")
        self._entries = [e for e in index["entries"] if min(e["width"], e["height"]) >= minimum]
        if len(self._entries) < 2:
            raise DataError(
                f"only {len(self._entries)} of {len(paths)} pictures have a shorter side of at least {minimum} pixels; "
                "two are needed: give more or larger pictures with --data, or a smaller crop in the recipe"
            )
        self.validation = list(range(0, len(self._entries), VALIDATION_EVERY))
        held = set(self.validation)
        self.train = [i for i in range(len(self._entries)) if i not in held]

    def _decode(self, paths: list[Path], index_path: Path) -> None:
        entries, offset, digest = [], 0, hashlib.sha256()
        temporary = self.pixels_path.with_suffix(f".{os.getpid()}.part")
        with open(temporary, "wb") as out:
            for path in paths:
                try:
                    with Image.open(path) as image:
                        pixels = np.asarray(image.convert("RGB"))
                except (OSError, ValueError, SyntaxError) as error:
                    raise DataError(
                        f"{path} cannot be read as a picture ({error}); remove it or give another folder"
                    ) from error
                digest.update(pixels.tobytes())
                out.write(pixels.tobytes())
                entries.append(
                    {"name": path.name, "width": pixels.shape[1], "height": pixels.shape[0], "offset": offset}
                )
                offset += pixels.size
        os.replace(temporary, self.pixels_path)
        part = index_path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"sha256": digest.hexdigest(), "entries": entries}))
        os.replace(part, index_path)

    def __len__(self) -> int:
        return len(self._entries)

    def picture(self, i: int) -> NDArray[np.uint8]:
        e = self._entries[i]
        size = e["width"] * e["height"] * 3
        view = self._pixels[e["offset"] : e["offset"] + size]
        return np.asarray(view).reshape(e["height"], e["width"], 3)

    def crop(self, rng: np.random.Generator, size: int, largest: float = 2.5) -> NDArray[np.uint8]:
        """A random training crop (size, size, 3) uint8: flipped at random, down-scaled by a random factor in [1, largest]."""
        sides = [(e["width"] * e["height"]) ** 0.5 for e in (self._entries[i] for i in self.train)]
        cumulative = np.cumsum(sides)
        pixels = self.picture(self.train[int(np.searchsorted(cumulative, rng.random() * cumulative[-1]))])
        h, w = pixels.shape[:2]
        factor = min(float(np.exp(rng.random() * np.log(largest))), h / size, w / size) if rng.random() < 0.7 else 1.0
        side = max(size, int(size * factor))
        top, left = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        patch = pixels[top : top + side, left : left + side]
        if side != size:
            patch = np.asarray(
                Image.fromarray(patch).resize(
                    (size, size), Image.Resampling.BOX if factor > 2 else Image.Resampling.BICUBIC
                )
            )
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        return np.ascontiguousarray(patch)

    def batch(self, rng: np.random.Generator, count: int, size: int) -> NDArray[np.float32]:
        """(count, 3, size, size) float32 in [0, 1]."""
        crops = np.stack([self.crop(rng, size) for _ in range(count)])
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).astype(np.float32) / 255

    def validation_crops(self, size: int, limit: int = 16) -> NDArray[np.float32]:
        """Centre crops of held-out pictures, (n, 3, size, size) float32 in [0, 1]; n <= limit."""
        crops = []
        for i in self.validation[:limit]:
            pixels = self.picture(i)
            top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
            crops.append(pixels[top : top + size, left : left + size])
        return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
