"""The commands metrics and pages: what pictures are measured with. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpc.cli.options import LpipsWeights, words

__all__ = ["app", "pages"]

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True, help="The metrics, and which of them is here.")


@app.callback()
def _list(ctx: typer.Context, lpips_weights: LpipsWeights = None) -> None:
    """List the metrics: range, direction, unit, version and source, and what one lacks that does not work here."""
    if ctx.invoked_subcommand is not None:
        return
    from dpc.evaluation.metrics import METRICS
    from dpc.evaluation.metrics.reference import DEFAULT, usable

    weights = str(lpips_weights) if lpips_weights else None
    for name, metric in METRICS.items():
        _, missing = usable([name], weights)
        better = "higher" if metric.higher_is_better else "lower"
        low, high = f"{metric.low:g}", f"{metric.high:g}"
        unit = f" {metric.unit}" if metric.unit else ""
        typer.echo(f"{name:15s} {metric.title}: {low} to {high}{unit}, {better} is better")
        state = "by default" if name in DEFAULT else "with --metrics"
        by = f"; {metric.version()}" if metric.version() else ""
        typer.echo(f"{'':15s} {metric.source}{by}; {missing[name] if missing else state}")


def pages(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the pictures, their texts and kinds.csv.")],
    only: Annotated[str | None, typer.Option("--only", metavar="P,P", help="Some of the pages; default all.")] = None,
) -> None:
    """Render test pictures with known text: pages, windows, signs, diagrams."""
    from dpc.evaluation import pages as rendered

    for path in rendered.write(out, words(only) if only is not None else None):
        typer.echo(path)
