"""Plans and what is made of pictures: sizes that match, reproducible folders, pairing, and the commands."""

# ruff: noqa: E501
from __future__ import annotations

import csv
import dataclasses
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from study_server import coded, originals, study
from typer.testing import CliRunner

from dpc.cli import app
from dpc.errors import DPCError, ImageError, OptionError
from dpc.study import collected, simulate, slots, sources, stimuli, store
from dpc.study import plan as plans
from dpc.study.database import default_url
from dpc.study.pairing import Chooser


def command(*arguments: Any) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


# the plan


def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    made = study(tmp_path, title='Tabs\t, "quotes", \\ and ü\x7f', people=plans.People(about="two\nlines"))
    assert plans.read(made.folder / "study.toml") == made.plan
    back = {s.id: s.sha256 for s in stimuli.read(made.folder).stimuli}
    assert back == {s.id: s.sha256 for s in made.stimuli}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "is of format 2"),
        ('pairing = "full"', 'pairing = "all"', "choose from full, random, adaptive"),
        ("not_sure = true", "not_sure = 1", "must be of type bool"),
        ("votes = 100000", "votes = 0", "from 1 to"),
        ("votes = 100000", "vote = 3", "unknown key 'vote'"),
        ("seed = 7", "seed = ", "not valid TOML"),
        ('completion_link = ""', 'completion_link = "javascript:x"', "begins with https"),
        ('name = "good"', 'name = "bad"', "is there twice"),
    ],
)
def test_a_faulty_plan_is_refused_with_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    made = study(tmp_path)
    file = made.folder / "study.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        plans.read(file)
    assert "\n" not in str(caught.value)


def test_what_a_number_of_votes_can_show() -> None:
    assert plans.votes_needed(0.6) == 194 and plans.votes_needed(0.55) == 783  # the usual tables
    assert plans.smallest_preference(194) == pytest.approx(0.6, abs=1e-3)
    assert plans.smallest_preference(783) == pytest.approx(0.55, abs=1e-3)
    assert plans.smallest_preference(1) == 1.0


def test_comparisons_of_one_and_of_several_rates(tmp_path: Path) -> None:
    one = study(tmp_path / "one")
    assert len(plans.comparisons(one.plan, one.stimuli)) == 3
    design = plans.Design(across_rates="neighbours", tolerance=0.02)
    three = study(tmp_path / "three", rates=3, pictures=1, design=design)
    questions = plans.comparisons(three.plan, three.stimuli)
    names = {tuple(plans.condition(s, three.plan.rates) for s in (c.a, c.b)) for c in questions}
    assert len(names) == 3 * 1 + 2 * 4
    assert not any(a == b for a, b in names)


# pictures


def test_the_same_seed_makes_the_same_study(tmp_path: Path) -> None:
    def files(made: stimuli.Made) -> dict[str, bytes]:
        kept = [p for p in sorted(made.folder.rglob("*")) if p.is_file() and p.name not in ("secret.key", "study.toml")]
        return {str(p.relative_to(made.folder)): p.read_bytes() for p in kept}

    colour = plans.Screening(colour="ask")
    first, second = (files(study(tmp_path / n, screening=colour)) for n in "ab")
    assert first == second
    assert files(study(tmp_path / "c", screening=colour, seed=8)).keys() != first.keys()


def test_sizes_that_do_not_match_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals")
    folders = [("x", coded(tmp_path / "x", images, 5, 1000)), ("y", coded(tmp_path / "y", images, 9, 1040))]
    with pytest.raises(OptionError, match=r"p0 .*x has 1,000 bytes and y 1,040, 3.8% apart; the tolerance is 3.0%"):
        stimuli.new(tmp_path / "study", [images], folders=folders)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["originals", "x", "y"]
    stimuli.new(tmp_path / "study", [images], folders=folders, design=plans.Design(tolerance=0.04))


