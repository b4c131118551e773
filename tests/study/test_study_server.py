"""Integrity: the real server, killed under load; no acknowledged vote is lost and none is counted twice."""

from __future__ import annotations

import http.client
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_server import Browser, Server, server, study

from dpc.study import stimuli, store


class Rater(Browser):
    """A simulated rater, who shows what only a reader of the study's secret can."""

    def __init__(self, running: Server, number: int) -> None:
        super().__init__(running.port, number)
        self.proof = {"rater": "simulated", "key": store.rater_key(stimuli.secret(running.folder), "simulated")}

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return super().call(method, path, body | self.proof if path == "/api/start" else body)


@pytest.mark.slow
def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    made = study(tmp_path)
    acknowledged: dict[str, str] = {}
    failures: list[str] = []
    lock = threading.Lock()
    finished = threading.Event()

    with server(made.folder) as running:

        def rate(number: int) -> None:
            """Raters, one after the other, who repeat each call until it is answered, and send every vote twice."""
            for person in range(1000):
                if finished.is_set():
                    return
                rater = Rater(running, 1000 * number + person)

                def insist(call: Any) -> Any:
                    while True:
                        try:
                            return call()
                        except (OSError, http.client.HTTPException):
                            time.sleep(0.02)

                state = insist(rater.enter)
                while state["trials"] and not finished.is_set():
                    trial = state["trials"][0]["token"]
                    answer = "ab"[person % 2]
                    for _ in range(2):
                        status, found = insist(lambda r=rater, t=trial, a=answer: r.vote(t, a))
                        if status != 200:
                            failures.append(f"{status} {found}")
                            return
                        with lock:
                            acknowledged[trial] = answer
                    state = found["state"]

        threads = [threading.Thread(target=rate, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            known = len(acknowledged)
            for _ in range(600):  # the blow falls while votes come in
                if len(acknowledged) >= known + 25:
                    break
                time.sleep(0.05)
            running.kill()
            running.start()
        finished.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(acknowledged) >= 75
    with sqlite3.connect(made.folder / "votes.sqlite") as c:
        stored = c.execute("select token, answer from votes join trials on trials.id = votes.trial").fetchall()
        assert c.execute("pragma integrity_check").fetchone() == ("ok",)
        assert c.execute("select count(*) from votes").fetchone()[0] == len(stored) == len(dict(stored))
        per_place = c.execute("select count(*) from trials group by person, place having count(*) > 1").fetchall()
    assert acknowledged.items() <= dict(stored).items()
    # a vote that was stored but whose acknowledgement was lost was sent again, or its rater stopped: one a thread
    assert len(stored) - len(acknowledged) <= len(threads)
    assert per_place == []


def test_the_same_vote_from_many_sides_counts_once(tmp_path: Path) -> None:
    made = study(tmp_path)
    with server(made.folder) as running:
        rater = Rater(running, 1)
        trial = rater.enter()["trials"][0]["token"]
        stored: list[bool] = []
        barrier = threading.Barrier(8)

        def send(n: int) -> None:
            copy = Rater(running, 1)
            copy.session = rater.session
            barrier.wait()
            status, answer = copy.vote(trial, "ab"[n % 2])
            assert status == 200
            stored.append(answer["stored"])

        threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(stored) == [False] * 7 + [True]
        _, state = rater.call("GET", "/api/state")
        assert state["done"] == 1
        # two starts with one nonce are one session
        first, second = Rater(running, 2), Rater(running, 2)
        first.enter()
        second.enter()
        assert first.session.split(".")[0] == second.session.split(".")[0]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    import getpass
    import os
    import pwd

    # Debian keeps the server's programs off the PATH
    places = os.pathsep.join([os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))])
    programs = {name: shutil.which(name, path=places) for name in ("initdb", "pg_ctl")}
    if not all(programs.values()):
        pytest.skip("there is no PostgreSQL server here")

    place = tmp_path_factory.mktemp("postgres")
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if not shutil.which("runuser") or "postgres" not in {u.pw_name for u in pwd.getpwall()}:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
        place = Path("/tmp") / f"dpc-postgres-{os.getpid()}"
        place.mkdir()
        shutil.chown(place, "postgres")
    user = "postgres" if as_user else getpass.getuser()

    def run(program: str, *options: str) -> None:
        command = [*as_user, str(programs[program]), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/tmp")

    data = str(place / "data")
    try:
        run("initdb", "-D", data, "-A", "trust", "-U", user, "--no-sync")
        run("pg_ctl", "-D", data, "-w", "-l", str(place / "log"), "-o", f"-k {place} -c listen_addresses=''", "start")
    except subprocess.CalledProcessError as error:
        shutil.rmtree(place, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error.stderr.decode()[-200:]}")
    yield f"postgresql://{user}@/postgres?host={place}"
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(place, ignore_errors=True)


def test_postgresql_by_its_url(tmp_path: Path, postgres: str) -> None:
    made = study(tmp_path)
    with server(made.folder, "--database", postgres) as running:
        raters = [Rater(running, n) for n in range(3)]
        states = [r.enter() for r in raters]
        while states[0]["trials"]:
            for n, rater in enumerate(raters):
                trial = states[n]["trials"][0]["token"]
                assert rater.vote(trial, "b")[1]["stored"] is True
                status, answer = rater.vote(trial, "a")
                assert (status, answer["stored"]) == (200, False)
                states[n] = answer["state"]
        assert states[0]["phase"] == "done"
        kept = store.Store(made.plan, made.stimuli, postgres, stimuli.secret(made.folder))
        votes = kept.votes()
        assert len(votes) == 3 * 6 and all(v.side == 1 and v.rater_kind == "simulated" for v in votes)
        assert kept.delete(kept.codes()[0][1]) == 7
        assert len(kept.votes()) == 2 * 6
        kept.close()
    assert not (made.folder / "votes.sqlite").exists()


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    made = study(tmp_path)
    with server(made.folder) as running:
        second = Server.__new__(Server)
        second.folder, second.options, second.port = made.folder, (), running.port
        with pytest.raises(AssertionError, match="choose another --port"):
            second.start()
