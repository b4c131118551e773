"""The web application through its own calls: what is refused, what is limited, and what is sent."""

from __future__ import annotations

import json
import re
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from study_server import LOOKS, SCREEN, study

from dpc.errors import OptionError
from dpc.study import plan as plans
from dpc.study import simulate, stimuli
from dpc.study.store import rater_key

pytest.importorskip("httpx", reason="httpx, which the test client needs, is not installed")
from fastapi.testclient import TestClient  # noqa: E402

from dpc.study import app as application  # noqa: E402


def client(tmp_path: Path, **options: Any) -> TestClient:
    made = study(tmp_path, **options)
    web = application.create(made)
    found = TestClient(web, base_url="http://localhost")
    found.made = made  # type: ignore[attr-defined]
    return found


def enter(web: TestClient, number: int = 1, screen: Any = SCREEN, **more: Any) -> tuple[dict[str, str], dict[str, Any]]:
    answer = web.post("/api/start", json={"consent": True, "nonce": f"{number:032x}", **more})
    assert answer.status_code == 200, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['session']}"}
    return headers, web.post("/api/screen", json=screen, headers=headers).json()


def vote(web: TestClient, headers: dict[str, str], trial: str, answer: str = "a", **more: Any) -> Any:
    return web.post(
        "/api/vote", json={"trial": trial, "answer": answer, "seconds": 1.0, "looks": LOOKS} | more, headers=headers
    )


def test_a_whole_session(tmp_path: Path) -> None:
    web = client(tmp_path, people=plans.People(completion_link="https://example.org/done?cc={code}"))
    headers, state = enter(web)
    kinds = []
    while state["trials"]:
        answer = vote(web, headers, state["trials"][0]["token"]).json()
        kinds.append("right" in answer)
        state = answer["state"]
    assert kinds == [True] + [False] * 6  # feedback in the training only
    assert state["phase"] == "done" and state["done"] == state["total"] == 7
    assert state["link"].endswith(state["code"])
    assert web.get("/api/me", headers=headers).json()["code"] == state["code"]
    store = web.app.state.store  # type: ignore[attr-defined]
    votes = store.votes()
    assert sorted(v.kind for v in votes) == ["identical", "pair", "pair", "pair", "repeat", "trap"]
    assert store.find(state["code"]) == store.find(state["code"].lower()) == votes[0].rater
    # a repeat has the same two pictures with sides changed, so always answering left contradicts itself
    again = next(v for v in votes if v.kind == "repeat")
    assert again.repeats == 1 and again.answer == 0


def test_nothing_sent_tells_the_method(tmp_path: Path) -> None:
    web = client(tmp_path, checks=plans.Checks(0, 2, 2, 1))
    made = web.made  # type: ignore[attr-defined]
    ids = [s.id for s in made.stimuli]
    texts = [web.get("/").text]
    headers, state = enter(web)
    seen: dict[tuple[int, int], set[tuple[Any, ...]]] = {}
    keys = []
    while state["trials"]:
        trial = state["trials"][0]
        texts.append(json.dumps(state))
        keys.append(tuple(sorted(trial)))
        for which in "abo":
            answer = web.get(f"/i/{trial['token']}/{which}")
            sent = {k: v for k, v in answer.headers.items() if k != "date"}
            assert "etag" not in sent and "last-modified" not in sent and sent["cache-control"] == "no-store"
            size = Image.open(__import__("io").BytesIO(answer.content)).size
            seen.setdefault(size, set()).add((trial["token"], *sorted(sent.items())))
            texts.append(str(sent))
        state = vote(web, headers, trial["token"]).json()["state"]
    assert len(set(keys)) == 1  # checks look like any other trial
    for text in texts:
        for secret in ["good", "bad", "trap", "identical", "repeat", "worst", *ids]:
            assert secret not in re.sub(r"\b[0-9a-f]{32}\b|repeated", "", text), secret  # a token may spell "bad"
    lengths = {s.picture: (made.folder / "stimuli" / f"{s.id}.png").stat().st_size for s in made.stimuli}
    for s in made.stimuli:
        assert (made.folder / "stimuli" / f"{s.id}.png").stat().st_size == lengths[s.picture]


def test_padding_changes_no_pixel(tmp_path: Path) -> None:
    made = study(tmp_path)
    for s in made.stimuli:
        data = (made.folder / "stimuli" / f"{s.id}.png").read_bytes()
        names, place = [], 8
        while place < len(data):
            (length,) = struct.unpack(">I", data[place : place + 4])
            names.append(data[place + 4 : place + 8])
            place += 12 + length
        assert names[-2:] == [b"paDd", b"IEND"] and set(names) == {b"IHDR", b"IDAT", b"paDd", b"IEND"}
        if s.kind == "original":
            shown = np.asarray(Image.open(made.folder / "stimuli" / f"{s.id}.png"))
            assert np.array_equal(shown, np.asarray(Image.open(tmp_path / "originals" / f"{s.picture}.png")))


