"""Where tasks are worked on: here, in processes of this machine, or on a Ray cluster.

Tasks are taken from their source as workers become free, so a set of any size takes the memory of the pictures that
are being worked on and no more. What a task gives comes back item by item, so a run that is killed has all that was
made before. Where the run is gone, a worker ends with the item that it has in hand.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from dpc.errors import DPCError, OptionError, ToolMissing

__all__ = ["ENGINES", "End", "check", "line", "stream", "work"]

ENGINES = ("serial", "processes", "ray")
AHEAD = 2  # tasks for each worker that a cluster is given

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class End:
    """The end of a task. items: how many came before. error: in one line, why no more did; died: its worker did."""

    items: int = 0
    error: str = ""
    died: bool = False


def stream(
    engine: str,
    function: Callable[[Task], Any],
    tasks: Iterable[Task],
    count: int,
    again: Callable[[Task], Any] | None = None,
) -> Iterator[tuple[Task, Any | End]]:
    """(task, item) for every item of the iterator function(task), as soon as it is there, and (task, End) after them.

    What is no iterator is the one item. count: workers. engine: one of ENGINES; one worker of "processes" is this
    process, as "serial" is. Otherwise function, tasks and items travel by pickle. A task whose worker died is tried
    once more when the others are done, as it is then, by `again` where that is given. Raises OptionError, and
    ToolMissing without ray.
    """
    check(engine)
    if engine == "serial" or (engine == "processes" and count == 1):
        for task in tasks:
            for event in _events(function, task):
                yield task, event
        return
    elsewhere = _ray if engine == "ray" else _processes
    left: list[Task] = []
    for task, event in elsewhere(function, tasks, count):
        if isinstance(event, End) and event.died:
            left.append(task)
        else:
            yield task, event
    if left:
        yield from elsewhere(again or function, left, 1)


def work(
    engine: str,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    count: int,
    again: Callable[[Task], Result] | None = None,
) -> Iterator[tuple[Task, Result | str]]:
    """(task, function(task)) in the order in which they are done, for a function that gives one value; see stream.

    Where a worker dies or the function fails the reason, in one line, stands in place of the result. again: what is
    done in place of the function with a task that may have been done, but whose result was lost with its worker.
    """
    for task, event in stream(engine, function, tasks, count, again):
        if not isinstance(event, End):
            yield task, event
        elif event.error:
            yield task, event.error


def check(engine: str) -> None:
    """OptionError for an engine that there is not."""
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r} is unknown; choose from {', '.join(ENGINES)}")


def _events(function: Callable[[Task], Any], task: Task) -> Iterator[Any | End]:
    items = 0
    try:
        found = function(task)
        for item in found if isinstance(found, Iterator) else [found]:
            yield item
            items += 1
        end = End(items)
    except Exception as error:
        end = End(items, line(error))
    yield end


_DIED = End(error="the process died (out of memory?)", died=True)


class _Process:
    """A worker of this machine, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()

    def end(self) -> None:
        """Close the pipe, at which it ends after the item in hand, and wait for that."""
        self.pipe.close()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """The life of a worker: it ends when nobody listens any more. Ctrl-C is the affair of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            try:
                function, task = pipe.recv()
                for event in _events(function, task):
                    pipe.send(event)
            except (EOFError, OSError):
                raise
            except Exception as error:  # of pickle
                pipe.send(End(error=line(error)))
    except (EOFError, OSError):
        return


def _processes(function: Callable[[Task], Any], tasks: Iterable[Task], count: int) -> Iterator[tuple[Task, Any | End]]:
    source = iter(tasks)
    idle: list[_Process] = []
    busy: dict[Connection, tuple[_Process, Task]] = {}
    over = False
    try:
        while busy or not over:
            while len(busy) < count and not over:
                try:
                    task = next(source)
                except StopIteration:
                    over = True
                    break
                process = idle.pop() if idle else _Process()
                busy[process.pipe] = process, task
                try:
                    process.pipe.send((function, task))
                except OSError:
                    pass  # it died while it was idle, which the next step sees
                except Exception as error:  # of pickle
                    idle.append(busy.pop(process.pipe)[0])
                    yield task, End(error=line(error))
            for pipe in wait(list(busy)) if busy else ():  # of none it would wait for ever
                assert isinstance(pipe, Connection)
                process, task = busy[pipe]
                try:
                    event = pipe.recv()
                except (EOFError, OSError):
                    event = _DIED
                    process.end()
                if isinstance(event, End):
                    del busy[pipe]
                    if not event.died:
                        idle.append(process)
                yield task, event
    finally:
        processes = [*idle, *(process for process, _ in busy.values())]
        for process in processes:
            process.pipe.close()
        for process in processes:
            process.end()


def _ray(function: Callable[[Task], Any], tasks: Iterable[Task], count: int) -> Iterator[tuple[Task, Any | End]]:
    try:
        import ray
    except ImportError as error:
        raise ToolMissing("--engine ray needs the package ray; pip install 'ray>=2.40'") from error
    own = not ray.is_initialized()
    if own:
        # a cluster by RAY_ADDRESS, or else one on this machine
        local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": count, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, configure_logging=False, **local)
        except Exception as error:  # ray raises whatever its start happens to hit
            raise DPCError(f"ray does not start, or its cluster is not reached: {line(error)[:200]}") from error
    try:
        # where ray itself tried a task again, that would not know what was kept since
        remote: Any = ray.remote(num_cpus=1, num_returns="streaming", max_retries=0)(_events)
        source = iter(tasks)
        ahead = AHEAD * max(count, int(ray.cluster_resources().get("CPU", 1)))
        waiting = {remote.remote(function, task): task for task in islice(source, ahead)}
        while waiting:
            ready: Any = ray.wait(list(waiting), num_returns=1)[0][0]
            task = waiting[ready]
            event: Any
            try:
                event = ray.get(next(ready))
            except ray.exceptions.RayTaskError as error:
                event = End(error=line(error))
            except (ray.exceptions.RayError, StopIteration) as error:
                event = End(error=line(error), died=True)
            if isinstance(event, End):
                del waiting[ready]
                waiting |= {remote.remote(function, new): new for new in islice(source, 1)}
            yield task, event
    finally:
        if own:
            ray.shutdown()


def line(error: BaseException) -> str:
    """What an error says, in one line; the kind of error stands before it unless it is a DPCError."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, DPCError) else f"{type(error).__name__}: {text}"
