"""The run: pictures x codecs x qualities -> rows.

The work is cut by picture, so that what a metric computes of an original is computed once, not once per codec. What is
in rows.csv already is not measured again; a picture, codec or process that fails costs its own rows only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dpc import __version__
from dpc.codec.image import load, pictures_in
from dpc.errors import DPCError, ImageError, OptionError, ToolMissing
from dpc.evaluation import experiment, kinds
from dpc.evaluation.codecs import Codec, Entry, Folder
from dpc.evaluation.compression.memory import peak
from dpc.evaluation.compression.rows import Key, Row, append, merged, read, write
from dpc.evaluation.experiment import Decoded, Failure, Subjects, attempt, code, engines, point_label, sha256
from dpc.evaluation.independence import UNKNOWN
from dpc.evaluation.metrics.reference import DEFAULT, Reference, usable, versions
from dpc.provenance import commit, tools

__all__ = ["TARGETS", "Plan", "Result", "bench", "pictures"]

TARGETS = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0)
MOST_GENERATIONS = 100
NEAR = 0.05  # a file further than this share from the rate that it was brought to is told


@dataclass(frozen=True)
class Plan(Subjects):
    """What to measure of every picture, beside what codes it.

    targets: bpp that each codec's file of each picture is brought to. match: bring the codecs to the size of each file
    in the folders as well. weights: folder of the metrics' weights. kinds: of pictures, by file name without ending; by
    default those of kinds.csv beside the pictures. generations: after how many times of encoding and decoding, at the
    quality of the first, a codec is measured; "avif x3" is the name of the third.
    """

    targets: tuple[float, ...] = ()
    match: bool = False
    metrics: tuple[str, ...] = DEFAULT
    weights: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    generations: tuple[int, ...] = (1,)

    def points(self, codec: str, targets: Sequence[float] = ()) -> list[tuple[float | None, float | None]]:
        """(quality, None) and (None, target) of a codec; targets: of one picture, beside those of all."""
        return [(q, None) for q in self.chosen(codec)] + [(None, g) for g in dict.fromkeys((*self.targets, *targets))]


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


def bench(
    plan: Plan,
    images: Path,
    out: Path,
    *,
    processes: int = 1,
    engine: str = "processes",
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Measure, and keep the rows in out/rows.csv (and out/failures.csv).

    engine: "serial" or "processes" on this machine, or "ray" on the cluster that ray.init finds; images, out and what
    the codecs need must then be reachable under the same paths everywhere. progress takes the share done, say a line at
    the start, for each picture, and now and then within a slow one. Raises OptionError for a plan that cannot be
    carried out, ToolMissing when no codec or metric is left.
    """
    engines.check(engine)
    if not all(0 < g < math.inf for g in plan.targets):
        raise OptionError(
            "a rate of 0 bpp or less, or without end, cannot be reached; give rates such as 0.15,0.25,0.5"
        )
    if not plan.generations or not all(1 <= n <= MOST_GENERATIONS for n in plan.generations):
        raise OptionError(f"generations are 1 to {MOST_GENERATIONS}; give some such as 1,3,10")
    paths = pictures(images)
    plan = replace(plan, kinds=plan.kinds or kinds.beside(images))
    plan, missing = _usable(plan)
    out.mkdir(parents=True, exist_ok=True)
    with experiment.alone(out):
        return _bench(plan, _distinct(paths, missing), out, missing, processes, engine, progress, say)


def far(plan: Plan, result: Result) -> dict[tuple[str, float], int]:
    """(codec, target) -> how many files of the plan's codecs are further than NEAR from the rate that was aimed at."""
    codecs = (name for name in plan.codecs if name not in result.missing)
    own = {plan.codec(name).name for name in codecs}
    aimed = (
        (r.codec, r.target) for r in result.rows if r.codec in own and r.target and abs(r.bpp / r.target - 1) > NEAR
    )
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
    progress: Callable[[float], None],
    say: Callable[[str], None],
) -> Result:
    file = out / "rows.csv"
    rows = merged(read(file))
    if file.exists():
        write(file, rows)  # without a line that was cut off
    known: dict[str, dict[Key, tuple[str, frozenset[str]]]] = {}

    def note(row: Row) -> None:
        known.setdefault(row.sha256, {})[row.key] = (row.model, frozenset(row.metrics))

    for row in rows:
        note(row)
    names = [*plan.codecs, *plan.folders]
    say(f"{len(pictures)} pictures, {len(names)} codecs ({', '.join(names)}), {len(rows)} rows there already")

    def keep(row: Row) -> None:
        append(file, [row])
        rows.append(row)
        note(row)

    new, failures = experiment.carry_out(
        measure,
        [Task(plan, path, known.setdefault(digest, {})) for digest, path in pictures.items()],
        total=len(pictures),
        name=lambda task: task.path.stem,
        keep=keep,
        engine=engine,
        processes=processes,
        progress=progress,
        say=say,
    )
    experiment.write_failures(out / "failures.csv", failures)
    latest = merged(rows)
    order = {path.stem: i for i, path in enumerate(pictures.values())}
    latest.sort(key=lambda r: (order.get(r.image, len(order)), r.image, r.codec, r.target is not None, r.bpp))
    write(file, latest)
    return Result(latest, new, failures, missing)


