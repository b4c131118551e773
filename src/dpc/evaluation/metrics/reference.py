"""An original picture and what every comparison with it shares: network features are computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpc.errors import OptionError, ToolMissing
from dpc.evaluation.metrics import METRICS, dists_network, lpips_network, ms_ssim
from dpc.evaluation.metrics.pair import Picture
from dpc.evaluation.metrics.spectrum import PERIODS, spectrum_peaks

__all__ = ["DEFAULT", "NAMES", "PEAKS", "Reference", "usable"]

PEAKS = tuple(f"peak_{period}" for period in PERIODS)
NAMES = (*METRICS, *PEAKS)
"""All that can be measured: METRICS, and the error spectrum's ratios at its periods."""
ON_REQUEST = ("lpips_vgg", "dists", "butteraugli")
"""VGG16's trunk is a download of half a gigabyte, DISTS and Butteraugli cannot be had by pip."""
DEFAULT = tuple(name for name in NAMES if name not in ON_REQUEST)


class Reference:
    """Measures decoded pictures against one original.

    names: some of NAMES. weights: the folder of the weights of LPIPS and DISTS. Raises ToolMissing, ModelError.
    """

    def __init__(self, original: Picture, names: Sequence[str] = DEFAULT, weights: str | Path | None = None) -> None:
        self.original = original
        self.names = tuple(names)
        self._networks: dict[str, tuple[Any, Any]] = {}
        for name in self.names:
            if _is_network(name):
                folder = None if weights is None else str(weights)
                network: Any = (
                    dists_network(folder) if name == "dists" else lpips_network(name.removeprefix("lpips_"), folder)
                )
                if min(original.shape[:2]) >= network.smallest:
                    self._networks[name] = network, network.of(original)

    def measure(self, decoded: Picture) -> dict[str, float]:
        """{name: value} of a decoded picture; nan for a metric that the picture is too small for."""
        METRICS["psnr"].function(self.original, decoded)  # checks shape and dtype for all
        values: dict[str, float] = {}
        peaks: dict[int, float] = {}
        if set(PEAKS) & set(self.names):
            try:
                peaks = spectrum_peaks(self.original, decoded)
            except ValueError:
                peaks = dict.fromkeys(PERIODS, math.nan)
        if {"ssim", "ms_ssim"} <= set(self.names) and min(decoded.shape[:2]) >= ms_ssim.SMALLEST:
            values["ssim"], values["ms_ssim"] = ms_ssim.ssim_and_ms_ssim(self.original, decoded)
        for name in self.names:
            if name in values:
                continue
            if name in PEAKS:
                values[name] = peaks[int(name.removeprefix("peak_"))]
            elif _is_network(name):
                values[name] = math.nan
                if name in self._networks:
                    network, features = self._networks[name]
                    values[name] = float(network.distance(features, network.of(decoded)))
            else:
                try:
                    values[name] = METRICS[name].function(self.original, decoded)
                except ValueError:
                    values[name] = math.nan
        return {name: values[name] for name in self.names}


def _is_network(name: str) -> bool:
    return name == "dists" or name.startswith("lpips_")


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
