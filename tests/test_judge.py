"""Judging: rows are those of real files, tables interpolate as they say, and nothing is computed twice."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dpc import __version__  # noqa: E402
from dpc.artifact import Artifact  # noqa: E402
from dpc.cli import app  # noqa: E402
from dpc.codec import Codec  # noqa: E402
from dpc.errors import DPCError, ImageError, OptionError, ToolMissing  # noqa: E402
from dpc.metrics.lpips import LPIPS  # noqa: E402
from dpc.metrics.ms_ssim import ms_ssim  # noqa: E402
from dpc.metrics.psnr import psnr  # noqa: E402
from dpc.metrics.spectrum import spectrum_peaks  # noqa: E402
from dpc.training import judge as judging  # noqa: E402
from dpc.training.judge import Classic, Model, Reference, Row, at, classic, folder, judge, read, table  # noqa: E402

ROOT = Path(__file__).parent.parent
TINY = ROOT / "tests" / "data" / "tiny.dpcmodel"
WEIGHTS = ROOT.parent / "shared" / "weights" / "lpips"


class Distance:
    """In place of an LPIPS network: the mean absolute difference. Counts how often features are computed."""

    calls = 0

    def eval(self) -> Distance:
        return self

    def features(self, x: Any) -> Any:
        Distance.calls += 1
        return x

    def distance(self, a: Any, b: Any) -> Any:
        return (a - b).abs().mean()[None]


@pytest.fixture(autouse=True)
def distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_lpips", lambda trunk, weights: Distance())
    Distance.calls = 0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, 208x176, cut from the demo photograph."""
    where = tmp_path_factory.mktemp("images")
    photo = Image.open(ROOT / "demo" / "photo.png").convert("RGB")
    for n in range(2):
        photo.crop((60 * n, 40, 60 * n + 208, 216)).save(where / f"p{n}.png")
    return where


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("tiny", Artifact(TINY).identity, str(TINY), 1)


def row(bpp: float, **values: Any) -> Row:
    fields = dict.fromkeys(Row.__dataclass_fields__, 0.0) | {"codec": "c", "sha256": "s", "width": 10, "height": 10}
    return Row(**(fields | {"bpp": bpp, "version": __version__} | values))


def quiet(_: str) -> None:
    return None


# rows


def test_rows_are_those_of_real_files(tmp_path: Path, images: Path, model: Model) -> None:
    goals = (0.3, 0.55)
    subjects = [replace(model, qualities=(50.0,)), classic("jpeg")]
    judge(subjects, images, tmp_path, goals, crops=0, say=quiet)
    rows = read(tmp_path / "rows.csv")
    mine = [r for r in rows if r.codec == "tiny"]
    assert len(mine) == 6 and {r.image for r in rows} == {"p0", "p1"}
    for goal in goals:
        for image in ("p0", "p1"):
            assert min(abs(r.bpp / goal - 1) for r in mine if r.image == image) < 0.05
    codec = Codec(str(TINY), 1)
    for r in mine:
        path = images / f"{r.image}.png"
        original = np.asarray(Image.open(path))
        data = codec.encode(path, quality=r.setting)
        decoded = np.asarray(codec.decode(data))
        assert r.bytes == len(data) and r.bpp == pytest.approx(8 * len(data) / (208 * 176))
        assert r.psnr == pytest.approx(psnr(original, decoded), rel=1e-5)
        assert r.ms_ssim == pytest.approx(ms_ssim(original, decoded), rel=1e-5)
        assert r.peak_8 == pytest.approx(spectrum_peaks(original, decoded)[8], rel=1e-5)
        assert r.lpips_alex == pytest.approx(np.abs(original / 255 - decoded / 255.0).mean(), rel=1e-4)
        assert r.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert r.identity == codec.artifact.identity and r.version == __version__
        assert r.encode_s > 0 and r.decode_s > 0
    others = [r for r in rows if r.codec == "jpeg"]
    for image in ("p0", "p1"):
        rates = [r.bpp for r in others if r.image == image]
        assert all(any(x <= g for x in rates) and any(x >= g for x in rates) for g in goals)


def test_the_reference_is_looked_at_once_and_nothing_twice(tmp_path: Path, images: Path, model: Model) -> None:
    judge([model], images, tmp_path, (0.3, 0.55), crops=0, say=quiet)
    assert Distance.calls == 2 * (2 + 2 * 2)  # per picture: the original and two decoded ones, by two networks
    before, rows = (tmp_path / "rows.csv").read_bytes(), read(tmp_path / "rows.csv")
    text = judge([model], images, tmp_path, (0.3, 0.55), crops=0, say=quiet)
    assert Distance.calls == 12 and (tmp_path / "rows.csv").read_bytes() == before
    assert "| tiny |" in text and (tmp_path / "table.md").read_text() == text
    judge([model], images, tmp_path, (0.3, 0.55, 0.42), crops=0, say=quiet)
    assert [r for r in read(tmp_path / "rows.csv") if r in rows] == rows  # what was there stays
    assert len(read(tmp_path / "rows.csv")) == 6


