"""The files of a command: which becomes which, safe writing, a line per failure, a progress bar."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import typer

from dpc.errors import DPCError
from dpc.files import atomic_write

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["STDIO", "Bar", "check_options", "named", "plan", "read", "reason", "run"]

STDIO = "-"
"""Stands for stdin as an input and for stdout as an output."""

Work: TypeAlias = Callable[[str, str, Callable[[float], None]], "tuple[bytes, str]"]
"""work(source, target, progress) -> (bytes of the output, note); progress takes the share done, 0 to 1."""


def check_options(force: bool, skip: bool) -> None:
    """Refuse what cannot be meant, before a folder is made."""
    if skip and force:
        raise typer.BadParameter("--skip-existing and -f exclude each other, give one of them")


def plan(
    paths: list[str], out_dir: Path | None, suffix: str, allowed: list[str], inputs: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """(input, output) for every input, "-" for a stream; an output that was not named gets the suffix.

    With out_dir a folder stands for all files below it whose names end in one of `inputs`, and its own folders are made
    there again. An output whose suffix is not allowed is a usage error, so that `dpc encode *.jpg` never takes the last
    photograph for its output.
    """
    for path in paths:
        if re.match(r"https?://", path):
            raise typer.BadParameter(f"{path} is a web address; get the file first, such as with curl -O")
        if path != STDIO and not Path(path).name and not os.path.isdir(path):
            raise typer.BadParameter(f"{path!r} is not the name of a file")
    if out_dir is not None:
        if STDIO in paths:
            raise typer.BadParameter("- has no name that an output in --out-dir could have")
        jobs = []
        for path in paths:
            folder = Path(path)
            if not (inputs and folder.is_dir()):
                jobs.append((path, str(out_dir / folder.with_suffix(f".{suffix}").name)))
                continue
            found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in inputs and p.is_file()]
            if not found:
                raise typer.BadParameter(f"{path} holds no file that ends in {', '.join(inputs)}")
            jobs += [(str(p), str(out_dir / p.relative_to(folder).with_suffix(f".{suffix}"))) for p in found]
        for place in [out_dir, *(Path(target).parent for _, target in jobs)]:
            if place.exists() and not place.is_dir():
                raise typer.BadParameter(f"--out-dir: {place} is a file, not a folder; name another")
            place.mkdir(parents=True, exist_ok=True)
        return jobs
    if len(paths) > 2:
        raise typer.BadParameter(f"{len(paths)} paths; for more than one input give --out-dir")
    source = paths[0]
    if os.path.isdir(source) and inputs:
        raise typer.BadParameter(f"{source} is a folder; for the files in it give --out-dir")
    if len(paths) == 2 and os.path.isdir(paths[1]):
        raise typer.BadParameter(f"{paths[1]} is a folder; for outputs in it give --out-dir {paths[1]}")
    if len(paths) == 2:
        target = paths[1]
    else:
        target = STDIO if source == STDIO else str(Path(source).with_suffix(f".{suffix}"))
    if target == STDIO:
        if sys.stdout.isatty():
            raise typer.BadParameter("stdout is a terminal, the output is binary; redirect it or name a file")
    elif Path(target).suffix[1:].lower() not in allowed:
        endings = " or ".join(f".{name}" for name in allowed)
        raise typer.BadParameter(f"{target} does not end in {endings}; for several inputs give --out-dir")
    return [(source, target)]


def run(
    jobs: list[tuple[str, str]],
    force: bool,
    work: Work,
    skip: bool = False,
    check: Callable[[str], None] = lambda source: None,
) -> None:
    """Do the work for every (input, output) of `plan`, write what comes out, and print its note.

    skip: an output that exists is left, and that is no failure. check: raises for an input, that is no stream, of the
    wrong kind. A job that fails prints its line and the others go on; exit code 1 at the end if any did.
    """
    written: dict[Path, str] = {}
    failed = False
    with Bar(len(jobs)) as bar:
        for number, (source, target) in enumerate(jobs):
            try:
                progress = functools.partial(bar.show, number)
                if source != STDIO:
                    check(source)
                if target == STDIO:
                    data, _ = work(source, target, progress)
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
                    continue
                path = Path(os.path.realpath(target))
                if path in written:
                    raise FileExistsError(f"{target} already holds the output of {written[path]}; rename one")
                if skip and path.is_file():
                    bar.say(f"{typer.format_filename(target)}: exists, left as it is")
                    continue
                check_target(source, path, force)
                data, note = work(source, target, progress)
                write(path, data, force)
                written[path] = source
                bar.say(f"{typer.format_filename(target)}: {note}")
            except BrokenPipeError:
                raise
            except (DPCError, OSError, MemoryError) as error:
                bar.say(f"dpc: error: {named(source, reason(error))}", err=True)
                failed = True
    if failed:
        raise typer.Exit(1)


def read(path: str) -> bytes:
    """The bytes of a file, or of stdin for "-"."""
    return sys.stdin.buffer.read() if path == STDIO else Path(path).read_bytes()


def check_target(source: str, path: Path, force: bool) -> None:
    """Refuse an output that must not or cannot be written, before time is spent on it; OSError says why."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {path.parent} may not be written to; name another output")
    if not path.exists():
        return
    if source != STDIO and os.path.exists(source) and path.samefile(source):
        raise FileExistsError(f"{path} is the input itself; name another output")
    if not path.is_file():
        raise FileExistsError(f"{path} is not a regular file; name another output, or - for stdout")
    if not force:
        raise FileExistsError(f"{path} exists; -f overwrites it")


def write(path: Path, data: bytes, force: bool) -> None:
    """Put the whole file there or nothing."""
    try:
        atomic_write(path, data, overwrite=force)
    except FileExistsError as error:
        raise FileExistsError(f"{path} exists; -f overwrites it") from error


def named(source: str, text: str) -> str:
    """What is wrong with an input, beginning with its name."""
    name = "stdin" if source == STDIO else source
    return text if text.startswith(name) else f"{name}: {text}"


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this picture; scale it down or cut it into parts"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


class Bar:
    """A progress bar on stderr: only on a terminal, only once a second has passed, and gone at the end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0.0
        self._progress: Progress | None = None
        self._timer = threading.Timer(1.0, self._start)
        self._timer.daemon = True

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        if self._progress is not None:
            self._progress.stop()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        progress = Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
        progress.update(progress.add_task("", total=self._total), completed=self._done)
        progress.start()
        self._progress = progress

    def show(self, before: int, share: float) -> None:
        """So many files are done, and this share (0 to 1) of the next."""
        self._done = before + share
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done)

    def say(self, line: str, err: bool = False) -> None:
        """Print a line above the bar, to stdout or to stderr."""
        if self._progress is not None and (err or sys.stdout.isatty()):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(line, err=err)