def test_votes_that_were_not_asked_for_are_refused(tmp_path: Path) -> None:
    web = client(tmp_path)
    headers, state = enter(web)
    other, theirs = enter(web, 2)
    first, second = (t["token"] for t in state["trials"])
    assert vote(web, headers, "0" * 32).status_code == 409  # no such trial
    assert vote(web, headers, theirs["trials"][0]["token"]).status_code == 409  # another person's
    assert vote(web, headers, second).status_code == 409  # before its turn
    assert vote(web, {}, first).status_code == 410
    head, _, signature = headers["Authorization"].rpartition(".")
    forged = (
        f"{head}.{'x' if signature[0] != 'x' else 'y'}{signature[1:]}"  # (the last letter has bits that mean nothing)
    )
    assert vote(web, {"Authorization": forged}, first).status_code == 410
    name = headers["Authorization"].removeprefix("Bearer ").split(".")[0]
    assert vote(web, {"Authorization": f"Bearer {name}"}, first).status_code == 410  # not signed
    unseen = ({"looks": LOOKS | {which: 0}} for which in "ab")  # which the page does not send
    for wrong in ({"answer": "c"}, {"seconds": -1}, {"seconds": "1"}, {"extra": 1}, {"looks": {}}, *unseen):
        assert vote(web, headers, first, **wrong).status_code == 422
    assert web.get("/api/state", headers=headers).json()["done"] == 0
    assert vote(web, headers, first).json()["stored"] is True
    replay = vote(web, headers, first, "b")
    assert replay.status_code == 200 and replay.json()["stored"] is False
    assert web.get("/api/state", headers=other).json()["done"] == 0
    assert web.get("/i/" + "0" * 32 + "/a").status_code == 409
    assert web.get("/i/" + first + "/x").status_code == 422
    for path in (
        "/static/../app.py",
        "/static/study.toml",
        "/truth.csv",
        "/stimuli/",
        "/secret.key",
        "/docs",
        "/openapi.json",
    ):
        assert web.get(path).status_code == 404


def test_forced_choice_has_no_third_answer(tmp_path: Path) -> None:
    web = client(tmp_path, design=plans.Design(not_sure=False, votes=99))
    headers, state = enter(web)
    assert vote(web, headers, state["trials"][0]["token"], "none").status_code == 409
    assert 'id="vote-none"' not in web.get("/").text


def test_old_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = client(tmp_path, limits=plans.Limits(hours=1))
    headers, _ = enter(web)
    import itsdangerous.timed

    now = itsdangerous.timed.time.time()
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: now + 3700)
    assert web.get("/api/state", headers=headers).status_code == 410


def test_limits(tmp_path: Path) -> None:
    web = client(tmp_path, limits=plans.Limits(session=20, address=10_000, starts=3))
    headers, _ = enter(web)
    codes = [web.get("/api/state", headers=headers).status_code for _ in range(25)]
    assert codes[0] == 200 and codes[-1] == 429
    answer = web.get("/api/state", headers=headers)
    assert int(answer.headers["retry-after"]) >= 1 and "content-security-policy" in answer.headers
    starts = [web.post("/api/start", json={"consent": True, "nonce": f"{n:032x}"}).status_code for n in range(9, 14)]
    assert starts == [200, 200, 429, 429, 429]
    big = web.post("/api/start", content=b"x" * 10_000, headers={"Content-Type": "application/json"})
    assert big.status_code in (413, 429)


def test_bodies_are_limited(tmp_path: Path) -> None:
    web = client(tmp_path)
    assert web.post("/api/start", content=b"x" * 10_000).status_code == 413

    def pieces() -> Any:
        yield b"{}"

    assert web.post("/api/start", content=pieces()).status_code == 411
    assert web.post("/api/start", json={"consent": False, "nonce": "0" * 32}).status_code == 422


def test_screening_turns_away(tmp_path: Path) -> None:
    web = client(tmp_path, screening=plans.Screening(screen="fit", colour="require"))
    plates = list(web.made.plan.screening.plates)  # type: ignore[attr-defined]
    _, state = enter(web, 1, SCREEN | {"plates": plates})
    assert state["phase"] == "training"
    _, state = enter(web, 2, SCREEN | {"plates": [plates[0], "none"]})
    assert state["phase"] == "out" and "plates" in state["reason"]
    headers, state = enter(web, 3, SCREEN | {"plates": plates, "width": 50})
    assert state["phase"] == "out" and "larger screen" in state["reason"]
    assert "code" not in state and "code" not in web.get("/api/me", headers=headers).json()
    assert web.post("/api/screen", json=SCREEN | {"plates": plates}, headers=headers).json()["phase"] == "out"
    assert web.get("/plate/1").headers["content-type"] == "image/png" and web.get("/plate/3").status_code == 404
    for number in plates:
        assert f">{number}<" not in web.get("/").text


