"""The trainer: it learns, resumes exactly, survives kill -9, runs in two processes, and says what is wrong."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT, SHARED, needs, python_path
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import make_tiny  # noqa: E402
import trainings  # noqa: E402
from trainings import NETWORK, bare_python, rows, same  # noqa: E402

pytest.importorskip("onnx")

from dpc.cli import app  # noqa: E402
from dpc.codec.artifact import DEFAULT, Artifact, released  # noqa: E402
from dpc.errors import DPCError, ModelError, OptionError, ToolMissing  # noqa: E402
from dpc.networks.model import Model  # noqa: E402
from dpc.networks.sizes import Network  # noqa: E402
from dpc.networks.tables import logistic_tables  # noqa: E402
from dpc.training import devices, recipe, schedule, trainer  # noqa: E402
from dpc.training.begin import begin  # noqa: E402
from dpc.training.checkpoint import CheckpointError, load_checkpoint  # noqa: E402
from dpc.training.data import fonts  # noqa: E402
from dpc.training.data.photos import Batches, DataError, Photos  # noqa: E402
from dpc.training.data.synthetic import synthetic  # noqa: E402
from dpc.training.export import calibrate  # noqa: E402
from dpc.training.export.export import export, half_precision  # noqa: E402
from dpc.training.log import Log, at_rate  # noqa: E402
from dpc.training.recipe import Recipe, RecipeError, Stage  # noqa: E402
from dpc.training.teacher import Teacher  # noqa: E402
from dpc.training.trainer import Run, train  # noqa: E402
from dpc.training.weights import Weights, checkpoint_of, grown, located, weights_of  # noqa: E402

WEIGHTS = SHARED / "weights" / "lpips"
RECIPE = Recipe(
    name="tiny", stages=(Stage(share=1.0, mse=1.0),), network=NETWORK, steps=6, batch=2, learning_rate=2e-3, warmup=0.05
)


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Decoded pictures go to a folder of the test; validations are short."""
    with trainings.scratch(tmp_path_factory.mktemp("tmp")) as patch:
        patch.setattr(trainer, "CROPS", 2)
        patch.setattr("dpc.training.validate.SHARES", (0.2, 0.6))
        patch.setattr(trainer, "WAVELET_BATCHES", 3)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small pictures with smooth parts, edges and texture."""
    return trainings.photographs(tmp_path_factory.mktemp("photos"), 200, 224, 30.0, ".jpg")


def run(out: Path, photos: Path, **options: Any) -> Run:
    """A Run for tests: exact arithmetic, no downloads, a row for every step."""
    given: dict[str, Any] = {"device": "cpu", "precision": "fp32", "lpips_weights": "/none", "log_every": 1}
    return Run(out=out, data=[photos], **(given | options))


def quiet(_: str) -> None:
    return None


# training


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The folder of a training of six steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    return train(RECIPE, run(out, photos), say=quiet).parent


def test_it_learns(tmp_path: Path, photos: Path) -> None:
    plan = dataclasses.replace(RECIPE, steps=24)
    train(plan, run(tmp_path, photos), say=quiet)
    lam = schedule.lambdas(plan)

    def objective(step: str) -> float:
        found = [r for r in rows(tmp_path / "validation.csv") if r["step"] == step]
        assert len(found) == 2
        weights = [float(np.exp(np.interp(float(r["level"]), range(8), np.log(lam)))) for r in found]
        errors = [255**2 * 10 ** (-float(r["psnr"]) / 10) for r in found]
        return sum((float(r["bpp"]) + w * e) * w**-0.5 for r, w, e in zip(found, weights, errors, strict=True))

    assert objective("24") < 0.97 * objective("0")


def test_what_a_training_leaves(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} == {"last.pt", "weights.pt", "log.csv", "validation.csv", "curves.html"}
    log = rows(whole / "log.csv")
    assert [int(r["step"]) for r in log] == [1, 2, 3, 4, 5, 6]
    assert all(float(r["loss"]) > 0 and float(r["norm"]) > 0 and r["skipped"] == "0" for r in log)
    validation = rows(whole / "validation.csv")
    assert [r["step"] for r in validation] == ["0", "0", "6", "6"]
    assert {"minutes", "level", "bpp", "psnr", "ms_ssim"} <= set(validation[0])
    page = (whole / "curves.html").read_text()
    assert page.count("<polyline") >= 6 and 'http-equiv="refresh"' in page
    state = load_checkpoint(whole / "last.pt")
    assert state["step"] == 6 and state["crops"] == 12
    assert weights_of(whole / "last.pt").recipe == RECIPE  # it is in there whole


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_a_resumed_training_is_bit_identical(tmp_path: Path, photos: Path, whole: Path, optimiser: str) -> None:
    plan = dataclasses.replace(RECIPE, optimiser=optimiser)
    if optimiser != RECIPE.optimiser:
        whole = train(plan, run(tmp_path / "whole", photos), say=quiet).parent
    tmp_path /= "run"

    def interrupt(line: str) -> None:
        if " step 3 " in line:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    last = train(plan, run(tmp_path, photos), say=interrupt)
    assert signal.getsignal(signal.SIGTERM) is before
    assert load_checkpoint(last)["step"] == 3
    train(plan, run(tmp_path, photos), resume=last, say=quiet)
    mine, expected = load_checkpoint(last), load_checkpoint(whole / "last.pt")
    for key in ("model", "ema", "optimiser", "step", "crops", "data_sha256"):
        assert same(mine[key], expected[key]), key
    assert [r["loss"] for r in rows(tmp_path / "log.csv")] == [r["loss"] for r in rows(whole / "log.csv")]
    assert [r["step"] for r in rows(tmp_path / "validation.csv")] == ["0", "0", "3", "3", "6", "6"]
    assert load_checkpoint(tmp_path / "previous.pt")["step"] == 3


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_training as t
from dpc.training import trainer, validate
trainer.CROPS, trainer.WAVELET_BATCHES, validate.SHARES = 2, 3, (0.2, 0.6)
t.train(t.RECIPE, t.run(Path({out!r}), Path({photos!r}), {options}), say=lambda line: print(line, flush=True))
"""


def program(folder: Path, out: Path, photos: Path, options: str) -> Path:
    path = folder / "program.py"
    path.write_text(SCRIPT.format(tests=str(Path(__file__).parent), out=str(out), photos=str(photos), options=options))
    return path


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": python_path(__file__), "OMP_NUM_THREADS": "1"} | more


