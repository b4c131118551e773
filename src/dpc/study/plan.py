"""The plan of a study: study.toml, read and written whole; unknown keys and values out of range are refused.

study.toml        this plan
truth.csv         one line per picture file: which method, rate and bytes it is (never served)
stimuli/*.png     the picture files, under random names
plates/*.png      colour plates
secret.key        signs sessions; only its owner may read it
votes.sqlite      what people did, unless a database is given
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

from dpc.errors import OptionError
from dpc.files import atomic_write

__all__ = [
    "FORMAT",
    "Checks",
    "Comparison",
    "Design",
    "Exclusion",
    "Limits",
    "Method",
    "People",
    "Picture",
    "Plan",
    "Screening",
    "Stimulus",
    "comparisons",
    "condition",
    "read",
    "shuffled",
    "smallest_preference",
    "votes_needed",
    "write",
]

FORMAT = 1
PAIRINGS = ("full", "random", "adaptive")
ORIGINALS = ("hold", "beside")
ACROSS = ("none", "neighbours")
PLATFORMS = ("none", "prolific", "mturk")
COLOURS = ("off", "ask", "require")
SCREENS = ("any", "fit")
CLUSTERING = 2.5  # votes of one rater or on one picture resemble each other: so many votes count as one


@dataclass(frozen=True)
class Design:
    """What is asked.

    pairing: full (every pair of every picture, evenly), random (drawn at random), adaptive (evenly until every pair of
    conditions has adaptive_after votes, then those that tell most). not_sure: a third answer. original: shown while
    held, or beside the pair. across_rates: with "neighbours", neighbouring rates are compared too, so that bits at
    equal preference can be told. votes: wanted for every comparison. trials: comparisons for one person. tolerance:
    sizes of a pair at one rate differ by no more than this share.
    """

    pairing: str = "full"
    not_sure: bool = True
    original: str = "hold"
    across_rates: str = "none"
    votes: int = 20
    trials: int = 30
    adaptive_after: int = 30
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        _among("pairing", self.pairing, PAIRINGS)
        _among("original", self.original, ORIGINALS)
        _among("across_rates", self.across_rates, ACROSS)
        _within("votes", self.votes, 1, 100_000)
        _within("trials", self.trials, 1, 1000)
        _within("adaptive_after", self.adaptive_after, 1, 1_000_000)
        _within("tolerance", self.tolerance, 0, 1)


@dataclass(frozen=True)
class Checks:
    """Trials for each person beside the comparisons: training with feedback; a picture against itself (only told apart
    from chance where "not sure" is an answer); the original against the worst; earlier ones again, sides changed."""

    training: int = 3
    identical: int = 2
    traps: int = 4
    repeats: int = 3

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _within(item.name, getattr(self, item.name), 0, 50)


@dataclass(frozen=True)
class Screening:
    """What is checked before the training. screen: "fit" turns people away whose window cannot show a whole picture
    pixel by pixel, "any" lets them scroll. colour: plates are not shown, asked, or must be read. plates: the numbers on
    the colour plates, the first readable by everybody."""

    screen: str = "any"
    colour: str = "ask"
    plates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _among("screen", self.screen, SCREENS)
        _among("colour", self.colour, COLOURS)


@dataclass(frozen=True)
class Exclusion:
    """When a person's votes are set aside.

    attention: least share of identical pairs and traps answered right. consistency: how unlikely so few equal answers
    to repeats may be. likelihood: how many standard deviations the log-likelihood of the votes may be below its
    expectation. seconds: least median time of a vote. side: how unlikely so uneven a use of the two sides may be.
    """

    attention: float = 0.7
    consistency: float = 0.01
    likelihood: float = 3.0
    seconds: float = 1.0
    side: float = 0.0001

    def __post_init__(self) -> None:
        _within("attention", self.attention, 0, 1)
        _within("consistency", self.consistency, 0, 1)
        _within("likelihood", self.likelihood, 0, 100)
        _within("seconds", self.seconds, 0, 600)
        _within("side", self.side, 0, 1)


@dataclass(frozen=True)
class People:
    """Who takes part. organiser, contact: shown to them. platform: a crowd platform whose worker numbers and links are
    understood. completion_link: shown at the end, {code} in it stands for the person's code. minimum_age: asked for in
    the consent; 0 for none. about: what the welcome page says beside the rest."""

    organiser: str = ""
    contact: str = ""
    platform: str = "none"
    completion_link: str = ""
    minimum_age: int = 18
    about: str = ""

    def __post_init__(self) -> None:
        _among("platform", self.platform, PLATFORMS)
        _within("minimum_age", self.minimum_age, 0, 100)
        if self.completion_link and not self.completion_link.startswith("https://"):
            raise OptionError(f"completion_link = {self.completion_link!r}: a link begins with https://")


@dataclass(frozen=True)
class Limits:
    """Requests in a minute: of one session, of one network address, and new sessions of one address. hours: how long a
    resume link works."""

    session: int = 600
    address: int = 6000
    starts: int = 60
    hours: int = 24 * 30

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _within(item.name, getattr(self, item.name), 1, 10_000_000)


@dataclass(frozen=True)
class Method:
    """A codec, or a folder of pictures that were coded elsewhere."""

    name: str
    version: str = ""
    settings: str = ""


@dataclass(frozen=True)
class Picture:
    """An original: name without ending, sha256 of its file, and the size that is shown."""

    name: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """A whole study. rates: a name for each, from the lowest to the highest. code: the dpc version that made it."""

    title: str
    seed: int
    rates: tuple[str, ...]
    methods: tuple[Method, ...]
    pictures: tuple[Picture, ...]
    question: str = "Which picture is closer to the original?"
    crop: str = ""
    command: str = ""
    made_by: str = ""
    design: Design = field(default_factory=Design)
    checks: Checks = field(default_factory=Checks)
    screening: Screening = field(default_factory=Screening)
    exclusion: Exclusion = field(default_factory=Exclusion)
    people: People = field(default_factory=People)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if len(self.methods) < 2 and not (len(self.rates) > 1 and self.design.across_rates == "neighbours"):
            raise OptionError(
                f"{len(self.methods)} method: a study compares at least two; name another codec or folder"
            )
        if not self.pictures or not self.rates:
            raise OptionError("a study needs at least one picture and one rate; give --images and --bpp")
        for what, names in (
            ("method", [m.name for m in self.methods]),
            ("picture", [p.name for p in self.pictures]),
            ("rate", list(self.rates)),
        ):
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                raise OptionError(f"{what} {twice!r} is there twice; give each its own name")
        for method in self.methods:
            if not method.name or "@" in method.name:
                raise OptionError(f"method name {method.name!r}: it must not be empty and not hold an @")


@dataclass(frozen=True)
class Stimulus:
    """One picture file. kind: original, coded or worst. rate: index into the plan's rates, -1 where there is none.
    bytes: of the compressed file, 0 where it is not known. sha256: of the PNG."""

    id: str
    picture: str
    kind: str
    method: str
    rate: int
    bytes: int
    bpp: float
    quality: float
    sha256: str


@dataclass(frozen=True)
class Comparison:
    """A question: two stimuli of one picture. number: its place in the list of `comparisons`."""

    number: int
    picture: str
    a: Stimulus
    b: Stimulus


def condition(stimulus: Stimulus, rates: Sequence[str]) -> str:
    """What is judged, the same for all pictures: "avif@0.25", or "original", "worst"."""
    return f"{stimulus.method}@{rates[stimulus.rate]}" if stimulus.kind == "coded" else stimulus.kind


def comparisons(plan: Plan, stimuli: Sequence[Stimulus]) -> list[Comparison]:
    """All questions of a study, in a fixed order: every pair of methods at each rate, and of neighbouring rates."""
    coded = {(s.picture, s.method, s.rate): s for s in stimuli if s.kind == "coded"}
    names = [m.name for m in plan.methods]
    kinds: list[tuple[tuple[str, int], tuple[str, int]]] = []
    for rate in range(len(plan.rates)):
        kinds += [((a, rate), (b, rate)) for a, b in itertools.combinations(names, 2)]
        if plan.design.across_rates == "neighbours" and rate + 1 < len(plan.rates):
            kinds += [((a, rate), (b, rate + 1)) for a in names for b in names]
    found: list[Comparison] = []
    for picture in plan.pictures:
        for a, b in kinds:
            first, second = coded[(picture.name, *a)], coded[(picture.name, *b)]
            found.append(Comparison(len(found), picture.name, first, second))
    return found


# what a number of votes can show


def smallest_preference(votes: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest preference, above 0.5, that so many independent votes show (two-sided test, normal approximation).

    1.0 where even unanimity would not be shown. 194 votes: 0.6; 783: 0.55.
    """
    low, high = 0.5, 1.0
    if votes_needed(1.0 - 1e-9, alpha, power) > votes:
        return 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if votes_needed(middle, alpha, power) > votes else (low, middle)
    return high


