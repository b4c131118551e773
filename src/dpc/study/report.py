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

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpc import __version__, figures
from dpc.errors import OptionError
from dpc.metrics import METRICS
from dpc.metrics.reference import DEFAULT, PEAKS, Reference, usable
from dpc.study import analysis, charts, stimuli
from dpc.study import plan as plans
from dpc.study.app import environment
from dpc.study.database import default_url
from dpc.study.exclusions import Reason, exclusions
from dpc.study.plan import condition
from dpc.study.stimuli import Made
from dpc.study.store import Person, Store
from dpc.study.votes import Vote

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Made", "Report", "Results", "analyse", "read_table", "report"]


@dataclass(frozen=True)
class Report:
    """files: name -> path. summary: lines for a terminal."""

    files: dict[str, Path]
    summary: list[str]


@dataclass(frozen=True)
class Results:
    """All that is computed of one set of votes."""

    votes: list[Vote]
    people: int
    preferences: list[analysis.Preference]
    scores: analysis.Scores
    bits: list[analysis.Bits]
    agreement: analysis.Agreement
    metrics: list[analysis.Correlation]
    ceiling: float


@dataclass
class _Source:
    """A study, or a table of votes. values: metric -> (picture, condition) -> value."""

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

    metrics: names of dpc.metrics.reference; None: all that can be measured here. Raises OptionError where there are no
    votes.
    """
    data = _study(source, url, metrics, weights, say) if source.is_dir() else read_table(source)
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

    _tables(table, data, sets, out_of)
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
        names=METRICS,
        version=__version__,
        few=analysis.FEW,
        missing=[] if data.made is None else _missing(data),
    )
    files["report.html"] = out / "report.html"
    files["report.html"].write_text(text, encoding="utf-8")
    counted = sets["kept"]
    summary = [
        *(["SIMULATED RATERS: these votes do not come from people"] if only_simulated else []),
        f"{len(sets['all'].votes):,} answers, {sets['all'].people} people; {len(out_of)} set aside",
        *_findings(counted),
    ]
    return Report(files, summary)


def analyse(data: _Source, votes: list[Vote], resamples: int) -> Results:
    """Everything for one set of votes."""
    scored = analysis.score(votes, data.not_sure)
    metrics, ceiling = analysis.correlations(votes, data.values, data.higher, scored, resamples)
    return Results(
        votes,
        len({v.rater for v in votes if v.rater}),
        analysis.preferences(votes, resamples),
        scored,
        analysis.bits_at_equal_preference(scored, data.bpp),
        analysis.agreement(votes),
        metrics,
        ceiling,
    )


# where votes come from


def _study(
    folder: Path, url: str | None, metrics: Sequence[str] | None, weights: Path | None, say: Callable[[str], None]
) -> _Source:
    made = stimuli.read(folder)
    store = Store(made.plan, made.stimuli, url or default_url(folder), stimuli.secret(folder))
    votes, people = store.votes(), store.screens()
    store.close()
    plan = made.plan
    rates: dict[str, list[float]] = defaultdict(list)
    for s in made.stimuli:
        if s.kind == "coded" and s.bytes:
            rates[condition(s, plan.rates)].append(s.bpp)
    bpp = {name: float(np.exp(np.mean(np.log(values)))) for name, values in rates.items()}
    data = _Source(plan.title, votes, bpp, plan.design.not_sure, plan.exclusion, made, people)
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
    """Metrics of what was shown, kept in measured.csv of the study."""
    file = made.folder / "measured.csv"
    known: dict[tuple[str, str], float] = {}
    if file.exists():
        with open(file, newline="", encoding="utf-8") as source:
            known = {(r["sha256"], r["metric"]): float(r["value"]) for r in csv.DictReader(source)}
    for picture in made.plan.pictures:
        own = [s for s in made.stimuli if s.picture == picture.name]
        coded = [s for s in own if s.kind == "coded"]
        lacking = [m for m in metrics if any((s.sha256, m) not in known for s in coded)]
        if not lacking:
            continue
        say(f"measuring {picture.name}: {', '.join(lacking)}")
        original = next(s for s in own if s.kind == "original")
        reference = Reference(_pixels(made, original.id), lacking, weights)
        for s in coded:
            for name, value in reference.measure(_pixels(made, s.id)).items():
                known[s.sha256, name] = value
    part = file.with_suffix(".part")
    with open(part, "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(("sha256", "metric", "value"))
        writer.writerows((*key, f"{value:.9g}") for key, value in sorted(known.items()))
    part.replace(file)
    return {
        m: {(s.picture, condition(s, made.plan.rates)): known[s.sha256, m] for s in made.stimuli if s.kind == "coded"}
        for m in metrics
    }


def _pixels(made: Made, name: str) -> Any:
    from PIL import Image

    with Image.open(made.folder / "stimuli" / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"))


def read_table(path: Path) -> _Source:
    """Votes that were collected elsewhere, counted or one by one, in a CSV file.

    picture, a, b        which picture, and two conditions, METHOD or METHOD@RATE
    votes_a, votes_b     how many preferred each; not_sure: how many could not tell (may be left out)
    rater                who voted, or empty or left out: every vote is then another person's
    bpp_a, bpp_b         rates, for bits at equal preference (may be left out)
    NAME_a, NAME_b       a metric of each (may be left out); more is better, unless dpc knows it the other way
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        votes: list[Vote] = []
        rates: dict[str, list[float]] = defaultdict(list)
        values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
        known = {"votes", "bpp"}
        extra = [n[:-2] for n in (rows[0] if rows else {}) if n.endswith("_a") and n[:-2] not in known]
        for row in rows:
            a, b, picture = row["a"], row["b"], row["picture"]
            counts = (int(row["votes_a"]), int(row["votes_b"]), int(row.get("not_sure") or 0))
            if min(counts) < 0 or not a or not b or a == b:
                raise ValueError(f"a row of {picture}: counts from 0, and two different conditions are needed")
            rater = row.get("rater") or ""
            votes += [Vote(rater, picture, a, b, i) for i, n in enumerate(counts) for _ in range(n)]
            for name, end in ((a, "a"), (b, "b")):
                if row.get(f"bpp_{end}"):
                    rates[name].append(float(row[f"bpp_{end}"]))
                for metric in extra:
                    if row.get(f"{metric}_{end}"):
                        values[metric][picture, name] = float(row[f"{metric}_{end}"])
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is no study folder and cannot be read as a table: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise OptionError(
            f"{path} is not a table of votes ({type(error).__name__}: {error}); it needs the columns picture, a, b, "
            "votes_a and votes_b"
        ) from error
    bpp = {name: float(np.exp(np.mean(np.log(v)))) for name, v in rates.items() if min(v) > 0}
    higher = {m: METRICS[m].higher_is_better if m in METRICS else True for m in values}
    ties = any(v.answer == 2 for v in votes)
    return _Source(path.stem, votes, bpp, ties, plans.Exclusion(), values=dict(values), higher=higher)


