"""A process in another Python environment that keeps something loaded: packages whose pins clash with this one's.

It talks through pipes: a line of JSON with the length of what follows, and that many bytes; see send and receive. The
program at the other end imports nothing of dpc (metrics/cvvdp_worker.py, codecs/compressai_worker.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, Any

from dpc.errors import DPCError

__all__ = ["Worker", "receive", "send"]


class Worker:
    """Starts with the first question. name: of what works there, for errors. threads: of its OpenMP."""

    def __init__(self, command: Sequence[str], name: str, threads: int = 1) -> None:
        self._command, self._name, self._threads = list(command), name, threads
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """The answer and what follows it; DPCError with what the process said last, or what it says is wrong."""
        if self._process is None:
            self._errors = tempfile.TemporaryFile()
            # what else it imports must not come from this process' environment
            environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment | {"OMP_NUM_THREADS": str(self._threads)},
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise DPCError("the worker has no pipes")
        try:
            send(stdin, request, payload)
            answer, data = receive(stdout)
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._errors.seek(0)
            said = (self._errors.read().decode(errors="replace").strip() or "nothing").splitlines()[-1]
            self.close()
            raise DPCError(f"{self._name}'s process ended and said: {said}") from error
        if "error" in answer:
            raise DPCError(f"{self._name}: {answer['error']}")
        return answer, data

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._errors.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()


def send(stream: IO[bytes], head: dict[str, Any], payload: bytes) -> None:
    """A line of JSON with the length of what follows, and that."""
    stream.write(json.dumps(head | {"bytes": len(payload)}).encode() + b"\n" + payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """What `send` sent; ValueError when the stream ends before."""
    head = json.loads(stream.readline())
    payload = stream.read(head["bytes"])
    if len(payload) < head["bytes"]:
        raise ValueError("the stream ended within an answer")
    return head, payload
