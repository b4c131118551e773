"""The memory that a codec takes: of a fresh process, as one that has coded before keeps what it took.

python -m dpc.evaluation.compression.memory CODEC QUALITY THREADS < picture.npy      prints bytes
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Rgb

__all__ = ["peak"]

TIMEOUT = 600.0  # seconds
STEP = 4  # sizes of pictures are told apart by a quarter of a doubling of their pixels

_known: dict[tuple[str, str, int], float] = {}


def peak(given: str, codec: Codec, rgb: Rgb, quality: float, threads: int) -> float:
    """Bytes that a fresh process takes at most to load a codec, code a picture and decode it, above what it had before.

    given: the name by which baselines.get makes the codec. Measured once for pictures of about one size (within 19 %).
    nan where it is not known: on other systems than Linux, for codecs that call programs, and where it fails.
    """
    if getattr(codec, "programs", False) or not Path("/proc/self/status").exists():
        return math.nan
    key = (codec.name, codec.version, round(STEP * math.log2(rgb.shape[0] * rgb.shape[1])))
    if key not in _known:
        picture = io.BytesIO()
        np.save(picture, rgb)
        command = [sys.executable, "-m", "dpc.evaluation.compression.memory", given, repr(quality), str(threads)]
        try:
            done = subprocess.run(command, input=picture.getvalue(), capture_output=True, timeout=TIMEOUT, check=True)
            _known[key] = float(done.stdout)
        except (OSError, ValueError, subprocess.SubprocessError):
            _known[key] = math.nan
    return _known[key]


def _resident(name: str) -> float:
    """VmRSS or VmHWM of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * int(line.split()[1])
    return math.nan


def _main(given: str, quality: str, threads: str) -> None:
    rgb = np.load(io.BytesIO(sys.stdin.buffer.read()))
    before = _resident("VmRSS")
    codec = baselines.get(given, threads=int(threads))
    codec.decode(codec.encode(rgb, float(quality)))
    sys.stdout.write(f"{_resident('VmHWM') - before:.0f}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
