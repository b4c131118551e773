"""Seconds of the parts of a call, added up over its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


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
