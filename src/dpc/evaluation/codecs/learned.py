"""Earlier learned codecs by CompressAI, which lives in an environment of its own: its pins clash with this package's.

    python3 -m venv cai && cai/bin/pip install compressai
    dpc bench DIR --codecs compressai:mbt2018-mean --compressai cai/bin/python

Bits are CompressAI's own coder's. A worker process in that environment keeps the networks loaded; this side talks
to it through pipes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np

from dpc.errors import OptionError, ToolMissing
from dpc.evaluation.codecs.protocol import Rgb, check
from dpc.evaluation.worker import Worker

__all__ = ["MODELS", "CompressAI"]

MODELS = {
    "bmshj2018-factorized": 8,
    "bmshj2018-hyperprior": 8,
    "mbt2018-mean": 8,
    "mbt2018": 8,
    "cheng2020-anchor": 6,
    "cheng2020-attn": 6,
}
"""Architectures, and how many qualities each has."""
METRICS = ("mse", "ms-ssim")
START = 300  # seconds in which an environment must say its version


class CompressAI:
    """A learned codec of CompressAI's. text: MODEL or MODEL:METRIC with the metric mse (default) or ms-ssim.

    weights: None for CompressAI's model zoo (a download at first use), "untrained", or a checkpoint for the quality
    that is used; then every quality means its width only. The worker starts with the first picture.
    """

    programs = True  # it calls programs, whose memory is not this process's

    def __init__(self, text: str, *, python: str | None, weights: str | None, threads: int) -> None:
        model, _, metric = text.partition(":")
        metric = metric or "mse"
        if model not in MODELS or metric not in METRICS:
            raise OptionError(
                f"compressai:{text} is unknown; choose compressai:MODEL[:METRIC] of {', '.join(MODELS)} and "
                f"{', '.join(METRICS)}"
            )
        how = "python3 -m venv cai && cai/bin/pip install compressai, then --compressai cai/bin/python"
        found = None if python is None else shutil.which(python)
        if found is None:
            given = "none was named" if python is None else f"{python} is not a program"
            raise ToolMissing(f"{model} needs the Python of an environment with compressai, {given}; {how}")
        script = str(resources.files("dpc.evaluation.codecs") / "compressai_worker.py")
        self._worker = Worker([found, "-u", script], "CompressAI", threads)
        self._options = {"model": model, "metric": metric, "weights": weights, "threads": threads}
        try:
            asked = subprocess.run(
                [found, script, "--version"],
                capture_output=True,
                text=True,
                timeout=START,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolMissing(f"{found} does not run ({' '.join(str(error).split())}); {how}") from error
        if asked.returncode:
            said = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ToolMissing(f"{found} has no compressai that works ({said}); {how}")
        self.seen = "psnr" if metric == "mse" else "ms_ssim ssim"
        self.model = ""
        if weights not in (None, "untrained"):
            try:
                self.model = hashlib.sha256(Path(str(weights)).read_bytes()).hexdigest()
            except OSError as error:
                raise OptionError(f"the weights {weights} of {model} cannot be read: {error.strerror}") from error
        self.name = f"compressai:{model}" + (f":{metric}" if metric != "mse" else "")
        self.version = f"compressai {asked.stdout.strip()}"
        self.settings = f"{model}, {metric}, weights {weights or 'of its zoo'}, CPU, {threads} threads"
        self.qualities = range(1, MODELS[model] + 1)

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file at a quality, a whole number."""
        check(self, quality)
        height, width = image.shape[:2]
        request = {"do": "encode", "quality": int(quality), "width": width, "height": height}
        return self._worker.ask(self._options | request, image.tobytes())[1]

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        answer, pixels = self._worker.ask(self._options | {"do": "decode"}, data)
        return np.frombuffer(pixels, np.uint8).reshape(answer["height"], answer["width"], 3).copy()

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
