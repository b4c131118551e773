"""Codec: picture -> bytes -> picture. The whole data flow; each step has its own file.

    encode   picture --analyse--> y --quantise--> z, r --write--> streams --join--> body --pack--> file
             all but the first again for every level that rate control tries; then what is smoothed (coder.py)
    decode   file --unpack--> body --split--> streams --read--> z, r --means--> y_hat --synthesise--> picture
             the picture smoothed, and the overlay laid over it, where the file has them

Everything between y and y_hat is done strip by strip.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from dpc.codec import (
    artifact,
    container,
    denoising,
    exact,
    image,
    inks,
    opacity,
    overlay,
    quality_map,
    rate_control,
    stream,
)
from dpc.codec.ahead import ahead
from dpc.codec.artifact import Artifact
from dpc.codec.coder import Coder, MapOf, Task
from dpc.codec.container import DEFAULT_MAX_PIXELS, DPCFile
from dpc.codec.filters import Filters
from dpc.codec.icc import deflated
from dpc.codec.pages import Pages
from dpc.codec.quality_map import Levels
from dpc.codec.rate_control import DEFAULT_QUALITY, Target
from dpc.codec.returned import EIGHTH, Region, decode_lossless, eighth, finished, part_of, reduced
from dpc.codec.stream import Latents, StreamCoder
from dpc.codec.tiles import STRIDE, positions_of
from dpc.codec.timing import Clock, Progress
from dpc.codec.transforms import PREVIEW, Strip, Transforms, positions, strips
from dpc.errors import Corrupt, FormatError, OptionError, PictureWarning, Truncated, WrongModel

__all__ = [
    "DEFAULT_QUALITY",
    "DEFAULT_MAX_PIXELS",
    "MAX_THREADS",
    "Codec",
    "Latents",
    "Note",
    "Progress",
    "Region",
    "decode_lossless",
    "file_bytes",
]

MAX_THREADS = 64  # of the networks; sessions have threads of their own, some six times as many
AT_ONCE = 2  # strips in work at a time: one is with the entropy coder while another is in the networks
HINT = (
    "this looks like a page or a window, whose small letters lose most; a higher quality keeps more of them, "
    "lossless every pixel in {:,} bytes"
)
PARTS = ("network", "entropy", "file")

Note = Callable[[str], None]


class Codec:
    """Encodes and decodes with one model; keeps its networks loaded, so use one for many pictures.

    model: a released name, the path of an artifact, an Artifact, or None for the default. threads: CPU threads,
    None for all cores; an Artifact has its own. Raises UnknownModel, ModelError. `times` holds the seconds of the
    last call by part, added up over threads: network, entropy, file. A codec may be shared between threads, used after
    a fork, and pickled.
    """

    def __init__(self, model: str | Path | Artifact | None = None, threads: int | None = None) -> None:
        if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS):
            raise OptionError(f"threads={threads!r}: give 1 to {MAX_THREADS}, or leave it out for all cores")
        self.artifact = model if isinstance(model, Artifact) else Artifact(artifact.find(model), threads)
        self.times: dict[str, float] = {}
        self._top = self.artifact.sizes.fine_levels - 1
        self._at_once = min(AT_ONCE, self.artifact.threads or os.cpu_count() or 1)

    def encode(
        self,
        source: image.Source,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        lossless: bool | None = None,
        roi: image.Source | NDArray[Any] | None = None,
        exif: bool = True,
        icc: bool = True,
        xmp: bool = True,
        strip: bool = False,
        fast: bool = False,
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> bytes:
        """The picture as a .dpc file.

        source: path, bytes, binary file object, PIL image or uint8 array (H, W[, 1, 3 or 4]).
        quality: 1 (smallest) to 100, default 40. bpp: the reachable rate nearest to this many bits per pixel, all
        bytes counted. max_bytes: the best quality whose file is no larger. At most one of the three.
        lossless: True keeps every pixel; None does so where this takes no more bytes or fits the target (a photograph:
        where quality 100 leaves room for it), and of pages, windows and diagrams merges rare colours where the rest
        then fits (at low rates most colours), also of parts of a picture, takes noise from pages, and keeps letters on
        gradients and photographs apart; False never.
        roi: a mask of the picture's size, brighter where it shall be better: a picture, or an array (H, W) of bool,
        uint8, or floats in 0..1. Mid-grey is as asked, what is clear counts as black. exif, xmp: False drops that.
        icc: False converts the colours to sRGB and keeps no profile. strip: True drops all beside the picture, its
        density too. fast: True leaves out what takes most of the time: refining the latents, and smoothing.
        progress: called with the share that is done, at last 1. note: called with a line for the user where there is
        something to say; without it, what cannot be kept is a PictureWarning.
        Raises ImageError, TooLarge, OptionError.
        """
        target, clock = Target(quality, bpp, max_bytes, lossless), Clock(*PARTS)
        with clock.part("file"):
            picture = image.load(source, icc and not strip)
            about = _about(picture, exif and not strip, xmp and not strip, not strip)
            _tell((*picture.notes, *_became(picture, lossless)), note)
            map_of = self._map_of(roi, lossless, *picture.rgb.shape[:2])
            whole = exact.file(picture, about, lossless)
        task = Task(picture, about, target, map_of, clock, fast)
        if whole and target.holds(len(whole), task.pixels):
            return whole
        clean = cache(lambda: None if roi is not None else denoising.page(picture.rgb))
        letters = cache(lambda: inks.find(picture.rgb, picture.alpha))
        if (merged := self._merged(task, whole, clean)) and (not inks.graded(picture.rgb) or letters() is None):
            return merged
        coder = self._coder(task, picture.rgb, told := progress or _silent)
        plain = coder.reached(task, about)
        data = None
        if lossless is not False:
            data = self._page(task, plain, whole, merged, clean, letters, masked=roi is not None)
        data = data or coder.finished(task, about, plain)
        told(1)
        self.times = clock.times
        target.check(data, about)
        _hint(note, task, whole, data)
        return data

    def _merged(self, task: Task, whole: bytes | None, clean: Callable[[], NDArray[np.uint8] | None]) -> bytes | None:
        """The file of the size that is asked for whose colours are merged, where there is one."""
        if not whole or task.size is None:
            return None
        return exact.merged_file(task.picture, task.about, task.size, noisy=clean() is not None)

    def _page(
        self,
        task: Task,
        plain: bytes,
        whole: bytes | None,
        merged: bytes | None,
        clean: Callable[[], NDArray[np.uint8] | None],
        letters: Callable[[], inks.Drawn | None],
        *,
        masked: bool,
    ) -> bytes | None:
        """The file of a picture whose learned file is this one where another way keeps it better."""
        if whole is None and task.size is not None and container.peek(plain).level == self._top:
            if kept := exact.within(task.picture, task.about, task.size):
                return kept

        def coder_of(rgb: NDArray[np.uint8]) -> Coder:
            return self._coder(task, rgb, _silent)

        return Pages(task, plain, whole, merged, clean, self._shown, coder_of, letters, masked=masked).best()

    def _shown(self, data: bytes) -> NDArray[np.uint8]:
        return cast(NDArray[np.uint8], self.decode(data, as_array=True, max_pixels=None))

    def _coder(self, task: Task, rgb: NDArray[np.uint8], progress: Progress) -> Coder:
        return Coder(
            self.artifact,
            rgb,
            task.map_of(rgb),
            at_once=self._at_once,
            decode=self._shown,
            clock=task.clock,
            fast=task.fast,
            progress=progress,
        )

    def decode(
        self,
        source: bytes | str | os.PathLike[str] | BinaryIO,
        *,
        region: Region | None = None,
        preview: bool = False,
        as_array: bool = False,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Any:
        """The picture in a .dpc file (bytes, path or binary file object).

        A PIL image of mode L, LA, RGB or RGBA, its info with icc_profile, exif, xmp and dpi; with as_array a uint8
        array (H, W), (H, W, 2), (H, W, 3) or (H, W, 4). region: only the pixels of this box, (left, top, right, bottom)
        as Pillow's crop has it, for the price of the strips of 512 rows that it lies in. preview: the whole picture at
        1/8 of its size, rounded up; a model that can (dpc-7 cannot) draws it without its synthesis, else the picture is
        decoded and made smaller. max_pixels: a larger picture is refused before memory is taken; None for the limit of
        the format. Raises FormatError for a damaged file, TooLarge, OptionError, WrongModel for another model's.
        """
        file = container.unpack(file_bytes(source))
        if file.model is None or file.level is None:
            return decode_lossless(file, region=region, preview=preview, as_array=as_array, max_pixels=max_pixels)
        clock = Clock(*PARTS)
        part = part_of(file, region, preview, max_pixels)
        drawn = preview and self.artifact.previews and file.overlay is None
        filters = None if drawn else Filters(file)
        stride = PREVIEW if drawn else STRIDE
        if drawn:
            part = slice(0, -(-file.height // EIGHTH)), slice(0, -(-file.width // EIGHTH))
        self._check(file.model, file.level)
        h, w = positions(file.height, file.width)
        levels = Levels(file.level, self._top, self._map(file, h, w))
        networks = Transforms(self.artifact, clock)
        coder = StreamCoder(networks, clock)
        every = strips(h, w)
        streams = stream.split(file.body, len(every))
        coder.check_lengths(streams, every, levels)

        def read(strip: Strip) -> tuple[Strip, NDArray[np.float32]]:
            z, r = coder.read(streams[strip.number], strip, levels)
            return strip, networks.means(z, r, strip, levels)

        outer = filters.seen(part) if filters else part
        seen = networks.seen(h, w, positions_of(outer, stride))
        needed = [strip for strip in every if strip.start < seen.stop and strip.stop > seen.start]
        y_hat = ahead(read, needed, self._at_once)
        rgb = networks.synthesise(y_hat, h, w, outer, levels, progress or _silent, stride)
        with clock.part("file"):
            rgb = filters.shown(rgb, part) if filters else rgb
            if file.overlay is not None:
                overlay.laid_over(rgb, file.overlay, file.width, file.height, part)
            alpha = None if file.alpha is None else opacity.from_bytes(file.alpha, file.width, file.height)
            if preview and not drawn:
                rgb, alpha = reduced(rgb, alpha)
            elif alpha is not None:
                alpha = eighth(alpha) if drawn else alpha[part]
            picture = finished(rgb, alpha, file, as_array)
        self.times = clock.times
        return picture

    def level(self, quality: float) -> int:
        """The fine level of a quality in 1..100."""
        return rate_control.level_of(quality, self._top)

    def latents(self, source: image.Source, quality: float) -> Latents:
        """What the streams of this picture would hold, all strips in one: for statistics and tests."""
        clock = Clock()
        networks = Transforms(self.artifact, clock)
        coder, levels = StreamCoder(networks, clock), Levels(self.level(quality), self._top)
        y = networks.analyse(image.load(source).rgb, _silent)
        parts = [coder.latents(*networks.quantise(y, strip, levels), strip, levels) for strip in strips(*y.shape[1:])]
        return Latents(*(np.concatenate([vars(part)[name] for part in parts], 1) for name in vars(parts[0])))

    def _map_of(self, roi: image.Source | NDArray[Any] | None, lossless: bool | None, height: int, width: int) -> MapOf:
        """What gives the quality map of a picture of this size: the mask's, read here, or one by what is in it."""
        allowed = self.artifact.quality_map
        if roi is None:
            return quality_map.quality_map if allowed else lambda rgb: None
        if lossless:
            raise OptionError(
                "lossless and roi exclude each other, without loss all places are alike; give one of them"
            )
        if not allowed:
            raise OptionError(
                f"roi: {self.artifact.name} codes every picture at one quality; leave roi out, or give a model that "
                "allows it"
            )
        mask = roi if isinstance(roi, np.ndarray) and roi.ndim == 2 else _mask(image.load(roi))
        deltas = quality_map.from_mask(mask, height, width)
        return lambda rgb: deltas

    def _check(self, model: bytes, level: int) -> None:
        if model != self.artifact.id:
            raise WrongModel(
                f"the file was made with model {model.hex()}, this codec holds {self.artifact.name} "
                f"({self.artifact.id.hex()}); decode with dpc.decode, or without --model: both pick the model"
            )
        if level > self._top:
            raise Corrupt(f"quality level {level} is above the model's last, {self._top}; the file is damaged")

    def _map(self, file: DPCFile, h: int, w: int) -> NDArray[np.int32] | None:
        if file.quality_map is None:
            return None
        deltas = quality_map.unpack(file.quality_map, *quality_map.cells_of(h, w))
        if not self.artifact.quality_map:
            raise Corrupt(f"the file has a quality map, which {self.artifact.name} does not allow; the file is damaged")
        return deltas