def test_codecs_are_brought_to_the_bytes_of_a_folder(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1, 192, 128)
    folders = [("given", coded(tmp_path / "given", images, 5, 2500))]
    made = stimuli.new(tmp_path / "study", [images], folders=folders, codecs=["dpc", "jpeg2000"])
    sizes = {s.method: s.bytes for s in made.stimuli if s.kind == "coded"}
    assert set(sizes) == {"given", "dpc", "jpeg2000"} and max(sizes.values()) * 0.97 <= min(sizes.values())
    assert [m.name for m in made.plan.methods] == ["given", "dpc", "jpeg2000"]
    dpc = next(s for s in made.stimuli if s.method == "dpc")
    shown = np.asarray(Image.open(made.folder / "stimuli" / f"{dpc.id}.png"))
    assert shown.shape == (128, 192, 3) and dpc.bpp == pytest.approx(8 * dpc.bytes / (128 * 192), abs=1e-6)


def test_folders_without_sizes(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 2)
    lossy, loose = tmp_path / "lossy", tmp_path / "loose"
    for folder in (lossy, loose):
        folder.mkdir()
    for path in images.iterdir():
        Image.open(path).save(lossy / f"{path.stem}.jpg", quality=50)
        Image.open(path).save(loose / path.name)
    with pytest.raises(OptionError, match="compressed size of .* is not known.*--unknown-sizes"):
        stimuli.new(tmp_path / "study", [images], folders=[("a", lossy), ("b", loose)])
    made = stimuli.new(tmp_path / "s1", [images], folders=[("a", lossy), ("b", loose)], unknown_sizes=True)
    assert any("not known" in note for note in made.notes)
    for path in lossy.iterdir():  # the compressed file beside the decoded one
        (loose / f"{path.stem}.xyz").write_bytes(path.read_bytes())
    made = stimuli.new(tmp_path / "s2", [images], folders=[("a", lossy), ("b", loose)])
    assert all(s.bytes == (lossy / f"{s.picture}.jpg").stat().st_size for s in made.stimuli if s.kind == "coded")


def test_bad_input_is_found(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1)
    good = coded(tmp_path / "good", images, 5)
    wrong = coded(tmp_path / "wrong", images, 5)
    Image.new("RGB", (5, 5)).save(wrong / "p0-0.png")
    cases: list[tuple[type[DPCError], str, dict[str, Any]]] = [
        (ImageError, "decode it at full size", {"folders": [("a", good), ("b", wrong)]}),
        (OptionError, "compares at least two", {"folders": [("a", good)]}),
        (OptionError, "is there twice", {"folders": [("a", good), ("a", good)]}),
        (OptionError, "no sizes were given", {"codecs": ["jpeg", "webp"]}),
        (OptionError, "cannot be reached", {"codecs": ["jpeg", "webp"], "bpp": [0.0]}),
        (OptionError, "from the lowest to the highest", {"codecs": ["jpeg", "webp"], "bpp": [1.0, 0.5]}),
        (OptionError, "is not a folder", {"folders": [("a", good), ("b", tmp_path / "none")]}),
        (OptionError, "codec 'jpegg' is unknown", {"codecs": ["jpegg", "jpeg"], "bpp": [1.0]}),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind, match=message):
            stimuli.new(tmp_path / "study", [images], **options)
        assert not (tmp_path / "study").exists()
    for place, message in ((tmp_path / "none", "does not exist"), (tmp_path, "holds no pictures")):
        with pytest.raises(OptionError, match=message):
            stimuli.new(tmp_path / "study", [place], folders=[("a", good), ("b", good)][:1] + [("c", good)])
    with pytest.raises(OptionError, match="not empty"):
        stimuli.new(images, [images], folders=[("a", good), ("c", good)])


