"""The table of results of a command on many files: one row an input, kept over runs that were killed."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from dpc.cli import places
from dpc.errors import DPCError, OptionError
from dpc.files import atomic_write, csv_text

if TYPE_CHECKING:
    from dpc.cli.batch import Done
    from dpc.cli.inputs import Job

__all__ = ["COLUMNS", "Results"]

COLUMNS = ("input", "output", "bytes", "quality", "seconds", "error")


class Results:
    """A CSV table that grows by a row as soon as its picture is done.

    force: a table that exists is replaced. skip: one that exists is gone on with; what it says of pictures that are
    done stays, what failed is tried again. Else it is an error. A row that a kill cut off is dropped.
    """

    def __init__(self, path: Path, force: bool, skip: bool) -> None:
        if path.suffix.lower() != ".csv":
            raise OptionError(f"--table {path} does not end in .csv")
        if path.exists() and not (force or skip):
            raise OptionError(f"--table {path} exists; -f overwrites it, --skip-existing goes on with it")
        self._path = path
        self._kept: dict[tuple[str, str], list[str]] = _rows(path) if skip and path.exists() else {}
        self._file: TextIO | None = None

    def __enter__(self) -> Results:
        kept = {key: row for key, row in self._kept.items() if not row[5] and _is_there(row[1])}
        self._kept = kept
        atomic_write(self._path, csv_text(COLUMNS, kept.values()).encode("utf-8", "surrogateescape"))
        self._file = open(self._path, "a", newline="", encoding="utf-8", errors="surrogateescape")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, done: Done) -> None:
        """Write the row of an input, and hand it to the system: a kill right after does not lose it."""
        assert self._file is not None
        size, quality, note = done.bytes, done.quality, done.error
        if done.existed:
            if (done.job.source, done.job.target) in self._kept:
                return
            size, quality = _about(done.job.target)
        cells = [
            done.job.source,
            done.job.target,
            "" if size is None else size,
            "" if quality is None else f"{quality:.4g}",
            "" if done.seconds is None else f"{done.seconds:.3f}",
            note,
        ]
        csv.writer(self._file, lineterminator="\n").writerow(cells)
        self._file.flush()

    def open_jobs(self, jobs: list[Job], skip: bool) -> list[Job]:
        """The jobs that the table does not tell to be done."""
        return [job for job in jobs if (job.source, job.target) not in self._kept] if skip else jobs


def _rows(path: Path) -> dict[tuple[str, str], list[str]]:
    """(input, output) -> row of a table that an earlier run left; its last row may be cut off."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OptionError(f"--table {path} cannot be read: {error.strerror}") from error
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines(keepends=True)))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise OptionError(f"--table {path} is no table of results; name another, or give -f")
    return {(row[0], row[1]): row for row in lines[1:] if len(row) == len(COLUMNS)}


def _is_there(target: str) -> bool:
    return places.exists(target) if places.is_url(target) else os.path.isfile(target)


def _about(target: str) -> tuple[int | None, float | None]:
    """Bytes, and of a .dpc file quality, of an output that was there before."""
    import dpc

    try:
        data = places.read(target)
        return len(data), dpc.inspect(data).quality if target.lower().endswith(".dpc") else None
    except (OSError, DPCError):
        return None, None
