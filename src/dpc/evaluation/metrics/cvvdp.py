"""ColorVideoVDP (Mantiuk et al. 2024, ACM TOG 43(4)): quality in JOD, 10 is identical; higher is better.

It models a display and a viewer: here `standard_4k`, a 30-inch screen of 3840 x 2160 at 200 cd/m2, seen from 0.75 m.
One JOD less means that three of four people prefer the other picture.

Computed by the authors' package cvvdp, which wants pins of its own; so it has an environment of its own:

    python3 -m venv ~/.cache/dpc/cvvdp
    ~/.cache/dpc/cvvdp/bin/pip install cvvdp==0.5.7 torch==2.13.0 torchvision==0.28.0

DPC_CVVDP names the Python of another one. A process there keeps the metric loaded.
"""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from importlib import resources
from pathlib import Path

from dpc.errors import ToolMissing
from dpc.evaluation.metrics.pair import Picture, check
from dpc.evaluation.worker import Worker

__all__ = ["DISPLAY", "SMALLEST", "cvvdp", "python", "version"]

DISPLAY = "standard_4k"
SMALLEST = 16  # pixels a side
START = 300  # seconds in which an environment must say its version
_HOW = (
    "python3 -m venv ~/.cache/dpc/cvvdp && ~/.cache/dpc/cvvdp/bin/pip install cvvdp==0.5.7 torch==2.13.0 "
    "torchvision==0.28.0, or name one by DPC_CVVDP"
)


def cvvdp(original: Picture, decoded: Picture) -> float:
    """JOD of two uint8 (H, W, 3) sRGB pictures, at most 10.

    Raises ValueError on a wrong shape or dtype and below 16 pixels a side, ToolMissing without the environment,
    DPCError when its process fails.
    """
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"ColorVideoVDP needs at least {SMALLEST} pixels a side, got {width}x{height}")
    request = {"display": DISPLAY, "width": width, "height": height}
    answer, _ = _worker(python()).ask(request, original.tobytes() + decoded.tobytes())
    return float(answer["jod"])


def python() -> str:
    """The Python of the environment; ToolMissing where there is none."""
    given = os.environ.get("DPC_CVVDP")
    path = Path(given) if given else Path.home() / ".cache" / "dpc" / "cvvdp" / "bin" / "python"
    if not path.is_file():
        raise ToolMissing(f"ColorVideoVDP needs an environment of its own, and {path} is not there; {_HOW}")
    return str(path)


def version() -> str:
    """Of the package and the display model; "" without the environment."""
    try:
        return f"cvvdp {_version(python())}, display {DISPLAY}"
    except ToolMissing:
        return ""


@lru_cache(maxsize=4)
def _version(path: str) -> str:
    command = [path, _script(), "--version"]  # which imports it too: what does not fit torch shows only then
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(f"{path} does not run ({' '.join(str(error).split())}); {_HOW}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ToolMissing(f"{path} has no cvvdp that works ({said}); {_HOW}")
    return done.stdout.strip()


@lru_cache(maxsize=4)
def _worker(path: str) -> Worker:
    _version(path)
    return Worker([path, "-u", _script()], "ColorVideoVDP")


def _script() -> str:
    return str(resources.files("dpc.evaluation.metrics") / "cvvdp_worker.py")