def votes_needed(preference: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Independent votes that show a preference (not 0.5) with this power."""
    normal = NormalDist()
    wide = normal.inv_cdf(1 - alpha / 2) * 0.5
    narrow = normal.inv_cdf(power) * math.sqrt(preference * (1 - preference))
    return math.ceil(((wide + narrow) / (preference - 0.5)) ** 2 - 1e-9)


# study.toml

_TABLES = {
    "design": Design,
    "checks": Checks,
    "screening": Screening,
    "exclusion": Exclusion,
    "people": People,
    "limits": Limits,
}
_LISTS = {"methods": Method, "pictures": Picture}
_HEAD = """\
# A study of dpc study; docs/guide/study.md says what each key means. [exclusion], [limits], [people], design.votes and
# design.trials may be changed while no server runs; everything else belongs to the pictures that were made with it.
"""


def write(plan: Plan, path: Path) -> None:
    """The plan as TOML, as a whole or not at all."""
    lines = [_HEAD.rstrip(), f"format = {FORMAT}"]
    plain = [f for f in dataclasses.fields(plan) if f.name not in _TABLES and f.name not in _LISTS]
    lines += [f"{f.name} = {_toml(getattr(plan, f.name))}" for f in plain]
    for name in _TABLES:
        lines += ["", f"[{name}]", *_entries(getattr(plan, name))]
    for name in _LISTS:
        for item in getattr(plan, name):
            lines += ["", f"[[{name}]]", *_entries(item)]
    atomic_write(path, "\n".join(lines) + "\n")


def read(path: Path) -> Plan:
    """The plan in a study.toml; OptionError with one line for whatever is wrong with it."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); make a study with dpc study new") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path} is not valid TOML: {error}") from error
    version = table.pop("format", None)
    if version != FORMAT:
        raise OptionError(f"{path} is of format {version!r}, this dpc reads {FORMAT}; use the dpc that made it")
    try:
        for name, cls in _TABLES.items():
            if name in table:
                table[name] = _build(cls, table[name], f"[{name}]")
        for name, kind in _LISTS.items():
            table[name] = tuple(_build(kind, item, f"[[{name}]]") for item in table.get(name, ()))
        plan: Plan = _build(Plan, table, "the plan")
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return plan


