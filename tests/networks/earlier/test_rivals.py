"""The factorised prior, the hyperpriors and the joint codec: decoding, rates, densities, gradients, CompressAI."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from scipy import ndimage
from torch import Tensor

from dpc.codec.entropy import PRECISION
from dpc.errors import Corrupt, FormatError
from dpc.networks.earlier import stream
from dpc.networks.earlier.checkpoint import load, save
from dpc.networks.earlier.entropy_models import (
    FactorisedDensity,
    frequencies,
    gaussian_likelihood,
    gaussian_tables,
    scale_index,
)
from dpc.networks.earlier.hyperprior import Hyperprior
from dpc.networks.earlier.joint import Joint, wavefronts
from dpc.networks.earlier.layers import GDN
from dpc.networks.earlier.protocol import EarlierCodec, make, padded

KINDS = ["factorised", "scale-hyperprior", "mean-scale-hyperprior", "joint"]


def codec(kind: str, seed: int = 0) -> EarlierCodec:
    """A small codec with random weights whose latents have some spread, and whose scales are about right for it."""
    torch.manual_seed(seed)
    made = make(kind, filters=8, latents=12)
    with torch.no_grad():
        made.g_a[-1].weight *= 60
        for name, value in made.named_parameters():
            if name.startswith("density.") and "matrices" not in name:
                value += 0.1 * torch.randn_like(value)
        if isinstance(made, Hyperprior):
            made.h_a[-1].weight *= 5
            last = made.parameters_of if isinstance(made, Joint) else made.h_s
            conv = last[-2] if kind == "scale-hyperprior" else last[-1]
            conv.bias[:12] += 4.0  # scales; means stay about 0
    made.update()
    return made


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth structure and some noise."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=(height, width, 3)), (6, 6, 0)) * 900
    return np.clip(128 + smooth + random.normal(size=smooth.shape) * 4, 0, 255).astype(np.uint8)


def tensor(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70), (65, 64), (70, 131)])
def test_the_decoded_picture_is_forwards(kind: str, height: int, width: int) -> None:
    made, rgb = codec(kind), picture(height, width)
    decoded = made.decompress(made.compress(rgb))
    with torch.inference_mode():
        x_hat = made(padded(tensor(rgb), made.stride)).x_hat
    expected = x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    assert decoded.shape == rgb.shape
    assert np.abs(decoded - expected).max() <= 1
    assert decoded.std() > 0 or decoded.size < 10


@pytest.mark.parametrize("kind", KINDS)
def test_estimated_bits_are_those_of_the_file(kind: str) -> None:
    made, rgb = codec(kind), picture(256, 384)
    with torch.inference_mode():
        estimated = made(tensor(rgb)).bits
    assert estimated.shape == (1,)
    assert 8 * len(made.compress(rgb)) == pytest.approx(estimated.item(), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_of_each_sample(kind: str) -> None:
    made = codec(kind)
    x = torch.cat([tensor(picture(64, 64, seed)) for seed in (1, 2)])
    with torch.inference_mode():
        both, single = made(x).bits, [made(x[k : k + 1]).bits for k in (0, 1)]
    assert both.tolist() == pytest.approx(torch.cat(single).tolist(), rel=1e-4)
    made.train()
    assert made(x).bits.shape == (2,)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_gets_a_gradient_and_a_training_improves(kind: str) -> None:
    torch.manual_seed(0)
    made = make(kind, filters=8, latents=12).train()
    x = torch.cat([tensor(picture(64, 64, seed)) for seed in range(4)])
    optimiser = torch.optim.Adam(made.parameters(), lr=2e-3)
    losses = []
    for step in range(40):
        out = made(x)
        loss = out.bits.mean() / 64**2 + 200 * (out.x_hat - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            still = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
            assert still == []
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_leaves_latents_and_their_bits_in_float32(kind: str) -> None:
    made, x = codec(kind), tensor(picture(64, 64))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        y, out = made.g_a(x), made(x)
    assert y.dtype == out.bits.dtype == out.x_hat.dtype == torch.float32
    assert (y - y.bfloat16()).abs().max() > 0, "a latent that bfloat16 does not hold"
    with torch.inference_mode():
        assert out.bits.item() == pytest.approx(made(x).bits.item(), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_decode_their_own_files(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "w.pt", codec(kind), {})
    first, again, rgb = load(tmp_path / "w.pt")[0], load(tmp_path / "w.pt")[0], picture(64, 80)
    data = first.compress(rgb)
    assert again.compress(rgb) == data
    assert np.array_equal(again.decompress(data), first.decompress(data))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_one_line(kind: str) -> None:
    made = codec(kind)
    data = made.compress(picture(64, 64))
    height, width, parts = stream.unpack(data, made.identity)
    for at in range(0, len(data), max(1, len(data) // 20)):
        with pytest.raises(FormatError):
            made.decompress(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    faulty = [parts[:-1], [*parts, b""], [b"" for _ in parts], [p[:-4] for p in parts], [p + p for p in parts]]
    for some in faulty:  # sealed with a sound CRC-32
        with pytest.raises(Corrupt) as caught:
            made.decompress(stream.pack(made.identity, height, width, some))
        assert "\n" not in str(caught.value)


def test_positions_come_after_their_window() -> None:
    for height, width in ((1, 1), (5, 1), (1, 7), (6, 4), (4, 9)):
        when = np.full((height, width), -1)
        for step, (rows, columns) in enumerate(wavefronts(height, width)):
            assert (when[rows, columns] == -1).all()
            when[rows, columns] = step
        assert (when >= 0).all()
        for r in range(height):
            for c in range(width):
                above = when[max(r - 2, 0) : r, max(c - 2, 0) : c + 3]
                before = when[r, max(c - 2, 0) : c]
                assert (above < when[r, c]).all() and (before < when[r, c]).all()
    assert len(list(wavefronts(32, 48))) == 141


def test_in_order_sees_what_all_at_once_sees() -> None:
    made = codec("joint")
    assert isinstance(made, Joint)
    y = 5 * torch.randn(1, 12, 6, 7)
    with torch.inference_mode():
        side = made.h_s(torch.randn(1, 8, 2, 2))[:, :, :6, :7]
        means, scales = torch.zeros(12, 6, 7), torch.zeros(12, 6, 7)

        def residual(rows: Tensor, columns: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
            means[:, rows, columns], scales[:, rows, columns] = mean.T, scale.T
            return (y[0, :, rows, columns].T - mean).round()

        y_hat = made.in_order(side, residual)
        mean, scale = made.all_at_once(y_hat, side)
    assert torch.allclose(means, mean[0], atol=1e-4) and torch.allclose(scales, scale[0], atol=1e-4)
    assert (y_hat - y).abs().max() <= 0.5 + 1e-5


def test_gdn_is_its_formula_and_its_inverse_undoes_a_flat_one() -> None:
    gdn, inverse = GDN(3), GDN(3, inverse=True)
    x = torch.randn(2, 3, 4, 5)
    expected = x / (1 + 0.1 * x.square()).sqrt()
    assert torch.allclose(gdn(x), expected, atol=1e-5)
    assert torch.allclose(inverse(x), x * (1 + 0.1 * x.square()).sqrt(), atol=1e-5)
    with torch.no_grad():
        gdn.beta.fill_(-1.0)
    gdn(torch.zeros(1, 3, 1, 1) + 0.1).sum().backward()
    assert gdn.beta.grad is not None and (gdn.beta.grad != 0).all(), "a beta below its bound can come back"


def test_a_density_is_one_and_its_median_halves_it() -> None:
    torch.manual_seed(1)
    density = FactorisedDensity(3)
    with torch.no_grad():
        for value in density.parameters():
            value += 0.3 * torch.randn_like(value)
    density.update()
    tables = density.tables
    half = density.logits(density.median[:, None, None])
    assert half.abs().max() < 1e-4
    grid = torch.arange(-400.0, 401)[None, None].expand(1, 3, -1)[..., None]
    mass = density.likelihood(density.values(grid))
    assert mass.sum((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)
    for channel, row in enumerate(tables.frequencies):
        reach = (len(row) - 2) // 2
        inside = mass[0, channel, 400 - reach : 401 + reach, 0].detach().numpy()
        assert np.abs(row[:-1] / 2**PRECISION - inside).max() < 1e-5
        assert row[-1] / 2**PRECISION < 1e-5


def test_more_than_255_channels_have_tables_of_their_own() -> None:
    torch.manual_seed(0)
    made = make("factorised", filters=2, latents=300)
    with torch.no_grad():
        made.density.biases[0] += torch.linspace(-90, 90, 300)[:, None, None]
        made.g_a[-1].weight *= 30
    made.update()
    rgb = picture(32, 32)
    with torch.inference_mode():
        expected = made(tensor(rgb)).x_hat[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    assert np.abs(made.decompress(made.compress(rgb)) - expected).max() <= 1


def test_gaussian_tables_hold_the_likelihoods() -> None:
    tables = gaussian_tables()
    assert len(tables) == 65
    for scale in (0.11, 1.0, 9.0, 256.0):
        index = int(scale_index(torch.tensor([scale]))[0])
        row = tables.frequencies[index - 1]
        reach = (len(row) - 2) // 2
        values = torch.arange(-reach, reach + 1).float()
        nearest = 0.11 * (256 / 0.11) ** ((index - 1) / 63)
        assert abs(np.log(nearest / scale)) <= np.log(256 / 0.11) / 126 + 1e-6
        mass = gaussian_likelihood(values, torch.full_like(values, nearest))
        assert np.abs(row[:-1] / 2**PRECISION - mass.numpy()).max() < 1e-5
    assert scale_index(torch.tensor([0.0, 1e9])).tolist() == [1, 64]


def test_frequencies_are_whole_and_leave_little_to_the_escape() -> None:
    mass = np.array([0.0, 1e-9, 0.2, 0.5, 0.3, 1e-9, 0.0])
    row = frequencies(mass)
    assert row.sum() == 2**PRECISION and row.min() >= 1 and len(row) == 4
    assert np.abs(row / 2**PRECISION - [0.2, 0.5, 0.3, 0]).max() < 1e-6


# CompressAI, in an environment of its own

COMPRESSAI = Path(os.environ.get("DPC_COMPRESSAI") or Path.home() / ".cache" / "dpc" / "compressai" / "bin" / "python")
NAMES = {"entropy_bottleneck": "density", "context_prediction": "context", "entropy_parameters": "parameters_of"}
"""CompressAI's names of modules -> ours; all others are the same."""
MODELS = {
    "factorised": "FactorizedPrior",
    "scale-hyperprior": "ScaleHyperprior",
    "mean-scale-hyperprior": "MeanScaleHyperprior",
    "joint": "JointAutoregressiveHierarchicalPriors",
}
THEIRS = """
import sys, torch
sys.path.insert(0, sys.argv[3])
from torchvision_names import import_module
models = import_module("compressai.models")
asked = torch.load(sys.argv[1])
torch.set_num_threads(1)

def answer(cls, weights, median):
    net = getattr(models, cls)(8, 12).eval()
    state, taken = net.state_dict(), set()
    for name in state:
        first, _, rest = name.partition(".")
        ours = asked["names"].get(first, first) + "." + rest
        if ours in weights:
            assert state[name].shape == weights[ours].shape, name
            state[name] = weights[ours]
            taken.add(ours)
    quantiles = state["entropy_bottleneck.quantiles"]
    quantiles[:, 0, 1], quantiles[:, 0, 0], quantiles[:, 0, 2] = median, median - 60, median + 60
    net.load_state_dict(state)
    net.update(force=True)
    with torch.inference_mode():
        out = net(asked["x"])
        coded = net.compress(asked["x"])
        decoded = net.decompress(coded["strings"], coded["shape"])["x_hat"]
    return {
        "bits": {k: -torch.log2(v).sum().item() for k, v in out["likelihoods"].items()},
        "bytes": sum(len(s[0]) for s in coded["strings"]),
        "left": sorted(set(weights) - taken),
        "x_hat": out["x_hat"],
        "decoded": decoded,
    }

torch.save({kind: answer(*one) for kind, one in asked["codecs"].items()}, sys.argv[2])
"""


