"""The plan of a study: what is asked of whom, and what is shown. Every value has bounds; unknown keys are refused.

Draft   what a person writes in study.toml
Plan    the draft, and what was made of it: methods, pictures, names of the rates
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, Strict, StrictBool, model_validator
from pydantic.dataclasses import dataclass

__all__ = [
    "Asked",
    "Checks",
    "Comparison",
    "Design",
    "Draft",
    "Exclusion",
    "Limits",
    "Method",
    "People",
    "Picture",
    "Plan",
    "Screening",
    "Sources",
    "Stimulus",
    "comparisons",
    "condition",
    "shuffled",
]

config = ConfigDict(extra="forbid", str_max_length=2000, allow_inf_nan=False)
Whole: TypeAlias = Annotated[int, Strict()]  # neither true nor "20" is a number
Real: TypeAlias = Annotated[float, Strict()]
Count: TypeAlias = Annotated[Whole, Field(ge=0, le=50)]
Share: TypeAlias = Annotated[Real, Field(ge=0, le=1)]
PerMinute: TypeAlias = Annotated[Whole, Field(ge=1, le=10_000_000)]


def _named(name: str) -> str:
    if not name or "@" in name:
        raise ValueError("the name of a method must not be empty and not hold an @")
    return name


def _rates(rates: tuple[float, ...]) -> tuple[float, ...]:
    if any(not 0 < rate <= 100 for rate in rates):
        raise ValueError("a rate of 0 bpp or less, or above 100, cannot be reached; give rates such as 0.15, 0.25, 0.5")
    if list(rates) != sorted(set(rates)):
        raise ValueError("give each rate once, from the lowest to the highest")
    return rates


def _link(link: str) -> str:
    if link and not link.startswith("https://"):
        raise ValueError("a link begins with https://")
    return link


Name: TypeAlias = Annotated[str, Field(max_length=200), AfterValidator(_named)]


@dataclass(frozen=True, config=config)
class Sources:
    """Where the pictures come from.

    images: originals, files and folders (not what is below them). leave_out: originals that are not shown, by their
    names without ending. codecs: names in evaluation.codecs. folders: name -> folder of decoded pictures. bpp: the
    rates; without them the files of the first folder are the targets. crop: "WxH", the middle that is shown, or "".
    unknown_sizes: take pictures whose compressed size is not known.
    """

    images: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    leave_out: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    codecs: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    folders: Annotated[dict[Name, str], Field(max_length=50)] = dataclasses.field(default_factory=dict)
    bpp: Annotated[tuple[Real, ...], Field(max_length=20), AfterValidator(_rates)] = ()
    crop: Annotated[str, Field(pattern=r"^([1-9]\d{0,4}x[1-9]\d{0,4})?$")] = ""
    unknown_sizes: StrictBool = False


@dataclass(frozen=True, config=config)
class Design:
    """What is asked.

    pairing: full (every pair of every picture, evenly), random (picked at random), adaptive (evenly until every pair of
    conditions has adaptive_after votes, then those that tell most). not_sure: a third answer. original: shown while
    held, or beside the pair. across_rates: with "neighbours", neighbouring rates are compared too, so that bits at
    equal preference can be computed. votes: wanted for every comparison. trials: comparisons for one person.
    tolerance: sizes of a pair at one rate differ by no more than this share.
    """

    pairing: Literal["full", "random", "adaptive"] = "full"
    not_sure: StrictBool = True
    original: Literal["hold", "beside"] = "hold"
    across_rates: Literal["none", "neighbours"] = "none"
    votes: Annotated[Whole, Field(ge=1, le=100_000)] = 20
    trials: Annotated[Whole, Field(ge=1, le=1000)] = 30
    adaptive_after: Annotated[Whole, Field(ge=1, le=1_000_000)] = 30
    tolerance: Share = 0.03


@dataclass(frozen=True, config=config)
class Checks:
    """Trials for each person beside the comparisons: training with feedback; a picture against itself (only told apart
    from chance where "not sure" is an answer); the original against the worst; earlier ones again, sides changed."""

    training: Count = 3
    identical: Count = 2
    traps: Count = 4
    repeats: Count = 3


@dataclass(frozen=True, config=config)
class Screening:
    """What is checked before the training. screen: "fit" turns people away whose window cannot show a whole picture
    pixel by pixel, "any" lets them scroll. colour: plates are not shown, asked, or must be read. plates: the numbers on
    the colour plates, the first readable by everybody; made with the pictures."""

    screen: Literal["any", "fit"] = "any"
    colour: Literal["off", "ask", "require"] = "ask"
    plates: tuple[str, ...] = ()


@dataclass(frozen=True, config=config)
class Exclusion:
    """When a person's votes are set aside.

    attention: least share of identical pairs and traps answered right. consistency: how unlikely so few equal answers
    to repeats may be. likelihood: how many standard deviations the log-likelihood of the votes may be below its
    expectation. seconds: least median time of a vote. side: how unlikely so uneven a use of the two sides may be.
    """

    attention: Share = 0.7
    consistency: Share = 0.01
    likelihood: Annotated[Real, Field(ge=0, le=100)] = 3.0
    seconds: Annotated[Real, Field(ge=0, le=600)] = 1.0
    side: Share = 0.0001


@dataclass(frozen=True, config=config)
class People:
    """Who takes part. organiser, contact: shown to them. platform: a crowd platform whose worker numbers and links are
    understood. completion_link: shown at the end, {code} in it stands for the person's code. minimum_age: asked for in
    the consent; 0 for none. about: what the welcome page says beside the rest."""

    organiser: str = ""
    contact: str = ""
    platform: Literal["none", "prolific", "mturk"] = "none"
    completion_link: Annotated[str, AfterValidator(_link)] = ""
    minimum_age: Annotated[Whole, Field(ge=0, le=100)] = 18
    about: str = ""


@dataclass(frozen=True, config=config)
class Limits:
    """Requests in a minute: of one session, of one network address, and new sessions of one address. hours: how long a
    resume link works."""

    session: PerMinute = 600
    address: PerMinute = 6000
    starts: PerMinute = 60
    hours: PerMinute = 24 * 30


@dataclass(frozen=True, config=config, kw_only=True)
class Asked:
    """What a draft and a plan have in common. seed: of everything random."""

    title: str = "Which picture is closer to the original?"
    question: str = "Which picture is closer to the original?"
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    design: Design = dataclasses.field(default_factory=Design)
    checks: Checks = dataclasses.field(default_factory=Checks)
    screening: Screening = dataclasses.field(default_factory=Screening)
    exclusion: Exclusion = dataclasses.field(default_factory=Exclusion)
    people: People = dataclasses.field(default_factory=People)
    limits: Limits = dataclasses.field(default_factory=Limits)


@dataclass(frozen=True, config=config, kw_only=True)
class Draft(Asked):
    """What a person writes in study.toml."""

    sources: Sources = dataclasses.field(default_factory=Sources)


@dataclass(frozen=True, config=config)
class Method:
    """A codec, or a folder of pictures that were coded elsewhere."""

    name: Name
    version: str = ""
    settings: str = ""


@dataclass(frozen=True, config=config)
class Picture:
    """An original: name without ending, sha256 of its file, and the size that is shown."""

    name: str
    sha256: str
    width: Whole
    height: Whole


@dataclass(frozen=True, config=config, kw_only=True)
class Plan(Asked):
    """A whole study. rates: a name for each, from the lowest to the highest. made_by: the dpc version that made it."""

    rates: tuple[str, ...]
    methods: tuple[Method, ...]
    pictures: tuple[Picture, ...]
    crop: str = ""
    command: str = ""
    made_by: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Plan:
        if len(self.methods) < 2 and not (len(self.rates) > 1 and self.design.across_rates == "neighbours"):
            raise ValueError(f"{len(self.methods)} method: a study compares at least two; name another codec or folder")
        if not self.pictures or not self.rates:
            raise ValueError("a study needs at least one picture and one rate; give sources.images and sources.bpp")
        for what, names in (
            ("method", [m.name for m in self.methods]),
            ("picture", [p.name for p in self.pictures]),
            ("rate", list(self.rates)),
        ):
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                raise ValueError(f"{what} {twice!r} is there twice; give each its own name")
        return self


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A question: two stimuli of one picture. number: its place in the list of `comparisons`."""

    number: int
    picture: str
    a: Stimulus
    b: Stimulus


def condition(stimulus: Stimulus, rates: Sequence[str]) -> str:
    """What is compared, the same for all pictures: "avif@0.25", or "original", "worst"."""
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


def shuffled(items: Sequence[Any], seed: str) -> list[Any]:
    """The items in an order that depends on the seed only."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order
