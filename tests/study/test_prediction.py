"""How well metrics predict votes: counted by hand, published votes and scores, what a report leaves, faults by line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from paths import SHARED, needs
from typer.testing import CliRunner

from dpc.cli import app
from dpc.errors import OptionError
from dpc.study.prediction import predictions, preference, ratings, read
from dpc.study.votes import NOT_SURE, Vote

scipy = pytest.importorskip("scipy")
OPINION = SHARED / "data" / "opinion"


def ballots(picture: str, shares: dict[tuple[str, str], int]) -> list[Vote]:
    """Ten votes a pair, so many of them for the first."""
    return [Vote("", picture, a, b, int(i >= n)) for (a, b), n in shares.items() for i in range(10)]


def test_rank_correlation_is_within_pictures() -> None:
    """Picture p is seen as the votes see it, q the other way round, at another level of the metric."""
    pairs = {("x", "y"): 9, ("x", "z"): 6, ("y", "z"): 2}
    votes = [*ballots("p", pairs), *ballots("q", pairs), Vote("", "p", "x", "y", NOT_SURE)]
    good = {("p", "x"): 3.0, ("p", "y"): 1.0, ("p", "z"): 2.5}
    bad = {("q", "x"): 91.0, ("q", "y"): 99.0, ("q", "z"): 92.0}
    both, right = predictions(votes, {"m": good | bad, "n": good}, {"m": True, "n": True}, 200)[::-1]
    assert (right.metric, right.spearman, right.pictures, right.votes) == ("n", 1.0, 1, 30)
    assert both.spearman == pytest.approx(0.0) and both.interval[0] < -0.9 and both.interval[1] > 0.9
    assert right.accuracy == pytest.approx((9 + 6 + 8) / 30)
    (turned,) = predictions(votes, {"n": good}, {"n": False}, 50)
    assert turned.spearman == -1.0 and turned.accuracy == pytest.approx(1 - right.accuracy)


@needs("data", "opinion", "kodak-2afc-votes.csv")
def test_votes_of_47_people_on_resized_codecs() -> None:
    """The file itself is from outside: 144 pairs by 47 people; the shares are counted here a second time."""
    path = OPINION / "kodak-2afc-votes.csv"
    data = read(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(data.votes) == 47 * 144
    found = {p.metric: p for p in predictions(data.votes, data.values, data.higher, 200)}
    assert set(found) == {"psnry", "vmaf", "vifp"}
    gain = [float(r["vmaf_ours"]) > float(r["vmaf_base"]) for r in rows]
    right = sum(int(r["num_vote_ours" if g else "num_vote_base"]) for r, g in zip(rows, gain, strict=True))
    assert found["vmaf"].accuracy == pytest.approx(right / (47 * 144)) and found["vmaf"].pictures == 18
    low, high = found["vmaf"].interval
    assert found["vmaf"].spearman == pytest.approx(0.616, abs=0.002) and low < 0.616 < high
    assert found["vmaf"].accuracy > found["psnry"].accuracy + 0.05


@needs("data", "opinion", "mucped23-elo.csv")
def test_a_published_preference_comes_out() -> None:
    """arXiv 2403.18589: at quality 95 Jpegli is "54% likely to be preferred" at 2.8 bpp against 3.8 and 3.5."""
    with open(OPINION / "mucped23-elo.csv", newline="") as file:
        rows = {r["method"]: r for r in csv.DictReader(file)}
    best = rows["jpegli-q95-yuv444"]
    for other, bpp in (("libjpeg-turbo-q95-yuv444", 3.8), ("mozjpeg-q95-yuv444", 3.5)):
        assert preference(float(best["elo"]), float(rows[other]["elo"])) == pytest.approx(0.54, abs=0.005)
        assert float(rows[other]["bpp"]) == pytest.approx(bpp, abs=0.05)
    found = {r.column: r for r in ratings(OPINION / "mucped23-elo.csv", 100) or ()}
    assert found["bpp"].count == 31 and 0.9 < found["bpp"].spearman < 1.0
    assert set(found) == {"bpp"}  # p99Low and p99Hi are bounds of the score, label is no number


def test_the_tables_of_a_report_and_faults(tmp_path: Path) -> None:
    stimuli = ["id,picture,kind,method,rate,bytes,bpp,quality,sha256,dists"]
    stimuli += [f"{m},p,coded,{m},0.25,9,0.25,1,x,{d}" for m, d in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    (tmp_path / "stimuli.csv").write_text("\n".join(stimuli) + "\n")
    lines = ["rater,picture,a,b,answer,kind,side,seconds,weight,kept"]
    lines += [f"r,p,{x}@0.25,{y}@0.25,a,pair,0,1,{n},yes" for x, y, n in (("a", "b", 2), ("a", "c", 1), ("b", "c", 1))]
    lines += ["r,p,a@0.25,b@0.25,b,pair,0,1,9,no", "r,p,a@0.25,b@0.25,b,trap,0,1,9,yes"]
    (tmp_path / "votes.csv").write_text("\n".join(lines) + "\n")
    data = read(tmp_path)
    (found,) = predictions(data.votes, data.values, data.higher, 50)
    assert (found.metric, found.accuracy, found.votes) == ("dists", 1.0, 4)  # lower is better
    (tmp_path / "votes.csv").write_text("rater\nme\n")
    with pytest.raises(OptionError, match=r"votes\.csv is none of dpc study report"):
        read(tmp_path)
    table = tmp_path / "t.csv"
    table.write_text("image,num_vote_x,num_vote_y,m_x,m_y\np,1,-2,1,1\n")
    with pytest.raises(OptionError, match="line 2: give an image and whole numbers"):
        read(table)
    table.write_text("picture,a,b,votes_a,votes_b\np,x,y,1,2\n")
    result = CliRunner().invoke(app, ["metrics", "agree", str(table)])
    assert result.exit_code == 1 and "has no metrics beside its votes" in result.output
