"""The networks: the wavelet reconstructs, shapes and gradients, and the integer branch computes in exact integers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from paths import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dpc.codec.codec import Codec  # noqa: E402
from dpc.codec.image import load as load_picture  # noqa: E402
from dpc.networks import wavelet  # noqa: E402
from dpc.networks.context import MAGNITUDE_MAX, Z_LIMIT, bits_of, scale_of_index  # noqa: E402
from dpc.networks.graphs import LaterScaleGraph, ScaleGraph  # noqa: E402
from dpc.networks.integer import A_BITS, A_MAX, INDEX_BITS, W_BITS, IntegerConv, bounded  # noqa: E402
from dpc.networks.model import Model, index_of_scale  # noqa: E402
from dpc.networks.sizes import Network  # noqa: E402
from dpc.training.export.export import check_exact, export, half_precision  # noqa: E402

TINY = Network(
    latents=24,
    hyper_latents=8,
    groups=(4, 8, 12),
    levels=8,
    widths=(8, 16, 24),
    encoder_depths=(1, 1, 1),
    decoder_depths=(1, 1, 1),
    half_width=4,
    hyper_width=16,
    scale_width=16,
    mean_width=16,
    pass_widths=(16, 16, 16),
)
Int = NDArray[np.int64]


def photo(height: int, width: int) -> torch.Tensor:
    rgb = load_picture(ROOT / "demo" / "photo.png").rgb[:height, :width]
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255


# the wavelet


@pytest.mark.parametrize(("height", "width"), [(64, 64), (80, 64), (64, 112), (128, 96)])
def test_all_levels_of_the_wavelet_reconstruct_exactly(height: int, width: int) -> None:
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    coefficients = wavelet.pack(x)
    assert coefficients.shape == (2, wavelet.COEFFICIENTS, height // 16, width // 16)
    four, three, two, one = wavelet.unpack(coefficients)
    kernel = wavelet.synthesis_kernel()
    y = wavelet.synthesise(four, kernel)
    for detail in (three, two, one):
        y = wavelet.synthesise(torch.cat([y, detail], 1), kernel)
    assert (x - y).abs().max() < 2e-5


def test_the_wavelet_is_nearly_orthonormal() -> None:
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    energy = wavelet.pack(noise).square().sum() / noise.square().sum()
    assert 0.9 < energy < 1.1


# the networks


def test_shapes_and_ranges() -> None:
    model = Model(TINY)
    x = torch.rand(2, 3, 64, 128)
    out = model(x, torch.tensor([0.0, 6.5]))
    assert out.x_hat.shape == x.shape
    assert out.bits_y.shape == out.bits_z.shape == (2,)
    assert (out.bits_y >= 0).all() and (out.bits_z > 0).all()
    y = model.g_a(x)
    assert y.shape == (2, TINY.latents, 4, 8)
    assert model.h_a(y).shape == (2, TINY.hyper_latents, 1, 2)
    assert model.g_s(y, model.interpolation(torch.tensor([0.0, 7.0]))).shape == x.shape


def test_weights_of_a_level_are_linear_interpolation() -> None:
    weights = Model(TINY).interpolation(torch.tensor([0.0, 2.25, 7.0]))
    assert weights.shape == (3, 8)
    assert torch.allclose(weights.sum(1), torch.ones(3))
    assert weights[1, 2:4].tolist() == [0.75, 0.25]


def test_every_trained_weight_gets_a_gradient() -> None:
    torch.manual_seed(3)
    model = Model(TINY)
    model.start_from_wavelet([photo(256, 256)], torch.logspace(-0.5, -1.5, 8))
    with torch.no_grad():  # where a training starts at zero its inputs have no gradient yet
        for value in model.parameters():
            if value.requires_grad and not value.any():
                value.normal_(std=0.05)
        model.h_a.c.weight *= 40  # or all z are rounded to 0
    x = photo(128, 128)
    total = torch.zeros(())
    for level in (0.5, 3.5, 6.5):
        out = model(x, torch.tensor([level]))
        total = total + 1000 * (out.x_hat - x).square().mean() + (out.bits_y + out.bits_z).mean() / 1e4
    total.backward()
    still = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert still == []


def test_the_start_is_a_working_codec_with_a_rate_for_every_level() -> None:
    torch.manual_seed(4)
    model = Model(TINY).eval()
    x = photo(256, 320)
    # steps of the quantiser in [0, 1] units
    model.start_from_wavelet([x], torch.logspace(-0.3, -1.7, 8))
    rates, errors = [], []
    with torch.no_grad():
        for level in (0.0, 2.0, 4.0, 7.0):
            out = model(x, torch.tensor([level]))
            rates.append(float(out.bits_y + out.bits_z))
            errors.append(float((out.x_hat - x).square().mean()))
    assert rates == sorted(rates) and errors == sorted(errors, reverse=True)
    assert -10 * np.log10(errors[-1]) > 24  # 24 of 768 coefficients are kept


@pytest.mark.parametrize("wrong", [{"groups": (4, 8, 13)}, {"pass_widths": (16, 16)}])
def test_sizes_that_do_not_fit_together_are_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="groups|pass_widths"):
        Network(**{"latents": 24, "hyper_latents": 8, "groups": (4, 8, 12), **wrong})  # type: ignore[arg-type]


def test_bounded_lets_a_value_find_back() -> None:
    x = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    y = bounded(x, 0, 1)
    assert y.tolist() == [0.0, 0.5, 1.0]
    (gradient,) = torch.autograd.grad(y, x, torch.tensor([-1.0, -1.0, -1.0]), retain_graph=True)
    assert gradient.tolist() == [-1.0, -1.0, 0.0]  # a step against it raises the first, which is too low
    (gradient,) = torch.autograd.grad(y, x, torch.tensor([1.0, 1.0, 1.0]))
    assert gradient.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("scale", [0.06, 0.5, 4.0, 40.0])
def test_bits_are_those_of_a_distribution(scale: float) -> None:
    values = torch.arange(-400, 401).double()
    mass = torch.exp2(-bits_of(values, torch.tensor(scale, dtype=torch.float64))).sum()
    assert mass == pytest.approx(1, abs=1e-3)
    index = torch.tensor(index_of_scale(scale))
    assert float(scale_of_index(index)) == pytest.approx(scale, rel=1e-4)


# the integer branch


def correlate(a: Int, weight: Int, bias: Int) -> Int:
    """A convolution with zero padding in int64."""
    k = weight.shape[2]
    padded = np.pad(a, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    out = np.zeros((len(weight), *a.shape[1:]), np.int64) + bias[:, None, None]
    for i in range(k):
        for j in range(k):
            part = padded[:, i : i + a.shape[1], j : j + a.shape[2]]
            out += np.einsum("oc,chw->ohw", weight[:, :, i, j], part)
    return out


def shifted(acc: Int, bits: int) -> Int:
    return (acc + (1 << (bits - 1))) >> bits  # floor(acc * 2**-bits + 1/2)


def shuffled(a: Int) -> Int:
    """Pixel shuffle by 2."""
    c, h, w = a.shape
    return a.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)


def integers(conv: IntegerConv) -> tuple[Int, Int]:
    weight, bias = conv.integers()
    assert torch.equal(weight, weight.round()) and torch.equal(bias, bias.round())
    return weight.detach().numpy().astype(np.int64), bias.detach().numpy().astype(np.int64)


def reference(model: Model, z: Int, r: Int) -> list[Int]:
    """Features, then the scale index accumulators of every group, computed in int64."""
    s = model.scales
    weight, bias = integers(s.a)
    bias = np.round(bias * 2.0**-A_BITS).astype(np.int64)
    f = shuffled(shifted(correlate(z, weight, bias), W_BITS - A_BITS).clip(0, A_MAX))
    f = shifted(correlate(f, *integers(s.b)), W_BITS).clip(0, A_MAX)
    f = shuffled(shifted(correlate(f, *integers(s.c)), W_BITS).clip(0, A_MAX))
    results = [f]
    start = 0
    for group, size in enumerate(model.net.groups):
        seen = np.abs(r[:start]).clip(max=MAGNITUDE_MAX) << A_BITS
        mixed = shifted(correlate(np.concatenate([f, seen]), *integers(s.mix[group])), W_BITS)
        results.append(shifted(correlate(mixed.clip(0, A_MAX), *integers(s.head[group])), INDEX_BITS))
        start += size
    return results


def wild(seed: int) -> Model:
    """A model whose integer branch has large weights, many of them beyond what is allowed."""
    torch.manual_seed(seed)
    model = Model(TINY)
    with torch.no_grad():
        for conv in model.scales.modules():
            if isinstance(conv, IntegerConv):
                conv.weight.normal_(std=0.8)
                conv.bias.normal_(std=4.0)
    return model


@pytest.mark.parametrize("content", ["random", "largest", "smallest", "zero"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_integer_branch_is_exact(content: str, seed: int) -> None:
    model, rng = wild(seed), np.random.default_rng(seed)
    z = rng.integers(-Z_LIMIT, Z_LIMIT + 1, (TINY.hyper_latents, 2, 3))
    r = rng.integers(-40, 41, (TINY.latents, 8, 12))
    if content != "random":
        value = {"largest": 1, "smallest": -1, "zero": 0}[content]
        z, r = np.full_like(z, value * Z_LIMIT), np.full_like(r, value * 2**15)
    expected = reference(model, z, r)
    assert content == "zero" or expected[0].max() > 0

    z_hat, residuals = (torch.from_numpy(a).float()[None] for a in (z, r))
    with torch.no_grad():
        features = model.scales.features(z_hat)  # as in training
        assert np.array_equal(features[0].numpy(), expected[0])
        parts = residuals.abs().clamp(max=MAGNITUDE_MAX).split(list(TINY.groups), 1)
        for group in range(len(TINY.groups)):
            index = model.scales.index(group, features, list(parts[:group]))
            assert np.array_equal(index[0].numpy(), expected[1 + group])
        f, index = ScaleGraph(model)(z_hat)  # as in an artifact
        assert np.array_equal(f[0].numpy(), expected[0]) and np.array_equal(index[0].numpy(), expected[1])
        for group in (1, 2):
            index = LaterScaleGraph(model, group)(f, residuals[:, : sum(TINY.groups[:group])])
            assert np.array_equal(index[0].numpy(), expected[1 + group])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_weights_can_leave_the_exact_integers(seed: int) -> None:
    assert 0 < check_exact(wild(seed)) < 2**24


# training and codec


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Codec]:
    """A model that has just been started, as it is trained and as it is used."""
    torch.manual_seed(5)
    model = Model(TINY)
    model.start_from_wavelet([photo(256, 320)], torch.logspace(-0.3, -1.7, 8))
    artifact = export(model, tmp_path_factory.mktemp("model") / "new.dpcmodel", "new")
    return half_precision(model), Codec(artifact, 1)


@pytest.mark.parametrize("level", [0.5, 3.0, 6.25])
def test_training_sees_what_the_file_will_hold(pair: tuple[Model, Codec], level: float) -> None:
    model, codec = pair
    x = photo(128, 192)
    rgb = (x[0].permute(1, 2, 0) * 255).round().byte().numpy()
    data = codec.encode(rgb, quality=1 + 99 * level / 7)
    decoded = codec.decode(data, as_array=True)
    with torch.no_grad():
        out = model(x, torch.tensor([level]))
    mine = (out.x_hat[0].clamp(0, 1).permute(1, 2, 0) * 255).round().numpy()
    assert np.mean(np.abs(mine - decoded) > 1) < 0.002
    assert float(out.bits_y + out.bits_z) == pytest.approx(8 * len(data), rel=0.05, abs=8 * 32)
