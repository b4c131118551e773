"""Judging: real files and decoded 8-bit pictures of any models and codecs, measured the same way.

    rows.csv        one row per codec, picture and setting; what is in it is not computed again
    table.md        every metric at the same rates: per picture linear in log bpp, then the mean over pictures
    crops-RATE.png  the same crop of some pictures: the original beside every codec at the nearest rate

LPIPS as a training loss and as a test is circular: read the trunk that was not trained on, PSNR and MS-SSIM beside it,
and look at the crops.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from dpc import __version__
from dpc.codec import Codec
from dpc.container import peek
from dpc.errors import DPCError, ImageError, OptionError, ToolMissing
from dpc.image import load
from dpc.metrics.lpips import LPIPS
from dpc.metrics.ms_ssim import ms_ssim
from dpc.metrics.psnr import psnr
from dpc.metrics.spectrum import PERIODS, SUSPECT, spectrum_peaks
from dpc.training.export import commit

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
TRUNKS = ("alex", "squeeze")
GOALS = (0.15, 0.25, 0.5)
NEAR = 0.03  # a row within this share of a rate stands for it without a neighbour on the other side
REACH = 1.5  # beyond the first and last row of a picture the last segment is followed up to this factor of bpp
CROP = 256

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One picture, coded once. Rates count every byte of the file; a metric the picture is too small for is nan."""

    codec: str
    identity: str
    image: str
    sha256: str
    width: int
    height: int
    setting: float
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    lpips_alex: float
    lpips_squeeze: float
    peak_2: float
    peak_4: float
    peak_8: float
    peak_16: float
    encode_s: float
    decode_s: float
    version: str
    commit: str


METRICS = ("psnr", "ms_ssim", "lpips_alex", "lpips_squeeze", *(f"peak_{p}" for p in PERIODS))


@dataclass(frozen=True)
class Coded:
    """A coded picture: size of its file, what comes out of it, seconds."""

    bytes: int
    rgb: Rgb
    encode_s: float = math.nan
    decode_s: float = math.nan


