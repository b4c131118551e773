"""The base network of 2018: what the context model sees, gradients, and coding by wavefronts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from paths import ROOT
from PIL import Image

from dpc.codec.image import load as load_picture
from dpc.errors import Corrupt, FormatError, ModelError, OptionError
from dpc.evaluation.codecs import Folder
from dpc.networks.earlier.base2018 import Base2018, wavefront
from dpc.networks.earlier.base2018.bottleneck import importance_mask, quantise
from dpc.networks.earlier.base2018.context import LAYERS, Context, MaskedConv, taps
from dpc.networks.earlier.checkpoint import load, save
from dpc.networks.earlier.protocol import make, padded

CENTRES = np.linspace(-2, 2, 6)
SHAPES = [(1, 1, 1), (1, 5, 1), (3, 1, 7), (2, 4, 3), (5, 1, 1), (4, 9, 6), (3, 4, 19)]


def tiny(**sizes: int) -> Base2018:
    torch.manual_seed(1)
    codec = make("base-2018", **{"filters": 16, "groups": 1, "blocks": 1, "channels": 5, "width": 8} | sizes)
    assert isinstance(codec, Base2018)
    return codec


def trained(steps: int = 100, **sizes: int) -> Base2018:
    """A tiny codec that has seen one photograph; a second or two."""
    codec = tiny(**sizes).train()
    optimiser = torch.optim.Adam(codec.parameters(), lr=1e-2)
    x = photo(64, 96)
    for _ in range(steps):
        out = codec(x)
        loss = 100 * (out.x_hat - x).square().mean() + (out.extra["H"] - 0.3).clamp(min=0).mean()
        optimiser.zero_grad()
        (loss + out.extra["auxiliary"].mean()).backward()
        optimiser.step()
    codec.update()
    return codec


def photo(height: int, width: int, top: int = 0) -> torch.Tensor:
    rgb = load_picture(ROOT / "demo" / "photo.png").rgb[top : top + height, 100 : 100 + width]
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255


def pixels(x: torch.Tensor) -> NDArray[np.uint8]:
    made: NDArray[np.uint8] = x[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return made


def symbols(*shape: int) -> NDArray[np.int32]:
    return np.random.default_rng(3).integers(0, 6, shape).astype(np.int32)


def context(scale: float = 3.0) -> Context:
    torch.manual_seed(2)
    made = Context(8, 6)
    with torch.no_grad():
        made.leave.weight *= scale
        for layer in (made.enter, made.a, made.b, made.leave):
            layer.bias.uniform_(-0.5, 0.5)
    return made


# the context model


def test_a_symbol_sees_exactly_the_sums_of_four_steps_and_all_of_them_are_earlier() -> None:
    model = Context(4, 6).double()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.fill_(0.0 if "bias" in name else 0.1)  # nothing cancels
    z = torch.ones(1, 6, 11, 11, dtype=torch.float64, requires_grad=True)
    at = (5, 5, 5)
    model(z)[0][at].sum().backward()
    assert z.grad is not None
    seen = {tuple(place) for place in (z.grad[0].nonzero() - torch.tensor(at)).tolist()}
    steps = [taps(first=True), *[taps(first=False)] * (LAYERS - 1)]
    sums = {tuple(map(sum, zip(*path, strict=True))) for path in itertools.product(*steps)}
    assert seen == {
        place for place in sums if all(0 <= a + b < n for a, b, n in zip(place, at, z.shape[1:], strict=True))
    }
    assert max(wavefront.time_of(place) for place in seen) == -1
    assert max(seen) < (0, 0, 0)  # raster order over channel, row, column


def dense(model: Context, index: NDArray[np.int32]) -> NDArray[np.float64]:
    """The exact logits of a whole volume (C, h, w, L), by ordinary convolutions in float64."""

    def conv(layer: MaskedConv, x: torch.Tensor, low: float | None) -> torch.Tensor:
        weight, bias = (
            part.double().mul(2.0**16).round() / 2.0**16 for part in (layer.weight * layer.mask, layer.bias)
        )
        x = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))
        y = F.conv2d(torch.cat([x[:-1], x[1:]], 1), weight, bias, padding=1)
        return y if low is None else y.mul(2.0**12).round().div(2.0**12).clamp(low, 1024)

    z = torch.from_numpy(CENTRES).mul(2.0**12).round().div(2.0**12)[torch.from_numpy(index).long()][:, None]
    h = conv(model.enter, z, 0)
    after = conv(model.b, conv(model.a, h, 0), None) + h
    h = after.mul(2.0**12).round().div(2.0**12)
    y: NDArray[np.float64] = conv(model.leave, h, None).permute(0, 2, 3, 1).detach().numpy()
    return y


@pytest.mark.parametrize("shape", SHAPES)
def test_wavefronts_give_the_bits_of_a_dense_evaluation(shape: tuple[int, int, int]) -> None:
    model, index = context(), symbols(*shape)
    found = np.zeros((*shape, 6))

    def take(where: Any, weights: NDArray[np.float64]) -> NDArray[np.int32]:
        found[where] = weights
        return index[where]

    wavefront.ExactContext(model, CENTRES).run(shape, take)
    assert np.array_equal(found, wavefront.weights_of(dense(model, index).reshape(-1, 6)).reshape(found.shape))
    trained_with = torch.softmax(model(torch.from_numpy(CENTRES[index])[None].float())[0], -1).detach().numpy()
    assert np.abs(found / found.sum(-1, keepdims=True) - trained_with).max() < 0.004


@pytest.mark.parametrize("shape", SHAPES)
def test_symbols_come_back(shape: tuple[int, int, int]) -> None:
    exact, index = wavefront.ExactContext(context(), CENTRES), symbols(*shape)
    assert np.array_equal(wavefront.decode(exact, wavefront.encode(exact, index), shape), index)


def test_the_number_of_wavefronts_is_the_documented_one() -> None:
    count = [0]

    def take(where: Any, weights: NDArray[np.float64]) -> NDArray[np.int32]:
        count[0] += 1
        return np.zeros(len(weights), np.int32)

    wavefront.ExactContext(context(), CENTRES).run((3, 5, 7), take)
    assert count[0] == 4 * 2 + 2 * 4 + 7


def test_damaged_symbols_are_one_line() -> None:
    exact, index = wavefront.ExactContext(context(), CENTRES), symbols(4, 9, 6)
    data = wavefront.encode(exact, index)
    with pytest.raises(Corrupt, match="multiple of 4"):
        wavefront.decode(exact, data[:-1], index.shape)
    with pytest.raises(Corrupt, match="damaged"):
        wavefront.decode(exact, data + bytes(8), index.shape)
    for word in range(0, len(data), 4):
        broken = data[:word] + b"\xff" * 4 + data[word + 4 :]
        try:
            assert not np.array_equal(wavefront.decode(exact, broken, index.shape), index)
        except Corrupt:
            pass


def test_weights_that_could_round_a_sum_are_refused() -> None:
    model = context()
    with torch.no_grad():
        model.a.weight *= 1e6
    with pytest.raises(ModelError, match="add up to"):
        wavefront.ExactContext(model, CENTRES)


# importance map and quantiser


def test_the_mask_is_ones_then_zeros_and_its_gradient_is_that_of_the_soft_one() -> None:
    raw = torch.tensor([-9.0, -1.0, 0.1, 1.0, 9.0]).reshape(1, 1, 1, 5).requires_grad_()
    mask = importance_mask(raw, 8)
    assert mask.sum(1).flatten().tolist() == [1, 3, 5, 6, 8]  # ceil(8 sigmoid(raw))
    assert (mask.diff(dim=1) <= 0).all() and set(mask.flatten().tolist()) == {0.0, 1.0}
    mask.sum().backward()
    y = torch.sigmoid(raw.detach())
    assert torch.allclose(raw.grad, 8 * y * (1 - y), atol=1e-5)  # that of y: one channel is on the slope


def test_quantised_values_are_the_nearest_centres_with_a_soft_gradient() -> None:
    centres = torch.tensor([-2.0, -0.5, 0.25, 2.0], requires_grad=True)
    z = torch.tensor([-3.0, -0.1, 0.0, 1.2]).reshape(1, 4, 1, 1).requires_grad_()
    made = quantise(z, centres)
    assert made.indices.flatten().tolist() == [0, 2, 2, 3]
    assert made.value.flatten().tolist() == [-2.0, 0.25, 0.25, 2.0]
    made.value.sum().backward()
    assert (z.grad > 0).all() and (centres.grad != 0).all()


def test_what_the_mask_leaves_out_is_the_centre_nearest_to_zero() -> None:
    codec = tiny()
    with torch.no_grad():
        codec.centres[:] = torch.tensor([-2.0, -1.2, -0.5, 0.1, 1.2, 2.0])
    mask, made = codec.analyse(photo(64, 64))
    assert 0 < mask.mean() < 1
    assert (made.indices[mask == 0] == 3).all() and (made.indices[mask == 1] != 3).any()


def grads(codec: Base2018, loss: torch.Tensor) -> set[str]:
    codec.zero_grad()
    loss.backward()
    moved = {name.split(".")[0] for name, p in codec.named_parameters() if p.grad is not None and p.grad.any()}
    return moved


def test_each_part_gets_the_gradient_that_the_documentation_says() -> None:
    codec = tiny().train()
    x = torch.cat([photo(64, 64), photo(64, 64, top=100)])
    out = codec(x)
    assert out.bits.shape == (2,) and all(v.shape == (2,) for v in out.extra.values())
    assert torch.allclose(out.extra["H"] * 5 * 64, out.bits) and torch.allclose(out.extra["auxiliary"], out.extra["H"])
    assert grads(codec, codec(x).extra["auxiliary"].sum()) == {"context"}
    assert grads(codec, codec(x).bits.sum()) == {"context", "encoder", "centres"}
    assert grads(codec, (codec(x).x_hat - x).square().mean()) == {"encoder", "decoder", "centres"}
    assert not codec(x).extra["kept"].requires_grad


def test_a_larger_importance_map_costs_more() -> None:
    codec = tiny().train()
    bias = codec.encoder.leave[1].bias
    grads(codec, codec(photo(64, 64)).bits.sum())
    assert bias.grad[0] > 0


# the codec


@pytest.fixture(scope="module")
def codec() -> Base2018:
    return trained()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (8, 8), (70, 131), (33, 2)])
def test_a_picture_of_any_size_comes_back_as_forward_gives_it(codec: Base2018, height: int, width: int) -> None:
    x = photo(height, width)
    with torch.no_grad():
        expected = pixels(codec(padded(x, 8)).x_hat[:, :, :height, :width])
    decoded = codec.decompress(codec.compress(pixels(x)))
    assert np.abs(decoded.astype(int) - expected).max() <= 1


def test_estimated_bits_are_those_of_the_file(codec: Base2018) -> None:
    x = photo(256, 256)
    with torch.no_grad():
        estimate = codec(x).bits.item() / 8
    assert abs(len(codec.compress(pixels(x))) - estimate) < 0.02 * estimate + 24  # the header and the coder's last word


def test_it_learns_and_what_the_mask_leaves_out_costs_almost_nothing(codec: Base2018) -> None:
    x = photo(64, 96)
    with torch.no_grad():
        out = codec(x)
        mask, made = codec.analyse(x)
        costs = codec.context.costs(made.value).gather(-1, made.indices[..., None])[..., 0]
    flat = (x - x.mean((2, 3), keepdim=True)).square().mean()
    assert (out.x_hat - x).square().mean() < 0.6 * flat
    assert mask.mean() < 0.9
    assert costs[mask == 0].mean() < 0.1 * costs[mask == 1].mean()


def test_half_precision_weights_code_alike(codec: Base2018, tmp_path: Path) -> None:
    save(tmp_path / "w.pt", codec, {})
    again, _ = load(tmp_path / "w.pt")
    rgb = pixels(photo(64, 96))
    decoded = again.decompress(again.compress(rgb))
    assert np.abs(decoded.astype(float) - codec.decompress(codec.compress(rgb))).mean() < 4


def test_the_script_draws_the_importance_map(
    codec: Base2018, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import importance_maps

    save(tmp_path / "w.pt", codec, {})
    Image.fromarray(pixels(photo(60, 90))).save(tmp_path / "p.png")
    weights, out = str(tmp_path / "w.pt"), tmp_path / "maps"
    monkeypatch.setattr("sys.argv", ["importance_maps", weights, str(tmp_path / "p.png"), "--out", str(out)])
    assert importance_maps.main() == 0
    assert {path.name for path in out.iterdir()} == {"p.png", "p-channels.png"}
    assert "of the symbols kept" in capsys.readouterr().out
    found = importance_maps.spent(codec, pixels(photo(60, 90)))
    assert found.kept.shape == found.bits.shape == (5, 8, 12)
    monkeypatch.setattr("sys.argv", ["importance_maps", str(tmp_path / "none.pt"), "p.png"])
    assert importance_maps.main() == 1
    assert "none.pt cannot be read" in capsys.readouterr().err


def test_the_script_brings_codecs_to_equal_bytes(
    codec: Base2018, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import equal_bytes

    rgb = pixels(photo(96, 128))
    plain = len(codec.compress(rgb))
    shift, data = equal_bytes.shifted(codec, rgb, 0.8 * plain)
    assert shift < 0 and codec.shift == 0 and len(data) == pytest.approx(0.8 * plain, rel=0.03)
    assert codec.decompress(data).shape == rgb.shape, "a file does not know of the shift"
    save(tmp_path / "a.pt", codec, {})
    save(tmp_path / "b.pt", trained(30), {})
    Image.fromarray(rgb).save(tmp_path / "p.png")
    words = ["equal_bytes", str(tmp_path / "out"), str(tmp_path / "p.png"), "--codecs", "jpeg2000"]
    words += ["--weights", f"a={tmp_path / 'a.pt'}", "--weights", f"b={tmp_path / 'b.pt'}"]
    monkeypatch.setattr("sys.argv", words)
    assert equal_bytes.main() == 0
    entries = {name: Folder(name, tmp_path / "out" / name).of("p")[0] for name in ("a", "b", "jpeg2000")}
    assert max(e.bytes for e in entries.values()) < 1.06 * min(e.bytes for e in entries.values())
    assert Image.open(entries["a"].decoded).size == (128, 96) and (tmp_path / "out" / "sheet.webp").is_file()
    monkeypatch.setattr("sys.argv", [*words, "--weights", "none"])
    assert equal_bytes.main() == 1 and "give NAME=FILE" in capsys.readouterr().err


def test_bf16_trains(codec: Base2018) -> None:
    x = photo(64, 64)
    fresh = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        out = fresh(x)
    assert out.bits.dtype == out.extra["H"].dtype == torch.float32
    assert grads(fresh, out.bits.sum() + out.x_hat.float().sum()) == {"context", "encoder", "decoder", "centres"}


def test_damage_is_one_line(codec: Base2018) -> None:
    data = codec.compress(pixels(photo(24, 40)))
    for position in range(len(data)):
        with pytest.raises(FormatError):
            codec.decompress(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    with pytest.raises(Corrupt, match="3 parts"):
        codec.restore([b"", b"", b""], 8, 8)


def test_sizes_out_of_range_are_one_line() -> None:
    with pytest.raises(OptionError, match="centres=1"):
        make("base-2018", centres=1)
