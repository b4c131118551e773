"""The training of earlier codecs: it learns, goes on bit for bit, keeps to its rate, and says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT, SHARED, needs, python_path
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import trainings  # noqa: E402
from trainings import bare_python, rows, same  # noqa: E402

from dpc.cli import app  # noqa: E402
from dpc.errors import DPCError, OptionError  # noqa: E402
from dpc.networks.earlier import checkpoint as weights_file  # noqa: E402
from dpc.networks.earlier.protocol import EarlierCodec, Forward, make, register  # noqa: E402
from dpc.training.begin import begin  # noqa: E402
from dpc.training.checkpoint import WARMING, CheckpointError, load_checkpoint  # noqa: E402
from dpc.training.earlier.rate import objective  # noqa: E402
from dpc.training.earlier.recipe import Rate, Recipe, from_plain, read  # noqa: E402
from dpc.training.earlier.trainer import Trainer  # noqa: E402
from dpc.training.recipe import RecipeError, has_codec  # noqa: E402
from dpc.training.trainer import Run  # noqa: E402


@register
class Tiny(EarlierCodec):
    """Means of 8x8 pixels, scaled, with noise or rounded; their price is their logarithm. Enough to be trained."""

    kind = "tiny"
    stride = 8

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(3, channels, 8, 8)
        self.norm = torch.nn.BatchNorm2d(channels)
        self.up = torch.nn.ConvTranspose2d(channels, 3, 8, 8)

    def forward(self, x: torch.Tensor) -> Forward:
        y = 4 * self.norm(self.down(x)).float()
        y_hat = y + torch.rand_like(y) - 0.5 if self.training else y.round()
        bits = (1 + y_hat.abs()).log2().sum((1, 2, 3))
        return Forward(self.up(y_hat), bits, {"H": bits / y[0].numel()})

    def payload(self, x: torch.Tensor) -> list[bytes]:
        raise NotImplementedError

    def restore(self, parts: list[bytes], height: int, width: int) -> torch.Tensor:
        raise NotImplementedError


GOOD = """
name = "tiny"
crops = 12
crop = 64
batch = 2
learning_rate = 1e-2
[codec]
kind = "tiny"
channels = 2
[loss]
mse = 1.0
[rate]
lambda = 0.01
"""


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Decoded pictures go to a folder of the test."""
    with trainings.scratch(tmp_path_factory.mktemp("tmp")):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small pictures."""
    return trainings.photographs(tmp_path_factory.mktemp("photos"), 96, 112, 20.0, ".png")


def plan(folder: Path, text: str = GOOD) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text)
    return read(path)


def prepared(
    recipe: Recipe, out: Path, photos: Path, resume: Path | None = None, start: Path | None = None, **options: Any
) -> Trainer:
    """A training with exact arithmetic, no downloads, a row for every step."""
    given: dict[str, Any] = {"device": "cpu", "precision": "fp32", "lpips_weights": "/none", "log_every": 1}
    say = options.pop("say", lambda _: None)
    return Trainer(recipe, Run(out=out, data=[photos], **(given | options)), resume, start, say)


def train(*given: Any, **options: Any) -> Trainer:
    """The same, run to its end."""
    trainer = prepared(*given, **options)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The folder of a training of six steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    train(plan(out), out, photos)
    return out


def test_it_learns_and_leaves_weights_that_the_protocol_reads(tmp_path: Path, photos: Path) -> None:
    trainer = train(plan(tmp_path, GOOD.replace("crops = 12", "crops = 300")), tmp_path, photos)
    first, last = rows(tmp_path / "validation.csv")
    assert float(last["psnr"]) > float(first["psnr"]) + 3
    codec, about = weights_file.load(tmp_path / "weights.pt")
    assert codec.kind == "tiny" and codec.sizes == {"channels": 2}
    assert about["crops"] == 300 and about["recipe"]["rate"] == {"lambda": 0.01}
    assert about["held_out"]["psnr"] == pytest.approx(float(last["psnr"]), abs=1e-3)
    for name, value in trainer.average.state_dict().items():
        torch.testing.assert_close(codec.state_dict()[name], value, atol=2e-3, rtol=2e-3)
    assert (tmp_path / "curves.html").read_text().count("<svg") >= 8


def test_a_resumed_training_is_bit_identical(tmp_path: Path, photos: Path, whole: Path) -> None:
    recipe = plan(tmp_path)
    trainer = prepared(recipe, tmp_path, photos)
    trainer.codec.train()
    for _ in range(4):
        trainer.one_step(trainer.crops / trainer.in_all)
    trainer.save()
    train(recipe, tmp_path, photos, resume=tmp_path / "last.pt")
    a, b = load_checkpoint(whole / "last.pt"), load_checkpoint(tmp_path / "last.pt")
    for key in ("model", "ema", "optimiser", "step", "crops", "recipe"):
        assert same(a[key], b[key]), key
    assert a["step"] == 6 and a["crops"] == 12


def test_minutes_end_a_call_and_not_the_schedule(tmp_path: Path, photos: Path) -> None:
    recipe = plan(tmp_path, GOOD.replace("crops = 12", "crops = 100000000"))
    trainer = train(recipe, tmp_path, photos, minutes=3 / 60)
    assert 0 < trainer.crops < 100000000
    found = [float(r["lr"]) for r in rows(tmp_path / "log.csv")]
    assert max(found) < 1e-2 * 0.1, "the learning rate is that of the beginning of a long training"
    held = load_checkpoint(tmp_path / "last.pt")
    assert held["in_all"] == 100000000


def test_steps_hold_when_the_training_goes_on(tmp_path: Path, photos: Path, whole: Path) -> None:
    recipe = plan(tmp_path)
    trainer = train(recipe, tmp_path, photos, steps=2)
    assert trainer.crops == 4
    with pytest.raises(OptionError, match="goes over 4 crops and is over"):
        train(recipe, tmp_path, photos, resume=tmp_path / "last.pt")
    assert train(recipe, tmp_path, photos, resume=tmp_path / "last.pt", steps=3).crops == 6


def test_another_rate_begins_with_weights(tmp_path: Path, photos: Path, whole: Path) -> None:
    recipe = plan(tmp_path, GOOD.replace("learning_rate = 1e-2", "learning_rate = 1e-9"))
    trainer = train(recipe, tmp_path / "out", photos, start=whole, steps=1)
    found, _ = weights_file.load(whole / "weights.pt")
    torch.testing.assert_close(trainer.codec.state_dict()["down.weight"], found.state_dict()["down.weight"])
    train(recipe, tmp_path / "out", photos, resume=tmp_path / "out" / "last.pt", steps=2)
    before = weights_file.load(tmp_path / "out" / "weights.pt")[1]["before"]
    assert before == [weights_file.load(whole / "weights.pt")[1]["recipe"]], "it has seen the metrics of that loss too"
    other = plan(tmp_path, GOOD.replace("channels = 2", "channels = 3"))
    with pytest.raises(OptionError, match=r"holds tiny \{'channels': 2\}, the recipe wants tiny \{'channels': 3\}"):
        train(other, tmp_path / "none", photos, start=whole / "weights.pt")


def test_a_training_that_lost_its_checkpoint_goes_on_from_its_weights(tmp_path: Path, photos: Path) -> None:
    recipe, run, other = plan(tmp_path), tmp_path / "run", tmp_path / "other"
    said: list[str] = []
    train(recipe, run, photos, steps=3)
    kept = weights_file.load(run / "weights.pt")[0].state_dict()["down.weight"]
    on = prepared(recipe, other, photos, resume=run / "weights.pt", steps=6, say=said.append)
    assert (on.step, on.crops, on.in_all) == (3, 6, 12)
    assert f"{run / 'weights.pt'} holds the averaged weights alone" in said[0]
    torch.testing.assert_close(on.codec.state_dict()["down.weight"], kept)
    own = prepared(recipe, tmp_path / "third", photos, resume=run / "last.pt", steps=6)
    torch.testing.assert_close(next(on.batches)[0], next(own.batches)[0])
    assert on.one_step(0.5) == pytest.approx(own.one_step(0.5) / WARMING), "its learning rate rises anew"
    on.train()
    assert load_checkpoint(other / "last.pt")["crops"] == 12
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        prepared(recipe, tmp_path / "none", photos, resume=broken)
    weights_file.save(broken, on.average, {"recipe": recipe.plain()})
    with pytest.raises(CheckpointError, match="does not say how far its training went; --from"):
        prepared(recipe, tmp_path / "none", photos, resume=broken)


def test_the_same_crops_for_every_loss_and_codec(tmp_path: Path, photos: Path) -> None:
    seen = []
    for n, (old, new) in enumerate((("", ""), ("mse = 1.0", "mse = 9.0"), ("channels = 2", "channels = 5"))):
        trainer = prepared(plan(tmp_path, GOOD.replace(old, new)), tmp_path / str(n), photos)
        seen.append(torch.cat([next(trainer.batches)[0] for _ in range(3)]))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


# the objective


def forward(bits: float, **extra: float) -> Forward:
    found = {k: torch.tensor([v, v]) for k, v in extra.items()}
    return Forward(torch.zeros(2, 3, 10, 10), torch.tensor([bits, bits]), found)


def test_the_two_forms_of_the_rate() -> None:
    d = torch.tensor([2.0, 4.0])
    by_lambda = objective(forward(50.0), d, Rate(lambda_=0.1))
    assert by_lambda.item() == pytest.approx(0.5 + 0.1 * 3)
    target = Rate(beta=10.0, target=0.4)
    assert objective(forward(50.0), d, target).item() == pytest.approx(3 / 10 + 0.1)
    assert objective(forward(50.0, H=1.4), d, target).item() == pytest.approx(3 / 10 + 1.0)
    assert objective(forward(30.0), d, target).item() == pytest.approx(3 / 10), "below the target bits are free"
    assert objective(forward(30.0, auxiliary=0.25), d, target).item() == pytest.approx(3 / 10 + 0.25)


def test_a_target_is_kept(tmp_path: Path, photos: Path) -> None:
    text = GOOD.replace("crops = 12", "crops = 500").replace("lambda = 0.01", "beta = 500.0\ntarget = 1.2")
    text = text.replace("mse = 1.0", "mse = 0.1")
    train(plan(tmp_path, text), tmp_path, photos)
    found = [float(r["entropy"]) for r in rows(tmp_path / "log.csv")]
    assert np.mean(found[-20:]) == pytest.approx(1.2, abs=0.15) and found[0] > 1.5


def test_gradients_that_are_not_finite_are_skipped_and_end_it_at_last(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Tiny, x: torch.Tensor) -> Forward:
        return Forward(x * self.up.bias[0] * torch.nan, self.up.bias.sum() * x[:, 0, 0, 0])

    monkeypatch.setattr(Tiny, "forward", broken)
    monkeypatch.setattr("dpc.training.earlier.trainer.HOPELESS", 3)
    monkeypatch.setattr(Trainer, "validate", lambda self: {})
    with pytest.raises(DPCError, match="the gradients of 3 steps in a row were not finite"):
        train(plan(tmp_path), tmp_path, photos)
    assert all(v.isfinite().all() for v in load_checkpoint(tmp_path / "last.pt")["model"].values())


def test_weights_that_are_not_finite_push_out_no_sound_ones(tmp_path: Path, photos: Path) -> None:
    trainer = train(plan(tmp_path), tmp_path, photos, steps=2)
    trainer.averages[0].fill_(torch.nan)
    for look in (trainer.save, trainer.validate):
        with pytest.raises(DPCError, match="weights are no longer finite: .*last.pt holds what was learned before"):
            look()
    assert all(v.isfinite().all() for v in load_checkpoint(tmp_path / "last.pt")["model"].values())


# recipes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crops = 12", "crops = 12\nspeed = 3", "unknown key 'speed' in the recipe"),
        ("crops = 12", "", "the recipe lacks crops"),
        ("crops = 12", "crops = 1.5", "crops = 1.5 in the recipe must be of type int"),
        ("crop = 64", "crop = 70", "crop = 70: it must be a multiple of 16"),
        ("crop = 64", "crop = 80\ncrop = 80", "is not TOML"),
        ("batch = 2", "batch = 0", "batch = 0: it must be at least 1 and at most"),
        ("learning_rate = 1e-2", "learning_rate = inf", "learning_rate = inf: it must be above 0 and finite"),
        ("learning_rate = 1e-2", "warmup = 0.9", "decay_from = 0.5 must be at least warmup = 0.9"),
        ('name = "tiny"', 'name = "../tiny"', "name = '../tiny': letters, digits"),
        ("mse = 1.0", "mse = 0.0", "mse = ms_ssim = lpips = 0; one of them"),
        ("mse = 1.0", "mse = -1.0", r"\[loss\]: mse = -1.0: it must be at least 0 and finite"),
        ("mse = 1.0", "lpips = 1.0\nlpips_nets = []", r"\[loss\]: lpips_nets = \[\]"),
        ("mse = 1.0", 'lpips = 1.0\nlpips_nets = ["resnet"]', "give one or more of alex, squeeze, vgg"),
        ("mse = 1.0", "ms_ssim = 1.0", "crop = 64: this MS-SSIM needs 161 pixels"),
        ("mse = 1.0", "ms_ssim = 1.0\nms_ssim_scales = 4", "crop = 64: this MS-SSIM needs 81 pixels"),
        ("mse = 1.0", "ms_ssim = 1.0\nms_ssim_scales = 6", "ms_ssim_scales = 6: it must be at least 1 and at most 5"),
        ("lambda = 0.01", "lambda = 0.01\ntarget = 1.0", "give lambda alone, or beta and target"),
        ("lambda = 0.01", "beta = 1.0", "give lambda alone, or beta and target"),
        ("lambda = 0.01", "lambda = 0.0", r"\[rate\]: lambda = 0.0: it must be above 0"),
        ("crops = 12", 'crops = 12\nselected_by = ["beauty"]', "'beauty' is no metric"),
    ],
)
def test_a_wrong_recipe_gives_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError, match=message) as error:
        plan(tmp_path, GOOD.replace(old, new))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "recipe.toml"))


def test_a_recipe_survives_json(tmp_path: Path) -> None:
    text = GOOD.replace("mse = 1.0", 'ms_ssim = 2.0\nlpips = 1.5\nlpips_nets = ["vgg", "alex"]\nms_ssim_fitted = true')
    recipe = plan(tmp_path, text)
    assert from_plain(json.loads(json.dumps(recipe.plain()))) == recipe
    assert recipe.codec.sizes == {"channels": 2} and recipe.loss.terms.ms_ssim == 2.0


def test_sizes_and_kinds_that_do_not_fit(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(OptionError, match="tiny: .*'width'"):
        train(plan(tmp_path, GOOD.replace("channels = 2", "width = 2")), tmp_path, photos)
    with pytest.raises(OptionError, match="the codec kind 'huge' is unknown"):
        train(plan(tmp_path, GOOD.replace('"tiny"\nchannels = 2', '"huge"')), tmp_path, photos)


def test_checkpoints_that_do_not_fit(tmp_path: Path, photos: Path, whole: Path) -> None:
    other = plan(tmp_path, GOOD.replace("channels = 2", "channels = 3"))
    with pytest.raises(CheckpointError, match="was trained with another codec than that of recipe tiny"):
        train(other, tmp_path / "out", photos, resume=whole / "last.pt")
    with pytest.raises(OptionError, match="holds a training already"):
        train(plan(tmp_path), whole, photos)


RECIPES = ROOT / "results" / "earlier"
LOSSES = ("base-2018-msssim", "base-2018-dpc")


def test_the_recipes_of_the_results_see_the_same_crops_by_the_same_schedule() -> None:
    models = [path.parent.name for path in sorted(RECIPES.glob("*/middle.toml"))]
    assert len(models) == 6
    found = {(m, r): read(RECIPES / m / f"{r}.toml") for m in models for r in ("middle", "low", "high")}
    own = {"name", "description", "codec", "loss", "rate", "crops", "begins_with"}
    shared = [{k: v for k, v in recipe.plain().items() if k not in own} for recipe in found.values()]
    assert all(one == shared[0] for one in shared)
    for (model, rate), recipe in found.items():
        begun = "high" if model in LOSSES else "middle"  # nothing in the loss of the base network asks for more bits
        assert recipe.begins_with == ("" if rate == begun else f"{model}-{begun}")
        assert recipe.name == f"{model}-{rate}" and recipe.crops == (48_000 if rate == begun else 12_000)
        first = found[model, begun]
        assert recipe.codec == first.codec and recipe.loss == first.loss, "three rates of one codec"
    for rate in ("middle", "low", "high"):
        a, b = (found[m, rate] for m in LOSSES)
        assert a.codec == b.codec and a.rate == b.rate and a.loss != b.loss, "the loss alone differs"
        assert not a.loss.lpips and b.loss.lpips and b.loss.lpips_nets == ("alex",)
    for path in (RECIPES / "paper").glob("*.toml"):
        assert read(path).name == f"{path.stem}-paper"


@pytest.mark.parametrize("model", sorted(path.parent.name for path in RECIPES.glob("*/middle.toml")))
def test_the_codecs_of_the_results_are_small_and_take_their_crops(model: str, tmp_path: Path) -> None:
    recipe = read(RECIPES / model / "middle.toml")
    pytest.importorskip(f"dpc.networks.earlier.{'base2018' if model in LOSSES else 'hyperprior'}")
    codec = make(recipe.codec.kind, **recipe.codec.sizes)
    assert recipe.crop % codec.stride == 0
    weights_file.save(tmp_path / "weights.pt", codec, {"recipe": recipe.plain()})
    assert (tmp_path / "weights.pt").stat().st_size < 3e6
    out = codec.train()(torch.rand(2, 3, 64, 64))
    objective(out, (out.x_hat - 0.5).square().mean((1, 2, 3)), recipe.rate).backward()
    idle = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not idle, "parameters that the loss does not reach"


# the command


def test_the_command_knows_such_a_recipe(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(GOOD)
    assert has_codec("recipe.toml") and not has_codec("mse") and not has_codec("nothing.toml")
    words = ["train", "recipe.toml", "--data", str(photos), "--device", "cpu", "--lpips-weights", "/none"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "stopped at step 6, 12 crops of 12" in done.output and Path("runs/tiny/weights.pt").is_file()
    done = CliRunner().invoke(app, [*words, "--resume", "runs/tiny"])
    assert done.exit_code == 1 and "goes over 12 crops and is over" in done.output
    done = CliRunner().invoke(app, [*words, "--devices", "2", "--out", "other"])
    assert done.exit_code == 1 and "--devices 2" in done.output
    with pytest.raises(OptionError, match="--horizon"):
        begin("recipe.toml", data=[photos], began=0.0, minutes=1.0, horizon=2.0)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_earlier
from pathlib import Path
from dpc.training.earlier.trainer import Trainer
step = Trainer.one_step
def slow(self, progress):
    time.sleep(0.02)
    return step(self, progress)
Trainer.one_step = slow
out = Path(sys.argv[2])
recipe = test_earlier.plan(out, test_earlier.GOOD.replace("crops = 12", "crops = 100000"))
test_earlier.train(recipe, out, Path(sys.argv[3]), save_every=0.1)
"""


