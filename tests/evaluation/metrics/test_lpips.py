"""LPIPS: the published values, the check at the door, gradients, and every way to come by the weights."""

from __future__ import annotations

import hashlib
import io
import math
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image

torch = pytest.importorskip("torch")

import make_vgg  # noqa: E402

from dpc.errors import ModelError, ToolMissing  # noqa: E402
from dpc.evaluation.metrics import METRICS, lpips, lpips_distance, lpips_weights  # noqa: E402
from dpc.evaluation.metrics.lpips import LPIPS  # noqa: E402
from dpc.evaluation.metrics.lpips_weights import NETS  # noqa: E402

WEIGHTS = SHARED / "weights" / "lpips"
needs_weights = needs("weights", "lpips", "alexnet-features.pth")


@pytest.fixture(scope="module", params=["alex", "squeeze"])
def model(request: pytest.FixtureRequest) -> LPIPS:
    return LPIPS(request.param, WEIGHTS)


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(1))


def example(name: str) -> np.ndarray:
    with Image.open(WEIGHTS / "examples" / f"{name}.png") as im:
        return np.array(im.convert("RGB"))


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255.0


# AlexNet: the values that the LPIPS authors publish for these pictures. SqueezeNet: those of the weights that
# also give torchmetrics' documented 0.1008. VGG16: those of the authors' package lpips 0.1.4 with the same weights.
@needs_weights
@pytest.mark.parametrize(
    ("net", "picture", "value"),
    [
        ("alex", "ex_p0", 0.722),
        ("alex", "ex_p1", 0.138),
        ("squeeze", "ex_p0", 0.7110),
        ("squeeze", "ex_p1", 0.1479),
        ("vgg", "ex_p0", 0.5686),
        ("vgg", "ex_p1", 0.4217),
    ],
)
def test_reference_values(net: str, picture: str, value: float) -> None:
    d = LPIPS(net, WEIGHTS.parent)(tensor(example("ex_ref")), tensor(example(picture)))
    assert d.shape == (1,)
    assert d.item() == pytest.approx(value, abs=5e-4)


