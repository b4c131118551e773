"""Picture quality metrics, one file each, and the table of them.

A metric takes two uint8 (H, W, 3) sRGB pictures, original and decoded, and gives one float. It raises
ValueError with one line on anything else. numpy is all that is needed, except for LPIPS and DISTS, which need
torch and their weights, SSIMULACRA2, which needs its package, and Butteraugli, which needs a program (ToolMissing
says so where they are absent).
`dpc.evaluation.metrics.reference` measures many decoded pictures against one original.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpc.errors import ToolMissing
from dpc.evaluation.metrics import butteraugli, ms_ssim, pair, psnr, ssim, ssimulacra2

if TYPE_CHECKING:
    from dpc.evaluation.metrics.dists import DISTS
    from dpc.evaluation.metrics.lpips import LPIPS

__all__ = ["METRICS", "Metric", "dists_distance", "dists_network", "lpips_distance", "lpips_network"]


@dataclass(frozen=True)
class Metric:
    """One row of the table: what a metric is called, what its values mean, and how to get one."""

    name: str
    title: str
    low: float
    high: float
    higher_is_better: bool
    source: str
    function: Callable[[pair.Picture, pair.Picture], float]


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


_INF = float("inf")
_ZHANG = "Zhang et al. 2018, arXiv 1801.03924, v0.1"

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("psnr", "PSNR (dB, RGB)", 0.0, _INF, True, "10 log10(255^2 / MSE)", psnr.psnr),
        Metric("ssim", "SSIM (RGB)", -1.0, 1.0, True, "Wang et al. 2004", ssim.ssim),
        Metric("ms_ssim", "MS-SSIM (RGB)", 0.0, 1.0, True, "Wang et al. 2003", ms_ssim.ms_ssim),
        Metric("lpips_alex", "LPIPS AlexNet", 0.0, _INF, False, _ZHANG, lpips_distance),
        Metric(
            "lpips_squeeze",
            "LPIPS SqueezeNet",
            0.0,
            _INF,
            False,
            _ZHANG,
            functools.partial(lpips_distance, net="squeeze"),
        ),
        Metric(
            "lpips_vgg",
            "LPIPS VGG16",
            0.0,
            _INF,
            False,
            _ZHANG + "; no value of this trunk was verified here",
            functools.partial(lpips_distance, net="vgg"),
        ),
        Metric(
            "dists",
            "DISTS",
            0.0,
            _INF,
            False,
            "Ding et al. 2020, arXiv 2004.07728; no value was verified here",
            dists_distance,
        ),
        Metric(
            "ssimulacra2",
            "SSIMULACRA2",
            -_INF,
            100.0,
            True,
            "Sneyers 2022, github.com/cloudinary/ssimulacra2, by the package ssimulacra2",
            ssimulacra2.ssimulacra2,
        ),
        Metric(
            "butteraugli",
            "Butteraugli 3-norm",
            0.0,
            _INF,
            False,
            "Alakuijala et al. 2017, arXiv 1703.09978, by libjxl's butteraugli_main",
            butteraugli.butteraugli,
        ),
    )
}
