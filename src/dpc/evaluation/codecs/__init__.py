"""Codecs behind one protocol, so that each is measured in the same way.

    name            what it is                                        needs
    dpc             this codec; dpc:MODEL is another model            a model artifact
    dpc-fast        the same without refining: --fast; dpc-fast:MODEL
    jpeg            4:2:0, optimised, the smaller of sequential and progressive
    jpeg-444        the same at 4:4:4
    jpeg-default    Pillow's own defaults, which many published tables used
    jpeg2000        OpenJPEG with its colour transform, 9/7 wavelet
    webp            method 6
    avif            4:4:4, speed 4, one thread
    avif-420        4:2:0, speed 4
    avif-best, avif-best-420  speed 0, tune iq
    jpegxl, jpegxl-9  libjxl, effort 7 or 9                           imagecodecs
    jpegli          adaptive quantisation                             pyjpegli
    jpeg-moz        mozjpeg with trellis quantisation                 pyvips, pyvips-binary
    heic            HEVC intra in its container, 4:4:4                pillow-heif
    bpg             libbpg, 4:4:4, x265, -m 9                         bpgenc, bpgdec
    bpg-like        x265 with the settings of bpg, no container       x265, ffmpeg
    vvc             VVenC intra, 4:2:0                                ffmpeg with libvvenc, or imageio-ffmpeg
    compressai:MODEL[:METRIC]  learned codecs of CompressAI           a Python that has compressai
    learned:PATH    learned codecs: weights, a folder of them         torch

`get` makes one, `missing` says why one does not work here, `at_bytes` and `at_bpp` find a codec's quality for a size.
Pictures that somebody else coded are not a Codec, they are a `Folder`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation.codecs import earlier, heic, jpegli, jpegxl, learned, own, pillow, programs
from dpc.evaluation.codecs.folder import Entry, Folder
from dpc.evaluation.codecs.protocol import Codec, Rgb, check
from dpc.evaluation.codecs.sizes import at_bpp, at_bytes

__all__ = ["NAMES", "USUAL", "Codec", "Entry", "Folder", "Rgb", "at_bpp", "at_bytes", "check", "get", "missing"]

_MAKERS: dict[str, Callable[[], Codec]] = {
    **{name: partial(pillow.make, name) for name in pillow.FORMATS},
    "jpegxl": jpegxl.JpegXL,
    "jpegxl-9": partial(jpegxl.JpegXL, 9),
    "jpegli": jpegli.Jpegli,
    "jpeg-moz": jpegli.MozJpeg,
    "heic": heic.Heic,
    "bpg": programs.Bpg,
    "bpg-like": programs.BpgLike,
    "vvc": programs.Vvc,
}
NAMES = ("dpc", *_MAKERS)
"""The codecs that need no further choice."""
USUAL = tuple(name for name in NAMES if name not in ("avif-best", "avif-best-420", "jpegxl-9"))
"""Those of them that code a picture in about a second."""


def get(name: str, *, threads: int | None = 1, python: str | None = None, weights: str | None = None) -> Codec:
    """A codec by its name, see above.

    threads: of networks (all others run on one thread). python: the interpreter that has compressai. weights: a
    checkpoint for its model, or "untrained" for a test of speed; None is its own model zoo.
    Raises ToolMissing, which says how to get what is missing; OptionError for an unknown name; UnknownModel.
    """
    kind, _, rest = name.partition(":")
    if kind in ("dpc", "dpc-fast"):
        return own.Dpc(rest or None, threads, fast=kind == "dpc-fast")
    if kind == "compressai":
        return learned.CompressAI(rest, python=python, weights=weights, threads=threads or 1)
    if kind == "learned":
        return earlier.Learned(rest, threads)
    if name not in _MAKERS:
        known = ", ".join((*NAMES, "dpc:MODEL", "dpc-fast:MODEL", "compressai:MODEL", "learned:PATH"))
        raise OptionError(f"codec {name!r} is unknown; choose from {known}")
    return _MAKERS[name]()


def missing(name: str) -> str | None:
    """Why a codec cannot be used here and how to get it, in one line; None when it works."""
    try:
        get(name)
    except (ToolMissing, DPCError) as error:
        return str(error)
    return None
