"""ONNX Runtime, loaded in one place."""

from __future__ import annotations

import os
from typing import Any


def onnxruntime() -> Any:
    """The module onnxruntime, told before it is loaded to keep no device number and no usage events.

    It (1.32) otherwise writes both to ~/.cache/Microsoft. ORT_DISABLE_TELEMETRY=0 in the environment
    wins.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
