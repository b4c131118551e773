"""The work of a command on many files: by all cores or a cluster, a line for each, a table, a progress bar."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import typer

from dpc.cli import places
from dpc.cli.inputs import Inputs, Job
from dpc.cli.places import STDIO
from dpc.errors import DPCError, OptionError

if TYPE_CHECKING:
    from rich.progress import Progress

    from dpc.cli.results import Results

__all__ = ["Bar", "Output", "Work", "check_options", "cores", "named", "read", "reason", "run", "shown"]

MANY = 16  # from so many pictures on, processes of their own are started
SPOKEN = 10.0  # seconds between two lines of progress where there is no terminal


@dataclass(frozen=True)
class Output:
    """What becomes of an input: the bytes of the output, a note for people, the quality that the file has."""

    data: bytes
    note: str
    quality: float | None = None


class Work(Protocol):
    """What a command does with an input. It travels to other processes by pickle where there are many inputs."""

    def __call__(self, job: Job, progress: Callable[[float], None]) -> Output:
        """The output of a job; progress takes the share done, 0 to 1."""

    def check(self, source: str) -> None:
        """Raise for an input, a regular file, of the wrong kind."""

    def on_one_core(self) -> Work:
        """The same, for one of many processes."""


@dataclass(frozen=True)
class Done:
    """What came out of a job. note is empty where it failed; error is empty where it did not."""

    job: Job
    note: str = ""
    error: str = ""
    bytes: int | None = None
    quality: float | None = None
    seconds: float | None = None
    existed: bool = False


@dataclass(frozen=True)
class Rules:
    """How outputs are written."""

    force: bool = False
    skip: bool = False
    make_folders: bool = False


def check_options(force: bool, skip: bool) -> None:
    """Refuse what cannot be meant, before a folder is made."""
    if skip and force:
        raise typer.BadParameter("--skip-existing and -f exclude each other, give one of them")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    inputs: Inputs,
    work: Work,
    *,
    force: bool = False,
    skip: bool = False,
    jobs: int | None = None,
    engine: str = "processes",
    table: Results | None = None,
) -> None:
    """Do the work for every input, write what comes out, and print a line for each.

    skip: an output that exists is left, and that is no failure. jobs: pictures side by side; by default one for
    each core where there are many pictures, and else one after the other. An input that fails, of whatever exception,
    costs its own line and no more; exit code 1 at the end if any did.
    """
    rules = Rules(force, skip, inputs.make_folders)
    total = len(inputs.jobs)
    if engine != "processes":
        from dpc.evaluation.experiment import engines

        engines.check(engine)
    alone = engine == "serial" or (engine == "processes" and (jobs == 1 or (jobs is None and total < MANY)))
    failed = len(inputs.failures)
    with Bar(total, spoken=not alone) as bar:
        for source, why in inputs.failures:
            bar.say(f"dpc: error: {named(source, why)}", err=True)
            if table:
                table.add(Done(Job(source, ""), error=why))
        todo = inputs.jobs if table is None else table.open_jobs(inputs.jobs, skip)
        bar.start(total - len(todo))
        results: Iterator[Done]
        if alone:
            results = (perform(job, work, rules, bar.share) for job in todo)
        else:
            results = _side_by_side(todo, work.on_one_core(), rules, jobs or cores(), engine)
        for done in results:
            failed += bool(done.error)
            _say(bar, done)
            if table:
                table.add(done)
            bar.done()
        if inputs.left_out:
            bar.say(inputs.left_out_line(), err=True)
    if failed:
        if total + len(inputs.failures) >= MANY:
            typer.echo(f"{failed:,} of {total + len(inputs.failures):,} failed", err=True)
        raise typer.Exit(1)


def _say(bar: Bar, done: Done) -> None:
    if done.error:
        bar.say(f"dpc: error: {named(done.job.source, done.error)}", err=True)
    elif done.job.target != STDIO:
        bar.say(f"{shown(done.job.target)}: {done.note}")


def _side_by_side(jobs: Iterable[Job], work: Work, rules: Rules, count: int, engine: str) -> Iterator[Done]:
    """The results, as they are done, of processes of this machine or of a cluster."""
    from dpc.evaluation.experiment import engines

    def noted() -> Iterator[Job]:
        for job in jobs:
            yield job if _is_there(job.target) else dataclasses.replace(job, new=True)

    function = functools.partial(_perform_elsewhere, work=work, rules=rules)
    again = functools.partial(_perform_again, work=work, rules=rules)
    for job, found in engines.work(engine, function, noted(), count, again):
        yield Done(job, error=found) if isinstance(found, str) else found


def _perform_elsewhere(job: Job, work: Work, rules: Rules) -> Done:
    return perform(job, work, rules, lambda share: None)


def _perform_again(job: Job, work: Work, rules: Rules) -> Done:
    """After a process died: the output of a job may be there without its result, and is then made once more."""
    return _perform_elsewhere(job, work, Rules(force=True, make_folders=rules.make_folders) if job.new else rules)


def perform(job: Job, work: Work, rules: Rules, progress: Callable[[float], None]) -> Done:
    """Do the work for one input and write the output; whatever goes wrong is in the result."""
    begin = time.perf_counter()
    try:
        if not (places.is_stream(job.source) or places.is_url(job.source)):
            work.check(job.source)
        if job.target == STDIO:
            sys.stdout.buffer.write(work(job, progress).data)
            sys.stdout.buffer.flush()
            return Done(job)
        if rules.skip and _is_there(job.target):
            return Done(job, note="exists, left as it is", existed=True)
        check_target(job, rules)
        output = work(job, progress)
        try:
            places.write(job.target, output.data, rules.force)
        except FileExistsError as error:
            if rules.skip:  # another run was quicker
                return Done(job, note="exists, left as it is", existed=True)
            raise FileExistsError(f"{job.target} exists; -f overwrites it") from error
        seconds = time.perf_counter() - begin
        return Done(job, output.note, "", len(output.data), output.quality, seconds)
    except BrokenPipeError:
        raise
    except Exception as error:  # of a reader, a writer, a file system: it costs this picture only
        return Done(job, error=reason(error, "for this picture"), seconds=time.perf_counter() - begin)


def _is_there(target: str) -> bool:
    return places.exists(target) if places.is_url(target) else os.path.isfile(target)


def check_target(job: Job, rules: Rules) -> None:
    """Refuse an output that must not or cannot be written, before time is spent on it; OSError says why."""
    if places.is_url(job.target):
        if not rules.force and places.exists(job.target):
            raise FileExistsError(f"{job.target} exists; -f overwrites it")
        return
    path = Path(os.path.realpath(job.target))
    folder = path.parent
    while rules.make_folders and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(f"{folder} is a file, not a folder; name another output")
        raise FileNotFoundError(f"the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {folder} may not be written to; name another output")
    if not path.exists():
        return
    if job.source != STDIO and os.path.exists(job.source) and path.samefile(job.source):
        raise FileExistsError(f"{path} is the input itself; name another output")
    if not path.is_file():
        raise FileExistsError(f"{path} is not a regular file; name another output, or - for stdout")
    if not rules.force:
        raise FileExistsError(f"{path} exists; -f overwrites it")


read = places.read


def shown(path: str | Path) -> str:
    """A path as a line has it: line breaks and other signs that do not print are written as \\n, \\x1b and the like."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in typer.format_filename(path))


