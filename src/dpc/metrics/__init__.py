"""Picture quality metrics, one file each, and the table of them.

A metric takes two uint8 (H, W, 3) sRGB pictures, original and decoded, and gives one float. It raises
ValueError with one line on anything else. numpy is all that is needed, except for LPIPS, which needs torch
and its weights (ToolMissing says so where they are absent).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpc.errors import ToolMissing
from dpc.metrics import ms_ssim, pair, psnr

if TYPE_CHECKING:
    from dpc.metrics.lpips import LPIPS

__all__ = ["METRICS", "Metric", "lpips_distance"]


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

    weights: a folder, see dpc.metrics.lpips.LPIPS. A network is loaded once and kept.
    """
    pair.check(original, decoded)
    return _network(net, None if weights is None else str(weights)).between(original, decoded)


@functools.cache
def _network(net: str, weights: str | None) -> LPIPS:
    try:
        from dpc.metrics.lpips import LPIPS
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise ToolMissing("LPIPS needs torch, which is not installed; pip install torch") from e
    return LPIPS(net, weights)


_INF = float("inf")
_ZHANG = "Zhang et al. 2018, arXiv 1801.03924, v0.1"

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("psnr", "PSNR (dB, RGB)", 0.0, _INF, True, "10 log10(255^2 / MSE)", psnr.psnr),
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
    )
}
