"""Sizes that do not meet: what they are, and what would help."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dpc.errors import OptionError
from dpc.study.plan import Plan

__all__ = ["Unmet", "refusal"]

WIDEST = 0.25  # a tolerance above this is not offered: people would compare sizes


@dataclass(frozen=True)
class Unmet:
    """A rate (its number) of a picture at which sizes do not meet. bytes: of each method whose size is known; of those
    that reach the rate, the target. out_of_reach: methods that cannot come near it at all."""

    picture: str
    rate: int
    bytes: Mapping[str, int]
    out_of_reach: tuple[str, ...] = ()

    def spread(self, without: str = "") -> float:
        """By which share the smallest file is smaller than the largest, one method left out."""
        sizes = [size for name, size in self.bytes.items() if name != without]
        return 1 - min(sizes) / max(sizes) if sizes else 0.0


def refusal(missed: Sequence[Unmet], plan: Plan, own_rates: bool, say: Callable[[str], None]) -> OptionError:
    """Say every rate that is missed and what would help; the error that sums it up in a line.

    own_rates: whether the rates were named, and are not those of a folder.
    """
    say("sizes that do not meet:")
    by_rate: dict[int, list[Unmet]] = defaultdict(list)
    for unmet in missed:
        by_rate[unmet.rate].append(unmet)
    for rate, own in sorted(by_rate.items()):
        worst = max(own, key=Unmet.spread)
        pictures = f"{len(own)} of {len(plan.pictures)} pictures"
        say(f"  rate {plan.rates[rate]}: {pictures}; {_line(worst)}")
    help_ = offers(missed, plan, own_rates)
    say("any of these in study.toml would help; what was coded is kept, and dpc study prepare goes on from there:")
    for offer in help_:
        say(f"  {offer}")
    worst = max(missed, key=Unmet.spread)
    limit = "" if worst.out_of_reach else f"; the tolerance is {plan.design.tolerance:.1%}"
    return OptionError(f"at rate {plan.rates[worst.rate]} {_line(worst)}{limit}: in study.toml set {help_[0]}")


def _line(unmet: Unmet) -> str:
    small, large = (pick(unmet.bytes, key=lambda n: unmet.bytes[n]) for pick in (min, max))
    if unmet.out_of_reach:
        name = max(unmet.out_of_reach, key=lambda n: abs(math.log(unmet.bytes[n])))
        end = "smallest" if unmet.bytes[name] == max(unmet.bytes.values()) else "largest"
        target = next((b for n, b in unmet.bytes.items() if n not in unmet.out_of_reach), 0)
        wanted = f", {target:,} are wanted" if target else ""
        return f"{name} cannot reach it: its {end} file of {unmet.picture} has {unmet.bytes[name]:,} bytes{wanted}"
    return (
        f"{unmet.picture}: {small} has {unmet.bytes[small]:,} bytes and {large} {unmet.bytes[large]:,}, "
        f"{unmet.spread():.1%} apart"
    )


def offers(missed: Sequence[Unmet], plan: Plan, own_rates: bool) -> list[str]:
    """Changes to study.toml, each of which alone makes the sizes meet; the one that loses least is first."""
    found = []
    needed = math.ceil(1000 * max(u.spread() for u in missed)) / 1000
    if needed <= WIDEST:
        found.append(f"design.tolerance = {needed:g} (sizes of a pair then differ by up to {needed:.1%})")
    pictures = sorted({u.picture for u in missed})
    if len(pictures) <= len(plan.pictures) / 4:
        found.append(f"sources.leave_out = [{', '.join(map(repr, pictures))}] (leaves out these pictures)")
    rates = [rate for i, rate in enumerate(plan.rates) if i not in {u.rate for u in missed}]
    if rates and own_rates:
        found.append(f"sources.bpp = [{', '.join(rates)}] (leaves out the rates that are missed)")
    for method in plan.methods:
        if len(plan.methods) > 2 and all(u.spread(method.name) <= plan.design.tolerance for u in missed):
            found.append(f"sources.codecs (or folders) without {method.name!r}")
    return found or ["sources.bpp to rates that every method reaches"]
