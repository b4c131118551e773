"""The proxy of LPIPS: its crops, its training, and a model that has it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from PIL import Image  # noqa: E402
from trainings import NETWORK  # noqa: E402

from dpc.codec import refining  # noqa: E402
from dpc.codec.artifact import Artifact  # noqa: E402
from dpc.codec.codec import Codec  # noqa: E402
from dpc.errors import DPCError, ModelError  # noqa: E402
from dpc.networks.model import Model  # noqa: E402
from dpc.training.data.photos import Photos  # noqa: E402
from dpc.training.export.export import export, with_proxy  # noqa: E402
from dpc.training.proxy import __main__ as program  # noqa: E402
from dpc.training.proxy import crops as crops_of  # noqa: E402
from dpc.training.proxy import training  # noqa: E402
from dpc.training.proxy.crops import SIDE, Crop, made, read, write  # noqa: E402
from dpc.training.proxy.network import Proxy  # noqa: E402
from dpc.training.proxy.training import HELD, Spectrum, compared, train  # noqa: E402

WIDTHS = 8, 8, 8, 8


class Likeness(torch.nn.Module):
    """In place of LPIPS: blurred squared errors."""

    def forward(self, a: Any, b: Any, check: bool = True) -> Any:
        return 50 * torch.nn.functional.avg_pool2d(a - b, 4).square().mean((1, 2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of noise whose gradient is that of Likeness."""
    out, rng = tmp_path_factory.mktemp("crops"), np.random.default_rng(1)

    def drawn() -> Any:
        while True:
            x = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            shown = np.clip(x + rng.normal(0, 12, x.shape), 0, 255)
            yield Crop(x, shown.astype(np.float16), crops_of._gradient([Likeness()], x, shown, rng))

    write(out, drawn(), 7, 2 * HELD + 8)
    return out


def test_crops_are_drawn_by_the_model_and_only_of_pictures_that_are_not_held_out(tmp_path: Path) -> None:
    photo = np.asarray(Image.open(ROOT / "demo" / "photo.png").convert("RGB"))[:SIDE, :SIDE]
    for i in range(2):
        Image.fromarray(photo[..., ::-1] if i else np.zeros_like(photo)).save(tmp_path / f"{i}.png")
    photos = Photos([tmp_path], SIDE, tmp_path / "cache")
    found = made(Codec(threads=1), photos, [Likeness()], np.random.default_rng(0))
    write(tmp_path / "crops", found, 3, 2)
    for path in sorted((tmp_path / "crops").glob("3-*.npz")):
        crop = read(path)
        assert crop.x.shape == crop.shown.shape == (SIDE, SIDE, 3) and crop.x.any()
        assert 0.5 < np.abs(crop.x - crop.shown.astype(np.float32)).mean() < 30
        assert crop.gradient.shape == (3, SIDE, SIDE) and crop.gradient.any()


def test_a_training_brings_the_gradients_nearer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 100 steps, whatever time they take: each looks at the clock twice, which goes on by a second."""
    seconds = itertools.count()
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(seconds)))
    torch.manual_seed(0)
    proxy, held = Proxy(WIDTHS), [read(p) for p in sorted(folder.glob("*.npz"))[:8]]
    before = float(compared(proxy, Spectrum(held), held)[1].mean().detach())
    said: list[str] = []
    cosine, size = train(proxy, folder, 200 / 60, 0, said.append)
    assert cosine > before + 0.1, (before, cosine)
    assert len(said) == 3
    assert 0.05 < size < 2 and not any(p.requires_grad for p in proxy.parameters())


def test_what_differs_counts_by_features_and_the_same_is_no_distance() -> None:
    proxy, x = Proxy(WIDTHS), torch.rand(2, 3, 32, 48)
    assert proxy(x, x).tolist() == [0, 0]
    assert (proxy(x, x.roll(5, 3)) > 0).all()
    again = Proxy.of(proxy.stored())
    assert again is not None
    torch.testing.assert_close(again(x, 1 - x), proxy(x, 1 - x), rtol=0.01, atol=1e-5)
    assert Proxy.of({"g_a.mean": np.zeros(3)}) is None


def test_a_model_gets_another_proxy_and_stays_the_same(tmp_path: Path) -> None:
    bare, one, two = (tmp_path / f"{n}.dpcmodel" for n in ("bare", "one", "two"))
    identity = export(Model(NETWORK), bare, "bare").identity
    torch.manual_seed(1)
    first, second = Proxy(WIDTHS), Proxy((8, 8, 8, 16))
    assert with_proxy(bare, one, first).identity == with_proxy(one, two, second).identity == identity
    np.savez(tmp_path / "second.npz", **second.stored())
    for path in (two, tmp_path / "second.npz"):
        assert {n: v.tolist() for n, v in program._proxy(path).stored().items()} == {
            n: v.tolist() for n, v in second.stored().items()
        }
    assert Artifact(two).refines
    with pytest.raises(ModelError, match="bare.dpcmodel holds no proxy"):
        program._proxy(bare)
    (tmp_path / "no.npz").write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot read the proxy"):
        program._proxy(tmp_path / "no.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{}", "{}/out.npz", "--minutes", "0"], "--minutes 0: give more than 0"),
        (["{}", "{}/out.pt", "--minutes", "1"], "give a name that ends with .npz"),
        (["{}", "{}/none/out.npz", "--minutes", "1"], "in a folder that is there"),
        (["{}", "{}/out.npz", "--minutes", "1"], "holds 0 crops"),
    ],
)
def test_what_a_training_cannot_do_is_said_before_it(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["proxy", "train", *(o.format(tmp_path) for o in options)])
    assert program.main() == 1
    assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_a_damaged_crop_is_said(tmp_path: Path) -> None:
    (tmp_path / "1-0.npz").write_bytes(b"no")
    with pytest.raises(DPCError, match="1-0.npz is not a sound crop"):
        read(tmp_path / "1-0.npz")


def test_too_few_crops_are_said(tmp_path: Path) -> None:
    with pytest.raises(DPCError, match=f"holds 0 crops, at least {2 * HELD} are needed"):
        train(Proxy(WIDTHS), tmp_path, 1, 0, print)


def test_the_encoder_goes_down_its_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many bytes."""
    codec = Codec(threads=1)
    proxy = Proxy.of(codec.artifact.weights)
    assert proxy is not None
    x = np.asarray(Image.open(ROOT / "demo" / "photo.png").convert("RGB"))[:256, :256]

    def distance(share: float) -> tuple[float, int]:
        monkeypatch.setattr(refining, "PROXY", share)
        data = codec.encode(x, bpp=0.5, lossless=False)
        a, b = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None] / 255 for v in (x, codec.decode(data, as_array=True)))
        return float(proxy(a, b)), len(data)

    (with_, two), (without, one) = distance(refining.PROXY), distance(0)
    assert with_ < 0.96 * without and abs(two / one - 1) < 0.01, (with_, without, one, two)
