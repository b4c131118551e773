"""learned:PATH: earlier learned codecs by their weights, alone and in a benchmark."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpc.errors import FormatError, ModelError, OptionError, UnknownModel
from dpc.evaluation import codecs as baselines
from dpc.evaluation import independence
from dpc.networks.earlier.checkpoint import save
from dpc.networks.earlier.protocol import make

RECIPE: dict[str, Any] = {
    "name": "small",
    "loss": {"mse": 0.0, "ms_ssim": 60.0, "lpips": 2.5, "lpips_nets": ["alex"], "lpips_shift": 8},
    "rate": {"beta": 0.5, "target": 1.25},
    "crops": 60000,
    "selected_by": ["psnr"],
}


def weights(path: Path, kind: str = "factorised", *, seed: int = 0, spread: float = 30.0, about: Any = None) -> Path:
    """A small codec with random weights; a larger spread of its latents takes more bytes."""
    torch.manual_seed(seed)
    codec = make(kind, filters=4, latents=6)
    with torch.no_grad():
        codec.g_a[-1].weight *= spread
    save(path, codec, {"recipe": RECIPE} if about is None else about)
    return path


def picture(height: int = 40, width: int = 50) -> baselines.Rgb:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_file_is_a_codec_of_one_quality(tmp_path: Path) -> None:
    codec = baselines.get(f"learned:{weights(tmp_path / 'w.pt')}")
    assert (codec.name, list(codec.qualities)) == ("learned:small", [1])
    assert codec.settings == (
        "recipe small: ms_ssim 60, lpips 2.5, beta 0.5, target 1.25, nets alex, 60000 crops; one thread"
    )
    assert codec.version.startswith("factorised, weights ") and codec.model[:16] in codec.version  # type: ignore[attr-defined]
    assert codec.seen == "lpips_alex ms_ssim psnr ssim"  # type: ignore[attr-defined]
    image = picture()
    data = codec.encode(image, 1)
    assert codec.decode(data).shape == image.shape
    with pytest.raises(OptionError, match="takes a quality of 1 to 1, not 2"):
        codec.encode(image, 2)


def test_a_folder_is_a_codec_of_several_rates_lowest_first(tmp_path: Path) -> None:
    folder = tmp_path / "twins"
    folder.mkdir()
    for name, spread, bpp in (("a", 3e4, 0.9), ("b", 30.0, 0.1), ("c", 3e3, 0.4)):
        weights(
            folder / f"{name}.pt", spread=spread, about={"recipe": RECIPE | {"name": name}, "held_out": {"bpp": bpp}}
        )
    codec = baselines.get(f"learned:{folder}")
    assert (codec.name, list(codec.qualities)) == ("learned:twins", [1, 2, 3])
    assert [part.split(":")[0] for part in codec.settings.split("; ")[:3]] == ["recipe b", "recipe c", "recipe a"]
    image = picture()
    files = [codec.encode(image, q) for q in (1, 2, 3)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    decoded = [codec.decode(data) for data in files]
    assert not np.array_equal(decoded[0], decoded[2])
    alone = baselines.get(f"learned:{folder / 'c.pt'}")
    assert np.array_equal(alone.decode(files[1]), decoded[1])
    with pytest.raises(FormatError, match="none of learned:c"):
        alone.decode(files[0])


def test_what_names_no_codec_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a folder of them"):
        baselines.get("learned:")
    with pytest.raises(OptionError, match="names no weights"):
        baselines.get(f"learned:{tmp_path}")
    with pytest.raises(UnknownModel, match="cannot be read"):
        baselines.get(f"learned:{tmp_path / 'none.pt'}")
    (tmp_path / "w.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a file of weights"):
        baselines.get(f"learned:{tmp_path / 'w.pt'}")
    weights(tmp_path / "w.pt")
    weights(tmp_path / "v.pt", "joint")
    with pytest.raises(OptionError, match="several kinds"):
        baselines.get(f"learned:{tmp_path}")
    with pytest.raises(OptionError, match="learned:PATH"):
        baselines.get("learnt:x")


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        ({}, "unknown"),
        ({"loss": {"mse": 0.01}, "selected_by": []}, "psnr"),
        ({"loss": {"mse": 0.01}}, "psnr unknown"),
        ({"loss": {"lpips": 1, "lpips_nets": ["vgg"]}, "selected_by": ["ssimulacra2"]}, "dists lpips_vgg ssimulacra2"),
        ({"loss": {"lpips": 0, "lpips_nets": ["vgg"], "ms_ssim": 1}, "selected_by": []}, "ms_ssim ssim"),
        ({"loss": {"lpips": 1, "lpips_nets": ["resnet"]}, "selected_by": []}, "unknown"),
    ],
)
def test_what_a_codec_has_seen_follows_from_its_recipe(recipe: dict[str, Any], seen: str) -> None:
    assert independence.of_recipes([recipe]) == seen


def test_weights_that_it_began_with_count(tmp_path: Path) -> None:
    before = {"loss": {"lpips": 1, "lpips_nets": ["squeeze"]}, "selected_by": []}
    about = {"recipe": {"name": "late", "loss": {"mse": 1}, "selected_by": []}, "before": [before]}
    codec = baselines.get(f"learned:{weights(tmp_path / 'w.pt', about=about)}")
    assert codec.seen == "lpips_squeeze psnr"  # type: ignore[attr-defined]


def test_all_rates_of_a_folder_have_been_seen() -> None:
    one = {"loss": {"mse": 1}, "selected_by": []}
    assert independence.of_recipes([one, {"loss": {"ms_ssim": 1}, "selected_by": []}]) == "ms_ssim psnr ssim"


def test_a_benchmark_measures_it_and_says_what_it_is(tmp_path: Path) -> None:
    from dpc.evaluation.compression import run

    (tmp_path / "pictures").mkdir()
    Image.fromarray(picture(64, 80)).save(tmp_path / "pictures" / "p.png")
    path = weights(tmp_path / "w.pt")
    plan = run.Plan(codecs=(f"learned:{path}",), qualities={"": (1.0,)}, metrics=("psnr",))
    result = run.bench(plan, tmp_path / "pictures", tmp_path / "out")
    (row,) = list(csv.DictReader(open(tmp_path / "out" / "rows.csv", encoding="utf-8")))
    codec = baselines.get(f"learned:{path}")
    assert (row["codec"], row["model"]) == ("learned:small", codec.model)  # type: ignore[attr-defined]
    assert row["seen"] == "lpips_alex ms_ssim psnr ssim"
    assert row["settings"].startswith("recipe small") and row["version"].startswith("factorised")
    data = codec.encode(picture(64, 80), 1)
    assert int(row["bytes"]) == len(data)
    error = np.mean((codec.decode(data).astype(float) - picture(64, 80)) ** 2)
    assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    assert not result.failures
