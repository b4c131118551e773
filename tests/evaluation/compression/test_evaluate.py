"""Evaluation: models by the benchmark's rows, at equal rates and at the sizes of precomputed files; contact sheets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dpc.cli import app  # noqa: E402
from dpc.codec.artifact import Artifact  # noqa: E402
from dpc.codec.codec import Codec  # noqa: E402
from dpc.errors import OptionError, ToolMissing  # noqa: E402
from dpc.evaluation.compression import evaluate as evaluation  # noqa: E402
from dpc.evaluation.compression.evaluate import evaluate  # noqa: E402
from dpc.evaluation.compression.rows import read  # noqa: E402
from dpc.evaluation.metrics import reference  # noqa: E402
from dpc.evaluation.metrics.psnr import psnr  # noqa: E402

TINY = ROOT / "tests" / "data" / "tiny.dpcmodel"


class Distance:
    """In place of an LPIPS network: the mean absolute difference. Counts the features of originals."""

    calls = 0

    smallest = 1

    def of(self, picture: Any) -> Any:
        Distance.calls += 1
        return picture / 255.0

    def against(self, features: Any, decoded: Any) -> Any:
        return np.abs(features - decoded / 255.0).mean()


@pytest.fixture(autouse=True)
def distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "lpips_network", lambda trunk, weights: Distance())
    Distance.calls = 0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, 208x176, cut from the demo photograph."""
    where = tmp_path_factory.mktemp("images")
    photo = Image.open(ROOT / "demo" / "photo.png").convert("RGB")
    for n in range(2):
        photo.crop((60 * n, 40, 60 * n + 208, 216)).save(where / f"p{n}.png")
    return where


# rows


def test_rows_are_those_of_real_files_near_the_rates(tmp_path: Path, images: Path) -> None:
    targets = (0.3, 0.55)
    evaluate([TINY], images, tmp_path, targets, qualities=[50], codecs=["jpeg"], crops=0)
    rows = read(tmp_path / "rows.csv")
    mine = [r for r in rows if r.codec == "dpc:tiny"]
    assert len(mine) == 6 and {r.image for r in rows} == {"p0", "p1"}
    codec = Codec(str(TINY), 1)
    for r in mine:
        path = images / f"{r.image}.png"
        original = np.asarray(Image.open(path))
        data = codec.encode(path, quality=r.quality)
        decoded = np.asarray(codec.decode(data))
        assert r.bytes == len(data) and (r.target is None or r.bpp == pytest.approx(r.target, rel=0.05))
        assert r.metrics["psnr"] == pytest.approx(psnr(original, decoded))
        assert r.metrics["lpips_alex"] == pytest.approx(np.abs(original / 255 - decoded / 255.0).mean(), rel=1e-4)
        assert set(r.metrics) == set(evaluation.METRICS) and r.model == codec.artifact.identity
    assert {r.target for r in rows if r.codec == "jpeg"} == set(targets)


def test_nothing_is_measured_twice(tmp_path: Path, images: Path) -> None:
    lines: list[str] = []
    evaluate([TINY], images, tmp_path, (0.3, 0.55), crops=0)
    before, rows = (tmp_path / "rows.csv").read_bytes(), read(tmp_path / "rows.csv")
    text = evaluate([TINY], images, tmp_path, (0.3, 0.55), crops=0, say=lines.append)
    assert (tmp_path / "rows.csv").read_bytes() == before and "0 new rows" in lines[-1]
    assert "| dpc:tiny |" in text and (tmp_path / "table.md").read_text() == text
    evaluate([TINY], images, tmp_path, (0.3, 0.55, 0.42), crops=0)
    more = read(tmp_path / "rows.csv")
    assert len(more) == 6 and [r for r in more if r in rows] == rows  # what was there stays


def test_a_model_that_was_trained_again_is_told_from_the_old_one(tmp_path: Path, images: Path) -> None:
    """Rows of another version of the model stay in the file and out of the table."""
    evaluate([TINY], images, tmp_path, (0.4,), crops=0)
    file = tmp_path / "rows.csv"
    file.write_text(file.read_text().replace("model tiny", "model other"))
    text = evaluate([TINY], images, tmp_path, (0.4,), crops=0)
    assert len(read(file)) == 4 and text.count("| dpc:tiny") == 1