@pytest.fixture(scope="module")
def random_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random weights in the shapes of VGG16 and its heads: the published ones are not at hand."""
    folder = tmp_path_factory.mktemp("vgg")
    generator = torch.Generator().manual_seed(5)
    make_vgg.trunk(folder, generator)
    make_vgg.heads(folder, generator)
    return folder


def test_vgg_against_a_second_implementation(random_vgg: Path, batch: torch.Tensor) -> None:
    """LPIPS as its paper has it, on a VGG16 that is written out here from the published layout."""
    trunk = torch.load(random_vgg / NETS["vgg"].trunk_file)
    heads = torch.load(random_vgg / NETS["vgg"].head.name)
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)

    def taps(x: torch.Tensor) -> list[torch.Tensor]:
        h, at, found = (2 * x - 1 - shift) / scale, 0, []
        for stage, depth in enumerate((2, 2, 3, 3, 3)):
            if stage:
                h, at = torch.nn.functional.max_pool2d(h, 2), at + 1
            for _ in range(depth):
                weight, bias = (trunk[f"features.{at}.{name}"] for name in ("weight", "bias"))
                h, at = torch.nn.functional.conv2d(h, weight, bias, padding=1).relu(), at + 2
            found.append(h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    other = batch.flip(0)
    expected = torch.zeros(3)
    for i, (a, b) in enumerate(zip(taps(batch), taps(other), strict=True)):
        expected += ((a - b).square() * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
    model = LPIPS("vgg", random_vgg)
    torch.testing.assert_close(model(batch, other), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model(batch, other), model(other, batch))
    assert torch.equal(model(batch, batch), torch.zeros(3)) and (model(batch, other)[[0, 2]] > 0).all()


@needs_weights
def test_metric_on_arrays_gives_the_same() -> None:
    pictures = example("ex_ref"), example("ex_p0")
    assert lpips_distance(*pictures, weights=WEIGHTS) == pytest.approx(0.722, abs=5e-4)
    assert lpips_distance(*pictures, net="squeeze", weights=WEIGHTS) == pytest.approx(0.7110, abs=5e-4)


@needs_weights
def test_identity_symmetry_and_bounds(model: LPIPS, batch: torch.Tensor) -> None:
    other = batch.flip(0)
    assert torch.equal(model(batch, batch), torch.zeros(3))
    torch.testing.assert_close(model(batch, other), model(other, batch))
    assert (model(batch, other)[[0, 2]] > 0).all()


@needs_weights
def test_each_sample_is_measured_alone(model: LPIPS, batch: torch.Tensor) -> None:
    other = batch.flip(3)
    alone = torch.cat([model(batch[i : i + 1], other[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(batch, other), alone)


@needs_weights
def test_kept_reference_features(model: LPIPS, batch: torch.Tensor) -> None:
    other = batch.flip(3)
    with torch.no_grad():
        kept = model.features(batch)
    torch.testing.assert_close(model.distance(kept, model.features(other)), model(batch, other))
    one = [f[:1] for f in kept]
    torch.testing.assert_close(model.distance(one, kept)[1], model(batch[:1], batch[1:2])[0])


@needs_weights
def test_memory_format_does_not_matter(model: LPIPS, batch: torch.Tensor) -> None:
    nhwc = batch.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(nhwc, batch.flip(3)), model(batch, batch.flip(3)))


@needs_weights
def test_gradient_reaches_the_picture_and_not_the_weights(model: LPIPS, batch: torch.Tensor) -> None:
    for start in (batch.flip(3), batch, torch.zeros_like(batch), torch.ones_like(batch)):
        y = start.clone().requires_grad_()
        model(batch, y).sum().backward()
        assert y.grad is not None and y.grad.isfinite().all()
    assert not any(p.requires_grad for p in model.parameters())


@needs_weights
def test_distances_and_gradients_are_those_of_autograd(model: LPIPS, batch: torch.Tensor) -> None:
    x, y = batch.clone().requires_grad_(), batch.flip(3).clone().requires_grad_()
    value = model(x, y)
    found = torch.autograd.grad(value.sum(), (x, y))
    expected = model.distance(model.features(x), model.features(y))
    torch.testing.assert_close(value, expected)
    for a, b in zip(found, torch.autograd.grad(expected.sum(), (x, y)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6 * float(b.abs().max()))


@needs_weights
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_smallest_side(net: str) -> None:
    model, n = LPIPS(net, WEIGHTS), NETS[net].smallest
    assert model(torch.rand(1, 3, n, n + 5), torch.rand(1, 3, n, n + 5)).isfinite().all()
    with pytest.raises(ValueError, match=f"needs {n} pixels a side, got {n + 5}x{n - 1}$"):
        model.features(torch.rand(1, 3, n - 1, n + 5))


def test_smallest_side_of_vgg_without_its_weights() -> None:
    trunk = lpips.trunk_layers("vgg")
    n = NETS["vgg"].smallest
    assert trunk(torch.rand(1, 3, n, n)).shape == (1, 512, 1, 1)
    with pytest.raises(RuntimeError):
        trunk(torch.rand(1, 3, n - 1, n))


@needs_weights
@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.rand(1, 3, 64, 64) * 2 - 1, r"values in \[0, 1\], got -"),
        (torch.rand(1, 3, 64, 64) * 255, r"values in \[0, 1\], got"),
        (torch.full((1, 3, 64, 64), float("nan")), r"values in \[0, 1\], got nan"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "torch.uint8; divide 8-bit values by 255"),
        (torch.rand(3, 64, 64), r"\(N, 3, H, W\), got shape \(3, 64, 64\)"),
        (torch.rand(1, 1, 64, 64), r"\(N, 3, H, W\)"),
        (torch.rand(1, 64, 64, 3), r"\(N, 3, H, W\)"),
        (torch.rand(0, 3, 64, 64), r"\(N, 3, H, W\)"),
    ],
)
def test_wrong_input(picture: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LPIPS("alex", WEIGHTS)(picture, picture)


@needs_weights
def test_two_shapes(model: LPIPS, batch: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="two batches of one shape"):
        model(batch, batch[:, :, :60])


@needs_weights
def test_range_check_can_be_left_out_and_nothing_is_clamped(model: LPIPS, batch: torch.Tensor) -> None:
    over = batch * 1.2 - 0.1
    assert (model(batch, over, check=False) != model(batch, over.clamp(0, 1), check=False)).all()


@needs_weights
def test_bfloat16_autocast_stays_close(model: LPIPS, batch: torch.Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(batch, batch.flip(3))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, model(batch, batch.flip(3)), atol=0.01, rtol=0.05)


def test_unknown_net() -> None:
    with pytest.raises(ValueError, match="'resnet' is unknown; choose one of alex, squeeze, vgg"):
        LPIPS("resnet")


@pytest.mark.parametrize("net", list(NETS))
def test_taps_are_where_the_channels_say(net: str) -> None:
    h = torch.zeros(1, 3, 64, 64)
    channels = []
    for i, layer in enumerate(lpips.trunk_layers(net)):
        h = layer(h)
        if i in NETS[net].taps:
            channels.append(h.shape[1])
            assert (h >= 0).all()  # after the activation
    assert tuple(channels) == NETS[net].channels


def test_vgg_trunk_has_the_published_layout() -> None:
    """The values of VGG16 could not be verified, its layout can."""
    keys = lpips.trunk_layers("vgg").state_dict()
    assert [k for k in keys if k.endswith("weight")] == [
        f"{i}.weight" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    ]
    assert sum(v.numel() for v in keys.values()) == 14714688


# Where the weights come from


def folder_of(net: str, to: Path) -> Path:
    """A folder with random weights of the right names and shapes."""
    to.mkdir(parents=True, exist_ok=True)
    trunk = lpips.trunk_layers(net).state_dict()
    torch.save({f"features.{k}": v for k, v in trunk.items()}, to / NETS[net].trunk_file)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(NETS[net].channels)}
    torch.save(heads, to / NETS[net].head.name)
    return to


class Server:
    """Stands in for the network: serves bytes by address, counts what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        monkeypatch.setattr(urllib.request, "urlopen", self.open)

    def open(self, url: str, timeout: float) -> io.BytesIO:
        self.asked.append(url)
        if url not in self.files:
            raise OSError("no network here")
        return io.BytesIO(self.files[url])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.setattr(lpips_weights, "cache_folder", lambda: tmp_path / "cache")
    return Server(monkeypatch)


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """A server with an AlexNet of random weights (classifier included), and the table changed to match."""
    source = folder_of("alex", tmp_path / "source")
    net = NETS["alex"]
    whole = torch.load(source / net.trunk_file, weights_only=True) | {"classifier.1.weight": torch.rand(9, 9)}
    torch.save(whole, source / "whole.pth")
    trunk, head = ((source / n).read_bytes() for n in ("whole.pth", net.head.name))
    server.files = {net.trunk.url: trunk, net.head.url: head}
    monkeypatch.setitem(
        NETS,
        "alex",
        replace(
            net,
            trunk=replace(net.trunk, size=len(trunk), sha256=hashlib.sha256(trunk).hexdigest()),
            head=replace(net.head, size=len(head), sha256=hashlib.sha256(head).hexdigest()),
        ),
    )
    return server


