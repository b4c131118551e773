"""The report of a study: one page that needs nothing but itself, and a CSV of everything in it.

    report.html       the page of people's votes; report-model.html, report-simulated.html: those of other raters
    votes.csv         one line for each answer: who, what, when, whether it counts
    raters.csv        one line for each rater: phase, screen, checks, reasons for exclusion
    preferences.csv   pairs of conditions      scores.csv   conditions      bits.csv   bits at equal preference
    metrics.csv       metrics beside votes     stimuli.csv  sizes and metrics of every picture shown
    FIGURE.svg, .png

Everything is computed with and without the raters who are set aside (column "set"), and for each kind of raters by
itself (column "rater_kind"): people, models and simulated raters are never added up. Where there are no people,
report.html is the page of the next kind.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpc import __version__
from dpc.errors import OptionError
from dpc.evaluation import figures
from dpc.evaluation.metrics import METRICS
from dpc.files import atomic_write
from dpc.study import charts
from dpc.study import plan as plans
from dpc.study.collected import Collected, read_study, read_table
from dpc.study.pages import environment
from dpc.study.preferences import FEW, Preference
from dpc.study.records import RaterKind
from dpc.study.results import NAMES, Group, Results, groups
from dpc.study.tables import everybody, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report", "report"]

WARNINGS = {
    "people": "",
    "model": "MODELS: these votes do not come from people",
    "simulated": "SIMULATED RATERS: these votes do not come from people",
}


@dataclass(frozen=True)
class Report:
    """files: name -> path. summary: lines for a terminal."""

    files: dict[str, Path]
    summary: list[str]


def report(
    source: Path,
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 1000,
    weights: Path | None = None,
    url: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Write the report of a study's folder, or of a table of votes (see `read_table`), into a folder.

    metrics: names in evaluation.metrics.reference; None: all that can be measured here. Raises OptionError where there
    are no votes.
    """
    data = read_study(source, url, metrics, weights, say) if source.is_dir() else read_table(source)
    if not any(v.kind == "pair" for v in data.votes):
        raise OptionError(f"{source} holds no votes yet; let people take part (dpc study serve), then report")
    say("computing")
    found = groups(data, resamples)
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for name, (columns, lines) in tables(found, data).items():
        figures.save_table(out, name, columns, lines, files)
    pages = {group.kind: "report.html" if group is found[0] else f"report-{group.kind}.html" for group in found}
    summary = []
    for group in found:
        svgs = _figures(group, "" if group is found[0] else f"-{group.kind}", out, files)
        name = pages[group.kind]
        files[name] = out / name
        atomic_write(files[name], _page(group, pages, svgs))
        summary += [line for line in (WARNINGS[group.kind],) if line]
        everyone = group.sets["all"]
        summary.append(
            f"{len(everyone.votes):,} answers, {everyone.raters} {NAMES[group.kind]}; {len(group.out_of)} set aside"
        )
        summary += _findings(group.sets["kept"])
    return Report({"report.html": files.pop("report.html"), **files}, summary)


def _figures(group: Group, ending: str, out: Path, files: dict[str, Path]) -> dict[str, str]:
    """Name -> SVG, "" where there is nothing to show."""
    label, kept = WARNINGS[group.kind], group.sets["kept"]

    def figure(name: str, made: Figure | None) -> str:
        return "" if made is None else figures.save(made, out, name + ending, files)

    return {
        "preferences": figure("preferences", charts.preferences(kept.preferences, label)),
        "scores": figure("scores", charts.scores(kept.scores.items, group.data.bpp, label)),
        "metrics": figure("metrics", charts.metrics(kept.metrics, kept.ceiling, label)),
    }


def _page(group: Group, pages: Mapping[RaterKind, str], svgs: Mapping[str, str]) -> str:
    data = group.data
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            plan=None if data.made is None else data.made.plan,
            kept=group.sets["kept"],
            everyone=group.sets["all"],
            out_of=group.out_of,
            kind=group.kind,
            who=NAMES[group.kind],
            others={NAMES[kind]: name for kind, name in pages.items() if kind != group.kind},
            figures=svgs,
            findings=_findings(group.sets["kept"]),
            sizes=_sizes(data),
            checks=_checks(data),
            people=_people_counts(data),
            pairs=_paired(group.sets),
            rules=_rules(data, group.kind),
            names=METRICS,
            version=__version__,
            few=FEW,
            missing=[] if data.made is None else _missing(data),
        )
    )


