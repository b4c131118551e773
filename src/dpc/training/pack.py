"""One folder that trains on any machine with torch, numpy and Pillow: code, photographs, LPIPS weights, run.sh."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from dpc.errors import OptionError
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.training.checkpoint import CHECKPOINT, half
from dpc.training.data import fonts
from dpc.training.data.photos import HELD_OUT, Photos
from dpc.training.recipe import Recipe, to_dict, untaught
from dpc.training.weights import Weights, grown, weights_of

SEED = 5
KEPT = ("JPEG", "WEBP")  # packed as they are

RUN = """#!/usr/bin/env bash
# Trains here with python3 that has torch, numpy and Pillow:
#
#     ./run.sh MINUTES [--horizon H] [--device cpu] ...        everything included: start-up, the last checkpoint
#
# RECIPE=NAME   one of recipes/*.json here; the first one packed is the default
# RUN=FOLDER    where checkpoints and logs go; default: NAME-run beside this folder. A training found there goes on.
# COPY=FOLDER   at the end weights.pt, the logs and curves.html are copied to it (small; last.pt stays in RUN)
# PYTHON=...    the interpreter; default python3
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
minutes=${1:?"usage: ./run.sh MINUTES [options]"}
shift
recipe=${RECIPE:-@RECIPE@}
run=${RUN:-$here-run/$recipe}
mkdir -p "$run"
begin=(--from "$here/warm.pt")
[ -e "$here/warm.pt" ] || begin=()
[ ! -e "$run/last.pt" ] || begin=(--resume "$run/last.pt")
exec 3> >(trap '' INT TERM; exec tee -a "$run/train.log")
tee=$!
[ ! -d "$here/fonts" ] || export DPC_FONTS="$here/fonts"
PYTHONPATH="$here/code" "${PYTHON:-python3}" -m dpc.training "$here/recipes/$recipe.json" --data "$here/photos.zip" \\
    --lpips-weights "$here/lpips" --out "$run" ${begin[@]+"${begin[@]}"} --minutes "$minutes" "$@" >&3 2>&1 &
python=$!
exec 3>&-
trap 'kill -TERM "$python" 2>/dev/null || true' INT TERM  # it ends after the step, with a checkpoint
status=0
while kill -0 "$python" 2>/dev/null; do
    status=0
    wait "$python" || status=$?
done
wait "$tee" || true
if [ -n "${COPY:-}" ]; then
    mkdir -p "$COPY"
    for file in weights.pt log.csv validation.csv train.log curves.html; do
        [ ! -e "$run/$file" ] || cp "$run/$file" "$COPY/$file"
    done
fi
exit $status
"""


@dataclass(frozen=True)
class Packed:
    """What a pack holds: photographs taken of all there are, and bytes of the whole folder and of its parts."""

    pictures: int
    available: int
    bytes: int
    parts: dict[str, int]


def pack(
    out: Path,
    data: Sequence[Path],
    recipes: Sequence[Recipe],
    *,
    start: Path | None = None,
    lpips_weights: Path | None = None,
    limit: int = 58_000_000,
    quality: int | None = None,
) -> Packed:
    """Make the folder `out`, of at most `limit` bytes.

    Photographs are drawn at random until the limit is reached, every 32nd of them held out as in a training from the
    folders. JPEG and WebP files are taken as they are, others become lossless WebP; with a quality (1 to 100) all
    become WebP of that quality, so that more of them fit. Raises OptionError when the folder is not empty or
    nothing fits.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out} exists and is not empty; give a new folder")
    if quality is not None and not 1 <= quality <= 100:
        raise OptionError(f"--quality {quality}: it runs from 1 to 100")
    names = [r.name for r in recipes]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise OptionError(f"two recipes have the name {twice[0]}: give one of them another `name`")
    photos = Photos(data, max(r.crop for r in recipes))  # says at once when a picture cannot be read
    nets = sorted({n for r in recipes for s in r.stages if s.lpips for n in s.lpips_nets} | {"alex", "squeeze"})
    networks = {n: LPIPS(n, lpips_weights) for n in nets}
    warm = weights_of(start) if start else None
    for recipe in recipes:
        if warm and start:
            grown(warm, recipe.network, start)  # says at once what does not fit

    try:
        _code(out)
        _recipes(out, [untaught(recipe) for recipe in recipes])
        if any(r.synthetic for r in recipes):
            _typefaces(out)
        _lpips(out, networks)
        if warm:
            _warm(out, warm, recipes[0])
        taken = _photographs(out, photos, limit - _size(out) - 4096, quality)
    except BaseException:  # also a full disk and Ctrl-C: no half of a pack stays
        shutil.rmtree(out, ignore_errors=True)
        raise
    parts = {p.name: _size(p) for p in sorted(out.iterdir())}
    return Packed(taken, len(photos), sum(parts.values()), parts)


