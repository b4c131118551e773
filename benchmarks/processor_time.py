"""Processor time: it tells what a busy machine hides."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def seconds(run: Callable[[], T], rounds: int) -> tuple[float, T]:
    """The shortest processor time of some rounds, and what the last one gave."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        result = run()
        times.append(time.process_time() - begin)
    return min(times), result
