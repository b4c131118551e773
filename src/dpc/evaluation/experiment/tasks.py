"""Tasks carried out: their rows kept as they come, their failures, and how long it will take."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

from dpc.errors import OptionError
from dpc.evaluation.experiment import engines
from dpc.files import atomic_write, csv_text

__all__ = ["Failure", "alone", "attempt", "carry_out", "write_failures"]

SLOW = 20.0  # seconds within one task after which a line says where the run is

Task = TypeVar("Task")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why, in one line."""

    codec: str
    image: str
    what: str
    reason: str


def carry_out(
    function: Callable[[Task], Iterable[Row | Failure]],
    tasks: Iterable[Task],
    *,
    total: int,
    name: Callable[[Task], str],
    keep: Callable[[Row], None],
    engine: str = "processes",
    processes: int = 1,
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[int, list[Failure]]:
    """(number of new rows, failures) of all tasks; keep gets every row as soon as it is here.

    total: how many tasks there are. name: of a task, for lines and failures. engine, processes: see engines.stream; a
    task whose worker died is tried once more, so it should know by then what was kept. progress takes the share done,
    say a line for each task, and one now and then within a slow one. A task that fails costs its own rows only.
    """
    failures: list[Failure] = []
    new = done = worked = 0
    begin = spoken = time.monotonic()
    for task, event in engines.stream(engine, function, tasks, processes):
        if isinstance(event, engines.End):
            done += 1
            if event.error:
                failures.append(Failure("", name(task), "", event.error))
            # a task whose rows were there already took no time, and says nothing about those to come
            worked += bool(event.items or event.error)
            spoken = time.monotonic()
            spent = spoken - begin
            left = spent / (worked or done) * (total - done)
            progress(done / total)
            say(f"{done}/{total} {name(task)}: {_rows(new)} so far, {_duration(spent)}, about {_duration(left)} left")
            continue
        if isinstance(event, Failure):
            failures.append(event)
        else:
            keep(event)
            new += 1
        if time.monotonic() - spoken > SLOW:
            spoken = time.monotonic()
            codec = getattr(event, "codec", "")
            say(f"{done}/{total}, at {name(task)}, {codec}: {_rows(new)} so far, {_duration(spoken - begin)}")
    return new, list(dict.fromkeys(failures))


def attempt(rows: Iterable[Row | Failure], codec: str, image: str, what: str) -> Iterator[Row | Failure]:
    """The rows, each as soon as it is there; an error of any kind costs those that were to follow, and is a Failure."""
    try:
        yield from rows
    except Exception as error:  # other people's codecs, detectors and metrics raise whatever they like
        yield Failure(codec, image, what, engines.line(error))


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """The failures of the last run, one a line; no file where nothing failed."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    atomic_write(path, csv_text([f.name for f in fields(Failure)], map(astuple, failures)))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While it is entered no other run writes to the folder; OptionError when one does. (Not checked on Windows.)"""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise OptionError(f"another run writes to {folder} now; wait for its end, or give another --out") from error
    try:
        yield
    finally:
        os.close(handle)


def _rows(count: int) -> str:
    return f"{count} new row{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
