"""One Codec for many threads, for a process that was forked, and for another process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from paths import ROOT

from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec

MODEL = ROOT / "tests" / "data" / "tiny.dpcmodel"


def picture(seed: int) -> npt.NDArray[np.uint8]:
    side = 24 + 8 * (seed % 5)
    return np.random.default_rng(seed).integers(0, 256, (side, side + seed % 3, 3), np.uint8)


def test_threads_share_a_codec_and_each_network_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = Artifact._session

    def session(self: Artifact, graph: str) -> Any:
        made.append(graph)
        return real(self, graph)

    alone = [Codec(MODEL, 1).encode(picture(seed), quality=20 + 3 * (seed % 20)) for seed in range(24)]
    monkeypatch.setattr(Artifact, "_session", session)
    codec = Codec(MODEL, 1)
    gate = threading.Barrier(8)

    def both(seed: int) -> tuple[bytes, npt.NDArray[np.uint8]]:
        if seed < 8:
            gate.wait()  # all begin at once, before there is a session
        data = codec.encode(picture(seed), quality=20 + 3 * (seed % 20))
        return data, codec.decode(data, as_array=True)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(both, range(24)))
    assert [data for data, _ in found] == alone
    other = Codec(MODEL, 1)
    assert all(np.array_equal(pixels, other.decode(data, as_array=True)) for data, pixels in found)
    assert len(made) - len(set(made)) <= len(set(made))  # the second codec's
    assert sorted(set(made)) == sorted(codec.artifact._sessions._made)


FORKED = """
import os, sys, warnings
import numpy as np
from dpc.codec.codec import Codec
warnings.simplefilter("ignore")
codec = Codec(sys.argv[1], 2)
rgb = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
data = codec.encode(rgb)
pixels = codec.decode(data, as_array=True)
for number in range(3):
    child = os.fork()
    if not child:
        same = codec.encode(rgb) == data and np.array_equal(codec.decode(data, as_array=True), pixels)
        sys.exit(0 if same else 3)    # through Python's own end, where sessions are ended too
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, number
assert codec.encode(rgb) == data
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_codec_works_after_a_fork() -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(MODEL)], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.stdout == "done\n", done.stderr


def test_a_codec_travels_by_pickle(tmp_path: Path) -> None:
    codec = Codec(MODEL, 1)
    data = codec.encode(picture(1))
    again = pickle.loads(pickle.dumps(codec))
    assert again.artifact.threads == 1 and again.encode(picture(1)) == data
    assert len(pickle.dumps(codec)) < 2000  # its path, not its weights