class Subject(Protocol):
    """What can be judged. identity: the model's sha256, or the codec's version."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def settings(self, path: Path, rgb: Rgb, goals: Sequence[float]) -> list[float]:
        """The settings whose rates lie at or around the goals (bpp)."""

    def code(self, path: Path, rgb: Rgb, setting: float) -> Coded:
        """The picture coded at a setting, and decoded."""


@dataclass(frozen=True)
class Model:
    """A model artifact; the setting is the quality, 1 to 100."""

    name: str
    identity: str
    artifact: str
    threads: int
    qualities: tuple[float, ...] = ()

    def settings(self, path: Path, rgb: Rgb, goals: Sequence[float]) -> list[float]:
        codec = _codec(self.artifact, self.threads)
        top = codec.artifact.sizes.fine_levels - 1
        levels = {peek(codec.encode(rgb, bpp=goal)).level for goal in goals}
        return sorted({1 + 99 * level / top for level in levels} | set(self.qualities))

    def code(self, path: Path, rgb: Rgb, setting: float) -> Coded:
        codec = _codec(self.artifact, self.threads)
        begin = time.perf_counter()
        data = codec.encode(rgb, quality=setting)
        middle = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        return Coded(len(data), np.asarray(decoded.convert("RGB")), middle - begin, end - middle)


@lru_cache(maxsize=8)
def _codec(path: str, threads: int) -> Codec:
    return Codec(path, threads)


# name -> Pillow's format, how a setting becomes its options, and the settings from the smallest file to the largest, in
# steps of 10 to 20 % of the rate
CLASSICS: dict[str, tuple[str, Callable[[float], dict[str, Any]], tuple[float, ...]]] = {
    "avif": (
        "AVIF",
        lambda q: {"quality": int(q), "subsampling": "4:4:4", "speed": 4, "max_threads": 1},
        tuple(range(0, 101, 4)),
    ),
    "jpeg": (
        "JPEG",
        lambda q: {"quality": int(q), "subsampling": "4:2:0", "optimize": True, "progressive": True},
        (*range(1, 20, 2), *range(20, 96, 4)),
    ),
    "webp": ("WEBP", lambda q: {"quality": int(q), "method": 6}, (*range(0, 10, 2), *range(10, 101, 5))),
    # the setting is the rate in bpp, which JPEG 2000 hits by itself
    "jpeg2000": (
        "JPEG2000",
        lambda r: {"quality_mode": "rates", "quality_layers": [24 / r], "irreversible": True, "mct": 1, "no_jp2": True},
        tuple(round(0.03 * 1.15**i, 4) for i in range(31)),
    ),
}


@dataclass(frozen=True)
class Classic:
    """A codec of Pillow, one thread; see CLASSICS for its options."""

    name: str
    identity: str

    def settings(self, path: Path, rgb: Rgb, goals: Sequence[float]) -> list[float]:
        ladder = CLASSICS[self.name][2]
        sizes: dict[int, float] = {}

        def size(i: int) -> float:
            if i not in sizes:
                sizes[i] = len(_pillow_encode(self.name, rgb, ladder[i]))
            return sizes[i]

        chosen: set[int] = set()
        for goal in goals:
            limit = goal * rgb.shape[0] * rgb.shape[1] / 8
            low, high = 0, len(ladder) - 1  # the neighbours around the goal
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if size(middle) <= limit else (low, middle)
            chosen |= {low, high}
        return [float(ladder[i]) for i in sorted(chosen)]

    def code(self, path: Path, rgb: Rgb, setting: float) -> Coded:
        begin = time.perf_counter()
        data = _pillow_encode(self.name, rgb, setting)
        middle = time.perf_counter()
        with Image.open(io.BytesIO(data)) as image:
            decoded = np.asarray(image.convert("RGB"))
        return Coded(len(data), decoded, middle - begin, time.perf_counter() - middle)


def _pillow_encode(name: str, rgb: Rgb, setting: float) -> bytes:
    kind, options, _ = CLASSICS[name]
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, kind, **options(setting))
    return out.getvalue()


def classic(name: str) -> Classic:
    """A comparison codec by name. OptionError for an unknown one, ToolMissing where this Pillow lacks it."""
    if name not in CLASSICS:
        raise OptionError(f"codec {name!r} is unknown; choose from {', '.join(CLASSICS)}")
    feature = {"avif": "avif", "webp": "webp", "jpeg": "jpg", "jpeg2000": "jpg_2000"}[name]
    if not features.check(feature):
        raise ToolMissing(f"this Pillow ({PIL.__version__}) was built without {name}; leave it out of --codecs")
    return Classic(name, f"Pillow {PIL.__version__}, {features.version(feature) or 'library of unknown version'}")


@dataclass(frozen=True)
class Folder:
    """Pictures that were coded elsewhere: a folder with sizes.csv (columns image, bytes, decoded and one for the
    setting) and the decoded pictures in lossless files."""

    name: str
    identity: str
    folder: str
    entries: tuple[tuple[str, float, int, str], ...]  # image stem, setting, bytes, decoded file

    def sizes(self, path: Path) -> list[int]:
        """Bytes of the files of a picture."""
        return [size for image, _, size, _ in self.entries if image == path.stem]

    def settings(self, path: Path, rgb: Rgb, goals: Sequence[float]) -> list[float]:
        return [setting for image, setting, _, _ in self.entries if image == path.stem]

    def code(self, path: Path, rgb: Rgb, setting: float) -> Coded:
        size, file = next((b, f) for image, s, b, f in self.entries if image == path.stem and s == setting)
        decoded = load(Path(self.folder) / file).rgb
        if decoded.shape != rgb.shape:
            raise ImageError(f"{file} in {self.folder} is {decoded.shape[1]}x{decoded.shape[0]}, {path.name} is not")
        return Coded(size, decoded)


def folder(name: str, path: Path) -> Folder:
    """Precomputed pictures; OptionError when sizes.csv is missing or not of the form that Folder describes."""
    try:
        text = (path / "sizes.csv").read_text()
        rows = list(csv.DictReader(io.StringIO(text)))
        setting = next(k for k in rows[0] if k not in ("image", "bytes", "bpp", "decoded"))
        entries = tuple((r["image"], float(r[setting]), int(r["bytes"]), r["decoded"]) for r in rows)
    except (OSError, IndexError, KeyError, StopIteration, ValueError, TypeError) as error:
        raise OptionError(
            f"{path} holds no sizes.csv with the columns image, a setting, bytes, decoded ({type(error).__name__})"
        ) from error
    return Folder(name, f"sizes.csv {hashlib.sha256(text.encode()).hexdigest()[:16]}", str(path), entries)


def pictures(where: Path) -> list[Path]:
    """All picture files of a folder (not below it), or the one file; OptionError when there is none."""
    if where.is_file():
        return [where]
    found = sorted(p for p in where.iterdir() if p.suffix.lower() in SUFFIXES) if where.is_dir() else []
    if not found:
        raise OptionError(f"{where} holds no pictures ({', '.join(sorted(SUFFIXES))}); give another folder")
    return found


class Reference:
    """An original and what every comparison with it shares: its LPIPS features are computed once."""

    def __init__(self, rgb: Rgb, weights: str | None) -> None:
        self.rgb = rgb
        self.nets = [_lpips(trunk, weights) for trunk in TRUNKS]
        with torch.inference_mode():
            self.features = [net.features(_tensor(rgb)) for net in self.nets]

    def metrics(self, rgb: Rgb) -> dict[str, float]:
        """All METRICS of a decoded picture."""
        values = {"psnr": psnr(self.rgb, rgb), "ms_ssim": _or_nan(ms_ssim, self.rgb, rgb)}
        with torch.inference_mode():
            for trunk, net, mine in zip(TRUNKS, self.nets, self.features, strict=True):
                values[f"lpips_{trunk}"] = float(net.distance(mine, net.features(_tensor(rgb))))
        peaks = _or_nan(spectrum_peaks, self.rgb, rgb)
        return values | {f"peak_{p}": peaks[p] if isinstance(peaks, dict) else math.nan for p in PERIODS}


def _or_nan(metric: Callable[[Rgb, Rgb], Any], a: Rgb, b: Rgb) -> Any:
    try:
        return metric(a, b)
    except ValueError:  # the picture is smaller than the metric's windows
        return math.nan


@lru_cache(maxsize=4)
def _lpips(trunk: str, weights: str | None) -> LPIPS:
    return LPIPS(trunk, weights).eval()


def _tensor(rgb: Rgb) -> torch.Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None] / 255.0


Key = tuple[str, str, str, str]  # codec, identity, sha256 of the picture, version


def judge_picture(
    path: Path, subjects: Sequence[Subject], goals: Sequence[float], weights: str | None, known: Sequence[Row]
) -> list[Row]:
    """The rows of one picture that are not among the known ones."""
    sha256, rgb = hashlib.sha256(path.read_bytes()).hexdigest(), load(path).rgb
    pixels = rgb.shape[0] * rgb.shape[1]
    reference: Reference | None = None
    rows = []
    # the sizes of precomputed pictures are rates to meet as well
    goals = [*goals, *(8 * size / pixels for s in subjects if isinstance(s, Folder) for size in s.sizes(path))]
    for subject in subjects:
        mine = [r for r in known if _key(r) == (subject.name, subject.identity, sha256, __version__)]
        have = {r.setting for r in mine}
        open_goals = [g for g in goals if not _covered(mine, g)]
        extra = subject.qualities if isinstance(subject, Model) else ()
        if not open_goals and have >= set(extra):
            continue
        for setting in subject.settings(path, rgb, open_goals):
            if setting in have:
                continue
            reference = reference or Reference(rgb, weights)
            coded = subject.code(path, rgb, setting)
            rows.append(
                Row(
                    codec=subject.name,
                    identity=subject.identity,
                    image=path.stem,
                    sha256=sha256,
                    width=rgb.shape[1],
                    height=rgb.shape[0],
                    setting=setting,
                    bytes=coded.bytes,
                    bpp=8 * coded.bytes / pixels,
                    encode_s=coded.encode_s,
                    decode_s=coded.decode_s,
                    version=__version__,
                    commit=commit(),
                    **reference.metrics(coded.rgb),
                )
            )
    return rows


def _key(row: Row) -> Key:
    return row.codec, row.identity, row.sha256, row.version


def _covered(rows: Iterable[Row], goal: float) -> bool:
    rates = [r.bpp / goal for r in rows]
    near = any(abs(r - 1) <= NEAR for r in rates)
    return near or (any(0.75 < r <= 1 for r in rates) and any(1 <= r < 1.33 for r in rates))


def _threads(count: int) -> None:
    torch.set_num_threads(count)


def judge(
    subjects: Sequence[Subject],
    images: Path,
    out: Path,
    goals: Sequence[float] = GOALS,
    *,
    weights: str | None = None,
    crops: int = 6,
    processes: int = 1,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> str:
    """Judge all subjects on all pictures and return the table (also in out/table.md).

    goals: bpp of the table. crops: number of pictures on the contact sheets, 0 for none. Rows already in out/rows.csv
    are kept and not computed again, so a judgement that was interrupted goes on where it was.
    """
    if len({s.name for s in subjects}) < len(subjects):
        raise OptionError("two of the things to judge have one name; rename a file")
    if not all(g > 0 for g in goals) or not goals:
        raise OptionError("--bpp takes rates above 0, such as 0.15,0.25,0.5")
    paths = pictures(images)
    _lpips(TRUNKS[0], weights)  # say at once when weights are missing
    out.mkdir(parents=True, exist_ok=True)
    rows = read(out / "rows.csv")
    work = partial(judge_picture, subjects=subjects, goals=tuple(goals), weights=weights, known=tuple(rows))
    begin = time.monotonic()

    def collect(results: Iterable[list[Row]]) -> None:
        for done, (path, new) in enumerate(zip(paths, results, strict=True), 1):
            rows.extend(new)
            write(out / "rows.csv", rows)
            say(f"{done}/{len(paths)} {path.stem}: {len(new)} new rows, {time.monotonic() - begin:.0f} s")

    if processes > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, _threads, (threads,)) as pool:
            collect(pool.map(work, paths))
    else:
        before = torch.get_num_threads()
        _threads(threads)
        collect(map(work, paths))
        _threads(before)
    hashes = {hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    identities = {(s.name, s.identity) for s in subjects}
    mine = [r for r in rows if (r.codec, r.identity) in identities and r.sha256 in hashes and r.version == __version__]
    folders = [s.name for s in subjects if isinstance(s, Folder)]
    text = table(mine, [s.name for s in subjects], goals, folders)
    (out / "table.md").write_text(text)
    if crops:
        chosen = paths[:: max(1, len(paths) // crops)][:crops]
        for goal in goals:
            sheet(subjects, chosen, mine, goal).save(out / f"crops-{goal:g}.png")
    return text


def read(path: Path) -> list[Row]:
    """The rows of a rows.csv; none when there is no such file. DPCError when it is something else."""
    if not path.exists():
        return []
    convert: dict[str, Callable[[str], Any]] = {"float": float, "int": int, "str": str}
    kinds = {f.name: convert[str(f.type)] for f in dataclasses.fields(Row)}
    try:
        with open(path, newline="") as file:
            return [Row(**{k: kind(r[k]) for k, kind in kinds.items()}) for r in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise DPCError(f"{path} does not hold rows of this version ({error}); give another --out") from error


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows.csv as a whole, or not at all."""
    temporary = path.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in dataclasses.fields(Row)])
        writer.writeheader()
        for row in rows:
            values = dataclasses.asdict(row)
            writer.writerow(
                {k: f"{v:.7g}" if isinstance(v, float) and k != "setting" else v for k, v in values.items()}
            )
    os.replace(temporary, path)