def test_faults_are_found_before_a_picture_is_coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = originals(tmp_path / "originals", 2)
    good = coded(tmp_path / "good", images, 5)

    def never(*_: Any) -> None:
        raise AssertionError("a picture was coded")

    monkeypatch.setattr(stimuli, "_picture", never)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    cases: list[tuple[str, Path, dict[str, Any]]] = [
        ("compares at least two", tmp_path / "s", {"codecs": ["jpeg"], "bpp": [1.0]}),
        ("must not be empty and not hold an @", tmp_path / "s", {"folders": [("a@b", good), ("c", good)]}),
        (
            "rate '0.123457' is there twice",
            tmp_path / "s",
            {"codecs": ["jpeg", "webp"], "bpp": [0.12345671, 0.12345672]},
        ),
        ("cannot be replaced by a study", Path("."), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
        ("exists and is not empty", Path(".."), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
        ("cannot be replaced by a study", Path("/"), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
    ]
    for message, place, options in cases:
        with pytest.raises(OptionError, match=message):
            stimuli.new(place, [images], **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "good", "originals"]


def test_a_study_is_made_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "study").symlink_to(tmp_path / "far")
    made = study(tmp_path)
    assert made.folder == tmp_path / "study" and (tmp_path / "far" / "study.toml").is_file()


def test_no_votes_and_no_trials_are_refused(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1)
    good, bad = coded(tmp_path / "good", images, 5), coded(tmp_path / "bad", images, 9)
    folders = ["--folder", f"good={good}", "--folder", f"bad={bad}"]
    for option in ("votes", "trials"):
        done = CliRunner().invoke(
            app, ["study", "new", str(tmp_path / "s"), "--images", str(images), *folders, f"--{option}", "0"]
        )
        assert done.exit_code == 1 and done.output.startswith(f"dpc: error: {option} = 0: it must be from 1 to ")


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    made = study(tmp_path)
    file = made.folder / "stimuli" / f"{made.stimuli[0].id}.png"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OptionError, match="was changed"):
        stimuli.read(made.folder)


def test_replaced_pictures_do_not_mix_with_those_before(tmp_path: Path) -> None:
    made = study(tmp_path / "one")
    url = default_url(made.folder)
    store.Store(made.plan, made.stimuli, url, b"x" * 32).close()
    store.Store(made.plan, made.stimuli, url, b"x" * 32).close()  # the same study again
    first, *others = made.stimuli
    replaced = [dataclasses.replace(first, sha256="0" * 64), *others]
    across = dataclasses.replace(made.plan, methods=made.plan.methods[::-1])  # numbers of pairs stand for others
    for plan, shown in ((made.plan, replaced), (across, made.stimuli)):
        with pytest.raises(OptionError, match="belongs to another study, or pictures were replaced"):
            store.Store(plan, shown, url, b"x" * 32)
    # metrics too belong to an original and a picture
    collected._measure(made, ["psnr"], None, lambda line: None)
    file = made.folder / "measured.csv"
    lines = file.read_text().splitlines()
    original = next(s for s in made.stimuli if s.kind == "original")
    file.write_text("\n".join(lines).replace(original.sha256, "0" * 64) + "\n")
    said: list[str] = []
    collected._measure(made, ["psnr"], None, said.append)
    assert said == [f"measuring {original.picture}: psnr"] and set(lines) < set(file.read_text().splitlines())
    file.write_text(lines[0] + "\na,b,c,d\n")
    with pytest.raises(OptionError, match=r"measured\.csv is damaged .*remove it"):
        collected._measure(made, ["psnr"], None, lambda line: None)


def test_a_folder_is_known_by_what_is_in_its_files(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1)
    before = sources.Loose("x", images, True).version
    assert sources.Loose("x", images, True).version == before
    Image.new("RGB", (5, 5)).save(images / "p0.png")
    assert sources.Loose("x", images, True).version != before


# pairing


def test_full_pairing_spreads_votes_evenly(tmp_path: Path) -> None:
    made = study(tmp_path)
    chooser = Chooser(made.plan, plans.comparisons(made.plan, made.stimuli))
    for person in range(30):
        assert chooser.choose((), random.Random(person)) is not None
    assert set(chooser.asked.values()) == {10}
    assert chooser.choose({0, 1, 2}, random.Random(0)) is None


def test_adaptive_pairing_asks_what_tells_most(tmp_path: Path) -> None:
    design = plans.Design(pairing="adaptive", adaptive_after=10, across_rates="neighbours", tolerance=0.02)
    made = study(tmp_path, rates=2, pictures=1, design=design)
    questions = plans.comparisons(made.plan, made.stimuli)
    chooser = Chooser(made.plan, questions)
    chance = random.Random(1)

    def ask() -> None:
        chosen = chooser.choose((), chance)
        assert chosen is not None
        # the first question is a close call, all others are plain
        chooser.voted(chosen.number, chance.randrange(2) if chosen.number == 0 else 0)

    early = 0
    while any(sum(chooser.votes.get(c.number, [0])) < 10 for c in questions) and early < 200:
        ask()
        early += 1
    assert early < 120  # every pair has its first votes before any is preferred for long
    asked = dict(chooser.asked)
    for _ in range(100):
        ask()
    more = {c.number: chooser.asked[c.number] - asked.get(c.number, 0) for c in questions}
    assert more[0] > 100 / len(questions)


@pytest.mark.parametrize("trials", [1, 2, 5, 30])
@pytest.mark.parametrize("checks", [(0, 0, 0), (2, 4, 3), (0, 0, 5), (5, 5, 0)])
def test_sessions_have_all_their_checks(tmp_path: Path, trials: int, checks: tuple[int, int, int]) -> None:
    made = study(tmp_path)
    plan = dataclasses.replace(made.plan, design=plans.Design(trials=trials), checks=plans.Checks(3, *checks))
    for seed in range(20):
        order = slots.slots(plan, 100, str(seed))
        kinds = [kind for kind, _ in order]
        wanted = {"pair": trials, "identical": checks[0], "trap": checks[1], "repeat": min(checks[2], trials)}
        assert {k: kinds.count(k) for k in wanted} == wanted and kinds[0] == "pair"
        for place, (kind, again) in enumerate(order):
            if kind == "repeat":
                assert again is not None and again < place and kinds[again] == "pair"
                assert trials < 30 or place - again > slots.REPEAT_AFTER


# the commands, from the plan to the report


@pytest.mark.slow
def test_from_the_plan_to_the_report(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 6)
    # three rates: of two the curves of the scores did not overlap in 3 of 33 runs, as the votes are not seeded
    good, bad = coded(tmp_path / "good", images, 6, rates=3), coded(tmp_path / "bad", images, 25, 1010, rates=3)
    out = command(
        "study", "new", tmp_path / "s", "--images", images, "--folder", f"good={good}", "--folder", f"bad={bad}",
        "--votes", 15, "--seed", 3, "--across-rates", "neighbours", "--trials", 12, "--title", "<b>Tom & Jerry</b>",
    )  # fmt: skip
    assert "6 pictures, 2 methods, 3 rates: 66 pairs" in out and "990 votes are planned" in out
    assert "smallest preference that 90 votes" in out
    assert "simulated" in command("study", "simulate", tmp_path / "s", "--raters", 24, "--spammers", 3)
    out = command(
        "study", "report", tmp_path / "s", "--out", tmp_path / "out", "--metrics", "psnr,ssim", "--resamples", 200
    )
    assert "SIMULATED RATERS" in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Simulated raters." in page and "<b>Tom" not in page and "&lt;b&gt;Tom" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    for name in ("votes", "people", "preferences", "scores", "bits", "metrics", "stimuli"):
        rows = list(csv.DictReader((tmp_path / "out" / f"{name}.csv").read_text().splitlines()))
        assert rows and {r["simulated"] for r in rows} == {"yes"}, name
    people = list(csv.DictReader((tmp_path / "out" / "people.csv").read_text().splitlines()))
    assert any(r["excluded"] == "yes" and r["why"] for r in people)

    listed = command("study", "person", tmp_path / "s").splitlines()
    code, session, phase, _, simulated = next(line.split("\t") for line in listed[1:] if "\tdone\t" in line)
    assert (phase, simulated) == ("done", "yes")
    assert session in command("study", "person", tmp_path / "s", code)
    assert f"deleted {session}" in command("study", "person", tmp_path / "s", code, "--delete")
    done = CliRunner().invoke(app, ["study", "person", str(tmp_path / "s"), code])
    assert done.exit_code == 1 and done.output.startswith("dpc: error: nobody is known")


def test_simulated_raters_are_left_out_beside_people(tmp_path: Path) -> None:
    made = study(tmp_path, design=plans.Design(votes=100, trials=3), checks=plans.Checks(0, 0, 0, 0))
    kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    assert simulate.fill(made, kept, 4) == 12
    person = kept.start("f" * 32)
    kept.screened(person.name, {}, "")
    while trials := kept.state(person.name)[1]:
        kept.vote(person.name, trials[0].token, "a", 3.0, {})
    kept.close()
    command("study", "report", made.folder, "--out", tmp_path / "out", "--metrics", "none")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "12 votes of simulated raters are left out" in page and "No person was asked" not in page
    votes = list(csv.DictReader((tmp_path / "out" / "votes.csv").read_text().splitlines()))
    assert {v["rater"] for v in votes} == {person.name} and {v["simulated"] for v in votes} == {"no"}


def test_a_report_tells_when_the_rules_were_set(tmp_path: Path) -> None:
    made = study(tmp_path, design=plans.Design(votes=100, trials=3), checks=plans.Checks(0, 0, 0, 0))
    file, database = made.folder / "study.toml", made.folder / "votes.sqlite"
    plan = file.read_text()

    def take_part(simulated: bool = False) -> str:
        now = stimuli.read(made.folder)
        kept = store.Store(now.plan, now.stimuli, default_url(made.folder), stimuli.secret(made.folder))
        name = kept.start(random.randbytes(16).hex(), simulated=simulated).name
        kept.screened(name, {}, "")
        while trials := kept.state(name)[1]:
            kept.vote(name, trials[0].token, "a", 3.0, {})
        kept.close()
        return name

    def told() -> str:
        command("study", "report", made.folder, "--out", tmp_path / "out", "--metrics", "none", "--resamples", 100)
        page = (tmp_path / "out" / "report.html").read_text()
        found = re.search(r'<p class="soft">(Rules [^<]*)', page)
        assert found is not None
        return found[1]

    take_part(simulated=True)
    assert "set in the plan before the votes" in told()
    file.write_text(plan.replace("attention = 0.7", "attention = 0.9"))  # after the rehearsal, before people
    assert "changed after the first vote" in told()
    first = take_part()
    assert "set in the plan before the votes" in told() and "at least 90 %" in told()
    file.write_text(plan)
    take_part()
    assert "changed after the first vote" in told() and "attention 0.9" in told()
    # of a database that had votes before dpc kept the rules nothing is claimed
    with sqlite3.connect(database) as c:
        c.execute("delete from rules")
    take_part()
    assert "is not known" in told()
    # nor do votes that were all deleted decide
    for _, name, *_ in made_codes(made):
        command("study", "person", made.folder, name, "--delete")
    second = take_part()
    assert first != second and "set in the plan before the votes" in told()
    table = tmp_path / "t.csv"
    table.write_text("picture,a,b,votes_a,votes_b\np,a,b,1,2\n")
    command("study", "report", table, "--out", tmp_path / "out2")
    assert "before the votes" not in (tmp_path / "out2" / "report.html").read_text()


def made_codes(made: stimuli.Made) -> list[tuple[str, str, str, int, bool]]:
    kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    found = kept.codes()
    kept.close()
    return found


def test_the_example_is_made(tmp_path: Path) -> None:
    out = command(
        "study", "new", tmp_path / "s", "--example", "--codecs", "dpc,jpeg2000", "--seed", 1, "--colour", "off"
    )
    assert f"dpc study serve {tmp_path / 's'}" in out
    plan = stimuli.read(tmp_path / "s").plan
    assert [p.name for p in plan.pictures] == ["coffee", "photo"] and plan.rates == ("0.2",)
    codecs, _ = stimuli.example_codecs()
    assert codecs[0] == "dpc" and {"avif", "jpeg2000"} <= set(codecs)