def test_processes_give_the_same_rows(
    tmp_path: Path, images: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        """In place of other processes, which would not know the distance of this test."""

        def __init__(self, count: int, context: Any, start: Any, arguments: tuple[int]) -> None:
            assert count == 2 and arguments == (1,)

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def map(self, work: Any, paths: Sequence[Path]) -> list[Any]:
            import pickle

            return [pickle.loads(pickle.dumps(work))(path) for path in paths]

    monkeypatch.setattr(judging, "ProcessPoolExecutor", Pool)
    judge([model], images, tmp_path / "a", (0.4,), crops=0, say=quiet, processes=2)
    judge([model], images, tmp_path / "b", (0.4,), crops=0, say=quiet)
    a, b = ([replace(r, encode_s=0, decode_s=0) for r in read(tmp_path / n / "rows.csv")] for n in "ab")
    assert a == b and len(a) == 2


@pytest.mark.skipif(not (WEIGHTS / "alexnet-features.pth").is_file(), reason="no LPIPS weights in ../shared")
def test_lpips_of_the_reference_is_lpips(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_lpips", lambda trunk, weights: LPIPS(trunk, weights))
    a, b = (np.asarray(Image.open(images / f"p{n}.png")) for n in range(2))
    found = Reference(a, str(WEIGHTS)).metrics(b)
    x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 255 for p in (a, b))
    for trunk in ("alex", "squeeze"):
        with torch.inference_mode():
            assert found[f"lpips_{trunk}"] == pytest.approx(float(LPIPS(trunk, WEIGHTS)(x, y)), rel=1e-5)


def test_a_picture_too_small_for_a_metric_has_no_value_there() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 90, 3), np.uint8)
    found = Reference(noise, None).metrics(255 - noise)
    assert math.isnan(found["ms_ssim"]) and math.isnan(found["peak_4"])
    assert found["psnr"] > 0 and found["lpips_alex"] > 0


# codecs


@pytest.mark.parametrize("name", list(judging.CLASSICS))
def test_settings_lie_around_the_rate(name: str, images: Path) -> None:
    feature = {"avif": "avif", "webp": "webp", "jpeg": "jpg", "jpeg2000": "jpg_2000"}[name]
    if not features.check(feature):
        pytest.skip(f"this Pillow has no {name}")
    codec, path = classic(name), images / "p0.png"
    rgb = np.asarray(Image.open(path))
    low, high = codec.settings(path, rgb, (1.0,))
    coded = [codec.code(path, rgb, s) for s in (low, high)]
    rates = [8 * c.bytes / (208 * 176) for c in coded]
    assert 0.7 < rates[0] <= 1.0 < rates[1] < 1.4
    assert all(c.rgb.shape == rgb.shape and psnr(rgb, c.rgb) > 22 for c in coded)


def test_unknown_and_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="codec 'bpg' is unknown; choose from avif, jpeg, webp, jpeg2000"):
        classic("bpg")
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ToolMissing, match="was built without avif"):
        classic("avif")


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


def test_a_folder_of_decoded_pictures(tmp_path: Path, images: Path, model: Model, precomputed: Path) -> None:
    other = folder("bpg", precomputed)
    text = judge([model, other], images, tmp_path / "out", (0.4,), crops=1, say=quiet)
    rows = read(tmp_path / "out" / "rows.csv")
    assert sorted(r.bytes for r in rows if r.codec == "bpg") == [1400, 1401, 2500, 2501]
    original, decoded = (np.asarray(Image.open(p)) for p in (images / "p1.png", precomputed / "p1-30.png"))
    one = next(r for r in rows if r.bytes == 2501)
    assert one.psnr == pytest.approx(psnr(original, decoded), rel=1e-5) and math.isnan(one.decode_s)
    # the model is measured at the same sizes, picture by picture
    for size in (1400, 2500):
        assert any(abs(r.bytes / size - 1) < 0.03 for r in rows if r.codec == "tiny")
    sections = text.split("\n\n")[1:]
    assert [s.split("|")[1].strip().split(":")[0] for s in sections] == [
        "0.4 bpp",
        "every picture at its size in bpg 40",
        "every picture at its size in bpg 30",
    ]
    assert all(s.count("\n| tiny |") == s.count("\n| bpg |") == 1 for s in sections)
    sheet = Image.open(tmp_path / "out" / "crops-0.4.png")
    assert sheet.size == (3 * (256 + 4), 256 + 22)
    assert len(sheet.convert("L").getcolors() or []) > 50


