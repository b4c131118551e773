"""Training pictures: folders or a packed zip file, decoded once into a memory-mapped cache; random crops of them.

What a training sees depends on the seed and the step alone: crop i of step n is drawn with default_rng([seed, n, i]),
on any number of processes, and also after a training was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.codec.image import SUFFIXES, load
from dpc.errors import DPCError, ImageError
from dpc.files import atomic_write
from dpc.networks.sizes import CELL
from dpc.training.data.synthetic import synthetic

VALIDATION_EVERY = 32  # every 32nd picture is held out
VARIATION = 2.0  # levels: the largest change within a quality map of a training crop
HELD_OUT = "validation/"  # in a zip file the folder of the pictures that are held out
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # of damaged and encrypted zips


class DataError(DPCError):
    """The training pictures cannot be used."""


@dataclass(frozen=True)
class Item:
    """One picture file. member: its name inside a zip file. stamp: changes when the file does. held: whether it is held
    out, None where the rule is every VALIDATION_EVERY-th."""

    path: Path
    member: str | None
    stamp: str
    held: bool | None = None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """The bytes of the file."""
        if self.member is None:
            return self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.member)


def find(sources: Sequence[str | Path]) -> list[Item]:
    """All pictures below the folders and in the zip files, sorted; DataError when one is missing or holds none."""
    found: list[Item] = []
    for source in map(Path, sources):
        if source.is_dir():
            paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
            here = [Item(p, None, f"{p.resolve()}|{p.stat().st_size}|{p.stat().st_mtime_ns}") for p in paths]
        elif zipfile.is_zipfile(source):
            try:
                with zipfile.ZipFile(source) as archive:
                    members = sorted((i.filename, i.CRC) for i in archive.infolist())
            except BROKEN as error:
                raise DataError(f"{source} is a damaged zip file ({error}); copy or pack it again") from error
            members = [m for m in members if Path(m[0]).suffix.lower() in SUFFIXES]
            split = any(m.startswith(HELD_OUT) for m, _ in members)
            here = [Item(source, m, f"{m}|{crc}", m.startswith(HELD_OUT) if split else None) for m, crc in members]
        else:
            what = "is neither a folder nor a zip file" if source.exists() else "does not exist"
            raise DataError(f"{source} {what}; give folders of pictures with --data")
        if not here:
            raise DataError(f"{source} holds no picture ({', '.join(SUFFIXES)}); give another with --data")
        found += here
    return found


class Photos:
    """Decoded photographs in one memory-mapped file.

    train and validation: lists of indices. picture(i): uint8 (H, W, 3). Pictures whose shorter side is below minimum
    are left out (left_out counts them); fewer than two usable pictures is a DataError. cache: folder of the decoded
    pixels, by default one in the folder for temporary files.
    """

    def __init__(self, sources: Sequence[str | Path], minimum: int, cache: str | Path | None = None) -> None:
        items = find(sources)
        key = hashlib.sha256("".join(f"{item.stamp}\n" for item in items).encode())
        user = os.getuid() if hasattr(os, "getuid") else "all"
        root = Path(cache) if cache else Path(tempfile.gettempdir()) / f"dpc-photos-{user}"
        self.pixels_path = root / f"{key.hexdigest()[:16]}.rgb"
        index = self._index()
        if index is None:
            try:
                root.mkdir(parents=True, exist_ok=True)
                self._decode(items)
            except OSError as error:
                raise DataError(
                    f"cannot keep the decoded pictures in {root}: {error.strerror}; TMPDIR=FOLDER names another place"
                ) from error
            index = json.loads(self.pixels_path.with_suffix(".json").read_text())
        self.sha256: str = index["sha256"]
        self._pixels = np.memmap(self.pixels_path, np.uint8, "r")
        large = [min(e["width"], e["height"]) >= minimum for e in index["entries"]]
        self._entries = list(compress(index["entries"], large))
        self._items = list(compress(items, large))
        self.left_out = len(items) - len(self._items)
        # counted before small ones are left out: what one training holds out, no other size of crop takes
        whole = [e.get("held", i % VALIDATION_EVERY == 0) for i, e in enumerate(index["entries"])]
        held = list(compress(whole, large))
        if held and not any(held):  # all of those are small
            held[0] = True
        self.validation = [i for i, h in enumerate(held) if h]
        self.train = [i for i, h in enumerate(held) if not h]
        if not self.validation or not self.train:
            raise DataError(
                f"only {len(self._entries)} of {len(items)} pictures have a shorter side of at least {minimum} pixels; "
                "two are needed: give more or larger pictures with --data, or a smaller crop in the recipe"
            )
        # large pictures are taken more often, as the square root of their area
        self._cumulative = np.cumsum(
            [(e["width"] * e["height"]) ** 0.5 for e in map(self._entries.__getitem__, self.train)]
        )

    def _index(self) -> Any:
        """What the cache says of its pictures; None where there is no cache, or one that is not whole."""
        try:
            index = json.loads(self.pixels_path.with_suffix(".json").read_text())
            sizes = [e["width"] * e["height"] * 3 for e in index["entries"]]
            return index if self.pixels_path.stat().st_size == sum(sizes) and index["sha256"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _decode(self, items: list[Item]) -> None:
        entries, offset, digest = [], 0, hashlib.sha256()

        def write(out: BinaryIO) -> None:
            nonlocal offset
            for item, pixels in zip(items, _decoded(items), strict=True):
                digest.update(pixels.data)
                out.write(pixels.data)
                entry = {"name": item.name, "width": pixels.shape[1], "height": pixels.shape[0], "offset": offset}
                entries.append(entry if item.held is None else entry | {"held": item.held})
                offset += pixels.size

        atomic_write(self.pixels_path, write)
        index = json.dumps({"sha256": digest.hexdigest(), "entries": entries})
        atomic_write(self.pixels_path.with_suffix(".json"), index)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def smallest(self) -> int:
        """The shortest side of all pictures."""
        return int(min(min(e["width"], e["height"]) for e in self._entries))

    def file(self, i: int) -> bytes:
        """The file of a picture as it is."""
        return self._items[i].read()

    def picture(self, i: int) -> NDArray[np.uint8]:
        e = self._entries[i]
        size = e["width"] * e["height"] * 3
        view = self._pixels[e["offset"] : e["offset"] + size]
        return np.asarray(view).reshape(e["height"], e["width"], 3)

    def crop(self, rng: np.random.Generator, size: int, largest: float = 2.5) -> NDArray[np.uint8]:
        """A random training crop (size, size, 3) uint8: flipped at random, down-scaled by a random factor in
        [1, largest]."""
        pixels = self.picture(self.train[int(np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1]))])
        h, w = pixels.shape[:2]
        factor = min(float(np.exp(rng.random() * np.log(largest))), h / size, w / size) if rng.random() < 0.7 else 1.0
        side = max(size, int(size * factor))
        top, left = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        patch = pixels[top : top + side, left : left + side]
        if side != size:
            filter = Image.Resampling.BOX if factor > 2 else Image.Resampling.BICUBIC
            patch = np.asarray(Image.fromarray(patch).resize((size, size), filter))
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        return np.ascontiguousarray(patch)

    def batch(self, rng: np.random.Generator, count: int, size: int) -> NDArray[np.float32]:
        """(count, 3, size, size) float32 in [0, 1]."""
        crops = np.stack([self.crop(rng, size) for _ in range(count)])
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)

    def middles(self, places: Sequence[int], size: int) -> NDArray[np.uint8]:
        """The middles of pictures, (n, size, size, 3) uint8."""
        crops = []
        for i in places:
            pixels = self.picture(i)
            top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
            crops.append(pixels[top : top + size, left : left + size])
        return np.stack(crops)


class Batches:
    """The batches of a training by step, for a torch DataLoader: batches[step] is (crops, levels, synthetic).

    crops: (n, size, size, 3) uint8; levels: (n, size / 64, size / 64) float32 in [0, last_level], the quality map;
    synthetic: (n,) bool. n is this process's share of the batch: process `rank` of `world` takes the samples rank,
    rank + world, ... share_synthetic: of the crops, in [0, 1); these get text and shapes (synthetic.py). share_varied:
    of the crops whose quality map is not constant.
    """

    def __init__(
        self,
        photos: Photos,
        seed: int,
        batch: int,
        size: int,
        last_level: int,
        rank: int,
        world: int,
        share_synthetic: float = 0.0,
        share_varied: float = 0.0,
    ) -> None:
        self._photos, self._seed, self._size, self._last = photos, seed, size, last_level
        self._synthetic, self._varied = share_synthetic, share_varied
        self._samples = range(rank, batch, world)

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        rngs = [np.random.default_rng([self._seed, step, i]) for i in self._samples]
        levels = np.stack([self._levels(rng) for rng in rngs])
        crops, made = zip(*(self._crop(rng) for rng in rngs), strict=True)
        return np.stack(crops), levels, np.array(made)

    def _levels(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """A quality map: constant, or some VARIATION levels up and down around its mean."""
        n = self._size // CELL
        # a little beyond both ends, so that the extreme levels are seen as often as the others
        levels = np.full((n, n), rng.random() * (self._last + 0.6) - 0.3, np.float32)
        if self._varied and rng.random() < self._varied:
            change = rng.uniform(-1, 1, (n, n)) * rng.uniform(0, VARIATION)
            levels += (change - change.mean()).astype(np.float32)
        return levels.clip(0, self._last)

    def _crop(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], bool]:
        crop = self._photos.crop(rng, self._size)
        made = bool(self._synthetic and rng.random() < self._synthetic)
        return synthetic(rng, crop) if made else crop, made


def _decoded(items: Sequence[Item], ahead: int = 32) -> Iterator[NDArray[np.uint8]]:
    """The pixels of the pictures in order, decoded by a few threads."""

    def read(item: Item) -> NDArray[np.uint8]:
        try:
            source = item.path if item.member is None else archives[item.path].read(item.member)
            return np.ascontiguousarray(load(source).rgb)
        except ImageError as error:
            where = "" if item.member is None else f"{item.name}: "
            raise DataError(f"{where}{error}, or remove it from the training pictures") from error
        except BROKEN as error:
            raise DataError(f"{item.name} cannot be read: {error}; copy or pack {item.path} again") from error

    with ExitStack() as stack:
        zips = {item.path for item in items if item.member is not None}
        archives = {path: stack.enter_context(zipfile.ZipFile(path)) for path in zips}
        pool = stack.enter_context(ThreadPoolExecutor(min(8, os.cpu_count() or 1)))
        for start in range(0, len(items), ahead):
            yield from pool.map(read, items[start : start + ahead])