def named(source: str, text: str) -> str:
    """What is wrong with an input, beginning with its name."""
    if source == STDIO:
        return text if text.startswith("stdin") else f"stdin: {text}"
    for name in (source, " ".join(source.split())):  # in a text of one line
        if text.startswith(name):
            return shown(source) + text[len(name) :]
    return f"{shown(source)}: {text}"


def reason(error: BaseException, what: str = "") -> str:
    """What an error says, in one line that also tells what to do. what: for which work memory was too short."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory {what or 'for this command'}; give it less at a time, or a smaller picture"
    if isinstance(error, IsADirectoryError) and error.filename is not None:
        return f"{error.filename} is a folder; give a file"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, OptionError):  # of the library: as the command line has it
        return re.sub(r"\b(quality|bpp|max_bytes|max_pixels|threads)=(?=\S)", _as_option, text)
    if isinstance(error, (DPCError, OSError)) and text:
        return text
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("dpc."):
        package = error.name.partition(".")[0]
        return f"this needs the package {package}, which is not installed; pip install '.[all]' brings it"
    return unforeseen(error, text)


def _as_option(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')} "


def unforeseen(error: BaseException, text: str) -> str:
    """One line of an error that nobody planned: what to report."""
    import dpc

    if os.environ.get("DPC_TRACEBACK"):
        traceback.print_exception(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}dpc{os.sep}" in frame.filename]
    place = f" in {'/'.join(Path(frames[-1].filename).parts[-3:])}:{frames[-1].lineno}" if frames else ""
    return (
        f"unforeseen {type(error).__name__}{place}: {text[:300]} (a fault of dpc {dpc.__version__}; please report this "
        "line with the command and, if you can, the file; DPC_TRACEBACK=1 shows more)"
    )


class Bar:
    """A progress bar with the time left on stderr: only on a terminal, only once a second has passed, gone at the end.

    spoken: where there is no terminal a line every ten seconds instead.
    """

    def __init__(self, total: int, spoken: bool = False) -> None:
        self._total, self._spoken = total, spoken
        self._done = 0.0
        self._begin = self._last = time.monotonic()
        self._before = 0.0
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
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

        progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            *([MofNCompleteColumn()] if self._total > 1 else []),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        progress.update(progress.add_task("", total=self._total), completed=self._done)
        progress.start()
        self._progress = progress

    def start(self, before: int) -> None:
        """So many were done before, in no time of this run."""
        self._done = self._before = float(before)
        self._begin = self._last = time.monotonic()
        if before:
            self.say(f"{before:,} were done before")

    def done(self) -> None:
        """One more is done."""
        self._done = int(self._done) + 1.0
        self._update()
        now = time.monotonic()
        if self._spoken and not sys.stderr.isatty() and now - self._last > SPOKEN:
            self._last = now
            rate = (self._done - self._before) / (now - self._begin)
            left = (self._total - self._done) / rate
            line = f"{self._done:,.0f} of {self._total:,}, {rate:.3g} a second, about {left:,.0f} s left"
            typer.echo(line, err=True)

    def share(self, share: float) -> None:
        """This share (0 to 1) of the next is done."""
        self._done = int(self._done) + min(share, 0.999)
        self._update()

    def _update(self) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done)

    def say(self, line: str, err: bool = False) -> None:
        """Print a line above the bar, to stdout or to stderr."""
        if self._progress is not None and (err or sys.stdout.isatty()):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(line, err=err)