def test_kill_9_loses_only_what_came_after_the_last_checkpoint(tmp_path: Path, photos: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), str(photos)]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": python_path(__file__)})
    try:
        while not (tmp_path / "previous.pt").exists() and process.poll() is None:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    state = load_checkpoint(tmp_path / "last.pt")
    recipe = plan(tmp_path, GOOD.replace("crops = 12", "crops = 100000"))
    trainer = train(recipe, tmp_path, photos, resume=tmp_path / "last.pt", steps=state["step"] + 2)
    assert trainer.crops == state["crops"] + 4
    steps = [int(r["step"]) for r in rows(tmp_path / "log.csv")]
    assert steps == list(range(1, state["step"] + 3))


# in turn, and packed

FIRST = """
name = "first"
crops = 4
crop = 64
batch = 2
[codec]
kind = "scale-hyperprior"
filters = 8
latents = 12
[loss]
mse = 1.0
[rate]
lambda = 0.01
"""
SECOND = FIRST.replace('"first"', '"second"\nbegins_with = "first"')


def recipes(folder: Path, *texts: str) -> list[str]:
    for n, text in enumerate(texts):
        (folder / f"{n}.toml").write_text(text)
    return [str(folder / f"{n}.toml") for n in range(len(texts))]


def in_turn(names: list[str], out: Path, photos: Path, said: list[str], **options: Any) -> None:
    given: dict[str, Any] = {"device": "cpu", "precision": "fp32", "lpips_weights": Path("/none")}
    begin(names, data=[photos], began=time.monotonic(), out=out, say=said.append, **(given | options))