PATCH = (128, 192)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What CompressAI makes of our weights, for each kind; one process, as its imports take long."""
    if not COMPRESSAI.exists():
        pytest.skip(f"{COMPRESSAI} is not there; docs/guide/learned.md makes it, DPC_COMPRESSAI names another")
    asked, answered = (tmp_path_factory.mktemp("cai") / name for name in ("asked.pt", "answered.pt"))
    codecs = {kind: (MODELS[kind], codec(kind).state_dict(), codec(kind).density.median) for kind in KINDS}
    torch.save({"names": NAMES, "x": tensor(picture(*PATCH)), "codecs": codecs}, asked)
    imports = ROOT / "src" / "dpc" / "evaluation" / "foreign"
    command = [str(COMPRESSAI), "-c", THEIRS, str(asked), str(answered), str(imports)]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = torch.load(answered, weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compressai_gives_the_same_on_the_same_weights(kind: str, theirs: dict[str, Any]) -> None:
    made, x, told = codec(kind), tensor(picture(*PATCH)), theirs[kind]
    assert told["left"] == [], "weights of ours that CompressAI has no place for"
    with torch.inference_mode():
        ours, bits = made(x), told["bits"]
        estimated, coded = ours.bits.item(), sum(map(len, made.payload(x)))
        if isinstance(made, Joint):  # CompressAI's forward() lets the context see round(y), its coding does not
            y = made.g_a(x)
            side = made.h_s(made.density.quantised(made.side(y)))
            mean, scale = made.all_at_once(y.round(), side)
            y_bits = -torch.log2(gaussian_likelihood((y - mean).round(), scale).clamp(min=1e-9)).sum().item()
            assert y_bits == pytest.approx(bits["y"], rel=1e-4)
            assert torch.allclose(made.g_s(y.round()), told["x_hat"], atol=1e-3)
        else:
            assert estimated == pytest.approx(sum(bits.values()), rel=1e-4)
            assert torch.allclose(ours.x_hat, told["x_hat"], atol=1e-3)
    assert ours.x_hat.std() > 0.01
    assert torch.allclose(ours.x_hat.clamp(0, 1), told["decoded"], atol=1e-3)
    assert coded == pytest.approx(told["bytes"], rel=0.03)


@pytest.mark.slow
def test_a_kodak_picture_by_the_joint_codec_takes_seconds() -> None:
    made = make("joint")
    made.update()
    rgb = np.asarray(Image.new("RGB", (768, 512), (90, 120, 60)))
    data = made.compress(rgb)
    start = time.process_time()
    made.decompress(data)
    assert time.process_time() - start < 30
