"""Rate control: the setting whose file has a target size. `search` serves any codec, the rest this one's levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpc.errors import OptionError

__all__ = ["DEFAULT_QUALITY", "Found", "Target", "level_of", "reach", "search"]

DEFAULT_QUALITY = 40.0

BESIDE = {"icc": "profile", "exif": "EXIF", "alpha": "alpha", "xmp": "XMP"}
"""What a file keeps beside its colours, by its name in `about`."""
_FACTOR = 64.0  # how much larger the file of the last setting is than that of the first, before anything is known


@dataclass(frozen=True)
class Found:
    """Neighbours on the scale of settings, as (setting, bytes of its file).

    below: the highest setting found whose file has at most the target; None where every file is larger. above: the
    smallest file above it; None where none is.
    """

    below: tuple[int, int] | None
    above: tuple[int, int] | None

    def nearest(self, target: float) -> tuple[int, int]:
        """The one of the two whose size is nearer to the target."""
        return min((f for f in (self.below, self.above) if f is not None), key=lambda f: abs(f[1] - target))


def search(size: Callable[[int], int], settings: int, target: float, tolerance: float = 0.0) -> Found:
    """The settings, of 0 ... settings - 1, whose files enclose a target size in bytes.

    size(setting): the bytes of a file; asked once for every setting that is tried. Sizes should rise with the
    setting; they are taken to grow exponentially, and where they do not the search falls back to halving. tolerance:
    it ends at once when a size is within this share of the target, with what it has found by then.
    """
    tried: dict[int, int] = {}
    low, high = -1, settings  # the target lies between these; neither end is tried unless the search comes to it
    while high - low > 1:
        setting = _guess(tried, low, high, settings, target)
        tried[setting] = size(setting)
        if tried[setting] <= target:
            low = setting
        else:
            high = setting
        if abs(tried[setting] - target) <= tolerance * target:
            break
    below = max(((s, b) for s, b in tried.items() if b <= target), default=None)
    above = min(((b, s) for s, b in tried.items() if b > target), default=None)
    return Found(below, above and above[::-1])


def _guess(tried: dict[int, int], low: int, high: int, settings: int, target: float) -> int:
    """The next setting between two, where the target lies if sizes are exponential; every third time the middle."""
    middle = (low + high) // 2
    if not tried or len(tried) % 3 == 0 or target <= 0:
        return middle
    at = min(tried, key=lambda s: abs(math.log(max(tried[s], 1) / target)))
    slope = math.log(_FACTOR) / settings
    if low in tried and high in tried and tried[high] > tried[low] > 0:
        slope = math.log(tried[high] / tried[low]) / (high - low)
    elif len(tried) > 1:
        first, last = min(tried), max(tried)
        slope = max(math.log(max(tried[last], 1) / max(tried[first], 1)) / (last - first), slope / 8)
    step = math.log(target / max(tried[at], 1)) / slope
    if not abs(step) < settings:
        return middle
    return min(max(at + round(step), low + 1), high - 1)


# this codec


@dataclass(frozen=True)
class Target:
    """What is asked of a file: a quality (also the default one), a rate, a size, or that nothing is lost."""

    quality: float | None = None
    bpp: float | None = None
    max_bytes: int | None = None
    lossless: bool | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None and v is not False}
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} exclude each other; give one of them")
        for name, value in given.items():
            wrong = isinstance(value, bool) != (name == "lossless") or not isinstance(value, (int, float, np.number))
            if wrong or not math.isfinite(value):
                raise OptionError(f"{name}={value!r} is not a number; give a finite number")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise OptionError(f"quality={self.quality}: it runs from 1 (smallest file) to 100 (best picture)")
        if self.bpp is not None and self.bpp <= 0:
            raise OptionError(f"bpp={self.bpp}: give more than 0; the range is about 0.05 to 1.5")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise OptionError(f"max_bytes={self.max_bytes}: give at least 1")

    def size(self, pixels: int) -> float | None:
        """The bytes that is asked for, None where none is."""
        if self.bpp is not None:
            return self.bpp * pixels / 8
        return None if self.max_bytes is None else float(self.max_bytes)

    def holds(self, lossless: int, pixels: int) -> bool:
        """Whether a lossless file of so many bytes is what was asked for, so that no other need be made."""
        size = self.size(pixels)
        return bool(self.lossless) or (size is not None and lossless <= size)

    def check(self, data: bytes, about: dict[str, Any]) -> None:
        """OptionError where the smallest file is too large. about: the fields of the file beside its body."""
        if self.max_bytes is None or len(data) <= self.max_bytes:
            return
        beside = "".join(f", its {name}" for key, name in BESIDE.items() if about.get(key))
        drop = "drop EXIF and the like (strip), or " if any(map(about.get, ("icc", "exif", "xmp"))) else "or "
        raise OptionError(
            f"max_bytes={self.max_bytes}: at quality 1 this {about['width']}x{about['height']} picture{beside} and the "
            f"header take {len(data)} bytes; allow at least that, {drop}scale the picture down"
        )

    def outgrown(self, about: dict[str, Any], pixels: int) -> str | None:
        """A line for the user where what is kept beside the colours takes more than the rate that is asked for."""
        size = self.size(pixels)
        kept = {name: len(about[key]) for key, name in BESIDE.items() if about.get(key)}
        total = sum(kept.values())
        if size is None or total <= size:
            return None
        drop = "; strip drops EXIF and the like" if kept.keys() - {"alpha"} else ""
        return f"{total:,} bytes, {8 * total / pixels:.3g} bpp, go to {' and '.join(kept)}, kept without loss{drop}"


def level_of(quality: float, top: int) -> int:
    """The fine level of a quality in 1..100; top is the highest."""
    return round((quality - 1) / 99 * top)


def reach(target: Target, encode: Callable[[int], bytes], top: int, pixels: int) -> bytes:
    """The file that a target asks for; of a size that cannot be met, the nearest there is.

    encode: the file at a fine level, 0..top; called once for a level.
    """
    size = target.size(pixels)
    if size is None:
        return encode(level_of(DEFAULT_QUALITY if target.quality is None else target.quality, top))
    files: dict[int, bytes] = {}

    def tried(level: int) -> int:
        files[level] = encode(level)
        return len(files[level])

    found = search(tried, top + 1, size)
    if target.bpp is None and found.below is not None:
        return files[found.below[0]]
    return files[found.nearest(size)[0]]
