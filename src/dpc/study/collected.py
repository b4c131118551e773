"""Where a report's votes come from: a study's folder, or a table of votes; with rates and metrics of what was shown."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpc.errors import OptionError
from dpc.evaluation.metrics import METRICS
from dpc.evaluation.metrics.reference import DEFAULT, PEAKS, Reference, usable
from dpc.files import atomic_write, csv_text
from dpc.reading import read_csv
from dpc.study import plan as plans
from dpc.study import stimuli
from dpc.study.database import default_url
from dpc.study.names import renamed
from dpc.study.plan import condition
from dpc.study.records import RaterKind
from dpc.study.stimuli import Made
from dpc.study.store import Person, Store
from dpc.study.votes import NOT_SURE, Vote

__all__ = ["Collected", "read_study", "read_table"]

MOST_IN_CELL = 100_000  # votes
MOST_VOTES = 500_000
MOST_CONDITIONS = 100
MOST_METRICS = 50
Count: TypeAlias = Annotated[int, Field(ge=0, le=MOST_IN_CELL)]
Rate: TypeAlias = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Measured: TypeAlias = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


@dataclass
class Collected:
    """A study, or a table of votes. values: metric -> (picture, condition) -> value. rules: that people are set aside
    by; first_rules: `Store.rules`."""

    title: str
    votes: list[Vote]
    bpp: dict[str, float]
    not_sure: bool
    rules: plans.Exclusion
    made: Made | None = None
    people: list[tuple[Person, dict[str, Any]]] = field(default_factory=list)
    values: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    higher: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    first_rules: dict[RaterKind, tuple[float, dict[str, float]]] = field(default_factory=dict)


def read_study(
    folder: Path, url: str | None, metrics: Sequence[str] | None, weights: Path | None, say: Callable[[str], None]
) -> Collected:
    """The votes of a study's folder. metrics: names; None: all that can be measured here; []: none."""
    made = stimuli.read(folder)
    store = Store(made.plan, made.stimuli, url or default_url(folder), stimuli.secret(folder))
    votes, people, first_rules = store.votes(), store.screens(), store.rules()
    store.close()
    plan = made.plan
    rates: dict[str, list[float]] = defaultdict(list)
    for s in made.stimuli:
        if s.kind == "coded" and s.bytes:
            rates[condition(s, plan.rates)].append(s.bpp)
    bpp = {name: float(np.exp(np.mean(np.log(values)))) for name, values in rates.items()}
    data = Collected(plan.title, votes, bpp, plan.design.not_sure, plan.exclusion, made, people)
    data.first_rules = first_rules
    if any(s.kind == "coded" and not s.bytes for s in made.stimuli):
        data.notes.append("Some compressed sizes are not known: equal size cannot be claimed for those methods.")
    chosen, without = usable(DEFAULT if metrics is None else metrics, weights) if metrics != [] else ([], {})
    for name, why in without.items():
        data.notes.append(f"{name} is left out: {why}")
    if chosen and votes:
        data.values = _measure(made, chosen, weights, say)
        data.higher = {name: name not in PEAKS and METRICS[name].higher_is_better for name in chosen}
    return data


def _measure(
    made: Made, metrics: Sequence[str], weights: Path | None, say: Callable[[str], None]
) -> dict[str, dict[tuple[str, str], float]]:
    """Metrics of what was shown, kept in measured.csv of the study by the sha256 of the original and of the picture."""
    file = made.folder / "measured.csv"
    known: dict[tuple[str, str, str], float] = {}
    if file.exists():
        known = _measured(file)
    originals = {s.picture: s for s in made.stimuli if s.kind == "original"}
    coded: dict[str, list[plans.Stimulus]] = defaultdict(list)
    for s in made.stimuli:
        if s.kind == "coded":
            coded[s.picture].append(s)
    for picture, original in originals.items():
        lacking = [m for m in metrics if any((original.sha256, s.sha256, m) not in known for s in coded[picture])]
        if not lacking:
            continue
        say(f"measuring {picture}: {', '.join(lacking)}")
        reference = Reference(_pixels(made, original.id), lacking, weights)
        for s in coded[picture]:
            for name, value in reference.measure(_pixels(made, s.id)).items():
                known[original.sha256, s.sha256, name] = value
    atomic_write(file, csv_text(_MEASURED, ((*key, f"{value:.9g}") for key, value in sorted(known.items()))))
    return {
        m: {
            (picture, condition(s, made.plan.rates)): known[originals[picture].sha256, s.sha256, m]
            for picture, own in coded.items()
            for s in own
        }
        for m in metrics
    }


