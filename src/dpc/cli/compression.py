"""The commands compare, bench and report: parse, one call, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpc.cli.batch import Output, read, run
from dpc.cli.inputs import Job, plan
from dpc.cli.options import (
    BPP,
    QUALITY,
    AllThreads,
    CompressAI,
    CompressAIWeights,
    Engine,
    Folders,
    Force,
    LpipsWeights,
    Model,
    Processes,
    Qualities,
    Threads,
    folders_of,
    numbers,
    parse_crop,
    parse_size,
    qualities_of,
    words,
)
from dpc.cli.places import STDIO

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["bench", "compare", "report"]


def bench(
    images: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pictures, or one picture.")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for rows.csv; it goes on where it stopped.")],
    codecs: Annotated[
        str | None, typer.Option("--codecs", metavar="C,C", help="Default: all that are installed.")
    ] = None,
    qualities: Qualities = None,
    bpp: Annotated[
        str | None, typer.Option("--bpp", metavar="B,B", help="Bring every file of every codec to these rates.")
    ] = None,
    folder: Folders = None,
    match: Annotated[
        bool, typer.Option("--match", help="Bring every codec to the size of each file in the folders as well.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="M,M", help="Default: all that pip brings.")
    ] = None,
    processes: Processes = 1,
    threads: Threads = 1,
    engine: Engine = "processes",
    kinds: Annotated[
        Path | None, typer.Option("--kinds", metavar="F", help="Kinds of the pictures; default kinds.csv beside them.")
    ] = None,
    generations: Annotated[
        str, typer.Option("--generations", metavar="N,N", help="Measure after encoding and decoding so many times.")
    ] = "1",
    parquet: Annotated[bool, typer.Option("--parquet", help="Leave rows.parquet beside rows.csv.")] = False,
    lpips_weights: LpipsWeights = None,
    compressai: CompressAI = None,
    compressai_weights: CompressAIWeights = None,
) -> None:
    """Measure codecs on a folder of pictures: one row per file, in D/rows.csv."""
    # before numpy and torch are loaded, here and in every process that is started
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from dpc.evaluation import codecs as baselines
    from dpc.evaluation import kinds as lists
    from dpc.evaluation.compression import rows, run

    if parquet:
        rows.need_pyarrow()  # before time is spent
    chosen = qualities_of(qualities or [])
    targets = numbers("--bpp", bpp or "")
    plan = run.Plan(
        codecs=tuple(words(codecs)) if codecs is not None else baselines.USUAL,
        qualities=chosen,
        targets=targets or (() if chosen or match else run.TARGETS),
        folders=folders_of(folder or []),
        match=match,
        metrics=tuple(words(metrics)) if metrics is not None else run.DEFAULT,
        weights=str(lpips_weights) if lpips_weights else None,
        kinds=lists.read(kinds) if kinds else {},
        generations=tuple(int(n) for n in numbers("--generations", generations)),
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
    for (codec, target), count in sorted(run.far(plan, result).items()):
        typer.echo(
            f"{codec}: {count} files are more than {run.NEAR:.0%} away from {target:g} bpp, as near as it comes",
            err=True,
        )
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
    kinds: Annotated[
        Path | None, typer.Option("--kinds", metavar="F", help="Kinds of the pictures, in place of those in the rows.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", metavar="D", help="The folder that was measured, to look at.")
    ] = None,
    at: Annotated[float, typer.Option("--at", metavar="B", parser=BPP, help="Bits per pixel of the pictures.")] = 0.25,
    codecs: Annotated[
        str | None, typer.Option("--codecs", metavar="C,C", help="Of the pictures; default: DPC and four others.")
    ] = None,
    folder: Folders = None,
    least: Annotated[
        int, typer.Option("--least", metavar="N", min=3, max=100, help="Files of a picture for its rate difference.")
    ] = 4,
) -> None:
    """Make tables, curves and rate differences of rows, in one HTML page and as files."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from dpc.evaluation.compression.report import report as make

    named = None
    if kinds:
        from dpc.evaluation.kinds import read

        named = read(kinds)
    written = make(
        rows,
        out,
        numbers("--bpp", bpp),
        anchor,
        named,
        pictures=pictures,
        at=at,
        codecs=words(codecs or ""),
        folders=folders_of(folder or []),
        least=least,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(f"{written['report.html']} and {len(written) - 1} files beside it")


def compare(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A picture, or - for stdin.")],
    out: Annotated[str | None, typer.Option("--out", metavar="PAGE", help="Default: beside PHOTO, .html.")] = None,
    quality: Annotated[
        float | None, typer.Option("--quality", metavar="Q", parser=QUALITY, help="Of DPC, 1 to 100.")
    ] = None,
    bpp: Annotated[
        float | None,
        typer.Option("--bpp", metavar="B", parser=BPP, help="Bits per pixel that DPC aims at; default 0.25."),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", metavar="N", parser=parse_size, help="No file is larger.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option("--codecs", metavar="C,C", help="Beside DPC; default: all that are installed.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="WxH[+X+Y]", help="Only this part; by default of the middle.")
    ] = None,
    model: Model = None,
    threads: AllThreads = None,
    compressai: CompressAI = None,
    lpips_weights: LpipsWeights = None,
    force: Force = False,
) -> None:
    """Make an HTML page of a photograph and what every codec makes of it at equal bytes."""
    if sum(value is not None for value in (quality, bpp, max_bytes)) > 1:
        raise typer.BadParameter("--quality, --bpp and --max-bytes exclude each other, give one of them")
    part = None if crop is None else parse_crop(crop)

    options = {
        "quality": quality,
        "bpp": bpp,
        "max_bytes": max_bytes,
        "codecs": None if codecs is None else words(codecs),
        "crop": part,
        "model": model,
        "threads": threads,
        "compressai": compressai,
        "lpips_weights": lpips_weights,
    }
    inputs = plan([photo] if out is None else [photo, out], None, "html", ["html", "htm"])
    run(inputs, _Comparison(options), force=force)


@dataclass(frozen=True)
class _Comparison:
    """The work of `dpc compare`."""

    options: dict[str, Any]

    def __call__(self, job: Job, progress: Callable[[float], None]) -> Output:
        from dpc.evaluation.compression import compare as comparison

        source = read(job.source) if job.source == STDIO else job.source
        made = comparison.compare(source, **self.options, progress=progress)
        left_out = [f"not shown, {name}: {why}" for name, why in made.missing.items()]
        return Output(comparison.page(made).encode(), "\n".join([made.summary, *left_out]))

    def check(self, source: str) -> None:
        """Any file will do."""

    def on_one_core(self) -> _Comparison:
        """There is one photograph."""
        return self


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
