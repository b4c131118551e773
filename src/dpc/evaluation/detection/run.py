"""The run: pictures x codecs x rates x detectors -> rows.

    picture -> load -> original ----------------------> detectors -> rows
                   \\-> each codec, quality -> decode -> detectors -> rows

Every picture goes through all of it in one worker, and only the pictures that are being worked on are in memory. What
is in the rows already is not done again; a picture, codec or worker that fails costs its own rows only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dpc import __version__
from dpc.codec.image import load
from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation import experiment
from dpc.evaluation.codecs import Entry, Folder
from dpc.evaluation.detection import detectors, rates
from dpc.evaluation.detection.dataset import Dataset, Picture, match
from dpc.evaluation.detection.protocol import Detector, Found
from dpc.evaluation.detection.rows import ORIGINAL, Boxes, Key, Row, append, file_of, read, rounded, write
from dpc.evaluation.experiment import Decoded, Failure, Subjects, attempt, code, engines, point_label, sha256
from dpc.provenance import commit, tools

__all__ = ["TARGETS", "Plan", "Result", "boxes_of", "check_anchor", "detect", "detector"]

TARGETS = (0.1, 0.15, 0.25, 0.4, 0.6)
MATCHES = ("average", "image")


@dataclass(frozen=True)
class Plan(Subjects):
    """What to do with every picture, beside what codes it.

    detectors: as detectors.py takes them. targets: bpp, unless qualities are given. match: "average" codes all pictures
    at the one quality whose mean rate is nearest to a target, "image" brings each picture to each target.
    """

    detectors: tuple[str, ...] = ()
    targets: tuple[float, ...] = TARGETS
    match: str = "average"
    device: str = "cpu"

    def points(self, codec: str) -> list[tuple[float | None, float | None]]:
        """(quality, None) and (None, target) of a codec; under "average" its qualities must be filled in."""
        return [(q, None) for q in self.chosen(codec)] or [(None, g) for g in self.targets]


@dataclass(frozen=True)
class Result:
    """rows: of this test set, all in the folder now. missing: codec -> why it is left out. plan: with all qualities.

    codecs: name in the rows -> the name that was given. labels: name of a detector -> place in its classes -> category.
    """

    rows: list[Row]
    new: int
    failures: list[Failure]
    missing: dict[str, str]
    plan: Plan
    codecs: dict[str, str]
    labels: dict[str, dict[int, int]]


def detect(
    plan: Plan,
    data: Dataset,
    out: Path,
    *,
    processes: int = 1,
    engine: str = "processes",
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    each: bool = True,
) -> Result:
    """Measure, and keep the rows in out/rows.

    engine: "serial" or "processes" on this machine, or "ray" on the cluster that ray.init finds; all files must then be
    reachable under the same paths everywhere. progress takes the share done. say takes lines: one for each picture,
    unless `each` is false. Raises OptionError, ToolMissing and ModelError for a plan that cannot be carried out, before
    anything is coded.
    """
    engines.check(engine)
    if plan.match not in MATCHES:
        raise OptionError(f"match {plan.match!r} is unknown; choose from {', '.join(MATCHES)}")
    if not plan.targets or not all(0 < g < 24 for g in plan.targets):
        raise OptionError(
            f"rates of {', '.join(f'{g:g}' for g in plan.targets) or 'nothing'}; give some between 0 and 24"
        )
    if not plan.detectors:
        raise OptionError("no detector was given; name one with --detector, such as yolox_nano.onnx")
    names = [detector(text, plan.threads, plan.device).name for text in plan.detectors]
    if len(set(names)) < len(names):
        raise OptionError(
            f"two detectors have one name ({', '.join(names)}); rename a file or give a description a name"
        )
    labels = {text: match(detector(text, plan.threads, plan.device), data) for text in plan.detectors}
    plan, missing, codecs = _usable(plan)
    out.mkdir(parents=True, exist_ok=True)
    with experiment.alone(out):
        if plan.match == "average":
            qualities, failed = rates.find(plan, plan.targets, data, out / "qualities.csv", say)
            missing |= failed
            plan = replace(plan, codecs=tuple(c for c in plan.codecs if c not in failed), qualities=qualities)
            if not plan.codecs and not plan.folders:
                raise ToolMissing("; ".join(missing.values()))
        given = Result([], 0, [], missing, plan, codecs, dict(zip(names, labels.values(), strict=True)))
        return _detect(given, labels, data, out, processes, engine, progress, say if each else lambda _: None)


def _detect(
    given: Result,
    labels: Labels,
    data: Dataset,
    out: Path,
    processes: int,
    engine: str,
    progress: Callable[[float], None],
    say: Callable[[str], None],
) -> Result:
    """The result with its rows: those that are in out already and those that the plan asks for beside them."""
    plan = given.plan
    rows_of = {file: read(file) for file in sorted((out / "rows").glob("*.csv.gz"))}
    known: dict[int, set[tuple[Key, str]]] = {}
    for rows in rows_of.values():
        for row in rows:
            known.setdefault(row.image, set()).add((row.key, row.model))
    changed: set[Path] = set()

    def keep(row: Row) -> None:
        file = file_of(out / "rows", row.codec)
        if file in rows_of and file not in changed:
            write(file, rows_of[file])  # without what was cut off
        append(file, [row])
        rows_of.setdefault(file, []).append(row)
        known[row.image].add((row.key, row.model))
        changed.add(file)

    new, failures = experiment.carry_out(
        measure,
        (Task(plan, p, data.sha256, labels, known.setdefault(p.id, set())) for p in data.pictures),
        total=len(data.pictures),
        name=lambda task: task.picture.path.name,
        keep=keep,
        engine=engine,
        processes=processes,
        progress=progress,
        say=say,
    )
    experiment.write_failures(out / "failures.csv", failures)
    order = {p.id: i for i, p in enumerate(data.pictures)}
    for file in changed:
        latest = list({row.key: row for row in rows_of[file]}.values())
        latest.sort(
            key=lambda r: (order.get(r.image, len(order)), r.image, r.detector, r.codec, r.target is not None, r.bpp)
        )
        rows_of[file] = latest
        write(file, latest)
    # rows of a picture that was replaced stay in the files, but are not its rows any more
    current = {p.id: sha256(p.path) for p in data.pictures if p.path.is_file()}
    every = [row for rows in rows_of.values() for row in rows]
    here = [r for r in every if r.annotations == data.sha256 and r.sha256 == current.get(r.image)]
    return replace(given, rows=here, new=new, failures=failures)


def check_anchor(plan: Plan, out: Path, name: str) -> None:
    """OptionError unless there will be rows of a codec or folder of this name: it works here, or has rows in out."""
    _, _, codecs = _usable(plan)
    names = {*codecs, *plan.folders}
    if name not in names:
        names |= {row.codec for file in (out / "rows").glob("*.csv.gz") for row in read(file)} - {ORIGINAL}
    if name not in names:
        raise OptionError(f"--anchor {name} is not among the codecs {', '.join(sorted(names))}")


def _usable(plan: Plan) -> tuple[Plan, dict[str, str], dict[str, str]]:
    """The plan without codecs that are missing here, why they are, and the names of the others in the rows."""
    found, missing = experiment.usable(plan)
    codecs: dict[str, str] = {}
    for given, codec in found.items():
        if codec.name in codecs:
            raise OptionError(
                f"{codecs[codec.name]} and {given} are both called {codec.name}; rename one or leave it out"
            )
        codecs[codec.name] = given
    if ORIGINAL in plan.folders:
        raise OptionError(f"a folder is called {ORIGINAL}, as the uncompressed pictures are; give it another name")
    return replace(plan, codecs=tuple(codecs.values())), missing, codecs


# one picture

Labels: TypeAlias = "Mapping[str, Mapping[int, int]]"


@dataclass(frozen=True)
class Task:
    """One picture. labels: of each detector, place in its classes -> category. known: what is not done again; rows are
    added to it as they are kept."""

    plan: Plan
    picture: Picture
    annotations: str
    labels: Labels
    known: set[tuple[Key, str]]


@lru_cache(maxsize=8)
def detector(text: str, threads: int, device: str) -> Detector:
    """A detector as dpc.evaluation.detection.detectors takes it, loaded once."""
    return detectors.get(text, threads=threads, device=device)


def boxes_of(found: Found, labels: Mapping[int, int]) -> Boxes:
    """What was found as (N, 6) category, score, left, top, width, height; classes of no category are left out.

    DPCError for boxes that are not finite and for scores outside of 0 to 1: they would match anything, or nothing.
    """
    kept = [i for i, label in enumerate(found.labels.tolist()) if label in labels]
    boxes = found.boxes[kept].astype(np.float64)
    if not np.isfinite(boxes).all() or not ((found.scores[kept] >= 0) & (found.scores[kept] <= 1)).all():
        raise DPCError("the detector gave boxes or scores that are no numbers, or scores outside of 0 to 1")
    categories = [labels[label] for label in found.labels[kept].tolist()]
    return np.column_stack([categories, found.scores[kept], boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).reshape(-1, 6)


def measure(task: Task) -> Iterator[Row | Failure]:
    """The rows of one picture that are not known, each as soon as it is there; what fails becomes a Failure."""
    plan, name = task.plan, task.picture.path.name
    try:
        picture = _Looked(task)
    except (DPCError, OSError) as error:
        yield Failure("", name, "", engines.line(error))
        return
    originals = list(attempt(picture.original(), ORIGINAL, name, ""))
    yield from originals
    if any(isinstance(row, Failure) for row in originals):
        return  # a detector's fault costs this picture, which nothing could be compared with
    for given in plan.codecs:
        for quality, target in plan.points(given):
            yield from attempt(picture.coded(given, quality, target), given, name, point_label(quality, target))
    for given, place in plan.folders.items():
        folder = Folder(given, Path(place))
        for entry in folder.of(task.picture.path.stem):
            yield from attempt(picture.precomputed(folder, entry), given, name, point_label(entry.quality, None))


class _Looked:
    """A picture, coded and looked at."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sha256 = sha256(task.picture.path)
        self._rgb = load(task.picture.path).rgb
        self._pixels = self._rgb.shape[0] * self._rgb.shape[1]

    def original(self) -> Iterator[Row]:
        """The rows of the picture as it is."""
        size = self._task.picture.path.stat().st_size
        yield from self._rows((ORIGINAL, "", "", ""), None, None, lambda: Decoded(math.nan, size, self._rgb))

    def coded(self, given: str, quality: float | None, target: float | None) -> Iterator[Row]:
        """The rows of a codec at a quality or a target."""
        codec = self._task.plan.codec(given)
        about = (codec.name, codec.version, codec.settings, getattr(codec, "model", ""))
        yield from self._rows(about, quality, target, lambda: code(codec, self._rgb, quality, target))

    def precomputed(self, folder: Folder, entry: Entry) -> Iterator[Row]:
        """The rows of a precomputed file."""
        about = (folder.name, folder.version, folder.settings, folder.identity(entry))

        def make() -> Decoded:
            return Decoded(entry.quality, entry.bytes, folder.decoded(entry, self._rgb))

        yield from self._rows(about, entry.quality, None, make)

    def _rows(
        self,
        about: tuple[str, str, str, str],
        quality: float | None,
        target: float | None,
        make: Callable[[], Decoded],
    ) -> Iterator[Row]:
        """A row for each detector, of those that are not known; the picture is coded when the first of them is due.

        about: name, version, settings and model of what codes.
        """
        task, plan, coded = self._task, self._task.plan, None
        point = (None, target) if target is not None else (quality, None)
        for text in plan.detectors:
            looks = detector(text, plan.threads, plan.device)
            looked = (looks.name, looks.version, looks.settings)
            key = (*looked, *about[:3], task.annotations, task.picture.id, self._sha256, *point)
            if (key, about[3]) in task.known:
                continue
            coded = coded or make()
            yield Row(
                *looked,
                *about,
                annotations=task.annotations,
                image=task.picture.id,
                file=task.picture.path.name,
                sha256=self._sha256,
                width=self._rgb.shape[1],
                height=self._rgb.shape[0],
                quality=coded.quality,
                target=target,
                bytes=coded.bytes,
                bpp=8 * coded.bytes / self._pixels,
                dpc=__version__,
                commit=commit(),
                tools=tools(),
                found=rounded(boxes_of(looks.detect(coded.rgb), task.labels[text])),
            )
