"""How well metrics predict votes, picture by picture: evidence for which of them to trust.

A metric that tells easy pictures from hard ones, but not codecs on one picture, is of no use for choosing a codec. So
rank correlations are computed within each picture, and the mean and its interval are taken over pictures.

`read` takes what there is of votes:

    a study's folder                   metrics are measured on what was shown
    the folder of `dpc study report`   votes.csv and stimuli.csv
    a table of votes                   as `dpc study report` takes it: picture, a, b, votes_a, votes_b, NAME_a, NAME_b
    image, num_vote_X, num_vote_Y      with columns NAME_X and NAME_Y, as the study of ResizeCompression published them

`ratings` takes a table of scores without pictures: a column elo (or score, mos), and numbers beside it.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpc.errors import OptionError
from dpc.evaluation.metrics import METRICS
from dpc.study.agreement import correlations, difference, rank, shares
from dpc.study.collected import Collected, read_study, read_table
from dpc.study.plan import Exclusion
from dpc.study.ranking import Scores
from dpc.study.votes import NOT_SURE, A, B, Vote

__all__ = ["SCORES", "Prediction", "Rating", "lines_of", "preference", "predictions", "ratings", "read"]

SCORES = ("elo", "score", "mos")
BOUNDS = ("low", "lower", "hi", "high", "upper")
"""How the name of a column ends that bounds a score: it predicts nothing, it is made of the score."""
LEAST = 3  # comparisons of a picture for a rank correlation


@dataclass(frozen=True)
class Prediction:
    """A metric beside the votes of one kind of raters.

    spearman: mean over pictures of the rank correlation of the metric's difference and the share of the votes;
    interval: of it, 95 %, by resampling pictures. pictures: that have one. accuracy: share of the votes for
    the picture that the metric holds for better; accuracy_interval: of it, by resampling pictures and
    people. votes: without "not sure".
    """

    metric: str
    spearman: float
    interval: tuple[float, float]
    pictures: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    votes: int


@dataclass(frozen=True)
class Rating:
    """A column beside scores of conditions: rank correlation over `count` of them; interval: by resampling."""

    column: str
    spearman: float
    interval: tuple[float, float]
    count: int


def predictions(
    votes: Sequence[Vote],
    values: Mapping[str, Mapping[tuple[str, str], float]],
    higher: Mapping[str, bool],
    resamples: int = 1000,
    seed: int = 0,
) -> list[Prediction]:
    """One for each metric that some pair has, the best rank correlation first.

    values: metric -> (picture, condition) -> value. higher: whether more of a metric is better.
    """
    beside, _ = correlations(votes, values, higher, Scores((), (), np.zeros((0, 0)), 0.0, False), resamples, seed)
    shared, _ = shares(votes)
    found = []
    for item in beside:
        better = difference(values[item.metric], 1.0 if higher[item.metric] else -1.0)
        pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for (picture, a, b), share in shared.items():
            if math.isfinite(d := better(picture, a, b)):
                pairs[picture].append((d, share))
        ranks = [r for own in pairs.values() if len(own) >= LEAST and math.isfinite(r := rank(own))]
        mean = float(np.mean(ranks)) if ranks else math.nan
        interval = _resampled(np.array(ranks), lambda x: float(np.mean(x)), resamples, seed)
        found.append(Prediction(item.metric, mean, interval, len(ranks), item.accuracy, item.interval, item.votes))
    return sorted(found, key=lambda p: -p.spearman if math.isfinite(p.spearman) else 2.0)


def ratings(path: Path, resamples: int = 1000, seed: int = 0) -> list[Rating] | None:
    """How the columns of numbers in a table of scores predict these; None when it is no such table."""
    lines = _lines(path)
    score = next((name for name in SCORES if lines and name in lines[0]), None)
    if score is None:
        return None
    found = []
    for column in lines[0]:
        numbers = [(_number(line[column]), _number(line[score])) for line in lines]
        pairs = [(x, y) for x, y in numbers if x is not None and y is not None]
        if column != score and not column.casefold().endswith(BOUNDS) and len(pairs) == len(lines):
            table = np.array(pairs)
            interval = _resampled(table, lambda t: rank([(float(x), float(y)) for x, y in t]), resamples, seed)
            found.append(Rating(column, rank(pairs), interval, len(pairs)))
    return found


def preference(a: float, b: float) -> float:
    """The share of votes that Elo scores of a and b predict for a."""
    return float(1 / (1 + 10 ** ((b - a) / 400)))


def read(
    source: Path,
    url: str | None = None,
    metrics: Sequence[str] | None = None,
    weights: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Collected:
    """Votes with the metrics of what was compared, see the top of this file. OptionError for anything else."""
    if source.is_dir():
        if (source / "votes.csv").is_file() and (source / "stimuli.csv").is_file():
            return _report(source)
        return read_study(source, url, metrics, weights, say)
    lines = _lines(source)
    ends = [name.removeprefix("num_vote_") for name in (lines[0] if lines else ()) if name.startswith("num_vote_")]
    return _published(source, lines, *ends) if len(ends) == 2 else read_table(source)


def _published(source: Path, lines: Sequence[Mapping[str, str]], a: str, b: str) -> Collected:
    """Pairs of a (the first) and b at several settings; a setting is a pair of conditions of its own."""
    votes: list[Vote] = []
    values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    names = [n.removesuffix(f"_{a}") for n in lines[0] if n.endswith(f"_{a}") and n != f"num_vote_{a}"]
    for number, line in enumerate(lines):
        counts = [_number(line[f"num_vote_{end}"]) for end in (a, b)]
        if any(c is None or c < 0 or c != int(c) for c in counts) or not line.get("image"):
            raise OptionError(f"{source}, line {number + 2}: give an image and whole numbers of votes")
        conditions = f"{a}@{number}", f"{b}@{number}"
        for answer, count in zip((A, B), counts, strict=True):
            votes += [Vote("", line["image"], *conditions, answer)] * int(count or 0)
        for name in names:
            for end, condition in zip((a, b), conditions, strict=True):
                if (value := _number(line.get(f"{name}_{end}", ""))) is not None:
                    values[name][line["image"], condition] = value
    return Collected(source.stem, votes, {}, False, Exclusion(), values=dict(values), higher=_higher(values))


def _report(folder: Path) -> Collected:
    """The tables that `dpc study report` leaves: votes that count, and metrics of what was shown."""
    values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    fixed = ("id", "picture", "kind", "method", "rate", "bytes", "bpp", "quality", "sha256")
    for line in _lines(folder / "stimuli.csv"):
        if line["kind"] == "coded":
            for name in line.keys() - set(fixed):
                if (value := _number(line[name])) is not None:
                    values[name][line["picture"], f"{line['method']}@{line['rate']}"] = value
    answers = {"a": A, "b": B, "not sure": NOT_SURE}
    votes = []
    for line in _lines(folder / "votes.csv"):
        try:
            if line["kind"] == "pair" and line["kept"] == "yes":
                answer, weight = answers[line["answer"]], int(line["weight"])
                votes.append(Vote(line["rater"], line["picture"], line["a"], line["b"], answer, weight=weight))
        except (KeyError, ValueError) as error:
            raise OptionError(f"{folder / 'votes.csv'} is none of dpc study report ({error})") from error
    return Collected(folder.name, votes, {}, False, Exclusion(), values=dict(values), higher=_higher(values))


def _higher(values: Mapping[str, object]) -> dict[str, bool]:
    """Whether more is better: as the table of metrics has it, and true for what is not there."""
    return {name: METRICS[name].higher_is_better if name in METRICS else True for name in values}


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{k: v or "" for k, v in line.items() if k} for line in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path} cannot be read as a table: {error}") from error


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _resampled(
    data: np.ndarray, value: Callable[[np.ndarray], float], resamples: int, seed: int
) -> tuple[float, float]:
    """The middle 95 % of a value of resampled data; nan for less than two."""
    if len(data) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    drawn = [value(data[rng.integers(0, len(data), len(data))]) for _ in range(resamples)]
    drawn = [d for d in drawn if math.isfinite(d)]
    return (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))) if drawn else (math.nan, math.nan)


def lines_of(found: Sequence[Prediction] | Sequence[Rating]) -> Iterator[str]:
    """The result as lines to read."""
    for item in found:
        low, high = item.interval
        if isinstance(item, Rating):
            correlation = f"rank correlation {item.spearman:+.3f} ({low:+.3f} to {high:+.3f})"
            yield f"{item.column:15s} {correlation}, {item.count} scores"
            continue
        below, above = item.accuracy_interval
        yield (
            f"{item.metric:15s} rank correlation {item.spearman:+.3f} ({low:+.3f} to {high:+.3f}) over {item.pictures} "
            f"pictures; right in {item.accuracy:.1%} ({below:.1%} to {above:.1%}) of {item.votes} votes"
        )
