"""From votes to results: known answers, planted truth, planted spammers, and the coverage of the intervals."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from paths import SHARED, needs

from dpc.errors import OptionError
from dpc.study import agreement, bits, export, preferences, ranking, report, scores, simulate
from dpc.study.exclusions import exclusions
from dpc.study.plan import Exclusion
from dpc.study.votes import Vote

OPINION = SHARED / "data" / "opinion"
needs_opinion = needs("data", "opinion")
NAMES = ["m0@1", "m1@1", "m2@1", "m3@1"]
PAIRS = list(itertools.combinations(NAMES, 2))
TRUTH = dict(zip(NAMES, (0.0, 0.4, 0.8, 1.2), strict=True))


def test_wilson() -> None:
    assert preferences.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, method 3
    assert preferences.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert preferences.wilson(0, 0) == (0.0, 1.0)


def test_krippendorff() -> None:
    # Krippendorff 2011, Computing Krippendorff's alpha-reliability, part C: four observers, twelve units, nominal 0.743
    a = [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None]
    b = [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3]
    c = [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None]
    d = [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None]
    units = [[v for v in unit if v is not None] for unit in zip(a, b, c, d, strict=True)]
    alpha, used = agreement.krippendorff(units)
    assert alpha == pytest.approx(0.743, abs=5e-4) and used == 11
    assert math.isnan(agreement.krippendorff([[1], [2]])[0])


def test_davidson_without_ties_is_bradley_terry_of_choix() -> None:
    rng = np.random.default_rng(3)
    table = np.array([[i, j, *rng.integers(1, 30, 2), 0] for i, j in itertools.combinations(range(5), 2)], dtype=float)
    assert scores.davidson(table, 5, ties=False).scores == pytest.approx(scores.bradley_terry(table, 5), abs=1e-5)


def test_davidson_of_two_items_is_known() -> None:
    # two items: the maximum of the likelihood reproduces the shares exactly
    table = np.array([[0, 1, 60, 25, 15]], dtype=float)
    fit = scores.davidson(table, 2)
    p = scores.probabilities(fit, np.array([0]), np.array([1]))[0]
    assert p == pytest.approx((table[0, 2:] + scores.PRIOR) / (100 + 3 * scores.PRIOR), abs=1e-6)
    # and the variance of the difference of scores is that of the log odds, 1/n1 + 1/n2
    variance = np.array([1.0, -1.0]) @ fit.covariance[:2, :2] @ np.array([1.0, -1.0])
    assert variance == pytest.approx(1 / 60.05 + 1 / 25.05, rel=1e-4)


def test_items_that_no_pair_connects_are_told_apart() -> None:
    votes = [Vote("r", "p", "a@1", "b@1", 0)] * 5 + [Vote("r", "p", "a@2", "b@2", 1)] * 5
    found = ranking.score(votes, True)
    assert len({item.group for item in found.items}) == 2
    for group in (0, 1):
        assert sum(i.davidson for i in found.items if i.group == group) == pytest.approx(0, abs=1e-6)


def test_unanimous_votes_give_finite_scores() -> None:
    found = ranking.score([Vote(f"r{i}", "p", "a@1", "b@1", 0) for i in range(20)], True)
    assert all(math.isfinite(v) for item in found.items for v in (item.davidson, *item.interval))
    (p,) = preferences.preferences([Vote(f"r{i}", "p", "a@1", "b@1", 0) for i in range(20)])
    assert p.share == 1 and p.interval == p.wilson and p.decided


def test_planted_truth_is_recovered() -> None:
    world = simulate.World(TRUTH, rater=0.0, picture=0.0, seed=5)
    votes = simulate.votes(world, PAIRS, raters=200, pictures=20, each=40)
    found = {item.condition: item for item in ranking.score(votes, True).items}
    for name, value in TRUTH.items():
        assert found[name].davidson == pytest.approx(value - 0.6, abs=0.06)
        assert found[name].elo == pytest.approx(1500 + 400 / math.log(10) * found[name].davidson)
    assert math.exp(ranking.score(votes, True).tie) == pytest.approx(world.tie, abs=0.05)


@pytest.mark.parametrize("taste", [0.0, 0.4])
def test_intervals_hold_the_truth_as_often_as_they_say(taste: float) -> None:
    """40 studies of 24 raters and 12 pictures: 95 % intervals of scores and preferences. What a rater and a picture add
    makes the mean preference smaller than that of the scores, so the truth is that of a large sample."""
    rng = np.random.default_rng(0)
    wide = math.sqrt(2 * (taste**2 + taste**2))
    truth = {}
    for a, b in PAIRS:
        d = TRUTH[a] - TRUTH[b] + rng.normal(0, 1, 200_000) * wide
        one, two = np.exp(d / 2), np.exp(-d / 2)
        truth[a, b] = float(((one + 0.2) / (one + two + 0.4)).mean())
    # the scores that reproduce those shares: of a very large number of votes
    many = [Vote("", "p", a, b, i, weight=int(1e6 * w)) for (a, b), p in truth.items() for i, w in ((0, p), (1, 1 - p))]
    ideal = {i.condition: i.davidson for i in ranking.score(many, False).items}
    inside = np.zeros(3)
    count = np.zeros(3)
    for seed in range(40):
        world = simulate.World(TRUTH, rater=taste, picture=taste, seed=seed)
        votes = simulate.votes(world, PAIRS, raters=24, pictures=12, each=30, traps=0, repeats=0)
        halves = [
            Vote(v.rater, v.picture, v.a, v.b, v.answer if v.answer != 2 else n % 2) for n, v in enumerate(votes)
            if v.kind == "pair"
        ]  # fmt: skip
        for item in ranking.score(halves, False).items:
            inside[0] += item.interval[0] <= ideal[item.condition] <= item.interval[1]
            count[0] += 1
        for p in preferences.preferences(votes, 200, seed):
            inside[1] += p.interval[0] <= truth[p.a, p.b] <= p.interval[1]
            inside[2] += p.wilson[0] <= truth[p.a, p.b] <= p.wilson[1]
            count[1:] += 1
    share = inside / count
    assert 0.90 <= share[0] <= 1.0 and 0.91 <= share[1] <= 1.0, share


def test_clustered_votes_need_wider_intervals() -> None:
    """Votes repeated by each rater carry no news: the interval over people must not shrink, Wilson's does."""
    votes = [Vote(f"r{i}", f"p{n % 8}", "a@1", "b@1", int(i % 3 == 0)) for i in range(15) for n in range(40)]
    (p,) = preferences.preferences(votes)
    assert p.interval[1] - p.interval[0] > 3 * (p.wilson[1] - p.wilson[0])
    assert p.interval[0] < 0.5 < p.interval[1] or p.share - p.interval[0] > 0.15
    item = ranking.score(votes, False).items[0]
    assert item.interval[1] - item.interval[0] > 1.0


