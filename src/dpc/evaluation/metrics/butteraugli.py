"""Butteraugli (Alakuijala et al. 2017, arXiv 1703.09978): 0 is identical, about 1 just noticeable; lower is better.

Computed by the program butteraugli_main of libjxl, at its default viewing conditions (80 nits). Of its two figures this
is the 3-norm over the picture; the other, the maximum, is that of the worst spot. It is not symmetric.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from dpc.errors import DPCError, ToolMissing
from dpc.evaluation.metrics.pair import Picture, check

PROGRAM = "butteraugli_main"
SMALLEST = 8  # pixels a side: the program says 0 of anything smaller
TIMEOUT = 600  # seconds


def butteraugli(original: Picture, decoded: Picture) -> float:
    """The 3-norm of two uint8 (H, W, 3) pictures, 0 or more.

    Raises ValueError on a wrong shape or dtype and below 8 pixels a side, ToolMissing without the program, DPCError
    when it fails.
    """
    check(original, decoded)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(f"Butteraugli needs at least {SMALLEST} pixels a side, got {width}x{height}")
    program = shutil.which(PROGRAM)
    if program is None:
        raise ToolMissing(
            f"Butteraugli needs the program {PROGRAM} of libjxl, which is not on the PATH; apt-get install "
            "libjxl-devtools, or build libjxl with its devtools"
        )
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for name, picture in (("original", original), ("decoded", decoded)):
            paths.append(Path(scratch, f"{name}.ppm"))  # without a profile: taken as sRGB
            paths[-1].write_bytes(b"P6\n%d %d\n255\n" % (width, height) + picture.tobytes())
        try:
            done = subprocess.run([program, *map(str, paths)], capture_output=True, text=True, timeout=TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DPCError(f"{PROGRAM} did not finish: {error}") from error
    found = re.search(r"3-norm: ([\d.]+)", done.stdout)
    if done.returncode or not found:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise DPCError(f"{PROGRAM} ended with {done.returncode} and said: {said}")
    return float(found[1])


@lru_cache(maxsize=1)
def version() -> str:
    """The hash of the program, for it prints no version; "" when it is not on the PATH."""
    path = shutil.which(PROGRAM)
    if path is None:
        return ""
    return f"{PROGRAM} {sha256(Path(path).read_bytes()).hexdigest()[:12]}"
