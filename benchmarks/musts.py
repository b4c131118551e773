"""The table of what a new model must reach, from the rows in results: dpc-7, the model and AVIF at equal rates.

    python benchmarks/musts.py MODEL [RESULTS]         MODEL: as its rows name it, such as dpc:dpc-8; RESULTS: results

Rows come from results/measure.sh (kodak) and results/kinds.sh (kodak-fourth, pages). Means are over the pictures that
all three have. A line says what must hold at every one of its rates; MISSING where rows are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpc.evaluation.compression import curves, rows

RATES = (0.15, 0.25, 0.5)
TEXT_RATES = (0.2, 0.35, 0.7)
BEFORE, RIVAL = "dpc:dpc-7", "avif"

Values = tuple[float, ...]


@dataclass(frozen=True)
class Must:
    """holds: of the values of the model, of dpc-7 and of AVIF at one rate, and the number of the rate."""

    title: str
    folder: str
    metric: str
    holds: Callable[[float, float, float, int], bool]
    rates: Values = RATES


MUSTS = (
    Must(
        "LPIPS Alex at most .118 / .083 / .048", "kodak", "lpips_alex", lambda m, b, a, i: m <= (0.118, 0.083, 0.048)[i]
    ),
    Must(
        "DISTS, photographs: 0.6 / 0.6 / 0.65 x AVIF's",
        "kodak-fourth",
        "dists",
        lambda m, b, a, i: m <= (0.6, 0.6, 0.65)[i] * a,
    ),
    Must("DISTS, pages: no worse than AVIF's", "pages", "dists", lambda m, b, a, i: m <= a),
    Must("luma error on plain ground: 1.2 x AVIF's", "kodak-fourth", "plain_2", lambda m, b, a, i: m <= 1.2 * a),
    Must("luma error below 1/8: 1.5 x AVIF's", "kodak-fourth", "luma_below_8", lambda m, b, a, i: m <= 1.5 * a),
    Must("SSIMULACRA2: dpc-7's + 6", "kodak", "ssimulacra2", lambda m, b, a, i: m >= b + 6),
    Must("Butteraugli: dpc-7's - 4 %", "kodak", "butteraugli", lambda m, b, a, i: m <= 0.96 * b),
    Must("CVVDP: dpc-7's + .06", "kodak", "cvvdp", lambda m, b, a, i: m >= b + 0.06),
    Must("MS-SSIM: dpc-7's + .004", "kodak", "ms_ssim", lambda m, b, a, i: m >= b + 0.004),
    Must("known text read: AVIF's - .05", "pages", "text_known", lambda m, b, a, i: m >= a - 0.05, TEXT_RATES),
)


def at_rate(measured: list[rows.Row], model: str, metric: str, rate: float) -> tuple[Values, int] | None:
    """Means of the model, of dpc-7 and of AVIF over the pictures that all have, and how many these are."""
    values: list[dict[str, float]] = []
    for codec in (model, BEFORE, RIVAL):
        points = curves.points([row for row in measured if row.codec == codec], metric)
        found = {name: curves.at(curve, rate) for name, curve in points.items()}
        values.append({name: v for name, v in found.items() if v is not None})
    common = set.intersection(*map(set, values))
    if not common:
        return None
    return tuple(sum(v[name] for name in common) / len(common) for v in values), len(common)


def line(must: Must, measured: list[rows.Row], model: str) -> str:
    """One row of the table."""
    cells, met = [], True
    for i, rate in enumerate(must.rates):
        found = at_rate(measured, model, must.metric, rate)
        if found is None:
            return f"| {must.title} | MISSING at {rate:g} bpp | |"
        (mine, before, rival), pictures = found
        met &= must.holds(mine, before, rival, i)
        cells.append(f"{mine:.4g} ({before:.4g}, {rival:.4g}; {pictures})")
    return f"| {must.title} | {' / '.join(cells)} | {'met' if met else 'NOT MET'} |"


def main(model: str, folder: str = "results") -> None:
    measured = {name: rows.read(Path(folder) / name / "rows.csv") for name in {must.folder for must in MUSTS}}
    print(f"| must | {model} ({BEFORE}, {RIVAL}; pictures) at 0.15 / 0.25 / 0.5 bpp, text at 0.2 / 0.35 / 0.7 | |")
    print("|---|---|---|")
    for must in MUSTS:
        print(line(must, measured[must.folder], model))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