@pytest.mark.parametrize("taste", [0.0, 0.5])
def test_the_variance_is_that_of_many_studies_with_many_not_sure(taste: float) -> None:
    """40 people and 20 pictures, three of four votes "not sure"; taste: what each person and picture adds."""
    rng = np.random.default_rng(4)
    raters, pictures = np.repeat(np.arange(40), 20), np.tile(np.arange(20), 40)

    def study() -> preferences.Array:
        opinion = rng.normal(0.5, 1, 800) + taste * (rng.normal(0, 1, 40)[raters] + rng.normal(0, 1, 20)[pictures])
        return np.where(opinion > 1.3, 1.0, np.where(opinion < -1.3, 0.0, 0.5))

    studies = [study() for _ in range(600)]
    told = [preferences.clustered_variance(gain, np.ones(800), raters, pictures, 100, rng)[0] for gain in studies[:80]]
    assert 0.85 <= np.mean(told) / np.var([gain.mean() for gain in studies]) <= 1.35


def test_a_row_of_several_votes_varies_as_those_votes() -> None:
    one = np.zeros(3, dtype=np.intp)
    gain, weight = np.array([3.0, 2.0, 0.0]), np.array([3.0, 4.0, 1.0])  # three for a, four not sure, one for b
    variance, _, _ = preferences.clustered_variance(gain, weight, one, one, 100, np.random.default_rng(0))
    assert variance == pytest.approx(np.var([1.0] * 3 + [0.5] * 4 + [0.0]) / 8)


