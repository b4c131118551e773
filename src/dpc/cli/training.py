"""The commands train, export, pack and evaluate: parse, one call, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dpc.cli.options import MINUTES, Folders, LpipsWeights, Number, Processes, Threads, folders_of, numbers, words
from dpc.errors import ModelError, OptionError, ToolMissing

__all__ = ["evaluate", "export", "pack", "train"]

Data = Annotated[list[Path], typer.Option("--data", metavar="D", help="Folder of photographs, or a packed zip file.")]
From = Annotated[
    Path | None, typer.Option("--from", metavar="M", help="Start from the weights of a model or a checkpoint.")
]


def _need(*modules: str) -> None:
    """ToolMissing unless all of them are installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolMissing(f"this needs {' and '.join(missing)}; pip install '.[train]'")


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="dpc, msssim, mse, or a .toml file.")],
    data: Data,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", parser=MINUTES, help="Stop after M minutes.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, max=1 << 40, help="Train N steps in all.")
    ] = None,
    horizon: Annotated[
        float | None,
        typer.Option("--horizon", metavar="H", parser=MINUTES, help="Minutes of all calls together; with --minutes."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="CKPT", help="Go on from a checkpoint, or a run's folder.")
    ] = None,
    start: From = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="D", help="Default: runs/NAME.")] = None,
    device: Annotated[str, typer.Option("--device", metavar="D", help="auto, cpu, cuda.")] = "auto",
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", min=1, max=1024, help="Processes, one per GPU.")
    ] = 1,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="auto, fp32, bf16.")] = "auto",
    lpips_weights: LpipsWeights = None,
) -> None:
    """Train a model by a recipe; killed at any moment, --resume goes on."""
    began = time.monotonic()
    _need("torch")
    from dpc.training.begin import begin

    begin(
        recipe,
        data=data,
        began=began,
        minutes=minutes,
        steps=steps,
        horizon=horizon,
        resume=resume,
        start=start,
        out=out,
        device=device,
        devices=devices,
        precision=precision,
        lpips_weights=lpips_weights,
        say=typer.echo,
    )


