"""One self-contained HTML page: a photograph and what every codec makes of it at equal bytes.

    photo -> sRGB pixels -> DPC at the rate asked for, N bytes -> each other codec at its best within N bytes
          -> decoded pictures, sizes, metrics -> compare.html with everything in it

Nothing in the page points outside it, so it works from a disk, a mail or a web server alike.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from dpc.codec import image
from dpc.errors import DPCError, ImageError, OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation import independence, markup
from dpc.evaluation.codecs import Codec, Rgb
from dpc.evaluation.metrics import METRICS

__all__ = ["CODECS", "Comparison", "Crop", "Shown", "compare", "page"]

CODECS = ("jpeg", "jpeg2000", "webp", "avif", "jpegxl", "heic", "bpg", "vvc")
"""What DPC stands beside when nothing else is asked for; bpg-like takes the place of a bpg that is missing."""

DEFAULT_BPP = 0.25  # nearly every codec can code nearly every photograph in so few bytes

Crop = tuple[int, int, "tuple[int, int] | None"]
"""Width, height, and the (x, y) of the upper left corner, None for the middle of the picture."""

_TITLES = {
    "dpc": "DPC",
    "jpeg": "JPEG",
    "jpeg-444": "JPEG 4:4:4",
    "jpeg-default": "JPEG, plain",
    "jpeg2000": "JPEG 2000",
    "webp": "WebP",
    "avif": "AVIF",
    "jpegxl": "JPEG XL",
    "heic": "HEIC",
    "bpg": "BPG",
    "bpg-like": "BPG-like (x265)",
    "vvc": "VVC",
}

_SCORES = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ms_ssim": ("MS-SSIM", "{:.4f}"),
    "lpips_alex": ("LPIPS", "{:.4f}"),
    "ssimulacra2": ("SSIMULACRA2", "{:.1f}"),
}
"""The metrics on the page: short title and how a value is written. The first three stand under each picture."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One coded picture: the codec's name, version and settings, its quality, the size of the file, the pixels.

    seen: what the codec was trained on or selected by, see dpc.evaluation.independence.
    """

    name: str
    version: str
    settings: str
    quality: float
    bytes: int
    rgb: Rgb
    scores: Mapping[str, float]
    seen: str = independence.UNKNOWN

    @property
    def title(self) -> str:
        """The name as people write it."""
        kind, _, rest = self.name.partition(":")
        return f"{_TITLES.get(kind, kind)} {rest}".strip()


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a page shows. shown: DPC first. missing: what is left out -> why, and how to get it.

    original: (H, W, 3) uint8 sRGB. size: bytes of the file that was given, None when that is not the picture
    shown. sha256: of the original's pixels. target: the rate asked for, in words. notes: what was done to the
    photograph before it was coded.
    """

    name: str
    original: Rgb
    size: int | None
    sha256: str
    target: str
    shown: Sequence[Shown]
    missing: Mapping[str, str]
    notes: Sequence[str]

    @property
    def summary(self) -> str:
        """What was compared, in one line of text."""
        first, height, width = self.shown[0], *self.original.shape[:2]
        return (
            f"{width:,} × {height:,} pixels. {first.title} {self.target} takes {first.bytes:,} bytes, "
            f"{self.bpp(first.bytes):.3f} bits per pixel; every other codec is at the best quality whose file is no "
            "larger."
        )

    def bpp(self, size: int) -> float:
        """So many bytes in bits per pixel of the original."""
        return 8 * size / (self.original.shape[0] * self.original.shape[1])


