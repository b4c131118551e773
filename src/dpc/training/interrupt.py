"""Ctrl-C and SIGTERM as a wish: the training ends after the step, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
from types import TracebackType
from typing import Any


class Interrupt:
    """While it is entered, SIGINT and SIGTERM set `asked` instead of ending the process (in the main thread)."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        with contextlib.suppress(ValueError):  # not the main thread
            for s in (signal.SIGINT, signal.SIGTERM):
                self._before[s] = signal.signal(s, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)

    def _ask(self, *_: Any) -> None:
        self.asked = True
