"""A run that was killed goes on: what is on the disk is not measured again, and nothing is measured twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

from dpc.evaluation.compression.rows import read

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


@pytest.mark.slow
def test_kill_9_repeats_nothing(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(images / f"p{i}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dpc.cli", "bench", str(images), "--out", str(out), "--codecs", "jpeg,webp"]
    command += ["--metrics", "psnr", "--qualities", "10,30,50,70,90"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    file = out / "rows.csv"
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(60_000):
        if running.poll() is not None or (file.exists() and file.read_bytes().count(b"\n") > 5):
            break
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it was killed"
    before = file.read_text()
    there = before[: before.rindex("\n") + 1].splitlines()[1:]
    assert 0 < len(there) < 40
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{file}: 40 rows, {40 - len(there)} of them new; 0 failed" in done.stdout
    after = file.read_text().splitlines()[1:]
    # with the seconds that were measured then: not one of them was measured again
    assert set(there) <= set(after) and len(after) == 40 and len({row.key for row in read(file)}) == 40