def test_a_worker_takes_part_once(tmp_path: Path) -> None:
    web = client(tmp_path, people=plans.People(platform="mturk"))
    headers, _ = enter(web, 1, worker="W1", ticket="T1")
    again, _ = enter(web, 2, worker="W1", ticket="T1")  # the same task, opened again
    name = headers["Authorization"].split(".")[0]
    assert again["Authorization"].split(".")[0] == name
    answer = web.post("/api/start", json={"consent": True, "nonce": f"{3:032x}", "worker": "W1", "ticket": "T2"})
    assert answer.status_code == 403 and "already" in answer.json()["error"]
    store = web.app.state.store  # type: ignore[attr-defined]
    assert f"Bearer {store.find('W1')}" == name
    assert "W1" not in (web.made.folder / "votes.sqlite").read_bytes().decode("latin-1")  # type: ignore[attr-defined]
    assert "mturk.com" in web.get("/").headers["content-security-policy"]


def test_a_platform_sends_worker_numbers(tmp_path: Path) -> None:
    web = client(tmp_path, people=plans.People(platform="prolific"))
    for number, worker in enumerate(({}, {"worker": ""}, {"worker": " ", "ticket": "T"}), 1):
        answer = web.post("/api/start", json={"consent": True, "nonce": f"{number:032x}", **worker})
        assert answer.status_code == 403 and "your worker number is missing" in answer.json()["error"]
    enter(web, 4, worker="W")
    proof = rater_key(stimuli.secret(web.made.folder), "simulated")  # type: ignore[attr-defined]
    assert enter(web, 5, rater="simulated", key=proof)[1]["rater"] == "simulated"  # no person, no number


def test_a_full_study_is_closed_to_new_people_only(tmp_path: Path) -> None:
    web = client(tmp_path, design=plans.Design(votes=1, trials=3), checks=plans.Checks(0, 0, 0, 0))
    headers, state = enter(web)
    late, waiting = enter(web, 2)
    while state["trials"]:
        state = vote(web, headers, state["trials"][0]["token"]).json()["state"]
    answer = web.post("/api/start", json={"consent": True, "nonce": f"{3:032x}"})
    assert answer.status_code == 403 and "all the answers" in answer.json()["error"]
    assert vote(web, late, waiting["trials"][0]["token"]).json()["stored"] is True


def test_simulated_raters_take_no_place_of_people(tmp_path: Path) -> None:
    web = client(tmp_path, design=plans.Design(votes=2, trials=3), checks=plans.Checks(0, 0, 0, 0))
    store = web.app.state.store  # type: ignore[attr-defined]
    assert simulate.fill(web.made, store, 5) == 6  # type: ignore[attr-defined]  # until their own votes are complete
    store.delete(store.codes()[0][1])  # counts anew
    assert simulate.fill(web.made, store, 5, seed=1) == 3  # type: ignore[attr-defined]
    people = store.dealer.choosers["people"]
    assert not people.asked and not people.votes
    for number in (1, 2):
        headers, state = enter(web, number)
        while state["trials"]:
            state = vote(web, headers, state["trials"][0]["token"]).json()["state"]
    assert sum(v.rater_kind == "people" for v in store.votes()) == 6
    assert web.post("/api/start", json={"consent": True, "nonce": f"{3:032x}"}).status_code == 403


@pytest.mark.parametrize("kind", ["simulated", "model"])
def test_raters_who_are_no_people_need_the_secret(tmp_path: Path, kind: str) -> None:
    web = client(tmp_path)
    secret = stimuli.secret(web.made.folder)  # type: ignore[attr-defined]
    proof, other = rater_key(secret, kind), rater_key(secret, "model" if kind == "simulated" else "simulated")  # type: ignore[arg-type]
    start = {"consent": True, "nonce": f"{1:032x}", "rater": kind}
    for forged in ("", "1", "0" * 64, proof[:-1], "ü", other):
        answer = web.post("/api/start", json=start | {"key": forged})
        assert answer.status_code == 403 and "need its key" in answer.json()["error"]
    for wrong in ({"key": True}, {"rater": "robot"}):
        assert web.post("/api/start", json=start | wrong).status_code == 422
    assert enter(web, 1, rater=kind, key=proof)[1]["rater"] == kind
    assert enter(web, 2)[1]["rater"] == "people"
    assert proof not in web.get("/").text


def test_ones_own_data(tmp_path: Path) -> None:
    web = client(tmp_path)
    headers, state = enter(web)
    other, _ = enter(web, 2)
    vote(web, headers, state["trials"][0]["token"], "b")
    mine = web.get("/api/me", headers=headers).json()
    assert "code" not in mine  # before the end it would be worth something
    assert mine["answers"][0]["answer"] == "b" and mine["person"]["screen"]["width"] == 1920
    assert "good" not in json.dumps(mine) and "bad" not in json.dumps(mine)
    assert web.delete("/api/me", headers=headers).json() == {"deleted": 1}
    assert web.get("/api/state", headers=headers).status_code == 410
    assert web.delete("/api/me", headers=headers).status_code == 410
    assert web.get("/api/state", headers=other).status_code == 200


def test_the_secret_is_nobody_elses(tmp_path: Path) -> None:
    made = study(tmp_path)
    file = made.folder / "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        application.create(made)
