"""The figures of a study's report. label: a line above each, such as that the raters were no people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dpc.evaluation.figures import COLOURS, new_figure
from dpc.evaluation.metrics import METRICS
from dpc.evaluation.metrics.reference import PEAKS
from dpc.study.agreement import Correlation
from dpc.study.preferences import Preference
from dpc.study.ranking import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["metrics", "preferences", "scores"]


def preferences(shown: Sequence[Preference], label: str) -> Figure:
    """The share that each pair of conditions got, with its interval."""
    made = _figure(8.4, 1.0 + 0.36 * len(shown), label)
    axes = made.subplots()
    for y, p in enumerate(reversed(shown)):
        colour = "#0b5cad" if p.decided else "#68707a"
        axes.plot([100 * p.interval[0], 100 * p.interval[1]], [y, y], color=colour, linewidth=2.2, alpha=0.55)
        axes.plot(100 * p.share, y, "o", color=colour, markersize=7)
    axes.axvline(50, color="#1b1f24", linewidth=0.9)
    axes.set_yticks(range(len(shown)), [p.a for p in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(0, 100)
    other = axes.secondary_yaxis("right")
    other.set_yticks(range(len(shown)), [p.b for p in reversed(shown)])
    other.tick_params(length=0)
    other.spines["right"].set_visible(False)
    axes.set_xticks(range(0, 101, 25), ["all prefer\nthe right", "25 %", "even", "75 %", "all prefer\nthe left"])
    axes.grid(axis="x", alpha=0.25)
    _bare(axes)
    return made


def scores(items: Sequence[Score], bpp: Mapping[str, float], label: str) -> Figure | None:
    """Scores of the conditions: curves over the rate where rates are known, else one line each; None of nothing."""
    if not items:
        return None
    methods: dict[str, list[Score]] = defaultdict(list)
    for item in items:
        methods[item.condition.rpartition("@")[0] or item.condition].append(item)
    if all(item.condition in bpp for item in items) and any(len(m) > 1 for m in methods.values()):
        return _curves(methods, bpp, label)
    return _lines(items, label)


def _curves(methods: Mapping[str, list[Score]], bpp: Mapping[str, float], label: str) -> Figure:
    """A curve over the rate for each method."""
    made = _figure(8.4, 4.6, label)
    axes = made.subplots()
    for i, (method, own) in enumerate(sorted(methods.items())):
        own.sort(key=lambda s: bpp[s.condition])
        x = [bpp[s.condition] * (1 + 0.012 * (i - len(methods) / 2)) for s in own]
        below = [s.elo - s.elo_interval[0] for s in own]
        above = [s.elo_interval[1] - s.elo for s in own]
        colour = COLOURS[i % len(COLOURS)]
        y = [s.elo for s in own]
        axes.errorbar(x, y, [below, above], fmt="o-", capsize=3, color=colour, linewidth=1.8, label=method)
    axes.set_xscale("log")
    spaced: list[float] = []
    for tick in sorted({round(float(f"{b:.2g}"), 3) for b in bpp.values()}):
        if not spaced or tick / spaced[-1] > 1.15:
            spaced.append(tick)
    axes.set_xticks(spaced, [f"{t:g}" for t in spaced])
    axes.minorticks_off()
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("Elo (95 % interval)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return made


def _lines(items: Sequence[Score], label: str) -> Figure:
    """A line for each condition."""
    made = _figure(8.4, 1.0 + 0.36 * len(items), label)
    axes = made.subplots()
    for row, item in enumerate(reversed(items)):
        axes.plot(item.elo_interval, [row, row], color="#0b5cad", linewidth=2.2, alpha=0.55)
        axes.plot(item.elo, row, "o", color="#0b5cad", markersize=7)
    several = len({item.group for item in items}) > 1
    axes.set_yticks(
        range(len(items)),
        [f"{i.condition}{f'  (group {i.group + 1})' if several else ''}" for i in reversed(items)],
    )
    axes.set_ylim(-0.6, len(items) - 0.4)
    axes.set_xlabel("Elo (95 % interval); 1500 is the mean" + (" of each group" if several else ""))
    axes.grid(axis="x", alpha=0.25)
    _bare(axes)
    return made


def metrics(found: Sequence[Correlation], ceiling: float, label: str) -> Figure | None:
    """How many votes each metric predicts; None of nothing."""
    shown = [m for m in found if m.metric not in PEAKS]
    if not shown:
        return None
    made = _figure(8.4, 1.1 + 0.34 * len(shown), label)
    axes = made.subplots()
    for y, m in enumerate(reversed(shown)):
        axes.plot([100 * v for v in m.interval], [y, y], color="#1b7f4d", linewidth=2.2, alpha=0.55)
        axes.plot(100 * m.accuracy, y, "o", color="#1b7f4d", markersize=7)
    axes.axvline(50, color="#1b1f24", linewidth=0.9)
    axes.axvline(100 * ceiling, color="#1b1f24", linewidth=0.9, linestyle=":")
    axes.text(100 * ceiling, len(shown) - 0.5, " the best possible", fontsize=8, va="bottom", ha="center")
    names = [METRICS[m.metric].title if m.metric in METRICS else m.metric for m in reversed(shown)]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(-0.6, len(shown) - 0.1)
    axes.set_xlim(0, 100)
    axes.set_xlabel("votes that the metric predicts, % (50 is chance)")
    axes.grid(axis="x", alpha=0.25)
    _bare(axes)
    return made


def _figure(width: float, height: float, label: str) -> Figure:
    made = new_figure(width, height)
    if label:
        made.suptitle(label.strip(), fontsize=9, color="#7a1fa2")
    return made


def _bare(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
