"""Sessions, trials and votes as they are read from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa

from dpc.errors import DPCError
from dpc.study.database import PEOPLE, RULES, TRIALS, VOTES
from dpc.study.plan import Stimulus, condition
from dpc.study.votes import Vote

__all__ = [
    "ANSWERS",
    "Closed",
    "Gone",
    "RATER_KINDS",
    "Person",
    "RaterKind",
    "Refused",
    "Trial",
    "Unsaved",
    "everything_of",
    "people_of",
    "person_of",
    "rules_of",
    "trial_of",
    "trials_of",
    "votes_of",
]

ANSWERS = ("a", "b", "none")  # left, right, not sure; as a browser sends them


RaterKind: TypeAlias = Literal["people", "model", "simulated"]
"""Who answers: a person; a model (a metric, a network) in a person's place; a simulated rater of a rehearsal."""
RATER_KINDS: tuple[RaterKind, ...] = get_args(RaterKind)


class Unsaved(DPCError):
    """The database cannot be used now; nothing was changed, and the same request may be sent again."""


class Refused(DPCError):
    """A request that is not answered: it asks for what was not handed out, or comes out of order."""


class Gone(Refused):
    """The session does not exist (any more)."""


class Closed(Refused):
    """The study does not take this person: it has its votes, the person took part already, or the link is wrong."""


@dataclass(frozen=True)
class Person:
    """A session. phase: screening, training, trials, done or out; reason: why out."""

    id: int
    name: str
    phase: str
    reason: str
    kind: RaterKind
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


def person_of(c: sa.Connection, name: str, lock: bool = False) -> Person:
    """The session of this name. lock: until the end of the transaction. Raises Gone."""
    query = sa.select(PEOPLE).where(PEOPLE.c.name == name)
    row = c.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise Gone("This session does not exist: its data was deleted, or the link is not complete.")
    return _person(row)


def _person(row: Any) -> Person:
    return Person(row.id, row.name, row.phase, row.reason or "", row.kind, row.started, row.finished)


def trials_of(c: sa.Connection, person: Person) -> Sequence[Any]:
    """Every trial of a person in order; column trial is None where there is no answer yet."""
    query = sa.select(TRIALS, VOTES.c.trial).select_from(TRIALS.outerjoin(VOTES))
    return c.execute(query.where(TRIALS.c.person == person.id).order_by(TRIALS.c.place)).all()


def trial_of(row: Any, answered: bool) -> Trial:
    """A trial as its row says."""
    return Trial(row.token, row.place, row.kind, row.left, row.right, row.original, answered)


def everything_of(c: sa.Connection, person: Person, stimuli: Mapping[str, Stimulus]) -> dict[str, Any]:
    """All that is stored of a person, as plain data."""
    row = c.execute(sa.select(PEOPLE).where(PEOPLE.c.id == person.id)).one()
    trials = c.execute(
        sa.select(TRIALS, VOTES.c.answer, VOTES.c.seconds, VOTES.c.looks, VOTES.c.received)
        .select_from(TRIALS.outerjoin(VOTES))
        .where(TRIALS.c.person == person.id)
        .order_by(TRIALS.c.place)
    ).all()
    hidden = {"id", "nonce"}
    shown = ("place", "handed_out", "answer", "seconds", "looks", "received")
    return {
        "person": {k: v for k, v in row._mapping.items() if k not in hidden},
        "answers": [{"picture": stimuli[t.original].picture, **{k: getattr(t, k) for k in shown}} for t in trials],
    }


def people_of(c: sa.Connection) -> list[tuple[Person, dict[str, Any]]]:
    """Every person and what the screening found."""
    return [(_person(r), dict(r.screen or {})) for r in c.execute(sa.select(PEOPLE).order_by(PEOPLE.c.id))]


def rules_of(c: sa.Connection) -> dict[RaterKind, tuple[float, dict[str, float]]]:
    """Kind of rater -> (when, the rules of exclusion as they were) of the first vote, where that is known."""
    return {r.kind: (r.stored, r.exclusion) for r in c.execute(sa.select(RULES))}


def votes_of(c: sa.Connection, stimuli: Mapping[str, Stimulus], rates: Sequence[str]) -> list[Vote]:
    """All answers but those of the training, in the order of their trials."""
    names = {s.id: condition(s, rates) for s in stimuli.values()}
    before = TRIALS.alias()
    earlier = VOTES.alias()
    query = (
        sa.select(
            TRIALS,
            VOTES.c.answer,
            VOTES.c.seconds,
            PEOPLE.c.name,
            PEOPLE.c.kind.label("rater_kind"),
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
    for r in c.execute(query):
        # a repeat has its sides changed: left now was right before
        earlier_answer = None if r.earlier is None else {"a": 1, "b": 0, "none": 2}[r.earlier]
        found.append(
            Vote(
                rater=r.name,
                picture=stimuli[r.original].picture,
                a=names[r.left],
                b=names[r.right],
                answer=ANSWERS.index(r.answer),
                kind=r.kind,
                side=ANSWERS.index(r.answer),
                seconds=r.seconds,
                number=r.comparison,
                repeats=earlier_answer,
                rater_kind=r.rater_kind,
            )
        )
    return found
