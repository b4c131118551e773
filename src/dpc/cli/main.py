"""The command `dpc`: each command parses, makes one call of the library for every file, and prints.

Exit codes: 0 done, 1 an error (one line on stderr, `dpc: error: ...`), 2 wrong usage.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import dpc
from dpc.cli import compression as benchmarks
from dpc.cli import detection as detection
from dpc.cli import study as studies
from dpc.cli import training as training
from dpc.cli.batch import STDIO, check_options, named, plan, reason, run
from dpc.cli.options import CompressAI, LpipsWeights, words
from dpc.codec import container
from dpc.errors import DPCError, OptionError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["app", "main"]

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"compress_level": 3}),
    "tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
    "bmp": ("BMP", {}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}
"""What `dpc decode` writes: file name ending -> Pillow's name of the format and its options."""

WITH_ALPHA = ("png", "tif", "tiff", "webp")  # formats that keep transparency
NEAR = 0.05  # a rate further than this share from --bpp is said to be the nearest there is


class Group(TyperGroup):
    """Ends a command that fails with one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (DPCError, OSError, MemoryError) as error:
            typer.echo(f"dpc: error: {reason(error)}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Group,
    help="DPC, a lossy image codec trained on a perceptual metric.",
    no_args_is_help=True,
    add_completion=False,
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


def parse_size(text: str) -> int:
    """Bytes in "40000", "40k" or "1.5M"; k is 1000, M is 1,000,000; whole bytes only."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size, write it as 40000, 40k or 1.5M")
    size = Fraction(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()]
    if size.denominator > 1:
        raise typer.BadParameter(f"{text!r} is no whole number of bytes")
    return int(size)


