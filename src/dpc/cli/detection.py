"""The command detect: parse, calls, print. Heavy imports wait until it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dpc.cli.options import (
    BPP,
    MAX_COUNT,
    MAX_RESAMPLES,
    CompressAI,
    CompressAIWeights,
    Engine,
    Folders,
    Processes,
    Qualities,
    Threads,
    folders_of,
    numbers,
    qualities_of,
    words,
)
from dpc.errors import OptionError

__all__ = ["detect"]

CODECS = ("dpc", "jpeg", "jpeg2000", "webp", "avif", "jpegxl", "heic", "bpg")


def detect(
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="Boxes in COCO's format, a .json file.")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder of rows and report; it goes on there.")],
    detector: Annotated[
        list[str],
        typer.Option("--detector", metavar="X", help="An .onnx, a description of one (.toml), or torchvision:MODEL."),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", metavar="D", help="Folder of the pictures; default: images beside.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option("--codecs", metavar="C,C", help="Default: those in common use that are installed.")
    ] = None,
    bpp: Annotated[
        str, typer.Option("--bpp", metavar="B,B", help="Rates to measure and to compare at.")
    ] = "0.1,0.15,0.25,0.4,0.6",
    match: Annotated[
        str, typer.Option("--match", metavar="M", help="average: one quality for all pictures; image: each one.")
    ] = "average",
    qualities: Qualities = None,
    folder: Folders = None,
    categories: Annotated[
        str | None, typer.Option("--categories", metavar="N,N", help="Score these only; default: all.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, max=MAX_COUNT, help="The first N pictures only.")
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            "--resamples",
            metavar="N",
            min=0,
            max=MAX_RESAMPLES,
            help="Of the bootstrap over pictures; 0: no intervals.",
        ),
    ] = 200,
    anchor: Annotated[
        str | None, typer.Option("--anchor", metavar="C", help="The codec that rates are compared with.")
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, max=1000, help="Pictures with their boxes.")
    ] = 3,
    example_bpp: Annotated[
        float, typer.Option("--example-bpp", metavar="B", parser=BPP, help="No file of the examples is larger.")
    ] = 0.15,
    processes: Processes = 1,
    threads: Threads = 1,
    engine: Engine = "processes",
    device: Annotated[str, typer.Option("--device", metavar="D", help="Of the detectors: cpu or cuda.")] = "cpu",
    compressai: CompressAI = None,
    compressai_weights: CompressAIWeights = None,
) -> None:
    """Measure how well detectors see on compressed pictures: rows, precision at equal bytes, a page."""
    # before numpy is loaded, here and in every process that is started
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from dpc.evaluation import codecs as baselines
    from dpc.evaluation.detection import dataset, detectors, report, run, scoring

    def say(line: str) -> None:
        typer.echo(line, err=True)

    data = dataset.read(annotations, images, categories=words(categories or ""), limit=limit)
    truth = scoring.Truth(data)
    for note in data.notes:
        say(note)
    for text in detector:
        made = detectors.get(text, threads=threads, device=device)
        say(f"{made.name}: {made.settings}; {made.version}")
    common = [n for n in CODECS if baselines.missing(n) is None]
    if "bpg" not in common and baselines.missing("bpg-like") is None:
        common.append("bpg-like")
    plan = run.Plan(
        detectors=tuple(detector),
        codecs=tuple(words(codecs) if codecs is not None else common),
        targets=numbers("--bpp", bpp),
        match=match,
        qualities=qualities_of(qualities or []),
        folders=folders_of(folder or []),
        threads=threads,
        device=device,
        python=compressai,
        network_weights=compressai_weights,
    )
    if not 0 < example_bpp < 24:
        raise OptionError(f"--example-bpp {example_bpp:g}: give bits per pixel, above 0 and below 24")
    if anchor is not None:
        run.check_anchor(plan, out, anchor)
    terminal = sys.stderr.isatty()
    with typer.progressbar(length=1000, file=sys.stderr, hidden=not terminal) as bar:
        result = run.detect(
            plan,
            data,
            out,
            processes=processes,
            engine=engine,
            progress=lambda share: bar.update(round(1000 * share) - bar.pos),
            say=say,
            each=not terminal,
        )
    for name, why in result.missing.items():
        say(f"left out, {name}: {why}")
    for failure in result.failures:
        say(f"failed, {failure.image} {failure.codec} {failure.what}: {failure.reason}")
    written = report.report(
        result,
        data,
        truth,
        out,
        targets=plan.targets,
        resamples=resamples,
        anchor=anchor,
        examples=examples,
        example_bpp=example_bpp,
        processes=processes,
        say=say,
    )
    for line in written.summary:
        typer.echo(line)
    typer.echo(f"{written.page}: {len(result.rows)} rows, {result.new} of them new; {len(result.failures)} failed")
    if result.failures:
        raise typer.Exit(1)
