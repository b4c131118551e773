"""A picture coded and decoded."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from dpc.errors import DPCError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Rgb

__all__ = ["Decoded", "code", "point_label"]

_WARM: set[int] = set()


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a codec made of a picture. bytes: of the whole file. rgb: uint8 (H, W, 3). encode_s, decode_s: nan where
    nobody looked at the clock."""

    quality: float
    bytes: int
    rgb: Rgb
    encode_s: float = math.nan
    decode_s: float = math.nan


def code(
    codec: Codec, rgb: Rgb, quality: float | None, target: float | None, tried: dict[float, bytes] | None = None
) -> Decoded:
    """One file, at a quality or at the target in bpp, coded and decoded by the clock.

    What is loaded at first use is loaded before. The seconds are those of a file at the quality that the target led to,
    without the search for it. tried: see at_bpp. DPCError when another number of pixels comes back.
    """
    if id(codec) not in _WARM:
        codec.decode(codec.encode(rgb[:64, :64].copy(), codec.qualities[len(codec.qualities) // 2]))
        _WARM.add(id(codec))
    found = None
    if quality is None:
        quality, found = baselines.at_bpp(codec, rgb, target or 0.0, tried)
    quality = float(quality)
    begin = time.perf_counter()
    data = codec.encode(rgb, quality)
    seconds = time.perf_counter() - begin
    data = data if found is None else found
    middle = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    if decoded.shape != rgb.shape:
        raise DPCError(f"{codec.name} gave back {decoded.shape[1]}x{decoded.shape[0]} pixels")
    return Decoded(quality, len(data), decoded, seconds, end - middle)


def point_label(quality: float | None, target: float | None) -> str:
    """A point of a codec in words: its quality, or the rate that was aimed at."""
    return f"quality {quality:g}" if quality is not None else f"{target:g} bpp"
