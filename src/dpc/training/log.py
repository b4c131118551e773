"""What a training leaves to look at while it runs: log.csv, validation.csv and a page that reloads itself."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from dpc.files import atomic_write

RATES = (0.15, 0.25, 0.5)  # bpp of the validation curves
TEMPLATES = Path(__file__).parent / "templates"
COLOURS = ("#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#8a6d1f")

Points = list[tuple[float, float]]


class Log:
    """A CSV file that grows by rows. On resume rows from the checkpoint's step on are dropped."""

    def __init__(self, path: Path, resumed: bool, step: int) -> None:
        self.path = path
        self._begin([r for r in read(path) if int(r["step"]) <= step] if resumed else [], [])

    def _begin(self, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> None:
        """Write the file anew with the columns of these rows and further ones; those that a row lacks stay empty."""
        self._columns = list(dict.fromkeys([c for row in rows for c in row] + list(columns)))
        self._file = open(self.path, "w", newline="", buffering=1)
        self._writer = csv.DictWriter(self._file, self._columns)
        if self._columns:
            self._writer.writeheader()
        self._writer.writerows(rows)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row. Columns that the file does not have yet are added to it."""
        if not set(row) <= set(self._columns):
            self._file.close()
            self._begin(read(self.path), list(row))
        self._writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, without a last one that was cut off; none when there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as f:
        return [r for r in csv.DictReader(f) if None not in r.values() and r.get("step", "").isdigit()]


def at_rate(rows: Sequence[dict[str, str]], bpp: float, metric: str) -> float | None:
    """A validation metric at a rate, linear in log bpp between the levels of one step; None outside them."""
    points = sorted((math.log(float(r["bpp"])), float(r[metric])) for r in rows if r.get(metric))
    x = math.log(bpp)
    for (x0, v0), (x1, v1) in zip(points, points[1:], strict=False):
        if x0 <= x <= x1:
            return v0 + (v1 - v0) * (x - x0) / max(x1 - x0, 1e-9)
    return None


def page(folder: Path) -> Path:
    """Write folder/curves.html from log.csv and validation.csv beside it. Needs nothing but a browser to look at."""
    rows = read(folder / "log.csv")
    groups: dict[str, list[dict[str, str]]] = {}
    for row in read(folder / "validation.csv"):
        groups.setdefault(row["step"], []).append(row)
    panels = []
    one_rate = all(len(group) == 1 for group in groups.values())
    for metric in ("bpp", "psnr", "ms_ssim", "lpips_alex", "lpips_squeeze", "grid", "plain"):
        lines: dict[str, Points] = {}
        if one_rate:
            lines[""] = [(float(g[0]["minutes"]), float(g[0][metric])) for g in groups.values() if g[0].get(metric)]
        for rate in () if one_rate or metric == "bpp" else RATES:
            found = [(float(g[0]["minutes"]), at_rate(g, rate, metric)) for g in groups.values()]
            lines[f"{rate:g} bpp"] = [(x, y) for x, y in found if y is not None]
        panels.append(_panel(f"validation {metric}", lines))
    for metric in (
        "loss",
        "bpp",
        "mse",
        "ms_ssim",
        "lpips",
        "chroma",
        "grid",
        "plain",
        "edges",
        "norm",
        "lr",
        "crops_per_s",
    ):
        points = [(float(r["minutes"]), float(r[metric])) for r in rows if r.get(metric)]
        panels.append(_panel(metric, {"": points}))
    last = rows[-1] if rows else {}
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    title = f"{folder.name}: step {last.get('step', 0)}, {float(last.get('minutes', 0)):.1f} minutes, {now}"
    target = folder / "curves.html"
    text = _environment().get_template("curves.html").render(title=title, panels=[p for p in panels if p])
    atomic_write(target, text)
    return target


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)


def lasting(say: Callable[[str], None]) -> Callable[[str], None]:
    """say, but a training whose reader has gone (Ctrl-C ends the `tee` behind it as well) goes on in silence."""

    def told(line: str) -> None:
        try:
            say(line)
        except BrokenPipeError:  # what is still in the buffer must not fail at exit
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return told


def _panel(title: str, lines: dict[str, Points], width: int = 380, height: int = 220) -> dict[str, Any] | None:
    """What the template draws as one diagram; None when there is nothing in it."""
    lines = {k: [p for p in v if all(map(math.isfinite, p))] for k, v in lines.items()}
    every = [p for points in lines.values() for p in points]
    if not every:
        return None
    x0, x1 = min(p[0] for p in every), max(p[0] for p in every)
    y0, y1 = min(p[1] for p in every), max(p[1] for p in every)
    x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)
    left, top, w, h = 58, 24, width - 82, height - 48

    def at(x: float, y: float) -> str:
        return f"{left + w * (x - x0) / (x1 - x0):.1f},{top + h * (y1 - y) / (y1 - y0):.1f}"

    ticks = [
        {
            "x": round(left + w * share, 1),
            "y": round(top + h * (1 - share), 1),
            "value": f"{y0 + share * (y1 - y0):.4g}",
            "minutes": f"{x0 + share * (x1 - x0):.4g}",
        }
        for share in (0.0, 0.5, 1.0)
    ]
    drawn = [
        {
            "name": name if points else "",
            "colour": COLOURS[n % len(COLOURS)],
            "points": " ".join(at(x, y) for x, y in points[:: max(1, len(points) // 800)]),
            "x": width - 12 - 58 * (len(lines) - 1 - n),
        }
        for n, (name, points) in enumerate(lines.items())
    ]
    return {
        "title": title,
        "width": width,
        "height": height,
        "left": left,
        "right": left + w,
        "ticks": ticks,
        "lines": drawn,
    }