def test_download_is_checked_trimmed_and_kept(published: Server, tmp_path: Path) -> None:
    x = torch.rand(1, 3, 40, 40)
    first = LPIPS("alex")
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["alex.pth", "alexnet-features.pth"]
    kept = torch.load(tmp_path / "cache" / "alexnet-features.pth", weights_only=True)
    assert all(k.startswith("features.") for k in kept)
    assert len(published.asked) == 2
    again = LPIPS("alex")
    assert len(published.asked) == 2
    torch.testing.assert_close(first(x, 1 - x), again(x, 1 - x))


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_wrong_download_is_refused_and_not_kept(
    published: Server, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    url = NETS["alex"].head.url
    published.files[url] = damage(published.files[url])
    with pytest.raises(ModelError, match="alex.pth is not the published file: .* expected"):
        LPIPS("alex")
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_says_how_to_supply_the_weights(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing) as e:
        LPIPS("squeeze")
    message = str(e.value)
    assert "\n" not in message and "no network here" in message and "pass weights=FOLDER" in message
    assert NETS["squeeze"].trunk.url in message and NETS["squeeze"].head.url in message
    assert str(tmp_path / "cache") in message


def test_no_download_when_not_wanted_or_a_folder_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing):
        LPIPS("alex", download=False)
    with pytest.raises(ToolMissing, match="are not in .*nowhere"):
        LPIPS("alex", tmp_path / "nowhere")
    assert server.asked == []