def test_recipes_in_turn_begin_with_each_other_and_go_on(tmp_path: Path, photos: Path) -> None:
    names, out, said = recipes(tmp_path, FIRST, SECOND), tmp_path / "runs", list[str]()
    in_turn(names[:1], out, photos, said, steps=1)
    in_turn(names, out, photos, said)
    assert load_checkpoint(out / "first" / "last.pt")["crops"] == 2, "over, by the steps that were asked for"
    about = weights_file.load(out / "second" / "weights.pt")[1]
    assert about["crops"] == 4 and about["before"][0]["name"] == "first"
    assert not any("is meant to begin" in line for line in said)
    in_turn(names, out, photos, said := [])
    assert said == ["first is over", "second is over"]
    in_turn(names, tmp_path / "none", photos, said := [], minutes=0.01)
    assert said == ["first waits for another call"]


def test_recipes_in_turn_that_cannot_be(tmp_path: Path, photos: Path) -> None:
    names = recipes(tmp_path, SECOND, FIRST)
    with pytest.raises(OptionError, match="second begins with the weights of first: give that recipe before it"):
        in_turn(names, tmp_path / "runs", photos, [])
    with pytest.raises(OptionError, match="mse has no .codec. table"):
        in_turn([names[1], "mse"], tmp_path / "runs", photos, [])
    with pytest.raises(OptionError, match="are for one recipe"):
        in_turn(names, tmp_path / "runs", photos, [], resume=tmp_path)