def _mask(picture: image.Picture) -> NDArray[np.float32]:
    """The mask that a picture is, 0 to 1; what is clear counts as black."""
    grey = picture.rgb.mean(2, dtype=np.float32) / 255
    return grey if picture.alpha is None else grey * picture.alpha / np.float32(255)


def _about(picture: image.Picture, exif: bool, xmp: bool, density: bool) -> dict[str, Any]:
    """The fields of a file that do not depend on how its colours are coded; of those beside them what is wanted."""
    return {
        "width": picture.rgb.shape[1],
        "height": picture.rgb.shape[0],
        "grey": picture.grey,
        "colour": picture.colour,
        "alpha": None if picture.alpha is None else opacity.to_bytes(picture.alpha),
        "icc": None if picture.icc is None else deflated(picture.icc),
        "exif": picture.beside.exif if exif else None,
        "xmp": picture.beside.xmp if xmp else None,
        "density": picture.beside.density_bytes() if density else None,
    }


def _tell(lines: Sequence[str], note: Note | None) -> None:
    """Hand lines for the user on; warn of them where nobody takes them."""
    for line in lines:
        note(line) if note is not None else warnings.warn(line, PictureWarning, stacklevel=4)


def _became(picture: image.Picture, lossless: bool | None) -> list[str]:
    """A line where a file without loss is asked for, and the picture's values are no longer those of its source."""
    if not (lossless and picture.became):
        return []
    return [f"the picture was converted to {' and '.join(picture.became)} first; what came out is kept without loss"]


def _hint(note: Note | None, task: Task, whole: bytes | None, data: bytes) -> None:
    """Say what there is to say of a learned file."""
    if note is None or container.peek(data).level is None:
        return
    if line := task.target.outgrown(task.about, task.pixels):
        note(line)
    elif whole and exact.loses_letters(task.picture.rgb, whole, data):
        note(HINT.format(len(whole)))


def _silent(_: float) -> None:
    return None


def file_bytes(source: bytes | str | os.PathLike[str] | BinaryIO) -> bytes:
    """The bytes of a file that is given as bytes, path or binary file object. FormatError, OptionError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _unless_empty(bytes(source))
    if isinstance(source, (str, os.PathLike)):
        try:
            return _unless_empty(Path(source).read_bytes())
        except OSError as error:
            name = os.fspath(source)
            raise FormatError(f"{name} cannot be opened: {error.strerror}; give the path of a .dpc file") from error
    data = source.read() if hasattr(source, "read") else source
    if not isinstance(data, bytes):
        raise OptionError(f"a {type(source).__name__} is no .dpc file; give bytes, a path or a binary file object")
    return _unless_empty(data)


def _unless_empty(data: bytes) -> bytes:
    if not data:
        raise Truncated("the file is empty; get it again")
    return data
