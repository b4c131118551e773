"""What is exported: graphs that compute what the torch networks compute, to the bit, and nothing that is not exact."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import machines  # noqa: E402

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from PIL import Image  # noqa: E402
from trainings import NETWORK  # noqa: E402

from dpc.codec import artifact, tiles  # noqa: E402
from dpc.codec.artifact import Artifact  # noqa: E402
from dpc.codec.codec import Codec  # noqa: E402
from dpc.codec.image import load as load_picture  # noqa: E402
from dpc.codec.runtime import Sessions  # noqa: E402
from dpc.errors import ModelError  # noqa: E402
from dpc.networks import wavelet  # noqa: E402
from dpc.networks.context import features  # noqa: E402
from dpc.networks.integer import IntegerConv, _Bytes, straight  # noqa: E402
from dpc.networks.model import Model, checkerboard  # noqa: E402
from dpc.networks.sizes import Network  # noqa: E402
from dpc.training.export import exact, graphs, proof  # noqa: E402
from dpc.training.export.exact import NotExact, balanced, integers  # noqa: E402
from dpc.training.export.export import export, half_precision, load  # noqa: E402
from dpc.training.export.graph import BYTE, FLOAT, Graph  # noqa: E402
from dpc.training.export.proof import proved, reach  # noqa: E402
from dpc.training.export.reverse import reverse  # noqa: E402
from dpc.training.export.tables import steady  # noqa: E402
from dpc.training.proxy.network import Proxy  # noqa: E402

Array = npt.NDArray[Any]
TINY = replace(NETWORK, encoder_dense=(0, 1, 0), decoder_depths=(1, 2, 1))
SETTINGS = [(1, True), (2, True), (1, False), (2, False)]
H, W = 8, 12


def photo(height: int, width: int) -> Any:
    rgb = load_picture(ROOT / "demo" / "photo.png").rgb[:height, :width]
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255


def wild(net: Network, seed: int = 0) -> Model:
    """A model with a working linear part and all branches at work."""
    torch.manual_seed(seed)
    model = Model(net).eval().requires_grad_(False)
    model.start_from_wavelet([photo(256, 320)], torch.logspace(-0.3, -1.7, 8))
    for name, value in model.named_parameters():
        if not name.startswith(("log_gain", "offset", "z_index")) and not value.any():
            value.normal_(std=0.03 if name.startswith("g_s") else 0.1)
    enter = model.g_s.enter.weight  # which the export rounds: bytes would round another way
    enter.copy_((enter * 2**8).round() / 2**8)
    model.h_a.c.weight *= 30
    model.offset += 4 * torch.randn(net.latents)
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return half_precision(wild(TINY)).requires_grad_(False)


@pytest.fixture(scope="module")
def made(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(model, tmp_path_factory.mktemp("model") / "tiny.dpcmodel", "tiny")


@cache
def loaded(path: Path, threads: int, optimise: bool) -> Artifact:
    return Artifact(path, threads, optimise=optimise)


def inputs(net: Network, seed: int, worst: bool = False) -> dict[str, Array]:
    """What a decoder's graphs get: of the sizes that files hold, or as far as a file may go."""
    rng = np.random.default_rng(seed)
    z = rng.integers(-63, 64, (1, net.hyper_latents, H // 4, W // 4))
    r = np.round(rng.laplace(0, 3, (1, net.latents, H, W)))
    level = rng.integers(0, 449, (1, 1, H, W)) / 64
    if worst:
        z, r = np.sign(z) * 63, np.sign(r) * 32767
    levels = np.maximum(0, 1 - np.abs(level - np.arange(8)[:, None, None]))
    given = {
        "z_hat": z,
        "r": r,
        "gain": np.exp(rng.normal(0, 1, (1, net.latents, H, W))),
        "even": checkerboard(H, W).numpy(),
        "y_hat": rng.normal(0, 1, (1, net.latents, H, W)) * (200 if worst else 1),
        "weights": levels,
    }
    return {k: v.astype(np.float32) for k, v in given.items()}


def torch_means(model: Model, z_hat: Any, r: Any, gain: Any, even: Any) -> Any:
    """y_hat by the torch modules, as Model does it."""
    means = model.means
    psi = features(means.features, z_hat)
    parts = (r / (gain * means.fineness(psi))).split(model.net.groups, 1)
    first = means.first(psi)
    second = means.second(means.context(psi, [(parts[0] + first) * even]))
    decoded = [parts[0] + (first * even + second * (1 - even))]
    for later, part in zip(means.later, parts[1:], strict=True):
        decoded.append(part + later(means.context(psi, decoded)))
    return torch.cat(decoded, 1)


# the graphs are the networks


@pytest.mark.parametrize("seed", range(3))
def test_scales_and_means_are_those_of_torch_to_the_bit(model: Model, made: Artifact, seed: int) -> None:
    given = inputs(TINY, seed, worst=seed == 2)
    tensors = {k: torch.from_numpy(v) for k, v in given.items()}
    f = features(model.scales.features, tensors["z_hat"])
    got, index = made.run("scale0", z_hat=given["z_hat"])
    np.testing.assert_array_equal(got / 16, f)
    np.testing.assert_array_equal(index, model.scales.index(0, f, []))
    magnitudes = list(tensors["r"].abs().clamp(max=15).split(TINY.groups, 1))
    for group in (1, 2):
        (index,) = made.run(f"scale{group}", features=got, r=given["r"][:, : sum(TINY.groups[:group])])
        np.testing.assert_array_equal(index, model.scales.index(group, f, magnitudes[:group]))
    names = ("z_hat", "r", "gain", "even")
    (y_hat,) = made.run("means", **{k: given[k] for k in names})
    np.testing.assert_array_equal(y_hat, torch_means(model, *(tensors[k] for k in names)))


def test_the_synthesis_is_that_of_torch_up_to_the_grids(model: Model, made: Artifact) -> None:
    x = photo(128, 192)
    weights = model.interpolation(torch.linspace(0, 7, 449)[torch.arange(H * W) * 4].reshape(1, 1, H, W))
    y = (model.g_a(x) * 2**8).round() / 2**8
    s = copy.deepcopy(model.g_s)
    for table in s.film.parameters():
        table.copy_((table * 2**10).round() / 2**10)
    wanted = s(y, weights).clamp(0, 1).mul(255)[0].permute(1, 2, 0).numpy()
    (image,) = made.run("synthesis", y_hat=y.numpy(), weights=weights.numpy())
    assert image.shape == (1, 128, 192, 3) and image.dtype == np.uint8
    assert np.abs(image[0] - wanted).mean() < 0.6 and np.abs(image[0] - wanted).max() < 6


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes at their limits let the gradient pass, as the graph does; training holds it."""

    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.saved_tensors[0], None, None, None

    def forward(ctx: Any, x: Any, bits: int, low: int, high: int) -> Any:
        steps = x.mul(2.0**bits).round().clamp(low, high)
        ctx.save_for_backward((steps > 0) | (low < 0))
        return steps.mul(2.0**-bits)

    monkeypatch.setattr(_Bytes, "forward", staticmethod(forward))
    monkeypatch.setattr(_Bytes, "backward", staticmethod(backward))


@pytest.mark.usefixtures("passing")
@pytest.mark.parametrize("quality", ["everywhere", "varied"])
def test_the_gradient_is_that_of_torch(model: Model, made: Artifact, quality: str) -> None:
    rng = np.random.default_rng(5)
    level = np.full((H, W), 200) if quality == "everywhere" else rng.integers(0, 449, (H, W))
    weights = made.interpolation(level[:1, :1] if quality == "everywhere" else level)
    y_hat = model.g_a(photo(128, 192)).requires_grad_()
    target = rng.integers(0, 256, (1, 3, 16 * H, 16 * W)).astype(np.uint8)
    pixel, four, eight = (
        rng.random(shape, np.float32) for shape in ((1, 16, 32, 48), (1, 1, 32, 48), (1, 1, 2 * H, 2 * W))
    )
    with torch.enable_grad():
        wide = torch.from_numpy(np.broadcast_to(weights, (1, 8, H, W)).copy())
        x_hat = model.g_s(y_hat, wide)
        e = 255 * straight(x_hat, x_hat.clamp(0, 1)) - torch.from_numpy(target).float()
        e = torch.stack(
            [0.299 * e[:, 0] + 0.587 * e[:, 1] + 0.114 * e[:, 2], (e[:, 0] - e[:, 1]) / 2, (e[:, 2] - e[:, 1]) / 2], 1
        )
        d = (torch.pixel_shuffle(torch.from_numpy(pixel), 4) * e.square()).sum()
        for side, share in ((4, four), (8, eight)):
            coarse = torch.nn.functional.avg_pool2d(e, side).square()
            d = d + side * side * (torch.from_numpy(share) * coarse).sum()
        (wanted,) = torch.autograd.grad(d / 3, y_hat)
    cells = torch.pixel_unshuffle(torch.from_numpy(target).float(), 4).numpy().astype(np.uint8)
    given = {"y_hat": y_hat.detach().numpy(), "weights": weights, "target": cells}
    (got,) = made.run("gradient", **given, pixel=pixel, four=four, eight=eight)
    border = np.ones((H, W), bool)
    border[1:-1, 1:-1] = False
    for place in (border, ~border):
        a, b = got[0][:, place], wanted[0].numpy()[:, place]
        assert (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) > 0.99
        assert abs(np.linalg.norm(a) / np.linalg.norm(b) - 1) < 0.05


@pytest.mark.usefixtures("passing")
def test_the_gradient_of_the_proxy_is_that_of_torch(model: Model, tmp_path: Path) -> None:
    """Of its share, which is added to that of the squared errors; where pixels count nothing it sees no difference."""
    torch.manual_seed(3)
    proxy = Proxy((8, 12, 16, 20)).requires_grad_(False)
    for n in range(4):
        for values in (proxy.w[n], proxy.a[n]):
            values.normal_(-1)
    made = export(model, tmp_path / "proxy.dpcmodel", "proxy", proxy=proxy)
    again = Proxy.of(made.weights)
    assert again is not None and torch.allclose(again.w[2], proxy.w[2], atol=1e-3)
    assert made.identity == export(model, tmp_path / "bare.dpcmodel", "bare").identity
    x = photo(128, 192)
    y_hat = (model.g_a(x) * 0.9).requires_grad_()
    inside = torch.ones(1, 1, 128, 192)
    inside[..., 150:] = 0
    weights = made.interpolation(np.full((1, 1), 200))
    with torch.enable_grad():
        x_hat = model.g_s(y_hat, torch.from_numpy(np.broadcast_to(weights, (1, 8, H, W)).copy()))
        x_hat = straight(x_hat, x_hat.clamp(0, 1))
        d = again(x, torch.where(inside > 0, x_hat, x)).sum() * 128 * 192
        (wanted,) = torch.autograd.grad(d, y_hat)
    given = {
        "y_hat": y_hat.detach().numpy(),
        "weights": weights,
        "target": torch.pixel_unshuffle(255 * x, 4).round().numpy().astype(np.uint8),
        "pixel": torch.pixel_unshuffle(inside, 4).numpy(),
        "four": np.zeros((1, 1, 32, 48), np.float32),
        "eight": np.zeros((1, 1, 2 * H, 2 * W), np.float32),
    }
    none, much = (made.run("gradient", **given, share=np.array([v], np.float32))[0] for v in (0, 1e4))
    got, wanted = ((much - none) / 1e4).ravel(), wanted.numpy().ravel()
    assert got @ wanted / np.linalg.norm(got) / np.linalg.norm(wanted) > 0.98
    assert abs(np.linalg.norm(got) / np.linalg.norm(wanted) - 1) < 0.05


def test_the_finer_gain_is_that_of_the_means(model: Model, made: Artifact) -> None:
    given = inputs(TINY, 3)
    (got,) = made.run("finer", z_hat=given["z_hat"], gain=given["gain"])
    psi = features(model.means.features, torch.from_numpy(given["z_hat"]))
    np.testing.assert_array_equal(got, torch.from_numpy(given["gain"]) * model.means.fineness(psi))
    assert np.any(got != given["gain"])


def test_an_unknown_operation_has_no_gradient() -> None:
    graph = Graph({})
    x = graph.input("x", FLOAT, (1, 1, 2, 2))
    y = graph.add("Erf", x)
    with pytest.raises(ValueError, match="Erf"):
        reverse(graph, {y: graph.constant(np.ones((1, 1, 2, 2)))}, x)


def test_the_preview_is_the_low_band_of_the_wavelet(model: Model, made: Artifact) -> None:
    y = model.g_a(photo(128, 192))
    low = model.g_s.merge(model.g_s.coefficients(y)[:, :12])[0].permute(1, 2, 0).numpy() / 8
    for axis in (0, 1):  # by the cubic through four samples, to the middle of the 8 pixels whose first they are
        at = [
            np.take(low, np.clip(np.arange(low.shape[axis]) + d, 0, low.shape[axis] - 1), axis) for d in (-1, 0, 1, 2)
        ]
        t, slopes = 3.5 / 8, ((at[2] - at[0]) / 2, (at[3] - at[1]) / 2)
        low = (2 * t**3 - 3 * t**2 + 1) * at[1] + (3 * t**2 - 2 * t**3) * at[2]
        low += (t**3 - 2 * t**2 + t) * slopes[0] + (t**3 - t**2) * slopes[1]
    wanted = np.clip(low, 0, 1) * 255
    (image,) = made.run("preview", y_hat=y.numpy())
    assert image.shape == (1, 16, 24, 3) and image.dtype == np.uint8
    assert np.abs(image[0] - wanted).mean() < 0.35 and np.abs(image[0] - wanted).max() < 2


@pytest.mark.parametrize(("height", "width"), [(203, 331), (9, 300), (520, 90)])
def test_a_preview_is_an_eighth_of_the_picture(
    made: Artifact, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = Codec(made)
    rgb = np.tile(load_picture(ROOT / "demo" / "photo.png").rgb, (2, 2, 1))[:height, :width]
    clear = np.full((height, width, 1), 255, np.uint8)
    clear[: height // 2] = 7
    data, layered = (codec.encode(v, quality=90, lossless=False) for v in (rgb, np.dstack([rgb, clear])))
    got = codec.decode(data, preview=True, as_array=True)
    assert got.shape == (-(-height // 8), -(-width // 8), 3)
    box = np.asarray(codec.decode(data).reduce(8)).astype(int)
    moved = [np.abs(np.roll(got, d, axis) - box).mean() for d in (-1, 1) for axis in (0, 1) if got.shape[axis] > 2]
    assert np.abs(got - box).mean() < 0.85 * min(moved)  # both lie in the same place
    small = codec.decode(layered, preview=True)
    assert (
        small.mode == "RGBA" and small.getchannel("A").tobytes() == Image.fromarray(clear[:, :, 0]).reduce(8).tobytes()
    )
    monkeypatch.setattr(made, "_graphs", {k: v for k, v in made._graphs.items() if k != "synthesis"})
    monkeypatch.setattr(made, "_sessions", Sessions())
    monkeypatch.setattr(tiles, "SIDE", 24)
    np.testing.assert_array_equal(codec.decode(data, preview=True, as_array=True), got)  # in tiles, without a synthesis


def test_one_quality_may_stand_for_all_positions(made: Artifact) -> None:
    given = inputs(TINY, 0)
    one = {"weights": given["weights"][:, :, :1, :1], "gain": given["gain"][:, :, :1, :1]}
    all_ = {k: np.ascontiguousarray(np.broadcast_to(v, (*v.shape[:2], H, W))) for k, v in one.items()}
    for name, inputs_ in (("synthesis", ("y_hat", "weights")), ("means", ("z_hat", "r", "gain", "even"))):
        few, many = ({k: (part | {})[k] if k in part else given[k] for k in inputs_} for part in (one, all_))
        np.testing.assert_array_equal(made.run(name, **few)[0], made.run(name, **many)[0])


def test_the_encoder_quantises_as_training_does(model: Model, made: Artifact) -> None:
    x, level = photo(128, 192), 3.0
    torch.manual_seed(0)
    out = model(x, torch.full((1, 2, 3), level))
    gain = made.gain(int(64 * level))
    y = model.g_a(x).numpy()
    (z_hat,) = made.run("hyper", y=y, gain=gain)
    offset = made.offsets[int(64 * level)].astype(np.float32).reshape(1, -1, 1, 1)
    plane = np.ones((1, 1, H, W), np.float32)
    half = np.full((1, 1, 1, 1), 0.5, np.float32)
    even = checkerboard(H, W).numpy()
    (r,) = made.run("quantise", y=y, z_hat=z_hat, gain=gain, even=even, offset=offset, valid=plane, rounding=half)
    (y_hat,) = made.run("means", z_hat=z_hat, r=r, gain=gain, even=even)
    x_hat = model.g_s(torch.from_numpy(y_hat), model.interpolation(torch.full((1, 1, H, W), level)))
    assert np.any(r != 0) and (x_hat - out.x_hat).abs().mean() * 255 < 0.2


@pytest.mark.parametrize("worst", [False, True])
def test_every_setting_of_the_runtime_gives_the_same_bits(made: Artifact, worst: bool) -> None:
    given = inputs(TINY, 5, worst)
    assert made.path is not None
    names = {
        "means": ("z_hat", "r", "gain", "even"),
        "synthesis": ("y_hat", "weights"),
        "preview": ("y_hat",),
        "scale0": ("z_hat",),
    }
    for name, needed in names.items():
        wanted = made.run(name, **{k: given[k] for k in needed})
        for threads, optimise in SETTINGS:
            got = loaded(made.path, threads, optimise).run(name, **{k: given[k] for k in needed})
            for a, b in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_plain_evaluator_in_numpy_gives_the_same_bits(made: Artifact) -> None:
    """ONNX's reference evaluator, with the byte sum that it lacks; its integer convolutions are numpy's int32."""
    reference = pytest.importorskip("onnx.reference")
    given = inputs(TINY, 7)
    graphs_of = {
        "means": ("z_hat", "r", "gain", "even"),
        "synthesis": ("y_hat", "weights"),
        "preview": ("y_hat",),
    }
    for name, needed in graphs_of.items():
        evaluator = reference.ReferenceEvaluator(machines.whole(made, name), new_ops=machines.new_ops())
        wanted, *_ = evaluator.run(None, {k: given[k] for k in needed})
        np.testing.assert_array_equal(made.run(name, **{k: given[k] for k in needed})[0], wanted)


def test_an_artifact_is_a_start_for_training(model: Model, made: Artifact) -> None:
    again = load(made).requires_grad_(False)
    given = inputs(TINY, 3)
    names = ("z_hat", "r", "gain", "even")
    tensors = [torch.from_numpy(given[k]) for k in names]
    assert torch.equal(torch_means(again, *tensors), torch_means(model, *tensors))
    before = model.state_dict()
    for name, value in again.state_dict().items():
        least = 0.02 if name.endswith("features.a.bias") else 1e-3  # of biases beside whole numbers
        assert (value - before[name]).abs().max() <= 0.02 * before[name].abs().max() + least, name
    (image,) = made.run("synthesis", y_hat=given["y_hat"], weights=given["weights"])
    x = again.g_s(torch.from_numpy(given["y_hat"]), torch.from_numpy(given["weights"]))
    assert np.abs(image[0] - x.clamp(0, 1).mul(255)[0].permute(1, 2, 0).numpy()).mean() < 0.8


@pytest.mark.parametrize(
    ("encoder", "dense", "decoder", "halo"),
    [
        ((1, 2, 3), (0, 1, 1), (2, 2, 3), 8),
        ((1, 6, 4), (0, 0, 0), (3, 8, 5), 12),
        ((1, 1, 4), (0, 0, 5), (1, 1, 2), 12),
    ],
)
def test_the_halo_is_all_that_the_networks_see(
    encoder: tuple[int, int, int],
    dense: tuple[int, int, int],
    decoder: tuple[int, int, int],
    halo: int,
    tmp_path: Path,
) -> None:
    """Networks of the recipes' depths and deeper, all branches at work: what lies beyond a halo has no effect."""
    net = Network(
        latents=6,
        hyper_latents=4,
        groups=(2, 2, 2),
        widths=(4, 4, 4),
        encoder_depths=encoder,
        encoder_dense=dense,
        decoder_depths=decoder,
        hyper_width=4,
        scale_width=4,
        mean_width=4,
        pass_widths=(4, 4, 4),
    )
    one = export(wild(net), tmp_path / "a.dpcmodel", "a")
    assert one.halo == halo
    rng = np.random.default_rng(0)
    columns = 6 * halo
    y = rng.normal(0, 1, (1, 6, 8, columns)).astype(np.float32)
    z = rng.integers(-9, 10, (1, 4, 2, columns // 4)).astype(np.float32)
    r = rng.integers(-3, 4, (1, 6, 8, columns)).astype(np.float32)
    image = rng.integers(0, 256, (1, 128, 16 * columns, 3)).astype(np.uint8)
    even = checkerboard(8, columns).numpy()
    gain, weights = np.ones((1, 6, 1, 1), np.float32), one.interpolation(200)
    low, core = slice(halo, 4 * halo), slice(2 * halo, 3 * halo)  # a tile, and what of it counts

    def cut(a: Array, axis: int, scale: float) -> Array:
        part = slice(round(low.start * scale), round(low.stop * scale))
        return np.ascontiguousarray(a[:, :, part] if axis == 2 else a[..., part])

    cases: list[tuple[str, dict[str, Array], dict[str, Array], int, int]] = [
        ("analysis", {"image": image}, {"image": cut(image, 2, 16)}, 3, 1),
        ("synthesis", {"y_hat": y, "weights": weights}, {"y_hat": cut(y, 3, 1), "weights": weights}, 2, 16),
        (
            "means",
            {"z_hat": z, "r": r, "gain": gain, "even": even},
            {"z_hat": cut(z, 3, 0.25), "r": cut(r, 3, 1), "gain": gain, "even": cut(even, 3, 1)},
            3,
            1,
        ),
    ]
    for name, whole, tile, axis, scale in cases:
        a, b = one.run(name, **whole)[0], one.run(name, **tile)[0]
        there = slice(core.start * scale, core.stop * scale)
        here = slice(there.start - low.start * scale, there.stop - low.start * scale)
        a, b = (v[:, :, part] if axis == 2 else v[..., part] for v, part in ((a, there), (b, here)))
        assert np.abs(a.astype(float) - b).max() < (1e-4 if name == "analysis" else 1e-12), name


# exact floats


@pytest.mark.parametrize(("h", "w"), [(4, 4), (5, 9), (16, 3), (31, 40)])
def test_lifting_is_the_wavelet(h: int, w: int) -> None:
    bands = torch.randn(1, 12, h, w, generator=torch.Generator().manual_seed(1))
    wanted = wavelet.synthesise(bands, wavelet.synthesis_kernel())
    for packed in (False, True):
        g = Graph({})
        x = g.input("x", FLOAT, (1, 12, "h", "w"))
        data, _ = g.finish({"y": (graphs._merge(g, x, packed), FLOAT)})
        session = artifact.onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"x": bands.numpy()})
        y = torch.nn.functional.pixel_shuffle(torch.from_numpy(y), 2) if packed else torch.from_numpy(y)
        assert (y - wanted).abs().max() < 2e-5


def test_rounding_to_a_grid_is_that_of_real_numbers() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 3, 4000), np.arange(-80, 81) / 16, [1e30, -1e30, 0.0]]).astype(np.float32)
    for bits in (-3, 0, 4, 11):
        grid, limit = 2.0**-bits, 2.0**-bits * 40
        g = Graph({})
        data, _ = g.finish({"y": (g.on_grid(g.input("x", FLOAT, ("n",)), grid, limit), FLOAT)})
        session = artifact.onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
        wanted = np.round(np.clip(x.astype(np.float64), -limit, limit) / grid) * grid  # numpy rounds halves to even
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], wanted)


