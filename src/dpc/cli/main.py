"""The command `dpc`: each command parses, makes one call of the library for every file, and prints.

Exit codes: 0 done, 1 an error (one line on stderr, `dpc: error: ...`), 2 wrong usage.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dpc
from dpc.cli import codec, compression, detection, metrics, study, training, web
from dpc.cli.batch import reason

__all__ = ["app", "main"]


USAGE: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, whichever package typer takes it from


class Group(TyperGroup):
    """Ends a command that fails with one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, typer.Exit, typer.Abort, USAGE):
            raise
        except Exception as error:  # the last guard: no traceback reaches a user
            typer.echo(f"dpc: error: {reason(error, f'for dpc {ctx.invoked_subcommand}')}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Group,
    help="DPC, a lossy image codec trained on a perceptual metric.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of the console script; never returns, the process ends with the exit code."""
    # so that what a command has half done is cleared away; dpc train and dpc study serve have handlers of their own
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app(prog_name="dpc")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dpc {dpc.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(codec.encode)
app.command()(codec.decode)
app.command()(codec.inspect)
app.add_typer(codec.models_app, name="models")
app.command()(compression.compare)
app.command()(compression.bench)
app.command()(compression.report)
app.add_typer(metrics.app, name="metrics")
app.command()(metrics.pages)
app.command()(detection.detect)
app.add_typer(study.app, name="study")
app.command()(training.train)
app.command()(training.export)
app.command()(training.pack)
app.command()(training.evaluate)
app.command()(web.web)
