"""Coder: one picture analysed once, and its files at the levels that rate control tries; then its latents are refined
and what is smoothed is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import (
    container,
    image,
    quality_map,
    rate_control,
    refining,
    smoothing,
    smoothing_choice,
    stream,
    wide_smoothing,
)
from dpc.codec.ahead import ahead
from dpc.codec.artifact import Artifact
from dpc.codec.container import DPCFile
from dpc.codec.quality_map import Levels
from dpc.codec.rate_control import Target
from dpc.codec.stream import StreamCoder
from dpc.codec.timing import Clock, Progress, portion
from dpc.codec.transforms import Strip, Transforms, strips

NEAR_ENOUGH = 1.01  # of a rate that is asked for
ROOM = 0.995  # of the size: the rest is for what is smoothed
ANALYSED = 0.7  # when the analysis is done, in shares of all, roughly
REFINED = 0.1, 0.9  # where latents are refined: when that begins and ends
TRIES = 3  # levels at which that is chosen, where it takes more

MapOf = Callable[[NDArray[np.uint8]], NDArray[np.int32] | None]  # of a picture (H, W, 3); None: the same everywhere


@dataclass(frozen=True)
class Task:
    """A picture that is to be encoded, the fields of its file beside how its colours are coded, and what is asked."""

    picture: image.Picture
    about: dict[str, Any]
    target: Target
    map_of: MapOf
    clock: Clock
    fast: bool = False

    @property
    def pixels(self) -> int:
        return self.picture.rgb.shape[0] * self.picture.rgb.shape[1]

    @property
    def size(self) -> float | None:
        """The bytes that are asked for, None where none are."""
        return self.target.size(self.pixels)


class Coder:
    """A picture (H, W, 3) analysed once, and its files at any level.

    deltas: its quality map. at_once: strips in work at a time. decode: of a file, as an array. fast: nothing is
    refined or smoothed. progress: called with the share that is done.
    """

    def __init__(
        self,
        artifact: Artifact,
        rgb: NDArray[np.uint8],
        deltas: NDArray[np.int32] | None,
        *,
        at_once: int,
        decode: Callable[[bytes], NDArray[np.uint8]],
        clock: Clock,
        fast: bool,
        progress: Progress,
    ) -> None:
        self._artifact, self._rgb, self._deltas = artifact, rgb, deltas
        self._at_once, self._decode, self._clock = at_once, decode, clock
        self._top = artifact.sizes.fine_levels - 1
        self._bodies: dict[int, bytes] = {}
        self._networks = Transforms(artifact, clock)
        self._streams = StreamCoder(self._networks, clock)
        self._fast = fast
        self._steps = refining.steps_for(rgb.shape[0] * rgb.shape[1]) if artifact.refines and not fast else 0
        analysed = REFINED[0] if self._steps else ANALYSED
        self._y = self._networks.analyse(rgb, portion(progress, 0, analysed))
        self._progress = portion(progress, analysed, REFINED[1])

    def file(self, about: dict[str, Any], level: int) -> bytes:
        """The file at a fine level; about: its fields beside level, body, model and quality map."""
        body = self._bodies.get(level) or self._body(level)
        self._bodies[level] = body
        packed = None if self._deltas is None else quality_map.pack(self._deltas)
        return container.pack(DPCFile(**about, model=self._artifact.id, level=level, quality_map=packed, body=body))

    def reached(self, task: Task, about: dict[str, Any], share: float = 1.0) -> bytes:
        """The file that the task's target asks for; share: of the size, where it names any."""
        target = task.target
        if target.max_bytes is not None:
            target = replace(target, max_bytes=max(1, int(share * target.max_bytes)))
        elif target.bpp is not None:
            target = replace(target, bpp=share * target.bpp)
        return rate_control.reach(target, lambda level: self.file(about, level), self._top, task.pixels)

    def finished(self, task: Task, about: dict[str, Any], data: bytes) -> bytes:
        """The file with its latents refined, and what is to be smoothed in it.

        data: the best file without.
        """
        return data if self._fast else self._smoothed(task, about, self._with_refined(task, about, data))

    def _with_refined(self, task: Task, about: dict[str, Any], data: bytes) -> bytes:
        """The file of refined latents: at the same level, or of the size that is asked for."""
        level = container.peek(data).level
        if not self._steps or level is None:
            return data
        levels = Levels(level, self._top, self._deltas)
        made_of = self._rgb, levels, self._networks, self._streams
        self._y = refining.refined(self._y, *made_of, self._steps, self._progress)
        self._steps = 0
        self._bodies.clear()
        found = self.file(about, level) if task.size is None else self.reached(task, about)
        return data if len(found) > max(len(data), task.target.max_bytes or len(found)) else found

    def _smoothed(self, task: Task, about: dict[str, Any], data: bytes) -> bytes:
        """The file with what is to be smoothed in it, as at the quality that it has, where that fits the target.

        data: the best file without.
        """
        rate, most = task.target.max_bytes is None, task.target.max_bytes or NEAR_ENOUGH * (task.size or 0)
        level = container.peek(data if task.size is None else self.reached(task, about, ROOM)).level or 0
        for _ in range(TRIES):
            added = self._smoothing(about, level)
            if not added:
                return data
            found = self.file(about | added, level)
            out_of_reach = rate and len(data) > most  # of any file, which then need not be the smallest
            if task.size is None or out_of_reach or len(found) <= most:
                return found
            level = min(level - 1, container.peek(self.reached(task, about | added)).level or 0)
            if level < 0:
                break
        return data

    def _smoothing(self, about: dict[str, Any], level: int) -> dict[str, bytes]:
        """The chunks that say what is smoothed at a level."""
        bare = {name: about[name] for name in ("width", "height")}
        shown = cache(lambda: self._decode(self.file(bare, level)))
        added = {}
        with self._clock.part("file"):
            wide = smoothing_choice.chosen_wide(self._rgb, shown)
            if wide is not None:
                added["wide_smoothing"] = wide_smoothing.pack(wide)
                wide_smoothing.smooth(shown(), wide, (slice(0, about["height"]), slice(0, about["width"])))
            strengths = smoothing_choice.chosen(self._rgb, shown)
            if strengths is not None:
                added["smoothing"] = smoothing.pack(strengths)
        return added

    def _body(self, level: int) -> bytes:
        levels = Levels(level, self._top, self._deltas)

        def code(part: Strip) -> bytes:
            return self._streams.write(*self._networks.quantise(self._y, part, levels), part, levels)

        return stream.join(list(ahead(code, strips(*self._y.shape[1:]), self._at_once)))