# tables


def _tables(
    table: Callable[[str, Sequence[str], Sequence[Sequence[Any]]], None],
    data: _Source,
    sets: Mapping[str, Results],
    out_of: Mapping[str, Sequence[Reason]],
) -> None:
    answers = ("a", "b", "not sure")
    table(
        "votes.csv",
        ("rater", "picture", "a", "b", "answer", "kind", "side", "seconds", "weight", "kept"),
        [
            (
                v.rater,
                v.picture,
                v.a,
                v.b,
                answers[v.answer],
                v.kind,
                ("left", "right", "")[v.side],
                v.seconds,
                v.weight,
                "no" if v.rater in out_of else "yes",
            )
            for v in data.votes
        ],
    )
    table(
        "people.csv",
        (
            "rater",
            "phase",
            "votes",
            "attention_right",
            "attention_asked",
            "median_seconds",
            "screen",
            "excluded",
            "why",
        ),
        [
            (
                name,
                phase,
                sum(v.kind == "pair" for v in own),
                *_attention(own, data.not_sure),
                float(np.median(times)) if (times := [v.seconds for v in own if math.isfinite(v.seconds)]) else None,
                screen,
                "yes" if name in out_of else "no",
                "; ".join(f"{r.rule}: {r.text}" for r in out_of.get(name, ())),
            )
            for name, phase, screen, own in _everybody(data)
        ],
    )
    table(
        "preferences.csv",
        (
            *("set", "a", "b", "votes", "for_a", "for_b", "not_sure", "share_a", "wilson_low", "wilson_high"),
            *("low", "high", "interval_over"),
        ),
        [
            (
                *(which, p.a, p.b, p.votes, p.for_a, p.for_b, p.not_sure, p.share, *p.wilson, *p.interval),
                "people and pictures" if p.pictures else "people",
            )
            for which, r in sets.items()
            for p in r.preferences
        ],
    )
    table(
        "scores.csv",
        (
            *("set", "condition", "bpp", "davidson", "low", "high", "bradley_terry", "elo", "elo_low", "elo_high"),
            *("votes", "group"),
        ),
        [
            (
                *(which, s.condition, data.bpp.get(s.condition), s.davidson, *s.interval, s.bradley_terry, s.elo),
                *(*s.elo_interval, s.votes, s.group),
            )
            for which, r in sets.items()
            for s in r.scores.items
        ],
    )
    table(
        "bits.csv",
        ("set", "anchor", "test", "percent", "low", "high", "overlap"),
        [
            (which, b.anchor, b.test, b.percent, *(b.interval or (None, None)), b.overlap)
            for which, r in sets.items()
            for b in r.bits
        ],
    )
    table(
        "metrics.csv",
        ("set", "metric", "accuracy", "low", "high", "ceiling", "spearman_pairs", "spearman_scores", "votes"),
        [
            (which, m.metric, m.accuracy, *m.interval, r.ceiling, m.spearman, m.scores, m.votes)
            for which, r in sets.items()
            for m in r.metrics
        ],
    )
    if data.made is not None:
        made = data.made
        names = list(data.values)
        table(
            "stimuli.csv",
            ("id", "picture", "kind", "method", "rate", "bytes", "bpp", "quality", "sha256", *names),
            [
                (
                    *(
                        s.id,
                        s.picture,
                        s.kind,
                        s.method,
                        made.plan.rates[s.rate] if s.rate >= 0 else "",
                        s.bytes,
                        s.bpp,
                    ),
                    *(s.quality, s.sha256),
                    *(data.values[m].get((s.picture, condition(s, made.plan.rates))) for m in names),
                )
                for s in made.stimuli
            ],
        )


