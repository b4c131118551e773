"""Codec: picture -> bytes -> picture, with a quality, a rate or a size as the goal.

    encode   image -> y (analysis, once) ; then per quality: y, gain -> z_hat -> r -> scale indices -> bytes
    decode   bytes -> z_hat -> scale indices and r, group by group -> y_hat (means) -> image (synthesis)

Only integers decide how a stream is read: z_hat, r and the integer scale networks (see artifact.py, entropy.py).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dpc.codec import artifact, container, image, lossless
from dpc.codec.artifact import Artifact
from dpc.codec.container import Colour, DPCFile
from dpc.codec.entropy import ESCAPE_LIMIT, PRECISION, Decoder, Encoder
from dpc.codec.tiles import HYPER, STRIDE, cut, hyper, tiles
from dpc.errors import Corrupt, FormatError, OptionError, WrongModel

SMALLEST = 4  # latent positions: pictures are padded to at least this many on a side
DEFAULT_QUALITY = 40.0

Progress = Callable[[float], None]
Array = NDArray[Any]


@dataclass(frozen=True)
class Latents:
    """What a stream holds: z (C, h/4, w/4) and r (N, h, w) int32, and the scale index of every element, uint8."""

    z: NDArray[np.int32]
    r: NDArray[np.int32]
    z_index: NDArray[np.uint8]
    index: NDArray[np.uint8]


class Codec:
    """Encodes and decodes with one model; keeps its networks loaded, so use one for many pictures.

    model: a released name, the path of an artifact, an Artifact, or None for the default. threads: CPU threads,
    None for all cores; an Artifact has its own. Raises UnknownModel, ModelError. `times` holds the seconds of the
    last call by part: network, entropy, file.
    """

    def __init__(self, model: str | Path | Artifact | None = None, threads: int | None = None) -> None:
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise OptionError(f"threads={threads!r}: give 1 or more, or leave it out for all cores")
        self.artifact = model if isinstance(model, Artifact) else Artifact(artifact.find(model), threads)
        self.times: dict[str, float] = {}
        self._top = self.artifact.sizes.fine_levels - 1
        self._halo = self.artifact.halo

    def encode(
        self,
        source: image.Source,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        exif: bool = True,
        progress: Progress | None = None,
    ) -> bytes:
        """The picture as a .dpc file.

        source: path, bytes, binary file object, PIL image or uint8 array (H, W[, 1, 3 or 4]).
        quality: 1 (smallest) to 100, default 40. bpp: the reachable rate nearest to this many bits per pixel, all
        bytes counted. max_bytes: the best quality whose file is no larger. At most one of the three.
        exif: False drops EXIF data. Raises ImageError, TooLarge, OptionError.
        """
        self._check(quality, bpp, max_bytes)
        self.times = {"network": 0.0, "entropy": 0.0, "file": 0.0}
        with self._timed("file"):
            picture = image.load(source)
            alpha = None if picture.alpha is None else image.alpha_to_bytes(picture.alpha)
            icc = None if picture.icc is None else container.deflated(picture.icc)
        y = self._analyse(picture.rgb, progress or _silent)
        height, width = picture.rgb.shape[:2]

        def file(latents: Latents, level: int) -> bytes:
            with self._timed("entropy"):
                stream = self._write(latents)
            with self._timed("file"):
                return container.pack(
                    DPCFile(
                        width=width,
                        height=height,
                        model=self.artifact.id,
                        level=level,
                        grey=picture.grey,
                        colour=Colour.UNKNOWN if icc is None else Colour.ICC,
                        body=stream,
                        alpha=alpha,
                        icc=icc,
                        exif=picture.exif if exif else None,
                    )
                )

        if bpp is None and max_bytes is None:
            level = self.level(DEFAULT_QUALITY if quality is None else quality)
            return file(self._quantise(y, level), level)

        goal = bpp * width * height / 8 if bpp is not None else float(max_bytes or 0)
        sizes: dict[int, float] = {}

        def estimate(level: int) -> float:
            if level not in sizes:
                latents = self._quantise(y, level)
                with self._timed("entropy"):
                    sizes[level] = self._estimate(latents) + fixed
            return sizes[level]

        fixed = 0.0
        nothing = Latents(*(np.zeros((1, 1, 1), t) for t in (np.int32, np.int32, np.uint8, np.uint8)))
        fixed = float(len(file(nothing, self._top)))
        level = self._search(estimate, goal)
        if bpp is not None:
            if level < self._top and abs(estimate(level + 1) - goal) < abs(estimate(level) - goal):
                level += 1
            return file(self._quantise(y, level), level)
        while True:
            data = file(self._quantise(y, level), level)
            if len(data) <= goal:
                return data
            if level == 0:
                kept = {"profile": picture.icc, "EXIF": exif and picture.exif, "alpha": alpha}
                beside = "".join(f", its {name}" for name, there in kept.items() if there)
                drop = "drop EXIF, or " if kept["EXIF"] else "or "
                raise OptionError(
                    f"max_bytes={max_bytes}: at quality 1 this {width}x{height} picture{beside} and the header "
                    f"take {len(data)} bytes; allow at least that, {drop}scale the picture down"
                )
            level -= 1

    def decode(
        self,
        source: bytes | str | os.PathLike[str] | BinaryIO,
        *,
        as_array: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """The picture in a .dpc file (bytes, path or binary file object).

        A PIL image of mode L, LA, RGB or RGBA with its profile and EXIF in `info`; with as_array a uint8 array (H, W),
        (H, W, 2), (H, W, 3) or (H, W, 4). Raises FormatError for a damaged file, WrongModel for another model's.
        """
        self.times = {"network": 0.0, "entropy": 0.0, "file": 0.0}
        with self._timed("file"):
            file = container.unpack(file_bytes(source))
            if file.model is None or file.level is None:
                return decode_lossless(file, as_array=as_array)
            icc = None if file.icc is None else container.inflated(file.icc)
            if file.model != self.artifact.id:
                raise WrongModel(
                    f"the file was made with model {file.model.hex()}, this codec holds {self.artifact.name} "
                    f"({self.artifact.id.hex()}); decode with dpc.decode, or without --model: both pick the model"
                )
            if file.level > self._top:
                raise Corrupt(f"quality level {file.level} is above the model's last, {self._top}; the file is damaged")
            alpha = None if file.alpha is None else image.alpha_from_bytes(file.alpha, file.width, file.height)
        rgb = self._synthesise(self._read(file, file.level), file, file.level, progress or _silent)
        with self._timed("file"):
            picture = image.to_pil(rgb, alpha, file.grey, icc, file.exif)
            return np.array(picture) if as_array else picture

    def level(self, quality: float) -> int:
        """The fine level of a quality in 1..100."""
        return round((quality - 1) / 99 * self._top)

    def latents(self, source: image.Source, quality: float) -> Latents:
        """What the stream of this picture would hold: for statistics and tests."""
        return self._quantise(self._analyse(image.load(source).rgb, _silent), self.level(quality))

    # the networks, each over tiles

    def _analyse(self, rgb: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
        """y (1, N, h, w) of the picture padded to whole positions by repeating its border."""
        height, width = rgb.shape[:2]
        h, w = max(SMALLEST, -(-height // STRIDE)), max(SMALLEST, -(-width // STRIDE))
        y = np.empty((1, self.artifact.sizes.latents, h, w), np.float32)
        every = list(tiles(h, w, self._halo))
        for done, (core, outer, inner) in enumerate(every):
            rows, columns = (slice(s.start * STRIDE, s.stop * STRIDE) for s in outer)
            piece = rgb[rows, columns]
            missing = (rows.stop - rows.start - piece.shape[0], columns.stop - columns.start - piece.shape[1])
            if any(missing):
                piece = np.pad(piece, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            with self._timed("network"):
                (out,) = self.artifact.run("analysis", image=np.ascontiguousarray(piece)[None])
            y[(..., *core)] = out[(..., *inner)]
            progress(0.9 * (done + 1) / len(every))
        return y

    def _quantise(self, y: NDArray[np.float32], level: int) -> Latents:
        h, w = y.shape[2:]
        padded = (
            np.pad(y, ((0, 0), (0, 0), (0, -h % HYPER), (0, -w % HYPER)), mode="edge") if h % HYPER or w % HYPER else y
        )
        a, n = self.artifact, self.artifact.sizes.latents
        gain, offset = a.gain(level), a.offsets[level].astype(np.float32).reshape(1, -1, 1, 1)
        even, valid = _even(*padded.shape[2:]), np.zeros((1, 1, *padded.shape[2:]), np.float32)
        valid[:, :, :h, :w] = 1
        rounding = np.full((1, 1, 1, 1), 0.5, np.float32)
        z = np.empty((1, a.sizes.hyper_latents, padded.shape[2] // HYPER, padded.shape[3] // HYPER), np.float32)
        r = np.empty((n, h, w), np.int32)
        with self._timed("network"):
            for core, outer, inner in tiles(padded.shape[2], padded.shape[3], self._halo):
                (out,) = a.run("hyper", y=cut(padded, outer), gain=gain)
                z[(..., *hyper(core))] = out[(..., *hyper(inner))]
            for core, outer, inner in tiles(padded.shape[2], padded.shape[3], self._halo):
                (out,) = a.run(
                    "quantise",
                    y=cut(padded, outer),
                    z_hat=cut(z, hyper(outer)),
                    gain=gain,
                    even=cut(even, outer),
                    offset=offset,
                    valid=cut(valid, outer),
                    rounding=rounding,
                )
                here = r[(..., *core)]
                here[...] = out[0][(..., *inner)][:, : here.shape[1], : here.shape[2]].clip(-ESCAPE_LIMIT, ESCAPE_LIMIT)

        def take(start: int, index: NDArray[np.uint8]) -> NDArray[np.int32]:
            # tiles may see another neighbour's rounding by a hair: what is not coded must be zero
            part = r[start : start + index.shape[0]]
            part[index == 0] = 0
            return part

        index = self._indices(z, h, w, level, take)
        return Latents(z[0].astype(np.int32), r, self._z_index(level, z.shape[2:]), index)

    def _indices(
        self,
        z: NDArray[np.float32],
        h: int,
        w: int,
        level: int,
        take: Callable[[int, NDArray[np.uint8]], NDArray[np.int32]],
    ) -> NDArray[np.uint8]:
        """The scale index of every element, group by group; take(start, index) gives the residuals of a group."""
        a = self.artifact
        full = (z.shape[2] * HYPER, z.shape[3] * HYPER)
        known = np.zeros((1, sum(a.sizes.groups[:-1]), *full), np.float32)
        result = np.empty((a.sizes.latents, h, w), np.uint8)
        features: list[Array] = []
        start = 0
        for g, size in enumerate(a.sizes.groups):
            index = np.empty((size, h, w), np.uint8)
            offset = a.offsets[level, start : start + size].astype(np.float32)[:, None, None]
            for t, (core, outer, inner) in enumerate(tiles(*full, self._halo)):
                with self._timed("network"):
                    if g == 0:
                        f, out = a.run("scale0", z_hat=cut(z, hyper(outer)))
                        features.append(f)
                    else:
                        (out,) = a.run(f"scale{g}", features=features[t], r=cut(known[:, :start], outer))
                here = index[(..., *core)]
                part = out[0][(..., *inner)][:, : here.shape[1], : here.shape[2]]
                here[...] = np.clip(part + offset, 0, len(a.tables) - 1)
            residuals = take(start, index)
            if g < len(a.sizes.groups) - 1:
                known[0, start : start + size, :h, :w] = residuals
            result[start : start + size] = index
            start += size
        return result

    def _synthesise(self, latents: Latents, file: DPCFile, level: int, progress: Progress) -> NDArray[np.uint8]:
        a = self.artifact
        n, h, w = latents.r.shape
        gain, weights = a.gain(level), a.interpolation(level)
        z = latents.z[None].astype(np.float32)
        full = (z.shape[2] * HYPER, z.shape[3] * HYPER)
        r = np.zeros((1, n, *full), np.float32)
        r[0, :, :h, :w] = latents.r
        even = _even(*full)
        y_hat = np.empty((1, n, h, w), np.float32)
        rgb = np.empty((file.height, file.width, 3), np.uint8)
        with self._timed("network"):
            for core, outer, inner in tiles(*full, self._halo):
                (out,) = a.run("means", z_hat=cut(z, hyper(outer)), r=cut(r, outer), gain=gain, even=cut(even, outer))
                here = y_hat[(..., *core)]
                here[...] = out[(..., *inner)][:, :, : here.shape[2], : here.shape[3]]
            del r
            every = list(tiles(h, w, self._halo))
            for done, (core, outer, inner) in enumerate(every):
                (out,) = a.run("synthesis", y_hat=cut(y_hat, outer), weights=weights)
                rows, columns = (slice(s.start * STRIDE, s.stop * STRIDE) for s in inner)
                pixels = rgb[tuple(slice(s.start * STRIDE, s.stop * STRIDE) for s in core)]
                pixels[...] = out[0][rows, columns][: pixels.shape[0], : pixels.shape[1]]
                progress((done + 1) / len(every))
        return rgb

    # integers <-> bytes

    def _z_index(self, level: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        row = self.artifact.z_indices[level].astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(row[:, None, None], (len(row), *shape)))

    def _starts(self) -> Iterator[slice]:
        start = 0
        for size in self.artifact.sizes.groups:
            yield slice(start, start + size)
            start += size

    def _write(self, latents: Latents) -> bytes:
        encoder = Encoder(self.artifact.tables)
        encoder.add(latents.z, latents.z_index)
        for part in self._starts():
            encoder.add(latents.r[part], latents.index[part])
        return encoder.finish()

    def _estimate(self, latents: Latents) -> float:
        tables = self.artifact.tables
        bits = tables.bits(latents.z, latents.z_index) + tables.bits(latents.r, latents.index)
        return 4 * math.ceil(bits / 32)

    def _read(self, file: DPCFile, level: int) -> Latents:
        a = self.artifact
        h, w = max(SMALLEST, -(-file.height // STRIDE)), max(SMALLEST, -(-file.width // STRIDE))
        shape = (-(-h // HYPER), -(-w // HYPER))
        # no stream is shorter than its hyper-latents' likeliest values: a small file cannot claim a huge picture
        likeliest = [PRECISION - math.log2(int(row.max())) for row in a.tables.frequencies]
        least = sum(likeliest[i - 1] for i in a.z_indices[level]) * shape[0] * shape[1] / 8 - 16
        if len(file.body) < least:
            raise Corrupt(
                f"the stream has {len(file.body)} bytes; a {file.width}x{file.height} picture takes at least "
                f"{int(least)}; the file is damaged"
            )
        with self._timed("entropy"):
            decoder = Decoder(a.tables, file.body)
            z_index = self._z_index(level, shape)
            z = decoder.read(z_index)
        r = np.empty((a.sizes.latents, h, w), np.int32)

        def take(start: int, index: NDArray[np.uint8]) -> NDArray[np.int32]:
            with self._timed("entropy"):
                part = decoder.read(index)
            r[start : start + len(part)] = part
            return part

        if np.abs(z).max() > a.sizes.z_limit:
            raise Corrupt(f"a hyper-latent lies outside -{a.sizes.z_limit}..{a.sizes.z_limit}; the file is damaged")
        index = self._indices(z[None].astype(np.float32), h, w, level, take)
        decoder.finish()
        return Latents(z, r, z_index, index)

    # options

    def _check(self, quality: float | None, bpp: float | None, max_bytes: int | None) -> None:
        given = {k: v for k, v in (("quality", quality), ("bpp", bpp), ("max_bytes", max_bytes)) if v is not None}
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} exclude each other; give one of them")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                raise OptionError(f"{name}={value!r} is not a number; give a finite number")
        if quality is not None and not 1 <= quality <= 100:
            raise OptionError(f"quality={quality}: it runs from 1 (smallest file) to 100 (best picture)")
        if bpp is not None and bpp <= 0:
            raise OptionError(f"bpp={bpp}: give more than 0; the range is about 0.05 to 1.5")
        if max_bytes is not None and max_bytes < 1:
            raise OptionError(f"max_bytes={max_bytes}: give at least 1")

    def _search(self, estimate: Callable[[int], float], goal: float) -> int:
        """The highest level whose estimated size is at most goal, or 0. Sizes grow about exponentially."""
        low, high = 0, self._top
        if estimate(high) <= goal:
            return high
        if estimate(low) >= goal:
            return low
        turn = 0
        while high - low > 1:
            slope = math.log(estimate(high) / estimate(low))
            share = math.log(goal / estimate(low)) / slope if slope > 0 else 0.5
            if turn % 3 == 2:
                share = 0.5
            middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
            if estimate(middle) <= goal:
                low = middle
            else:
                high = middle
            turn += 1
        return low

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.times[part] = self.times.get(part, 0.0) + time.perf_counter() - begin


def _even(h: int, w: int) -> NDArray[np.float32]:
    return ((np.arange(h)[:, None] + np.arange(w)[None]) % 2 == 0).astype(np.float32)[None, None]


def _silent(_: float) -> None:
    return None


def decode_lossless(source: DPCFile | bytes, *, as_array: bool = False) -> Any:
    """The picture in a file whose body is lossless, which takes no model; else as Codec.decode."""
    file = source if isinstance(source, DPCFile) else container.unpack(source)
    rgb, alpha = lossless.from_bytes(file.body, file.width, file.height)
    icc = None if file.icc is None else container.inflated(file.icc)
    picture = image.to_pil(rgb, alpha, file.grey, icc, file.exif)
    return np.array(picture) if as_array else picture


def file_bytes(source: bytes | str | os.PathLike[str] | BinaryIO) -> bytes:
    """The bytes of a file that is given as bytes, path or binary file object. FormatError, OptionError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            name = os.fspath(source)
            raise FormatError(f"{name} cannot be opened: {error.strerror}; give the path of a .dpc file") from error
    data = source.read() if hasattr(source, "read") else source
    if not isinstance(data, bytes):
        raise OptionError(f"a {type(source).__name__} is no .dpc file; give bytes, a path or a binary file object")
    return data
