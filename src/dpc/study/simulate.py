"""Raters that are no people, to rehearse a study and to test its analysis. Every vote of theirs is labelled simulated.

A rater answers by Davidson's model with planted scores, to which each rater and each picture adds its own taste, so
that votes cluster as people's do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dpc.study.plan import condition, shuffled
from dpc.study.stimuli import Made
from dpc.study.store import Closed, Store
from dpc.study.votes import Vote

__all__ = ["World", "fill", "planted", "votes"]

EXTREME = {"original": 4.0, "worst": -4.0}


@dataclass
class World:
    """The truth that is planted. scores: condition -> score. tie: nu of Davidson's model, 0 for forced choice. rater,
    picture: standard deviations of what each adds to each condition's score."""

    scores: Mapping[str, float]
    tie: float = 0.4
    rater: float = 0.3
    picture: float = 0.3
    seed: int = 0
    _tastes: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def taste(self, who: str, what: str, deviation: float) -> float:
        """What a rater or a picture adds to a condition, always the same."""
        if (who, what) not in self._tastes:
            self._tastes[who, what] = float(self._rng.normal(0, deviation)) if deviation else 0.0
        return self._tastes[who, what]

    def answer(self, rater: str, picture: str, a: str, b: str) -> int:
        """0 for a, 1 for b, 2 not sure."""
        if a == b:
            weights = np.array([0.02, 0.02, 0.96]) if self.tie else np.array([0.5, 0.5, 0.0])
        else:
            s = [self._value(rater, picture, name) for name in (a, b)]
            weights = np.array([math.exp(s[0]), math.exp(s[1]), self.tie * math.exp(sum(s) / 2)])
        return int(self._rng.choice(3, p=weights / weights.sum()))

    def _value(self, rater: str, picture: str, name: str) -> float:
        if name in EXTREME:
            return EXTREME[name]
        own = self.taste(f"r {rater}", name, self.rater) + self.taste(f"p {picture}", name, self.picture)
        return self.scores[name] + own

    def at_random(self) -> int:
        """The answer of a spammer."""
        return int(self._rng.integers(3 if self.tie else 2))

    def seconds(self, spammer: bool) -> float:
        """How long an answer takes."""
        return float(self._rng.lognormal(math.log(1.6 if spammer else 5.0), 0.4))


def planted(made: Made) -> dict[str, float]:
    """Scores for a rehearsal: methods differ by half a unit, a doubling of the rate is worth one."""
    scores = {}
    for s in made.stimuli:
        if s.kind == "coded":
            order = [m.name for m in made.plan.methods].index(s.method)
            scores[condition(s, made.plan.rates)] = math.log2(max(s.bpp, 0.01)) - 0.5 * order
    return scores


def fill(made: Made, store: Store, raters: int, spammers: int = 0, seed: int = 0) -> int:
    """Take part in a study so many times, through the store as the application does; the number of votes.

    Raters and spammers come in a random order, and stop coming when the study has all its votes.
    """
    world = World(planted(made), tie=0.4 if made.plan.design.not_sure else 0.0, seed=seed)
    names = {s.id: condition(s, made.plan.rates) for s in made.stimuli}
    screen = {"width": 1920, "height": 1080, "ratio": 1.0, "zoom": 1.0, "touch": False, "plates": []}
    count = 0
    for number in shuffled(range(raters + spammers), f"{seed} people"):
        try:
            person = store.start(f"{seed:08x}{number:024x}", kind="simulated")
        except Closed:
            break
        store.screened(person.name, screen, "")
        spammer = number >= raters
        while True:
            _, trials, _ = store.state(person.name)
            if not trials:
                break
            trial = trials[0]
            picture = store.stimuli[trial.original].picture
            if spammer:
                answer = world.at_random()
            else:
                answer = world.answer(person.name, picture, names[trial.left], names[trial.right])
            looks = {"a": 2, "b": 2, "original": 1, "away": 0.0, "ratio": 1.0, "fits": True}
            store.vote(person.name, trial.token, ("a", "b", "none")[answer], world.seconds(spammer), looks)
            count += 1
    return count


def votes(
    world: World,
    pairs: Sequence[tuple[str, str]],
    raters: int,
    pictures: int,
    each: int,
    spammers: int = 0,
    traps: int = 4,
    repeats: int = 4,
) -> list[Vote]:
    """Votes without a study folder: every rater compares so many pairs at random, with checks. For tests."""
    rng = np.random.default_rng(world.seed + 1)
    found: list[Vote] = []
    for number in range(raters + spammers):
        rater = f"{'spammer' if number >= raters else 'rater'} {number}"

        def vote(picture: str, a: str, b: str, kind: str, before: int | None = None, rater: str = rater) -> Vote:
            spammer = rater.startswith("spammer")
            answer = world.at_random() if spammer else world.answer(rater, picture, a, b)
            seconds = world.seconds(spammer)
            return Vote(rater, picture, a, b, answer, kind, answer, seconds, repeats=before, rater_kind="simulated")

        own = []
        for _ in range(each):
            a, b = pairs[int(rng.integers(len(pairs)))]
            if rng.integers(2):
                a, b = b, a
            own.append(vote(f"picture {int(rng.integers(pictures))}", a, b, "pair"))
        for _ in range(traps):
            ends = ("original", "worst") if rng.integers(2) else ("worst", "original")
            own.append(vote("picture 0", *ends, kind="trap"))
        if world.tie:
            own += [vote("picture 0", pairs[0][0], pairs[0][0], "identical") for _ in range(2)]
        for earlier in own[:repeats]:
            before = earlier.answer if earlier.answer == 2 else 1 - earlier.answer
            own.append(vote(earlier.picture, earlier.b, earlier.a, "repeat", before))
        found += own
    return found