def at(rows: Sequence[Row], goal: float, metric: str) -> tuple[float, bool] | None:
    """(value of a metric of one picture at a rate, whether it lies outside its rows), linear in log bpp.

    Beyond the rows the last segment is followed up to a factor REACH; further away, or with one row that is not within
    NEAR of the goal, None.
    """
    points = sorted({math.log(r.bpp): getattr(r, metric) for r in rows}.items())
    if not points:
        return None
    x = math.log(goal)
    nearest = min(points, key=lambda p: abs(p[0] - x))
    outside = not points[0][0] - NEAR <= x <= points[-1][0] + NEAR
    if len(points) == 1:
        return None if outside else (float(nearest[1]), False)
    if x < points[0][0] - math.log(REACH) or x > points[-1][0] + math.log(REACH):
        return None
    i = min(max(sum(p[0] <= x for p in points), 1), len(points) - 1)
    (x0, v0), (x1, v1) = points[i - 1], points[i]
    return float(v0 + (v1 - v0) * (x - x0) / (x1 - x0)), outside


def table(rows: Sequence[Row], names: Sequence[str], goals: Sequence[float], folders: Sequence[str] = ()) -> str:
    """Markdown: every metric's mean over the pictures at every rate, and at the sizes of every precomputed folder."""
    peaks = " ".join(str(p) for p in PERIODS)
    lines = [
        "Means over the pictures, each interpolated linearly in log bpp between its own files. Peaks: median of the "
        f"error spectrum's ratio at the periods {peaks}; above {SUSPECT:g} is a pattern. n: pictures; in brackets how "
        f"many of them lie outside the codec's own files (by at most a factor {REACH:g}). Seconds: mean per file.",
    ]
    pixels = {r.sha256: r.width * r.height for r in rows}
    for goal in goals:
        lines += _section(f"{goal:g} bpp", rows, names, dict.fromkeys(pixels, goal))
    for name in folders:
        mine = [r for r in rows if r.codec == name]
        for setting in sorted(
            {r.setting for r in mine}, key=lambda s: np.mean([r.bpp for r in mine if r.setting == s])
        ):
            rates = {r.sha256: r.bpp for r in mine if r.setting == setting}
            title = f"every picture at its size in {name} {setting:g}: mean {np.mean(list(rates.values())):.3f} bpp"
            lines += _section(title, rows, names, rates)
    return "\n".join(lines) + "\n"


