"""The fast pass through VGG16 gives what torch's own layers give, and both metrics on it what each gives alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import make_vgg  # noqa: E402
from torch import nn  # noqa: E402

from dpc.evaluation.metrics import reference, vgg  # noqa: E402
from dpc.evaluation.metrics.dists import CHANNELS, DISTS  # noqa: E402
from dpc.evaluation.metrics.lpips import LPIPS, trunk_layers  # noqa: E402
from dpc.evaluation.metrics.reference import Reference  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the trunk, of LPIPS' heads, and of DISTS."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(5)
    make_vgg.trunk(folder, generator)
    make_vgg.heads(folder, generator)
    parts = {n: torch.rand((1, sum(CHANNELS), 1, 1), generator=generator) for n in ("alpha", "beta")}
    torch.save(parts, folder / "weights.pt")
    return folder


def pictures(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(height)
    x = generator.integers(20, 230, (height, width, 3))
    return x.astype(np.uint8), (x + generator.integers(-9, 10, x.shape)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 3), (12, 17), (30, 41)])
@pytest.mark.parametrize("chunk", [vgg.CHUNK, 1])
def test_winograd_is_the_convolution(monkeypatch: pytest.MonkeyPatch, height: int, width: int, chunk: int) -> None:
    """Whole, or strip by strip: the strips meet without a seam, and what is no multiple of a tile is cut off."""
    monkeypatch.setattr(vgg, "CHUNK", chunk)
    torch.manual_seed(1)
    layer = nn.Conv2d(6, 7, 3, padding=1).double()
    x = torch.randn(1, 6, height, width, dtype=torch.float64)
    with torch.inference_mode():
        assert layer.bias is not None
        got = vgg._convolve(x, vgg._transformed(layer.weight), layer.bias)
        torch.testing.assert_close(got, layer(x), rtol=0, atol=1e-12)


def test_the_taps_are_those_of_the_layers() -> None:
    torch.manual_seed(2)
    trunk = trunk_layers("vgg").requires_grad_(False)
    for layer in trunk:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    x = torch.randn(1, 3, 37, 50)
    taps, h = [], x
    for i, layer in enumerate(trunk):
        h = layer(h)
        if i in vgg.TAPS:
            taps.append(h.clone())
    fast = vgg.Pass(trunk)
    assert fast._transformed  # otherwise this test compares torch with itself
    for got, expected in zip(fast.rest(fast.first(x), lambda t: nn.functional.max_pool2d(t, 2)), taps, strict=True):
        assert (got - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize(("height", "width"), [(48, 64), (37, 51), (16, 16)])
def test_both_metrics_from_one_first_block(
    weights: Path, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    """As by their own `forward`, which runs torch's layers; and the first block runs once for each picture."""
    x, y = pictures(height, width)
    a, b = (torch.from_numpy(p).permute(2, 0, 1)[None] / 255.0 for p in (x, y))
    alone = {"lpips_vgg": float(LPIPS("vgg", weights)(a, b)), "dists": float(DISTS(weights)(a, b))}
    count = 0
    first = vgg.Pass.first

    def counted(self: vgg.Pass, picture: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return first(self, picture)

    monkeypatch.setattr(vgg.Pass, "first", counted)
    both = Reference(x, ["dists", "psnr", "lpips_vgg"], weights).measure(y)
    assert count == 2
    for name, value in alone.items():
        assert both[name] == pytest.approx(value, rel=2e-5, abs=5e-7)
        assert Reference(x, [name], weights).measure(y)[name] == pytest.approx(value, rel=2e-5, abs=5e-7)


def test_a_picture_that_is_too_small_for_both(weights: Path) -> None:
    x, y = pictures(15, 40)
    assert all(np.isnan(v) for v in Reference(x, list(reference._VGG), weights).measure(y).values())


@pytest.mark.parametrize("strip", [vgg.STRIP, 5000])
def test_strip_by_strip_the_distances_are_the_same(monkeypatch: pytest.MonkeyPatch, weights: Path, strip: int) -> None:
    monkeypatch.setattr(vgg, "STRIP", strip)
    x, y = pictures(70, 45)
    for network in (LPIPS("vgg", weights), DISTS(weights)):
        whole = float(network.distance(network.of(x), network.of(y)))
        assert network.against(network.of(x), y) == pytest.approx(whole, rel=1e-5)
        assert network.against(network.of(x), x) == pytest.approx(0, abs=1e-6)
