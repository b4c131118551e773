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


LOGGED = """
import os, time
from dpc.evaluation.compression import run
row = run._Picture._row
def logged(*args):
    made = row(*args)
    time.sleep(0.1)
    with open(os.environ["TEST_LOG"], "a") as file:
        file.write(".")
    return made
run._Picture._row = logged
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["", "--processes 2", "--engine ray --processes 2"])
def test_kill_9_repeats_nothing(engine: str, tmp_path: Path) -> None:
    if "ray" in engine:
        pytest.importorskip("ray")
    workers = 2 if engine else 1
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(images / f"p{i}.png")
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, "-m", "dpc", "bench", str(images), "--out", str(out), "--codecs", "jpeg,webp"]
    command += ["--metrics", "psnr", "--qualities", "10,30,50,70,90", *engine.split()]
    # every process of the run, workers too, notes each row that it has measured
    (tmp_path / "sitecustomize.py").write_text(LOGGED)
    path = os.pathsep.join((str(tmp_path), str(ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": path, "TEST_LOG": str(log)}
    environment.pop("RAY_ADDRESS", None)
    file = out / "rows.csv"
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(60_000):
        if running.poll() is not None or (file.exists() and file.read_bytes().count(b"\n") > 5):
            break
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it was killed"
    measured = log.stat().st_size
    before = file.read_text()
    there = before[: before.rindex("\n") + 1].splitlines()[1:]
    # each worker had one row at most that it had measured and that was not on the disk
    assert 0 < len(there) < 40 and measured - len(there) <= workers
    _end_all(str(log))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{file}: 40 rows, {40 - len(there)} of them new; 0 failed" in done.stdout
    after = file.read_text().splitlines()[1:]
    # with the seconds that were measured then: not one of them was measured again
    assert set(there) <= set(after) and len(after) == 40 and len({row.key for row in read(file)}) == 40


def _end_all(log: str) -> None:
    """Wait for the workers, which end by themselves; a cluster without its driver is ended here."""
    for seconds in range(30):
        found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if log in _environment(entry)]
        if not found:
            return
        if seconds > 10:
            for process in found:
                os.kill(process, signal.SIGKILL)
        time.sleep(1)


def _environment(process: Path) -> str:
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""
