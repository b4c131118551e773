"""The codecs that Pillow brings, each with the settings that serve it best; one thread."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from dpc.errors import ToolMissing
from dpc.evaluation.codecs.protocol import Rgb, check

__all__ = ["FORMATS", "Pillow", "make"]


@dataclass(frozen=True)
class Format:
    """How Pillow is called. options: one dict for each file to try; the smallest file counts."""

    format: str
    feature: str
    settings: str
    qualities: Sequence[float]
    options: Callable[[float], list[dict[str, Any]]]
    seen: str = "none"


def _jpeg(subsampling: str) -> Callable[[float], list[dict[str, Any]]]:
    return lambda q: [
        {"quality": int(q), "subsampling": subsampling, "optimize": True, "progressive": p} for p in (False, True)
    ]


def _avif_best(subsampling: str) -> Callable[[float], list[dict[str, Any]]]:
    best = {"subsampling": subsampling, "speed": 0, "max_threads": 1, "advanced": {"tune": "iq"}}
    return lambda q: [{"quality": int(q), **best}]


_IQ = "ssimulacra2"  # aom's tune iq, which libavif takes for pictures, was tuned with it

FORMATS: dict[str, Format] = {
    # sequential files are smaller at low rates (Kodak, quality 5: 0.141 to 0.154 bpp), progressive ones at high rates
    "jpeg": Format(
        "JPEG", "jpg", "4:2:0, optimised, the smaller of sequential and progressive", range(1, 96), _jpeg("4:2:0")
    ),
    "jpeg-444": Format(
        "JPEG", "jpg", "4:4:4, optimised, the smaller of sequential and progressive", range(1, 96), _jpeg("4:4:4")
    ),
    "jpeg-default": Format(
        "JPEG", "jpg", "4:2:0, standard Huffman tables", range(1, 96), lambda q: [{"quality": int(q)}]
    ),
    # without mct=1 the colour channels are coded one by one, 2 dB worse; no_jp2 leaves the container out
    "jpeg2000": Format(
        "JPEG2000",
        "jpg_2000",
        "irreversible 9/7, colour transform, codestream; the quality is the rate aimed at in bpp",
        tuple(round(0.03 * 1.02**i, 4) for i in range(282)),
        lambda r: [
            {"quality_mode": "rates", "quality_layers": [24 / r], "irreversible": True, "mct": 1, "no_jp2": True}
        ],
        "psnr",  # its truncation of blocks minimises the squared error
    ),
    "webp": Format("WEBP", "webp", "4:2:0, method 6", range(101), lambda q: [{"quality": int(q), "method": 6}]),
    # the bytes depend on max_threads
    "avif": Format(
        "AVIF",
        "avif",
        "4:4:4, speed 4, one thread, default tune",
        range(101),
        lambda q: [{"quality": int(q), "subsampling": "4:4:4", "speed": 4, "max_threads": 1}],
        _IQ,
    ),
    "avif-420": Format(
        "AVIF",
        "avif",
        "4:2:0, speed 4, one thread, default tune",
        range(101),
        lambda q: [{"quality": int(q), "subsampling": "4:2:0", "speed": 4, "max_threads": 1}],
        _IQ,
    ),
    "avif-best": Format("AVIF", "avif", "4:4:4, speed 0, tune iq, one thread", range(101), _avif_best("4:4:4"), _IQ),
    "avif-best-420": Format(
        "AVIF", "avif", "4:2:0, speed 0, tune iq, one thread", range(101), _avif_best("4:2:0"), _IQ
    ),
}


@dataclass(frozen=True)
class Pillow:
    """A codec of Pillow's; `make` checks that it is there."""

    name: str
    version: str

    @property
    def settings(self) -> str:
        return FORMATS[self.name].settings

    @property
    def seen(self) -> str:
        return FORMATS[self.name].seen

    @property
    def command(self) -> str:
        """The calls that make a file of quality Q; the smallest file counts."""
        kind = FORMATS[self.name]
        calls = []
        for options in kind.options(kind.qualities[-1]):
            named = {k: "Q" if k == "quality" else repr(v) for k, v in options.items() if k != "quality_layers"}
            shown = ", ".join(f"{k}={v}" for k, v in named.items())
            rate = ", quality_layers=[24 / Q]" if "quality_layers" in options else ""
            calls.append(f"Image.save(format={kind.format!r}, {shown}{rate})")
        return " or ".join(calls)

    @property
    def qualities(self) -> Sequence[float]:
        return FORMATS[self.name].qualities

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The smallest file of the format at this quality."""
        check(self, quality)
        kind = FORMATS[self.name]
        picture = Image.fromarray(image)
        files = []
        for options in kind.options(quality):
            out = io.BytesIO()
            picture.save(out, kind.format, **options)
            files.append(out.getvalue())
        return min(files, key=len)

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        with Image.open(io.BytesIO(data), formats=[FORMATS[self.name].format]) as image:
            return np.array(image.convert("RGB"))


def make(name: str) -> Pillow:
    """One of FORMATS; ToolMissing where this Pillow was built without it."""
    feature = FORMATS[name].feature
    if not features.check(feature):
        raise ToolMissing(
            f"{name} needs a Pillow with {feature}, and this one ({PIL.__version__}) was built without; "
            "pip install --force-reinstall pillow"
        )
    library = features.version("libjpeg_turbo" if feature == "jpg" else feature) or "of unknown version"
    return Pillow(name, f"Pillow {PIL.__version__}, {feature} {library}")
