"""What a codec has seen: read from recipes, marked in heads, told in a note; unknown where nobody said."""

from __future__ import annotations

import pytest

from dpc.codec import artifact
from dpc.evaluation import codecs as baselines
from dpc.evaluation.independence import heading, leading, marked, names_of, note, of_metadata, seen_by
from dpc.evaluation.metrics.reference import NAMES


def metadata(*stages: dict[str, object], **recipe: object) -> dict[str, object]:
    return {"training": {"recipe": {"stages": list(stages), **recipe}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (metadata({"mse": 1.0}, selected_by=[]), "psnr"),
        (metadata({"mse": 1.0}), "psnr unknown"),
        (metadata({"mse": 0.0, "ms_ssim": 9.0}, selected_by=["dists"]), "dists ms_ssim ssim"),
        (metadata({"mse": 1}, {"lpips": 1, "lpips_nets": ["alex"]}, selected_by=[]), "lpips_alex psnr"),
        (metadata({"lpips": 0, "mse": 1, "lpips_nets": ["alex"]}, selected_by=[]), "psnr"),
        (metadata({"lpips": 1, "lpips_nets": ["vgg"]}, selected_by=[]), "dists lpips_vgg"),
        (metadata({"lpips": 1, "lpips_nets": ["resnet"]}, selected_by=["psnr"]), "psnr unknown"),
        (
            metadata({"mse": 1, "plain": 2}, selected_by=["unknown"]),
            "luma_below_4 luma_below_8 plain_025 plain_2 psnr unknown",
        ),
        (
            metadata({"mse": 1, "taught": True}, selected_by=["ssimulacra2"]),  # by dpc-7, and what that has seen
            "lpips_alex lpips_squeeze ms_ssim peak_16 peak_2 peak_4 peak_8 psnr ssim ssimulacra2 unknown",
        ),
        (
            metadata({"mse": 1, "teacher": 2.0}, selected_by=[]),
            "lpips_alex lpips_squeeze ms_ssim peak_16 peak_2 peak_4 peak_8 psnr ssim unknown",
        ),
        ({}, "unknown"),
        ({"training": {"recipe": "a name"}}, "unknown"),
    ],
)
def test_what_a_recipe_says(given: dict[str, object], expected: str) -> None:
    assert of_metadata(given) == expected


def test_the_released_model_says_its_losses() -> None:
    found, unknown = names_of(of_metadata(artifact.metadata_of(artifact.find(None))))
    assert {"lpips_alex", "ms_ssim", "psnr"} <= found <= set(NAMES) and "dists" not in found
    assert isinstance(unknown, bool)


def test_every_codec_here_says_what_it_has_seen() -> None:
    for name in baselines.NAMES:
        if baselines.missing(name) is None:
            found, _ = names_of(baselines.get(name).seen)  # type: ignore[attr-defined]
            assert found <= set(NAMES), name


def test_columns_that_are_independent_lead_and_the_others_are_marked() -> None:
    cells = {"dpc": "lpips_alex psnr unknown", "jpeg": "none", "avif": "ssimulacra2", "bpg": "unknown"}
    names = ["psnr", "lpips_alex", "dists", "ssimulacra2", "plain_2"]
    assert leading(names, cells) == ["dists", "plain_2", "psnr", "lpips_alex", "ssimulacra2"]
    assert heading("PSNR", "psnr", cells) == "PSNR †" and heading("DISTS", "dists", cells) == "DISTS"
    assert seen_by(cells)["psnr"] == ["dpc"]
    more = {
        **cells,
        "heic": "psnr",
        "hevc": "psnr",
    }  # of those that somebody has seen, the ones that few have come first
    assert leading(names, more) == ["dists", "plain_2", "lpips_alex", "ssimulacra2", "psnr"]
    assert [marked("27.1", "psnr", cells[codec]) for codec in cells] == ["27.1†", "27.1", "27.1", "27.1"]
    assert marked("–", "psnr", "psnr") == "–"
    assert note(names, cells) == (
        "†: not independent, as a codec was trained on it or selected by it: dpc (psnr, lpips_alex); "
        "avif (ssimulacra2). What they were selected by is unknown: dpc, bpg."
    )
    assert note(names, {"jpeg": "none"}) == "" and names_of("") == (frozenset(), True)
