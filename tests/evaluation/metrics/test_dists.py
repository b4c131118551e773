"""DISTS: against a second implementation with random weights, and values of others with the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image

torch = pytest.importorskip("torch")

import make_vgg  # noqa: E402

from dpc.errors import ModelError, ToolMissing  # noqa: E402
from dpc.evaluation.metrics import dists, dists_distance  # noqa: E402
from dpc.evaluation.metrics.dists import CHANNELS, DISTS  # noqa: E402
from dpc.evaluation.metrics.pair import Picture  # noqa: E402
from dpc.evaluation.metrics.reference import Reference, usable  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random weights, alpha and beta in the shape of the authors' file."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(3)
    make_vgg.trunk(folder, generator)
    parts = {n: torch.rand((1, sum(CHANNELS), 1, 1), generator=generator) for n in ("alpha", "beta")}
    torch.save(parts, folder / "weights.pt")
    return folder


def picture(seed: int, height: int = 36, width: int = 45) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def convolve(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """3x3 convolution of (C, H, W), padded with zeros."""
    p = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    h, width = x.shape[1:]
    out = sum(np.tensordot(w[:, :, i, j], p[:, i : i + h, j : j + width], 1) for i in range(3) for j in range(3))
    return np.maximum(out + b[:, None, None], 0)


def pool(x: np.ndarray) -> np.ndarray:
    """L2 pooling, written from the paper: g * (x . x), every second sample, root."""
    g = np.outer([1, 2, 1], [1, 2, 1]) / 16
    p = np.pad(x * x, ((0, 0), (1, 1), (1, 1)))
    h, width = x.shape[1:]
    return np.sqrt(
        sum(g[i, j] * p[:, i : i + h, j : j + width] for i in range(3) for j in range(3))[:, ::2, ::2] + 1e-12
    )


def second(x: Picture, y: Picture, weights: Path) -> float:
    """DISTS in numpy."""
    trunk = {k: v.double().numpy() for k, v in torch.load(weights / "vgg16-features.pth").items()}
    parts = {k: v.double().numpy().ravel() for k, v in torch.load(weights / "weights.pt").items()}
    taps = []
    for image in (x, y):
        h = image.transpose(2, 0, 1) / 255.0
        mine = [h]
        h = (h - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
        index = 0
        for stage, depth in enumerate((2, 2, 3, 3, 3)):
            if stage:
                h, index = pool(h), index + 1
            for _ in range(depth):
                h = convolve(h, trunk[f"features.{index}.weight"], trunk[f"features.{index}.bias"])
                index += 2
            mine.append(h)
        taps.append(mine)
    total = at = 0.0
    for a, b in zip(*taps, strict=True):
        for p, q in zip(a, b, strict=True):
            i = int(at)
            luminance = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
            cov = ((p - p.mean()) * (q - q.mean())).mean()
            structure = (2 * cov + 1e-6) / (p.var() + q.var() + 1e-6)
            total += parts["alpha"][i] * luminance + parts["beta"][i] * structure
            at += 1
    return float(1 - total / (parts["alpha"].sum() + parts["beta"].sum()))


def test_it_agrees_with_a_second_implementation(weights: Path) -> None:
    x = picture(0)
    for y in (picture(1), np.clip(x.astype(int) + 9, 0, 255).astype(np.uint8), 255 - x):
        assert dists_distance(x, y, weights) == pytest.approx(second(x, y, weights), abs=2e-5)


def test_identity_symmetry_and_direction(weights: Path) -> None:
    x = picture(0)
    little, much = ((x // n * n).astype(np.uint8) for n in (8, 64))
    assert dists_distance(x, x, weights) == pytest.approx(0, abs=1e-5)
    assert dists_distance(x, little, weights) == pytest.approx(dists_distance(little, x, weights), abs=1e-6)
    assert 1e-4 < dists_distance(x, little, weights) < dists_distance(x, much, weights) < 1


def test_a_reference_computes_the_original_once(weights: Path) -> None:
    x, y = picture(0), picture(1)
    assert Reference(x, ["dists"], weights).measure(y)["dists"] == pytest.approx(
        dists_distance(x, y, weights), abs=1e-6
    )
    small = picture(0, 15, 40)
    assert np.isnan(Reference(small, ["dists"], weights).measure(small)["dists"])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 15, 40), "at least 16 pixels a side"),
        (torch.zeros(3, 40, 40), r"got \(3, 40, 40\)"),
        (torch.zeros(1, 3, 40, 40, dtype=torch.uint8), "floating point"),
        (torch.full((1, 3, 40, 40), 1.5), r"values in \[0, 1\], got 1.5"),
        (torch.full((1, 3, 40, 40), torch.nan), r"values in \[0, 1\]"),
    ],
)
def test_wrong_input(weights: Path, x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DISTS(weights).features(x)


def test_weights_that_are_missing_or_wrong(weights: Path, tmp_path: Path) -> None:
    for name in ("vgg16-features.pth", "weights.pt"):
        one = tmp_path / name.partition(".")[0]
        one.mkdir()
        (one / name).symlink_to(weights / name)
        with pytest.raises(ToolMissing, match="vgg16-397923af.pth and dists.pt.*github.com/dingkeyan93/DISTS"):
            DISTS(one)
    good, missing = usable(["psnr", "dists"], tmp_path)
    assert good == ["psnr"] and str(tmp_path) in missing["dists"]
    (tmp_path / "vgg16-features.pth").symlink_to(weights / "vgg16-features.pth")
    torch.save({"alpha": torch.zeros(5)}, tmp_path / "dists.pt")
    with pytest.raises(ModelError, match="alpha with 1475 values is not in it"):
        DISTS(tmp_path)


def test_torchvision_is_not_touched() -> None:
    assert "torchvision" not in Path(dists.__file__).read_text().replace("torchvision's own file", "")


def opened(path: Path) -> Picture:
    with Image.open(path) as im:
        return np.array(im.convert("RGB"))


@needs("weights", "vgg")
@pytest.mark.parametrize(("name", "value"), [("ex_p0", 0.3879), ("ex_p1", 0.2250)])
def test_the_authors_package_gives_these_values(name: str, value: float) -> None:
    """DISTS-pytorch 0.1 on the example of LPIPS, with the same weights of VGG16."""
    examples = SHARED / "weights" / "lpips" / "examples"
    x, y = opened(examples / "ex_ref.png"), opened(examples / f"{name}.png")
    assert dists_distance(x, y, SHARED / "weights") == pytest.approx(value, abs=5e-4)


@pytest.mark.slow
@needs("weights", "vgg")
@needs("data", "kodak-bpg444")
def test_genuine_bpg_on_kodak_is_near_what_is_published() -> None:
    """At QP 43; published .201 at 0.135 bpp on all 24 pictures; these are every sixth."""
    data = SHARED / "data"
    values = [
        dists_distance(
            opened(data / "kodak" / f"{name}.png"),
            opened(data / "kodak-bpg444" / f"{name}-qp43.webp"),
            SHARED / "weights",
        )
        for name in ("kodim01", "kodim07", "kodim13", "kodim19")
    ]
    assert np.mean(values) == pytest.approx(0.206, abs=0.0015)