def _build(cls: type[Any], table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise OptionError(f"{where} must be a table, not {type(table).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise OptionError(f"unknown key {key!r} in {where}; known keys: {', '.join(fields)}")
        kind = str(fields[key].type)
        value = tuple(value) if isinstance(value, list) else value
        good = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "tuple[str, ...]": (tuple,)}
        if kind in good:
            if not isinstance(value, good[kind]) or (isinstance(value, bool) and kind != "bool"):
                raise OptionError(f"{key} = {value!r} in {where} must be of type {kind}")
            if kind == "tuple[str, ...]" and not all(isinstance(v, str) for v in table[key]):
                raise OptionError(f"{key} in {where} must be a list of texts")
        values[key] = float(value) if kind == "float" else value
    try:
        return cls(**values)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error


def _entries(item: Any) -> list[str]:
    return [f"{f.name} = {_toml(getattr(item, f.name))}" for f in dataclasses.fields(item)]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    # a JSON string is a TOML basic string, but for the delete character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else str(value)


def _among(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} = {value!r}: choose from {', '.join(allowed)}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise OptionError(f"{name} = {value:g}: it must be from {low:g} to {high:g}")


def shuffled(items: Sequence[Any], seed: str) -> list[Any]:
    """The items in an order that depends on the seed only."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order
