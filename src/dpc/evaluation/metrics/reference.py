"""An original picture and what every comparison with it shares: network features and read text are computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dpc.errors import OptionError, ToolMissing
from dpc.evaluation.metrics import METRICS, dists_network, legibility, lpips_network, ms_ssim
from dpc.evaluation.metrics.pair import Picture
from dpc.evaluation.metrics.spectrum import PERIODS, spectrum_peaks

__all__ = ["DEFAULT", "NAMES", "PEAKS", "Reference", "usable", "versions"]

PEAKS = tuple(f"peak_{period}" for period in PERIODS)
NAMES = (*METRICS, *PEAKS)
"""All that can be measured: METRICS, and the error spectrum's ratios at its periods."""
ON_REQUEST = ("lpips_vgg", "dists", "butteraugli", "cvvdp", "text_read", "text_known")
"""VGG16's trunk is half a gigabyte, Butteraugli cannot be had by pip, and reading takes seconds a page."""
DEFAULT = tuple(name for name in NAMES if name not in ON_REQUEST)

_VGG = ("lpips_vgg", "dists")
"""They share VGG16's first block."""

_Group: TypeAlias = "Callable[[Picture], dict[str, float]]"


class Reference:
    """Measures decoded pictures against one original.

    names: some of NAMES. weights: the folder of the weights of LPIPS and DISTS. text: the lines that are known to stand
    on the picture. Raises ToolMissing, ModelError.
    """

    def __init__(
        self,
        original: Picture,
        names: Sequence[str] = DEFAULT,
        weights: str | Path | None = None,
        text: Sequence[str] | None = None,
    ) -> None:
        self.original = original
        self.names = tuple(names)
        self._groups: dict[str, _Group] = {}
        for name in self.names:
            if name in PEAKS:
                self._groups["peaks"] = self._peaks
            elif name.startswith("text_"):
                if "text" not in self._groups:
                    self._groups["text"] = _legible(original, text)
            elif name in ("ssim", "ms_ssim") and {"ssim", "ms_ssim"} <= set(names):
                self._groups["ssim"] = self._both_ssim
            elif name in _VGG and set(_VGG) <= set(names):
                if "vgg" not in self._groups:
                    self._groups["vgg"] = _both_vgg(original, None if weights is None else str(weights))
            elif _is_network(name):
                self._groups[name] = _network(name, original, None if weights is None else str(weights))
            else:
                self._groups[name] = partial(self._one, name)

    def measure(self, decoded: Picture) -> dict[str, float]:
        """{name: value} of a decoded picture; nan for a metric that the picture is too small for."""
        METRICS["psnr"].function(self.original, decoded)  # checks shape and dtype for all
        values: dict[str, float] = {}
        for group in self._groups.values():
            values |= group(decoded)
        return {name: values[name] for name in self.names}

    def _one(self, name: str, decoded: Picture) -> dict[str, float]:
        try:
            return {name: METRICS[name].function(self.original, decoded)}
        except ValueError:
            return {name: math.nan}

    def _peaks(self, decoded: Picture) -> dict[str, float]:
        try:
            found = spectrum_peaks(self.original, decoded)
        except ValueError:
            found = dict.fromkeys(PERIODS, math.nan)
        return {f"peak_{period}": value for period, value in found.items()}

    def _both_ssim(self, decoded: Picture) -> dict[str, float]:
        if min(decoded.shape[:2]) < ms_ssim.SMALLEST:
            return self._one("ssim", decoded) | self._one("ms_ssim", decoded)
        return dict(zip(("ssim", "ms_ssim"), ms_ssim.ssim_and_ms_ssim(self.original, decoded), strict=True))


def _is_network(name: str) -> bool:
    return name == "dists" or name.startswith("lpips_")


def _network(name: str, original: Picture, weights: str | None) -> _Group:
    """A network's distances from an original whose features are computed here."""
    network: Any = dists_network(weights) if name == "dists" else lpips_network(name.removeprefix("lpips_"), weights)
    if min(original.shape[:2]) < network.smallest:
        return lambda decoded: {name: math.nan}
    features = network.of(original)
    return lambda decoded: {name: network.against(features, decoded)}


def _both_vgg(original: Picture, weights: str | None) -> _Group:
    """LPIPS and DISTS by one pass through the first block of VGG16, a sixth of all their work."""
    lpips, dists = lpips_network("vgg", weights), dists_network(weights)
    if min(original.shape[:2]) < max(lpips.smallest, dists.smallest):
        return lambda decoded: dict.fromkeys(_VGG, math.nan)

    first = lpips.first(original)
    unit, moments = lpips.of(original, first), dists.of(original, first)
    del first

    def both(decoded: Picture) -> dict[str, float]:
        first = lpips.first(decoded)
        return {
            "lpips_vgg": lpips.against(unit, decoded, first),
            "dists": dists.against(moments, decoded, first),
        }

    return both


def _legible(original: Picture, text: Sequence[str] | None) -> _Group:
    """Both shares of legible text, from one reading of each picture."""
    first = legibility.read(original)

    def shares(decoded: Picture) -> dict[str, float]:
        lines = legibility.again(first, decoded)
        known = math.nan if text is None else legibility.known_share(first, lines, text)
        return {"text_read": legibility.share(first, lines), "text_known": known}

    return shares


def versions(names: Sequence[str]) -> list[str]:
    """The packages and programs that measure these metrics, each once."""
    found = (METRICS[name].version() for name in names if name in METRICS)
    return list(dict.fromkeys(version for version in found if version))


def usable(names: Sequence[str], weights: str | Path | None = None) -> tuple[list[str], dict[str, str]]:
    """(the names that can be measured here, {name: why not and the way out}). OptionError for an unknown name."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise OptionError(f"metric {unknown[0]!r} is unknown; choose from {', '.join(NAMES)}")
    picture = np.zeros((192, 192, 3), np.uint8)
    good, missing = [], {}
    for name in names:
        try:
            Reference(picture, [name], weights).measure(picture)
            good.append(name)
        except ToolMissing as error:
            missing[name] = str(error)
    return good, missing
