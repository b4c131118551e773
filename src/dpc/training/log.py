"""What a training leaves to look at while it runs: log.csv, validation.csv and a page that reloads itself."""

from __future__ import annotations

import contextlib
import csv
import html
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dpc.files import atomic_write

RATES = (0.15, 0.25, 0.5)  # bpp of the validation curves
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
    for metric in ("psnr", "ms_ssim", "lpips_alex", "lpips_squeeze", "grid"):
        lines: dict[str, Points] = {}
        for rate in RATES:
            found = [(float(g[0]["minutes"]), at_rate(g, rate, metric)) for g in groups.values()]
            lines[f"{rate:g} bpp"] = [(x, y) for x, y in found if y is not None]
        panels.append(_panel(f"validation {metric}", lines))
    for metric in ("loss", "bpp", "mse", "ms_ssim", "lpips", "chroma", "grid", "norm", "lr", "crops_per_s"):
        points = [(float(r["minutes"]), float(r[metric])) for r in rows if r.get(metric)]
        panels.append(_panel(metric, {"": points}))
    last = rows[-1] if rows else {}
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    title = html.escape(
        f"{folder.name}: step {last.get('step', 0)}, {float(last.get('minutes', 0)):.1f} minutes, {now}"
    )
    text = (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="30"><title>{title}</title>'
        "<style>body{font:14px sans-serif;margin:1em}svg{margin:4px;border:1px solid #ddd}</style>"
        f"<h1 style='font-size:16px'>{title}</h1>"
        "<p>x: minutes of training; validation: held-out crops, averaged weights.</p>"
        f"{''.join(p for p in panels if p)}"
    )
    target = folder / "curves.html"
    atomic_write(target, text)
    return target


def lasting(say: Callable[[str], None]) -> Callable[[str], None]:
    """say, but a training whose reader has gone (Ctrl-C ends the `tee` behind it as well) goes on in silence."""

    def told(line: str) -> None:
        try:
            say(line)
        except BrokenPipeError:  # what is still in the buffer must not fail at exit
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return told


def _panel(title: str, lines: dict[str, Points], width: int = 380, height: int = 220) -> str:
    """One diagram as SVG, "" when there is nothing in it."""
    lines = {k: [p for p in v if all(map(math.isfinite, p))] for k, v in lines.items()}
    every = [p for points in lines.values() for p in points]
    if not every:
        return ""
    x0, x1 = min(p[0] for p in every), max(p[0] for p in every)
    y0, y1 = min(p[1] for p in every), max(p[1] for p in every)
    x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)
    left, top, w, h = 58, 24, width - 82, height - 48

    def text(x: float, y: float, content: str, more: str = "") -> None:
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" {more}>{html.escape(content)}</text>')

    out = [f'<svg width="{width}" height="{height}">']
    text(left, 16, title, 'font-weight="bold"')
    for share in (0.0, 0.5, 1.0):
        y = top + h * (1 - share)
        out.append(f'<line x1="{left}" x2="{left + w}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        text(left - 4, y + 4, f"{y0 + share * (y1 - y0):.4g}", 'text-anchor="end"')
        text(left + w * share, height - 8, f"{x0 + share * (x1 - x0):.4g}", 'text-anchor="middle"')
    for n, (name, points) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        shown = points[:: max(1, len(points) // 800)]
        path = " ".join(f"{left + w * (x - x0) / (x1 - x0):.1f},{top + h * (y1 - y) / (y1 - y0):.1f}" for x, y in shown)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        text(width - 12 - 58 * (len(lines) - 1 - n), 16, name if points else "", f'text-anchor="end" fill="{colour}"')
    return "".join([*out, "</svg>"])
