"""How pages and figures look: colours of codecs, the style of a page, a figure as SVG and PNG, a table as CSV."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from dpc.errors import ToolMissing
from dpc.files import atomic_write, csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "by_codec",
    "file_name",
    "is_own",
    "label",
    "line_style",
    "log_rates",
    "new_figure",
    "save",
    "save_table",
]

# told apart by people who see red and green alike too; DPC's models stand out
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c", "#b8a800")
OWN = ("#000000", "#8b0000", "#3f007d", "#00441b")  # the next one beyond four of them, in four kinds of line
RATES = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 4)  # ticks


class Coded(Protocol):
    """A row of any kind."""

    @property
    def codec(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def settings(self) -> str: ...


Row = TypeVar("Row", bound=Coded)


def by_codec(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by codec, DPC first; the name gets a number where one name stands for several versions."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, list[Row]] = {}
    for row in rows:
        versions = kinds.setdefault(row.codec, [])
        kind = (row.version, row.settings)
        if kind not in versions:
            versions.append(kind)
        number = versions.index(kind)
        found.setdefault(row.codec + (f" ({number + 1})" if number else ""), []).append(row)
    return {name: found[name] for name in sorted(found, key=lambda name: (not is_own(name), name))}


def is_own(codec: str) -> bool:
    """Whether a codec of this name is DPC, with any model."""
    return codec.partition(":")[0].partition(" ")[0] in ("dpc", "dpc-fast")


def line_style(codec: str, codecs: Iterable[str]) -> dict[str, Any]:
    """Colour and dashes of one of the codecs of a figure, as matplotlib takes them."""
    codecs = list(codecs)
    own = [c for c in codecs if is_own(c)]
    if codec in own:
        colour, dashes = divmod(own.index(codec), 4)
        return {"color": OWN[colour % len(OWN)], "linewidth": 2.2, "linestyle": ("-", "--", ":", "-.")[dashes]}
    index = [c for c in codecs if c not in own].index(codec)
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": ("-", "--")[index // len(COLOURS) % 2]}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; ToolMissing without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolMissing("the report needs matplotlib; pip install '.[bench]'") from error
    matplotlib.rcParams.update({"svg.hashsalt": "dpc", "svg.fonttype": "path", "text.parse_math": False})
    return Figure(figsize=(width, height), layout="constrained")


def label(name: str) -> str:
    """A name as a legend shows it: matplotlib leaves out those that begin with an underscore."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return f" {text}" if text.startswith("_") else text


def log_rates(axes: Axes, rates: Sequence[float]) -> None:
    """A logarithmic axis of rates with round numbers on it."""
    axes.set_xscale("log")
    ticks = [t for t in RATES if min(rates) * 0.95 <= t <= max(rates) * 1.05]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bits per pixel of the whole file")
    axes.grid(alpha=0.3)


def file_name(name: str) -> str:
    """A name as part of a file's: letters, digits and -._ of it, and nothing that leads out of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")


def save(made: Figure, out: Path, name: str, written: dict[str, Path]) -> str:
    """Write name.svg and name.png into out, note them in written, and return the SVG for a page."""
    name = file_name(name)
    for ending in ("svg", "png"):
        written[f"{name}.{ending}"] = out / f"{name}.{ending}"
    svg = io.StringIO()
    made.savefig(svg, format="svg", metadata={"Date": None})
    atomic_write(
        written[f"{name}.png"], lambda file: made.savefig(file, format="png", dpi=110, metadata={"Software": None})
    )
    atomic_write(written[f"{name}.svg"], svg.getvalue())
    return svg.getvalue()[svg.getvalue().index("<svg") :]


def save_table(
    out: Path, name: str, header: Sequence[str], lines: Iterable[Sequence[Any]], written: dict[str, Path]
) -> None:
    """Write name (CSV) into out and note it in written; a float gets six digits, nan and None nothing."""
    written[name] = out / name
    atomic_write(written[name], csv_text(header, ([_cell(v) for v in line] for line in lines)))


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
