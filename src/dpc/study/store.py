"""What people did, in a database: SQLite by default, PostgreSQL by its URL.

    people   one line for each session: consent, screen, phase
    trials   what was handed out, in order; token: the only name by which a browser knows a trial
    votes    at most one for each trial: its key is the trial, so that nothing can be counted twice

`vote` stores the answer, moves the session on and hands out what comes next in one transaction; it returns only
when that is on disk.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dpc.errors import DPCError, OptionError
from dpc.study.database import PEOPLE, TABLES, TRIALS, VOTES, engine_of
from dpc.study.pairing import Chooser
from dpc.study.plan import Plan, Stimulus, comparisons, condition
from dpc.study.slots import slots
from dpc.study.votes import Vote

__all__ = ["ANSWERS", "Closed", "Gone", "Person", "Refused", "Store", "Trial"]

AHEAD = 2  # open trials of a session: the one that is shown and the one that is fetched meanwhile
ABANDONED = 1800.0  # seconds after which an open trial no longer counts as asked
RECOUNT = 60.0  # seconds between two counts of what was asked
ANSWERS = ("a", "b", "none")  # left, right, not sure; as a browser sends them


class Refused(DPCError):
    """A request that is not answered: it asks for what was not handed out, or comes out of order."""


class Gone(Refused):
    """The session does not exist (any more)."""


class Closed(Refused):
    """The study takes no new people: it has its votes, or this person took part already."""


@dataclass(frozen=True)
class Person:
    """A session. phase: screening, training, trials, done or out; reason: why out."""

    id: int
    name: str
    phase: str
    reason: str
    simulated: bool
    started: float
    finished: float | None


@dataclass(frozen=True)
class Trial:
    """What a browser may know, and (left, right, original) that it must not."""

    token: str
    place: int
    kind: str
    left: str
    right: str
    original: str
    answered: bool


class Store:
    """The database of a study, safe for many threads of one process. OptionError for an unusable URL or database."""

    def __init__(self, plan: Plan, stimuli: Sequence[Stimulus], url: str, secret: bytes) -> None:
        self.plan, self.secret = plan, secret
        self.stimuli = {s.id: s for s in stimuli}
        self.comparisons = comparisons(plan, stimuli)
        self.fixed = {(s.picture, s.kind): s.id for s in stimuli if s.kind in ("original", "worst")}
        self.chooser = Chooser(plan, self.comparisons)
        self._lock = threading.RLock()
        self._counted = -RECOUNT
        self.engine = engine_of(url)
        try:
            TABLES.create_all(self.engine)
            self._recount()
        except SQLAlchemyError as error:
            place = sa.make_url(url).render_as_string(hide_password=True)
            raise OptionError(f"the database {place} cannot be used: {_line(error)}") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction; within this process one after the other, so that SQLite's writers need not wait and see."""
        with self._lock, self.engine.execution_options(immediate=True).begin() as connection:
            yield connection

    # people

    def start(self, nonce: str, *, worker: str = "", ticket: str = "", simulated: bool = False) -> Person:
        """A new session; the same one for the same nonce, or for the same worker with the same ticket.

        worker, ticket: numbers of a crowd platform, kept as keyed hashes only. Raises Closed.
        """
        hashed, pass_ = (self._hash(v) if v else None for v in (worker, ticket))
        try:
            with self._write() as c:
                known = self._known(c, nonce, hashed, pass_)
                if known is not None:
                    return known
                self._recount_sometimes(c)
                if self.chooser.complete:
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
                    "simulated": simulated,
                }
                c.execute(PEOPLE.insert().values(values))
                return self._person(c, name)
        except IntegrityError:  # another process was quicker
            with self.engine.connect() as c:
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
        return None if row is None else self._person(c, row.name)

    def person(self, name: str) -> Person:
        """The session of this name. Raises Gone."""
        with self.engine.connect() as c:
            return self._person(c, name)

    def _person(self, c: sa.Connection, name: str, lock: bool = False) -> Person:
        query = sa.select(PEOPLE).where(PEOPLE.c.name == name)
        row = c.execute(query.with_for_update() if lock else query).first()
        if row is None:
            raise Gone("This session does not exist: its data was deleted, or the link is not complete.")
        return Person(row.id, row.name, row.phase, row.reason or "", row.simulated, row.started, row.finished)

    def screened(self, name: str, screen: Mapping[str, Any], reason: str) -> Person:
        """Store what the screening found; reason: why the person cannot take part, or "". Done once, later calls change
        nothing."""
        with self._write() as c:
            person = self._person(c, name, lock=True)
            if person.phase == "screening":
                phase = "out" if reason else "training" if self.plan.checks.training else "trials"
                values = {"phase": phase, "reason": reason or None, "screen": dict(screen)}
                c.execute(PEOPLE.update().where(PEOPLE.c.id == person.id).values(values))
                person = self._person(c, name)
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
        with self.engine.connect() as c:
            for row in c.execute(sa.select(PEOPLE.c.name, PEOPLE.c.worker)):
                if who == row.name or who.upper() == self.code(row.name) or worker == row.worker:
                    return str(row.name)
        raise Gone(f"nobody is known as {who!r}; give a thank-you code, a session or a worker's number")

    def codes(self) -> list[tuple[str, str, str, int, bool]]:
        """(code, session, phase, votes, simulated) of everybody, in the order of their start."""
        count = sa.select(sa.func.count()).select_from(VOTES.join(TRIALS)).where(TRIALS.c.person == PEOPLE.c.id)
        query = sa.select(PEOPLE, count.scalar_subquery().label("votes")).order_by(PEOPLE.c.id)
        with self.engine.connect() as c:
            return [(self.code(r.name), r.name, r.phase, r.votes, r.simulated) for r in c.execute(query)]

    def export(self, name: str) -> dict[str, Any]:
        """Everything that is stored of one person, as plain data. Raises Gone."""
        with self.engine.connect() as c:
            person = self._person(c, name)
            row = c.execute(sa.select(PEOPLE).where(PEOPLE.c.id == person.id)).one()
            trials = c.execute(
                sa.select(TRIALS, VOTES.c.answer, VOTES.c.seconds, VOTES.c.looks, VOTES.c.received)
                .select_from(TRIALS.outerjoin(VOTES))
                .where(TRIALS.c.person == person.id)
                .order_by(TRIALS.c.place)
            ).all()
        hidden = {"id", "nonce"}
        kept = {k: v for k, v in row._mapping.items() if k not in hidden}
        shown = ("place", "handed_out", "answer", "seconds", "looks", "received")
        return {
            "study": self.plan.title,
            "code": self.code(name),
            "person": kept,
            "answers": [
                {"picture": self.stimuli[t.original].picture, **{k: getattr(t, k) for k in shown}} for t in trials
            ],
        }

    def delete(self, name: str) -> int:
        """Delete a person with all trials and votes, in one transaction; the number of votes. Raises Gone."""
        with self._write() as c:
            person = self._person(c, name, lock=True)
            own = sa.select(TRIALS.c.id).where(TRIALS.c.person == person.id)
            count = c.execute(VOTES.delete().where(VOTES.c.trial.in_(own))).rowcount
            c.execute(TRIALS.delete().where(TRIALS.c.person == person.id))
            c.execute(PEOPLE.delete().where(PEOPLE.c.id == person.id))
        with self._lock:
            self._recount()
        return int(count)

    # trials

    def state(self, name: str) -> tuple[Person, list[Trial], int]:
        """(person, open trials from the first, number of answered ones), with trials handed out where there are too
        few."""
        with self.engine.connect() as c:
            person, trials = self._open(c, name)
        wanted = min(AHEAD, self.total - self._done(trials))
        if person.phase in ("training", "trials") and len([t for t in trials if not t.answered]) < wanted:
            with self._write() as c:
                self._hand_out(c, self._person(c, name, lock=True))
            with self.engine.connect() as c:
                person, trials = self._open(c, name)
        return person, [t for t in trials if not t.answered], self._done(trials)

    @property
    def total(self) -> int:
        """Trials of one session, training included."""
        return self.plan.checks.training + len(slots(self.plan, len(self.comparisons), ""))

    def trial(self, token: str) -> Trial:
        """A trial that was handed out. Raises Refused."""
        query = sa.select(TRIALS, VOTES.c.trial).select_from(TRIALS.outerjoin(VOTES)).where(TRIALS.c.token == token)
        with self.engine.connect() as c:
            row = c.execute(query).first()
        if row is None:
            raise Refused("There is no such trial.")
        return _trial(row, row.trial is not None)

    def vote(self, name: str, token: str, answer: str, seconds: float, looks: Mapping[str, Any]) -> tuple[bool, Trial]:
        """(whether it was stored now: False when the trial was answered before, the trial).

        answer: one of ANSWERS. Raises Refused for a trial that this session was not handed out, one that comes before
        its turn, or an answer that the study does not have; Gone. Nothing is changed then.
        """
        if answer not in ANSWERS or (answer == "none" and not self.plan.design.not_sure):
            raise Refused(f"This study has no answer {answer!r}.")
        try:
            with self._write() as c:
                person = self._person(c, name, lock=True)
                row = c.execute(
                    sa.select(TRIALS, VOTES.c.trial)
                    .select_from(TRIALS.outerjoin(VOTES))
                    .where(TRIALS.c.token == token, TRIALS.c.person == person.id)
                ).first()
                if row is None:
                    raise Refused("This trial was not handed out to this session.")
                if row.trial is not None:
                    return False, _trial(row, True)
                first = c.execute(
                    sa.select(sa.func.min(TRIALS.c.place))
                    .select_from(TRIALS.outerjoin(VOTES))
                    .where(TRIALS.c.person == person.id, VOTES.c.trial.is_(None))
                ).scalar()
                if row.place != first or person.phase not in ("training", "trials"):
                    raise Refused("This trial is not the next one of this session.")
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
        if row.kind == "pair":
            comparison = self.comparisons[row.comparison]
            chosen = 2 if answer == "none" else int((row.left if answer == "a" else row.right) != comparison.a.id)
            with self._lock:
                self.chooser.voted(row.comparison, chosen)
        return True, _trial(row, True)

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
        rows = _trials_of(c, person)
        self._recount_sometimes(c)
        left = [r.place for r in rows if r.trial is None]
        seen = {r.comparison for r in rows if r.kind == "pair"}
        by_place: dict[int, Any] = {r.place: r for r in rows}
        chance = random.Random(f"{self.plan.seed} {person.name} {len(rows)}")
        order = slots(self.plan, len(self.comparisons), f"{self.plan.seed} {person.name}")
        training = self.plan.checks.training
        for place in range(len(rows), min(len(rows) + AHEAD - len(left), self.total)):
            kind, again = ("training", None) if place < training else order[place - training]
            values = self._new_trial(kind, again, by_place, seen, chance, place)
            values |= {"person": person.id, "place": place, "token": secrets.token_hex(16), "handed_out": time.time()}
            number = c.execute(TRIALS.insert().values(values)).inserted_primary_key[0]  # type: ignore[index]
            by_place[place] = c.execute(sa.select(TRIALS).where(TRIALS.c.id == number)).one()

    def _new_trial(
        self,
        kind: str,
        again: int | None,
        by_place: Mapping[int, Any],
        seen: set[int],
        chance: random.Random,
        place: int,
    ) -> dict[str, Any]:
        """kind, comparison and the three pictures of a trial."""
        comparison = -1
        before = None
        if kind == "pair":
            chosen = self.chooser.choose(seen, chance)
            if chosen is None:  # cannot be: slots() plans no more pairs than there are comparisons
                raise Refused("There is no further pair.")
            seen.add(chosen.number)
            comparison, picture = chosen.number, chosen.picture
            ends = [chosen.a.id, chosen.b.id]
        elif kind == "repeat" and again is not None:
            row = by_place[self.plan.checks.training + again]
            comparison, before, picture = row.comparison, row.id, self.stimuli[row.left].picture
            ends = [row.right, row.left]
        else:
            picture = chance.choice(self.plan.pictures).name
            original, worst = self.fixed[picture, "original"], self.fixed[picture, "worst"]
            if kind == "identical":
                coded = chance.choice(
                    [s.id for s in self.stimuli.values() if s.picture == picture and s.kind == "coded"]
                )
                ends = [coded, coded]
            elif kind == "training" and place % 2 == 1:  # an easy one, then a real one, then an easy one
                real = chance.choice([x for x in self.comparisons if x.picture == picture])
                ends = [real.a.id, real.b.id]
            else:
                ends = [original, worst]
        if kind != "repeat":
            chance.shuffle(ends)
        original = self.fixed[picture, "original"]
        return {
            "kind": kind,
            "comparison": comparison,
            "left": ends[0],
            "right": ends[1],
            "original": original,
            "again": before,
        }

    def _open(self, c: sa.Connection, name: str) -> tuple[Person, list[Trial]]:
        person = self._person(c, name)
        rows = _trials_of(c, person)
        return person, [_trial(r, r.trial is not None) for r in rows]

    @staticmethod
    def _done(trials: Sequence[Trial]) -> int:
        return sum(t.answered for t in trials)

    # counts

    def _recount_sometimes(self, c: sa.Connection) -> None:
        if time.monotonic() - self._counted >= RECOUNT:
            self._recount(c)

    def _recount(self, c: sa.Connection | None = None) -> None:
        """What was asked and answered, from the database. Open trials of people who left do not count."""
        if c is None:
            with self.engine.connect() as own:
                return self._recount(own)
        asked: dict[int, int] = {}
        votes: dict[int, list[int]] = {}
        query = (
            sa.select(TRIALS.c.comparison, TRIALS.c.left, VOTES.c.answer)
            .select_from(TRIALS.outerjoin(VOTES))
            .where(TRIALS.c.kind == "pair")
            .where(sa.or_(VOTES.c.trial.is_not(None), TRIALS.c.handed_out > time.time() - ABANDONED))
        )
        for row in c.execute(query):
            asked[row.comparison] = asked.get(row.comparison, 0) + 1
            if row.answer is not None:
                first = row.left == self.comparisons[row.comparison].a.id
                answer = 2 if row.answer == "none" else int((row.answer == "a") != first)
                votes.setdefault(row.comparison, [0, 0, 0])[answer] += 1
        self.chooser.load(asked, votes)
        self._counted = time.monotonic()
        return None

    # results

    def votes(self) -> list[Vote]:
        """All answers but those of the training, in the order of their trials."""
        names = {s.id: condition(s, self.plan.rates) for s in self.stimuli.values()}
        before = TRIALS.alias()
        earlier = VOTES.alias()
        query = (
            sa.select(
                TRIALS,
                VOTES.c.answer,
                VOTES.c.seconds,
                PEOPLE.c.name,
                PEOPLE.c.simulated,
                earlier.c.answer.label("earlier"),
            )
            .select_from(
                TRIALS.join(VOTES)
                .join(PEOPLE)
                .outerjoin(before, before.c.id == TRIALS.c.again)
                .outerjoin(earlier, earlier.c.trial == before.c.id)
            )
            .where(TRIALS.c.kind != "training")
            .order_by(TRIALS.c.id)
        )
        found = []
        with self.engine.connect() as c:
            for r in c.execute(query):
                # a repeat has its sides changed: left now was right before
                earlier_answer = None if r.earlier is None else {"a": 1, "b": 0, "none": 2}[r.earlier]
                found.append(
                    Vote(
                        rater=r.name,
                        picture=self.stimuli[r.original].picture,
                        a=names[r.left],
                        b=names[r.right],
                        answer=ANSWERS.index(r.answer),
                        kind=r.kind,
                        side=ANSWERS.index(r.answer),
                        seconds=r.seconds,
                        number=r.comparison,
                        repeats=earlier_answer,
                        simulated=r.simulated,
                    )
                )
        return found

    def screens(self) -> list[tuple[Person, dict[str, Any]]]:
        """Every person and what the screening found."""
        with self.engine.connect() as c:
            rows = c.execute(sa.select(PEOPLE).order_by(PEOPLE.c.id)).all()
        return [
            (Person(r.id, r.name, r.phase, r.reason or "", r.simulated, r.started, r.finished), dict(r.screen or {}))
            for r in rows
        ]

    def _hash(self, text: str) -> str:
        return hmac.new(self.secret, f"worker {text}".encode(), hashlib.sha256).hexdigest()


def _trials_of(c: sa.Connection, person: Person) -> Sequence[Any]:
    """Every trial of a person in order; column trial is None where there is no answer yet."""
    query = sa.select(TRIALS, VOTES.c.trial).select_from(TRIALS.outerjoin(VOTES))
    return c.execute(query.where(TRIALS.c.person == person.id).order_by(TRIALS.c.place)).all()


def _trial(row: Any, answered: bool) -> Trial:
    return Trial(row.token, row.place, row.kind, row.left, row.right, row.original, answered)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
