"""Runs and reports of detection: rows that go on, equal rates, failures that cost their own rows, and the page."""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import json
import math
import os
import re
import shutil
import signal
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import make_detection as make
import numpy as np
import pytest
from paths import ROOT, python_path
from PIL import Image
from typer.testing import CliRunner

from dpc.cli import app
from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation.compression import curves
from dpc.evaluation.detection import dataset, examples, rates, report, rows, run
from dpc.evaluation.detection.run import Plan, detect
from dpc.evaluation.experiment import subjects

MODEL = ROOT / "src" / "dpc" / "codec" / "models" / "dpc-8.dpcmodel"
pytest.importorskip("onnx")
pytest.importorskip("pycocotools")
from dpc.evaluation.detection import scoring  # noqa: E402


@pytest.fixture
def data(tmp_path: Path) -> dataset.Dataset:
    return dataset.read(make.dataset(tmp_path / "set"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(("jpeg", "webp"), {"": (10, 60)}, detectors=(str(make.detector(tmp_path / "detector")),))


def boxes(row: rows.Row) -> list[list[float]]:
    return row.found.tolist()


# rows


def row(**changes: Any) -> rows.Row:
    given: dict[str, Any] = {
        "detector": "d", "detector_version": "1", "detector_settings": "a; b", "codec": "c:d/e", "version": "v, 1",
        "settings": 'a "quoted" one', "model": "", "annotations": "ff", "image": 7, "file": "p.jpg", "sha256": "ab",
        "width": 10, "height": 20, "quality": 12.5, "target": None, "bytes": 25, "bpp": 1.0, "dpc": "0", "commit": "",
        "tools": "", "found": rows.rounded(np.array([[1, 0.123456, 1.234, -2, 30, 40.006], [90, 1, 0, 0, 1, 1]])),
    }  # fmt: skip
    return rows.Row(**given | changes)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = rows.file_of(tmp_path / "rows", "c:d/e")
    assert file.name == "c-d-e.csv.gz"
    given = [row(), row(target=0.25, found=np.zeros((0, 6))), row(quality=math.nan, codec=rows.ORIGINAL)]
    rows.append(file, given[:1])
    rows.append(file, given[1:])
    back = rows.read(file)
    assert [r.key for r in back] == [r.key for r in given] and [boxes(r) for r in back] == [boxes(r) for r in given]
    assert [r.point for r in back] == [(12.5, None), (None, 0.25), (None, None)]
    rows.write(file, back)
    first = file.read_bytes()
    rows.write(file, rows.read(file))
    assert file.read_bytes() == first and not list(file.parent.glob("*.part"))
    assert rows.read(tmp_path / "none.csv.gz") == []
    many = row(found=np.ones((6000, 6)))
    rows.write(file, [many])
    assert len(rows.read(file)[0].found) == 6000


def test_what_a_killed_run_leaves_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv.gz"
    rows.append(file, [row(image=1), row(image=2)])
    whole = file.stat().st_size
    rows.append(file, [row(image=3)])
    data = file.read_bytes()
    for cut in (whole, whole + 1, whole + 30, len(data) - 1):
        file.write_bytes(data[:cut])
        assert [r.image for r in rows.read(file)] == ([1, 2, 3] if cut == len(data) - 1 else [1, 2])
    file.write_bytes(data[: whole - 9])  # one part, as a finished run leaves it, without its end
    assert [r.image for r in rows.read(file)][:1] == [1]


def test_rows_that_are_damaged_are_refused_and_stay(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    detect(plan, data, out)
    file = out / "rows" / "jpeg.csv.gz"
    sound = file.read_bytes()
    middle = len(sound) // 2
    flipped = sound[:middle] + bytes([sound[middle] ^ 8]) + sound[middle + 1 :]
    for content in (flipped, sound + b"more", b"a text", gzip.compress(b"a,b\n1,2\n")):
        file.write_bytes(content)
        with pytest.raises(DPCError, match="does not hold rows of this version") as error:
            detect(plan, data, out)
        assert "\n" not in str(error.value) and str(file) in str(error.value)
        assert file.read_bytes() == content


# runs


def test_rows_are_those_of_real_files(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    done = detect(plan, data, tmp_path / "out")
    assert done.new == len(done.rows) == 6 * (1 + 2 * 2) and not done.failures and not done.missing
    found = run.detector(plan.detectors[0], 1, "cpu")
    for r in done.rows:
        original = np.asarray(Image.open(tmp_path / "set" / "images" / r.file))
        shown, size = original, (tmp_path / "set" / "images" / r.file).stat().st_size
        if r.codec != rows.ORIGINAL:
            codec = baselines.get(r.codec)
            coded = codec.encode(original, r.quality)
            shown, size = codec.decode(coded), len(coded)
            assert (r.version, r.settings) == (codec.version, codec.settings)
        assert (r.bytes, r.bpp) == (size, pytest.approx(8 * size / 64**2))
        expected = rows.rounded(run.boxes_of(found.detect(shown), done.labels["squares"]))
        assert boxes(r) == expected.tolist()
        assert r.detector_settings == found.settings and r.annotations == data.sha256
    assert {p.name for p in (tmp_path / "out" / "rows").iterdir()} == {
        "original.csv.gz",
        "jpeg.csv.gz",
        "webp.csv.gz",
    }


def test_it_goes_on_where_it_stopped(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = detect(plan, data, out)
    files = {p: p.read_bytes() for p in (out / "rows").iterdir()}
    assert detect(plan, data, out).new == 0
    assert files == {p: p.read_bytes() for p in (out / "rows").iterdir()}
    # killed after two pictures and within the third
    kept = [r for r in whole.rows if r.codec == "jpeg"][:5]
    (out / "rows" / "jpeg.csv.gz").unlink()
    rows.append(out / "rows" / "jpeg.csv.gz", kept)
    with open(out / "rows" / "jpeg.csv.gz", "ab") as file:
        file.write(gzip.compress(b"cut off")[:14])
    assert detect(plan, data, out).new == 7
    assert files == {p: p.read_bytes() for p in (out / "rows").iterdir()}
    # another codec leaves the files of the others alone
    assert detect(replace(plan, codecs=("jpeg2000",), qualities={"": (0.5,)}), data, out).new == 6
    assert all(p.read_bytes() == content for p, content in files.items())


def test_rows_of_a_replaced_picture_are_not_mixed_with_the_others(
    data: dataset.Dataset, plan: Plan, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = detect(plan, data, out)
    first = data.pictures[0]
    before = first.path.read_bytes()
    Image.fromarray(np.asarray(Image.open(first.path))[::-1]).save(first.path)
    done = detect(plan, data, out)
    assert done.new == 5 and len(done.rows) == len(whole.rows)
    own = [r for r in done.rows if r.image == first.id]
    assert {r.sha256 for r in own} == {hashlib.sha256(first.path.read_bytes()).hexdigest()} and len(own) == 5
    first.path.write_bytes(before)  # the rows of the picture that it was are there still
    again = detect(plan, data, out)
    assert again.new == 0 and {r.key for r in again.rows} == {r.key for r in whole.rows}


def test_a_second_detector_needs_its_own_rows_only(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    detect(plan, data, tmp_path / "out")
    other = tmp_path / "detector" / "other.toml"
    other.write_text(make.TOML + "score = 0.3\n")
    both = detect(replace(plan, detectors=(*plan.detectors, str(other))), data, tmp_path / "out")
    assert both.new == 30 and len(both.rows) == 60
    assert {r.detector for r in both.rows} == {"squares", "other"}


def test_rates_on_average(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    wanted = replace(plan, qualities={}, targets=(1.0, 2.0, 3.0))
    done = detect(wanted, data, tmp_path / "out")
    for codec in ("jpeg", "webp"):
        by_quality: dict[float, list[float]] = {}
        for r in done.rows:
            if r.codec == codec:
                assert r.target is None
                by_quality.setdefault(r.quality, []).append(r.bpp)
        means = sorted(float(np.mean(v)) for v in by_quality.values())
        assert len(means) == 3 and {len(v) for v in by_quality.values()} == {6}
        assert means[0] < 1.0 < 2.0 == pytest.approx(means[1], rel=0.1) and means[2] > 3.0
    text = (tmp_path / "out" / "qualities.csv").read_text()
    again = detect(wanted, data, tmp_path / "out")
    assert again.new == 0 and (tmp_path / "out" / "qualities.csv").read_text() == text


def test_the_search_for_a_mean_rate() -> None:
    class Codec:
        qualities = range(100)
        coded: list[int] = []

        def encode(self, image: Any, quality: int) -> bytes:
            self.coded.append(quality)
            return bytes(round(40 * 1.05**quality))

    codec: Any = Codec()
    image = np.zeros((64, 64, 3), np.uint8)
    found = rates.mean_qualities(codec, [image, image], [0.1, 1.0, 9.0, 100.0, 0.001])
    for rate in (0.1, 1.0, 9.0):
        assert found[rate][1] == pytest.approx(rate, rel=0.03)
        assert found[rate][1] == 8 * round(40 * 1.05 ** found[rate][0]) / 64**2
    assert found[100.0][0] == 99 and found[0.001][0] == 0
    assert len(codec.coded) <= 2 * 40
    codec.coded.clear()
    again = rates.mean_qualities(codec, [image, image], [1.0], {found[1.0][0]: found[1.0][1]})
    assert again == {1.0: found[1.0]} and not codec.coded


def test_rates_of_every_picture(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    wanted = replace(plan, qualities={}, targets=(1.5, 2.5), match="image", codecs=("jpeg", "dpc"))
    done = detect(wanted, data, tmp_path / "out")
    coded = [r for r in done.rows if r.codec != rows.ORIGINAL]
    assert len(coded) == 24
    assert {(r.codec, r.target) for r in coded} == {(c, g) for c in ("jpeg", "dpc") for g in (1.5, 2.5)}
    near = [(r.target, r.bpp) for r in coded if r.codec == "jpeg"]
    assert all(bpp == pytest.approx(target, rel=0.15) for target, bpp in near), near
    assert len({r.quality for r in coded if r.codec == "jpeg" and r.target == 2.5}) > 1
    assert detect(wanted, data, tmp_path / "out").new == 0


def test_what_fails_costs_its_own_rows(
    data: dataset.Dataset, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = baselines.get("webp")
    broken_at = np.asarray(Image.open(data.pictures[1].path))

    class Broken:
        name, version, settings, qualities = "webp", "1", "", real.qualities

        def encode(self, image: Any, quality: float) -> bytes:
            if quality == 60 and np.array_equal(image, broken_at):
                raise ZeroDivisionError("by nothing")
            return real.encode(image, quality)

        def decode(self, data: bytes) -> Any:
            return real.decode(data)

    codecs = {"webp": Broken(), "jpeg": baselines.get("jpeg")}
    monkeypatch.setattr(subjects, "codec_of", lambda name, *_: codecs[name])
    data.pictures[2].path.write_bytes(b"broken since the set was read")
    done = detect(plan, data, tmp_path / "out")
    assert [(f.codec, f.image, f.what) for f in done.failures] == [("webp", "1.png", "quality 60"), ("", "2.png", "")]
    assert done.new == 24 and "ZeroDivisionError: by nothing" in (tmp_path / "out" / "failures.csv").read_text()
    # what is not complete is not scored; here that is everything, as one picture is missing
    truth = scoring.Truth(data)
    lines: list[str] = []
    written = report.report(done, data, truth, tmp_path / "out", resamples=0, examples=0, say=lines.append)
    assert written.summary == [] and any("not complete" in line for line in lines)


def _dies_at_11(task: Any) -> Any:
    if task.picture.id == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return run.measure(task)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_processes_give_the_same_rows_and_one_that_dies_costs_its_picture(
    data: dataset.Dataset, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    one = detect(plan, data, tmp_path / "one", progress=shares.append)
    assert shares == [i / 6 for i in range(1, 7)]
    monkeypatch.setattr(run, "measure", _dies_at_11)
    monkeypatch.setenv("PYTHONPATH", python_path(__file__))
    two = detect(plan, data, tmp_path / "two", processes=2)
    assert [(f.image, f.reason) for f in two.failures] == [("1.png", "the process died (out of memory?)")]
    same = {r.key: boxes(r) for r in one.rows if r.image != 11}
    assert {r.key: boxes(r) for r in two.rows} == same and len(same) == 25


def test_ray_gives_the_same_rows(
    data: dataset.Dataset, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one = detect(plan, data, tmp_path / "one")
    ray = detect(plan, data, tmp_path / "ray", processes=2, engine="ray")
    assert {r.key: boxes(r) for r in one.rows} == {r.key: boxes(r) for r in ray.rows} and not ray.failures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codecs": ("jpg",)}, "'jpg' is unknown"),
        ({"codecs": ()}, "no codec was given"),
        ({"codecs": ("dpc:dpc-8", f"dpc:{MODEL}")}, "are both called dpc:dpc-8"),
        ({"qualities": {"jpeg": (101.0,)}}, "jpeg takes a quality of 1 to 95, not 101"),
        ({"targets": (0.0,)}, "rates of 0; give some"),
        ({"targets": ()}, "rates of nothing"),
        ({"match": "none"}, "choose from average, image"),
        ({"detectors": ()}, "no detector was given"),
        ({"folders": {"jpeg": "."}}, "give it another name"),
        ({"folders": {"mine": "nowhere"}}, "holds no sizes.csv"),
    ],
)
def test_a_plan_that_cannot_be_carried_out(
    data: dataset.Dataset, plan: Plan, tmp_path: Path, changes: Any, message: str
) -> None:
    with pytest.raises(DPCError, match=message):
        detect(replace(plan, **changes), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_said_before_anything_is_coded(
    data: dataset.Dataset, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="serial, processes, ray"):
        detect(plan, data, tmp_path / "out", engine="dask")
    with pytest.raises(OptionError, match="two detectors have one name"):
        detect(replace(plan, detectors=plan.detectors * 2), data, tmp_path / "out")
    (tmp_path / "detector" / "trees.toml").write_text(make.TOML.replace('"red"', '"tree"'))
    with pytest.raises(OptionError, match=r"trees does not know 1 of the 2 annotated categories \(red\)"):
        detect(replace(plan, detectors=(str(tmp_path / "detector" / "trees.toml"),)), data, tmp_path / "out")
    monkeypatch.setenv("PATH", "/nowhere")
    subjects.codec_of.cache_clear()
    with pytest.raises(ToolMissing, match="bellard.org"):
        detect(replace(plan, codecs=("bpg",)), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert set(detect(replace(plan, codecs=("bpg", "jpeg")), data, tmp_path / "out").missing) == {"bpg"}


def test_a_folder_is_measured_at_all_it_has(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    detect(replace(plan, codecs=("dpc:dpc-8",), qualities={"": (40.0,)}), data, tmp_path / "out")
    lines = ["image,qp,bytes,decoded"]
    for p in data.pictures:
        shutil.copy(p.path, folder / p.path.name)
        lines.append(f"{p.path.stem},30,500,{p.path.name}")
    (folder / "sizes.csv").write_text("\n".join(lines) + "\n")
    both = {"mine": str(folder), "dpc-dpc-8": str(folder)}  # the second goes into the file of dpc:dpc-8
    done = detect(replace(plan, codecs=(), folders=both), data, tmp_path / "out")
    assert done.new == 12 and sum(r.codec == "dpc:dpc-8" for r in done.rows) == 6
    of = {name: {r.image: boxes(r) for r in done.rows if r.codec == name} for name in ("mine", rows.ORIGINAL)}
    assert of["mine"] == of[rows.ORIGINAL] and {r.bytes for r in done.rows if r.codec == "mine"} == {500}


# the report


class Page(HTMLParser):
    """Tags and what a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]


def lines_of(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as source:
        return list(csv.DictReader(source))


def test_the_report(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    out = tmp_path / "out"
    done = detect(replace(plan, qualities={"": (1, 10, 30, 60, 90)}), data, out)
    truth = scoring.Truth(data)
    lines: list[str] = []
    written = report.report(
        done, data, truth, out, targets=(1.5, 2.5, 50.0), resamples=30, examples=2, example_bpp=2.0, say=lines.append
    )
    assert sum("scored" in line for line in lines) == 11
    table = lines_of(out / "table.csv")
    assert len(table) == 1 + 2 * 5
    for line in table:
        mine = {
            r.image: r.found
            for r in done.rows
            if r.codec == line["codec"] and (r.codec == rows.ORIGINAL or f"quality {r.quality:g}" == line["point"])
        }
        assert float(line["AP"]) == pytest.approx(truth.evaluate(mine).values["AP"], rel=1e-5)
        assert float(line["AP_low"]) <= float(line["AP_high"])
    # at equal bytes: between the two neighbours, linear in log bpp
    points = sorted((float(t["bpp"]), float(t["AP"])) for t in table if t["codec"] == "webp")
    rates = lines_of(out / "at-rate.csv")
    assert {r["figure"] for r in rates} == {"AP", "APs", "kept"}  # all boxes are small
    at = {(r["codec"], r["bpp"]): r for r in rates if r["figure"] == "AP"}
    assert float(at["webp", "2.5"]["value"]) == pytest.approx(curves.at(points, 2.5), rel=1e-4)
    assert ("webp", "50") not in at
    # differences are paired, and the other way round they are the opposite
    pairs = {(r["codec"], r["other"], r["bpp"]): r for r in lines_of(out / "differences.csv") if r["figure"] == "AP"}
    one, back = pairs["webp", "jpeg", "2.5"], pairs["jpeg", "webp", "2.5"]
    difference = float(at["webp", "2.5"]["value"]) - float(at["jpeg", "2.5"]["value"])
    assert float(one["difference"]) == pytest.approx(difference, abs=1e-5) == -float(back["difference"])
    assert float(one["low"]) == pytest.approx(-float(back["high"]), abs=1e-6)
    page = written.page.read_text()
    parsed = Page(page)
    assert all(link.startswith(("data:", "#")) for link in parsed.fetched) and "script" not in parsed.tags
    assert parsed.tags.count("img") == 2 * 3 and "against jpeg" in page and "on average" in page
    assert "minus each of the others" in page and "30 resamples" in page
    assert html.escape(done.rows[0].detector_settings) in page
    sizes = [int(n.replace(",", "")) for n in re.findall(r"</b> ([\d,]+) bytes", page)]
    assert len(sizes) == 6 and all(size <= 2.0 * 64 * 64 / 8 for i, size in enumerate(sizes) if i % 3)
    assert written.summary[0].startswith("squares, uncompressed: AP ") and "2.5 bpp" in written.summary[1]
    # the second time nothing is scored again, and everything is the same
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    lines.clear()
    report.report(done, data, truth, out, targets=(1.5, 2.5, 50.0), resamples=30, examples=2, example_bpp=2.0)
    assert not lines and before == {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    with pytest.raises(OptionError, match="'x' is not among the codecs jpeg, webp"):
        report.report(done, data, truth, out, resamples=0, examples=0, anchor="x")


def test_several_detectors_have_a_mean(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    strict = tmp_path / "detector" / "strict.toml"
    strict.write_text(make.TOML + "score = 0.3\n")
    both = replace(plan, detectors=(plan.detectors[0], str(strict)), qualities={"": (1, 10, 30, 60, 90)})
    done = detect(both, data, tmp_path / "out")
    # webp hides some pictures from each detector
    hides = {("webp", "squares", 12), ("webp", "strict", 10), ("webp", "strict", 11)}
    hidden = [replace(r, found=r.found[:0]) if (r.codec, r.detector, r.image) in hides else r for r in done.rows]
    done = replace(done, rows=hidden)
    report.report(done, data, scoring.Truth(data), tmp_path / "out", targets=(2.5,), resamples=20, examples=0)
    lines = [r for r in lines_of(tmp_path / "out" / "differences.csv") if (r["codec"], r["other"]) == ("webp", "jpeg")]
    of = {(r["detector"], r["figure"]): {c: float(r[c]) for c in ("difference", "low", "high")} for r in lines}
    mean = "mean of 2 detectors"
    assert {name for name, _ in of} == {mean, "squares", "strict"}
    for figure in ("AP", "APs", "kept"):
        one, other = of["squares", figure], of["strict", figure]
        assert of[mean, figure]["difference"] == pytest.approx((one["difference"] + other["difference"]) / 2, abs=2e-6)
        # standard deviations of a sum: no more than their sum, and no less than their difference
        half, a, b = ((x["high"] - x["low"]) / 2 for x in (of[mean, figure], one, other))
        assert abs(a - b) / 2 - 1e-6 <= half <= (a + b) / 2 + 1e-6
    assert of["squares", "AP"] != of["strict", "AP"]
    text = (tmp_path / "out" / "table.md").read_text()
    subject = "jpeg"  # no DPC is there, so the anchor is set against the others
    assert f"### AP: {subject} minus the others" in text and text.count(f"| {mean} | webp |") == 2 * 3
    for line in re.findall(r"^\|.*\| ([*+-][^|]*) \|$", text, re.M):
        _, low, high = (float(n) for n in re.findall(r"[+-]?\d+\.\d", line))
        assert line.startswith("**") == (low > 0 or high < 0), line
    page = (tmp_path / "out" / "detect.html").read_text()
    assert page.count(f">{mean}</h2>") == 1 and page.count("Rate at equal AP") == 2


def test_detections_kept_are_of_the_categories_that_are_scored(
    data: dataset.Dataset, plan: Plan, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    red = dataset.read(tmp_path / "set" / "instances.json", categories=("red",))
    done = detect(replace(plan, codecs=("jpeg",), qualities={"": (1,)}), red, tmp_path / "out")
    # a codec that hides everything blue, which does not count, and all of one picture
    hidden = [
        replace(r, found=r.found[:0] if r.image == 10 else r.found[r.found[:, 0] == 1]) if r.codec == "jpeg" else r
        for r in done.rows
    ]
    report.report(replace(done, rows=hidden), red, scoring.Truth(red), tmp_path / "out", resamples=0, examples=0)
    strong = {
        r.image: r.found[r.found[:, 1] >= scoring.SCORE, 0].tolist() for r in done.rows if r.codec == rows.ORIGINAL
    }
    counts = {image: found.count(1) for image, found in strong.items()}
    assert counts[10] and any(2 in found for found in strong.values())
    (line,) = (r for r in lines_of(tmp_path / "out" / "table.csv") if r["codec"] == "jpeg")
    assert float(line["kept"]) == pytest.approx(1 - counts[10] / sum(counts.values()), rel=1e-5)


def test_identical_codecs_differ_by_nothing(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    done = detect(replace(plan, codecs=("jpeg",), qualities={"": (1, 20, 50, 90)}), data, tmp_path / "out")
    twins = [replace(r, codec="dpc:twin") for r in done.rows if r.codec == "jpeg"]
    both = replace(done, rows=[*done.rows, *twins])
    report.report(both, data, scoring.Truth(data), tmp_path / "out", targets=(1.5,), resamples=20, examples=0)
    for r in lines_of(tmp_path / "out" / "differences.csv"):
        assert (float(r["difference"]), float(r["low"]), float(r["high"])) == (0, 0, 0)
    for r in lines_of(tmp_path / "out" / "bd-rate.csv"):
        assert (r["codec"], r["anchor"], float(r["percent"])) == ("dpc:twin", "jpeg", pytest.approx(0, abs=1e-6))
    page = (tmp_path / "out" / "detect.html").read_text()
    assert "dpc:twin minus each of the others" in page and "<img" not in page


@pytest.mark.parametrize(
    ("kind", "box", "place"),
    [
        ("found", (10, 20, 30, 15), (14, 36, False)),
        ("missed", (-5, -5, 30, 15), (4, 16, False)),  # a box reaches beyond the picture, its name does not
        ("false", (10, 20, 30, 100), (14, 58, False)),
        ("found", (50, 20, 40, 15), (60, 36, True)),  # near the right border a name ends at the box's right edge
    ],
)
def test_names_of_boxes_stay_in_the_picture(
    data: dataset.Dataset, kind: str, box: tuple[float, ...], place: tuple[float, float, bool]
) -> None:
    mark = examples._mark(kind, box, "red", "words", data.pictures[0])  # of 64x64
    assert (mark["x"], mark["y"], mark["at_right"]) == place


@pytest.mark.browser
def test_boxes_can_be_switched_off_in_a_browser(data: dataset.Dataset, plan: Plan, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on the PATH; apt-get install chromium")
    pytest.importorskip("matplotlib")
    done = detect(replace(plan, codecs=("jpeg",)), data, tmp_path / "out")
    made = report.report(done, data, scoring.Truth(data), tmp_path / "out", resamples=0, examples=1, example_bpp=3.0)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(made.page.as_uri())
        box = page.locator(".found .box").first
        assert box.is_visible()
        page.locator("#show-found").focus()
        page.keyboard.press("Space")
        assert not box.is_visible()
        figure = page.locator(".examples figure").first
        before = figure.bounding_box()["width"]
        page.locator(".large").first.check()
        assert figure.bounding_box()["width"] > 1.5 * before
        page.set_viewport_size({"width": 360, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        browser.close()


# the command


def test_the_command(data: dataset.Dataset, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "out"
    start = ["detect", str(tmp_path / "set" / "instances.json"), "--detector", plan.detectors[0], "--out", str(out)]
    start += ["--codecs", "jpeg,webp", "--resamples", "5", "--examples", "1", "--example-bpp", "3"]
    done = CliRunner().invoke(app, [*start, "--bpp", "1,2,3,4"])
    assert done.exit_code == 0, done.output
    assert f"{out / 'detect.html'}: 54 rows, 54 of them new; 0 failed" in done.output
    assert "18 boxes of 2 categories" in done.output and "suppression per class at IoU 0.65" in done.output
    assert "squares, uncompressed: AP" in done.output and "s left" in done.output
    for more, message in (
        (["--anchor", "jpg"], "--anchor jpg is not among the codecs jpeg, webp"),
        (["--example-bpp", "30"], "--example-bpp 30: give bits per pixel"),
    ):
        other = [str(tmp_path / "new") if word == str(out) else word for word in start]
        done = CliRunner().invoke(app, [*other, "--bpp", "1,2,3,4", *more])
        assert done.exit_code == 1 and message in done.output and not (tmp_path / "new").exists()
    done = CliRunner().invoke(app, [*start, "--bpp", "1,2,3,4", "--limit", "4", "--categories", "red"])
    assert done.exit_code == 0 and "0 of them new" in done.output, done.output
    (tmp_path / "set" / "instances.json").write_text(json.dumps({"images": [], "categories": [], "annotations": []}))
    done = CliRunner().invoke(app, start)
    assert done.exit_code == 1 and "dpc: error:" in done.output and "has no categories" in done.output