def _usable(plan: Plan) -> tuple[Plan, dict[str, str]]:
    """The plan without codecs and metrics that are missing here, and why they are."""
    codecs, missing = experiment.usable(plan)
    metrics, without = usable(plan.metrics, plan.weights)
    if not metrics:
        raise ToolMissing("; ".join(without.values()) or "no metric was given")
    return replace(plan, codecs=tuple(codecs), metrics=tuple(metrics)), missing | without


# one picture

Known: TypeAlias = "Mapping[Key, tuple[str, frozenset[str]]]"  # model and metrics of a picture's rows that are there


class Task(NamedTuple):
    """One picture, and what is known of it already: rows are added to it as they are kept."""

    plan: Plan
    path: Path
    known: Known


def known_text(path: Path) -> list[str] | None:
    """The lines of the .txt file beside a picture; None when there is none. ImageError when it is not UTF-8."""
    text = path.with_suffix(".txt")
    if not text.is_file():
        return None
    try:
        return text.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ImageError(f"{text}, the text of {path.name}, is not UTF-8; correct it or move it away") from error


def measure(task: Task) -> Iterator[Row | Failure]:
    """The rows of one picture that are not known, each as soon as it is there; what fails becomes a Failure."""
    try:
        picture = _Picture(task)
    except (DPCError, OSError) as error:
        yield Failure("", task.path.stem, "", engines.line(error))
        return
    folders = [Folder(name, Path(place)) for name, place in task.plan.folders.items()]
    entries = [(folder, entry) for folder in folders for entry in folder.of(task.path.stem)]
    targets = [8 * entry.bytes / picture.pixels for _, entry in entries] if task.plan.match else []
    for name in task.plan.codecs:
        yield from picture.coded(name, task.plan.points(name, targets))
    for folder, entry in entries:
        rows = picture.precomputed(folder, entry)
        yield from attempt(rows, folder.name, task.path.stem, point_label(entry.quality, None))


class _Picture:
    """A picture that is measured: what metrics need of it is computed once, when the first file is there."""

    def __init__(self, task: Task) -> None:
        self._plan, self._path, self._known = task
        self._sha256, self._rgb = sha256(task.path), load(task.path).rgb
        self._reference: Reference | None = None
        self.pixels = self._rgb.shape[0] * self._rgb.shape[1]

    def coded(self, name: str, points: Sequence[tuple[float | None, float | None]]) -> Iterator[Row | Failure]:
        """The rows of a codec at points of (quality, target)."""
        tried: dict[float, bytes] = {}
        for quality, target in points:
            rows = self._generations(name, quality, target, tried)
            yield from attempt(rows, name, self._path.stem, point_label(quality, target))

    def _generations(
        self, name: str, quality: float | None, target: float | None, tried: dict[float, bytes]
    ) -> Iterator[Row]:
        """A row for each generation that is not known."""
        codec = self._plan.codec(name)
        model = getattr(codec, "model", "")
        wanted = [n for n in self._plan.generations if not self._have(codec, quality, target, model, n)]
        if not wanted:
            return
        coded = code(codec, self._rgb, quality, target, tried)
        memory = peak(name, codec, self._rgb, coded.quality, self._plan.threads)
        for n in range(1, max(wanted) + 1):
            if n > 1:
                coded = code(codec, coded.rgb, coded.quality, None)
            if n in wanted:
                yield self._row(coded, codec, target, model, memory, n)

    def precomputed(self, folder: Folder, entry: Entry) -> Iterator[Row]:
        """The row of a precomputed file."""
        model = folder.identity(entry)
        if not self._have(folder, entry.quality, None, model):
            coded = Decoded(entry.quality, entry.bytes, folder.decoded(entry, self._rgb))
            yield self._row(coded, folder, None, model)

    def _have(
        self, subject: Codec | Folder, quality: float | None, target: float | None, model: str, generation: int = 1
    ) -> bool:
        key = (_name(subject, generation), subject.version, subject.settings, self._sha256, quality, target)
        before, metrics = self._known.get(key, ("", frozenset()))
        return before == model and metrics >= set(self._plan.metrics)

    def _row(
        self,
        coded: Decoded,
        subject: Codec | Folder,
        target: float | None,
        model: str,
        memory: float = math.nan,
        generation: int = 1,
    ) -> Row:
        if self._reference is None:
            text = known_text(self._path)
            self._reference = Reference(self._rgb, self._plan.metrics, self._plan.weights, text)
        return Row(
            codec=_name(subject, generation),
            version=subject.version,
            settings=subject.settings,
            model=model,
            image=self._path.stem,
            sha256=self._sha256,
            width=self._rgb.shape[1],
            height=self._rgb.shape[0],
            quality=coded.quality,
            target=target,
            bytes=coded.bytes,
            bpp=8 * coded.bytes / self.pixels,
            encode_s=coded.encode_s,
            decode_s=coded.decode_s,
            memory_mb=memory / 1e6,
            dpc=__version__,
            commit=commit(),
            tools=", ".join([tools(), *(v for v in versions(self._plan.metrics) if v not in tools())]),
            metrics=self._reference.measure(coded.rgb),
            seen=getattr(subject, "seen", UNKNOWN),
            command=getattr(subject, "command", ""),
            kind=self._plan.kinds.get(self._path.stem, ""),
        )


def _name(subject: Codec | Folder, generation: int) -> str:
    """A codec's name in rows: "avif x3" after three times."""
    return subject.name if generation == 1 else f"{subject.name} x{generation}"