@pytest.mark.parametrize(("tie", "caught"), [(0.4, 0.9), (0.0, 0.75)])
def test_planted_spammers_are_rejected(tie: float, caught: float) -> None:
    good = bad = 0
    for seed in range(4):
        world = simulate.World(dict(zip(NAMES, (0.0, 0.5, 1.0, 1.5), strict=True)), tie=tie, seed=seed)
        votes = simulate.votes(world, PAIRS, raters=30, pictures=10, each=30, spammers=8)
        out = exclusions(votes, Exclusion(), tie > 0)
        bad += sum(r.startswith("spammer") for r in out)
        good += sum(r.startswith("rater") for r in out)
        assert all(reason.text and reason.rule for reasons in out.values() for reason in reasons)
    assert bad / 32 >= caught and good / 120 <= 0.03


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("speed", {"seconds": 0.3}),
        ("side", {"answer": 0, "side": 0}),
        ("attention", {"kind": "trap", "a": "worst", "b": "original"}),
    ],
)
def test_each_rule_finds_its_offender(rule: str, change: dict[str, object]) -> None:
    plain = [Vote("r", "p", "a@1", "b@1", i % 2, side=i % 2, seconds=4.0) for i in range(30)]
    assert exclusions(plain, Exclusion(), True) == {}
    changed = [
        Vote(**{**v.__dict__, "answer": 0, **change} if rule != "speed" else {**v.__dict__, **change}) for v in plain
    ]
    assert rule in {r.rule for r in exclusions(changed, Exclusion(), True)["r"]}


def test_contradictions_are_found() -> None:
    clear = [Vote(f"r{i}", "p", "a@1", "b@1", 0) for i in range(60)] + [Vote("r61", "p", "a@1", "b@1", 1)] * 2
    own = [Vote("x", "p", "b@1", "a@1", 0, "repeat", repeats=1) for _ in range(4)]
    assert [r.rule for r in exclusions(clear + own, Exclusion(), False)["x"]] == ["consistency"]


def test_bits_at_equal_preference_are_known() -> None:
    # the same curve at 0.8 times the rate: 20 % fewer bits, whatever its shape
    curve = [(0.1, -1.0), (0.2, 0.5), (0.5, 0.9), (1.0, 2.5)]
    percent, overlap = bits.equal_bits(curve, [(0.8 * b, s) for b, s in curve]) or (0, 0)
    assert percent == pytest.approx(-20) and overlap == 1
    assert bits.equal_bits(curve, [(0.1, 5.0), (0.2, 6.0)]) is None
    assert bits.equal_bits(curve[:1], curve) is None


def test_planted_bits_are_recovered() -> None:
    rates = (0.1, 0.2, 0.4)
    bpp = {f"{m}@{r}": r for m in "xy" for r in rates}
    # y needs 30 % fewer bits: its score at a rate is that of x at the rate / 0.7
    planted = {n: 1.5 * math.log2(r / (0.7 if n[0] == "y" else 1)) for n, r in bpp.items()}
    pairs = list(itertools.combinations(sorted(bpp), 2))
    inside = 0
    for seed in range(12):
        world = simulate.World(planted, rater=0.0, picture=0.0, seed=seed)
        votes = simulate.votes(world, pairs, raters=40, pictures=8, each=40, traps=0, repeats=0)
        (found,) = bits.bits_at_equal_preference(ranking.score(votes, True), bpp, draws=300, seed=seed)
        assert (found.anchor, found.test) == ("x", "y") and found.percent == pytest.approx(-30, abs=12)
        assert found.interval is not None
        inside += found.interval[0] <= -30 <= found.interval[1]
    assert inside >= 10


