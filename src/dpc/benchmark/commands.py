"""The commands bench and report: parse, one call, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpc.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["bench", "folders_of", "numbers", "qualities_of", "report", "words"]


def bench(
    images: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pictures, or one picture.")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for rows.csv; it goes on where it stopped.")],
    codecs: Annotated[
        str | None, typer.Option("--codecs", metavar="C,C", help="Default: all that are installed.")
    ] = None,
    qualities: Annotated[
        list[str] | None, typer.Option("--qualities", metavar="[C=]Q,Q", help="Of all codecs, or of one.")
    ] = None,
    bpp: Annotated[
        str | None, typer.Option("--bpp", metavar="B,B", help="Bring every file of every codec to these rates.")
    ] = None,
    folder: Annotated[
        list[str] | None, typer.Option("--folder", metavar="NAME=D", help="Decoded pictures and sizes.csv.")
    ] = None,
    match: Annotated[
        bool, typer.Option("--match", help="Bring every codec to the size of each file in the folders as well.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="M,M", help="Default: all that pip brings.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", metavar="N", min=1, help="Pictures side by side.")] = 1,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Threads of each process.")] = 1,
    engine: Annotated[str, typer.Option("--engine", metavar="E", help="processes, or ray: a cluster.")] = "processes",
    parquet: Annotated[bool, typer.Option("--parquet", help="Leave rows.parquet beside rows.csv.")] = False,
    lpips_weights: Annotated[
        Path | None, typer.Option("--lpips-weights", metavar="D", help="Folder of the LPIPS weights.")
    ] = None,
    compressai: Annotated[
        str | None, typer.Option("--compressai", metavar="PYTHON", help="The Python that has compressai.")
    ] = None,
    compressai_weights: Annotated[
        str | None, typer.Option("--compressai-weights", metavar="W", help="A checkpoint, or untrained.")
    ] = None,
) -> None:
    """Measure codecs on a folder of pictures: one row per file, in D/rows.csv."""
    # before numpy and torch are loaded, here and in every process that is started
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from dpc import baselines
    from dpc.benchmark import rows, run

    if parquet:
        rows.need_pyarrow()  # before time is spent
    chosen = qualities_of(qualities or [])
    goals = numbers("--bpp", bpp or "")
    plan = run.Plan(
        codecs=tuple(words(codecs) if codecs is not None else baselines.available()),
        qualities=chosen,
        goals=goals or (() if chosen or match else run.GOALS),
        folders=folders_of(folder or []),
        match=match,
        metrics=tuple(words(metrics)) if metrics is not None else run.DEFAULT,
        weights=str(lpips_weights) if lpips_weights else None,
        threads=threads,
        python=compressai,
        network_weights=compressai_weights,
    )
    with _Progress() as bar:
        result = run.bench(plan, images, out, processes=processes, engine=engine, progress=bar.show, say=bar.say)
    if parquet:
        rows.write_parquet(out / "rows.parquet", result.rows)
    for name, why in result.missing.items():
        typer.echo(f"left out, {name}: {why}", err=True)
    for failure in result.failures:
        typer.echo(f"failed, {failure.image} {failure.codec} {failure.what}: {failure.reason}", err=True)
    typer.echo(f"{out / 'rows.csv'}: {len(result.rows)} rows, {result.new} of them new; {len(result.failures)} failed")
    if result.failures:
        raise typer.Exit(1)


def report(
    rows: Annotated[list[Path], typer.Argument(metavar="ROWS", help="rows.csv files, or folders that hold one.")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for the page, figures and tables.")],
    bpp: Annotated[str, typer.Option("--bpp", metavar="B,B", help="Rates of the tables.")] = "0.15,0.25,0.5",
    anchor: Annotated[
        str | None, typer.Option("--anchor", metavar="C", help="The codec that rates are compared with.")
    ] = None,
) -> None:
    """Make tables, curves and rate differences of rows, in one HTML page and as files."""
    from dpc.benchmark.report import report as make

    written = make(rows, out, numbers("--bpp", bpp), anchor)
    typer.echo(f"{written['report.html']} and {len(written) - 1} files beside it")


class _Progress:
    """On a terminal a bar with the time left, elsewhere a line for each picture; both on stderr."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=False)
            self._bar.add_task("pictures", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, share: float) -> None:
        """This share of the pictures is done, 0 to 1."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=share)

    def say(self, line: str) -> None:
        """A picture is done; the bar tells that by itself."""
        if self._bar is None:
            typer.echo(line, err=True)


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers in "0.15,0.25"; OptionError names the option."""
    try:
        return tuple(float(part) for part in words(text))
    except ValueError as error:
        raise OptionError(f"{option} {text}: give numbers with commas between them") from error


def words(text: str) -> list[str]:
    """The parts of "a,b"."""
    return [part.strip() for part in text.split(",") if part.strip()]


def folders_of(texts: list[str]) -> dict[str, str]:
    """Name -> folder of ["name=folder"]; OptionError otherwise."""
    found = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not name or not equals:
            raise OptionError(f"--folder {text}: write it as NAME=DIR")
        found[name] = place
    return found


def qualities_of(texts: list[str]) -> dict[str, tuple[float, ...]]:
    """Codec -> qualities, under "" those of all others."""
    found = {}
    for text in texts:
        name, _, values = text.rpartition("=")
        found[name] = numbers("--qualities", values)
    return found