def test_plain_ground_keeps_its_level_when_the_upsampling_is_rounded() -> None:
    kernel = wavelet.cell_kernel()[:, :12]
    rounded = balanced(kernel, *exact.UPSAMPLED)
    assert torch.equal(rounded.sum((1, 2, 3)), torch.full((48,), 0.5))
    assert (rounded - kernel).abs().max() < 2.0**-8
    assert reach("upsample", rounded.numpy(), None, *exact.UPSAMPLED) < 2**24


def test_integers_leave_no_room_for_too_many_inputs() -> None:
    with pytest.raises(NotExact, match="leave no room"):
        integers(torch.ones(2, 2**12, 3, 3), None, 2.0**-12, 1.0)


# the proof


def test_what_is_exported_is_proved(made: Artifact) -> None:
    names = artifact.decoding(len(TINY.groups))
    largest = max(proved(name, made._graphs[name], made.weights) for name in names)
    assert largest == made.metadata["largest_accumulator"] and 2**16 < largest


def refused(model: Model, folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        export(model, folder / "a.dpcmodel", "a")
    assert list(folder.iterdir()) == []


def test_a_convolution_without_a_limit_behind_it_is_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graph, "barrier", lambda self, x: x)
    refused(model, tmp_path, r"(means|synthesis), v\d+: its output goes on without a limit in between")


