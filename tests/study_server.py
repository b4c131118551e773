"""A small study, and the real server in a process of its own, for the tests of the study."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from paths import ROOT
from PIL import Image

from dpc.study import plan as plans
from dpc.study import prepare, stimuli

SCREEN = {"width": 1920, "height": 1080, "ratio": 1.0, "zoom": 1.0, "touch": False, "plates": []}
LOOKS = {"a": 1, "b": 1, "original": 0, "away": 0.0, "ratio": 1.0, "fits": True}


def photo(seed: int, width: int = 96, height: int = 64) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 2, y * 3, 128 + 60 * np.sin(x / (5 + seed) + y / 7)], -1)
    return np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)


def originals(folder: Path, count: int = 3, width: int = 96, height: int = 64) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(photo(i, width, height)).save(folder / f"p{i}.png")
    return folder


def coded(folder: Path, images: Path, noise: float, size: int = 1000, rates: int = 1) -> Path:
    """A folder with sizes.csv: the originals with noise, each said to be of so many bytes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(int(100 * noise))
    lines = ["image,quality,bytes,decoded"]
    for path in sorted(images.iterdir()):
        rgb = np.asarray(Image.open(path))
        for rate in range(rates):
            name = f"{path.stem}-{rate}.png"
            spoiled = rgb + rng.normal(0, noise / (rate + 1), rgb.shape)
            Image.fromarray(np.clip(spoiled, 0, 255).astype(np.uint8)).save(folder / name)
            lines.append(f"{path.stem},{rate},{size * 2**rate},{name}")
    (folder / "sizes.csv").write_text("\n".join(lines) + "\n")
    return folder


def prepared(
    folder: Path,
    images: Sequence[Path],
    *,
    codecs: Sequence[str] = (),
    folders: Sequence[tuple[str, Path]] = (),
    bpp: Sequence[float] = (),
    crop: str = "",
    leave_out: Sequence[str] = (),
    unknown_sizes: bool = False,
    say: Callable[[str], None] = lambda line: None,
    **draft: Any,
) -> stimuli.Made:
    """A study folder: study.toml with these values, and what `dpc study prepare` makes of it."""
    sources = plans.Sources(
        images=tuple(map(str, images)), leave_out=tuple(leave_out), codecs=tuple(codecs), bpp=tuple(bpp), crop=crop,
        folders={name: str(place) for name, place in folders}, unknown_sizes=unknown_sizes,
    )  # fmt: skip
    prepare.new(folder, plans.Draft(sources=sources, **draft))
    return prepare.prepare(folder, say=say)


def study(
    tmp_path: Path, rates: int = 1, pictures: int = 3, size: tuple[int, int] = (96, 64), **options: Any
) -> stimuli.Made:
    """Two made-up methods, good and bad, in a study folder."""
    images = originals(tmp_path / "originals", pictures, *size)
    folders = [
        ("good", coded(tmp_path / "good", images, 6.0, rates=rates)),
        ("bad", coded(tmp_path / "bad", images, 25.0, 1010, rates=rates)),
    ]
    given: dict[str, Any] = {
        "design": plans.Design(votes=100_000, trials=3, tolerance=0.02),
        "checks": plans.Checks(1, 1, 1, 1),
        "screening": plans.Screening(colour="off"),
        "limits": plans.Limits(1_000_000, 1_000_000, 1_000_000),
        "seed": 7,
    }
    return prepared(tmp_path / "study", [images], folders=folders, **given | options)


class Server:
    """`dpc study serve` in a process of its own, that can be killed and started again at the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, 0
        self.start()

    log = ""  # what it wrote to standard error, when it has ended

    def start(self) -> None:
        command = [sys.executable, "-m", "dpc", "study", "serve", str(self.folder), "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, *self.options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "http://" not in line:
            self.process.kill()
            raise AssertionError(f"the server did not start: {line} {self.process.communicate()[1]}")
        self.port = int(line.rpartition(":")[2].split("/")[0])

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def url(self, path: str = "/") -> str:
        return f"http://localhost:{self.port}{path}"


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    running = Server(folder, *options)
    try:
        yield running
    finally:
        running.process.terminate()
        running.log = running.process.communicate()[1]


class Browser:
    """A rater's connection: a session and JSON calls, with the connection kept open."""

    def __init__(self, port: int, number: int) -> None:
        self.port, self.nonce, self.session = port, f"{number:032x}", ""
        self.connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, answer); OSError or HTTPException when the connection is lost."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.session}"} if self.session else {}
        data = None if body is None else json.dumps(body)
        if data:
            headers["Content-Type"] = "application/json"
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise
        kind = answer.headers.get("content-type", "")
        return answer.status, json.loads(raw) if kind.startswith("application/json") else raw

    def enter(self) -> dict[str, Any]:
        """Consent and screening; the state."""
        status, answer = self.call("POST", "/api/start", {"consent": True, "nonce": self.nonce})
        assert status == 200, answer
        self.session = answer["session"]
        status, state = self.call("POST", "/api/screen", SCREEN)
        assert status == 200, state
        found: dict[str, Any] = state
        return found

    def vote(self, trial: str, answer: str = "a", seconds: float = 2.0) -> tuple[int, Any]:
        return self.call("POST", "/api/vote", {"trial": trial, "answer": answer, "seconds": seconds, "looks": LOOKS})
