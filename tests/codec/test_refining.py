"""Latents that are improved for one picture: nearer to it in as many bytes, within every limit, without seams."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from paths import ROOT
from PIL import Image

from dpc.codec import container, refining, tiles
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec
from dpc.codec.quality_map import Levels, activity
from dpc.codec.stream import StreamCoder
from dpc.codec.timing import Clock
from dpc.codec.transforms import Transforms

UInt8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(threads=1)


@pytest.fixture(scope="module")
def photo() -> UInt8:
    with Image.open(ROOT / "demo" / "photo.png") as picture:
        return np.asarray(picture.convert("RGB"))[100:292, 100:356].copy()


def parts(codec: Codec) -> tuple[Transforms, StreamCoder]:
    networks = Transforms(codec.artifact, Clock("network", "entropy", "file"))
    return networks, StreamCoder(networks, Clock("network", "entropy", "file"))


def decoded(codec: Codec, data: bytes) -> UInt8:
    rgb: UInt8 = codec.decode(data, as_array=True)
    return rgb


@pytest.mark.parametrize("bpp", [0.2, 0.5])
def test_at_equal_bytes_the_picture_is_nearer(
    codec: Codec, photo: UInt8, bpp: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = int(bpp * photo.shape[0] * photo.shape[1] / 8)
    after = codec.encode(photo, max_bytes=size, lossless=False)
    monkeypatch.setattr(refining, "STEPS", 0)
    before = codec.encode(photo, max_bytes=size, lossless=False)
    assert len(after) <= size and len(before) <= size
    weights = 1 / (activity(photo @ np.array([0.299, 0.587, 0.114], np.float32)) + 8)
    errors = [np.square(decoded(codec, data).astype(float) - photo).mean(2) for data in (before, after)]
    assert errors[1].mean() < errors[0].mean()
    assert (weights * errors[1]).sum() < 0.97 * (weights * errors[0]).sum()


def test_fast_leaves_it_out(codec: Codec, photo: UInt8, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = codec.encode(photo, quality=30, fast=True)
    assert codec.encode(photo, quality=30) != quick
    monkeypatch.setattr(refining, "refined", None)
    assert codec.encode(photo, quality=30, fast=True) == quick


def test_a_model_without_a_gradient_encodes_as_before(photo: UInt8, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Artifact(ROOT / "tests" / "data" / "bytes.dpcmodel")
    assert not model.refines
    monkeypatch.setattr(refining, "refined", None)
    assert container.peek(Codec(model).encode(photo, quality=30)).level is not None


def test_no_limit_is_gone_beyond(codec: Codec, photo: UInt8) -> None:
    """The smallest file may grow by it; then it stays as it was."""
    smallest = len(codec.encode(photo, quality=1, fast=True))
    for most in range(smallest, smallest + 60, 12):
        assert len(codec.encode(photo, max_bytes=most, lossless=False)) <= most


@pytest.mark.parametrize(("pixels", "steps"), [(1, 4), (1_500_000, 4), (1_500_001, 3), (6_000_000, 1), (6_000_001, 0)])
def test_large_pictures_get_fewer_steps(pixels: int, steps: int) -> None:
    assert refining.steps_for(pixels) == steps


def test_the_steepness_is_that_of_the_bits() -> None:
    off = np.linspace(-6, 6, 49, dtype=np.float64)
    for scale in (0.2, 1.0, 7.0):

        def bits(v: Any, scale: float = scale) -> Any:
            return -np.log2(1 / (1 + np.exp((np.abs(v) - 0.5) / scale)) - 1 / (1 + np.exp((np.abs(v) + 0.5) / scale)))

        there = np.abs(off) > 0.01
        wanted = (bits(off + 1e-4) - bits(off - 1e-4)) / 2e-4
        np.testing.assert_allclose(refining.steepness(off, np.float64(scale))[there], wanted[there], rtol=1e-3)


@pytest.mark.parametrize("deltas", [None, np.array([[3, -2], [0, 1]], np.int32)])
def test_tiles_leave_no_seams(
    codec: Codec, photo: UInt8, deltas: npt.NDArray[np.int32] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.concatenate([photo, photo[:, ::-1]], 1)[:96]
    networks, streams = parts(codec)
    deltas = None if deltas is None else np.tile(deltas, (1, 4))
    levels = Levels(150, 448, deltas)
    y = networks.analyse(wide, lambda share: None)
    counted = refining._counted(wide, *y.shape[1:])
    whole = refining._slope(y, counted, levels, networks, streams, lambda _: None)
    monkeypatch.setattr(tiles, "SIDE", 12)
    assert len(list(networks.tiles(*y.shape[1:]))) > 1
    pieces = refining._slope(y, counted, levels, networks, streams, lambda _: None)
    assert np.abs(whole).max() > 0
    assert np.abs(whole - pieces).max() < 1e-3 * np.abs(whole).max()


def test_what_is_beyond_the_border_counts_nothing(codec: Codec, photo: UInt8) -> None:
    """Half of the last row and column of positions is not in the picture."""
    cut = photo[:72, :136]
    counted = refining._counted(cut, 5, 9)
    assert counted.target.shape == (48, 20, 36) and counted.eight.shape == (1, 10, 18)
    assert not counted.pixel[:, 18:].any() and not counted.pixel[:, :, 34:].any()
    assert counted.pixel[:, :18, :34].all()
    np.testing.assert_array_equal(counted.target[16 + 5, 3, 7], cut[3 * 4 + 1, 7 * 4 + 1, 1])
    data = codec.encode(cut, quality=40, lossless=False)
    assert decoded(codec, data).shape == cut.shape