_MEASURED = ("original", "sha256", "metric", "value")


def _measured(file: Path) -> dict[tuple[str, str, str], float]:
    """(sha256 of the original, of the picture, metric) -> value."""
    try:
        with open(file, newline="", encoding="utf-8") as source:
            rows = ([r[name] for name in _MEASURED] for r in csv.DictReader(source))
            return {(original, picture, metric): float(value) for original, picture, metric, value in rows}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise OptionError(f"{file} is damaged ({type(error).__name__}: {error}); remove it to measure again") from error


def _pixels(made: Made, name: str) -> Any:
    from PIL import Image

    with Image.open(made.folder / "stimuli" / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"))


class Row(BaseModel):
    """A line of a table of votes; see docs/guide/study.md for the columns."""

    model_config = ConfigDict(str_max_length=200)
    picture: str
    a: str
    b: str
    votes_a: Count
    votes_b: Count
    not_sure: Count = 0
    rater: str = ""
    rater_kind: RaterKind = "people"
    bpp_a: Rate | None = None
    bpp_b: Rate | None = None
    metrics: dict[str, tuple[Measured | None, Measured | None]] = Field(default={}, max_length=MOST_METRICS)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, cells: dict[str, str]) -> dict[str, Any]:
        """Old names become those of today, and columns NAME_a and NAME_b a metric."""
        given = renamed(cells)
        ends = {n[:-2] for n in given if n.endswith(("_a", "_b"))} - {"votes", "bpp"}
        metrics = {name: (given.get(f"{name}_a"), given.get(f"{name}_b")) for name in sorted(ends)}
        return {**{name: given[name] for name in given if name in cls.model_fields}, "metrics": metrics}

    @model_validator(mode="after")
    def _different(self) -> Row:
        if self.a == self.b:
            raise ValueError("a and b are the same; a vote is between two different conditions")
        return self


def read_table(path: Path) -> Collected:
    """Votes that were collected elsewhere, counted or one by one, in a CSV file.

    picture, a, b        which picture, and two conditions, METHOD or METHOD@RATE
    votes_a, votes_b     how many preferred each; not_sure: how many could not tell (may be left out)
    rater                who voted, or empty or left out: every vote is then another person's
    rater_kind           people (default), model or simulated
    bpp_a, bpp_b         rates, for bits at equal preference (may be left out)
    NAME_a, NAME_b       a metric of each (may be left out); more is better, unless dpc knows it the other way

    OptionError names the line and the value for whatever is out of bounds; nothing is read of such a table.
    """
    votes: list[Vote] = []
    rates: dict[str, list[float]] = defaultdict(list)
    values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    conditions: set[str] = set()
    for row in read_csv(path, Row, MOST_VOTES):
        counts = (row.votes_a, row.votes_b, row.not_sure)
        conditions |= {row.a, row.b}
        if len(votes) + sum(counts) > MOST_VOTES or len(conditions) > MOST_CONDITIONS:
            raise OptionError(
                f"{path} has more than {MOST_VOTES:,} votes or {MOST_CONDITIONS} conditions; report parts of it"
            )
        for answer, count in enumerate(counts):
            votes += [Vote(row.rater, row.picture, row.a, row.b, answer, rater_kind=row.rater_kind)] * count
        for i, (name, bpp) in enumerate(((row.a, row.bpp_a), (row.b, row.bpp_b))):
            if bpp is not None:
                rates[name].append(bpp)
            for metric, pair in row.metrics.items():
                if (value := pair[i]) is not None:
                    values[metric][row.picture, name] = value
    means = {name: float(np.exp(np.mean(np.log(v)))) for name, v in rates.items()}
    higher = {m: METRICS[m].higher_is_better if m in METRICS else True for m in values}
    ties = any(v.answer == NOT_SURE for v in votes)
    return Collected(path.stem, votes, means, ties, plans.Exclusion(), values=dict(values), higher=higher)