def _code(out: Path) -> None:
    package = Path(__file__).parents[1]
    templates = package.glob("training/templates/*")
    for source in sorted([*package.rglob("*.py"), *templates]):
        target = out / "code" / "dpc" / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _recipes(out: Path, recipes: Sequence[Recipe]) -> None:
    (out / "recipes").mkdir()
    for recipe in recipes:
        (out / "recipes" / f"{recipe.name}.json").write_text(json.dumps(to_dict(recipe), indent=1))
    script = out / "run.sh"
    script.write_text(RUN.replace("@RECIPE@", recipes[0].name))
    script.chmod(0o755)


def _typefaces(out: Path) -> None:
    (out / "fonts").mkdir()
    for path in fonts.files():
        shutil.copy(path, out / "fonts")


def _lpips(out: Path, networks: Mapping[str, LPIPS]) -> None:
    """The trunks' features and the heads, in the files that LPIPS looks for."""
    (out / "lpips").mkdir()
    for lpips in networks.values():
        trunk = {f"features.{k}": v for k, v in lpips.trunk.state_dict().items()}
        heads = {f"lin{k.split('.')[0]}.model.1.weight": v for k, v in lpips.heads.state_dict().items()}
        torch.save(trunk, out / "lpips" / lpips.net.trunk_file)
        torch.save(heads, out / "lpips" / lpips.net.head.name)


def _warm(out: Path, weights: Weights, recipe: Recipe) -> None:
    """Weights alone, as a checkpoint without an optimiser."""
    own = weights.recipe or replace(recipe, network=weights.network)
    about = {"checkpoint": CHECKPOINT, "recipe": json.dumps(to_dict(own))}
    known = {k: weights.training.get(k, 0) for k in ("step", "minutes", "crops", "data_sha256")}
    torch.save(about | known | {"ema": half(weights.state)}, out / "warm.pt")


def _photographs(out: Path, photos: Photos, room: int, quality: int | None) -> int:
    """Fill photos.zip; returns how many found room."""
    order = list(range(len(photos)))
    random.Random(SEED).shuffle(order)
    held = set(photos.validation)
    taken = 0
    with zipfile.ZipFile(out / "photos.zip", "w", zipfile.ZIP_STORED) as archive:
        for i in order:
            content, ending = _content(photos, i, quality)
            room -= len(content) + 200
            if room < 0:
                break
            name = f"{HELD_OUT if i in held else 'train/'}{i:05d}.{ending}"
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
            taken += 1
    if not held & set(order[:taken]) or not set(order[:taken]) - held:
        raise OptionError(f"the limit leaves room for {taken} photographs; raise --limit, or set --quality")
    return taken


def _content(photos: Photos, i: int, quality: int | None) -> tuple[bytes, str]:
    """A picture as bytes for the pack, and the ending of their name."""
    if quality is None:
        data = photos.file(i)
        with Image.open(io.BytesIO(data)) as image:
            if image.format in KEPT:
                return data, str(image.format).lower()
    out = io.BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality, "method": 4}
    Image.fromarray(photos.picture(i)).save(out, "WEBP", **options)
    return out.getvalue(), "webp"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