def test_a_recipe_that_begins_with_another_says_so(tmp_path: Path, photos: Path) -> None:
    (name,) = recipes(tmp_path, SECOND)
    Trainer(read(name), Run(out=tmp_path / "a", data=[photos], lpips_weights="/none"), None, None, (said := []).append)
    assert "second is meant to begin with the weights of first: --from its run" in said


@needs("weights", "lpips", "alexnet-features.pth")
def test_a_pack_trains_them_in_turn_where_there_is_nothing_but_torch(tmp_path: Path, photos: Path) -> None:
    base = 'kind = "base-2018"\nfilters = 8\ngroups = 1\nblocks = 1\nchannels = 4\nwidth = 8\n'
    third = FIRST.replace('"first"', '"third"').replace(FIRST[FIRST.index("kind") : FIRST.index("[loss]")], base)
    names = recipes(tmp_path, FIRST, SECOND, third)
    pack, copy = tmp_path / "pack", tmp_path / "copy"
    words = ["pack", str(pack), "--data", str(photos), "--lpips-weights", str(SHARED / "weights" / "lpips")]
    done = CliRunner().invoke(app, [*words, "--recipe", names[1]])
    assert done.exit_code == 1 and "second begins with the weights of first" in done.output and not pack.exists()
    done = CliRunner().invoke(app, [*words, "--recipe", names[0], "--recipe", "mse"])
    assert done.exit_code == 1 and "give each kind a pack" in done.output
    done = CliRunner().invoke(app, words + [word for name in names for word in ("--recipe", name)])
    assert done.exit_code == 0 and "3 of 3 photographs" in done.output, done.output
    env = os.environ | {"PYTHON": str(bare_python(tmp_path)), "COPY": str(copy), "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    said = subprocess.run([pack / "run.sh", "5", "--device", "cpu"], env=env, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    with tarfile.open(copy / "runs.tgz") as made, tarfile.open(copy / "last.tgz") as last:
        files = {Path(name).as_posix() for name in made.getnames()}
        logs = ("weights.pt", "log.csv", "validation.csv", "curves.html")
        assert files == {"train.log"} | {f"{run}/{file}" for run in ("first", "second", "third") for file in logs}
        assert [Path(name).as_posix() for name in last.getnames()] == ["third/last.pt"]
        made.extractall(tmp_path / "back", filter="data")
    assert weights_file.load(tmp_path / "back" / "second" / "weights.pt")[1]["before"][0]["name"] == "first"
    again = subprocess.run([pack / "run.sh", "5", "--device", "cpu"], env=env, capture_output=True, text=True)
    assert again.returncode == 0 and "third is over" in again.stdout


@needs("weights", "lpips", "alexnet-features.pth")
def test_a_pack_takes_weights_to_begin_with(tmp_path: Path, photos: Path) -> None:
    names, out = recipes(tmp_path, FIRST, SECOND, SECOND.replace("latents = 12", "latents = 8")), tmp_path / "runs"
    in_turn(names[:1], out, photos, [])
    words = ["--data", str(photos), "--lpips-weights", str(SHARED / "weights" / "lpips"), "--from", str(out / "first")]
    done = CliRunner().invoke(app, ["pack", str(tmp_path / "pack"), *words, "--recipe", names[1]])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "pack" / "warm.pt").read_bytes() == (out / "first" / "weights.pt").read_bytes()
    done = CliRunner().invoke(app, ["pack", str(tmp_path / "other"), *words, "--recipe", names[2]])
    assert done.exit_code == 1 and "the recipe wants scale-hyperprior" in done.output