@pytest.mark.parametrize("text", [None, "", "image,bytes\n", "image,qp,bytes,decoded\np0,x,9,a.png\n"])
def test_folders_that_are_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "sizes.csv").write_text(text)
    with pytest.raises(OptionError, match="holds no sizes.csv"):
        folder("x", tmp_path)


def test_a_decoded_picture_of_another_size_is_refused(images: Path, precomputed: Path) -> None:
    Image.new("RGB", (9, 9)).save(precomputed / "p0-40.png")
    other = folder("bpg", precomputed)
    with pytest.raises(ImageError, match="p0-40.png .* is 9x9, p0.png is not"):
        other.code(images / "p0.png", np.asarray(Image.open(images / "p0.png")), 40)


# tables


def test_values_at_a_rate_are_linear_in_log_bpp() -> None:
    rows = [row(0.1, psnr=30.0), row(0.4, psnr=34.0), row(0.8, psnr=35.0)]
    assert at(rows, 0.2, "psnr") == (pytest.approx(32.0), False)
    assert at(rows, 0.4, "psnr") == (pytest.approx(34.0), False)
    assert at(rows, 1.0, "psnr") == (pytest.approx(35 + math.log2(1.25)), True)
    assert at(rows, 0.0995, "psnr") == (pytest.approx(30 + 2 * math.log2(0.995), abs=1e-6), False)
    assert at(rows, 0.06, "psnr") is None and at(rows, 1.3, "psnr") is None
    assert at([rows[0]], 0.102, "psnr") == (30.0, False)
    assert at([rows[0]], 0.12, "psnr") is None and at([], 0.1, "psnr") is None


def test_the_table_is_the_mean_over_pictures_of_the_values_at_the_rate() -> None:
    rows = [
        row(0.2, sha256="a", psnr=30.0, ms_ssim=0.9, lpips_alex=0.2, peak_2=1.0),
        row(0.8, sha256="a", psnr=34.0, ms_ssim=0.98, lpips_alex=0.1, peak_2=3.0),
        row(0.4, sha256="b", psnr=28.0, ms_ssim=float("nan"), lpips_alex=0.3, peak_2=1.5),
        row(5.0, sha256="c", psnr=50.0),
    ]
    line = table(rows, ["c"], (0.4,)).splitlines()[-1]
    cells = [c.strip() for c in line.split("|")[1:-1]]
    assert cells[0] == "c" and cells[1] == "30.00" and cells[2] == "0.9400" and cells[3] == "0.2250"
    assert cells[5].split()[0] == "1.8" and cells[-1] == "2 of 3"


def test_the_window_with_most_detail() -> None:
    rgb = np.zeros((400, 500, 3), np.uint8)
    rgb[130:300, 200:420] = np.random.default_rng(2).integers(0, 256, (170, 220, 3), np.uint8)
    top, left = judging.window(rgb, most=True)
    assert top <= 130 and top + judging.CROP >= 300 and left <= 200 and left + judging.CROP >= 420
    assert judging.window(rgb[:50, :60], most=False) == (0, 0)


# the command and its errors


def test_the_command(tmp_path: Path, images: Path, precomputed: Path) -> None:
    command = ["judge", str(TINY), "--images", str(images), "--out", str(tmp_path / "out"), "--bpp", "0.3,0.5"]
    command += ["--codecs", "jpeg", "--folder", f"bpg={precomputed}", "--crops", "1", "--quality", "70"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"rows.csv", "table.md", "crops-0.3.png", "crops-0.5.png"}
    with open(tmp_path / "out" / "rows.csv", newline="") as file:
        found = {r["codec"]: r for r in csv.DictReader(file)}
    assert set(found) == {"tiny", "jpeg", "bpg"} and found["tiny"]["identity"] == Artifact(TINY).identity
    assert (tmp_path / "out" / "table.md").read_text() in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bpp", "0.1;0.2"], "--bpp 0.1;0.2: give numbers with commas between them"),
        (["--bpp", "0"], "--bpp takes rates above 0"),
        (["--codecs", "bpg"], "codec 'bpg' is unknown"),
        (["--folder", "bpg"], "--folder bpg: write it as NAME=DIR"),
        (["--images", "nowhere"], "nowhere holds no pictures"),
    ],
)
def test_what_cannot_be_judged_gives_one_line(options: list[str], message: str, tmp_path: Path, images: Path) -> None:
    given = ["judge", str(TINY), "--images", str(images), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1, done.output


def test_two_things_of_one_name_are_refused(tmp_path: Path, images: Path, model: Model) -> None:
    with pytest.raises(OptionError, match="have one name"):
        judge([model, Classic("tiny", "x")], images, tmp_path, say=quiet)


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DPCError, match="does not hold rows of this version"):
        read(tmp_path / "rows.csv")
    assert read(tmp_path / "none.csv") == []