# known answers


@needs_opinion
def test_the_kodak_votes_come_out_as_they_were_counted(tmp_path: Path) -> None:
    rows = list(csv.DictReader(open(OPINION / "kodak-2afc-votes.csv")))
    table = tmp_path / "votes.csv"
    with open(table, "w") as file:
        file.write("picture,a,b,votes_a,votes_b,vmaf_a,vmaf_b\n")
        for r in rows:
            a, b = f"{r['codec']}-base@{r['level']}", f"{r['codec']}-ours@{r['level']}"
            file.write(
                f"{r['image']},{a},{b},{r['num_vote_base']},{r['num_vote_ours']},{r['vmaf_base']},{r['vmaf_ours']}\n"
            )
    made = report.report(table, tmp_path / "out", resamples=200)
    kept = [r for r in csv.DictReader(open(made.files["preferences.csv"])) if r["set"] == "kept"]
    assert len({(r["codec"], r["level"]) for r in rows}) == len(kept)
    for r in kept:
        codec, _, level = r["a"].partition("-base@")
        own = [x for x in rows if (x["codec"], x["level"]) == (codec, level)]
        base, ours = (sum(int(x[f"num_vote_{w}"]) for x in own) for w in ("base", "ours"))
        assert (int(r["for_a"]), int(r["for_b"])) == (base, ours)
        assert float(r["share_a"]) == pytest.approx(base / (base + ours), rel=1e-5)
        # two items: the score is the log odds
        item = next(
            s for s in csv.DictReader(open(made.files["scores.csv"])) if s["set"] == "kept" and s["condition"] == r["b"]
        )
        assert 2 * float(item["davidson"]) == pytest.approx(math.log((ours + 0.05) / (base + 0.05)), abs=1e-3)
    assert sum(int(r["votes"]) for r in kept) == sum(int(r["num_vote_base"]) + int(r["num_vote_ours"]) for r in rows)
    vmaf = next(m for m in csv.DictReader(open(made.files["metrics.csv"])) if m["metric"] == "vmaf")
    right = sum(
        int(r["num_vote_ours" if float(r["vmaf_ours"]) > float(r["vmaf_base"]) else "num_vote_base"]) for r in rows
    )
    assert float(vmaf["accuracy"]) == pytest.approx(right / int(vmaf["votes"]), abs=0.002)


@needs_opinion
def test_the_elo_of_mucped23_is_reproduced() -> None:
    rows = list(csv.DictReader(open(OPINION / "mucped23-elo.csv")))
    elo = {f"{r['label']}@{r['method']}": float(r["elo"]) for r in rows}
    # votes as often as the published Elo says, for every pair; the fit must give the Elo back
    votes = []
    for a, b in itertools.combinations(elo, 2):
        p = 1 / (1 + 10 ** ((elo[b] - elo[a]) / 400))
        votes += [Vote("", "p", a, b, 0, weight=round(1e5 * p)), Vote("", "p", a, b, 1, weight=round(1e5 * (1 - p)))]
    found = ranking.score(votes, False)
    mean = float(np.mean(list(elo.values())))
    for item in found.items:
        assert item.elo - 1500 == pytest.approx(elo[item.condition] - mean, abs=1.0)
        assert scores.ELO * item.bradley_terry == pytest.approx(elo[item.condition] - mean, abs=1.0)
    # bits at equal preference, against numpy's interpolation of the published curves on a fine grid
    bpp = {f"{r['label']}@{r['method']}": float(r["bpp"]) for r in rows}
    found_bits = {(b.anchor, b.test): b for b in bits.bits_at_equal_preference(found, bpp, draws=100)}

    def curve(label: str) -> tuple[list[float], list[float]]:
        own = sorted((float(r["elo"]), math.log(float(r["bpp"]))) for r in rows if r["label"] == label)
        return [e for e, _ in own], [b for _, b in own]

    jpegli, turbo = curve("jpegli"), curve("libjpeg-turbo")
    grid = np.linspace(max(jpegli[0][0], turbo[0][0]), min(jpegli[0][-1], turbo[0][-1]), 20_001)
    wanted = 100 * math.expm1(np.mean(np.interp(grid, *turbo) - np.interp(grid, *jpegli)))
    assert wanted > 15  # libjpeg-turbo needs more bits, as the study found
    assert found_bits["jpegli", "libjpeg-turbo"].percent == pytest.approx(wanted, abs=0.5)


