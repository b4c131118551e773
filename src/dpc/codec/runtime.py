"""ONNX Runtime, loaded in one place, and the sessions of a model."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any


def onnxruntime() -> Any:
    """The module onnxruntime, told before it is loaded to keep no device number and no usage events.

    It (1.32) otherwise writes both to ~/.cache/Microsoft. ORT_DISABLE_TELEMETRY=0 in the environment
    wins.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def share_memory(options: Any) -> None:
    """Let a session take its memory from one pool with the others: they run one after another, so it is needed once.

    The pool grows by what is asked for, not to the next power of two.
    """
    _pool()
    options.add_session_config_entry("session.use_env_allocators", "1")


def releasing() -> Any:
    """Options of a run after which the memory that was kept for the next one is given back."""
    options = onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


@cache
def _pool() -> None:
    ort = onnxruntime()
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, ort.OrtArenaCfg({"arena_extend_strategy": 1}))


class Sessions:
    """Sessions by name, each made once, whichever thread is first; after a fork they are made anew.

    A session's threads do not live on in a forked process: there it can neither run nor be ended, so it is left alone.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._made: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[str], Any]) -> Any:
        """The session of a graph."""
        if self._process != os.getpid():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
            self._begin()
        with self._lock:
            if name not in self._made:
                self._made[name] = make(name)
            return self._made[name]
