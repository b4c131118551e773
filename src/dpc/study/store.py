"""What people did, in a database: SQLite by default, PostgreSQL by its URL.

    people   one line for each session: consent, screen, phase
    trials   what was handed out, in order; token: the only name by which a browser knows a trial
    votes    at most one for each trial: its key is the trial, so that nothing can be counted twice

`vote` stores the answer, moves the session on and hands out what comes next in one transaction; it returns only
when that is on disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dpc.errors import OptionError
from dpc.study.connections import Connections
from dpc.study.database import PEOPLE, RULES, STUDY, TABLES, TRIALS, VOTES, engine_of, migrate
from dpc.study.dealer import Dealer
from dpc.study.plan import Plan, Stimulus
from dpc.study.records import (
    ANSWERS,
    Closed,
    Gone,
    Person,
    RaterKind,
    Refused,
    Trial,
    Unsaved,
    everything_of,
    people_of,
    person_of,
    rules_of,
    trial_of,
    trials_of,
    votes_of,
)
from dpc.study.slots import slots
from dpc.study.votes import Vote

__all__ = ["ANSWERS", "Closed", "Gone", "Person", "Refused", "Store", "Trial", "rater_key"]

AHEAD = 2  # open trials of a session: the one that is shown and the one that is fetched meanwhile


class Store:
    """The database of a study, safe for many threads of one process. OptionError for an unusable URL or database."""

    def __init__(self, plan: Plan, stimuli: Sequence[Stimulus], url: str, secret: bytes) -> None:
        self.plan, self.secret = plan, secret
        self.stimuli = {s.id: s for s in stimuli}
        self.dealer = Dealer(plan, self.stimuli)
        self._ruled: set[RaterKind] = set()  # kinds of raters whose first vote is known to be stored, with the rules
        self.engine = engine_of(url)
        self.connections = Connections(self.engine, self.dealer.forget)
        place = sa.make_url(url).render_as_string(hide_password=True)
        try:
            migrate(self.engine)
            TABLES.create_all(self.engine)
            if not self._is_own():
                raise OptionError(
                    f"the database {place} belongs to another study, or pictures were replaced since its first use; "
                    "give another --database, or make the study in a new folder"
                )
            with self.engine.connect() as c:
                self.dealer.recount(c)
        except (SQLAlchemyError, Unsaved) as error:
            cause = error.__cause__ if isinstance(error, Unsaved) else error
            raise OptionError(f"the database {place} cannot be used: {_line(cause or error)}") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _is_own(self) -> bool:
        """Whether the database is of these pictures, by their sha256; a new one is from now on."""
        pictures = sorted((s.id, s.picture, s.kind, s.method, s.rate, s.sha256) for s in self.stimuli.values())
        asked = [(c.a.id, c.b.id) for c in self.dealer.comparisons]
        digest = hashlib.sha256(json.dumps([pictures, asked]).encode()).hexdigest()
        with self.connections.write() as c:
            if c.execute(sa.select(STUDY)).first() is None:
                with suppress(IntegrityError), c.begin_nested():  # another process was quicker
                    c.execute(STUDY.insert().values(id=1, pictures=digest))
            return c.execute(sa.select(STUDY.c.pictures)).scalar() == digest

    def trouble(self) -> str:
        """What keeps answers from being stored, or ""."""
        return self.connections.trouble()

    # people

    def start(self, nonce: str, *, worker: str = "", ticket: str = "", kind: RaterKind = "people") -> Person:
        """A new session; the same one for the same nonce, or for the same worker with the same ticket.

        worker, ticket: numbers of a crowd platform, kept as keyed hashes only; with a platform in the plan no person is
        without a worker number. kind: of the rater; each is counted apart. Raises Closed.
        """
        hashed, pass_ = (self._hash(v) if v else None for v in (worker.strip(), ticket))
        try:
            with self.connections.write() as c:
                known = self._known(c, nonce, hashed, pass_)
                if known is not None:
                    return known
                if self.plan.people.platform != "none" and kind == "people" and not worker.strip():
                    raise Closed("Please open this study by the link on the platform: your worker number is missing.")
                self.dealer.recount_sometimes(c)
                if self.dealer.choosers[kind].complete:
                    raise Closed("This study has all the answers that it needs. Thank you for your interest.")
                phase = "screening"
                name = secrets.token_hex(8)
                values = {
                    "name": name,
                    "nonce": nonce,
                    "worker": hashed,
                    "ticket": pass_,
                    "started": time.time(),
                    "phase": phase,
                    "kind": kind,
                }
                c.execute(PEOPLE.insert().values(values))
                return person_of(c, name)
        except IntegrityError:  # another process was quicker
            with self.connections.read() as c:
                known = self._known(c, nonce, hashed, pass_)
            if known is None:
                raise
            return known

    def _known(self, c: sa.Connection, nonce: str, worker: str | None, ticket: str | None) -> Person | None:
        row = c.execute(sa.select(PEOPLE.c.name).where(PEOPLE.c.nonce == nonce)).first()
        if row is None and worker is not None:
            row = c.execute(sa.select(PEOPLE.c.name, PEOPLE.c.ticket).where(PEOPLE.c.worker == worker)).first()
            if row is not None and (ticket is None or row.ticket != ticket):
                raise Closed("You have taken part in this study already. Each person can do so once.")
        return None if row is None else person_of(c, row.name)

    def person(self, name: str) -> Person:
        """The session of this name. Raises Gone."""
        with self.connections.read() as c:
            return person_of(c, name)

    def screened(self, name: str, screen: Mapping[str, Any], reason: str) -> Person:
        """Store what the screening found; reason: why the person cannot take part, or "". Done once, later calls change
        nothing."""
        with self.connections.write() as c:
            person = person_of(c, name, lock=True)
            if person.phase == "screening":
                phase = "out" if reason else "training" if self.plan.checks.training else "trials"
                values = {"phase": phase, "reason": reason or None, "screen": dict(screen)}
                c.execute(PEOPLE.update().where(PEOPLE.c.id == person.id).values(values))
                person = person_of(c, name)
                if phase != "out":
                    self._hand_out(c, person)
            return person

    def code(self, name: str) -> str:
        """The code that shows that a session was finished; only this study can make it."""
        digest = hmac.new(self.secret, f"code {name}".encode(), hashlib.sha256).digest()
        letters = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
        text = "".join(letters[b % len(letters)] for b in digest[:10])
        return f"{text[:5]}-{text[5:]}"

    def find(self, who: str) -> str:
        """The session of a code, a session's name, or a crowd worker. Raises Gone."""
        worker = self._hash(who)
        with self.connections.read() as c:
            for row in c.execute(sa.select(PEOPLE.c.name, PEOPLE.c.worker)):
                if who == row.name or who.upper() == self.code(row.name) or worker == row.worker:
                    return str(row.name)
        raise Gone(f"nobody is known as {who!r}; give a thank-you code, a session or a worker's number")

    def codes(self) -> list[tuple[str, str, str, int, RaterKind]]:
        """(code, session, phase, votes, kind of rater) of everybody, in the order of their start."""
        count = sa.select(sa.func.count()).select_from(VOTES.join(TRIALS)).where(TRIALS.c.person == PEOPLE.c.id)
        query = sa.select(PEOPLE, count.scalar_subquery().label("votes")).order_by(PEOPLE.c.id)
        with self.connections.read() as c:
            return [(self.code(r.name), r.name, r.phase, r.votes, r.kind) for r in c.execute(query)]

    def export(self, name: str) -> dict[str, Any]:
        """Everything that is stored of one person, as plain data; the code only of who has finished. Raises Gone."""
        with self.connections.read() as c:
            person = person_of(c, name)
            code = {"code": self.code(name)} if person.phase == "done" else {}
            return {"study": self.plan.title, **code, **everything_of(c, person, self.stimuli)}

    def delete(self, name: str) -> int:
        """Delete a person with all trials and votes, in one transaction; the number of votes. Raises Gone."""
        with self.connections.write() as c:
            person = person_of(c, name, lock=True)
            own = sa.select(TRIALS.c.id).where(TRIALS.c.person == person.id)
            count = c.execute(VOTES.delete().where(VOTES.c.trial.in_(own))).rowcount
            c.execute(TRIALS.delete().where(TRIALS.c.person == person.id))
            c.execute(PEOPLE.delete().where(PEOPLE.c.id == person.id))
        with self.connections.lock, self.connections.read() as c:
            self._ruled.clear()
            self.dealer.recount(c)
        return int(count)

    # trials

    def state(self, name: str) -> tuple[Person, list[Trial], int]:
        """(person, open trials from the first, number of answered ones), with trials handed out where there are too
        few."""
        with self.connections.read() as c:
            person, trials = self._open(c, name)
        wanted = min(AHEAD, self.total - self._done(trials))
        if person.phase in ("training", "trials") and len([t for t in trials if not t.answered]) < wanted:
            with self.connections.write() as c:
                self._hand_out(c, person_of(c, name, lock=True))
            with self.connections.read() as c:
                person, trials = self._open(c, name)
        return person, [t for t in trials if not t.answered], self._done(trials)

    @property
    def total(self) -> int:
        """Trials of one session, training included."""
        return self.plan.checks.training + len(slots(self.plan, len(self.dealer.comparisons), ""))

    def trial(self, token: str) -> Trial:
        """A trial that was handed out. Raises Refused."""
        query = sa.select(TRIALS, VOTES.c.trial).select_from(TRIALS.outerjoin(VOTES)).where(TRIALS.c.token == token)
        with self.connections.read() as c:
            row = c.execute(query).first()
        if row is None:
            raise Refused("There is no such trial.")
        return trial_of(row, row.trial is not None)

    def vote(self, name: str, token: str, answer: str, seconds: float, looks: Mapping[str, Any]) -> tuple[bool, Trial]:
        """(whether it was stored now: False when the trial was answered before, the trial).

        answer: one of ANSWERS. Raises Refused for a trial that this session was not handed out, one that comes before
        its turn, or an answer that the study does not have; Gone. Nothing is changed then.
        """
        if answer not in ANSWERS or (answer == "none" and not self.plan.design.not_sure):
            raise Refused(f"This study has no answer {answer!r}.")
        try:
            with self.connections.write() as c:
                person = person_of(c, name, lock=True)
                row = c.execute(
                    sa.select(TRIALS, VOTES.c.trial)
                    .select_from(TRIALS.outerjoin(VOTES))
                    .where(TRIALS.c.token == token, TRIALS.c.person == person.id)
                ).first()
                if row is None:
                    raise Refused("This trial was not handed out to this session.")
                if row.trial is not None:
                    return False, trial_of(row, True)
                first = c.execute(
                    sa.select(sa.func.min(TRIALS.c.place))
                    .select_from(TRIALS.outerjoin(VOTES))
                    .where(TRIALS.c.person == person.id, VOTES.c.trial.is_(None))
                ).scalar()
                if row.place != first or person.phase not in ("training", "trials"):
                    raise Refused("This trial is not the next one of this session.")
                self._keep_rules(c, person.kind)
                values = {
                    "trial": row.id,
                    "answer": answer,
                    "seconds": seconds,
                    "looks": dict(looks),
                    "received": time.time(),
                }
                c.execute(VOTES.insert().values(values))
                self._move_on(c, person, row.place + 1)
        except IntegrityError:  # another process stored an answer to this trial meanwhile
            return False, self.trial(token)
        self._ruled.add(person.kind)
        if row.kind == "pair":
            with self.connections.lock:
                self.dealer.voted(person.kind, row.comparison, row.left, answer)
        return True, trial_of(row, True)

    def _keep_rules(self, c: sa.Connection, kind: RaterKind) -> None:
        """Before the first vote: the rules of exclusion, so that a report can tell whether they were changed since."""
        if kind in self._ruled:
            return
        some = sa.select(VOTES.c.trial).select_from(VOTES.join(TRIALS).join(PEOPLE))
        if c.execute(some.where(PEOPLE.c.kind == kind).limit(1)).first() is None:
            c.execute(RULES.delete().where(RULES.c.kind == kind))
            rules = dataclasses.asdict(self.plan.exclusion)
            values = {"kind": kind, "stored": time.time(), "exclusion": rules}
            with suppress(IntegrityError), c.begin_nested():  # another process was quicker
                c.execute(RULES.insert().values(values))

    def _move_on(self, c: sa.Connection, person: Person, done: int) -> None:
        """The phase after so many answers, and the next trials."""
        phase = "done" if done >= self.total else "trials" if done >= self.plan.checks.training else "training"
        if phase != person.phase:
            values: dict[str, Any] = {"phase": phase}
            if phase == "done":
                values["finished"] = time.time()
            c.execute(PEOPLE.update().where(PEOPLE.c.id == person.id).values(values))
        if phase != "done":
            self._hand_out(c, person)

    def _hand_out(self, c: sa.Connection, person: Person) -> None:
        """New trials, until AHEAD are open."""
        rows = trials_of(c, person)
        self.dealer.recount_sometimes(c)
        left = [r.place for r in rows if r.trial is None]
        seen = {r.comparison for r in rows if r.kind == "pair"}
        by_place: dict[int, Any] = {r.place: r for r in rows}
        chance = random.Random(f"{self.plan.seed} {person.name} {len(rows)}")
        order = slots(self.plan, len(self.dealer.comparisons), f"{self.plan.seed} {person.name}")
        training = self.plan.checks.training
        for place in range(len(rows), min(len(rows) + AHEAD - len(left), self.total)):
            kind, again = ("training", None) if place < training else order[place - training]
            values = self.dealer.trial(person.kind, kind, again, by_place, seen, chance, place)
            values |= {"person": person.id, "place": place, "token": secrets.token_hex(16), "handed_out": time.time()}
            number = c.execute(TRIALS.insert().values(values)).inserted_primary_key[0]  # type: ignore[index]
            by_place[place] = c.execute(sa.select(TRIALS).where(TRIALS.c.id == number)).one()

    def _open(self, c: sa.Connection, name: str) -> tuple[Person, list[Trial]]:
        person = person_of(c, name)
        rows = trials_of(c, person)
        return person, [trial_of(r, r.trial is not None) for r in rows]

    @staticmethod
    def _done(trials: Sequence[Trial]) -> int:
        return sum(t.answered for t in trials)

    # results

    def votes(self) -> list[Vote]:
        """All answers but those of the training, in the order of their trials."""
        with self.connections.read() as c:
            return votes_of(c, self.stimuli, self.plan.rates)

    def rules(self) -> dict[RaterKind, tuple[float, dict[str, float]]]:
        """Kind of rater -> (when, the rules of exclusion as they were) of the first vote, where that is known."""
        with self.connections.read() as c:
            return rules_of(c)

    def screens(self) -> list[tuple[Person, dict[str, Any]]]:
        """Every person and what the screening found."""
        with self.connections.read() as c:
            return people_of(c)

    def _hash(self, text: str) -> str:
        return hmac.new(self.secret, f"worker {text}".encode(), hashlib.sha256).hexdigest()


def rater_key(secret: bytes, kind: RaterKind) -> str:
    """What a rater who is no person must show: only who has the study's secret can make it."""
    return hmac.new(secret, f"rater {kind}".encode(), hashlib.sha256).hexdigest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
