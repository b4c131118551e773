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
from study_server import coded, originals, prepared, study
from typer.testing import CliRunner

from dpc.cli import app
from dpc.errors import DPCError, ImageError, OptionError
from dpc.study import collected, example, plan_file, power, prepare, simulate, slots, sources, stimuli, store
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
    assert plan_file.read(made.folder) == made.plan
    draft = plan_file.read_draft(made.folder / "study.toml")
    plan_file.write(draft, tmp_path / "again.toml")
    assert plan_file.read_draft(tmp_path / "again.toml") == draft and draft.title == made.plan.title
    back = {s.id: s.sha256 for s in stimuli.read(made.folder).stimuli}
    assert back == {s.id: s.sha256 for s in made.stimuli}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 2", "format = 3", "is of format 3"),
        (
            'pairing = "full"',
            'pairing = "all"',
            "design.pairing: Input should be 'full', 'random' or 'adaptive' (it is 'all')",
        ),
        ("not_sure = true", "not_sure = 1", "design.not_sure: Input should be a valid boolean (it is 1)"),
        ("votes = 100000", "votes = 0", "design.votes: Input should be greater than or equal to 1 (it is 0)"),
        ("votes = 100000", "votes = true", "design.votes: Input should be a valid integer (it is True)"),
        ("votes = 100000", "vote = 3", "design.vote: unknown; look for a spelling mistake"),
        ("votes = 100000", "votes = " + "9" * 5000, "is not TOML"),
        ("seed = 7", "seed = ", "is not TOML"),
        ("tolerance = 0.02", "tolerance = nan", "design.tolerance: Input should be"),
        ("tolerance = 0.02", "tolerance = -0.1", "greater than or equal to 0"),
        ("bpp = []", "bpp = [0.5, 0.2]", "from the lowest to the highest"),
        ("bpp = []", "bpp = [inf]", "Input should be a finite number"),
        ('crop = ""', 'crop = "64 by 48"', "(it is '64 by 48')"),
        ("codecs = []", 'codecs = ["a@b"]', "must not be empty and not hold an @"),
        ('completion_link = ""', 'completion_link = "javascript:x"', "begins with https"),
        ("seed = 7", "seed = 8", "seed = 8, but the pictures were made with 7"),
        ("tolerance = 0.02", "tolerance = 0.05", "design.tolerance = 0.05, but the pictures were made with 0.02"),
    ],
)
def test_a_faulty_plan_is_refused_with_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    made = study(tmp_path, pictures=1)
    file = made.folder / "study.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        plan_file.read(made.folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_people_see_may_be_changed_afterwards(tmp_path: Path) -> None:
    made = study(tmp_path, pictures=1)
    file = made.folder / "study.toml"
    file.write_text(file.read_text().replace("votes = 100000", "votes = 5").replace('contact = ""', 'contact = "me"'))
    plan = stimuli.read(made.folder).plan
    assert (plan.design.votes, plan.people.contact) == (5, "me")


