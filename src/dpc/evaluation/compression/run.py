"""The run: pictures x codecs x qualities -> rows.

The work is cut by picture, so that what a metric computes of an original is computed once, not once per codec. What is
in rows.csv already is not measured again; a picture, codec or process that fails costs its own rows only.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, fields
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TypeAlias

from dpc import __version__
from dpc.codec.image import load, pictures_in
from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Folder, Rgb
from dpc.evaluation.compression import engines
from dpc.evaluation.compression.memory import peak
from dpc.evaluation.compression.rows import Failure, Key, Row, alone, append, merged, read, write
from dpc.evaluation.metrics.reference import DEFAULT, Reference, usable
from dpc.files import atomic_write, csv_text

__all__ = ["GOALS", "Plan", "Result", "bench", "pictures", "sha256"]

GOALS = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0)
NEAR = 0.05  # a file further than this share from the rate that it was brought to is told
SLOW = 20.0  # seconds within one picture after which a line says where the run is


@dataclass(frozen=True)
class Plan:
    """What to measure of every picture.

    codecs: names in evaluation.codecs. qualities: for a codec by name, or for all under "". goals: bpp that each
    codec's file of each picture is brought to. folders: name -> folder of precomputed pictures, measured at all they
    have. match: bring the codecs to the size of each of those files as well. weights: folder of the metrics' weights.
    python, network_weights: of CompressAI, see dpc.evaluation.codecs.get.
    """

    codecs: tuple[str, ...]
    qualities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    goals: tuple[float, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    match: bool = False
    metrics: tuple[str, ...] = DEFAULT
    weights: str | None = None
    threads: int = 1
    python: str | None = None
    network_weights: str | None = None

    def points(self, codec: str, goals: Sequence[float] = ()) -> list[tuple[float | None, float | None]]:
        """(quality, None) and (None, goal) of a codec; goals: of one picture, beside those of all."""
        qualities = self.qualities.get(codec, self.qualities.get("", ()))
        return [(q, None) for q in qualities] + [(None, g) for g in dict.fromkeys((*self.goals, *goals))]


@dataclass(frozen=True)
class Result:
    """rows: all in the file now. new: how many this run added. missing: codec or metric -> why it is left out."""

    rows: list[Row]
    new: int
    failures: list[Failure]
    missing: dict[str, str]


def pictures(where: Path) -> list[Path]:
    """The pictures of a folder (not below it), or the one file; OptionError when there is none."""
    return [where] if where.is_file() else pictures_in(where)


def sha256(path: Path) -> str:
    """The hash of a file, by which rows know its picture."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bench(
    plan: Plan,
    images: Path,
    out: Path,
    *,
    processes: int = 1,
    engine: str = "processes",
    progress: Callable[[float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Measure, and keep the rows in out/rows.csv (and out/failures.csv).

    engine: "processes" on this machine, or "ray" on the cluster that ray.init finds; images, out and what the codecs
    need must then be reachable under the same paths everywhere. progress takes the share done, say a line at the start,
    for each picture, and now and then within a slow one. Raises OptionError for a plan that cannot be carried out,
    ToolMissing when no codec or metric is left.
    """
    if engine not in engines.ENGINES:
        raise OptionError(f"engine {engine!r} is unknown; choose from {', '.join(engines.ENGINES)}")
    if not all(g > 0 for g in plan.goals):
        raise OptionError("a rate of 0 bpp or less cannot be reached; give rates such as 0.15,0.25,0.5")
    paths = pictures(images)
    plan, missing = _usable(plan)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        return _bench(plan, _distinct(paths, missing), out, missing, processes, engine, progress, say)


def far(plan: Plan, result: Result) -> dict[tuple[str, float], int]:
    """(codec, goal) -> how many files of the plan's codecs are further than NEAR from the rate they were brought to."""
    codecs = (name for name in plan.codecs if name not in result.missing)
    own = {_codec(name, plan.threads, plan.python, plan.network_weights).name for name in codecs}
    aimed = ((r.codec, r.goal) for r in result.rows if r.codec in own and r.goal and abs(r.bpp / r.goal - 1) > NEAR)
    return dict(Counter(aimed))


def _distinct(paths: Sequence[Path], missing: dict[str, str]) -> dict[str, Path]:
    """sha256 -> file, without those whose content another one has: rows know a picture by its content."""
    found: dict[str, Path] = {}
    for path in paths:
        try:
            digest = sha256(path)
        except OSError:
            digest = str(path)  # it fails when its turn comes, and costs its own rows only
        first = found.setdefault(digest, path)
        if first != path:
            missing[path.name] = f"the same file as {first.name}"
    return found


def _bench(
    plan: Plan,
    pictures: Mapping[str, Path],
    out: Path,
    missing: dict[str, str],
    processes: int,
    engine: str,
    progress: Callable[[float], None] | None,
    say: Callable[[str], None] | None,
) -> Result:
    file = out / "rows.csv"
    rows = merged(read(file))
    if file.exists():
        write(file, rows)  # without a line that was cut off
    paths = list(pictures.values())
    known: dict[str, dict[Key, tuple[str, frozenset[str]]]] = {}
    for row in rows:
        known.setdefault(row.sha256, {})[row.key] = (row.model, frozenset(row.metrics))
    failures: list[Failure] = []
    new = done = 0
    tasks = [(plan, path, known.get(digest, {})) for digest, path in pictures.items()]
    if engine == "processes" and processes == 1:
        results: Iterable[tuple[Task, Found | str]] = ((task, measure(*task)) for task in tasks)
    else:
        results = engines.work(engine, _all, tasks, processes)
    begin = spoken = time.monotonic()
    names = [*plan.codecs, *plan.folders]
    if say:
        say(f"{len(paths)} pictures, {len(names)} codecs ({', '.join(names)}), {len(rows)} rows there already")
    for (_, path, _), found in results:
        for item in [Failure("", path.stem, "", found)] if isinstance(found, str) else found:
            if say and time.monotonic() - spoken > SLOW:
                spoken = time.monotonic()
                say(f"{done}/{len(paths)}, at {path.stem}, {item.codec}: {new} new rows so far, {spoken - begin:.0f} s")
            if isinstance(item, Failure):
                failures.append(item)
            else:
                append(file, [item])
                rows.append(item)
                new += 1
        done, spoken = done + 1, time.monotonic()
        if progress:
            progress(done / len(paths))
        if say:
            spent = spoken - begin
            left = spent / done * (len(paths) - done)
            say(f"{done}/{len(paths)} {path.stem}: {new} new rows so far, {spent:.0f} s, about {left:.0f} s left")
    atomic_write(out / "failures.csv", csv_text([f.name for f in fields(Failure)], map(astuple, failures)))
    latest = merged(rows)
    order = {path.stem: i for i, path in enumerate(paths)}
    latest.sort(key=lambda r: (order.get(r.image, len(order)), r.image, r.codec, r.goal is not None, r.bpp))
    write(file, latest)
    return Result(latest, new, failures, missing)


def _usable(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan without codecs and metrics that are missing here, and why they are."""
    missing: dict[str, str] = {}
    codecs = []
    for name in plan.qualities:
        if name and name not in (*baselines.NAMES, *plan.codecs) and not name.startswith(("dpc:", "compressai:")):
            raise OptionError(
                f"qualities are given for {name!r}, which is no codec; choose {', '.join(baselines.NAMES)}"
            )
    for name in dict.fromkeys(plan.codecs):
        try:
            codec = _codec(name, plan.threads, plan.python, plan.network_weights)
            for quality, _ in plan.points(name):
                if quality is not None:
                    baselines.check(codec, quality)
            codecs.append(name)
        except ToolMissing as error:
            missing[name] = str(error)
    for name, path in plan.folders.items():
        if name in plan.codecs:
            raise OptionError(f"a folder is called {name}, as one of the codecs; give it another name")
        Folder(name, Path(path))
    if not codecs and not plan.folders:
        raise ToolMissing("; ".join(missing.values()) or "no codec was given; name some, such as dpc,jpeg,avif")
    metrics, without = usable(plan.metrics, plan.weights)
    if not metrics:
        raise ToolMissing("; ".join(without.values()) or "no metric was given")
    changed: dict[str, Any] = {f.name: getattr(plan, f.name) for f in fields(plan)}
    return Plan(**changed | {"codecs": tuple(codecs), "metrics": tuple(metrics)}), missing | without


# where the pictures are worked on

Known: TypeAlias = "Mapping[Key, tuple[str, frozenset[str]]]"  # model and metrics of a picture's rows that are there
Task = tuple[Plan, Path, Known]
Found: TypeAlias = "Iterable[Row | Failure]"


def _all(task: Task) -> list[Row | Failure]:
    return list(measure(*task))


# one picture


@lru_cache(maxsize=32)
def _codec(name: str, threads: int, python: str | None, weights: str | None) -> Codec:
    return baselines.get(name, threads=threads, python=python, weights=weights)


_WARM: set[int] = set()


def measure(plan: Plan, path: Path, known: Known) -> Iterator[Row | Failure]:
    """The rows of one picture that are not known, each as soon as it is there; what fails becomes a Failure."""
    try:
        digest, rgb = sha256(path), load(path).rgb
    except (DPCError, OSError) as error:
        yield Failure("", path.stem, "", engines.line(error))
        return
    common = {"image": path.stem, "sha256": digest, "width": rgb.shape[1], "height": rgb.shape[0]}
    pixels = rgb.shape[0] * rgb.shape[1]
    reference: Reference | None = None

    def row(coded: _Coded, subject: Codec | Folder, goal: float | None, model: str, memory: float = math.nan) -> Row:
        nonlocal reference
        reference = reference or Reference(rgb, plan.metrics, plan.weights)
        return Row(
            codec=subject.name,
            version=subject.version,
            settings=subject.settings,
            model=model,
            **common,
            quality=coded.quality,
            goal=goal,
            bytes=coded.bytes,
            bpp=8 * coded.bytes / pixels,
            encode_s=coded.encode_s,
            decode_s=coded.decode_s,
            memory_mb=memory / 1e6,
            dpc=__version__,
            commit=commit(),
            tools=tools(),
            metrics=reference.measure(coded.rgb),
        )

    def have(subject: Codec | Folder, quality: float | None, goal: float | None, model: str) -> bool:
        key = (subject.name, subject.version, subject.settings, digest, quality, goal)
        before, metrics = known.get(key, ("", frozenset()))
        return before == model and metrics >= set(plan.metrics)

    folders = [Folder(name, Path(place)) for name, place in plan.folders.items()]
    goals = [8 * entry.bytes / pixels for folder in folders for entry in folder.of(path.stem)] if plan.match else []
    for name in plan.codecs:
        tried: dict[float, bytes] = {}
        for quality, goal in plan.points(name, goals):
            try:
                codec = _codec(name, plan.threads, plan.python, plan.network_weights)
                model = getattr(codec, "model", "")
                if not have(codec, quality, goal, model):
                    coded = _code(codec, rgb, quality, goal, tried)
                    yield row(coded, codec, goal, model, peak(name, codec, rgb, coded.quality, plan.threads))
            except Exception as error:  # a codec's fault of any kind costs this row only
                what = f"quality {quality:g}" if quality is not None else f"{goal:g} bpp"
                yield Failure(name, path.stem, what, engines.line(error))
    for folder in folders:
        for entry in folder.of(path.stem):
            try:
                model = folder.identity(entry)
                if not have(folder, entry.quality, None, model):
                    decoded = folder.decoded(entry, rgb)
                    yield row(_Coded(entry.quality, entry.bytes, decoded), folder, None, model)
            except Exception as error:  # a picture's or a metric's fault costs this row only
                yield Failure(folder.name, path.stem, f"quality {entry.quality:g}", engines.line(error))


@dataclass(frozen=True)
class _Coded:
    quality: float
    bytes: int
    rgb: Rgb
    encode_s: float = math.nan
    decode_s: float = math.nan


def _code(
    codec: Codec, rgb: Rgb, quality: float | None, goal: float | None, tried: dict[float, bytes] | None = None
) -> _Coded:
    """One file, coded and decoded by the clock; what is loaded at first use is loaded before. tried: see at_bpp."""
    if id(codec) not in _WARM:
        codec.decode(codec.encode(rgb[:64, :64].copy(), codec.qualities[len(codec.qualities) // 2]))
        _WARM.add(id(codec))
    if quality is None:
        quality, _ = baselines.at_bpp(codec, rgb, goal or 0.0, tried)
    quality = float(quality)
    begin = time.perf_counter()
    data = codec.encode(rgb, quality)
    middle = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    if decoded.shape != rgb.shape:
        raise DPCError(f"{codec.name} gave back {decoded.shape[1]}x{decoded.shape[0]} pixels")
    return _Coded(quality, len(data), decoded, middle - begin, end - middle)


# what measured


@lru_cache(maxsize=1)
def commit() -> str:
    """The git commit of this code, "-dirty" behind it when files differ, "" when it is not a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # an installed copy may lie below another repository
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=10, check=True)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@lru_cache(maxsize=1)
def tools() -> str:
    """Python, the packages that decide figures, and the machine."""
    packages = ("numpy", "Pillow", "onnxruntime", "constriction", "torch", "ssimulacra2")
    versions = [f"{name} {v}" for name in packages if (v := metadata_version(name))]
    with suppress(ImportError, AttributeError):  # Pillow names libavif's version alone, not that of its coders
        versions.append(import_module("PIL._avif").codec_versions())
    python = f"Python {sys.version.split()[0]}"
    return ", ".join([python, *versions, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"])


@lru_cache(maxsize=32)
def metadata_version(package: str) -> str:
    """The version of an installed package, "" when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
