"""Picture <-> latents: the model's networks over tiles, so that their memory does not grow with the picture.

    analyse     picture -> y, across strips
    quantise    y of a strip -> z, r
    means       z, r of a strip -> y_hat
    synthesise  y_hat -> picture, across strips: a window of rows of y_hat slides over them; or its preview

All but the first and last see a strip alone: beyond it there is nothing, as beyond the picture's border.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec.artifact import Artifact
from dpc.codec.entropy import ESCAPE_LIMIT
from dpc.codec.quality_map import Levels
from dpc.codec.tiles import HYPER, STRIDE, Box, cut, hyper, overlap, pixels, positions_of, tiles
from dpc.codec.timing import Clock, Progress

PREVIEW = 2  # pixels of a preview per latent position: it has 1/8 of the picture's size
SMALLEST = 4  # latent positions: pictures are padded to at least this many on a side
STRIP = 32  # rows of latent positions in a strip, 512 of pixels

Array = NDArray[Any]
Float = NDArray[np.float32]
Int = NDArray[np.int32]


def positions(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of latent positions of a picture."""
    return max(SMALLEST, -(-height // STRIDE)), max(SMALLEST, -(-width // STRIDE))


@dataclass(frozen=True)
class Strip:
    """Rows start..stop of the latent positions of a picture, w in each."""

    number: int
    start: int
    stop: int
    w: int

    @property
    def h(self) -> int:
        """Its rows of latent positions."""
        return self.stop - self.start

    @property
    def cells(self) -> slice:
        """Its rows of hyper-latent positions in the picture's."""
        return slice(self.start // HYPER, -(-self.stop // HYPER))

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns that the networks work on: whole hyper-latent positions."""
        return -(-self.h // HYPER) * HYPER, -(-self.w // HYPER) * HYPER

    def box(self) -> Box:
        """The padded positions, in the picture's."""
        h, w = self.padded
        return slice(self.start, self.start + h), slice(0, w)


def strips(h: int, w: int) -> list[Strip]:
    """The strips of a picture with h x w latent positions, from top to bottom."""
    return [Strip(n, start, min(start + STRIP, h), w) for n, start in enumerate(range(0, h, STRIP))]


class Transforms:
    """The networks of a model; `clock` gets their seconds under "network". Safe to share between threads."""

    def __init__(self, artifact: Artifact, clock: Clock) -> None:
        self.artifact, self._clock = artifact, clock

    def run(self, graph: str, *, release: bool = False, **inputs: Array) -> list[Array]:
        """The outputs of a graph for one tile; release: of a large picture's last one, memory is given back."""
        with self._clock.part("network"):
            return self.artifact.run(graph, release=release, **inputs)

    def tiles(self, h: int, w: int, part: Box | None = None) -> Iterator[tuple[Box, Box, Box]]:
        """Tiles whose halo is as wide as this model's networks see."""
        return tiles(h, w, self.artifact.halo, part)

    def analyse(self, rgb: NDArray[np.uint8], progress: Progress) -> Float:
        """y (N, h, w) of a picture (H, W, 3), padded to whole positions by repeating its border."""
        h, w = positions(*rgb.shape[:2])
        y = np.empty((self.artifact.sizes.latents, h, w), np.float32)
        every = list(self.tiles(h, w))
        for done, (core, outer, inner) in enumerate(every):
            rows, columns = pixels(outer)
            piece = rgb[rows, columns]
            missing = (rows.stop - rows.start - piece.shape[0], columns.stop - columns.start - piece.shape[1])
            if any(missing):
                piece = np.pad(piece, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            release = 1 < len(every) == done + 1
            (out,) = self.run("analysis", release=release, image=np.ascontiguousarray(piece)[None])
            y[(..., *core)] = out[0][(..., *inner)]
            progress((done + 1) / len(every))
        return y

    def quantise(self, y: Float, strip: Strip, levels: Levels) -> tuple[Int, Int]:
        """z (C, h/4, w/4) and r (N, h, w) of a strip of the picture's y."""
        a, (h, w) = self.artifact, strip.padded
        part = np.pad(y[:, strip.start : strip.stop], ((0, 0), (0, h - strip.h), (0, w - strip.w)), mode="edge")[None]
        even, valid = checkerboard(h, w), np.zeros((1, 1, h, w), np.float32)
        valid[:, :, : strip.h, : strip.w] = 1
        at = levels.positions(strip.box())
        gain, offset = a.gain(at), a.offset(at)[None]
        rounding = np.full((1, 1, 1, 1), 0.5, np.float32)
        z = np.empty((1, a.sizes.hyper_latents, h // HYPER, w // HYPER), np.float32)
        for core, outer, inner in self.tiles(h, w):
            (out,) = self.run("hyper", y=cut(part, outer), gain=cut(gain, outer))
            z[(..., *hyper(core))] = out[(..., *hyper(inner))]
        r = np.empty((a.sizes.latents, strip.h, strip.w), np.int32)
        for core, outer, inner in self.tiles(h, w):
            (out,) = self.run(
                "quantise",
                y=cut(part, outer),
                z_hat=cut(z, hyper(outer)),
                gain=cut(gain, outer),
                even=cut(even, outer),
                offset=cut(offset, outer),
                valid=cut(valid, outer),
                rounding=rounding,
            )
            here = r[(..., *core)]
            here[...] = out[0][(..., *inner)][:, : here.shape[1], : here.shape[2]].clip(-ESCAPE_LIMIT, ESCAPE_LIMIT)
        return z[0].astype(np.int32), r

    def means(self, z: Int, r: Int, strip: Strip, levels: Levels) -> Float:
        """y_hat (N, h, w) of a strip."""
        (h, w), n = strip.padded, self.artifact.sizes.latents
        residuals = np.zeros((1, n, h, w), np.float32)
        residuals[0, :, : strip.h, : strip.w] = r
        return self._of_latents("means", z, strip, levels, r=residuals, even=checkerboard(h, w))

    def finer(self, z: Int, strip: Strip, levels: Levels) -> Float:
        """The gains (N, h, w) of a strip with what the side information says of them, of a model that `refines`."""
        return self._of_latents("finer", z, strip, levels)

    def _of_latents(self, graph: str, z: Int, strip: Strip, levels: Levels, **more: Any) -> Float:
        """What a graph makes of z, the gains and more of a strip, (N, h, w)."""
        z_hat, gain = z[None].astype(np.float32), self.artifact.gain(levels.positions(strip.box()))
        result = np.empty((self.artifact.sizes.latents, strip.h, strip.w), np.float32)
        for core, outer, inner in self.tiles(*strip.padded):
            given: dict[str, Any] = {name: cut(value, outer) for name, value in more.items()}
            (out,) = self.run(graph, z_hat=cut(z_hat, hyper(outer)), gain=cut(gain, outer), **given)
            here = result[(..., *core)]
            here[...] = out[0][(..., *inner)][:, : here.shape[1], : here.shape[2]]
        return result

    def seen(self, h: int, w: int, part: Box) -> slice:
        """The rows of y_hat that the synthesis of a part of the positions needs."""
        boxes = [outer[0] for _, outer, _ in self.tiles(h, w, part)]
        return slice(min(rows.start for rows in boxes), max(rows.stop for rows in boxes))

    def synthesise(
        self,
        y_hat: Iterable[tuple[Strip, Float]],
        h: int,
        w: int,
        part: Box,
        levels: Levels,
        progress: Progress,
        stride: int = STRIDE,
    ) -> NDArray[np.uint8]:
        """Rows and columns `part` of the pixels of a picture of h x w positions, (H, W, 3); stride PREVIEW: of its
        preview, where the model has one.

        y_hat: the strips that hold the rows `seen`, from top to bottom; no more than a tile's rows are kept at a time.
        """
        rows, columns = part
        rgb = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        source, window = iter(y_hat), _Window()
        every = list(self.tiles(h, w, positions_of(part, stride)))
        for done, (core, outer, inner) in enumerate(every):
            while window.stop < outer[0].stop:
                window.append(*next(source))
            window.drop(outer[0].start)
            seen = {"y_hat": window.cut(outer)[None]}
            if stride != PREVIEW:
                seen["weights"] = self.artifact.interpolation(levels.positions(outer))
            release = 1 < len(every) == done + 1
            (out,) = self.run("preview" if stride == PREVIEW else "synthesis", release=release, **seen)
            here, there = overlap(pixels(core, stride), part)
            rgb[here] = out[0][pixels(inner, stride)][there]
            progress((done + 1) / len(every))
        return rgb


class _Window:
    """Rows of y_hat, in order, of the strips that were appended and not yet dropped."""

    def __init__(self) -> None:
        self._parts: list[tuple[Strip, Float]] = []
        self.stop = 0

    def append(self, strip: Strip, y_hat: Float) -> None:
        self._parts.append((strip, y_hat))
        self.stop = strip.stop

    def drop(self, start: int) -> None:
        """Forget the strips that end at or before a row."""
        self._parts = [(strip, y_hat) for strip, y_hat in self._parts if strip.stop > start]

    def cut(self, box: Box) -> Float:
        rows, columns = box
        pieces = [
            y_hat[:, max(rows.start - strip.start, 0) : rows.stop - strip.start, columns]
            for strip, y_hat in self._parts
            if strip.start < rows.stop
        ]
        return np.ascontiguousarray(pieces[0]) if len(pieces) == 1 else np.concatenate(pieces, 1)


def checkerboard(h: int, w: int) -> Float:
    """(1, 1, h, w): 1 where row + column is even, else 0."""
    return ((np.arange(h)[:, None] + np.arange(w)[None]) % 2 == 0).astype(np.float32)[None, None]


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) of (H, W, 3): what a grey picture shows, ITU-R 601 in integers as docs/format.md has it."""
    grey = np.empty(rgb.shape[:2], np.uint8)
    for row, colours in zip(grey, rgb, strict=True):
        row[:] = colours @ _LUMA + 32768 >> 16
    return grey


_LUMA = np.array([19595, 38470, 7471], np.uint32)