@pytest.mark.slow
def test_kill_9_loses_only_what_came_after_the_last_checkpoint(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "run"
    script = program(tmp_path, out, photos, "steps=100000, save_every=0.2")
    process = subprocess.Popen([sys.executable, script], env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if (out / "previous.pt").exists() and " step " in line:
                break
    finally:
        process.kill()
        process.wait()
    state = load_checkpoint(out / "last.pt")
    assert 0 < load_checkpoint(out / "previous.pt")["step"] < state["step"] < 100000
    train(RECIPE, run(out, photos, steps=state["step"] + 2), resume=out / "last.pt", say=quiet)
    steps = [int(r["step"]) for r in rows(out / "log.csv")]
    assert steps == list(range(1, state["step"] + 3))


@pytest.mark.slow
def test_two_processes_do_the_work_of_one(tmp_path: Path, photos: Path, whole: Path) -> None:
    pytest.importorskip("lightning_fabric")
    out = tmp_path / "run"
    script = program(tmp_path, out, photos, "devices=2")
    done = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 x cpu") == 1  # only the first process talks
    mine, alone = rows(out / "log.csv"), rows(whole / "log.csv")
    assert [r["step"] for r in mine] == [r["step"] for r in alone]
    for metric in ("loss", "bpp", "mse"):  # the same crops and levels: the first step differs by rounding alone
        assert float(mine[0][metric]) == pytest.approx(float(alone[0][metric]), rel=1e-4)
    a, b = (load_checkpoint(p / "last.pt")["model"]["g_s.mean"] for p in (out, whole))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.999


@pytest.mark.slow
def test_two_processes_train_a_taught_stage_in_which_layers_rest(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("lightning_fabric")
    script = program(tmp_path, tmp_path / "run", photos, "devices=2")
    stage = "t.Stage(share=1.0, mse=1.0, frozen=True, taught=True)"
    taught = f"t.dataclasses.replace(t.RECIPE, teacher={str(make_tiny.MODEL)!r}, stages=({stage},))"
    script.write_text(script.read_text().replace("t.RECIPE", taught))
    done = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run" / "log.csv")) > 1


def test_the_time_limit_holds_with_start_up_and_checkpoint(tmp_path: Path, photos: Path) -> None:
    began = time.monotonic() - 3  # so long did the program take to start
    train(RECIPE, run(tmp_path, photos, minutes=0.15, began=began), say=quiet)
    assert time.monotonic() - began < 60
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] > 0 and 3 < 60 * state["minutes"] < 60


def test_a_step_that_is_not_finite_is_skipped(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(trainer.Distortion):
        calls = 0

        def forward(self, *given: Any, **options: Any) -> Any:
            total, parts = super().forward(*given, **options)
            self.calls += 1
            return total * (float("nan") if self.calls == 2 else 1.0), parts

    monkeypatch.setattr(trainer, "Distortion", Broken)
    train(RECIPE, run(tmp_path, photos, steps=3), say=quiet)
    log = rows(tmp_path / "log.csv")
    assert log[-1]["step"] == "3" and log[-1]["skipped"] == "1"
    assert all(bool(v.isfinite().all()) for v in load_checkpoint(tmp_path / "last.pt")["model"].values())


def test_a_training_without_hope_ends_with_what_it_had(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(trainer.Distortion):
        calls = 0

        def forward(self, *given: Any, **options: Any) -> Any:
            total, parts = super().forward(*given, **options)
            self.calls += 1
            return total * (float("nan") if self.calls > 1 else 1.0), parts

    monkeypatch.setattr(trainer, "Distortion", Broken)
    monkeypatch.setattr(trainer, "HOPELESS", 3)
    with pytest.raises(DPCError, match="the gradients of 3 steps in a row were not finite: lower") as error:
        train(RECIPE, run(tmp_path, photos, steps=9), say=quiet)
    assert "\n" not in str(error.value)
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] == 4 and all(bool(v.isfinite().all()) for v in state["model"].values())


def test_weights_that_are_not_finite_push_out_no_sound_ones(tmp_path: Path, photos: Path) -> None:
    """NaN in SOAP's bases once went from the first step into the weights, and these into last.pt."""
    trained = trainer.Trainer(RECIPE, run(tmp_path, photos, steps=1), None, None, quiet)
    trained.train()
    trained.averages[0].fill_(torch.nan)
    for look in (trained.save, trained.validate):
        with pytest.raises(DPCError, match="weights are no longer finite: .*last.pt holds what was learned before"):
            look()
    assert all(bool(v.isfinite().all()) for v in load_checkpoint(tmp_path / "last.pt")["model"].values())


def test_lpips_slope_gives_low_rates_more_lpips(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    class Watched(trainer.Distortion):
        def forward(self, *given: Any, **options: Any) -> Any:
            seen.append(options["emphasis"])
            return super().forward(*given, **options)

    monkeypatch.setattr(trainer, "Distortion", Watched)
    for slope in (0.0, 0.5):
        plan = dataclasses.replace(RECIPE, stages=(Stage(share=1.0, mse=1.0, lpips_slope=slope),), batch=4)
        train(plan, run(tmp_path / str(slope), photos, steps=1), say=quiet)
    level = Batches(Photos([photos], 192), RECIPE.seed, 4, 192, 7, 0, 1)[0][1].mean((1, 2))
    lam = np.array(schedule.lambdas(RECIPE))
    own = np.exp(np.interp(level, range(8), np.log(lam)))
    assert torch.equal(seen[0], torch.ones(4))
    assert seen[1].numpy() == pytest.approx((own / np.exp(np.log(lam).mean())) ** -0.5, rel=1e-4)


@pytest.mark.slow
def test_a_training_goes_on_when_nobody_reads_what_it_says(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "run"
    script = program(tmp_path, out, photos, "steps=5")
    process = subprocess.Popen([sys.executable, script], env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `tee` does when Ctrl-C ends it
    assert process.wait(timeout=300) == 0
    assert load_checkpoint(out / "last.pt")["step"] == 5


def test_a_training_keeps_its_schedule_when_it_goes_on(tmp_path: Path, photos: Path) -> None:
    def interrupt(line: str) -> None:
        said.append(line)
        if " step 2 " in line:
            os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    last = train(RECIPE, run(tmp_path, photos, steps=4), say=interrupt)
    assert load_checkpoint(last)["schedule"] == {"steps": 4}
    assert any(line.endswith("from step 0 to step 4") for line in said)
    train(dataclasses.replace(RECIPE, batch=4), run(tmp_path, photos), resume=last, say=said.append)
    state = load_checkpoint(last)
    assert state["step"] == 5 and state["crops"] == 2 * 2 + 3 * 4  # as many crops as four steps of the new batch have
    assert any(line.endswith("from step 2 to step 4") for line in said)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OptionError, match="goes to step 4 and is over"):
        train(RECIPE, run(tmp_path, photos), resume=last, say=quiet)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_the_schedule_of_a_call() -> None:
    before = {"step": 50, "crops": 100, "minutes": 10.0, "schedule": {"horizon": 40.0}}
    plans = [
        schedule.schedule(RECIPE, *given)
        for given in ((None, None, None), (9.0, None, None), (9.0, 27.0, None), (None, None, 80))
    ]
    assert [p.progress(3, 4.5) for p in plans] == [3 / 6, 4.5 / 9, 4.5 / 27, 3 / 80]
    assert [p.stored() for p in plans] == [{}, {}, {"horizon": 27.0}, {"steps": 80}]
    for minutes in (None, 5.0):
        kept = schedule.schedule(RECIPE, minutes, None, None, before)
        assert kept.progress(60, 20.0) == 0.5 and kept.stored() == {"horizon": 40.0}
    assert schedule.schedule(RECIPE, 5.0, None, None, before | {"schedule": {}}).horizon == 15.0
    assert schedule.schedule(RECIPE, None, None, 100, before).progress(60, 20.0) == 0.6
    with pytest.raises(OptionError, match="to minute 8 of the training and is over"):
        schedule.schedule(RECIPE, 5.0, 8.0, None, before)


def test_precision_is_kept_on_the_same_kind_of_device() -> None:
    cpu = torch.device("cpu")
    assert devices.precision("auto", cpu, {"device": "cpu", "precision": "bf16"}) == "bf16"
    assert devices.precision("fp32", cpu, {"device": "cpu", "precision": "bf16"}) == "fp32"
    assert devices.precision("auto", torch.device("cuda"), {"device": "cpu", "precision": "fp32"}) == "bf16"


def test_other_photographs_are_said_when_a_training_goes_on(tmp_path: Path, photos: Path, whole: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    Image.new("RGB", (200, 200), "red").save(data / "new.png")
    said: list[str] = []
    train(RECIPE, run(tmp_path / "run", data, steps=7), resume=whole / "last.pt", say=said.append)
    assert any("photographs are not those of the checkpoint" in line for line in said)


def test_a_log_takes_further_columns_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = Log(path, False, 0)
    log.write({"step": 1, "psnr": 30.0})
    log.write({"step": 2, "psnr": 31.0})
    log.close()
    log = Log(path, True, 1)
    log.write({"step": 2, "psnr": 32.0, "lpips_alex": 0.5})
    log.write({"step": 3, "psnr": 33.0})
    log.close()
    assert rows(path) == [
        {"step": "1", "psnr": "30", "lpips_alex": ""},
        {"step": "2", "psnr": "32", "lpips_alex": "0.5"},
        {"step": "3", "psnr": "33", "lpips_alex": ""},
    ]


def test_stages_and_learning_rate_follow_the_progress() -> None:
    plan = dataclasses.replace(
        RECIPE, stages=(Stage(share=0.25, mse=1.0), Stage(share=0.75, mse=0.5)), warmup=0.1, decay_from=0.5
    )
    assert [plan.stage_at(p).mse for p in (0, 0.24, 0.26, 0.99, 1.0)] == [1, 1, 0.5, 0.5, 0.5]
    rates = [schedule.learning_rate(plan, p) for p in (0, 0.1, 0.5, 0.75, 1.0)]
    assert rates[0] < rates[1] == rates[2] == plan.learning_rate > rates[3] > rates[4]
    assert rates[4] == pytest.approx(plan.final_learning_rate)


# data


def test_batches_depend_on_seed_and_step_alone(photos: Path) -> None:
    pictures = Photos([photos], 192)
    alone = Batches(pictures, 7, 4, 192, 7, 0, 1)
    crops, levels, made = alone[5]
    assert crops.shape == (4, 192, 192, 3) and crops.dtype == np.uint8
    assert levels.shape == (4, 3, 3) and (levels >= 0).all() and (levels <= 7).all()
    assert (levels == levels[:, :1, :1]).all() and not made.any()
    for rank in (0, 1):
        part, some, _ = Batches(pictures, 7, 4, 192, 7, rank, 2)[5]
        assert np.array_equal(part, crops[rank::2]) and np.array_equal(some, levels[rank::2])
    assert not np.array_equal(alone[6][0], crops)
    assert not np.array_equal(Batches(pictures, 8, 4, 192, 7, 0, 1)[5][0], crops)


def test_a_share_of_the_crops_is_synthetic(photos: Path) -> None:
    pictures = Photos([photos], 192)
    plain, some = Batches(pictures, 7, 40, 192, 7, 0, 1), Batches(pictures, 7, 40, 192, 7, 0, 1, 0.3)
    crops, levels, made = some[5]
    changed = [not np.array_equal(a, b) for a, b in zip(crops, plain[5][0], strict=True)]
    assert 4 < sum(changed) < 22 and np.array_equal(levels, plain[5][1])
    assert changed == made.tolist()
    assert np.array_equal(crops, Batches(pictures, 7, 40, 192, 7, 0, 1, 0.3)[5][0])


def test_a_share_of_the_quality_maps_varies(photos: Path) -> None:
    levels = Batches(Photos([photos], 192), 7, 60, 192, 7, 0, 1, 0.0, 0.4)[5][1]
    spread = levels.max((1, 2)) - levels.min((1, 2))
    assert 12 < (spread > 0).sum() < 36 and 1 < spread.max() < 4
    assert (levels >= 0).all() and (levels <= 7).all()


def test_synthetic_crops_are_pictures_of_the_same_size_with_edges() -> None:
    photo = np.full((192, 192, 3), 128, np.uint8)
    crops = [synthetic(np.random.default_rng(i), photo) for i in range(60)]
    assert all(c.shape == photo.shape and c.dtype == np.uint8 and c.flags.c_contiguous for c in crops)
    steps = [np.abs(np.diff(c.astype(int), axis=1)).max() for c in crops]
    assert np.mean(np.array(steps) > 60) > 0.9  # text stands out from its ground
    assert {int(c.reshape(-1, 3).mean() > 127) for c in crops} == {0, 1}
    assert len({c.tobytes() for c in crops}) == 60
    assert np.array_equal(synthetic(np.random.default_rng(3), photo), crops[3])


def test_typefaces_come_from_packages_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fonts.files.cache_clear()
    names = [path.name for path in fonts.files()]
    assert len(names) == len(set(names)) == 25
    for path in fonts.files():
        shutil.copy(path, tmp_path)
    monkeypatch.setenv(fonts.FOLDER, str(tmp_path))
    fonts.files.cache_clear()
    assert fonts.files() == tuple(tmp_path / name for name in names)
    (tmp_path / names[3]).unlink()
    fonts.files.cache_clear()
    with pytest.raises(ToolMissing, match=names[3]):
        fonts.files()
    monkeypatch.delenv(fonts.FOLDER)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="need the typefaces of font-roboto"):
        fonts.files()
    fonts.files.cache_clear()


def test_a_split_and_no_overlap(photos: Path) -> None:
    pictures = Photos([photos], 192)
    assert sorted(pictures.train + pictures.validation) == [0, 1, 2] and pictures.validation == [0]
    assert pictures.middles(pictures.validation, 192).shape == (1, 192, 192, 3)
    assert Photos([photos], 192).sha256 == pictures.sha256


def test_what_one_training_holds_out_no_larger_crop_takes(tmp_path: Path) -> None:
    """The split is counted before small pictures are left out."""
    for i in range(70):
        side = 64 if i in (1, 40) else 32 if i == 64 else 96
        Image.new("RGB", (side, side), (i, 0, 0)).save(tmp_path / f"{i:02d}.png")
    colours = {
        size: [[int(p.picture(i)[0, 0, 0]) for i in part] for part in (p.train, p.validation)]
        for size in (32, 64, 96)
        if (p := Photos([tmp_path], size, tmp_path / "cache"))
    }
    assert colours[32][1] == [0, 32, 64] and colours[64][1] == colours[96][1] == [0, 32]
    assert colours[96][0] == [i for i in range(70) if i not in (0, 1, 32, 40, 64)]


def test_where_only_small_pictures_would_be_held_out_the_first_large_one_is(tmp_path: Path) -> None:
    for i, side in enumerate((32, 96, 96)):
        Image.new("RGB", (side, side), (i, 0, 0)).save(tmp_path / f"{i}.png")
    pictures = Photos([tmp_path], 96, tmp_path / "cache")
    assert [int(pictures.picture(i)[0, 0, 0]) for i in pictures.validation] == [1]


@pytest.mark.parametrize("content", ["missing", "empty", "unreadable", "small", "one", "zip", "cut", "damaged"])
def test_pictures_that_cannot_be_used_give_one_line(content: str, tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "data"
    if content != "missing":
        folder.mkdir()
    if content == "unreadable":
        (folder / "bad.png").write_bytes((ROOT / "demo" / "photo.png").read_bytes()[:900])
    if content == "small":
        for n in range(3):
            Image.new("RGB", (300, 100)).save(folder / f"{n}.png")
    if content == "one":
        Image.new("RGB", (300, 300)).save(folder / "0.png")
    if content == "zip":
        folder = folder / "photos.zip"
        with zipfile.ZipFile(folder, "w") as archive:
            archive.writestr("notes.txt", "nothing")
    if content in ("cut", "damaged"):
        folder = folder / "photos.zip"
        with zipfile.ZipFile(folder, "w") as archive:
            archive.write(photos / "0.jpg", "0.jpg", zipfile.ZIP_DEFLATED)
        data = bytearray(folder.read_bytes())
        where = data.index(b"PK\1\2") if content == "cut" else 400  # the directory at its end, or a picture in it
        data[where : where + 40] = bytes(40)
        folder.write_bytes(data)
    text = {
        "cut": "photos.zip is a damaged zip file",
        "damaged": "photos.zip/0.jpg cannot be read",
        "missing": "data does not exist; give folders of pictures with --data",
        "empty": "data holds no picture",
        "unreadable": "bad.png cannot be decoded",
        "small": "only 0 of 3 pictures have a shorter side of at least 192 pixels",
        "one": "only 1 of 1 pictures",
        "zip": "photos.zip holds no picture",
    }[content]
    with pytest.raises(DataError) as error:
        train(RECIPE, run(tmp_path / "run", folder), say=quiet)
    assert text in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("harm", ["short", "gone", "text"])
def test_a_damaged_cache_is_made_anew(harm: str, tmp_path: Path, photos: Path) -> None:
    cache = Photos([photos], 192, tmp_path).pixels_path
    before = cache.read_bytes()
    if harm == "short":
        cache.write_bytes(before[:1000])
    elif harm == "gone":
        cache.unlink()
    else:
        cache.with_suffix(".json").write_text('{"sha256": ')
    assert len(Photos([photos], 192, tmp_path)) == 3
    assert cache.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_no_room_for_decoded_pictures_is_one_line(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot keep the decoded pictures in .*file/cache.*TMPDIR=FOLDER"):
        Photos([photos], 192, tmp_path / "file" / "cache")


# recipes

GOOD = 'name = "x"\n[[stages]]\nshare = 1.0\nmse = 1.0\n'


@pytest.mark.parametrize("name", ["dpc", "msssim", "mse"])
def test_the_recipes_of_the_package_are_read_and_survive_json(name: str) -> None:
    plan = recipe.read(name)
    assert plan.name == name
    assert recipe.from_dict(recipe.to_dict(plan)) == plan


def test_the_ablation_differs_from_dpc_in_nothing_but_the_loss() -> None:
    free = {"name", "description", "stages", "lambda_min", "lambda_max"}
    tables = [recipe.to_dict(recipe.read(n)) for n in ("dpc", "msssim", "mse")]
    kept = [{k: v for k, v in t.items() if k not in free} for t in tables]
    assert kept[0] == kept[1] == kept[2]
    assert any(s["lpips"] for s in tables[0]["stages"])
    assert not any(s["lpips"] for t in tables[1:] for s in t["stages"])
    assert all(s["ms_ssim"] == 0 for s in tables[2]["stages"])


def test_the_twins_differ_in_nothing_but_the_loss() -> None:
    free = {"name", "description", "stages", "lambda_min", "lambda_max"}
    folder = ROOT / "results" / "twins"
    joint, msssim, mse = (recipe.read(folder / f"{n}.toml") for n in ("joint", "msssim", "mse"))
    kept = [{k: v for k, v in recipe.to_dict(r).items() if k not in free} for r in (joint, msssim, mse)]
    assert kept[0] == kept[1] == kept[2] and joint.steps * joint.batch == 96_000
    assert {n for s in joint.stages if s.lpips for n in s.lpips_nets} == {"alex"}, "SqueezeNet and VGG16 judge"
    plain = [dataclasses.replace(s, lpips_nets=recipe.NETS) for s in joint.stages]
    assert plain == [dataclasses.replace(s, lpips_nets=recipe.NETS) for s in recipe.read("dpc").stages]
    assert msssim.stages == recipe.read("msssim").stages and mse.stages == recipe.read("mse").stages
    for twin, whole in ((joint, "dpc"), (msssim, "msssim"), (mse, "mse")):
        assert (twin.lambda_min, twin.lambda_max) == (recipe.read(whole).lambda_min, recipe.read(whole).lambda_max)


def test_the_tuned_twins_differ_in_nothing_but_the_loss() -> None:
    free = {"name", "description", "stages", "lambda_min", "lambda_max"}
    folder = ROOT / "results" / "twins" / "from-dpc-8"
    joint, msssim, mse = (recipe.read(folder / f"{n}.toml") for n in ("joint", "msssim", "mse"))
    kept = [{k: v for k, v in recipe.to_dict(r).items() if k not in free} for r in (joint, msssim, mse)]
    assert kept[0] == kept[1] == kept[2] and joint.steps * joint.batch == 8_000
    assert [r.stages[-1].lpips for r in (msssim, mse)] == [0, 0]
    assert {n for s in joint.stages for n in s.lpips_nets} == {"alex"}, "SqueezeNet and VGG16 judge"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour = 1\n", "unknown key 'colour' in stage 1"),
        ("speed = 3\n" + GOOD, "unknown key 'speed' in the recipe"),
        (GOOD + "[network]\ndepth = 3\n", r"unknown key 'depth' in \[network\]"),
        ("steps = 1.5\n" + GOOD, "steps = 1.5 in the recipe must be of type int"),
        ('clip = "x"\n' + GOOD, "must be of type float"),
        (GOOD.replace("1.0\nmse", "0.5\nmse"), "shares of the stages sum to 0.5"),
        ("crop = 200\n" + GOOD, "crop = 200: it must be a multiple of 64"),
        ("batch = 0\n" + GOOD, "batch = 0: it must be at least 1"),
        ("ema = 1.0\n" + GOOD, "ema = 1.0: it must be at least 0 and below 1"),
        ("optimiser = 'sgd'\n" + GOOD, "optimiser = 'sgd': give one of adam, soap"),
        ("learning_rate = 0\n" + GOOD, "learning_rate = 0.0: it must be above 0"),
        ("lambda_min = 1.0\n" + GOOD, "0 < min < max is needed"),
        (GOOD + 'lpips = 1.0\nlpips_nets = ["resnet"]\n', r"lpips_nets = \['resnet'\]: give one or more of alex"),
        (GOOD + "teacher = 1.0\n", "a stage has a teacher, .*: set frozen"),
        (GOOD + "teacher = 1.0\nfrozen = true\n", "a stage has a teacher, but the recipe names none"),
        (GOOD + "taught = true\n", "a stage has a teacher, .*: set frozen"),
        (GOOD + "taught = true\nfrozen = true\n", "a stage has a teacher, but the recipe names none"),
        (GOOD + "teacher = -1\n", "teacher = -1.0: it must be at least 0"),
        (GOOD + "ms_ssim = -1\n", "ms_ssim = -1.0: it must be at least 0"),
        (GOOD + "grid = -1\n", "grid = -1.0: it must be at least 0"),
        (GOOD + "[network]\nlatents = 10\n", "groups"),
        (GOOD.replace("mse = 1.0", "mse = 0"), "mse = ms_ssim = lpips = 0: one of them must be above 0"),
        (GOOD.replace("mse = 1.0", "mse = inf"), "mse = inf: it must be at least 0, and finite"),
        (GOOD + "ms_ssim = nan\n", "ms_ssim = nan"),
        (GOOD + "lpips_slope = 2\n", "lpips_slope = 2.0: it must be at least -1 and at most 1"),
        ("learning_rate = inf\n" + GOOD, "learning_rate = inf: it must be above 0, and finite"),
        ("rate_balance = nan\n" + GOOD, "rate_balance = nan: it must be finite"),
        ("lambda_max = inf\n" + GOOD, "lambda_max = inf: 0 < min < max"),
        ("warmup = 0.6\n" + GOOD, "decay_from = 0.5: it must be at least warmup = 0.6"),
        ("seed = -1\n" + GOOD, "seed = -1: it must be at least 0"),
        (GOOD.replace('"x"', '"../../x"'), r"name = '../../x': letters, digits, dots"),
        (GOOD.replace('"x"', '""'), "name = '': letters, digits, dots"),
        (GOOD + "[network]\nlevels = 1\n", "levels = 1: at least 2 are needed"),
        (GOOD + "[network]\nhyper_width = 0\n", "hyper_width = 0: whole numbers of at least 1"),
        (GOOD + '[network]\nwidths = [64, "x", 256]\n', "widths = .*: whole numbers of at least 1"),
        (GOOD + "[network]\nencoder_depths = [1, -2, 3]\n", "encoder_depths = .*: whole numbers of at least 0"),
        (GOOD + "[network]\nlatents = 800\n", "latents = 800: at most 768"),
        ('name = "x"\n', "stages"),
        ("name = \n", "is not TOML"),
        ("steps = " + "9" * 400 + "\n" + GOOD, r"steps = 9+\.\.\.: it must be below 2\^63"),
        ("learning_rate = " + "9" * 400 + "\n" + GOOD, "learning_rate = 9+"),
        ("steps = 9999999999999\n" + GOOD, "at most 1,099,511,627,776"),
        ("steps = " + "9" * 5000 + "\n" + GOOD, "is not TOML"),
        ("x = " + "[" * 40 + "]" * 40 + "\n" + GOOD, "nests deeper than 32"),
        (GOOD + "[network]\nlatents = " + "9" * 400 + "\n", "latents = 9+"),
    ],
)
def test_a_wrong_recipe_gives_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        recipe.read(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))


def test_a_folder_hides_no_recipe_and_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dpc", DEFAULT):
        (tmp_path / name).mkdir()
    assert recipe.read("dpc").name == "dpc"
    if released():
        assert located(Path(DEFAULT)) == released()[DEFAULT]
    assert located(whole) == whole / "last.pt"
    with pytest.raises(CheckpointError, match="dpc is a folder without a last.pt"):
        weights_of(Path("dpc"))


def test_unknown_and_missing_recipes() -> None:
    with pytest.raises(RecipeError, match="there is no recipe 'dcp'; known: dpc, mse, msssim"):
        recipe.read("dcp")
    with pytest.raises(RecipeError, match="none.toml cannot be read: No such file"):
        recipe.read("none.toml")


# checkpoints


def test_a_broken_checkpoint_gives_one_line_and_keeps_the_one_before(tmp_path: Path, photos: Path, whole: Path) -> None:
    sound = (whole / "last.pt").read_bytes()
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    last.write_bytes(sound[: len(sound) // 2])
    previous.write_bytes(sound)
    with pytest.raises(CheckpointError) as error:
        train(RECIPE, run(tmp_path, photos), resume=last, say=quiet)
    assert str(error.value).endswith(f"{previous} is the one before it") and "\n" not in str(error.value)
    assert previous.read_bytes() == sound
    train(RECIPE, run(tmp_path, photos, steps=7), resume=previous, say=quiet)
    assert previous.read_bytes() == sound  # the broken one did not push it out
    assert load_checkpoint(last)["step"] == 7


def test_checkpoints_that_do_not_fit(tmp_path: Path, photos: Path, whole: Path) -> None:
    def refused(path: Path, message: str, plan: Recipe = RECIPE) -> None:
        with pytest.raises(CheckpointError, match=message):
            train(plan, run(tmp_path / "run", photos), resume=path, say=quiet)

    refused(tmp_path / "none.pt", "there is no checkpoint")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    refused(tmp_path / "text.pt", "is not a readable checkpoint")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "is not a checkpoint of this version")
    refused(whole / "last.pt", r"another \[network\]", dataclasses.replace(RECIPE, network=Network()))


def test_weights_alone_go_on_with_the_schedule(tmp_path: Path, photos: Path, whole: Path) -> None:
    said: list[str] = []
    shutil.copy(whole / "weights.pt", tmp_path)
    last = train(RECIPE, run(tmp_path, photos, steps=9), resume=tmp_path / "weights.pt", say=said.append)
    assert any("the optimiser is warmed anew over 300 steps" in line for line in said)
    state = load_checkpoint(last)
    assert state["step"] == 9 and state["crops"] == 18 and state["schedule"] == {"steps": 9}
    assert all(float(row["lr"]) < 0.02 * RECIPE.learning_rate for row in rows(tmp_path / "log.csv"))
    before = load_checkpoint(whole / "last.pt")["ema"]["g_a.mean"]
    assert (state["model"]["g_a.mean"] - before).abs().max() < 0.01


def test_an_exported_model_goes_on_with_the_schedule(tmp_path: Path, photos: Path, whole: Path) -> None:
    """It is small enough to be kept where last.pt is not."""
    said: list[str] = []
    model = tmp_path / "kept.dpcmodel"
    assert CliRunner().invoke(app, ["export", str(whole / "weights.pt"), str(model)]).exit_code == 0
    last = train(RECIPE, run(tmp_path / "run", photos, steps=9), resume=model, say=said.append)
    assert any("the optimiser is warmed anew over 300 steps" in line for line in said)
    assert not any("the recipe differs" in line for line in said)
    state, before = load_checkpoint(last), load_checkpoint(whole / "last.pt")
    assert state["step"] == 9 and state["crops"] == before["crops"] + RECIPE.batch * (9 - before["step"])
    for name in ("g_a.mean", "g_s.at16.0.up.weight", "means.octaves.weight"):
        assert (state["model"][name] - before["ema"][name]).abs().max() < 0.02, name
    with pytest.raises(ModelError, match="has no g_s.fine: it was exported from the networks of an earlier release"):
        checkpoint_of(ROOT / "tests" / "data" / "bytes.dpcmodel")
    export(Model(NETWORK), model, "bare")
    with pytest.raises(CheckpointError, match="does not say its training's step; begin a new one with --from"):
        checkpoint_of(model)


def test_a_training_is_not_overwritten(whole: Path, photos: Path) -> None:
    before = (whole / "last.pt").read_bytes()
    with pytest.raises(OptionError, match="holds a training already; --resume"):
        train(RECIPE, run(whole, photos), say=quiet)
    assert (whole / "last.pt").read_bytes() == before


def test_going_on_elsewhere_overwrites_no_other_training(tmp_path: Path, photos: Path, whole: Path) -> None:
    other = tmp_path / "other"
    train(dataclasses.replace(RECIPE, seed=9), run(other, photos, steps=1), say=quiet)
    before = (other / "last.pt").read_bytes()
    with pytest.raises(OptionError, match="holds a training already"):
        train(RECIPE, run(other, photos, steps=7), resume=whole / "last.pt", say=quiet)
    (other / "previous.pt").write_bytes((whole / "last.pt").read_bytes())
    with pytest.raises(OptionError, match="holds a training already"):
        train(RECIPE, run(other, photos, steps=7), resume=other / "previous.pt", say=quiet)
    assert (other / "last.pt").read_bytes() == before


def test_a_changed_recipe_is_named_when_a_training_goes_on(tmp_path: Path, photos: Path, whole: Path) -> None:
    said: list[str] = []
    with pytest.raises(
        CheckpointError, match="trained with adam, recipe tiny wants soap; use its own recipe, or --from"
    ):
        train(dataclasses.replace(RECIPE, optimiser="soap"), run(tmp_path, photos), resume=whole / "last.pt", say=quiet)
    plan = dataclasses.replace(RECIPE, clip=2.0, learning_rate=1e-3)
    train(plan, run(tmp_path, photos, steps=7), resume=whole / "last.pt", say=said.append)
    assert any("differs" in line and "learning_rate, clip" in line for line in said)


# from and to artifacts


@pytest.mark.slow
def test_export_calibrate_and_start_again(
    tmp_path: Path, photos: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.dpcmodel"
    command = ["export", str(whole / "weights.pt"), str(target), "--calibrate", str(photos)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "calibrated tables save" in done.output, done.output
    made = Artifact(target, 1)
    assert made.name == "a" and made.metadata["training"]["step"] == 6
    assert made.metadata["training"]["recipe"]["name"] == "tiny"
    plain, pictures = logistic_tables(), Photos([photos], 192)
    assert not all(map(np.array_equal, made.tables.frequencies, plain))
    share = calibrate.gain(made, plain, made.tables.frequencies, pictures)
    assert share == pytest.approx(made.metadata["training"]["calibration"]["saved"], abs=1e-5) and share > 0
    assert calibrate.gain(made, plain, plain, pictures) == 0
    counts = calibrate.count(made, pictures, crops=4)
    assert len(counts) == len(plain) and sum(int(c.sum()) for c in counts) > 1000
    monkeypatch.setattr(calibrate, "gain", lambda *_: -0.02)
    command[2] = str(tmp_path / "c.dpcmodel")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "would cost 2.00% of the bytes" in done.output, done.output
    assert all(map(np.array_equal, Artifact(tmp_path / "c.dpcmodel", 1).tables.frequencies, plain))

    state = weights_of(target).state
    model = Model(NETWORK)
    model.load_state_dict(weights_of(whole / "last.pt").state)
    expected = half_precision(model).state_dict()  # the small file holds all that counts
    plain_parts = ("g_a.", "h_a.", "log_gain", "offset", "z_index")
    assert all(same(state[k], v) for k, v in expected.items() if k.startswith(plain_parts))
    for name, value in expected.items():  # the rest are integers, so not quite what they were
        least = 0.02 if name.endswith("features.a.bias") else 2.0**-9  # of biases beside whole numbers
        assert (state[name] - value).abs().max() <= 0.02 * value.abs().max() + least, name
    train(RECIPE, run(tmp_path / "warm", photos, steps=1), warm=state, say=quiet)
    assert load_checkpoint(tmp_path / "warm" / "last.pt")["step"] == 1
    done = CliRunner().invoke(app, ["export", str(target), str(tmp_path / "b.dpcmodel")])
    assert done.exit_code == 1 and "is an artifact already" in done.output


# the commands


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0.0}, "--minutes 0: give a number of minutes"),
        ({"minutes": float("nan")}, "--minutes nan: give a number of minutes"),
        ({"minutes": float("inf")}, "--minutes inf"),
        ({"minutes": 1.0, "horizon": float("nan")}, "--horizon nan"),
        ({"steps": 0}, "--steps 0: give at least 1"),
        ({"minutes": 1.0, "steps": 5}, "exclude each other"),
        ({"horizon": 5.0}, "--horizon"),
        ({"minutes": 5.0, "horizon": 2.0}, "--horizon"),
        ({"resume": Path("a"), "start": Path("b")}, "--resume and --from exclude each other"),
        ({"start": ROOT / "tests" / "data" / "tiny.dpcmodel"}, r"another \[network\] than the recipe"),
        ({"device": "cuda:99"}, "torch sees no such device|there are"),
        ({"device": "abacus"}, "none that torch knows"),
        ({"devices": 3}, "--devices 3 does not divide the batch of 16"),
        ({"precision": "fp8"}, "--precision fp8 is unknown"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DPCError, match=message) as error:
        begin("mse", data=[photos], began=time.monotonic(), out=tmp_path, say=quiet, **options)
    assert "\n" not in str(error.value)


def test_a_deeper_network_starts_as_the_one_it_grew_from(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = tmp_path / "small.dpcmodel"
    export(Model(NETWORK), source, "small")
    weights = weights_of(source)
    net = weights.network
    deeper = dataclasses.replace(
        net,
        encoder_depths=tuple(d + 1 for d in net.encoder_depths),
        encoder_dense=(1, 2, 1),
        decoder_depths=(net.decoder_depths[0] + 2, *net.decoder_depths[1:]),
    )
    state = grown(weights, deeper, source)
    assert len(state) > len(weights.state)
    models = [Model(n).eval() for n in (net, deeper)]
    for model, values in zip(models, (weights.state, state), strict=True):
        model.load_state_dict(values)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    y = [m.g_a(x) for m in models]
    assert torch.equal(*y)
    w = models[0].interpolation(torch.full((1, 1, 4, 4), 2.5))
    assert torch.equal(*(m.g_s(y[0], w) for m in models))

    with pytest.raises(OptionError, match="can only grow"):
        grown(Weights(deeper, state, None, {}), net, source)
    with pytest.raises(OptionError, match="another \\[network\\]"):
        grown(weights, dataclasses.replace(deeper, mean_width=net.mean_width + 8), source)
    with pytest.raises(ValueError, match="must have three entries"):
        dataclasses.replace(net, decoder_depths=(1, 2))


def test_tables_are_interpolated_in_float32_under_bf16() -> None:
    model = Model(NETWORK)
    torch.nn.init.normal_(model.log_gain, generator=torch.Generator().manual_seed(3))
    seen: list[torch.dtype] = []
    model.h_a.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        at = model.interpolation(torch.full((1, 1, 1, 1), 0.3))[:, :, 0, 0]
        y = at @ model.log_gain
        exact = torch.exp(at.double() @ model.log_gain.double())
        gains: list[torch.Tensor] = []
        model.g_a.register_forward_hook(lambda *_: torch.ones(1, NETWORK.latents, 4, 4))
        model.h_a.register_forward_pre_hook(lambda _, given: gains.append(given[0]))
        model(torch.zeros(1, 3, 64, 64), torch.full((1, 1, 1), 0.3))
    assert y.dtype == torch.bfloat16 and seen == [torch.float32]
    assert torch.allclose(gains[0][0, :, 0, 0].double(), exact[0], rtol=1e-5)


def test_a_released_model_is_named_unless_there_is_such_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(Path(DEFAULT)) == released()[DEFAULT]
    (tmp_path / DEFAULT).write_bytes(b"")
    assert located(Path(DEFAULT)) == Path(DEFAULT)
    with pytest.raises(CheckpointError, match="there is no checkpoint dpc-0"):
        weights_of(Path("dpc-0"))


def test_the_training_goes_on_from_the_released_model() -> None:
    """Its weights fit the networks of today and the recipe of the part to come, and say which recipe they are of."""
    weights = weights_of(Path(DEFAULT))
    taught, last = (recipe.read(ROOT / "results" / name) for name in ("dpc-8/taught.toml", "dpc-9/recipe.toml"))
    assert weights.network == taught.network == last.network
    assert [stage["taught"] for stage in weights.training["recipe"]["stages"]] == [True]
    Model(last.network).load_state_dict(grown(weights, last.network, Path(DEFAULT)))


def test_a_taught_stage_goes_towards_the_picture_of_the_teacher(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher who draws all in one grey: the error that is logged is the one from that grey, and it falls."""

    class Grey(Teacher):
        def __init__(self, name: str) -> None:
            assert name == "grey"

        def picture(self, out: Any) -> torch.Tensor:
            return torch.full_like(out.x_hat.detach(), 0.25)

    monkeypatch.setattr(trainer, "Teacher", Grey)
    stage = Stage(share=1.0, mse=1.0, frozen=True, taught=True)
    plan = Recipe("x", (stage,), NETWORK, batch=2, teacher="grey", learning_rate=3e-3, warmup=0.0, lambda_max=8.0)
    torch.manual_seed(0)
    model = Model(NETWORK)
    model.start_from_wavelet([torch.rand(1, 3, 256, 256)], torch.logspace(-0.5, -1.5, 8))
    start = model.state_dict()
    run = Run(tmp_path / "run", [photos], steps=24, log_every=4, loaders=0, precision="fp32")
    last = train(plan, run, warm=start, say=print)
    errors = [float(row["mse"]) for row in rows(last.parent / "log.csv")]
    assert errors[-1] < 0.5 * errors[0]
    state = load_checkpoint(last)
    changed = {k.split(".")[0] for k in start if not torch.equal(state["model"][k], start[k])}
    assert changed == {"g_s"}


def test_several_devices_need_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="needs lightning-fabric"):
        devices.start("cpu", 2)


def test_an_error_of_the_command_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("speed = 3\n" + GOOD)
    for words in (["train"], ["pack", str(tmp_path / "pack"), "--recipe"]):
        done = CliRunner().invoke(app, [*words, str(path), "--data", str(tmp_path)])
        assert done.exit_code == 1
        assert done.output.startswith(f"dpc: error: {path}: unknown key 'speed' in the recipe")
        assert done.output.count("\n") == 1


def test_a_training_without_the_extras_has_the_options_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from dpc.training.__main__ import _parser

    given = _parser().parse_args(
        ["dpc", "--data", "a", "--data", "b", "--minutes", "3", "--from", "m", "--devices", "2"]
    )
    assert given.data == [Path("a"), Path("b")] and given.minutes == 3.0 and given.start == Path("m")
    assert given.devices == 2 and given.device == given.precision == "auto" and given.resume is None
    (command,) = [c for c in app.registered_commands if (c.name or c.callback.__name__) == "train"]  # type: ignore[union-attr]
    mine = {a.dest for a in _parser()._actions} - {"help"}
    assert mine == set(command.callback.__annotations__) - {"return"}  # type: ignore[union-attr]


def test_an_export_replaces_nothing_but_a_model(tmp_path: Path, whole: Path) -> None:
    copy = tmp_path / "last.pt"
    shutil.copy(whole / "last.pt", copy)
    done = CliRunner().invoke(app, ["export", str(copy), str(copy)])
    assert done.exit_code == 1 and "last.pt exists and is no model artifact" in done.output
    assert copy.read_bytes() == (whole / "last.pt").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "nan"], "nan is out of range; give a number above 0 to 1e+06"),
        (["--limit", "-1"], "-1 is out of range; give a number above 0"),
        (["--recipe", "mse", "--recipe", "mse"], "two recipes have the name mse"),
    ],
)
def test_a_pack_that_cannot_be_made(options: list[str], message: str, tmp_path: Path, photos: Path) -> None:
    done = CliRunner().invoke(app, ["pack", str(tmp_path / "pack"), "--data", str(photos), *options])
    assert done.exit_code in (1, 2) and message in done.output and not (tmp_path / "pack").exists()


@pytest.mark.slow
@needs("weights", "lpips", "alexnet-features.pth")
def test_a_pack_trains_where_there_is_nothing_but_torch(tmp_path: Path, photos: Path, whole: Path) -> None:
    plan = tmp_path / "tiny.toml"
    network = "\n".join(f"{k} = {list(v) if isinstance(v, tuple) else v}" for k, v in vars(NETWORK).items())
    taught = "[[stages]]\nshare = 1.0\nmse = 1.0\nfrozen = true\nteacher = 1.0\ntaught = true\n"
    plan.write_text(f'name = "tiny"\nbatch = 2\nteacher = "{make_tiny.MODEL}"\n[network]\n{network}\n{taught}')
    out = tmp_path / "pack"
    command = ["pack", str(out), "--data", str(photos), "--recipe", str(plan), "--from", str(whole / "last.pt")]
    command += ["--lpips-weights", str(WEIGHTS), "--limit"]
    done = CliRunner().invoke(app, [*command, "15"])
    assert done.exit_code == 0 and "3 of 3 photographs" in done.output, done.output
    assert sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) < 15e6
    names = zipfile.ZipFile(out / "photos.zip").namelist()
    assert sorted(n.split("/")[0] for n in names) == ["train", "train", "validation"]
    assert (out / "teacher.pt").stat().st_size > 10_000
    done = CliRunner().invoke(app, [*command, "15"])
    assert done.exit_code == 1 and "is not empty" in done.output
    command[1] = str(tmp_path / "small")
    done = CliRunner().invoke(app, [*command, "13"])
    assert done.exit_code == 1 and "leaves room for" in done.output and not (tmp_path / "small").exists()

    env = environment(PYTHON=str(bare_python(tmp_path)), COPY=str(tmp_path / "copy"))
    env.pop("PYTHONPATH")

    def train_there() -> str:
        """Until the first line of progress, then a signal to the script; returns what it said."""
        call = ["bash", out / "run.sh", "5", "--horizon", "20", "--precision", "fp32", "--device", "cpu"]
        process = subprocess.Popen(call, env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "crops/s" in line:
                process.send_signal(signal.SIGTERM)
                break
        said += process.stdout.read()
        assert process.wait(timeout=60) == 0, said
        return said

    made = tmp_path / "pack-run" / "tiny"
    first = train_there()
    step = load_checkpoint(made / "last.pt")["step"]
    assert step >= 50 and f"stopped at step {step}," in first
    assert f"from step {step} to minute 20 of" in train_there()  # a second call goes on
    copied = {p.name for p in (tmp_path / "copy").iterdir()}
    assert copied == {"weights.pt", "log.csv", "validation.csv", "train.log", "curves.html"}
    assert weights_of(tmp_path / "copy" / "weights.pt").network == NETWORK
    assert "stopped at step" in (tmp_path / "copy" / "train.log").read_text().splitlines()[-1]


def test_validation_at_a_rate_is_interpolated_in_the_logarithm() -> None:
    levels = [{"bpp": "0.1", "psnr": "30"}, {"bpp": "0.4", "psnr": "34"}]
    assert at_rate(levels, 0.2, "psnr") == pytest.approx(32)
    assert at_rate(levels, 0.5, "psnr") is None and at_rate(levels, 0.2, "lpips_alex") is None