def _section(title: str, rows: Sequence[Row], names: Sequence[str], goals: Mapping[str, float]) -> list[str]:
    """The table at one rate per picture; goals: sha256 of the picture -> bpp."""
    peaks = " ".join(str(p) for p in PERIODS)
    lines = [
        "",
        f"| {title} | PSNR | MS-SSIM | LPIPS AlexNet | LPIPS SqueezeNet | peaks {peaks} | encode, decode s | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        values: dict[str, list[float]] = {m: [] for m in (*METRICS, "encode_s", "decode_s")}
        count = outside = 0
        for sha256, goal in goals.items():
            mine = [r for r in rows if r.codec == name and r.sha256 == sha256]
            for metric, seen in values.items():
                found = at(mine, goal, metric)
                if found is not None and not math.isnan(found[0]):
                    seen.append(found[0])
                if found is not None and metric == "psnr":
                    count, outside = count + 1, outside + found[1]
        cells = [f"{np.mean(values[m]):.{2 if m == 'psnr' else 4}f}" if values[m] else "-" for m in METRICS[:4]]
        cells.append(" ".join(f"{np.median(values[m]):.1f}" if values[m] else "-" for m in METRICS[4:]))
        cells.append(", ".join(f"{np.mean(values[m]):.2f}" if values[m] else "-" for m in ("encode_s", "decode_s")))
        of = f" of {len(goals)}" if count < len(goals) else ""
        cells.append(f"{count}{of}" + (f" ({outside})" if outside else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def sheet(subjects: Sequence[Subject], paths: Sequence[Path], rows: Sequence[Row], goal: float) -> Image.Image:
    """The contact sheet at a rate: per picture a line, the original first, then every codec's file nearest to the rate.

    The crop is the window with the most detail in every second picture, and one of middling detail in the others.
    """
    font = ImageFont.load_default(14)
    label = 22
    sheet = Image.new("RGB", ((1 + len(subjects)) * (CROP + 4), len(paths) * (CROP + label)), "white")
    draw = ImageDraw.Draw(sheet)
    for line, path in enumerate(paths):
        rgb = load(path).rgb
        top, left = window(rgb, most=line % 2 == 0)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        cells: list[tuple[str, Rgb]] = [(path.stem, rgb)]
        for subject in subjects:
            mine = [r for r in rows if r.codec == subject.name and r.sha256 == sha256]
            if mine:
                row = min(mine, key=lambda r: abs(math.log(r.bpp / goal)))
                cells.append((f"{subject.name} {row.bpp:.3f}", subject.code(path, rgb, row.setting).rgb))
        for column, (text, picture) in enumerate(cells):
            x, y = column * (CROP + 4), line * (CROP + label)
            draw.text((x + 2, y + 2), text, "black", font)
            sheet.paste(Image.fromarray(picture[top : top + CROP, left : left + CROP]), (x, y + label))
    return sheet


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
