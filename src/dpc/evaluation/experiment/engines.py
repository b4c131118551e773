"""Where tasks are worked on: here, in processes of this machine, or on a Ray cluster.

Tasks are taken from their source as workers become free, so a set of any size takes the memory of the pictures that
are being worked on and no more.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from dpc.errors import DPCError, OptionError, ToolMissing

__all__ = ["ENGINES", "check", "line", "work"]

ENGINES = ("serial", "processes", "ray")
AHEAD = 2  # tasks for each worker that are handed out

Task = TypeVar("Task")
Result = TypeVar("Result")


def work(
    engine: str,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    count: int,
    again: Callable[[Task], Result] | None = None,
) -> Iterator[tuple[Task, Result | str]]:
    """(task, function(task)) in the order in which they are done, by `count` workers.

    engine: one of ENGINES; one worker of "processes" is this process, as "serial" is. Otherwise function and tasks
    travel to other processes, by pickle, and what a generator yields comes back as a list. Where a worker dies or the
    function fails the reason, in one line, stands in place of the result. again: what is
    done in place of the function with a task that may have been done, but whose result was lost with a process. Raises
    OptionError, and ToolMissing without ray.
    """
    check(engine)
    if engine == "ray":
        return _ray(function, tasks, count)
    if engine == "serial" or count == 1:
        return _serial(function, tasks)
    return _processes(functools.partial(_listed, function), functools.partial(_listed, again or function), tasks, count)


def check(engine: str) -> None:
    """OptionError for an engine that there is not."""
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r} is unknown; choose from {', '.join(ENGINES)}")


def _listed(function: Callable[[Task], Any], task: Task) -> Any:
    found = function(task)
    return list(found) if isinstance(found, Iterator) else found


def _serial(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result | str]]:
    for task in tasks:
        try:
            found: Result | str = function(task)
        except Exception as error:
            found = line(error)
        yield task, found


def _processes(
    function: Callable[[Task], Result], again: Callable[[Task], Result], tasks: Iterable[Task], count: int
) -> Iterator[tuple[Task, Result | str]]:
    """A process that dies takes the others with it: what they had is then done one by one, each in its own process, and
    the rest by new ones."""

    def result_of(future: Future[Result]) -> Result | str:
        try:
            return future.result()
        except BrokenProcessPool:
            raise
        except Exception as error:
            return line(error)

    context = multiprocessing.get_context("spawn")
    source = enumerate(tasks)
    left: dict[int, Task] = {}
    over = False
    while not over:
        with ProcessPoolExecutor(count, context) as pool:
            waiting: dict[Future[Result], int] = {}
            try:
                for number, task in source:
                    left[number] = task
                    waiting[pool.submit(function, task)] = number
                    while len(waiting) >= AHEAD * count:
                        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                            found = result_of(future)
                            yield left.pop(waiting.pop(future)), found
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        found = result_of(future)
                        yield left.pop(waiting.pop(future)), found
                over = True
            except BrokenProcessPool:
                pass
        for task in left.values():
            with ProcessPoolExecutor(1, context) as pool:
                try:
                    result = result_of(pool.submit(again, task))
                except BrokenProcessPool:
                    result = "the process died (out of memory?)"
            yield task, result
        left.clear()


def _ray(function: Callable[[Task], Result], tasks: Iterable[Task], count: int) -> Iterator[tuple[Task, Result | str]]:
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
        remote: Any = ray.remote(num_cpus=1)(_listed)
        source = iter(tasks)
        ahead = AHEAD * max(count, int(ray.cluster_resources().get("CPU", 1)))
        waiting = {remote.remote(function, task): task for task in islice(source, ahead)}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ready)
            try:
                yield task, ray.get(ready)
            except ray.exceptions.RayError as error:
                yield task, line(error)
            waiting |= {remote.remote(function, task): task for task in islice(source, 1)}
    finally:
        if own:
            ray.shutdown()


def line(error: BaseException) -> str:
    """What an error says, in one line; the kind of error stands before it unless it is a DPCError."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, DPCError) else f"{type(error).__name__}: {text}"