def test_a_study_of_format_1_is_still_read(tmp_path: Path) -> None:
    """What an earlier dpc wrote: everything in study.toml, no prepared.json."""
    made = study(tmp_path, pictures=1)
    (made.folder / "prepared.json").unlink()
    (made.folder / "study.toml").write_text(FORMAT_1.replace("SHA", made.plan.pictures[0].sha256))
    again = stimuli.read(made.folder)
    assert [m.name for m in again.plan.methods] == ["good", "bad"] and again.plan.rates == ("1.3",)
    assert again.plan.design.votes == 20 and again.plan.screening.plates == ("12", "57")
    kept = store.Store(again.plan, again.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    assert simulate.fill(again, kept, 2) > 0
    kept.close()
    with pytest.raises(OptionError, match="prepared by an earlier dpc"):
        prepare.prepare(made.folder)


FORMAT_1 = """\
format = 1
title = "Which?"
seed = 7
rates = ["1.3"]
question = "Which picture is closer to the original?"
crop = ""
command = "dpc study new s --images originals"
made_by = "dpc 0.1"

[design]
pairing = "full"
not_sure = true
original = "hold"
across_rates = "none"
votes = 20
trials = 3
adaptive_after = 30
tolerance = 0.02

[checks]
training = 1
identical = 1
traps = 1
repeats = 1

[screening]
screen = "any"
colour = "ask"
plates = ["12", "57"]

[exclusion]
attention = 0.7
consistency = 0.01
likelihood = 3.0
seconds = 1.0
side = 0.0001

[people]
organiser = ""
contact = ""
platform = "none"
completion_link = ""
minimum_age = 18
about = ""

[limits]
session = 600
address = 6000
starts = 60
hours = 720

[[methods]]
name = "good"
version = "sizes.csv 1"
settings = "precomputed"

[[methods]]
name = "bad"
version = "sizes.csv 2"
settings = "precomputed"

[[pictures]]
name = "p0"
sha256 = "SHA"
width = 96
height = 64
"""


def test_what_a_number_of_votes_can_show() -> None:
    assert power.votes_needed(0.6) == 194 and power.votes_needed(0.55) == 783  # the usual tables
    assert power.smallest_preference(194) == pytest.approx(0.6, abs=1e-3)
    assert power.smallest_preference(783) == pytest.approx(0.55, abs=1e-3)
    assert power.smallest_preference(1) == 1.0


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
        kept = [
            p
            for p in sorted(made.folder.rglob("*"))
            if p.is_file() and p.name not in ("secret.key", "study.toml", "prepared.json")
        ]
        return {str(p.relative_to(made.folder)): p.read_bytes() for p in kept}

    colour = plans.Screening(colour="ask")
    first, second = (files(study(tmp_path / n, screening=colour)) for n in "ab")
    assert first == second
    assert files(study(tmp_path / "c", screening=colour, seed=8)).keys() != first.keys()


def test_sizes_that_do_not_match_are_refused_with_what_helps(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals")
    folders = [("x", coded(tmp_path / "x", images, 5, 1000)), ("y", coded(tmp_path / "y", images, 9, 1040))]
    said: list[str] = []
    with pytest.raises(OptionError, match=r"p0: x has 1,000 bytes and y 1,040, 3.8% apart; the tolerance is 3.0%"):
        prepared(tmp_path / "study", [images], folders=folders, say=said.append)
    assert sorted(p.name for p in (tmp_path / "study").iterdir()) == ["study.toml"]
    assert any("3 of 3 pictures" in line for line in said)
    assert [line for line in said if "design.tolerance = 0.039 " in line]
    with pytest.raises(OptionError, match="has no pictures yet"):
        stimuli.read(tmp_path / "study")
    file = tmp_path / "study" / "study.toml"
    file.write_text(file.read_text().replace("tolerance = 0.03", "tolerance = 0.039"))  # as it was told
    assert len(prepare.prepare(tmp_path / "study").stimuli) == 3 * 4


class Steps:
    """A codec of three sizes that counts what it encodes. at: where its scale begins, in bytes."""

    version, settings, qualities = "1", "", (1.0, 2.0, 3.0)

    def __init__(self, name: str, at: int) -> None:
        self.name, self.at, self.encoded = name, at, 0

    def encode(self, image: Any, quality: float) -> bytes:
        self.encoded += 1
        return bytes(self.at) + bytes(int(quality) * 100)

    def decode(self, data: bytes) -> Any:
        return np.full((64, 96, 3), len(data) % 256, np.uint8)


def test_what_cannot_be_reached_is_found_first_and_what_was_coded_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = originals(tmp_path / "originals", 5)
    steps = {"a": Steps("a", 0), "b": Steps("b", 0), "large": Steps("large", 150)}
    monkeypatch.setattr(sources.baselines, "get", lambda name, threads=None: steps[name])
    said: list[str] = []
    rates = [100 * 8 / (96 * 64), 300 * 8 / (96 * 64)]  # 100 and 300 bytes
    options: dict[str, Any] = {"codecs": ["a", "b", "large"], "bpp": rates, "say": said.append}
    with pytest.raises(
        OptionError, match=r"large cannot reach it: its smallest file of p0 has 250 bytes, 100 are wanted"
    ):
        prepared(tmp_path / "study", [images], **options)
    assert sum("5 of 5 pictures" in line for line in said) == 1  # the first rate; of the second nothing is known yet
    assert any(line == "  sources.codecs (or folders) without 'large'" for line in said)
    assert any(line.startswith(f"  sources.bpp = [{rates[1]:g}]") for line in said)
    assert not any("tolerance = " in line for line in said)  # 60 % apart is not offered
    before = {name: codec.encoded for name, codec in steps.items()}
    assert before == {"a": 15, "b": 15, "large": 10}  # no more than on the way to the ends
    file = tmp_path / "study" / "study.toml"
    file.write_text(file.read_text().replace('"a", "b", "large"', '"a", "b"'))
    made = prepare.prepare(tmp_path / "study")
    assert {s.bytes for s in made.stimuli if s.kind == "coded"} == {100, 300}
    assert {name: codec.encoded for name, codec in steps.items()} == before  # nothing was coded again
    # a picture that is left out
    file.write_text(file.read_text().replace("leave_out = []", 'leave_out = ["p3"]'))
    assert "p3" not in {p.name for p in prepare.prepare(tmp_path / "study").plan.pictures}
    file.write_text(file.read_text().replace('leave_out = ["p3"]', 'leave_out = ["p9"]'))
    with pytest.raises(OptionError, match="names 'p9', but no picture is called so"):
        prepare.prepare(tmp_path / "study")
    assert (tmp_path / "study" / "prepared.json").is_file()  # what was there is as it was


def test_a_study_with_votes_is_not_made_again(tmp_path: Path) -> None:
    made = study(tmp_path, pictures=1)
    store.Store(made.plan, made.stimuli, default_url(made.folder), b"x" * 32).close()
    before = {p: p.read_bytes() for p in (made.folder / "stimuli").iterdir()}
    with pytest.raises(OptionError, match="holds votes on the pictures that it has"):
        prepare.prepare(made.folder)
    assert {p: p.read_bytes() for p in (made.folder / "stimuli").iterdir()} == before


def test_codecs_are_brought_to_the_bytes_of_a_folder(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1, 192, 128)
    folders = [("given", coded(tmp_path / "given", images, 5, 2500))]
    made = prepared(tmp_path / "study", [images], folders=folders, codecs=["dpc", "jpeg2000"])
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
    with pytest.raises(OptionError, match="compressed size of .* is not known.*sources.unknown_sizes"):
        prepared(tmp_path / "s0", [images], folders=[("a", lossy), ("b", loose)])
    made = prepared(tmp_path / "s1", [images], folders=[("a", lossy), ("b", loose)], unknown_sizes=True)
    assert any("not known" in note for note in made.notes)
    for path in lossy.iterdir():  # the compressed file beside the decoded one
        (loose / f"{path.stem}.xyz").write_bytes(path.read_bytes())
    made = prepared(tmp_path / "s2", [images], folders=[("a", lossy), ("b", loose)])
    assert all(s.bytes == (lossy / f"{s.picture}.jpg").stat().st_size for s in made.stimuli if s.kind == "coded")


def test_bad_input_is_found(tmp_path: Path) -> None:
    images = originals(tmp_path / "originals", 1)
    good = coded(tmp_path / "good", images, 5)
    wrong = coded(tmp_path / "wrong", images, 5)
    Image.new("RGB", (5, 5)).save(wrong / "p0-0.png")
    cases: list[tuple[type[DPCError], str, dict[str, Any]]] = [
        (ImageError, "decode it at full size", {"folders": [("a", good), ("b", wrong)]}),
        (OptionError, "compares at least two", {"folders": [("a", good)]}),
        (OptionError, "is there twice", {"folders": [("jpeg", good)], "codecs": ["jpeg"]}),
        (OptionError, "no sizes were given", {"codecs": ["jpeg", "webp"]}),
        (OptionError, "is not a folder", {"folders": [("a", good), ("b", tmp_path / "none")]}),
        (OptionError, "codec 'jpegg' is unknown", {"codecs": ["jpegg", "jpeg"], "bpp": [1.0]}),
    ]
    for number, (kind, message, options) in enumerate(cases):
        with pytest.raises(kind, match=message):
            prepared(tmp_path / f"study{number}", [images], **options)
        assert not (tmp_path / f"study{number}" / "prepared.json").exists()
    for number, (place, message) in enumerate(
        ((tmp_path / "none", "does not exist"), (wrong.parent, "holds no pictures"))
    ):
        with pytest.raises(OptionError, match=message):
            prepared(tmp_path / f"s{number}", [place], folders=[("a", good), ("c", good)])
    with pytest.raises(OptionError, match="not empty"):
        prepared(images, [images], folders=[("a", good), ("c", good)])


def test_faults_are_found_before_a_picture_is_coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = originals(tmp_path / "originals", 2)

    def never(*_: Any) -> None:
        raise AssertionError("a picture was coded")

    monkeypatch.setattr(prepare, "Shelf", never)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    near = {"codecs": ["jpeg", "webp"], "bpp": [0.12345671, 0.12345672]}
    cases: list[tuple[str, Path, dict[str, Any]]] = [
        ("compares at least two", tmp_path / "s1", {"codecs": ["jpeg"], "bpp": [1.0]}),
        ("rate '0.123457' is there twice", tmp_path / "s2", near),
        ("cannot be replaced by a study", Path("."), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
        ("exists and is not empty", Path(".."), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
        ("cannot be replaced by a study", Path("/"), {"codecs": ["jpeg", "webp"], "bpp": [1.0]}),
    ]
    for message, place, options in cases:
        with pytest.raises(OptionError, match=message):
            prepared(place, [images], **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "originals", "s1", "s2"]


def test_a_study_is_made_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "study").symlink_to(tmp_path / "far")
    made = study(tmp_path)
    assert made.folder == tmp_path / "study" and (tmp_path / "far" / "study.toml").is_file()
    assert (tmp_path / "far").stat().st_mode & 0o777 == 0o700


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
    out = command("study", "new", tmp_path / "s", "--images", images)
    assert f"edit {tmp_path / 's' / 'study.toml'}, then: dpc study prepare" in out
    file = tmp_path / "s" / "study.toml"
    text = file.read_text()
    for old, new in (
        ("votes = 20", "votes = 15"),
        ("trials = 30", "trials = 12"),
        ("[design]", f'good = "{good}"\nbad = "{bad}"\n\n[design]'),
        ('title = "Which picture is closer to the original?"', 'title = "<b>Tom & Jerry</b>"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    out = command("study", "prepare", tmp_path / "s")
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
    assert (tmp_path / "out" / "stimuli.csv").is_file()
    for name in ("votes", "raters", "preferences", "scores", "bits", "metrics"):
        rows = list(csv.DictReader((tmp_path / "out" / f"{name}.csv").read_text().splitlines()))
        assert rows and {r["rater_kind"] for r in rows} == {"simulated"}, name
    people = list(csv.DictReader((tmp_path / "out" / "raters.csv").read_text().splitlines()))
    assert any(r["excluded"] == "yes" and r["why"] for r in people)

    listed = command("study", "person", tmp_path / "s").splitlines()
    code, session, phase, _, simulated = next(line.split("\t") for line in listed[1:] if "\tdone\t" in line)
    assert (phase, simulated) == ("done", "simulated")
    assert session in command("study", "person", tmp_path / "s", code)
    assert f"deleted {session}" in command("study", "person", tmp_path / "s", code, "--delete")
    done = CliRunner().invoke(app, ["study", "person", str(tmp_path / "s"), code])
    assert done.exit_code == 1 and done.output.startswith("dpc: error: nobody is known")


def test_every_table_keeps_kinds_of_raters_apart(tmp_path: Path) -> None:
    made = study(tmp_path, design=plans.Design(votes=100, trials=3), checks=plans.Checks(0, 0, 0, 0))
    kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    assert simulate.fill(made, kept, 4) == 12
    names = {}
    for number, kind in enumerate(("people", "model")):
        person = kept.start(f"{number + 99:032x}", kind=kind)  # type: ignore[arg-type]
        kept.screened(person.name, {}, "")
        while trials := kept.state(person.name)[1]:
            kept.vote(person.name, trials[0].token, "ab"[number], 3.0, {})
        names[kind] = {person.name}
    kept.close()
    command("study", "report", made.folder, "--out", tmp_path / "out", "--metrics", "none")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Votes of simulated raters are on a page of their own" in page and "No person was asked" not in page
    assert re.search(r"<b>3</b> votes that count", page)
    for kind, ribbon in (("simulated", "Simulated raters."), ("model", "Models.")):
        assert f"<b>{ribbon}</b> No person was asked" in (tmp_path / "out" / f"report-{kind}.html").read_text()
    found = {
        name: list(csv.DictReader((tmp_path / "out" / f"{name}.csv").read_text().splitlines()))
        for name in ("votes", "raters", "preferences", "scores")
    }
    for kind, own in names.items():
        assert {v["rater"] for v in found["votes"] if v["rater_kind"] == kind} == own
        assert {v["rater"] for v in found["raters"] if v["rater_kind"] == kind} == own
    votes = {"people": 3, "model": 3, "simulated": 12}
    for kind, count in votes.items():
        rows = [r for r in found["preferences"] if r["rater_kind"] == kind and r["set"] == "all"]
        assert sum(int(r["votes"]) for r in rows) == count
    assert {r["rater_kind"] for r in found["scores"]} == set(votes)


def test_votes_of_an_earlier_dpc_are_still_read(tmp_path: Path) -> None:
    """A database that says `simulated` where there is now a kind of rater, and has the table `rules`."""
    made = study(tmp_path, design=plans.Design(votes=100, trials=3), checks=plans.Checks(0, 0, 0, 0))
    kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    simulate.fill(made, kept, 2)
    kept.start("f" * 32)
    before = kept.votes()
    kept.close()
    with sqlite3.connect(made.folder / "votes.sqlite") as c:
        c.executescript(
            "alter table people add column simulated boolean not null default 0;"
            "update people set simulated = (kind = 'simulated'); alter table people drop column kind;"
            "create table rules (simulated boolean not null primary key, stored float not null, exclusion json not null);"
            "insert into rules select kind = 'simulated', stored, exclusion from first_rules; drop table first_rules;"
        )
    for _ in range(2):  # the second time there is nothing to do
        kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
        assert kept.votes() == before and {v.rater_kind for v in before} == {"simulated"}
        assert [kind for *_, kind in kept.codes()] == ["simulated", "simulated", "people"]
        assert set(kept.rules()) == {"simulated"}
        kept.start("e" * 32)
        kept.delete(kept.start("e" * 32).name)
        kept.close()


def test_a_report_tells_when_the_rules_were_set(tmp_path: Path) -> None:
    made = study(tmp_path, design=plans.Design(votes=100, trials=3), checks=plans.Checks(0, 0, 0, 0))
    file, database = made.folder / "study.toml", made.folder / "votes.sqlite"
    plan = file.read_text()

    def take_part(kind: Any = "people") -> str:
        now = stimuli.read(made.folder)
        kept = store.Store(now.plan, now.stimuli, default_url(made.folder), stimuli.secret(made.folder))
        name = kept.start(random.randbytes(16).hex(), kind=kind).name
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

    take_part("simulated")
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
        c.execute("delete from first_rules")
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


def made_codes(made: stimuli.Made) -> list[tuple[str, str, str, int, Any]]:
    kept = store.Store(made.plan, made.stimuli, default_url(made.folder), stimuli.secret(made.folder))
    found = kept.codes()
    kept.close()
    return found


def test_the_example_is_made(tmp_path: Path) -> None:
    out = command("study", "new", tmp_path / "s", "--example", "--codecs", "dpc,jpeg2000")
    assert f"dpc study serve {tmp_path / 's'}" in out
    plan = stimuli.read(tmp_path / "s").plan
    assert [p.name for p in plan.pictures] == ["coffee", "photo"] and plan.rates == ("0.2",)
    codecs, _ = example.example_codecs()
    assert codecs[0] == "dpc" and {"avif", "jpeg2000"} <= set(codecs)
