"""The quality of a codec that gives a file of a certain size."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from dpc.codec.rate_control import search
from dpc.errors import OptionError
from dpc.evaluation.codecs.protocol import Codec, Rgb

__all__ = ["at_bpp", "at_bytes"]


@runtime_checkable
class _Searches(Protocol):
    """A codec with a search of its own, faster than encoding again and again."""

    def at_bytes(self, image: Rgb, max_bytes: int) -> tuple[float, bytes]: ...

    def at_bpp(self, image: Rgb, bpp: float) -> tuple[float, bytes]: ...


def at_bytes(codec: Codec, image: Rgb, max_bytes: int) -> tuple[float, bytes]:
    """(quality, file): the best quality whose file is no larger than max_bytes.

    Found with about 6 encodings. OptionError when even the smallest file is larger.
    """
    if isinstance(codec, _Searches):
        return codec.at_bytes(image, max_bytes)
    below, _ = _around(codec, image, max_bytes)
    if below is None:
        size = len(codec.encode(image, codec.qualities[0]))
        raise OptionError(
            f"{codec.name} cannot code this {image.shape[1]}x{image.shape[0]} picture in {max_bytes} bytes: its "
            f"smallest file has {size}; allow at least that"
        )
    return below


def at_bpp(codec: Codec, image: Rgb, bpp: float, tried: dict[float, bytes] | None = None) -> tuple[float, bytes]:
    """(quality, file) whose size is nearest to so many bits per pixel, every byte of the file counted.

    At an end of the codec's scale the file may be far from the target: look at its size. tried: files of this picture
    by quality, which are not made again and to which new ones are added: a second target then costs fewer encodings.
    """
    if isinstance(codec, _Searches):
        return codec.at_bpp(image, bpp)
    target = bpp * image.shape[0] * image.shape[1] / 8
    found = [f for f in _around(codec, image, target, tried) if f is not None]
    return min(found, key=lambda f: abs(len(f[1]) - target))


def _around(
    codec: Codec, image: Rgb, target: float, tried: dict[float, bytes] | None = None
) -> tuple[tuple[float, bytes] | None, tuple[float, bytes] | None]:
    """The neighbours on the codec's scale: the largest file found of at most so many bytes, the smallest above."""
    files = {} if tried is None else tried

    def size(setting: int) -> int:
        quality = codec.qualities[setting]
        if quality not in files:
            files[quality] = codec.encode(image, quality)
        return len(files[quality])

    def file(end: tuple[int, int] | None) -> tuple[float, bytes] | None:
        return None if end is None else (codec.qualities[end[0]], files[codec.qualities[end[0]]])

    found = search(size, len(codec.qualities), target)
    return file(found.below), file(found.above)