# the sweep over the loss


def test_the_sweep_changes_the_loss_alone_and_has_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import loss_sweep

    base = read(loss_sweep.BASE)
    found = loss_sweep.variants(base, 80)
    assert len({recipe.name for recipe in found}) == len({str(recipe.loss) for recipe in found}) == 7
    assert base.loss in [recipe.loss for recipe in found]
    for recipe in found:
        same_as = recipe.plain() | {key: base.plain()[key] for key in ("name", "description", "loss", "crops")}
        assert recipe.crops == 80 and same_as == base.plain()

    def call(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["loss_sweep", str(tmp_path), *words])
        return int(loss_sweep.main())

    assert call("--recipes", "--crops", "80") == 0
    assert [read(path).name for path in sorted((tmp_path / "recipes").iterdir())] == sorted(r.name for r in found)
    assert call("--table") == 1 and "train first" in capsys.readouterr().err
    assert call() == 1 and "--data is missing" in capsys.readouterr().err
    (tmp_path / "scales-4").mkdir()
    (tmp_path / "scales-4" / "validation.csv").write_text(
        "step,crops,bpp,psnr,ms_ssim\n0,0,1,9,0.1\n9,72,0.41,25.123,0.9\n"
    )
    assert call("--table") == 0
    assert "| 2500 : 1000 | 4 scales | 72 | 0.4100 | 25.12 | 0.9000 | – | – |" in (tmp_path / "table.md").read_text()
