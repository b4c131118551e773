"""The server under pressure: a disk that is full, a database that is locked. Nothing is lost, and raters are told."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from study_server import Browser, Server, server, study
from test_study_server import postgres  # noqa: F401

from dpc.study import database, store

HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any, str]:
    """(status, headers, text)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def refused_then_stored(running: Server, mend: Any) -> None:
    """A rater whose answer cannot be stored: 503, the place kept, health red; after mend all goes on."""
    rater = Browser(running.port, 1)
    # a second connection before the trouble, so that what is tested is the write
    assert ask(running.port, "GET", "/health")[0] == 200
    state = rater.enter()
    token = state["trials"][0]["token"]
    with mend():
        for _ in range(2):
            status, answer = rater.vote(token)
            assert status == 503 and answer["error"].startswith("Not saved."), answer
        status, headers, text = ask(running.port, "GET", "/health")
        assert status == 503 and int(headers["Retry-After"]) >= 1 and '"ok":false' in text
        body = '{"consent": true, "nonce": "' + "e" * 32 + '"}'
        status, headers, text = ask(
            running.port, "POST", "/api/start", body, Accept="text/html", **{"Content-Type": "application/json"}
        )
        assert status == 503 and int(headers["Retry-After"]) >= 1
        assert "<h1>Not saved, try again</h1>" in text and "Your place is kept" in text
        assert all(name in headers for name in HEADERS)
    status, answer = rater.call("GET", "/api/state")
    assert (status, answer["done"], answer["trials"][0]["token"]) == (200, 0, token)
    status, answer = rater.vote(token)
    assert (status, answer["stored"], answer["state"]["done"]) == (200, True, 1)
    assert ask(running.port, "GET", "/health")[0] == 200


def one_line(log: str, reason: str) -> None:
    lines = log.splitlines()
    assert len(lines) == 2, log
    assert "not saved: " in lines[0] and reason in lines[0]
    assert "saved again after" in lines[1] and "requests were refused" in lines[1]


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """A file system of 2 MB at place, where this machine lets us have one; whether it does."""
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(options, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(tmp_path: Path) -> None:
    made = study(tmp_path)
    with small_disk(tmp_path / "disk") as mounted:

        @contextmanager
        def fill() -> Iterator[None]:
            if mounted:
                ballast = tmp_path / "disk" / "ballast"
                with open(ballast, "wb", buffering=0) as file:
                    while True:
                        try:
                            if not file.write(bytes(4096)):
                                break
                        except OSError:
                            break
                yield
                ballast.unlink()
            else:  # no file may grow: the next best thing
                size = max(p.stat().st_size for p in (tmp_path / "disk").iterdir())
                before = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
                yield
                resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)

        with server(made.folder, "--database", f"sqlite:///{tmp_path}/disk/votes.sqlite") as running:
            refused_then_stored(running, fill)
        one_line(running.log, "disk")


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    made = study(tmp_path)

    @contextmanager
    def limit() -> Iterator[None]:
        size = (made.folder / "votes.sqlite").stat().st_size
        before = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)

    with server(made.folder) as running:
        refused_then_stored(running, limit)
    one_line(running.log, "")


def test_a_locked_database(tmp_path: Path) -> None:
    made = study(tmp_path)

    @contextmanager
    def lock() -> Iterator[None]:
        other = sqlite3.connect(made.folder / "votes.sqlite", isolation_level=None)
        other.execute("begin immediate")
        yield
        other.execute("rollback")
        other.close()

    with server(made.folder) as running:
        refused_then_stored(running, lock)
    one_line(running.log, "database is locked")


def test_a_lock_in_postgresql(tmp_path: Path, postgres: str) -> None:  # noqa: F811
    made = study(tmp_path)
    engine = database.engine_of(postgres)

    @contextmanager
    def lock() -> Iterator[None]:
        with engine.connect() as other:
            other.exec_driver_sql("lock table people, trials, votes, probe in access exclusive mode")
            yield
            other.rollback()

    with server(made.folder, "--database", postgres) as running:
        refused_then_stored(running, lock)
    one_line(running.log, "lock timeout")
    with engine.begin() as c:
        database.TABLES.drop_all(c)
    engine.dispose()


def test_what_is_no_database_is_said_at_the_start(tmp_path: Path) -> None:
    made = study(tmp_path)
    (made.folder / "votes.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(store.OptionError, match=r"the database .* cannot be used: .*not a database") as caught:
        store.Store(made.plan, made.stimuli, database.default_url(made.folder), b"x" * 32)
    assert "\n" not in str(caught.value)


def test_every_answer_has_the_security_headers(tmp_path: Path) -> None:
    made = study(tmp_path)
    with server(made.folder) as running:
        (made.folder / "stimuli").rename(made.folder / "away")  # an error that nobody foresaw
        rater = Browser(running.port, 1)
        token = rater.enter()["trials"][0]["token"]
        big = {"Content-Type": "application/json", "Content-Length": "9000"}
        found = [
            ask(running.port, "GET", "/"),
            ask(running.port, "GET", "/static/trial.js"),
            ask(running.port, "GET", "/health"),
            ask(running.port, "GET", "/nothing"),
            ask(running.port, "GET", "/nothing", Accept="text/html"),
            ask(running.port, "GET", "/api/state"),
            ask(running.port, "POST", "/api/vote", "{}", **{"Content-Type": "application/json"}),
            ask(running.port, "POST", "/api/start", "x" * 9000, **big),
            ask(running.port, "PATCH", "/api/me", "{}"),
            ask(running.port, "GET", f"/i/{token}/a"),
        ]
        assert [status for status, *_ in found] == [200, 200, 200, 404, 404, 410, 410, 413, 405, 500]
        for status, headers, text in found:
            for name in HEADERS:
                assert len(headers.get_all(name, [])) == 1, (status, name)
            assert headers["X-Content-Type-Options"] == "nosniff" and "Traceback" not in text
        with socket.create_connection(("127.0.0.1", running.port)) as raw:
            raw.sendall(b"this is no HTTP\r\n\r\n")
            answer = raw.recv(4096).decode().lower()
        assert answer.startswith("http/1.1 400") and all(f"\n{name}:" in answer for name in HEADERS)
