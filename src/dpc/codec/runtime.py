"""ONNX Runtime, loaded in one place."""

from __future__ import annotations

import os
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


@cache
def _pool() -> None:
    ort = onnxruntime()
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, ort.OrtArenaCfg({"arena_extend_strategy": 1}))
