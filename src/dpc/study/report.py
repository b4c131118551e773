"""The report of a study: one page that needs nothing but itself, and a CSV of everything in it.

    report.html       the page
    votes.csv         one line for each answer: who, what, when, whether it counts
    people.csv        one line for each person: phase, screen, checks, reasons for exclusion
    preferences.csv   pairs of conditions      scores.csv   conditions      bits.csv   bits at equal preference
    metrics.csv       metrics beside votes     stimuli.csv  sizes and metrics of every picture shown
    FIGURE.svg, .png

Everything is computed with and without the people who are set aside; column "set" tells which.
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
from dpc.study import analysis, charts
from dpc.study import plan as plans
from dpc.study.app import environment
from dpc.study.collected import Collected, read_study, read_table
from dpc.study.exclusions import exclusions
from dpc.study.results import Results, analyse
from dpc.study.tables import everybody, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report", "report"]


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
    simulated = [v for v in data.votes if v.simulated]
    mixed = 0 < len(simulated) < len(data.votes)
    if mixed:
        data.votes = [v for v in data.votes if not v.simulated]
        data.notes.append(f"{len(simulated)} votes of simulated raters are left out everywhere on this page.")
    if not any(v.kind == "pair" for v in data.votes):
        raise OptionError(f"{source} holds no votes yet; let people take part (dpc study serve), then report")
    only_simulated = bool(simulated) and not mixed
    out_of = exclusions(data.votes, data.rules, data.not_sure)
    kept = [v for v in data.votes if v.rater not in out_of]
    if not any(v.kind == "pair" for v in kept):
        data.notes.append("Everybody is set aside by the rules, so both sets below hold all votes.")
        kept = data.votes
    say("computing")
    sets = {"kept": analyse(data, kept, resamples), "all": analyse(data, data.votes, resamples)}

    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}

    def table(name: str, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
        mark = "yes" if only_simulated else "no"
        figures.save_table(out, name, [*header, "simulated"], [[*line, mark] for line in lines], files)

    def figure(name: str, made: Figure | None) -> str:
        return "" if made is None else figures.save(made, out, name, files)

    tables(table, data, sets, out_of)
    label = "SIMULATED RATERS. " if only_simulated else ""
    kept_set = sets["kept"]
    drawn = {
        "preferences": figure("preferences", charts.preferences(kept_set.preferences, label)),
        "scores": figure("scores", charts.scores(kept_set.scores.items, data.bpp, label)),
        "metrics": figure("metrics", charts.metrics(kept_set.metrics, kept_set.ceiling, label)),
    }
    page = environment().get_template("report.html")
    text = page.render(
        data=data,
        plan=None if data.made is None else data.made.plan,
        kept=sets["kept"],
        everyone=sets["all"],
        out_of=out_of,
        simulated=only_simulated,
        figures=drawn,
        findings=_findings(sets["kept"]),
        sizes=_sizes(data),
        checks=_checks(data),
        people=_people_counts(data),
        pairs=_paired(sets),
        rules=_rules(data, only_simulated),
        names=METRICS,
        version=__version__,
        few=analysis.FEW,
        missing=[] if data.made is None else _missing(data),
    )
    files["report.html"] = out / "report.html"
    atomic_write(files["report.html"], text)
    counted = sets["kept"]
    summary = [
        *(["SIMULATED RATERS: these votes do not come from people"] if only_simulated else []),
        f"{len(sets['all'].votes):,} answers, {sets['all'].people} people; {len(out_of)} set aside",
        *_findings(counted),
    ]
    return Report(files, summary)


def _rules(data: Collected, simulated: bool) -> str:
    """What is known of when the rules of exclusion were set."""
    if data.made is None:
        return "Rules are those that dpc has for a table of votes"
    if simulated not in data.first_rules:
        return "Rules are those of the plan; whether they were the same before the votes is not known"
    stored, first = data.first_rules[simulated]
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


def _paired(sets: Mapping[str, Results]) -> list[tuple[analysis.Preference | None, analysis.Preference]]:
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