# tables


def test_a_damaged_table_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    head = "picture,a,b,votes_a,votes_b\n"
    for text, line in (
        (head + 'p,"a\nb",b,1,2\n' + "x" * 200_000 + ",a,b,1,2\n", 4),  # longer than csv takes
        (head + '"' + "p,a,b,1,2\n" * 20_000, 2),  # a quote without its end
        (head + "p,a,b,1,2\np,a,b,1,two\n", 3),
        ("x" * 200_000 + head, 1),
    ):
        file.write_text(text)
        with pytest.raises(OptionError, match=rf"t\.csv, line {line}[:,] ") as caught:
            report.report(file, tmp_path / "out")
        assert "\n" not in str(caught.value)


def test_tables_of_something_else_are_refused(tmp_path: Path) -> None:
    for text in ("x,y\n1,2\n", "picture,a,b,votes_a,votes_b\np,a,a,1,2\n", "picture,a,b,votes_a,votes_b\np,a,b,x,2\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(OptionError, match="t.csv(, line 2| lacks the columns picture, a, b, votes_a, votes_b)"):
            report.report(tmp_path / "t.csv", tmp_path / "out")
    (tmp_path / "t.csv").write_text("picture,a,b,votes_a,votes_b\n")
    with pytest.raises(OptionError, match="no votes yet"):
        report.report(tmp_path / "t.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


HEAD = "picture,a,b,votes_a,votes_b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "p,a,b,1000000000,1\n", "votes_a: Input should be less than or equal to 100000 (it is '1000000000')"),
        (HEAD + "p,a,b,1," + "9" * 400 + "\n", "votes_b: "),
        (HEAD + "p,a,b,-1,1\n", "votes_a: Input should be greater than or equal to 0 (it is '-1')"),
        (HEAD + "p,a,b,nan,1\n", "(it is 'nan')"),
        (HEAD + "p,a,b,1.5,1\n", "(it is '1.5')"),
        (HEAD + "p,a,b,,1\n", "votes_a: Field required"),
        (HEAD + "p," + "x" * 300 + ",b,1,1\n", "at most 200 characters"),
        (HEAD[:-1] + ",bpp_a\np,a,b,1,1,0\n", "bpp_a: Input should be greater than 0 (it is '0')"),
        (HEAD[:-1] + ",bpp_a\np,a,b,1,1,inf\n", "bpp_a: Input should be a finite number (it is 'inf')"),
        (HEAD[:-1] + ",bpp_a\np,a,b,1,1,1e9\n", "bpp_a: Input should be less than or equal to 1000 (it is '1e9')"),
        (HEAD[:-1] + ",vmaf_a,vmaf_b\np,a,b,1,1,5,nan\n", "metrics.vmaf.1: Input should be"),
        (HEAD[:-1] + ",rater_kind\np,a,b,1,1,robot\n", "rater_kind: Input should be 'people', 'model' or 'simulated'"),
        (HEAD[:-1] + "".join(f",m{i}_a" for i in range(60)) + "\np,a,b,1,1" + 60 * ",1" + "\n", "at most 50 items"),
        (HEAD + "".join(f"p{i},a,b,90000,0\n" for i in range(6)), "more than 500,000 votes"),
        (HEAD + "".join(f"p,a{i},b,1,0\n" for i in range(100)), "or 100 conditions"),
    ],
)
def test_absurd_tables_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(OptionError) as caught:
        report.report(tmp_path / "t.csv", tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "out").exists()


