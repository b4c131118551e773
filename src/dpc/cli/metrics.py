"""The commands metrics and pages: what pictures are measured with. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpc.cli.options import MAX_RESAMPLES, LpipsWeights, words

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


@app.command()
def agree(
    sources: Annotated[
        list[Path], typer.Argument(metavar="VOTES...", help="Studies, folders of their reports, or tables of votes.")
    ],
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="M,M", help="Of a study; default: all that can be measured here.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=10, max=MAX_RESAMPLES, help="Of the bootstrap.")
    ] = 1000,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Say how well metrics predict votes: rank correlation within pictures, with intervals."""
    from dpc.errors import OptionError
    from dpc.study import prediction
    from dpc.study.records import RATER_KINDS

    chosen = words(metrics) if metrics is not None else None
    for source in sources:
        rated = prediction.ratings(source, resamples) if source.is_file() else None
        if rated is not None:
            typer.echo(f"{source}: scores")
            for line in prediction.lines_of(rated):
                typer.echo(f"  {line}")
            continue
        data = prediction.read(source, None, chosen, lpips_weights, lambda line: typer.echo(line, err=True))
        if not data.values:
            raise OptionError(
                f"{source} has no metrics beside its votes; add columns NAME_a and NAME_b, or give a study"
            )
        for kind in RATER_KINDS:
            votes = [v for v in data.votes if v.rater_kind == kind]
            if votes:
                typer.echo(f"{source}: votes of {kind}")
                for line in prediction.lines_of(prediction.predictions(votes, data.values, data.higher, resamples)):
                    typer.echo(f"  {line}")


def pages(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the pictures, their texts and kinds.csv.")],
    only: Annotated[str | None, typer.Option("--only", metavar="P,P", help="Some of the pages; default all.")] = None,
) -> None:
    """Render test pictures with known text: pages, windows, signs, diagrams."""
    from dpc.evaluation import pages as rendered

    for path in rendered.write(out, words(only) if only is not None else None):
        typer.echo(path)
