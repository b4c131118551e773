"""K1 (weight of 1 - MS-SSIM), K2 (of LPIPS) and the scales of MS-SSIM, swept a little on the base network of 2018.

    python scripts/loss_sweep.py RUNS --data PHOTOS --lpips-weights W [--from WEIGHTS] [--crops 6000] [--minutes M]
    python scripts/loss_sweep.py RUNS --recipes                     writes RUNS/recipes/NAME.json alone, for `dpc pack`
    python scripts/loss_sweep.py RUNS --table                       makes RUNS/table.md of the runs that are there

Trains one variant of results/earlier/base-2018-dpc/high.toml after the other, each at the same target of the rate and
with the same crops, below RUNS; what is over is skipped. All begin with the same weights, or with random ones. The
table shows held-out photographs of the training, never a test set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dpc.errors import DPCError, OptionError
from dpc.training.earlier.recipe import Recipe, read
from dpc.training.in_turn import in_turn
from dpc.training.log import read as rows
from dpc.training.trainer import Run

BASE = Path(__file__).parent.parent / "results" / "earlier" / "base-2018-dpc" / "high.toml"
CROPS = 6000
RATIOS = ((5000.0, 0.0), (3750.0, 500.0), (2500.0, 1000.0), (1250.0, 1500.0), (0.0, 2000.0))
"""K1, K2: from MS-SSIM alone to LPIPS alone. Both terms have about the same size at 2500 and 1000."""
SCALES = (4, 3)
"""MS-SSIM of fewer scales than the published five, with K1 and K2 of the base recipe."""
COLUMNS = ("bpp", "psnr", "ms_ssim", "lpips_alex", "lpips_squeeze")


def variants(base: Recipe, crops: int = CROPS) -> list[Recipe]:
    """The recipes of the sweep."""
    losses = [(f"k1-{k1:g}-k2-{k2:g}", replace(base.loss, ms_ssim=k1, lpips=k2)) for k1, k2 in RATIOS]
    losses += [(f"scales-{scales}", replace(base.loss, ms_ssim_scales=scales)) for scales in SCALES]
    return [
        replace(base, name=name, description=f"{base.description}; a variant of its loss", loss=loss, crops=crops)
        for name, loss in losses
    ]


def write(recipes: Sequence[Recipe], folder: Path) -> None:
    """Write the recipes as files that `dpc pack` and `dpc train` take."""
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        (folder / f"{recipe.name}.json").write_text(json.dumps(recipe.plain(), indent=1) + "\n")


def table(recipes: Sequence[Recipe], runs: Path) -> str:
    """A line for each variant that has been validated: its loss, and its last validation."""
    lines = [
        "Held-out photographs of the training, by the averaged weights; the rate is estimated. Alex was trained on.",
        "",
        f"| K1 : K2 | MS-SSIM | crops | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (3 + len(COLUMNS))}",
    ]
    for recipe in recipes:
        found = rows(runs / recipe.name / "validation.csv")
        if not found:
            continue
        loss, last = recipe.loss, found[-1]
        form = f"{loss.ms_ssim_scales} scales" if loss.ms_ssim else "–"
        values = (f"{float(last[name]):.{2 if name == 'psnr' else 4}f}" if last.get(name) else "–" for name in COLUMNS)
        lines.append(f"| {loss.ms_ssim:g} : {loss.lpips:g} | {form} | {last['crops']} | {' | '.join(values)} |")
    if len(lines) == 4:
        raise OptionError(f"{runs} holds no run of the sweep that was validated; train first")
    return "\n".join(lines) + "\n"


def main() -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description="A sweep over the weights and the form of the joint loss.")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, action="append", metavar="PHOTOS")
    parser.add_argument("--lpips-weights", metavar="W")
    parser.add_argument("--from", dest="start", type=Path, metavar="WEIGHTS", help="weights that all begin with")
    parser.add_argument("--crops", type=int, default=CROPS, metavar="N", help=f"of each variant; default: {CROPS}")
    parser.add_argument("--minutes", type=float, metavar="M", help="of this call")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recipes", action="store_true", help="write the recipes and train nothing")
    parser.add_argument("--table", action="store_true", help="make the table and train nothing")
    args = parser.parse_args()
    try:
        recipes = variants(read(BASE), args.crops)
        write(recipes, args.runs / "recipes")
        if args.recipes:
            return 0
        if not args.table:
            if not args.data:
                raise OptionError("--data is missing: the folder of photographs")
            run = Run(
                out=args.runs,
                data=args.data,
                minutes=args.minutes,
                device=args.device,
                lpips_weights=args.lpips_weights,
                began=began,
            )
            in_turn(recipes, run, args.start)
        (args.runs / "table.md").write_text(table(recipes, args.runs))
        print((args.runs / "table.md").read_text())
    except (DPCError, OSError) as error:
        print(f"loss_sweep: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
