"""DPC's own network behind the protocol of the earlier codecs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from paths import ROOT

torch = pytest.importorskip("torch")

from trainings import NETWORK  # noqa: E402

from dpc.codec.image import load as load_picture  # noqa: E402
from dpc.errors import Corrupt, FormatError, ModelError, OptionError  # noqa: E402
from dpc.evaluation import codecs as baselines  # noqa: E402
from dpc.networks.earlier import stream  # noqa: E402
from dpc.networks.earlier.checkpoint import load  # noqa: E402
from dpc.networks.earlier.protocol import padded  # noqa: E402
from dpc.networks.own import Own  # noqa: E402

RECIPE = {"name": "small", "stages": [{"share": 1.0, "mse": 1.0}], "selected_by": [], "network": asdict(NETWORK)}


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return load_picture(ROOT / "demo" / "photo.png").rgb[:height, :width].copy()


def tensor(rgb: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255


def trained() -> Own:
    """A small network, a wavelet codec whose means, scales and steps depend on what was decoded before."""
    torch.manual_seed(4)
    codec = Own(NETWORK)
    codec.model.start_from_wavelet([tensor(picture(256, 256))], torch.logspace(-0.3, -1.7, 8))
    with torch.no_grad():
        for name, value in codec.model.named_parameters():
            if name.startswith(("means.", "scales.", "h_a.")):
                value += 0.03 * torch.randn_like(value)
    codec.update()
    return codec


@pytest.fixture(scope="module")
def own() -> Own:
    return trained()


@pytest.fixture
def weights(own: Own, tmp_path: Path) -> Path:
    """A file as `dpc train` writes it."""
    state: dict[str, Any] = {"ema": own.model.state_dict(), "recipe": json.dumps(RECIPE), "crops": 64, "checkpoint": 1}
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70), (65, 64), (70, 131)])
@pytest.mark.parametrize("quality", [1, 40, 100])
def test_the_decoded_picture_is_forwards(own: Own, height: int, width: int, quality: int) -> None:
    own.quality = quality
    rgb = picture(height, width)
    data = own.compress(rgb)
    with torch.inference_mode():
        x_hat = own(padded(tensor(rgb), own.stride)).x_hat
    own.quality = 7  # decoding takes it from the file
    decoded = own.decompress(data)
    expected = x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    assert decoded.shape == rgb.shape
    assert np.abs(decoded - expected).max() <= 1
    assert decoded.std() > 0 or decoded.size < 10


@pytest.mark.parametrize("quality", [40, 100])
def test_estimated_bits_are_those_of_the_file_and_nearly_those_of_the_training(own: Own, quality: int) -> None:
    own.quality = quality
    rgb = picture(256, 320)
    with torch.inference_mode():
        estimated = own(tensor(rgb)).bits
        seen = own.model(tensor(rgb), own._cells(quality, 256, 320))
    assert estimated.shape == (1,)
    assert 8 * len(own.compress(rgb)) == pytest.approx(estimated.item(), rel=0.02)
    assert (seen.bits_y + seen.bits_z).item() == pytest.approx(estimated.item(), rel=0.02)


def test_bits_are_of_each_sample_and_a_training_sees_both_terms(own: Own) -> None:
    x = torch.cat([tensor(picture(64, 64)), tensor(picture(128, 64)[64:])])
    with torch.inference_mode():
        both, single = own(x).bits, [own(x[k : k + 1]).bits for k in (0, 1)]
    assert both.tolist() == pytest.approx(torch.cat(single).tolist(), rel=1e-4)
    fresh = trained().train()
    out = fresh(x)
    assert out.bits.shape == (2,)
    (out.bits.sum() + out.x_hat.square().sum()).backward()
    assert all(part.weight.grad.any() for part in (fresh.model.g_a.leave, fresh.model.h_a.c, fresh.model.g_s.leave))
    with pytest.raises(ModelError, match=r"update\(\) first"):
        fresh.compress(picture(2, 2))


def test_damage_is_one_line(own: Own) -> None:
    own.quality = 40
    data = own.compress(picture(64, 64))
    height, width, parts = stream.unpack(data, own.identity)
    for at in range(0, len(data), max(1, len(data) // 20)):
        with pytest.raises(FormatError):
            own.decompress(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    quality, body = parts
    faulty = [[quality], [*parts, b""], [b"", body], [b"\x00", body], [b"\xff", body], [quality, b""]]
    faulty += [[quality, body[:-4]], [quality, body + body]]
    for some in faulty:  # sealed with a sound CRC-32
        with pytest.raises(Corrupt) as caught:
            own.decompress(stream.pack(own.identity, height, width, some))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quality", [0, 101, 2.5])
def test_a_quality_out_of_range_is_one_line(own: Own, quality: Any) -> None:
    with pytest.raises(OptionError, match="1 to 100"):
        own.quality = quality


def test_a_file_of_dpc_train_is_a_codec(own: Own, weights: Path) -> None:
    codec, about = load(weights)
    assert isinstance(codec, Own) and about["recipe"]["name"] == "small"
    assert codec.identity == own.identity
    torch.save({"ema": {}, "recipe": json.dumps(RECIPE)}, weights)
    with pytest.raises(ModelError, match="does not fit its kind"):
        load(weights)


def test_a_benchmark_takes_it_at_all_its_qualities(weights: Path) -> None:
    codec = baselines.get(f"learned:{weights}")
    assert (codec.name, list(codec.qualities)) == ("learned:small", list(range(1, 101)))
    assert codec.settings == "recipe small: all rates, 64 crops; one thread"
    assert codec.seen == "psnr"  # type: ignore[attr-defined]
    rgb = picture(96, 128)
    files = [codec.encode(rgb, quality) for quality in (20, 50, 90)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    errors = [np.square(codec.decode(data).astype(float) - rgb).mean() for data in files]
    assert errors[0] > errors[1] > errors[2]


def test_weights_of_all_rates_stand_alone(weights: Path) -> None:
    (weights.parent / "other.pt").write_bytes(weights.read_bytes())
    weights.rename(weights.parent / "one.pt")
    with pytest.raises(OptionError, match="name one file"):
        baselines.get(f"learned:{weights.parent}")
