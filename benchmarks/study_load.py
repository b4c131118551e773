"""Load test of `dpc study serve`: so many simulated raters at once, each with its own connection, pictures included.

    python benchmarks/study_load.py STUDY [raters] [seconds between two answers]

Raters start together, fetch the three pictures of each trial, answer, and stop after a whole session. STUDY is copied
first. Prints the number of requests, errors, and the times of answers (votes) and pictures.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCREEN = {"width": 1920, "height": 1080, "ratio": 1.0, "zoom": 1.0, "touch": False, "plates": []}
LOOKS = {"a": 1, "b": 1, "original": 0, "away": 0.0, "ratio": 1.0, "fits": True}


class Rater:
    """One connection; times: kind of request -> seconds of each."""

    def __init__(
        self, port: int, key: str, number: int, pause: float, times: dict[str, list[float]], errors: list[str]
    ) -> None:
        self.port, self.key, self.number, self.pause, self.times, self.errors = port, key, number, pause, times, errors
        self.session = ""

    async def call(self, kind: str, method: str, path: str, body: object = None) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        head += "Content-Type: application/json\r\n" + (
            f"Authorization: Bearer {self.session}\r\n" if self.session else ""
        )
        begin = time.perf_counter()
        self.writer.write(head.encode() + b"\r\n" + data)
        await self.writer.drain()
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            int(line.split(":")[1]) for line in answer.lower().split("\r\n") if line.startswith("content-length")
        )
        found = await self.reader.readexactly(length)
        self.times[kind].append(time.perf_counter() - begin)
        if " 200 " not in answer.split("\r\n")[0]:
            self.errors.append(f"{kind}: {answer.split(chr(13))[0]} {found[:100]!r}")
        return found

    async def run(self) -> None:
        try:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            body = {"consent": True, "nonce": f"{self.number:032x}", "rater": "simulated", "key": self.key}
            self.session = json.loads(await self.call("start", "POST", "/api/start", body))["session"]
            state = json.loads(await self.call("start", "POST", "/api/screen", SCREEN))
            chance = random.Random(self.number)
            while state["trials"]:
                trial = state["trials"][0]["token"]
                for which in "abo":
                    await self.call("picture", "GET", f"/i/{trial}/{which}")
                await asyncio.sleep(self.pause * chance.uniform(0.5, 1.5))
                vote = {"trial": trial, "answer": chance.choice("ab"), "seconds": 1.0, "looks": LOOKS}
                state = json.loads(await self.call("vote", "POST", "/api/vote", vote))["state"]
            self.writer.close()
        except (OSError, asyncio.IncompleteReadError, KeyError, ValueError) as error:
            self.errors.append(f"{type(error).__name__} {error}")


async def load(port: int, key: str, count: int, pause: float) -> tuple[dict[str, list[float]], list[str]]:
    times: dict[str, list[float]] = {"start": [], "picture": [], "vote": []}
    errors: list[str] = []
    await asyncio.gather(*(Rater(port, key, n, pause, times, errors).run() for n in range(count)))
    return times, errors


def main() -> None:
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        shutil.copytree(sys.argv[1], folder, ignore=shutil.ignore_patterns("votes.sqlite*"))
        plan = (folder / "study.toml").read_text()
        for name, value in (("address", "address = 6000"), ("starts", "starts = 60"), ("votes", "votes = ")):
            line = next(text for text in plan.splitlines() if text.startswith(value.split(" ")[0] + " = "))
            plan = plan.replace(f"\n{line}\n", f"\n{name} = 100000\n")
        (folder / "study.toml").write_text(plan)
        command = [sys.executable, "-m", "dpc", "study", "serve", str(folder), "--port", "0"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2].split("/")[0])
            key = server.stdout.readline().rpartition("=")[2].strip()  # of the link for simulated raters
            begin = time.perf_counter()
            times, errors = asyncio.run(load(port, key, count, pause))
            spent = time.perf_counter() - begin
            server.terminate()
    print(f"{count} raters, {sum(map(len, times.values()))} requests in {spent:.0f} s, {len(errors)} errors")
    for kind, values in times.items():
        values.sort()
        print(f"{kind:8} {len(values):6}  median {values[len(values) // 2] * 1000:.0f} ms  "
              f"99 % {values[int(len(values) * 0.99)] * 1000:.0f} ms  longest {values[-1] * 1000:.0f} ms")  # fmt: skip
    for error in errors[:5]:
        print(error)


if __name__ == "__main__":
    main()