def compare(
    source: str | Path | bytes,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    max_bytes: int | None = None,
    codecs: Sequence[str] | None = None,
    crop: Crop | None = None,
    model: str | None = None,
    threads: int | None = None,
    compressai: str | None = None,
    lpips_weights: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Comparison:
    """Code a photograph with DPC at a rate, and with the others at their best quality that is no larger.

    source: a path, or the bytes of a picture file. quality, bpp (default 0.25), max_bytes: as in dpc.encode, at most
    one. codecs: names in evaluation.codecs, default CODECS. crop: compare this part only. model: DPC's; threads: of its
    networks. compressai: the Python of codecs named compressai:MODEL. lpips_weights: a folder, default the cache;
    nothing is downloaded. A codec that is not installed, fails, or cannot make so small a file is left out and said
    to be. Raises OptionError, ImageError, TooLarge, ModelError.
    """
    if sum(value is not None for value in (quality, bpp, max_bytes)) > 1:
        raise OptionError("quality, bpp and max_bytes exclude each other, give one of them")
    dpc = baselines.get("dpc" if model is None else f"dpc:{model}", threads=threads)
    missing: dict[str, str] = {}
    others = list(_others(codecs, missing, threads, compressai))
    original, notes = _srgb(source, crop)
    steps = len(others) + 1

    target, used, data = _first(dpc, original, quality, bpp, max_bytes)
    results = [(dpc, used, data, dpc.decode(data))]
    progress(1 / steps)

    for done, codec in enumerate(others, 2):
        try:
            used, smaller = baselines.at_bytes(codec, original, len(data))
            decoded = codec.decode(smaller)
            if decoded.shape != original.shape:
                raise ImageError(f"what it decodes is {decoded.shape[1]}x{decoded.shape[0]}, not the picture's size")
            results.append((codec, used, smaller, decoded))
        except Exception as error:  # other people's encoders raise whatever they like, and the rest goes on
            missing[codec.name] = " ".join(str(error).split()) or type(error).__name__
        progress(done / steps)

    scores = _scores(original, [decoded for *_, decoded in results], lpips_weights, missing)
    return Comparison(
        name=Path(source).name if isinstance(source, (str, Path)) else "picture",
        original=original,
        size=None if crop is not None else len(source) if isinstance(source, bytes) else Path(source).stat().st_size,
        sha256=hashlib.sha256(original.tobytes()).hexdigest(),
        target=target,
        shown=[
            Shown(codec.name, codec.version, codec.settings, used, len(file), decoded, values, _seen(codec))
            for (codec, used, file, decoded), values in zip(results, scores, strict=True)
        ],
        missing=missing,
        notes=notes,
    )


def _first(
    dpc: Codec, original: Rgb, quality: float | None, bpp: float | None, max_bytes: int | None
) -> tuple[str, float, bytes]:
    """(what was asked for, in words, quality, file) of DPC, whose bytes the others get."""
    if max_bytes is not None:
        return f"within {max_bytes:,} bytes", *baselines.at_bytes(dpc, original, max_bytes)
    if quality is None:
        rate = DEFAULT_BPP if bpp is None else bpp
        return f"at {rate:g} bpp", *baselines.at_bpp(dpc, original, rate)
    used = min(dpc.qualities, key=lambda q: abs(q - quality))
    if not 1 <= quality <= 100:
        raise OptionError(f"quality={quality:g}: give 1 (smallest file) to 100")
    return f"at quality {used:.0f}", used, dpc.encode(original, used)


def _seen(codec: Codec) -> str:
    return str(getattr(codec, "seen", independence.UNKNOWN))


def _others(
    names: Sequence[str] | None, missing: dict[str, str], threads: int | None, python: str | None
) -> list[Codec]:
    """The codecs beside DPC, each once; those that are not installed go to `missing`."""
    wanted = list(dict.fromkeys(CODECS if names is None else names))
    found = []
    for name in wanted:
        if name == "dpc":  # it is there already
            continue
        try:
            found.append(baselines.get(name, threads=threads, python=python))
        except ToolMissing as error:
            missing[name] = str(error)
            if name == "bpg" and names is None:
                wanted.append("bpg-like")
    return found


def _srgb(source: str | Path | bytes, crop: Crop | None) -> tuple[Rgb, list[str]]:
    """The part of the picture that is compared, (H, W, 3) uint8 sRGB and opaque, and what was done to get it."""
    picture = image.load(source)
    rgb, alpha = picture.rgb, picture.alpha
    notes = []
    if crop is not None:
        width, height, corner = crop
        x, y = corner or ((rgb.shape[1] - width) // 2, (rgb.shape[0] - height) // 2)
        if min(width, height) < 1 or min(x, y) < 0 or x + width > rgb.shape[1] or y + height > rgb.shape[0]:
            raise OptionError(
                f"the part {width}x{height}+{x}+{y} is not inside the picture, which is "
                f"{rgb.shape[1]}x{rgb.shape[0]} pixels; choose a smaller one"
            )
        notes.append(
            f"Compared is the part of {width} × {height} pixels at {x}, {y} of a picture of "
            f"{rgb.shape[1]} × {rgb.shape[0]}."
        )
        rgb = rgb[y : y + height, x : x + width]
        alpha = None if alpha is None else alpha[y : y + height, x : x + width]
    if picture.profile is not None:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(
                Image.fromarray(np.ascontiguousarray(rgb)), profile, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC
            )
            if converted is not None:
                rgb = np.asarray(converted)
            notes.append("The photograph was converted from its colour profile to sRGB.")
        except (OSError, ImageCms.PyCMSError):
            notes.append("The colour profile of the photograph cannot be used and was ignored.")
    if alpha is not None:
        opacity = alpha[:, :, None].astype(np.uint32)
        rgb = ((rgb * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
        notes.append("Transparent parts were put on white.")
    return np.ascontiguousarray(rgb), notes


def _scores(
    original: Rgb, decoded: Sequence[Rgb], weights: Path | None, missing: dict[str, str]
) -> list[dict[str, float]]:
    """Metric -> value, for every picture; a metric that cannot be had here is left out and goes to `missing`."""
    scores: list[dict[str, float]] = [{} for _ in decoded]
    for name in _SCORES:
        try:
            function = _lpips(name.removeprefix("lpips_"), weights) if "lpips" in name else METRICS[name].function
            for values, picture in zip(scores, decoded, strict=True):
                values[name] = function(original, picture)
        except (DPCError, ValueError) as error:
            missing[METRICS[name].title] = str(error)
    return scores


def _lpips(net: str, weights: Path | None) -> Callable[[Rgb, Rgb], float]:
    """LPIPS by one trunk, from weights that are at hand; ToolMissing otherwise."""
    try:
        from dpc.evaluation.metrics.lpips import LPIPS
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ToolMissing("LPIPS needs torch, which is not installed; pip install torch") from error
    return LPIPS(net, weights, download=False).between


# the page


def page(comparison: Comparison) -> str:
    """The HTML page of a comparison, UTF-8 text. The same comparison gives the same page."""
    from dpc import __version__

    c = comparison
    names = [name for name in _SCORES if name in c.shown[0].scores]
    return markup.render(
        "compare.html",
        version=__version__,
        c=c,
        first=c.shown[0],
        pictures=[_original(c), *(_coded(s, c) for s in c.shown)],
        metrics=[
            {
                "title": independence.heading(METRICS[name].title, name, {s.title: s.seen for s in c.shown}),
                "higher_is_better": METRICS[name].higher_is_better,
            }
            for name in names
        ],
        lines=[{"title": s.title, "cells": _cells(s, c, names)} for s in c.shown],
        missing=[(_TITLES.get(name, name), why) for name, why in c.missing.items()],
        conditions=_conditions(c, __version__),
    )


def _value(name: str, value: float) -> str:
    return "∞ (identical)" if value == float("inf") else _SCORES[name][1].format(value)


def _original(c: Comparison) -> dict[str, Any]:
    lines = [[f"{c.original.shape[1]:,} × {c.original.shape[0]:,} pixels"]]
    if c.size is not None:
        lines.append([f"The file has {c.size:,} bytes", f"{c.bpp(c.size):.2f} bpp"])
    return _figure("Original", lines, c.original)


def _coded(s: Shown, c: Comparison) -> dict[str, Any]:
    share = "" if s is c.shown[0] else f" ({100 * s.bytes / c.shown[0].bytes:.1f} % of {c.shown[0].title})"
    scores = [f"{_SCORES[n][0]} {_value(n, s.scores[n])}" for n in list(_SCORES)[:3] if n in s.scores]
    return _figure(s.title, [[f"{s.bytes:,} bytes", f"{c.bpp(s.bytes):.3f} bpp{share}"], scores], s.rgb)


def _figure(title: str, lines: Sequence[Sequence[str]], rgb: Rgb) -> dict[str, Any]:
    """A picture with its name and lines of text below; each line is made of pieces that are not broken."""
    size = {"width": rgb.shape[1], "height": rgb.shape[0]}
    return size | {"title": title, "lines": lines, "url": markup.data_url(rgb)}


def _cells(s: Shown, c: Comparison, names: Sequence[str]) -> list[str]:
    cells = [f"{s.quality:.4g}", f"{s.bytes:,}", f"{100 * s.bytes / c.shown[0].bytes:.1f} %"]
    return [*cells, f"{c.bpp(s.bytes):.4f}", *(_value(name, s.scores[name]) for name in names)]


def _conditions(c: Comparison, version: str) -> list[str]:
    lines = [
        *c.notes,
        "Bytes are those of the whole file that each codec writes, without colour profile, EXIF and transparency. "
        "bpp is bits per pixel.",
        "Metrics are computed on the decoded 8-bit sRGB pixels that this page holds without loss.",
        f"Original: SHA-256 of the RGB pixels {c.sha256}. Made by dpc {version}.",
    ]
    if told := independence.note(list(c.shown[0].scores), {s.title: s.seen for s in c.shown}):
        lines.append(f"{told} Look at the pictures.")
    return lines + [f"{s.title}: {s.settings}. {s.version}." for s in c.shown]