def test_names_with_markup_are_text(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "$\\frac{$ & 'x' --> \"y\"")
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "a", "b", "votes_a", "votes_b", "rater", "<b>m_a", "<b>m_b"])
        writer.writerows([f"<img src=x{i}>", *names, 3, 1, f"<i>{i}", 1 + i, 2] for i in range(4))
    made = report.report(tmp_path / "t.csv", tmp_path / "<u>out", resamples=100)
    page = made.files["report.html"].read_text()
    for tag in ("<script", "<img", "<i>", "<b>m"):
        assert tag not in page, tag
    assert "&lt;script&gt;alert(1)" in page and page.count("<svg") == 3
    rows = list(csv.DictReader(open(made.files["scores.csv"], newline="")))
    assert {r["condition"] for r in rows} == set(names)


def test_old_tables_of_votes_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("picture,a,b,votes_a,votes_b,simulated\np,a,b,3,1,yes\np,a,b,1,1,no\n")
    made = report.report(tmp_path / "t.csv", tmp_path / "out", resamples=100)
    rows = [r for r in csv.DictReader(open(made.files["preferences.csv"])) if r["set"] == "all"]
    assert [(r["rater_kind"], r["for_a"]) for r in rows] == [("people", "1"), ("simulated", "3")]


def test_choix_reads_the_export(tmp_path: Path) -> None:
    import choix

    world = simulate.World(TRUTH, seed=2)
    votes = [v for v in simulate.votes(world, PAIRS, raters=20, pictures=8, each=30) if v.kind == "pair"]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "a", "b", "votes_a", "votes_b", "not_sure", "rater"])
        writer.writerows([v.picture, v.a, v.b, *(int(v.answer == i) for i in range(3)), v.rater] for v in votes)
    made = export.export(tmp_path / "t.csv", tmp_path / "out")
    rows = list(csv.DictReader(open(made["choix.csv"])))
    assert sum(float(r["weight"]) for r in rows) == len(votes)
    # as docs/guide/study.md shows
    names = sorted({r["winner"] for r in rows} | {r["loser"] for r in rows})
    wins = np.zeros((len(names), len(names)))
    for r in rows:
        wins[names.index(r["winner"]), names.index(r["loser"])] += float(r["weight"])
    found = choix.ilsr_pairwise_dense(wins)
    ours = {s.condition: s.bradley_terry for s in ranking.score(votes, True).items}
    assert dict(zip(names, found - found.mean(), strict=True)) == pytest.approx(ours, abs=0.01)
    counts = list(csv.DictReader(open(made["bradley-terry.csv"])))
    assert sum(int(r[c]) for r in counts for c in ("win1", "win2", "not_sure")) == len(votes)
    for picture, a, b in {(r["picture"], r["player1"], r["player2"]) for r in counts}:
        own = [v for v in votes if (v.picture, {v.a, v.b}) == (picture, {a, b})]
        won = sum(v.answer != 2 and (v.a, v.b)[v.answer] == a for v in own)
        rows = [r for r in counts if (r["picture"], r["player1"], r["player2"]) == (picture, a, b)]
        assert sum(int(r["win1"]) for r in rows) == won and {r["kept"] for r in rows} <= {"yes", "no"}
    (tmp_path / "empty.csv").write_text(HEAD)
    with pytest.raises(OptionError, match="no votes yet"):
        export.export(tmp_path / "empty.csv", tmp_path / "none")
