"""Picture quality metrics, one file each, and the table of them.

A metric takes two uint8 (H, W, 3) sRGB pictures, original and decoded, and gives one float. It raises
ValueError with one line on anything else. numpy is all that most need; the others say with ToolMissing what they lack.
`dpc.evaluation.metrics.reference` measures many decoded pictures against one original; `dpc metrics` lists the table.

To add one: a file with the function, a row in METRICS, a test with a value from outside of this project, a line in
docs/guide/evaluation.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dpc.errors import ToolMissing
from dpc.evaluation.metrics import butteraugli, cvvdp, legibility, luma, ms_ssim, pair, psnr, ssim, ssimulacra2

if TYPE_CHECKING:
    from dpc.evaluation.metrics.dists import DISTS
    from dpc.evaluation.metrics.lpips import LPIPS

__all__ = ["METRICS", "Metric", "dists_distance", "dists_network", "lpips_distance", "lpips_network"]


def _none() -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """One row of the table: what a metric is called, what its values mean, and how to get one.

    unit: "" for a number without one. version: of the package or program that computes it, "" for this project's own
    code. digits: behind the point, in tables.
    """

    name: str
    title: str
    low: float
    high: float
    higher_is_better: bool
    source: str
    function: Callable[[pair.Picture, pair.Picture], float]
    unit: str = ""
    version: Callable[[], str] = _none
    digits: int = 4


def lpips_distance(
    original: pair.Picture, decoded: pair.Picture, net: str = "alex", weights: str | Path | None = None
) -> float:
    """LPIPS v0.1 of two pictures with trunk "alex", "squeeze" or "vgg": 0 is identical, lower is better.

    weights: a folder, see dpc.evaluation.metrics.lpips.LPIPS. A network is loaded once and kept.
    """
    pair.check(original, decoded)
    return lpips_network(net, None if weights is None else str(weights)).between(original, decoded)


@functools.cache
def lpips_network(net: str, weights: str | None) -> LPIPS:
    """The network of an LPIPS trunk, loaded once. ToolMissing without torch or its weights."""
    try:
        from dpc.evaluation.metrics.lpips import LPIPS
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise ToolMissing("LPIPS needs torch, which is not installed; pip install torch") from e
    return LPIPS(net, weights)


def dists_distance(original: pair.Picture, decoded: pair.Picture, weights: str | Path | None = None) -> float:
    """DISTS of two pictures: 0 is identical, lower is better. weights: a folder, see dists.DISTS."""
    pair.check(original, decoded)
    return dists_network(None if weights is None else str(weights)).between(original, decoded)


@functools.cache
def dists_network(weights: str | None) -> DISTS:
    """The network of DISTS, loaded once. ToolMissing without torch or its weights."""
    try:
        from dpc.evaluation.metrics.dists import DISTS
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise ToolMissing("DISTS needs torch, which is not installed; pip install torch") from e
    return DISTS(weights)


@functools.cache
def _package(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


_INF = float("inf")
_ZHANG = "Zhang et al. 2018, arXiv 1801.03924, v0.1"
_DING = "Ding et al. 2020, arXiv 2004.07728"
_LEVELS = "squared 8-bit levels"
_torch = functools.partial(_package, "torch")


def _lpips(net: str, title: str) -> Metric:
    function = functools.partial(lpips_distance, net=net)
    return Metric(f"lpips_{net}", title, 0.0, _INF, False, _ZHANG, function, version=_torch)


def _luma(name: str, title: str, function: Callable[[pair.Picture, pair.Picture], float]) -> Metric:
    return Metric(name, title, 0.0, _INF, False, "dpc.evaluation.metrics.luma", function, _LEVELS, digits=2)


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("psnr", "PSNR (dB, RGB)", 0.0, _INF, True, "10 log10(255^2 / MSE)", psnr.psnr, "dB", digits=2),
        Metric("ssim", "SSIM (RGB)", -1.0, 1.0, True, "Wang et al. 2004", ssim.ssim),
        Metric("ms_ssim", "MS-SSIM (RGB)", 0.0, 1.0, True, "Wang et al. 2003", ms_ssim.ms_ssim),
        _lpips("alex", "LPIPS AlexNet"),
        _lpips("squeeze", "LPIPS SqueezeNet"),
        _lpips("vgg", "LPIPS VGG16"),
        Metric("dists", "DISTS", 0.0, _INF, False, _DING, dists_distance, version=_torch),
        Metric(
            "ssimulacra2",
            "SSIMULACRA2",
            -_INF,
            100.0,
            True,
            "Sneyers 2022, github.com/cloudinary/ssimulacra2, by the package ssimulacra2",
            ssimulacra2.ssimulacra2,
            version=functools.partial(_package, "ssimulacra2"),
            digits=1,
        ),
        Metric(
            "butteraugli",
            "Butteraugli 3-norm",
            0.0,
            _INF,
            False,
            "Alakuijala et al. 2017, arXiv 1703.09978, by libjxl's butteraugli_main",
            butteraugli.butteraugli,
            version=butteraugli.version,
        ),
        Metric(
            "cvvdp",
            "ColorVideoVDP",
            -_INF,
            10.0,
            True,
            "Mantiuk et al. 2024, ACM TOG 43(4), by the package cvvdp in an environment of its own",
            cvvdp.cvvdp,
            "JOD",
            cvvdp.version,
            2,
        ),
        _luma("luma_below_4", "luma error below 1/4", functools.partial(luma.below, factor=4)),
        _luma("luma_below_8", "luma error below 1/8", functools.partial(luma.below, factor=8)),
        _luma("plain_2", "luma error on plain ground", functools.partial(luma.plain_error, limit=2.0)),
        _luma("plain_025", "luma error on flat ground", functools.partial(luma.plain_error, limit=0.25)),
        Metric(
            "text_read",
            "text read",
            0.0,
            1.0,
            True,
            "characters that PP-OCRv4 reads on the original and on the decoded picture",
            legibility.text_read,
            "share",
            legibility.version,
            3,
        ),
        Metric(
            "text_known",
            "known text read",
            0.0,
            1.0,
            True,
            "known characters of a rendered page that PP-OCRv4 reads",
            legibility.unknown,
            "share",
            legibility.version,
            3,
        ),
    )
}
