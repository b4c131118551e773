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
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dpc.errors import OptionError
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.training.checkpoint import CHECKPOINT, half
from dpc.training.data import fonts
from dpc.training.data.photos import HELD_OUT, Photos
from dpc.training.earlier.recipe import Recipe as AtOneRate
from dpc.training.earlier.trainer import codec_of
from dpc.training.in_turn import check_order
from dpc.training.recipe import Recipe, to_dict
from dpc.training.teacher import weights_of_teacher
from dpc.training.weights import Weights, grown, weights_of

SEED = 5
KEPT = ("JPEG", "WEBP")  # packed as they are

RUN = """#!/usr/bin/env bash
# Trains here with python3 that has torch, numpy and Pillow:
#
#     ./run.sh MINUTES [--horizon H] [--device cpu] ...        everything included: start-up, the last checkpoint
#
# RECIPE=NAME   of recipes/*.json here; default: @RECIPE@
#               Several names with spaces between are trained in turn, each below RUN.
# RUN=FOLDER    where checkpoints and logs go; default: FOLDER-run/NAME beside this folder, or FOLDER-run for several
#               recipes. A training found there goes on.
# COPY=FOLDER   at the end weights.pt, the logs and curves.html are copied to it (small; last.pt stays in RUN). Of
#               several recipes those of this call, as runs.tgz, and the newest last.pt as last.tgz: where both are
#               unpacked to RUN another machine goes on
# PYTHON=...    the interpreter; default python3
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
minutes=${1:?"usage: ./run.sh MINUTES [options]"}
shift
read -ra names <<<"${RECIPE:-@RECIPE@}"
several=$((${#names[@]} > 1))
recipes=("${names[@]/#/$here/recipes/}")
run=${RUN:-$here-run$([ "$several" = 1 ] || echo "/${names[0]}")}
mkdir -p "$run"
touch "$run/.began"
begin=(--from "$here/warm.pt")
[ -e "$here/warm.pt" ] || begin=()
[ ! -e "$run/last.pt" ] || begin=(--resume "$run/last.pt")
exec 3> >(trap '' INT TERM; exec tee -a "$run/train.log")
tee=$!
[ ! -d "$here/fonts" ] || export DPC_FONTS="$here/fonts"
[ ! -e "$here/teacher.pt" ] || export DPC_TEACHER="$here/teacher.pt"
PYTHONPATH="$here/code" "${PYTHON:-python3}" -m dpc.training "${recipes[@]/%/.json}" --data "$here/photos.zip" \\
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
if [ -n "${COPY:-}" ] && [ "$several" = 1 ]; then
    mkdir -p "$COPY"
    COPY=$(cd "$COPY" && pwd)
    (
        cd "$run"
        made=$(find . -name weights.pt -newer .began)
        files=$(for file in $made; do find "$(dirname "$file")" -type f ! -name '*.pt'; done)
        tar -czf "$COPY/runs.tgz" train.log $made $files
        last=$(ls -t ./*/last.pt 2>/dev/null | head -n 1 || true)
        [ -z "$last" ] || tar -czf "$COPY/last.tgz" "$last"
    )
elif [ -n "${COPY:-}" ]; then
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
    recipes: Sequence[Recipe] | Sequence[AtOneRate],
    *,
    start: Path | None = None,
    lpips_weights: Path | None = None,
    limit: int = 58_000_000,
    quality: int | None = None,
) -> Packed:
    """Make the folder `out`, of at most `limit` bytes.

    recipes: of dpc's own network, the first of which is trained unless another is named there; or of earlier codecs,
    which are trained in turn. start: weights to begin with, where a recipe names none that another one gives.

    Photographs are drawn at random until the limit is reached, every 32nd of them held out as in a training from the
    folders. JPEG and WebP files are taken as they are, others become lossless WebP; with a quality (1 to 100) all
    become WebP of that quality, so that more of them fit. Raises OptionError when the folder is not empty or
    nothing fits.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out} exists and is not empty; give a new folder")
    if quality is not None and not 1 <= quality <= 100:
        raise OptionError(f"--quality {quality}: it runs from 1 to 100")
    own, earlier = _kinds(recipes, start)
    photos = Photos(data, max(r.crop for r in recipes))  # says at once when a picture cannot be read
    losses = [(s.lpips, s.lpips_nets) for r in own for s in r.stages]
    losses += [(r.loss.lpips, r.loss.lpips_nets) for r in earlier]
    nets = sorted({n for weight, some in losses if weight for n in some} | {"alex", "squeeze"})
    networks = {n: LPIPS(n, lpips_weights) for n in nets}
    warm = weights_of(start) if start and own else None
    for recipe in own:
        if warm and start:
            grown(warm, recipe.network, start)  # says at once what does not fit
    for one in earlier:
        codec_of(one, start if one.begins_with not in {r.name for r in earlier} else None)
    teacher = _teacher(own)

    try:
        _code(out)
        _recipes(out, {r.name: to_dict(r) for r in own} | {r.name: r.plain() for r in earlier})
        if any(r.synthetic for r in own):
            _typefaces(out)
        _lpips(out, networks)
        if teacher:
            torch.save({name: value.half() for name, value in teacher.items()}, out / "teacher.pt")
        if warm:
            _warm(out, warm, own[0])
        elif start:
            shutil.copy(start / "weights.pt" if start.is_dir() else start, out / "warm.pt")
        taken = _photographs(out, photos, limit - _size(out) - 4096, quality)
    except BaseException:  # also a full disk and Ctrl-C: no half of a pack stays
        shutil.rmtree(out, ignore_errors=True)
        raise
    parts = {p.name: _size(p) for p in sorted(out.iterdir())}
    return Packed(taken, len(photos), sum(parts.values()), parts)


def _kinds(recipes: Sequence[Recipe] | Sequence[AtOneRate], start: Path | None) -> tuple[list[Recipe], list[AtOneRate]]:
    """The recipes of dpc's own network and those of earlier codecs, of which a pack holds one kind."""
    names = [r.name for r in recipes]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise OptionError(f"two recipes have the name {twice[0]}: give one of them another `name`")
    own = [recipe for recipe in recipes if isinstance(recipe, Recipe)]
    earlier = [recipe for recipe in recipes if isinstance(recipe, AtOneRate)]
    if own and earlier:
        raise OptionError(f"{earlier[0].name} has a [codec] table, {own[0].name} has none: give each kind a pack")
    check_order(earlier, set(), start)
    return own, earlier


def _teacher(recipes: Sequence[Recipe]) -> dict[str, Tensor] | None:
    """The weights of the recipes' teacher, if they have one."""
    names = sorted({r.teacher for r in recipes if any(s.teacher or s.taught for s in r.stages)})
    if len(names) > 1:
        raise OptionError(f"a pack holds one teacher, the recipes have {', '.join(names)}: give each a pack")
    return weights_of_teacher(names[0]) if names else None


def _code(out: Path) -> None:
    package = Path(__file__).parents[1]
    templates = package.glob("training/templates/*")
    for source in sorted([*package.rglob("*.py"), *templates]):
        target = out / "code" / "dpc" / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _recipes(out: Path, recipes: Mapping[str, dict[str, Any]]) -> None:
    (out / "recipes").mkdir()
    for name, plain in recipes.items():
        (out / "recipes" / f"{name}.json").write_text(json.dumps(plain, indent=1))
    script = out / "run.sh"
    default = list(recipes) if all("codec" in plain for plain in recipes.values()) else list(recipes)[:1]
    script.write_text(RUN.replace("@RECIPE@", " ".join(default)))
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
