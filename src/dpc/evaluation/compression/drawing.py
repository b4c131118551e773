"""Curves of metrics over the rate: one metric, or several side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dpc.evaluation import figures, independence
from dpc.evaluation.compression import curves
from dpc.evaluation.compression.rows import Row
from dpc.evaluation.compression.table import seen
from dpc.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_of", "curves_of"]

Lines = Mapping[str, Sequence[tuple[float, float]]]
Bands = Mapping[str, Sequence[float]]


def _draw(
    axes: Axes, metric: str, lines: Lines, codecs: Iterable[str], seen: Mapping[str, str], bands: Bands | None = None
) -> None:
    """Lines (codec -> (bpp, mean)) of a metric; codecs: all of the figure, for colours that stay.

    seen: see table. bands: codec -> half of the interval at every point of its line; not drawn of DPC's models before
    the last one, whose bands lie on one another.
    """
    codecs = list(codecs)
    earlier = [codec for codec in codecs if figures.is_own(codec)][:-1]
    for codec, line in lines.items():
        if line:
            around = np.array((bands or {}).get(codec, ()))
            if codec not in earlier and len(around) and np.isfinite(around).all():
                rates, means = np.array(line).T
                colour = figures.line_style(codec, codecs)["color"]
                axes.fill_between(rates, means - around, means + around, color=colour, alpha=0.1, linewidth=0)
            axes.plot(*zip(*line, strict=True), label=figures.label(codec), **figures.line_style(codec, codecs))
    figures.log_rates(axes, [r for line in lines.values() for r, _ in line])
    direction = "higher" if METRICS[metric].higher_is_better else "lower"
    title = independence.heading(METRICS[metric].title, metric, seen)
    axes.set_ylabel(f"{title}, {direction} is better")


def curve_of(
    metric: str,
    lines: Lines,
    codecs: Iterable[str],
    seen: Mapping[str, str] | None = None,
    bands: Bands | None = None,
) -> Figure:
    """A figure of one metric; seen: codec -> what it was trained on or selected by; bands: see _draw."""
    made = figures.new_figure(7.2, 4.6)
    axes = made.subplots()
    _draw(axes, metric, lines, codecs, seen or {}, bands)
    axes.legend(fontsize=8, framealpha=0.8)
    return made


def curves_of(metrics: Sequence[str], data: Mapping[str, Sequence[Row]]) -> Figure | None:
    """A figure with a panel for each metric that at least one codec has a curve of; None without any.

    data: see figures.by_codec. Raises ToolMissing without matplotlib.
    """
    count = len({row.sha256 for rows in data.values() for row in rows})
    found = {m: {codec: curves.curve(curves.points(rows, m), count) for codec, rows in data.items()} for m in metrics}
    found = {m: lines for m, lines in found.items() if any(lines.values())}
    if not found:
        return None
    made = figures.new_figure(10.4, 4.0 * math.ceil(len(found) / 2))
    panels = list(made.subplots(math.ceil(len(found) / 2), 2, squeeze=False).flat)
    for axes, (metric, lines) in zip(panels, found.items(), strict=False):
        _draw(axes, metric, lines, data, seen(data))
    for axes in panels[len(found) :]:
        axes.remove()
    made.axes[0].legend(fontsize=8, framealpha=0.8)
    return made