def pack(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    data: Data,
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", metavar="R", help="Recipes to take along; default dpc, msssim, mse.")
    ] = None,
    start: From = None,
    limit: Annotated[
        float,
        typer.Option("--limit", metavar="MB", parser=Number(0, 1e6, above=True), help="Megabytes of the whole folder."),
    ] = 58.0,
    quality: Annotated[
        int | None,
        typer.Option("--quality", metavar="Q", min=1, max=100, help="Photographs as WebP of this quality: more fit."),
    ] = None,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Make one folder that trains on another machine: ./run.sh MINUTES."""
    _need("torch")
    from dpc.training.earlier import recipe as earlier
    from dpc.training.pack import pack as make
    from dpc.training.recipe import has_codec, read

    if not 0 < limit < math.inf:
        raise OptionError(f"--limit {limit:g}: give megabytes, more than 0")
    recipes: list[Any] = [earlier.read(r) if has_codec(r) else read(r) for r in recipe or ("dpc", "msssim", "mse")]
    made = make(out, data, recipes, start=start, lpips_weights=lpips_weights, limit=int(limit * 1e6), quality=quality)
    parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in made.parts.items())
    typer.echo(f"{out}: {made.bytes / 1e6:.1f} MB ({parts}), {made.pictures} of {made.available} photographs")
    typer.echo(f"there: {out.name}/run.sh MINUTES")


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint: last.pt, weights.pt.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.dpcmodel", help="The artifact to write.")],
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Default: OUT without its ending.")] = None,
    calibrate: Annotated[
        Path | None, typer.Option("--calibrate", metavar="D", help="Photographs to fit the probability tables to.")
    ] = None,
) -> None:
    """Turn a checkpoint into a model artifact for encode and decode."""
    _need("torch", "onnx")
    made = _export(checkpoint, out, name or out.stem, calibrate)
    typer.echo(made)


def _export(checkpoint: Path, out: Path, name: str, calibrate: Path | None) -> str:
    from dpc.codec.artifact import Artifact, find
    from dpc.networks.model import Model
    from dpc.networks.tables import logistic_tables
    from dpc.training.export import calibrate as calibration
    from dpc.training.export import export as exporter
    from dpc.training.export.plain import settle
    from dpc.training.proxy.network import Proxy
    from dpc.training.weights import is_artifact, weights_of

    if out.is_dir() or (out.exists() and not is_artifact(out)):
        raise OptionError(f"{out} exists and is no model artifact; name another file, such as {out.stem}.dpcmodel")
    source = weights_of(checkpoint)
    if source.recipe is None:
        raise ModelError(f"{checkpoint} is an artifact already; give a checkpoint")
    photos = calibration.photos_of(calibrate) if calibrate else None  # fails before any work is done
    model = Model(source.network)
    model.load_state_dict(source.state)
    pattern = settle(model)
    about: dict[str, Any] = {"description": source.recipe.description, "proxy": Proxy.of(Artifact(find(None)).weights)}
    artifact = exporter.export(model, out, name, training=source.training, **about)
    note = f"; pattern on plain ground {pattern[0]:.2f} -> {pattern[1]:.2f} levels"
    if photos:
        before = artifact.tables.frequencies
        counts = calibration.count(artifact, photos)
        after = logistic_tables(counts)
        share = calibration.gain(artifact, before, after, photos)
        if share > 0:
            training = source.training | {"calibration": {"photos_sha256": photos.sha256, "saved": round(share, 5)}}
            artifact = exporter.export(model, out, name, counts=counts, training=training, **about)
            note += f"; calibrated tables save {share:.2%} of the bytes of held-out photographs"
        else:
            note += f"; calibrated tables would cost {-share:.2%} of the bytes of held-out photographs: not calibrated"
    steps = f"step {source.training['step']}, {source.training['crops']} crops"
    return f"{out}: {name} {artifact.identity[:16]}, {artifact.bytes:,} bytes, {steps}{note}"


def evaluate(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Released models by name, artifacts, checkpoints.")
    ],
    images: Annotated[Path, typer.Option("--images", metavar="D", help="Folder of original pictures.")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for rows, table and contact sheets.")],
    bpp: Annotated[str, typer.Option("--bpp", metavar="B,B", help="Rates of the table.")] = "0.15,0.25,0.5",
    quality: Annotated[str, typer.Option("--quality", metavar="Q,Q", help="Qualities to code at as well.")] = "",
    codecs: Annotated[str, typer.Option("--codecs", metavar="C,C", help="Codecs beside, as in dpc bench.")] = "",
    folder: Folders = None,
    crops: Annotated[
        int, typer.Option("--crops", metavar="N", min=0, max=1000, help="Pictures on the contact sheets.")
    ] = 6,
    processes: Processes = 1,
    threads: Threads = 1,
    lpips_weights: LpipsWeights = None,
) -> None:
    """Measure models on real files: rows, a table at equal rates, contact sheets."""
    _need("torch", "onnx")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from dpc.evaluation.compression import evaluate as evaluation
    from dpc.evaluation.compression.run import pictures
    from dpc.training.weights import is_artifact, located

    pictures(images)  # says at once what is wrong with them
    targets, qualities = numbers("--bpp", bpp), numbers("--quality", quality)
    others, places = words(codecs), folders_of(folder or [])
    artifacts = []
    for path in map(located, models):
        if not is_artifact(path):
            name = f"{path.resolve().parent.name}-{path.stem}"
            out.mkdir(parents=True, exist_ok=True)
            typer.echo(_export(path, out / f"{name}.dpcmodel", name, None))
            path = out / f"{name}.dpcmodel"
        artifacts.append(path)
    begin = time.monotonic()
    text = evaluation.evaluate(
        artifacts,
        images,
        out,
        targets,
        qualities=qualities,
        codecs=others,
        folders=places,
        weights=str(lpips_weights) if lpips_weights else None,
        crops=crops,
        processes=processes,
        threads=threads,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(text)
    typer.echo(f"{out}: rows.csv, table.md, curves.png, contact sheets; {time.monotonic() - begin:.0f} s", err=True)