def _rules(data: Collected, kind: RaterKind) -> str:
    """What is known of when the rules of exclusion were set."""
    if data.made is None:
        return "Rules are those that dpc has for a table of votes"
    if kind not in data.first_rules:
        return "Rules are those of the plan; whether they were the same before the votes is not known"
    stored, first = data.first_rules[kind]
    when = f"{datetime.fromtimestamp(stored, timezone.utc):%Y-%m-%d %H:%M} UTC"
    if first == dataclasses.asdict(data.rules):
        return f"Rules were set in the plan before the votes (the first one is of {when})"
    before = ", ".join(f"{name} {value:g}" for name, value in first.items())
    return f"Rules were changed after the first vote ({when}: {before}); those that count here are"


def _people_counts(data: Collected) -> dict[str, int]:
    """Phase -> people, for the page."""
    counts: dict[str, int] = defaultdict(int)
    for _, phase, _, _ in everybody(data):
        counts[phase.partition(" ")[0]] += 1
    return dict(counts)


def _checks(data: Collected) -> dict[str, Any]:
    """What identical pairs and sides tell of everybody together."""
    sides = [v.side for v in data.votes if v.side != 2]
    same = [v for v in data.votes if v.kind == "identical"]
    traps = [v for v in data.votes if v.kind == "trap"]
    return {
        "left": sides.count(0),
        "sided": len(sides),
        "identical": len(same),
        "identical_right": sum(v.answer == 2 for v in same),
        "traps": len(traps),
        "traps_right": sum(v.answer == int(v.a != "original") for v in traps),
    }


def _sizes(data: Collected) -> list[dict[str, Any]]:
    """Bytes of each condition, mean over the pictures, and the widest difference from the others of its rate."""
    if data.made is None:
        return []
    made = data.made
    found = []
    for rate, label in enumerate(made.plan.rates):
        for method in made.plan.methods:
            own = {s.picture: s for s in made.stimuli if s.method == method.name and s.rate == rate}
            widest = 0.0
            for s in made.stimuli:
                if s.kind == "coded" and s.rate == rate and s.bytes and own[s.picture].bytes:
                    widest = max(widest, abs(1 - own[s.picture].bytes / s.bytes))
            mean = float(np.mean([s.bpp for s in own.values()]))
            found.append({"method": method, "rate": label, "bpp": mean, "widest": widest})
    return found


def _paired(sets: Mapping[str, Results]) -> list[tuple[Preference | None, Preference]]:
    """(with exclusions, without) for each pair."""
    kept = {(p.a, p.b): p for p in sets["kept"].preferences}
    return [(kept.get((p.a, p.b)), p) for p in sets["all"].preferences]


def _findings(results: Results) -> list[str]:
    """The results in words: what is shown, and what is not."""
    found = []
    for p in results.preferences:
        a, b, share, low, high = p.a, p.b, p.share, *p.interval
        if share < 0.5:
            a, b, share, low, high = b, a, 1 - share, 1 - high, 1 - low
        found.append(
            f"{a} is preferred to {b}: {share:.0%} (95 % interval {low:.0%} to {high:.0%})"
            if p.decided
            else f"{p.a} and {p.b}: no preference is shown ({p.share:.0%} for {p.a}, interval {p.interval[0]:.0%} to "
            f"{p.interval[1]:.0%})"
        )
    for bits in results.bits:
        interval = f" (95 % interval {bits.interval[0]:+.0f} to {bits.interval[1]:+.0f} %)" if bits.interval else ""
        size = f"{abs(bits.percent):.0f} % {'fewer' if bits.percent < 0 else 'more'} bits"
        found.append(f"{bits.test} needs {size} than {bits.anchor} at equal preference{interval}")
    return found


def _missing(data: Collected) -> list[str]:
    """What the plan wanted and the votes do not have."""
    assert data.made is not None
    plan = data.made.plan
    planned = len(plans.comparisons(plan, data.made.stimuli)) * plan.design.votes
    there = sum(v.kind == "pair" for v in data.votes)
    return [f"{there:,} of {planned:,} planned votes are there."] if there < planned else []