def parse_crop(text: str) -> tuple[int, int, tuple[int, int] | None]:
    """Width, height and corner of "512x384+100+40"; without a corner it is None, for the middle."""
    match = re.fullmatch(r"(\d+)x(\d+)(?:\+(\d+)\+(\d+))?", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a part of a picture, write it as 512x384 or 512x384+100+40")
    return int(match[1]), int(match[2]), None if match[3] is None else (int(match[3]), int(match[4]))


Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="IN, or IN OUT, or IN... (files, folders) with --out-dir; - is a stream."),
]
Model = Annotated[str | None, typer.Option("--model", metavar="M", help="Name or path of a model.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="Default: all cores.")]
OutDir = Annotated[Path | None, typer.Option("--out-dir", metavar="D", help="Folder for the outputs.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite what exists.")]
Skip = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist as they are, without an error.")]


@app.command()
def encode(
    paths: Paths,
    quality: Annotated[
        float | None, typer.Option("-q", "--quality", metavar="Q", min=1, max=100, help="1 to 100; default 40.")
    ] = None,
    bpp: Annotated[float | None, typer.Option("--bpp", metavar="B", help="Bits per pixel to aim at.")] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option("--max-bytes", metavar="N", parser=parse_size, help="Never larger: 40000, 40k, 1.5M."),
    ] = None,
    model: Model = None,
    no_exif: Annotated[bool, typer.Option("--no-exif", help="Drop EXIF data (camera, time, place).")] = False,
    threads: Threads = None,
    out_dir: OutDir = None,
    force: Force = False,
    skip_existing: Skip = False,
) -> None:
    """Compress pictures to .dpc files."""
    from dpc.codec.image import SUFFIXES

    check_options(force, skip_existing)
    if sum(value is not None for value in (quality, bpp, max_bytes)) > 1:
        raise typer.BadParameter("--quality, --bpp and --max-bytes exclude each other, give one of them")

    def work(source: str, target: str, progress: Callable[[float], None]) -> tuple[bytes, str]:
        given = sys.stdin.buffer.read() if source == STDIO else source
        data = dpc.encode(
            given,
            quality=quality,
            bpp=bpp,
            max_bytes=max_bytes,
            model=model,
            exif=not no_exif,
            threads=threads,
            progress=progress,
        )
        info = dpc.inspect(data)
        note = f"{info.bytes:,} bytes, {info.bpp:.3f} bpp, quality {info.quality:.0f}"
        if bpp is not None and abs(info.bpp / bpp - 1) > NEAR:
            note += f"; nothing this picture can have is nearer to {bpp:g} bpp"
        before = os.path.getsize(given) if isinstance(given, str) else len(given)
        if info.bytes > before:
            note += f"; larger than the input ({before:,} bytes), --max-bytes {before} would not be"
        return data, note

    run(plan(paths, out_dir, "dpc", ["dpc"], SUFFIXES), force, work, skip_existing)


@app.command()
def decode(
    paths: Paths,
    format: Annotated[
        str | None, typer.Option("--format", metavar="F", help=f"{', '.join(FORMATS)}; or by OUT.")
    ] = None,
    model: Model = None,
    threads: Threads = None,
    out_dir: OutDir = None,
    force: Force = False,
    skip_existing: Skip = False,
) -> None:
    """Decode .dpc files to pictures."""
    check_options(force, skip_existing)
    format = format.lower() if format else None
    if format is not None and format not in FORMATS:
        raise typer.BadParameter(f"{format!r} is not one of the formats {', '.join(FORMATS)}")
    jobs = plan(paths, out_dir, format or "png", list(FORMATS) if format is None else [format], (".dpc",))
    codec = None if model is None else dpc.Codec(model, threads)

    def work(source: str, target: str, progress: Callable[[float], None]) -> tuple[bytes, str]:
        data = read(source)
        if codec is None:
            image = dpc.decode(data, threads=threads, progress=progress)
        else:
            image = codec.decode(data, progress=progress)
        ending = format or "png" if target == STDIO else Path(target).suffix[1:].lower()
        return picture_bytes(image, ending), f"{image.width}x{image.height} {image.mode}"

    def check(source: str) -> None:
        with open(source, "rb") as file:
            container.check_magic(file.read(len(container.MAGIC)))

    run(jobs, force, work, skip_existing, check)


@app.command()
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
            typer.echo(f"{chr(10) if number else ''}{typer.format_filename(path)}")
        typer.echo(f"{info.width}x{info.height} {info.mode}, {info.bytes:,} bytes, {info.bpp:.3f} bpp")
        typer.echo(f"quality  {info.quality:.1f} (level {info.level})")
        typer.echo(f"model    {info.model or 'not installed here'} ({info.model_id})")
        for name, size in info.sections.items():
            typer.echo(f"{name:<8} {size:,} bytes")
    if failed:
        raise typer.Exit(1)


@app.command()
def models() -> None:
    """List the models that are installed."""
    for model in dpc.models():
        notes = ", default" * model.default + ", exact pixels" * model.exact_pixels
        typer.echo(f"{model.name} ({model.id[:16]}{notes}), {model.bytes:,} bytes: {model.description}")


@app.command()
def compare(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A picture, or - for stdin.")],
    out: Annotated[str | None, typer.Option("--out", metavar="PAGE", help="Default: beside PHOTO, .html.")] = None,
    quality: Annotated[
        float | None, typer.Option("--quality", metavar="Q", min=1, max=100, help="Of DPC, 1 to 100.")
    ] = None,
    bpp: Annotated[
        float | None, typer.Option("--bpp", metavar="B", help="Bits per pixel that DPC aims at; default 0.25.")
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
    threads: Threads = None,
    compressai: CompressAI = None,
    lpips_weights: LpipsWeights = None,
    force: Force = False,
) -> None:
    """Make an HTML page of a photograph and what every codec makes of it at equal bytes."""
    if sum(value is not None for value in (quality, bpp, max_bytes)) > 1:
        raise typer.BadParameter("--quality, --bpp and --max-bytes exclude each other, give one of them")
    part = None if crop is None else parse_crop(crop)

    def work(source: str, target: str, progress: Callable[[float], None]) -> tuple[bytes, str]:
        from dpc.evaluation.compression import compare as benchmark

        made = benchmark.compare(
            read(source) if source == STDIO else source,
            quality=quality,
            bpp=bpp,
            max_bytes=max_bytes,
            codecs=None if codecs is None else words(codecs),
            crop=part,
            model=model,
            threads=threads,
            compressai=compressai,
            lpips_weights=lpips_weights,
            progress=progress,
        )
        left_out = [f"not shown, {name}: {why}" for name, why in made.missing.items()]
        return benchmark.page(made).encode(), "\n".join([made.summary, *left_out])

    run(plan([photo] if out is None else [photo, out], None, "html", ["html", "htm"]), force, work)


app.command()(benchmarks.bench)
app.command()(benchmarks.report)
app.command()(detection.detect)
app.add_typer(studies.app, name="study")
app.command()(training.train)
app.command()(training.export)
app.command()(training.pack)
app.command()(training.judge)


def read(path: str) -> bytes:
    """The bytes of a file, or of stdin for "-"."""
    return sys.stdin.buffer.read() if path == STDIO else Path(path).read_bytes()


def picture_bytes(image: Image.Image, ending: str) -> bytes:
    """The picture as a file of one of FORMATS, with its colour profile and EXIF."""
    if image.mode in ("LA", "RGBA") and ending not in WITH_ALPHA:
        raise OptionError(f"this picture is transparent, which .{ending} does not keep; choose {', '.join(WITH_ALPHA)}")
    name, options = FORMATS[ending]
    kept = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    out = io.BytesIO()
    image.save(out, name, **options, **kept)
    return out.getvalue()


if __name__ == "__main__":
    main()
