"""The run: pictures x codecs x rates x detectors -> rows.

    picture -> load -> original ----------------------> detectors -> rows
                   \\-> each codec, quality -> decode -> detectors -> rows

Every picture goes through all of it in one worker, and only the pictures that are being worked on are in memory. What
is in the rows already is not done again; a picture, codec or worker that fails costs its own rows only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dpc import __version__
from dpc.codec.image import load
from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation import experiment
from dpc.evaluation.codecs import Codec, Entry, Folder, Rgb
from dpc.evaluation.detection import detectors
from dpc.evaluation.detection.dataset import Dataset, Picture, match
from dpc.evaluation.detection.protocol import Detector, Found
from dpc.evaluation.detection.rows import ORIGINAL, Boxes, Key, Row, append, file_of, read, rounded, write
from dpc.evaluation.experiment import Failure, Subjects, engines, sha256
from dpc.evaluation.experiment.cells import lines
from dpc.files import atomic_write, csv_text
from dpc.provenance import commit, tools

__all__ = ["TARGETS", "Plan", "Result", "boxes_of", "codecs_of", "detect", "detector", "mean_qualities"]

TARGETS = (0.1, 0.15, 0.25, 0.4, 0.6)
MATCHES = ("average", "image")
SAMPLE = 10  # pictures on which the quality of a mean rate is looked for
# the outer rates are aimed at by such shares further out, so that all rates lie between files; the mean of all pictures
# was up to 15 % above that of the sample
BELOW, ABOVE = 0.2, 0.07
CLOSE = 0.02  # a quality within this share of a mean rate is not improved


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
            plan = _with_qualities(plan, data, out, missing, say)
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
    for file, rows in rows_of.items():
        write(file, rows)  # without what was cut off
        for row in rows:
            known.setdefault(row.image, set()).add((row.key, row.model))
    changed: set[Path] = set()

    def keep(row: Row) -> None:
        file = file_of(out / "rows", row.codec)
        append(file, [row])
        rows_of.setdefault(file, []).append(row)
        changed.add(file)

    new, failures = experiment.carry_out(
        measure,
        (Task(plan, p, data.sha256, labels, frozenset(known.get(p.id, ()))) for p in data.pictures),
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


def codecs_of(plan: Plan, out: Path) -> list[str]:
    """The codecs and folders that there will be rows of: those of the plan that work here, and those in out already."""
    _, _, codecs = _usable(plan)
    old = {row.codec for file in (out / "rows").glob("*.csv.gz") for row in read(file)}
    return sorted({*codecs, *plan.folders, *old} - {ORIGINAL})


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


# rates on average


def _with_qualities(plan: Plan, data: Dataset, out: Path, missing: dict[str, str], say: Callable[[str], None]) -> Plan:
    """The plan with the qualities of its mean rates, which are kept in out/qualities.csv for the next run."""
    file = out / "qualities.csv"
    header = ("codec", "version", "settings", "annotations", "pictures", "target", "quality", "bpp")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    whole = (cells for _, cells in lines(text) if None not in map(cells.get, header))
    kept = [[str(cells[name]) for name in header] for cells in whole]
    known = {tuple(line[:6]): line for line in kept}
    chosen = dict(plan.qualities)
    sample = _sample(data.pictures)
    for name in plan.codecs:
        if plan.chosen(name):
            continue
        codec = plan.codec(name)
        aims = _aims(plan.targets)
        about = (codec.name, codec.version, codec.settings, data.sha256, str(len(data.pictures)))
        keys = {aim: (*about, f"{aim:.6g}") for aim in aims}
        new = [aim for aim in aims if keys[aim] not in known]
        if new:
            say(
                f"{codec.name}: looking for the qualities of {', '.join(f'{g:g}' for g in plan.targets)} bpp on average"
            )
            try:
                pictures = [load(p.path).rgb for p in sample]
                old = {float(line[6]): float(line[7]) for key, line in known.items() if key[:5] == about}
                for aim, (quality, bpp) in mean_qualities(codec, pictures, new, old).items():
                    known[keys[aim]] = [*keys[aim], f"{quality:.12g}", f"{bpp:.6g}"]
            except Exception as error:  # a codec's fault of any kind costs this codec only
                missing[name] = engines.line(error)
                continue
            atomic_write(file, csv_text(header, known.values()))
        chosen[name] = tuple(dict.fromkeys(float(known[key][6]) for key in keys.values()))
    left = tuple(name for name in plan.codecs if name not in missing)
    if not left and not plan.folders:
        raise ToolMissing("; ".join(missing.values()))
    return replace(plan, codecs=left, qualities=chosen)


def _aims(targets: Sequence[float]) -> list[float]:
    """The mean rates to code at, so that every target lies between two of them."""
    ordered = sorted(set(targets))
    inner = ordered[1:-1]
    return [ordered[0] * (1 - BELOW), *inner, ordered[-1] * (1 + ABOVE)]


def _sample(pictures: Sequence[Picture]) -> list[Picture]:
    """SAMPLE pictures whose files' rates are spread as those of all."""
    ordered = sorted(pictures, key=lambda p: (p.bpp, p.id))
    places = (np.arange(min(SAMPLE, len(ordered))) + 0.5) * len(ordered) / min(SAMPLE, len(ordered))
    return [ordered[int(i)] for i in places]


