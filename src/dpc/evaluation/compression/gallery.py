"""Pictures for the report: what each codec makes of them at equal bytes, within the size of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpc.codec.image import load, pictures_in
from dpc.errors import OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation import markup
from dpc.evaluation.codecs import Folder, Rgb
from dpc.evaluation.compression.rows import Row
from dpc.evaluation.experiment import Subjects, engines, sha256
from dpc.evaluation.figures import is_own
from dpc.evaluation.metrics.psnr import psnr

__all__ = ["CODECS", "LIMIT", "Gallery", "gallery"]

CODECS = ("avif", "jpegxl", "heic", "jpeg2000", "jpeg", "webp", "bpg-like")
"""What stands beside DPC, as far as there are rows of it, five in all."""

LIMIT = 18_000_000
"""Bytes of the pictures as text. Tables and curves take one or two millions more (0.84 with 14 codecs and 7 metrics),
and the page should stay below 20, so that it can be sent by mail."""
STORED = (None, 95, 90, 85, 80, 70, 60, 50, 40, 30)  # qualities of AVIF 4:4:4, None without loss, by WebP
SAMPLE = 3  # originals by which one of them is chosen
NEAR = 1.3  # times the limit, by the sample; what is further from it is not tried on all


@dataclass(frozen=True)
class Gallery:
    """pictures: for pictures.html. rate: bpp. missing: what is not shown -> why. stored: how, in words."""

    pictures: Sequence[Mapping[str, Any]]
    rate: float
    missing: Mapping[str, str]
    stored: str


@dataclass(frozen=True, eq=False)
class _Shown:
    group: str
    title: str
    lines: Sequence[Sequence[str]]
    rgb: Rgb


def gallery(
    rows: Mapping[str, Sequence[Row]],
    images: Path,
    rate: float,
    codecs: Sequence[str] = (),
    folders: Mapping[str, str] | None = None,
    limit: int = LIMIT,
    say: Callable[[str], None] = lambda _: None,
) -> Gallery:
    """Every picture of a folder that has rows, coded by some codecs of the rows at a rate.

    rows: by codec, see figures.by_codec. codecs: which; by default DPC and those of CODECS that there are rows of, five
    in all. folders: name -> precomputed pictures, shown at their file nearest to the rate. limit: bytes. What cannot be
    coded is left out and said. Raises OptionError when no picture of the folder has rows.
    """
    if not 0 < rate < 24:
        raise OptionError(f"pictures at {rate:g} bpp: give a rate above 0 and below 24")
    known = {row.sha256 for of in rows.values() for row in of}
    paths = [path for path in ([images] if images.is_file() else pictures_in(images)) if sha256(path) in known]
    if not paths:
        raise OptionError(f"no picture of {images} has a row; give the folder that dpc bench measured")
    folders = folders or {}
    if unknown := [name for name in codecs if name not in (*rows, *folders)]:
        raise OptionError(f"there are no rows of {', '.join(unknown)}; choose from {', '.join(rows)}")
    own = [name for name in rows if is_own(name)][-1:]
    chosen = list(codecs) or [*own, *(name for name in CODECS if name in rows)][:5]
    subjects = Subjects(tuple(chosen), folders=folders)
    shown: list[_Shown] = []
    missing: dict[str, str] = {}
    for done, path in enumerate(paths, 1):
        shown += _coded(path, subjects, rate, missing)
        say(f"pictures for the page: {done}/{len(paths)} {path.stem}")
    pictures, stored = _within(shown, limit)
    return Gallery(pictures, rate, missing, stored)


def _coded(path: Path, subjects: Subjects, rate: float, missing: dict[str, str]) -> list[_Shown]:
    """The original and what every codec makes of it."""
    rgb = load(path).rgb
    pixels = rgb.shape[0] * rgb.shape[1]
    found = [_Shown(path.stem, "Original", [[f"{rgb.shape[1]} × {rgb.shape[0]} pixels"]], rgb)]
    for name in dict.fromkeys([*subjects.codecs, *subjects.folders]):
        try:
            if name in subjects.folders:
                folder = Folder(name, Path(subjects.folders[name]))
                entries = folder.of(path.stem)
                if not entries:
                    continue
                entry = min(entries, key=lambda e: abs(8 * e.bytes / pixels - rate))
                size, decoded = entry.bytes, folder.decoded(entry, rgb)
            else:
                codec = subjects.codec(name)
                _, data = baselines.at_bpp(codec, rgb, rate)
                size, decoded = len(data), codec.decode(data)
        except Exception as error:  # other people's encoders raise whatever they like, and the rest goes on
            missing[f"{name}, {path.stem}"] = engines.line(error)
            continue
        lines = [[f"{size:,} bytes", f"{8 * size / pixels:.3f} bpp"], [f"PSNR {psnr(rgb, decoded):.2f} dB"]]
        found.append(_Shown(path.stem, name, lines, decoded))
    return found


def _within(shown: Sequence[_Shown], limit: int) -> tuple[list[dict[str, Any]], str]:
    """The pictures for the template, stored as well as the limit allows, and how they are."""
    groups = list(dict.fromkeys(s.group for s in shown))
    chosen = groups[:: -(-len(groups) // SAMPLE)]  # with all that codecs make of them: that is smaller than originals
    sample = [s for s in shown if s.group in chosen]
    for quality in STORED:
        mean = sum(len(_url(s.rgb, quality)) for s in sample) / len(sample)
        if mean * len(shown) > NEAR * limit and quality != STORED[-1]:
            continue  # not even near
        urls = [_url(s.rgb, quality) for s in shown]
        if sum(map(len, urls)) <= limit:
            break
    else:
        raise OptionError(f"{len(shown)} pictures take more than {limit:,} bytes however they are stored; give fewer")
    pictures = [
        {"title": s.title, "group": s.group, "lines": s.lines, "url": url}
        | {"width": s.rgb.shape[1], "height": s.rgb.shape[0]}
        for s, url in zip(shown, urls, strict=True)
    ]
    if quality is None:
        return pictures, "without loss"
    worst = min(psnr(s.rgb, _pixels(url)) for s, url in zip(shown, urls, strict=True))
    return pictures, f"as AVIF 4:4:4 of quality {quality}, at least {worst:.1f} dB from what each codec gave"


def _url(rgb: Rgb, quality: int | None) -> str:
    if quality is None:
        return markup.data_url(rgb)
    return markup.data_url(rgb, "AVIF", quality, subsampling="4:4:4", speed=8, max_threads=1)


def _pixels(url: str) -> Rgb:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))