def test_torchvisions_own_file_name_is_taken(server: Server, tmp_path: Path) -> None:
    folder = folder_of("alex", tmp_path / "w")
    (folder / "alexnet-features.pth").rename(folder / "alexnet-owt-7be5be79.pth")
    head = torch.load(folder / "alex.pth", weights_only=True)
    torch.save(head, folder / "alex.pth", _use_new_zipfile_serialization=False)  # the published form
    LPIPS("alex", folder)
    assert server.asked == []


@pytest.mark.parametrize("content", [b"", b"not a torch file", b"PK\x03\x04 broken"])
@pytest.mark.parametrize("file", ["alexnet-features.pth", "alex.pth"])
def test_unreadable_weights(tmp_path: Path, file: str, content: bytes) -> None:
    folder = folder_of("alex", tmp_path / "w")
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=f"{file} cannot be read as torch weights"):
        LPIPS("alex", folder)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    folder = folder_of("alex", tmp_path / "w")
    torch.save({"features.0.weight": Path("/")}, folder / "alexnet-features.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        LPIPS("alex", folder)


def test_weights_of_another_net_or_shape(tmp_path: Path) -> None:
    folder = folder_of("alex", tmp_path / "w")
    (folder / "vgg16-features.pth").write_bytes((folder / "alexnet-features.pth").read_bytes())
    (folder / "vgg.pth").write_bytes((folder / "alex.pth").read_bytes())
    with pytest.raises(ModelError, match="vgg16-features.pth holds other weights: features.2.weight"):
        LPIPS("vgg", folder)
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, 7, 1, 1) for i in range(5)}, folder / "alex.pth")
    with pytest.raises(ModelError, match="alex.pth holds weights of another shape: .*weight"):
        LPIPS("alex", folder)
    torch.save([torch.rand(3)], folder / "alex.pth")
    with pytest.raises(ModelError, match="holds list where a table of tensors was expected"):
        LPIPS("alex", folder)


def test_published_files_are_named_after_their_hash() -> None:
    for net in NETS.values():
        assert len(net.trunk.sha256) == len(net.head.sha256) == 64
        digits = net.trunk.name.removesuffix(".pth").rsplit("-", 1)[1]
        assert net.trunk.sha256.startswith(digits)


def test_table_has_a_row_for_each_net() -> None:
    assert {f"lpips_{n}" for n in NETS} == {n for n in METRICS if n.startswith("lpips")}
    assert not any(METRICS[f"lpips_{n}"].higher_is_better for n in NETS)


@needs_weights
def test_a_reference_gives_the_same_values() -> None:
    from dpc.evaluation.metrics.reference import Reference

    x = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    y = 255 - x
    values = Reference(x, ["lpips_alex", "lpips_squeeze"], WEIGHTS).measure(y)
    for net in ("alex", "squeeze"):
        assert values[f"lpips_{net}"] == pytest.approx(lpips_distance(x, y, net, WEIGHTS), rel=1e-5)
    assert math.isnan(Reference(x[:20], ["lpips_alex"], WEIGHTS).measure(y[:20])["lpips_alex"])