def mean_qualities(
    codec: Codec, pictures: Sequence[Rgb], rates: Sequence[float], known: Mapping[float, float] | None = None
) -> dict[float, tuple[float, float]]:
    """Rate -> (quality, mean bpp of the pictures), the nearest that the codec has, by search.

    known: quality -> mean bpp of these pictures, which need not be coded again.
    """
    seen: dict[int, float] = {}
    for quality, bpp in (known or {}).items():
        seen[min(range(len(codec.qualities)), key=lambda i: abs(codec.qualities[i] - quality))] = bpp

    def mean(place: int) -> None:
        quality = codec.qualities[place]
        sizes = [8 * len(codec.encode(p, quality)) / (p.shape[0] * p.shape[1]) for p in pictures]
        seen[place] = float(np.mean(sizes))

    found = {}
    for rate in rates:
        while not any(abs(bpp / rate - 1) <= CLOSE for bpp in seen.values()):
            low = max((i for i, bpp in seen.items() if bpp <= rate), default=-1)
            high = min((i for i, bpp in seen.items() if bpp > rate), default=len(codec.qualities))
            if high - low < 2:
                break
            place = (low + high) // 2
            if low in seen and high in seen:  # log bpp is almost linear
                share = math.log(rate / seen[low]) / math.log(seen[high] / seen[low])
                place = min(max(low + round(share * (high - low)), low + 1), high - 1)
            mean(place)
        best = min(seen, key=lambda i: abs(math.log(seen[i] / rate)))
        found[rate] = float(codec.qualities[best]), seen[best]
    return found


# one picture

Labels: TypeAlias = "Mapping[str, Mapping[int, int]]"


@dataclass(frozen=True)
class Task:
    """One picture. labels: of each detector, place in its classes -> category. known: what is not done again."""

    plan: Plan
    picture: Picture
    annotations: str
    labels: Labels
    known: frozenset[tuple[Key, str]]


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
        size = task.picture.path.stat().st_size
    except (DPCError, OSError) as error:
        yield Failure("", name, "", engines.line(error))
        return
    try:
        yield from picture.rows(None, None, None, lambda: _Coded(math.nan, size, picture.rgb))
    except Exception as error:  # a detector's fault of any kind costs this picture only
        yield Failure(ORIGINAL, name, "", engines.line(error))
        return
    for given in plan.codecs:
        for quality, target in plan.points(given):
            try:
                codec = plan.codec(given)
                yield from picture.rows(codec, quality, target, partial(_code, codec, picture.rgb, quality, target))
            except Exception as error:  # a codec's fault of any kind costs these rows only
                what = f"quality {quality:g}" if quality is not None else f"{target:g} bpp"
                yield Failure(given, name, what, engines.line(error))
    for given, place in plan.folders.items():
        folder = Folder(given, Path(place))
        for entry in folder.of(task.picture.path.stem):
            try:
                code = partial(_decoded, folder, entry, picture.rgb)
                yield from picture.rows(folder, entry.quality, None, code, folder.identity(entry))
            except Exception as error:
                yield Failure(given, name, f"quality {entry.quality:g}", engines.line(error))


class _Looked:
    """A picture, coded and looked at."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sha256 = sha256(task.picture.path)
        self.rgb = load(task.picture.path).rgb

    def rows(
        self,
        subject: Codec | Folder | None,
        quality: float | None,
        target: float | None,
        code: Callable[[], _Coded],
        model: str = "",
    ) -> Iterator[Row]:
        """A row for each detector, of those that are not known; the picture is coded when the first of them is due."""
        task, plan, coded = self._task, self._task.plan, None
        about = (ORIGINAL, "", "", "")
        if subject is not None:
            about = (subject.name, subject.version, subject.settings, model or getattr(subject, "model", ""))
        point = (None, target) if target is not None else (quality, None)
        for text in plan.detectors:
            looks = detector(text, plan.threads, plan.device)
            looked = (looks.name, looks.version, looks.settings)
            key = (*looked, *about[:3], task.annotations, task.picture.id, self._sha256, *point)
            if (key, about[3]) in task.known:
                continue
            coded = coded or code()
            if coded.rgb.shape != self.rgb.shape:
                raise DPCError(f"it gave back {coded.rgb.shape[1]}x{coded.rgb.shape[0]} pixels")
            yield Row(
                *looked,
                *about,
                annotations=task.annotations,
                image=task.picture.id,
                file=task.picture.path.name,
                sha256=self._sha256,
                width=self.rgb.shape[1],
                height=self.rgb.shape[0],
                quality=coded.quality,
                target=target,
                bytes=coded.bytes,
                bpp=8 * coded.bytes / (self.rgb.shape[0] * self.rgb.shape[1]),
                dpc=__version__,
                commit=commit(),
                tools=tools(),
                found=rounded(boxes_of(looks.detect(coded.rgb), task.labels[text])),
            )


@dataclass(frozen=True)
class _Coded:
    quality: float
    bytes: int
    rgb: Rgb


def _code(codec: Codec, rgb: Rgb, quality: float | None, target: float | None) -> _Coded:
    if quality is None:
        quality, data = baselines.at_bpp(codec, rgb, target or 0.0)
    else:
        data = codec.encode(rgb, quality)
    return _Coded(float(quality), len(data), codec.decode(data))


def _decoded(folder: Folder, entry: Entry, rgb: Rgb) -> _Coded:
    return _Coded(entry.quality, entry.bytes, folder.decoded(entry, rgb))