@pytest.mark.parametrize(
    ("target", "name", "value", "match"),
    [
        (Graph, "on_grid", lambda self, x, grid, limit: self.clip(x, limit), "not rounded to a grid"),
        (exact, "FILM_BITS", 22, r"channel \d+: an accumulator can reach \d+"),
        (exact, "LIMIT", 2**26, r"channel \d+: an accumulator can reach \d+"),
        (Graph, "_scale", lambda self, bits, signed: (self.constant(0.3), self.constant(0, np.uint8)), "power of two"),
    ],
)
def test_other_breaches_are_refused(
    target: Any, name: str, value: Any, match: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, name, value)
    refused(model, tmp_path, match)


@pytest.mark.parametrize("weight", [64, 127, -64])
def test_weights_of_more_than_seven_bits_are_refused(
    weight: int, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = IntegerConv.integers

    def large(self: IntegerConv) -> Any:
        w, b, e = honest(self)
        w[0, 0] = weight
        return w, b, e

    monkeypatch.setattr(IntegerConv, "integers", large)
    refused(model, tmp_path, r"weights that are no integers in -63\.\.63")


def test_sums_that_32_bits_do_not_hold_are_refused() -> None:
    g = Graph({})
    x = g.on_bytes(g.input("x", FLOAT, (1, 8, "h", "w")), 0, signed=True)
    conv = IntegerConv(8, 4, 3, bits_in=0, bits_out=0, signed=True)
    y = g.conv(x, "a", conv)
    data, _ = g.finish({"y": (y.name, BYTE)})
    assert proved("a", data, g.weights) < 2**24
    with pytest.raises(NotExact, match="32-bit integers need less than"):
        proved("a", data, g.weights | {"a.bias": np.full(4, 2**30, np.int32)})


def test_a_large_sum_must_be_far_outside_of_the_bytes() -> None:
    g = Graph({})
    x = g.on_bytes(g.input("x", FLOAT, (1, 2400, "h", "w")), 15, signed=False)
    conv = IntegerConv(2400, 2, 1, bits_in=15, bits_out=0)
    torch.nn.init.ones_(conv.weight)
    data, _ = g.finish({"y": (g.conv(x, "a", conv).name, BYTE)})
    with pytest.raises(NotExact, match="could be rounded and still be within the bytes"):
        proved("a", data, g.weights)


def test_bytes_of_both_kinds_are_added_and_of_two_scales_refused() -> None:
    g = Graph({})
    x = g.input("x", FLOAT, (1, 8, "h", "w"))
    total = g.sum(g.on_bytes(x, 5, signed=True), g.on_bytes(x, 5, signed=False))
    data, _ = g.finish({"y": (total.name, BYTE)})
    proved("a", data, {})
    session = artifact.onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    given = np.arange(-160, 320, dtype=np.float32).reshape(1, 8, 6, 10) / 32
    (got,) = session.run(None, {"x": given})
    steps = given * 32
    np.testing.assert_array_equal(got - 128.0, (steps.clip(-128, 127) + steps.clip(0, 255)).clip(-128, 127))
    g = Graph({})
    x = g.input("x", FLOAT, (1, 8, "h", "w"))
    coarse, fine = ((g.on_bytes(x, bits, signed=True).name, *g._scale(bits, True)) for bits in (4, 5))
    data, _ = g.finish({"y": (g.add("QLinearAdd", *fine, *coarse, *fine[1:], domain="com.microsoft"), BYTE)})
    with pytest.raises(NotExact, match="adds bytes of different scales"):
        proved("a", data, {})


def test_an_operation_that_is_not_known_is_refused() -> None:
    g = Graph({})
    data, _ = g.finish({"y": (g.add("Tanh", g.input("x", FLOAT, (1,))), FLOAT)})
    with pytest.raises(NotExact, match="a, v0: Tanh is not known to be exact"):
        proved("a", data, {})
    assert "Tanh" not in proof.SINGLE | proof.MOVING


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    broken = wild(TINY)
    broken.g_a.to8.weight[0, 0] = value
    refused(broken, tmp_path, r"g_a\.to8\.weight holds values that are not finite in float16")


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


def test_the_identity_holds_all_that_decides_the_pixels(made: Artifact) -> None:
    drawing = {g: made._graphs[g] for g in artifact.decoding(len(TINY.groups))}
    assert artifact.identity_of(made.sizes, made.weights, made._tables, drawing) == made.identity
    for name in drawing:
        other = drawing | {name: drawing[name][:-1] + b"x"}
        assert artifact.identity_of(made.sizes, made.weights, made._tables, other) != made.identity
    changed = made.weights | {"g_s.enter.bias": made.weights["g_s.enter.bias"] + 1}
    assert artifact.identity_of(made.sizes, changed, made._tables, drawing) != made.identity
    changed = made.weights | {"g_a.mean": made.weights["g_a.mean"] + 1}
    assert artifact.identity_of(made.sizes, changed, made._tables, drawing) == made.identity
