"""Evaluation: models and codecs by the benchmark, at equal rates and at the exact sizes of precomputed files.

    rows.csv        one row per codec, picture and file; what is in it is not measured again (see rows.py)
    table.md        every metric at the same rates (see table.py)
    curves.png      the metrics over the rate, and curves.svg
    crops-RATE.png  the same crop of some pictures: the original beside every codec at the nearest rate

LPIPS as a training loss and as a test is circular: read the trunk that was not trained on, PSNR and MS-SSIM beside it,
and look at the crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpc.codec.image import load
from dpc.errors import ImageError, OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Folder, Rgb
from dpc.evaluation.compression.drawing import curves_of
from dpc.evaluation.compression.rows import Row
from dpc.evaluation.compression.run import Plan, bench, pictures
from dpc.evaluation.compression.table import markdown
from dpc.evaluation.experiment import sha256
from dpc.evaluation.figures import by_codec, save
from dpc.evaluation.metrics.reference import PEAKS, usable
from dpc.files import atomic_write

__all__ = ["TARGETS", "METRICS", "crops_of", "evaluate", "sheet", "window"]

METRICS = ("psnr", "ms_ssim", "lpips_alex", "lpips_squeeze", *PEAKS)
TARGETS = (0.15, 0.25, 0.5)
CROP = 256


def evaluate(
    models: Sequence[Path],
    images: Path,
    out: Path,
    targets: Sequence[float] = TARGETS,
    *,
    qualities: Sequence[float] = (),
    codecs: Sequence[str] = (),
    folders: Mapping[str, str] | None = None,
    weights: str | None = None,
    crops: int = 6,
    processes: int = 1,
    threads: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Measure model artifacts and codecs on all pictures and return the table (also in out/table.md).

    targets: bpp of the table, to which every file is brought; also to the size of every file in the folders (name ->
    folder with sizes.csv). qualities: at which the models are coded as well. codecs: names in evaluation.codecs;
    one that is missing is told through say. crops: number of pictures on the contact sheets, 0 for none. Rows already
    in out/rows.csv are not measured again. Raises OptionError; ToolMissing without the weights of LPIPS.
    """
    mine = [f"dpc:{path}" for path in models]
    folders = folders or {}
    names = [f"dpc:{path.stem}" for path in models] + [*codecs, *folders]
    _check(names, targets)
    paths = pictures(images)
    _, missing = usable(METRICS, weights)
    if missing:
        raise ToolMissing(next(iter(missing.values())))
    plan = Plan(
        codecs=(*mine, *codecs),
        qualities={name: tuple(qualities) for name in mine},
        targets=tuple(targets),
        folders=folders,
        match=True,
        metrics=METRICS,
        weights=weights,
        threads=threads,
    )
    result = bench(plan, images, out, processes=processes, say=say)
    for name, why in result.missing.items():
        say(f"left out, {name}: {why}")
    for failure in result.failures:
        say(f"failed, {failure.image} {failure.codec} {failure.what}: {failure.reason}")
    subjects: list[Codec | Folder] = [
        *(baselines.get(name, threads=threads) for name in plan.codecs if name not in result.missing),
        *(Folder(name, Path(place)) for name, place in folders.items()),
    ]
    rows = _of(result.rows, subjects, paths)
    text = markdown(by_codec(rows), targets)
    atomic_write(out / "table.md", text)
    _curves(rows, out, say)
    if crops:
        sound = [p for p in paths if _opens(p)]
        chosen = sound[:: max(1, len(sound) // crops)][:crops]
        for target in targets:
            sheet(subjects, chosen, rows, target).save(out / f"crops-{target:g}.png")
    return text


def _check(names: Sequence[str], targets: Sequence[float]) -> None:
    """OptionError where two things have one name, or a rate is none."""
    if len(set(names)) < len(names):
        raise OptionError("two of the things to evaluate have one name; rename a file")
    if not all(target > 0 for target in targets) or not targets:
        raise OptionError("--bpp takes rates above 0, such as 0.15,0.25,0.5")


def _of(rows: Sequence[Row], subjects: Sequence[Codec | Folder], paths: Sequence[Path]) -> list[Row]:
    """The rows of these codecs, as they are today, and of these pictures."""
    versions = {(s.name, s.version, s.settings) for s in subjects}
    hashes = {sha256(path) for path in paths}
    return [r for r in rows if (r.codec, r.version, r.settings) in versions and r.sha256 in hashes]


def _curves(rows: Sequence[Row], out: Path, say: Callable[[str], None]) -> None:
    """curves.png and curves.svg: every metric over the rate."""
    try:
        figure = curves_of([m for m in METRICS if m not in PEAKS], by_codec(rows))
    except ToolMissing as error:
        say(f"no curves: {error}")
    else:
        if figure:
            save(figure, out, "curves", {})


def sheet(subjects: Sequence[Codec | Folder], paths: Sequence[Path], rows: Sequence[Row], target: float) -> Image.Image:
    """The contact sheet at a rate: a line per picture, the original, then each codec's file nearest to the rate."""
    lines: list[list[tuple[str, Rgb]]] = []
    for path in paths:
        rgb = load(path).rgb
        digest = sha256(path)
        cells: list[tuple[str, Rgb]] = [(path.stem, rgb)]
        for subject in subjects:
            mine = [r for r in rows if r.codec == subject.name and r.sha256 == digest]
            if mine:
                row = min(mine, key=lambda r: abs(math.log(r.bpp / target)))
                cells.append((f"{subject.name} {row.bpp:.3f}", _decoded(subject, path, rgb, row)))
        lines.append(cells)
    return crops_of(lines)


def crops_of(lines: Sequence[Sequence[tuple[str, Rgb]]]) -> Image.Image:
    """A sheet with the same crop of all pictures of a line, each below its text; the first is the original.

    The crop is the window with the most detail in every second line, and one of middling detail in the others.
    """
    font = ImageFont.load_default(14)
    label = 22
    wide = max((len(cells) for cells in lines), default=0)
    sheet = Image.new("RGB", (max(1, wide * (CROP + 4)), max(1, len(lines) * (CROP + label))), "white")
    draw = ImageDraw.Draw(sheet)
    for line, cells in enumerate(lines):
        top, left = window(cells[0][1], most=line % 2 == 0)
        for column, (text, picture) in enumerate(cells):
            x, y = column * (CROP + 4), line * (CROP + label)
            draw.text((x + 2, y + 2), text, "black", font)
            sheet.paste(Image.fromarray(picture[top : top + CROP, left : left + CROP]), (x, y + label))
    return sheet


def _opens(path: Path) -> bool:
    """Whether a picture can be read: one that cannot is told as a failure, and the sheets go without it."""
    try:
        load(path)
    except ImageError:
        return False
    return True


def _decoded(subject: Codec | Folder, path: Path, rgb: Rgb, row: Row) -> Rgb:
    """The picture of a row, made again."""
    if isinstance(subject, Folder):
        return subject.decoded(next(e for e in subject.of(path.stem) if e.quality == row.quality), rgb)
    made = subject.encode(rgb, row.quality) if row.target is None else baselines.at_bpp(subject, rgb, row.target)[1]
    return subject.decode(made)


def window(rgb: Rgb, most: bool) -> tuple[int, int]:
    """Top and left of the CROP x CROP window with the most detail, or with the median of it."""
    grey = rgb.astype(np.float32).mean(2)
    detail = np.pad(np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1], ((1, 0), (1, 0)))
    total = detail.cumsum(0).cumsum(1)
    rows, columns = (np.arange(0, max(1, n - CROP), 16) for n in rgb.shape[:2])
    bottom, right = np.minimum(rows + CROP, rgb.shape[0]) - 1, np.minimum(columns + CROP, rgb.shape[1]) - 1
    sums = total[np.ix_(bottom, right)] - total[np.ix_(rows, right)]
    sums = sums - total[np.ix_(bottom, columns)] + total[np.ix_(rows, columns)]
    order = np.argsort(sums, axis=None)
    i, j = np.unravel_index(order[-1 if most else len(order) // 2], sums.shape)
    return int(rows[i]), int(columns[j])
