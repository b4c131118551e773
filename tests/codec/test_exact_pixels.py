"""Pixels are the same everywhere: means and synthesis give the same bits in onnxruntime, torch and plain numpy."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dpc.codec import artifact, container, tiles
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec

sys.path.append(str(make_tiny.ROOT / "benchmarks"))
import machines  # noqa: E402

Array = npt.NDArray[Any]

NAMES = sorted(path.stem for path in make_tiny.EXACT.glob("*.dpc") if not path.stem.startswith("released-"))
RELEASED = {  # model: sha256 of the pixels of exact/released-MODEL.dpc
    "dpc-7": "d5f44004073b2574daac979166f98c1d9fe6de2b477d0f2c0e607a16e282407f",
}
WORST = 3  # the seed of inputs at their ends
SETTINGS = [(1, True), (2, True), (1, False), (2, False)]
MODELS = {
    name: path
    for name, path in {"exact": make_tiny.EXACT_MODEL, **artifact.released()}.items()
    if artifact.metadata_of(path).get("exact_pixels")
}


@cache
def loaded(model: Path, threads: int, optimise: bool) -> Artifact:
    return Artifact(model, threads, optimise=optimise)


# golden files: what any machine decodes


@pytest.mark.parametrize(("threads", "optimise"), SETTINGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_decoded_to_the_same_pixels(name: str, threads: int, optimise: bool) -> None:
    one = Codec(loaded(make_tiny.EXACT_MODEL, threads, optimise))
    picture = np.asarray(Image.open(make_tiny.EXACT / f"{name}.png"))
    np.testing.assert_array_equal(one.decode(make_tiny.EXACT / f"{name}.dpc", as_array=True), picture)


def test_the_golden_files_are_worth_their_name() -> None:
    assert set(NAMES) == set(make_tiny.EXACT_NAMES)
    levels = {container.peek((make_tiny.EXACT / f"{name}.dpc").read_bytes()).level for name in NAMES}
    assert len(levels) >= 4 and any(level % artifact.FINE for level in levels)


def test_every_exact_model_that_ships_has_a_golden_file() -> None:
    assert set(RELEASED) == set(MODELS) - {"exact"}


@pytest.mark.parametrize(("name", "digest"), RELEASED.items())
def test_a_released_model_decodes_to_known_pixels(name: str, digest: str) -> None:
    pixels = Codec(name).decode(make_tiny.EXACT / f"released-{name}.dpc", as_array=True)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


# the graphs, in another implementation of ONNX


def inputs(model: Artifact, graph: str, seed: int) -> dict[str, Array]:
    """Made-up inputs of a graph: small ones, such as reach the limits, and the worst that a file can hold."""
    given: dict[str, Array] = machines.inputs(model, graph, seed)
    if graph == "means" and seed == WORST:
        given["z_hat"] = np.sign(given["z_hat"]) * model.sizes.z_limit
        given["r"] = np.sign(given["r"]) * 32767
    return given


@pytest.mark.parametrize("seed", [0, 1, 2, WORST])
@pytest.mark.parametrize("graph", artifact.DRAWING)
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_equals_the_reference_evaluator(name: str, graph: str, seed: int) -> None:
    reference = pytest.importorskip("onnx.reference")
    one = loaded(MODELS[name], 1, True)
    whole, given = machines.whole(one, graph), inputs(one, graph, seed)
    wanted = reference.ReferenceEvaluator(whole).run(None, given)
    assert np.isfinite(wanted[-1]).all() and wanted[-1].std() > 0.01
    for threads, optimise in SETTINGS:
        for got, array in zip(loaded(MODELS[name], threads, optimise).run(graph, **given), wanted, strict=False):
            np.testing.assert_array_equal(got, array)
    if graph == "synthesis":  # as real numbers too
        from dpc.codec.runtime import onnxruntime

        session = onnxruntime().InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, given)[-1], wanted[-1])


def test_tiles_do_not_change_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Codec(loaded(make_tiny.EXACT_MODEL, 1, True))
    photo = np.asarray(make_tiny.photograph(0, 0, 448, 288))
    data = one.encode(np.concatenate([photo, photo[::-1]])[:448], quality=60)
    whole = one.decode(data, as_array=True)
    monkeypatch.setattr(tiles, "SIDE", 24)
    assert len(list(tiles.tiles(28, 28))) == 16
    np.testing.assert_array_equal(one.decode(data, as_array=True), whole)


# how exact models are made

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dpc.errors import ModelError  # noqa: E402
from dpc.networks import wavelet  # noqa: E402
from dpc.networks.graphs import MeanGraph, SynthesisGraph  # noqa: E402
from dpc.networks.model import Model  # noqa: E402
from dpc.training.export import exact as exactly  # noqa: E402
from dpc.training.export.exact import Exact, convolutions, exact, integers, lifted, on_grid  # noqa: E402
from dpc.training.export.export import RENAMED, export, load, steady  # noqa: E402
from dpc.training.export.proof import NotExact, proved, reach  # noqa: E402


@pytest.fixture(scope="module")
def original() -> Model:
    model: Model = make_tiny.tiny()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def made(original: Model) -> Model:
    return exact(original)


def test_rounding_to_a_grid_is_that_of_real_numbers() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 3, 4000), np.arange(-80, 81) / 16, [1e30, -1e30, 0.0]]).astype(np.float32)
    for bits in range(-3, 12):
        grid, limit = 2.0**-bits, 2.0**-bits * 40
        wanted = np.round(np.clip(x.astype(np.float64), -limit, limit) / grid) * grid  # numpy rounds halves to even
        np.testing.assert_array_equal(on_grid(torch.from_numpy(x), grid, limit).numpy(), wanted)


@pytest.mark.parametrize(("h", "w"), [(4, 4), (5, 9), (16, 3), (31, 40)])
def test_lifting_is_the_wavelet(h: int, w: int) -> None:
    bands = torch.randn(2, 12, h, w)
    wanted = wavelet.synthesise(bands.double(), wavelet.synthesis_kernel().double())
    assert (lifted(bands) - wanted).abs().max() < 2e-5
    assert (lifted(bands.double()) - wanted).abs().max() < 2e-6  # the kernel is float32


def worst(conv: Exact, block: int) -> Iterator[Any]:
    """Inputs of a block that bring some channels to their limits, and random ones of many sizes."""
    weight, (grid, limit) = conv.weight(block), conv.grids[block]
    size = conv.blocks[block]
    for channel in range(0, len(weight), max(1, len(weight) // 3)):
        signs = torch.sign(weight[channel])
        k = signs.shape[-1]
        plane = torch.zeros(size, k + 2, k + 2)
        plane[:, 1:-1, 1:-1] = limit * (signs if conv.groups == 1 else signs.expand(size, k, k))
        yield plane[None]
    yield limit * (2 * torch.rand(1, size, 6, 7) - 1)
    yield grid * torch.randn(1, size, 6, 7) * 3


def test_a_convolution_gives_the_same_bits_in_any_order(made: Model) -> None:
    """Against real numbers (float64 holds them all), with the channels in any order, and in one sum after another."""
    torch.manual_seed(0)
    checked = 0
    for name, _, _, conv in convolutions(made):
        if not isinstance(conv, Exact):
            continue
        for block, (grid, limit) in enumerate(conv.grids):
            weight = conv.weight(block)
            bias = conv.bias if not block else torch.zeros_like(conv.bias)
            for x in worst(conv, block):
                x = on_grid(x, grid, limit)

                def run(x: Any, w: Any, conv: Exact = conv, bias: Any = bias) -> Any:
                    return torch.conv2d(x, w, bias.to(x), padding=conv.padding, groups=conv.groups)  # type: ignore[attr-defined]

                wanted = run(x.double(), weight.double()).float()
                np.testing.assert_array_equal(run(x, weight), wanted, err_msg=name)
                if conv.groups == 1:
                    order = torch.randperm(x.shape[1])
                    np.testing.assert_array_equal(run(x[:, order], weight[:, order]), wanted, err_msg=name)
                    one_by_one = bias[None, :, None, None] + torch.zeros_like(wanted)
                    for c in order:
                        one_by_one += torch.conv2d(x[:, c : c + 1], weight[:, c : c + 1], padding=conv.padding)  # type: ignore[attr-defined]
                    np.testing.assert_array_equal(one_by_one, wanted, err_msg=name)
                checked += 1
    assert checked > 100


def test_an_exact_model_is_nearly_the_model(original: Model, made: Model) -> None:
    assert any(isinstance(m, Exact) for m in made.modules())
    assert not any(isinstance(m, Exact) for m in original.modules())
    photo = torch.from_numpy(np.array(make_tiny.photograph(0, 0, 192, 128))).permute(2, 0, 1)[None] / 255
    stripes = (torch.arange(192) % 2).float().expand(1, 3, 128, 192)  # their latents are 20 times those of photographs
    for picture, level in ((photo, 0.5), (photo, 3.0), (photo, 6.75), (stripes, 6.75)):
        torch.manual_seed(0)
        a = original(picture, torch.tensor([level]))
        torch.manual_seed(0)
        b = made(picture, torch.tensor([level]))
        assert 255 * (a.x_hat - b.x_hat).square().mean().sqrt() < 0.6
        assert float(b.bits_y) == pytest.approx(float(a.bits_y), rel=0.01)


def test_torch_and_artifact_agree_to_the_bit(tmp_path: Path, original: Model, made: Model) -> None:
    one = export(original, tmp_path / "a.dpcmodel", "a")
    assert one.metadata["exact_pixels"] and 2**20 < one.metadata["largest_accumulator"] < 2**24
    for seed in range(4):
        for name, graph in (("means", MeanGraph), ("synthesis", SynthesisGraph)):
            given = inputs(one, name, seed)
            wanted = graph(made)(*(torch.from_numpy(v) for v in given.values()))
            np.testing.assert_array_equal(one.run(name, **given)[0], wanted)
    again = load(one)  # names are those of a Model; values are near
    before = original.state_dict()
    for name, value in again.state_dict().items():
        if name.startswith(("g_s", "means")):
            assert (value - before[name]).abs().max() <= 0.02 * before[name].abs().max(), name
    assert set(RENAMED.values()) == {"g_s.linear", "g_s.mean"}


# the proof


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("graph", artifact.DRAWING)
def test_the_graphs_that_ship_are_proved(name: str, graph: str) -> None:
    one = loaded(MODELS[name], 1, True)
    assert 2**20 < proved(graph, one._graphs[graph], one.weights) <= one.metadata["largest_accumulator"] < 2**24


def refused(model: Model, folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        export(model, folder / "a.dpcmodel", "a")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kept", [r".*\.down", r"means\.(first|second\.2|later\.\d\.2)", r"g_s\..*"])
def test_a_convolution_without_a_limit_behind_it_is_refused(
    kept: str, original: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactly, "BARRIERS", re.compile(kept))
    refused(original, tmp_path, r"(means|synthesis), .*Conv: its output goes to (Add|Mul) without a limit in between")


@pytest.mark.slow
def test_pieces_and_blocks_without_a_limit_are_refused(
    original: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Exact, "barrier", property(lambda self: False, lambda self, value: None), raising=False)
        refused(original, tmp_path, "without a limit in between")

    def bare(self: Any, y_hat: Any) -> Any:
        coarse = on_grid(y_hat, *exactly.PIECES[0])
        fine = on_grid(y_hat - coarse, *exactly.PIECES[1])
        return sum(torch.conv2d(y, self.weight) for y in (coarse, fine)) + self.bias[:, None, None]  # type: ignore[attr-defined]

    with monkeypatch.context() as patch:
        patch.setattr(exactly.Pieces, "forward", bare)
        refused(original, tmp_path, "without a limit in between")


@pytest.mark.slow
def test_other_breaches_are_refused(original: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(exactly, "on_grid", lambda x, grid, limit: x.clamp(-limit, limit))
        refused(original, tmp_path, "its inputs are not rounded to a grid")
    with monkeypatch.context() as patch:
        patch.setattr(exactly, "FILM_BITS", 18)
        refused(original, tmp_path, "a table that is not on its grid")
    with monkeypatch.context() as patch:
        patch.setattr(exactly, "LIMIT", 2**26)
        refused(original, tmp_path, r"channel \d+: an accumulator can reach \d+")
    with monkeypatch.context() as patch:
        patch.setattr(exactly.ExactSynthesis, "merge", lambda self, bands: torch.tanh(lifted(bands)))
        refused(original, tmp_path, "Tanh is not known to be exact")
    with pytest.raises(NotExact, match="leave no room"):
        integers(torch.ones(2, 2**12, 3, 3), None, 2.0**-12, 1.0)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    broken = make_tiny.tiny().requires_grad_(False)
    broken.g_s.to4.weight[0, 0] = value
    refused(broken, tmp_path, r"g_s\.to4\.weight holds values that are not finite in float16")


def test_reach_is_the_worst_sum_in_units_of_its_channel() -> None:
    weight, bias = np.array([[3.0, -5.0], [0.75, 0.5], [0.0, 0.0]]), np.array([0.5, 0.0, 0.0])
    assert reach("a", weight, None, 0.5, 2.0) == 8 * 4
    assert reach("a", weight[:1], bias[:1], 0.5, 2.0) == 8 * 4 + 1
    assert reach("a", weight[1:], bias[1:], 0.5, 2.0) == (3 + 2) * 4
    assert reach("a", weight[:1], np.array([0.25]), 0.5, 2.0) == 2 * 8 * 4 + 1  # the bias halves the unit
    with pytest.raises(NotExact, match="a, channel 0: an accumulator can reach 16777216"):
        reach("a", np.array([[1.0]]), None, 2.0**-20, 16.0)
    with pytest.raises(NotExact, match="a, channel 0: an accumulator can reach"):
        reach("a", np.array([[1.0, 1 / 3]]), None, 1.0, 1.0)


def test_gains_do_not_hang_on_the_last_bits_of_exp() -> None:
    rng = np.random.default_rng(0)
    log_gain = rng.normal(0, 2, (8, 64)).astype(np.float32)
    np.testing.assert_array_equal(steady(log_gain), log_gain)  # almost none do
    middle, near = 1 - 2.0**-25, 2.0**-50  # between two float32 numbers, and what is too near to it
    doubtful = np.full((2, 1), np.float32(-(2.0**-25)))
    assert abs(np.exp(doubtful[0, 0].astype(np.float64)) - middle) < near
    fixed = steady(doubtful)
    assert abs(np.exp(fixed[0, 0].astype(np.float64)) - middle) > near
    assert np.abs(fixed - doubtful).max() < 1e-12
    with pytest.raises(ModelError, match=r"leave the range 2\^-40"):
        steady(np.full((2, 1), np.float32(-104)))


def test_the_identity_of_an_exact_model_holds_all_that_decides_its_pixels() -> None:
    one = loaded(make_tiny.EXACT_MODEL, 1, True)
    drawing = {g: one._graphs[g] for g in artifact.DRAWING}
    assert artifact.identity_of(one.sizes, one.weights, one._tables, drawing) == one.identity
    for graph in artifact.DRAWING:
        other = drawing | {graph: drawing[graph][:-1] + b"x"}
        assert artifact.identity_of(one.sizes, one.weights, one._tables, other) != one.identity
    changed = one.weights | {"g_s.mean": one.weights.get("g_s.mean", np.zeros(1)) + 1}
    assert artifact.identity_of(one.sizes, changed, one._tables, drawing) != one.identity
    changed = one.weights | {"g_a.mean": one.weights["g_a.mean"] + 1}
    assert artifact.identity_of(one.sizes, changed, one._tables, drawing) == one.identity