def test_missing_weights_are_said_before_any_work(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(trunk: str, weights: str | None) -> Distance:
        raise ToolMissing("the LPIPS weights are not there")

    monkeypatch.setattr(reference, "lpips_network", missing)
    with pytest.raises(ToolMissing, match="LPIPS weights"):
        evaluate([TINY], images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture()
def precomputed(tmp_path: Path, images: Path) -> Path:
    """p0 and p1 at two sizes each, as another program would leave them."""
    where = tmp_path / "other"
    where.mkdir()
    lines = ["image,qp,bytes,bpp,decoded"]
    for n in range(2):
        for qp, size in ((40, 1400 + n), (30, 2500 + n)):
            with Image.open(images / f"p{n}.png") as picture:
                picture.point(lambda v, qp=qp: v // qp * qp).save(where / f"p{n}-{qp}.png")
            lines.append(f"p{n},{qp},{size},0,p{n}-{qp}.png")
    (where / "sizes.csv").write_text("\n".join(lines) + "\n")
    return where


def test_a_folder_of_decoded_pictures_is_met_at_its_sizes(tmp_path: Path, images: Path, precomputed: Path) -> None:
    folders = {"bpg": str(precomputed)}
    text = evaluate([TINY], images, tmp_path / "out", (0.4,), folders=folders, crops=1)
    rows = read(tmp_path / "out" / "rows.csv")
    assert sorted(r.bytes for r in rows if r.codec == "bpg") == [1400, 1401, 2500, 2501]
    for picture in ("p0", "p1"):
        for size in (1400, 2500):
            assert any(abs(r.bytes / size - 1) < 0.03 for r in rows if r.codec == "dpc:tiny" and r.image == picture)
    parts = text.split("\n\n")[1:]
    assert [s.split("|")[1].strip().split(":")[0] for s in parts] == [
        "0.4 bpp",
        "every picture at its size in bpg 40",
        "every picture at its size in bpg 30",
    ]
    assert all(s.count("\n| dpc:tiny |") == s.count("\n| bpg |") == 1 for s in parts)
    sheet = Image.open(tmp_path / "out" / "crops-0.4.png")
    assert sheet.size == (3 * (256 + 4), 256 + 22)
    assert len(sheet.convert("L").getcolors() or []) > 50
    # the targets are read back as they were written
    lines: list[str] = []
    evaluate([TINY], images, tmp_path / "out", (0.4,), folders=folders, crops=0, say=lines.append)
    assert "0 new rows" in lines[-1]


def test_the_window_with_most_detail() -> None:
    rgb = np.zeros((400, 500, 3), np.uint8)
    rgb[130:300, 200:420] = np.random.default_rng(2).integers(0, 256, (170, 220, 3), np.uint8)
    top, left = evaluation.window(rgb, most=True)
    assert top <= 130 and top + evaluation.CROP >= 300 and left <= 200 and left + evaluation.CROP >= 420
    assert evaluation.window(rgb[:50, :60], most=False) == (0, 0)


# the command and its errors


def test_the_command(tmp_path: Path, images: Path, precomputed: Path) -> None:
    command = ["evaluate", str(TINY), "--images", str(images), "--out", str(tmp_path / "out"), "--bpp", "0.3,0.5"]
    command += ["--codecs", "jpeg", "--folder", f"bpg={precomputed}", "--crops", "1", "--quality", "70"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    files = {"rows.csv", "table.md", "curves.png", "curves.svg", "crops-0.3.png", "crops-0.5.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == files
    found = {r.codec: r for r in read(tmp_path / "out" / "rows.csv")}
    assert set(found) == {"dpc:tiny", "jpeg", "bpg"} and found["dpc:tiny"].model == Artifact(TINY).identity
    assert (tmp_path / "out" / "table.md").read_text() in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bpp", "0.1;0.2"], "--bpp 0.1;0.2: give numbers with commas between them"),
        (["--bpp", "0"], "--bpp takes rates above 0"),
        (["--codecs", "jpg"], "codec 'jpg' is unknown"),
        (["--folder", "bpg"], "--folder bpg: write it as NAME=DIR"),
        (["--folder", "b=x", "--folder", "b=y"], "--folder b=y: b is x already"),
        (["--images", "nowhere"], "nowhere does not exist; give a folder"),
    ],
)
def test_what_cannot_be_evaluated_gives_one_line(
    options: list[str], message: str, tmp_path: Path, images: Path
) -> None:
    given = ["evaluate", str(TINY), "--images", str(images), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1, done.output


def test_a_picture_that_cannot_be_read_costs_no_other_its_crops(tmp_path: Path, images: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    (folder / "a.png").write_bytes((images / "p0.png").read_bytes()[:2000])
    said: list[str] = []
    evaluate([TINY], folder, tmp_path / "out", (0.3,), crops=3, say=said.append)
    assert any(line.startswith("failed, a") for line in said)
    with Image.open(tmp_path / "out" / "crops-0.3.png") as sheet:
        assert sheet.height == 2 * (evaluation.CROP + 22)


def test_wrong_pictures_are_said_before_an_export(tmp_path: Path) -> None:
    command = [
        "evaluate",
        str(tmp_path / "last.pt"),
        "--images",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "none does not exist" in done.output and not (tmp_path / "out").exists()


def test_two_things_of_one_name_are_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(OptionError, match="have one name"):
        evaluate([TINY, TINY], images, tmp_path)
