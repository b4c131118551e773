"""The networks: the wavelet reconstructs, shapes and gradients, and the integer branch computes in exact integers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from paths import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from trainings import NETWORK as TINY  # noqa: E402

from dpc.codec.codec import Codec  # noqa: E402
from dpc.codec.image import load as load_picture  # noqa: E402
from dpc.networks import wavelet  # noqa: E402
from dpc.networks.context import INDEX_BITS, MAGNITUDE_MAX, Z_LIMIT, bits_of, features, scale_of_index  # noqa: E402
from dpc.networks.integer import IntegerBlock, IntegerConv, LeakyConv, on_bytes  # noqa: E402
from dpc.networks.model import Model, bounded, index_of_scale  # noqa: E402
from dpc.networks.sizes import CELL, Network  # noqa: E402
from dpc.training.export.export import export, half_precision  # noqa: E402

Int = NDArray[np.int64]


def level_map(x: torch.Tensor, *levels: float) -> torch.Tensor:
    """A constant quality map for each picture of a batch."""
    cells = torch.tensor(levels)[:, None, None]
    return cells.expand(len(x), -(-x.shape[2] // CELL), -(-x.shape[3] // CELL)).contiguous()


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


def test_the_finest_level_on_cells_is_the_wavelet_inside_of_the_picture() -> None:
    x = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(3))
    bands = torch.nn.functional.pixel_unshuffle(wavelet.analyse(x, wavelet.analysis_kernel()), 2)
    padded = torch.nn.functional.pad(bands, (1, 1, 1, 1), mode="replicate")
    y = torch.nn.functional.pixel_shuffle(torch.nn.functional.conv2d(padded, wavelet.cell_kernel()), 4)
    assert (x - y)[..., 4:-4, 4:-4].abs().max() < 2e-5
    flat = wavelet.cell_kernel()[:, :12]
    assert torch.allclose(flat.sum((1, 2, 3)), torch.full((48,), 0.5), atol=1e-5)  # a low band of 2 is a picture of 1


def test_the_wavelet_is_nearly_orthonormal() -> None:
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    energy = wavelet.pack(noise).square().sum() / noise.square().sum()
    assert 0.9 < energy < 1.1


# the networks


def test_shapes_and_ranges() -> None:
    model = Model(TINY)
    x = torch.rand(2, 3, 64, 128)
    out = model(x, level_map(x, 0.0, 6.5))
    assert out.x_hat.shape == x.shape
    assert out.bits_y.shape == out.bits_z.shape == (2,)
    assert (out.bits_y >= 0).all() and (out.bits_z > 0).all()
    y = model.g_a(x)
    assert y.shape == (2, TINY.latents, 4, 8)
    assert model.h_a(y).shape == (2, TINY.hyper_latents, 1, 2)
    assert model.g_s(y, model.interpolation(torch.rand(2, 1, 4, 8) * 7)).shape == x.shape


def test_weights_of_a_level_are_linear_interpolation() -> None:
    weights = Model(TINY).interpolation(torch.tensor([0.0, 2.25, 7.0]).reshape(1, 1, 1, 3))
    assert weights.shape == (1, 8, 1, 3)
    assert torch.allclose(weights.sum(1), torch.ones(1, 1, 3))
    assert weights[0, 2:4, 0, 1].tolist() == [0.75, 0.25]


def test_a_quality_map_moves_bits_to_where_it_is_high() -> None:
    torch.manual_seed(6)
    model = Model(TINY).eval()
    x = photo(128, 256)
    model.start_from_wavelet([x], torch.logspace(-0.3, -1.7, 8))
    low, high = level_map(x, 0.5), level_map(x, 6.5)
    left = torch.cat([high[..., :2], low[..., 2:]], 2)
    with torch.no_grad():
        plain, mapped = model(x, low), model(x, left)
    error = (mapped.x_hat - x).square().mean((0, 1, 2)), (plain.x_hat - x).square().mean((0, 1, 2))
    assert error[0][:96].mean() < 0.7 * error[1][:96].mean()
    assert torch.allclose(error[0][-64:].mean(), error[1][-64:].mean(), rtol=0.02)
    assert mapped.bits_y > plain.bits_y


def test_quantisation_steps_follow_the_side_information() -> None:
    """They start at the gain's own; half an octave halves the error's square; rate and distortion teach them."""
    torch.manual_seed(0)
    model = Model(TINY)
    torch.nn.init.normal_(model.g_a.linear4)
    model.log_gain.data += 3.0
    model.offset.data += 30.0
    x = torch.rand(2, 3, 64, 64)
    cells = torch.full((2, 1, 1), 3.0)
    errors = []
    for octaves in (0.0, 0.5):
        torch.nn.init.constant_(model.means.octaves.bias, octaves)
        psi = torch.randint(-64, 64, (1, TINY.mean_width, 4, 4)) / 16
        assert torch.equal(model.means.fineness(psi), torch.full((1, TINY.latents, 4, 4), 2.0**octaves))
        y = model.g_a(x)
        errors.append((model(x, cells).y_hat - y).square().mean().item())
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)
    torch.nn.init.normal_(model.g_s.linear)
    for part in ("bits_y", "x_hat"):
        model.zero_grad()
        getattr(model(x, cells, frozen=True), part).square().sum().backward()
        assert model.means.octaves.bias.grad.abs().max() > 0
    model.zero_grad()
    model(x, cells, frozen=True, taught=True).x_hat.sum().backward()  # whose target moves with the latents
    learns = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learns == {"g_s"}


def test_gains_learn_nothing_where_the_quality_varies_and_nothing_where_they_are_frozen() -> None:
    torch.manual_seed(7)
    model = Model(TINY)
    x = photo(128, 128)
    model.start_from_wavelet([x], torch.logspace(-0.3, -1.7, 8))
    varied = level_map(x, 3.0)
    varied[0, 0, 0] = 4.0
    for cells, frozen, learns in ((level_map(x, 3.0), False, True), (varied, False, False), (varied, True, False)):
        model.zero_grad()
        out = model(x, cells, frozen=frozen)
        (out.bits_y.sum() + out.x_hat.sum()).backward()
        assert bool(model.log_gain.grad is not None and model.log_gain.grad.any()) == learns
        assert (model.g_a.mean.grad is None) == frozen


def test_every_trained_weight_gets_a_gradient() -> None:
    torch.manual_seed(3)
    model = Model(TINY)
    model.start_from_wavelet([photo(256, 256)], torch.logspace(-0.5, -1.5, 8))
    with torch.no_grad():  # where a training starts at zero its inputs have no gradient yet
        for value in model.parameters():
            if value.requires_grad and not value.any():
                value.normal_(std=0.05)
        for conv in model.modules():  # a byte must not stay at its limit for all inputs
            if isinstance(conv, IntegerConv):
                conv.bias.normal_(std=0.1)
        model.h_a.c.weight *= 40  # or all z are rounded to 0
    x = photo(128, 128)
    total = torch.zeros(())
    for level in (0.5, 3.5, 6.5):
        out = model(x, level_map(x, level))
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
            out = model(x, level_map(x, level))
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


# integers


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


def rounded(acc: Int, shift: Int) -> Int:
    """acc * 2**-shift, rounded to the nearest integer, halves to the even one, in integers."""
    acc, shift = acc << np.maximum(-shift, 0), np.maximum(shift, 0)
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    down = acc >> shift
    rest = acc - (down << shift)
    return down + ((rest > half) | ((rest == half) & (down % 2 == 1) & (shift > 0)))


def shuffled(a: Int) -> Int:
    """Pixel shuffle by 2."""
    c, h, w = a.shape
    return a.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)


def convolved(conv: IntegerConv, a: Int) -> Int:
    """What the convolution makes of integers, in int64."""
    weight, bias, exponents = (v.numpy().astype(np.int64) for v in conv.integers())
    assert np.abs(weight).max() <= 63 and conv.bits_out is not None
    if conv.groups > 1:  # each output reads one channel
        weight = np.eye(len(weight), dtype=np.int64)[:, :, None, None] * weight
    acc = correlate(a, weight, bias)
    low, high = (-128, 127) if conv.signed else (0, 255)
    return rounded(acc, (exponents + conv.bits_in - conv.bits_out)[:, None, None]).clip(low, high)


def reference(model: Model, z: Int, r: Int) -> list[Int]:
    """Features of the scales, then the scale indices of every group, computed in int64."""
    s = model.scales
    f = shuffled(convolved(s.features["a"], z))  # type: ignore[arg-type]
    f = shuffled(convolved(s.features["c"], convolved(s.features["b"], f)))  # type: ignore[arg-type]
    results = [f]
    start = 0
    for group, size in enumerate(model.net.groups):
        seen = np.abs(r[:start]).clip(max=MAGNITUDE_MAX) << 4
        mixed = convolved(s.mix[group], np.concatenate([f, seen]))  # type: ignore[arg-type]
        results.append(convolved(s.head[group], mixed))  # type: ignore[arg-type]
        start += size
    return results


def wild(seed: int) -> Model:
    """A model whose integer networks have weights of all sizes."""
    torch.manual_seed(seed)
    model = Model(TINY)
    with torch.no_grad():
        for conv in model.modules():
            if isinstance(conv, IntegerConv):
                conv.weight.normal_(std=0.3).mul_(torch.logspace(-2, 1, len(conv.weight))[:, None, None, None])
                conv.bias.normal_(std=1.0)
    return model


@pytest.mark.parametrize("content", ["random", "largest", "smallest", "zero"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_scales_are_integers_of_int64(content: str, seed: int) -> None:
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
        f = features(model.scales.features, z_hat)
        assert np.array_equal(f[0].numpy() * 16, expected[0])
        parts = residuals.abs().clamp(max=MAGNITUDE_MAX).split(list(TINY.groups), 1)
        for group in range(len(TINY.groups)):
            index = model.scales.index(group, f, list(parts[:group]))
            assert np.array_equal(index[0].numpy(), expected[1 + group])
    assert INDEX_BITS == 3


@pytest.mark.parametrize("signed", [False, True])
def test_bytes_round_to_even_and_pass_gradients_inside(signed: bool) -> None:
    x = torch.tensor([-9.0, -0.09375, -0.03125, 0.015625, 0.046875, 3.0, 9.0], requires_grad=True)
    y = on_bytes(x, 5, signed=signed)
    low = [-4.0, -0.09375, -0.03125] if signed else [0.0, 0.0, 0.0]
    assert y.tolist() == [*low, 0.0, 0.0625, 3.0, 127 / 32 if signed else 255 / 32]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, *([1.0, 1.0] if signed else [0.0, 0.0]), 1.0, 1.0, 1.0, 0.0]


def test_an_integer_block_is_that_of_int64() -> None:
    torch.manual_seed(2)
    block = IntegerBlock(8, 5)
    torch.nn.init.normal_(block.down.weight, std=0.4)
    x = torch.randint(-128, 128, (1, 8, 9, 7))
    a = x[0].numpy().astype(np.int64)
    torch.nn.init.normal_(block.straight.weight, std=0.4)
    d = convolved(block.depth, a)
    change = (convolved(block.down, convolved(block.up, d)) + convolved(block.straight, d)).clip(-128, 127)
    wanted = (a + change).clip(-128, 127)
    assert np.array_equal(block(x / 32)[0].detach().numpy() * 32, wanted)
    leaky = LeakyConv(8, 4, 5)
    bent = convolved(leaky.bent, a)
    assert bent.min() == 0 and bent.max() > 127
    wanted = (bent + convolved(leaky.straight, a)).clip(-128, 127)
    assert np.array_equal(leaky(x / 32)[0].detach().numpy() * 32, wanted)


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
    even = np.full(rgb.shape[:2], 0.5)  # a mask without a preference: one quality everywhere
    data = codec.encode(rgb, quality=1 + 99 * level / 7, roi=even, fast=True)  # smoothing comes after the network
    decoded = codec.decode(data, as_array=True)
    with torch.no_grad():
        out = model(x, level_map(x, level))
    mine = (out.x_hat[0].clamp(0, 1).permute(1, 2, 0) * 255).round().numpy()
    assert np.mean(np.abs(mine - decoded) > 1) < 0.002
    assert float(out.bits_y + out.bits_z) == pytest.approx(8 * len(data), rel=0.05, abs=8 * 32)
