"""Seconds of the parts of a call, added up over its threads; the share of it that is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[float], None]  # called with the share that is done, 0 to 1


def portion(progress: Progress, start: float, stop: float) -> Progress:
    """What tells the progress of a part of the work, which takes it from one share to another."""
    return lambda share: progress(start + share * (stop - start))


class Clock:
    """`times` holds the seconds that were spent under each name."""

    def __init__(self, *names: str) -> None:
        self.times = dict.fromkeys(names, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the seconds until the block ends."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - begin