def _everybody(data: _Source) -> list[tuple[str, str, str, list[Vote]]]:
    """(name, phase, screen, votes) of everybody who is known by name."""
    own: dict[str, list[Vote]] = defaultdict(list)
    for v in data.votes:
        if v.rater:
            own[v.rater].append(v)
    if data.made is None:
        return [(name, "", "", votes) for name, votes in own.items()]
    simulated = bool(data.votes) and data.votes[0].simulated
    found = []
    for person, screen in data.people:
        if person.simulated == simulated:
            words = " ".join(f"{k}={v}" for k, v in screen.items())
            phase = person.phase + (f" ({person.reason})" if person.reason else "")
            found.append((person.name, phase, words, own.get(person.name, [])))
    return found


def _attention(own: Sequence[Vote], not_sure: bool) -> tuple[int, int]:
    checks = [v for v in own if v.kind == "trap" or (v.kind == "identical" and not_sure)]
    right = sum(v.answer == (2 if v.kind == "identical" else int(v.a != "original")) for v in checks)
    return right, len(checks)


def _people_counts(data: _Source) -> dict[str, int]:
    """Phase -> people, for the page."""
    counts: dict[str, int] = defaultdict(int)
    for _, phase, _, _ in _everybody(data):
        counts[phase.partition(" ")[0]] += 1
    return dict(counts)


def _checks(data: _Source) -> dict[str, Any]:
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


def _sizes(data: _Source) -> list[dict[str, Any]]:
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


def _missing(data: _Source) -> list[str]:
    """What the plan wanted and the votes do not have."""
    assert data.made is not None
    plan = data.made.plan
    planned = len(plans.comparisons(plan, data.made.stimuli)) * plan.design.votes
    there = sum(v.kind == "pair" for v in data.votes)
    return [f"{there:,} of {planned:,} planned votes are there."] if there < planned else []
