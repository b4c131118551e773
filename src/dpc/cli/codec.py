"""The commands encode, decode, inspect and models: parse, one call of the library for every file, print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

import dpc
from dpc.cli.batch import Output, Work, check_options, named, read, reason, run, shown
from dpc.cli.inputs import Inputs, Job, is_coded, is_picture, plan
from dpc.cli.options import BPP, MAX_JOBS, QUALITY, AllThreads, BatchEngine, Force, Model, parse_region, parse_size
from dpc.cli.places import STDIO, is_stream, is_url
from dpc.cli.results import Results
from dpc.codec import container
from dpc.codec.formats import FORMATS
from dpc.errors import DPCError

__all__ = ["decode", "encode", "inspect", "models_app"]

models_app = typer.Typer()

NEAR = 0.05  # a rate further than this share from --bpp is said to be the nearest there is

Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH", help="IN, or IN OUT, or IN... (files, folders) with --out-dir; - is a stream."),
]
OutDir = Annotated[str | None, typer.Option("--out-dir", metavar="D", help="Folder for the outputs.")]
Skip = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist as they are, without an error.")]
Listed = Annotated[
    Path | None, typer.Option("--list", metavar="F", help="CSV or Parquet: input[, output, quality, ...] a row.")
]
Table = Annotated[Path | None, typer.Option("--table", metavar="F.csv", help="A row for each input: what came of it.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, max=MAX_JOBS, help="Pictures side by side; default: cores.")
]


def encode(
    paths: Paths = None,
    quality: Annotated[
        float | None, typer.Option("-q", "--quality", metavar="Q", parser=QUALITY, help="1 to 100; default 40.")
    ] = None,
    bpp: Annotated[
        float | None, typer.Option("--bpp", metavar="B", parser=BPP, help="Bits per pixel to aim at.")
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option("--max-bytes", metavar="N", parser=parse_size, help="Never larger: 40000, 40k, 1.5M."),
    ] = None,
    lossless: Annotated[
        bool | None,
        typer.Option("--lossless/--no-lossless", help="Keep every pixel; default: where it takes no more bytes."),
    ] = None,
    roi: Annotated[
        Path | None, typer.Option("--roi", metavar="MASK", help="A picture, brighter = better there.")
    ] = None,
    model: Model = None,
    no_exif: Annotated[bool, typer.Option("--no-exif", help="Drop EXIF data (camera, time, place).")] = False,
    no_xmp: Annotated[bool, typer.Option("--no-xmp", help="Drop XMP data.")] = False,
    no_icc: Annotated[bool, typer.Option("--no-icc", help="Drop the colour profile, the colours become sRGB.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop all three and the pixel density.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="In a fifth of the time; less faithful, plain ground less clean.")
    ] = False,
    threads: AllThreads = None,
    out_dir: OutDir = None,
    listed: Listed = None,
    table: Table = None,
    jobs: Jobs = None,
    engine: BatchEngine = "processes",
    force: Force = False,
    skip_existing: Skip = False,
) -> None:
    """Compress pictures to .dpc files."""
    check_options(force, skip_existing)
    targets = {"quality": quality, "bpp": bpp, "max_bytes": max_bytes, "lossless": lossless}
    if sum(value is not None and value is not False for value in targets.values()) > 1:
        raise typer.BadParameter("--quality, --bpp, --max-bytes and --lossless exclude each other, give one of them")
    if lossless and roi is not None:
        raise typer.BadParameter("--lossless and --roi exclude each other, without loss all places are alike; give one")
    inputs = plan(paths or [], out_dir, "dpc", ["dpc"], is_picture, listed)
    kept = {"exif": not no_exif, "xmp": not no_xmp, "icc": not no_icc, "strip": strip, "fast": fast}
    work = _Encode(targets, {"roi": roi, "model": model, "threads": threads, **kept})
    _run(inputs, work, model, table, force=force, skip=skip_existing, jobs=jobs, engine=engine)


@dataclass(frozen=True)
class _Encode:
    """The work of `dpc encode`."""

    targets: dict[str, Any]
    options: dict[str, Any]

    def __call__(self, job: Job, progress: Callable[[float], None]) -> Output:
        given = read(job.source) if is_stream(job.source) or is_url(job.source) else job.source
        targets = job.options or self.targets
        hints: list[str] = []
        data = dpc.encode(given, **targets, **self.options, progress=progress, note=hints.append)
        info = dpc.inspect(data)
        what = "lossless" if info.lossless else "colours merged" if info.merged else f"quality {info.quality:.0f}"
        note = "; ".join([f"{info.bytes:,} bytes, {info.bpp:.3f} bpp, {what}", *hints])
        if job.target == STDIO and hints:
            typer.echo(f"dpc: {named(job.source, '; '.join(hints))}", err=True)
        bpp = targets.get("bpp")
        if info.level is not None and bpp is not None and abs(info.bpp / bpp - 1) > NEAR:
            note += f"; nothing this picture can have is nearer to {bpp:g} bpp"
        before = os.path.getsize(given) if isinstance(given, str) else len(given)
        if info.bytes > before:
            note += f"; larger than the input ({before:,} bytes), --max-bytes {before} would not be"
        return Output(data, note, info.quality)

    def check(self, source: str) -> None:
        """What is no picture says so when it is opened."""

    def on_one_core(self) -> _Encode:
        """The same with one thread, unless threads were asked for."""
        return replace(self, options=self.options | {"threads": self.options["threads"] or 1})


def decode(
    paths: Paths = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="F", help=f"{', '.join(FORMATS)}; or by OUT.")
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="WxH+X+Y", help="Only this part of the picture.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="The whole picture at 1/8 of its size.")] = False,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", metavar="N", min=1, max=container.MAX_PIXELS, help="Refuse larger pictures.")
    ] = container.DEFAULT_MAX_PIXELS,
    model: Model = None,
    threads: AllThreads = None,
    out_dir: OutDir = None,
    listed: Listed = None,
    table: Table = None,
    jobs: Jobs = None,
    engine: BatchEngine = "processes",
    force: Force = False,
    skip_existing: Skip = False,
) -> None:
    """Decode .dpc files to pictures."""
    check_options(force, skip_existing)
    if preview and region is not None:
        raise typer.BadParameter("--preview is of the whole picture; leave --region out, or --preview")
    format = format.lower() if format else None
    if format is not None and format not in FORMATS:
        raise typer.BadParameter(f"{format!r} is not one of the formats {', '.join(FORMATS)}")
    allowed = list(FORMATS) if format is None else [format]
    inputs = plan(paths or [], out_dir, format or "png", allowed, is_coded, listed)
    _run(
        inputs,
        _Decode(format, parse_region(region), preview, max_pixels, model, threads),
        model,
        table,
        force=force,
        skip=skip_existing,
        jobs=jobs,
        engine=engine,
    )


@dataclass(frozen=True)
class _Decode:
    """The work of `dpc decode`."""

    format: str | None
    region: tuple[int, int, int, int] | None
    preview: bool
    max_pixels: int
    model: str | None
    threads: int | None

    def __call__(self, job: Job, progress: Callable[[float], None]) -> Output:
        from dpc.codec.output import picture_bytes

        data = read(job.source)
        limits: dict[str, Any] = {"region": self.region, "preview": self.preview, "max_pixels": self.max_pixels}
        if self.model is None:
            image = dpc.decode(data, **limits, threads=self.threads, progress=progress)
        else:
            from dpc import api

            image = api.codec(self.model, self.threads).decode(data, **limits, progress=progress)
        ending = self.format or "png" if job.target == STDIO else Path(job.target).suffix[1:].lower()
        note = f"{image.width}x{image.height} {image.mode}"
        written, left_out = picture_bytes(image, ending)
        if left_out:
            place = shown("the output" if job.target == STDIO else job.target)
            typer.echo(f"dpc: {place}: .{ending} has no place for: {', '.join(left_out)}", err=True)
        return Output(written, note, dpc.inspect(data).quality)

    def check(self, source: str) -> None:
        """Refuse what is no .dpc file, before its output is looked at."""
        with open(source, "rb") as file:
            container.check_magic(file.read(len(container.MAGIC)))

    def on_one_core(self) -> _Decode:
        """The same with one thread, unless threads were asked for."""
        return replace(self, threads=self.threads or 1)


def _run(inputs: Inputs, work: Work, model: str | None, table: Path | None, **options: Any) -> None:
    """Do the work; a model that cannot be used is one error, not one for each picture."""
    if model is not None:
        from dpc import api

        api.codec(model, None)
    if table is None:
        run(inputs, work, **options)
        return
    with Results(table, options["force"], options["skip"]) as results:
        run(inputs, work, table=results, **options)


def inspect(
    paths: Annotated[list[str], typer.Argument(metavar="IN...", help=".dpc files, or - for stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON; of several files a line for each.")] = False,
) -> None:
    """Print what .dpc files hold, without decoding them."""
    failed = False
    for number, path in enumerate(paths):
        try:
            info = dpc.inspect(read(path))
        except (DPCError, OSError) as error:
            typer.echo(f"dpc: error: {named(path, reason(error))}", err=True)
            failed = True
            continue
        if as_json:
            about = asdict(info) if len(paths) == 1 else {"file": path} | asdict(info)
            typer.echo(json.dumps(about, indent=2 if len(paths) == 1 else None))
            continue
        if len(paths) > 1:
            typer.echo(f"{chr(10) if number else ''}{shown(path)}")
        typer.echo(f"{info.width}x{info.height} {info.mode}, {info.bytes:,} bytes, {info.bpp:.3f} bpp")
        if info.lossless:
            typer.echo("lossless, needs no model")
        elif info.merged:
            typer.echo("colours merged: rare ones, at low rates most, and noise if there was any; needs no model")
        else:
            typer.echo(f"quality  {info.quality:.1f} (level {info.level})")
            typer.echo(f"model    {info.model or 'not installed here'} ({info.model_id})")
        for name, size in info.chunks.items():
            typer.echo(f"{name.replace('_', ' '):<8} {size:,} bytes")
    if failed:
        raise typer.Exit(1)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that are installed, or add one."""
    if context.invoked_subcommand is None:
        for model in dpc.models():
            _print_model(model)


@models_app.command("add")
def models_add(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Model artifacts (.dpcmodel).")],
) -> None:
    """Install models for this user, so that their files can be read."""
    for path in paths:
        model = dpc.add_model(path)
        typer.echo(f"{shown(path)} is installed: {shown(model.path)}", err=True)
        _print_model(model)


def _print_model(model: dpc.ModelInfo) -> None:
    notes = ", default" * model.default + ", exact pixels" * model.exact_pixels
    typer.echo(f"{model.name} ({model.id[:16]}{notes}), {model.bytes:,} bytes: {model.description}")
