"""The codec: round trips, targets, options, sources, tiles, damage, limits."""

from __future__ import annotations

import io
import itertools
import os
import random
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT, SHARED, needs
from pictures import profile_of
from PIL import Image

import dpc
from dpc import api
from dpc.codec import artifact, codec, container, image, installed, lossless, opacity, stream, tiles, transforms
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec
from dpc.codec.container import DPCFile
from dpc.errors import (
    Corrupt,
    DPCError,
    FormatError,
    ImageError,
    ModelError,
    OptionError,
    TooLarge,
    Truncated,
    UnknownModel,
    UnsupportedVersion,
    WrongModel,
)

UInt8 = npt.NDArray[np.uint8]

PHOTO = ROOT / "demo" / "photo.png"
KODAK = SHARED / "data" / "kodak"


class Learned(Codec):
    """Never stores a picture without loss, so that small and flat ones test the learned body too."""

    def encode(self, source: Any, **options: Any) -> bytes:
        return super().encode(source, **({"lossless": False} | options))


TINY = Learned(Artifact(make_tiny.MODEL, 1))
TWO_THREADS = Learned(make_tiny.MODEL, threads=2)
MODELS = {"tiny": make_tiny.MODEL, **artifact.released()}
NAMES = sorted(path.stem for path in make_tiny.GOLDEN.glob("*.dpc"))


def golden(name: str) -> bytes:
    return (make_tiny.GOLDEN / f"{name}.dpc").read_bytes()


def photo(width: int, height: int) -> Image.Image:
    return Image.open(PHOTO).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def content(kind: str, height: int, width: int) -> UInt8:
    if kind == "photo":
        return np.asarray(photo(width, height))
    if kind == "noise":
        return make_tiny.noise(height, width, 3)
    if kind == "grey":
        return make_tiny.noise(height, width)
    if kind == "alpha":
        return make_tiny.noise(height, width, 4)
    if kind == "flat":
        return np.full((height, width, 3), (255, 0, 127), np.uint8)
    return np.indices((height, width)).sum(0, dtype=np.uint8)[:, :, None] % 2 * np.full(3, 255, np.uint8)


def png(picture: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", **options)
    return out.getvalue()


def packed(file: DPCFile, **changes: Any) -> bytes:
    return container.pack(replace(file, **changes))


def sealed(data: bytes | bytearray) -> bytes:
    """The file with the checksum that its content has."""
    return bytes(data[:-4]) + zlib.crc32(data[:-4]).to_bytes(4, "little")


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation whose only model is the tiny one, under the default's name."""
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / f"{artifact.DEFAULT}.dpcmodel"
    path.write_bytes(make_tiny.MODEL.read_bytes())
    monkeypatch.setattr(artifact.resources, "files", lambda package: tmp_path)
    installed.forget()
    api._codec.cache_clear()
    yield path
    installed.forget()
    api._codec.cache_clear()


# round trips


KINDS = ["photo", "noise", "grey", "alpha", "flat", "checks"]


def round_trip(pixels: UInt8, quality: float) -> None:
    data = TINY.encode(pixels, quality=quality)
    file = container.unpack(data)
    assert (file.width, file.height) == pixels.shape[1::-1]
    assert file.grey == (pixels.ndim == 2)
    got, wanted = make_tiny.held(TINY, data), TINY.latents(pixels, quality)
    for kind in ("z", "r", "z_index", "index"):
        np.testing.assert_array_equal(getattr(got, kind), getattr(wanted, kind))
    assert (got.r[got.index == 0] == 0).all()
    decoded = TINY.decode(data, as_array=True)
    assert (decoded.shape, decoded.dtype) == (pixels.shape, np.uint8)
    if pixels.shape[2:] == (4,):
        np.testing.assert_array_equal(decoded[:, :, 3], pixels[:, :, 3])


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from(KINDS), st.floats(1, 100))
def test_round_trip(height: int, width: int, kind: str, quality: float) -> None:
    round_trip(content(kind, height, width), quality)


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 50), (50, 1), (16, 16), (63, 64), (65, 64), (101, 67), (199, 197), (2999, 3), (2, 3001)],
)
def test_round_trip_of_odd_sizes(width: int, height: int) -> None:
    round_trip(content("photo", height, width), 50)


@settings(max_examples=15)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(KINDS), st.floats(1, 100))
def test_the_same_picture_gives_the_same_bytes(height: int, width: int, kind: str, quality: float) -> None:
    pixels = content(kind, height, width)
    data = TINY.encode(pixels, quality=quality)
    assert TINY.encode(pixels.copy(), quality=quality) == data
    assert TWO_THREADS.encode(pixels, quality=quality) == data


@pytest.mark.parametrize("name", MODELS)
def test_the_picture_comes_back(name: str) -> None:
    one = Learned(MODELS[name], threads=1)
    picture = photo(300, 200)
    errors = []
    for quality in (1, 50, 100):
        decoded = one.decode(one.encode(picture, quality=quality), as_array=True)
        errors.append(float(np.square(np.asarray(picture, float) - decoded).mean()))
    assert errors[2] < errors[1] < errors[0] < 1500
    assert name == "tiny" or errors[2] < 60


# targets


def test_the_size_rises_with_the_quality() -> None:
    sizes = [len(TINY.encode(PHOTO, quality=quality)) for quality in range(1, 101, 9)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] > 3 * sizes[0]


def test_the_default_quality() -> None:
    assert TINY.encode(PHOTO) == TINY.encode(PHOTO, quality=40) == TINY.encode(PHOTO, quality=codec.DEFAULT_QUALITY)


def test_qualities_are_levels() -> None:
    assert [TINY.level(quality) for quality in (1, 50.5, 100)] == [0, 224, 448]
    assert container.unpack(TINY.encode(np.zeros((9, 9, 3), np.uint8), quality=50.5)).level == 224


@pytest.mark.parametrize("share", [0.0, 0.31, 0.8, 1.0])
def test_bpp_is_the_nearest_there_is(share: float) -> None:
    pixels = 451 * 300
    low, high = (8 * len(TINY.encode(PHOTO, quality=q)) / pixels for q in (1, 100))
    target = low + share * (high - low)
    data = TINY.encode(PHOTO, bpp=target)
    level = container.unpack(data).level
    nearest = abs(8 * len(data) / pixels - target)
    for other in {max(level - 1, 0), min(level + 1, 448)}:
        there = 8 * len(TINY.encode(PHOTO, quality=1 + 99 * other / 448)) / pixels
        assert nearest <= abs(there - target) + 0.01 * target  # sizes are estimated, to 1 %
    assert nearest <= 0.015 * target


def test_bpp_outside_the_range_gives_its_ends() -> None:
    assert TINY.encode(PHOTO, bpp=1e-9) == TINY.encode(PHOTO, quality=1)
    assert TINY.encode(PHOTO, bpp=1e9) == TINY.encode(PHOTO, quality=100)


@settings(max_examples=12)
@given(st.floats(0, 1))
def test_max_bytes_is_kept_and_used(share: float) -> None:
    low, high = (len(TINY.encode(PHOTO, quality=quality)) for quality in (1, 100))
    limit = round(low + share * (high - low))
    assert 0.97 * limit <= len(TINY.encode(PHOTO, max_bytes=limit)) <= limit


def test_max_bytes_counts_every_chunk() -> None:
    picture = png(Image.fromarray(make_tiny.noise(64, 64, 4)), icc_profile=profile_of("RGB"))
    top = len(TINY.encode(picture, quality=100))
    for limit in (top - 100, top, 10 * top):
        assert len(TINY.encode(picture, max_bytes=limit)) <= limit
    assert TINY.encode(picture, max_bytes=10 * top) == TINY.encode(picture, quality=100)


def test_max_bytes_on_small_pictures() -> None:
    for size in (1, 20, 70):
        pixels = content("photo", size, size)
        sizes = [len(TINY.encode(pixels, quality=1 + 99 * level / 448)) for level in range(0, 449, 64)]
        for limit in range(sizes[0], max(sizes), 50):
            assert len(TINY.encode(pixels, max_bytes=limit)) <= limit


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0.5}, "quality=0.5: it runs from 1"),
        ({"quality": 100.5}, "quality=100.5: it runs from 1"),
        ({"quality": float("nan")}, "quality=nan is not a number"),
        ({"quality": float("inf")}, "quality=inf is not a number"),
        ({"quality": "high"}, "quality='high' is not a number"),
        ({"quality": True}, "quality=True is not a number"),
        ({"bpp": 0}, "bpp=0: give more than 0"),
        ({"bpp": -1.0}, "bpp=-1.0: give more than 0"),
        ({"bpp": float("nan")}, "bpp=nan is not a number"),
        ({"max_bytes": 0}, "max_bytes=0: give at least 1"),
        ({"max_bytes": -5}, "max_bytes=-5: give at least 1"),
        ({"max_bytes": 40}, "max_bytes=40: at quality 1 this 9x9 picture"),
        ({"quality": 40, "bpp": 0.2}, "quality and bpp exclude each other"),
        ({"quality": 40, "max_bytes": 2000}, "quality and max_bytes exclude each other"),
        ({"bpp": 0.2, "max_bytes": 2000}, "bpp and max_bytes exclude each other"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        TINY.encode(content("photo", 9, 9), **options)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5])
def test_bad_threads(threads: Any) -> None:
    with pytest.raises(OptionError, match=f"threads={threads!r}: give 1 to"):
        Codec(make_tiny.MODEL, threads=threads)


@pytest.mark.parametrize("call", [TINY.decode, dpc.decode, dpc.inspect])
def test_what_is_no_file_at_all(call: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none.dpc cannot be opened: No such file.*; give the path of a .dpc file"):
        call(tmp_path / "none.dpc")
    with pytest.raises(FormatError, match="cannot be opened: Is a directory"):
        call(str(tmp_path))
    for other in (None, 5, io.StringIO("text")):
        with pytest.raises(OptionError, match="is no .dpc file; give bytes, a path or a binary file object"):
            call(other)


def test_too_few_bytes_name_what_takes_them() -> None:
    picture = Image.new("RGB", (64, 64), "red")
    with pytest.raises(
        OptionError, match=r"64x64 picture and the header take \d+ bytes; allow at least that, or scale"
    ):
        TINY.encode(picture, max_bytes=1)
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)))
    with pytest.raises(OptionError, match=r"64x64 picture, its alpha and the header take"):
        TINY.encode(picture, max_bytes=1)


def test_numpy_numbers_are_numbers() -> None:
    pixels = content("photo", 9, 9)
    assert (
        TINY.encode(pixels, quality=np.float32(40)) == TINY.encode(pixels, quality=np.int64(40)) == TINY.encode(pixels)
    )


# sources and results


def test_every_source_of_a_picture_is_taken(tmp_path: Path) -> None:
    pixels = content("photo", 40, 50)
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(pixels)))
    data = TINY.encode(pixels)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(pixels)):
        assert TINY.encode(source) == data
    with path.open("rb") as file:
        assert TINY.encode(file) == data


def test_every_source_of_a_file_is_taken(tmp_path: Path) -> None:
    data = golden("photo")
    picture = TINY.decode(data)
    path = tmp_path / "a.dpc"
    path.write_bytes(data)
    for source in (path, str(path), bytearray(data), memoryview(data), io.BytesIO(data)):
        assert TINY.decode(source) == picture
    with path.open("rb") as file:
        assert TINY.decode(file) == picture


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_mode_comes_back(mode: str) -> None:
    picture = photo(40, 30).convert(mode)
    if mode[-1] == "A":
        picture.putalpha(Image.fromarray(make_tiny.noise(30, 40)))
    data = TINY.encode(picture)
    decoded, pixels = TINY.decode(data), TINY.decode(data, as_array=True)
    assert (decoded.mode, decoded.size) == (mode, (40, 30))
    assert pixels.shape == (30, 40, len(mode))[: 2 + (mode != "L")]
    np.testing.assert_array_equal(np.asarray(decoded), pixels)
    pixels[:] = 0  # the caller's own
    assert TINY.decode(data) == decoded
    if mode[-1] == "A":
        np.testing.assert_array_equal(np.asarray(decoded)[..., -1], make_tiny.noise(30, 40))


def test_profile_and_exif_are_kept() -> None:
    source, quality = make_tiny.pictures()["profile-exif"]
    picture = TINY.decode(TINY.encode(source, quality=quality))
    assert picture.size == (48, 64)  # turned upright
    assert picture.info["icc_profile"] == profile_of("RGB")
    assert picture.getexif()[0x0112] == 1
    bare = TINY.encode(source, quality=quality, exif=False)
    assert "exif" not in TINY.decode(bare).info
    assert TINY.decode(bare).info["icc_profile"] == picture.info["icc_profile"]
    assert container.unpack(bare).body == container.unpack(TINY.encode(source, quality=quality)).body


def test_times_are_told() -> None:
    one = Codec(make_tiny.MODEL, threads=1)
    for call in (lambda: one.encode(PHOTO), lambda: one.encode(PHOTO, bpp=0.3), lambda: one.decode(golden("photo"))):
        start = time.perf_counter()
        call()
        taken = time.perf_counter() - start
        assert set(one.times) == {"network", "entropy", "file"}
        assert all(seconds > 0 for seconds in one.times.values())
        assert sum(one.times.values()) <= taken


def test_progress_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SIDE", 24)
    pixels = content("photo", 500, 400)
    for call in (lambda p: TINY.encode(pixels, progress=p), lambda p: TINY.decode(TINY.encode(pixels), progress=p)):
        seen: list[float] = []
        call(seen.append)
        assert len(seen) > 2
        assert seen == sorted(seen)
        assert 0 < seen[0] < seen[-1] == 1


def test_progress_goes_on_while_latents_are_refined() -> None:
    for fast, least in ((False, 3), (True, 0)):
        seen: list[float] = []
        Codec(threads=1).encode(content("photo", 96, 64), lossless=False, fast=fast, progress=seen.append)
        assert seen == sorted(seen) and seen[-1] == 1
        assert sum(0.2 < share < 0.95 for share in seen[1:]) >= least


# the functions


def test_the_functions_use_the_installed_model(released: Path) -> None:
    source, quality = make_tiny.pictures()["photo"]
    data = golden("photo")
    assert dpc.encode(source, quality=quality) == data
    assert dpc.encode(source, quality=quality, model=artifact.DEFAULT, threads=1) == data
    assert dpc.encode(source, quality=quality, model=make_tiny.MODEL) == data
    assert np.abs(dpc.decode(data, as_array=True) - TINY.decode(data, as_array=True).astype(int)).max() <= 1
    assert dpc.decode(io.BytesIO(data)).size == dpc.decode(make_tiny.GOLDEN / "photo.dpc", threads=2).size == (96, 80)
    assert len(dpc.encode(source, max_bytes=500)) <= 500
    with pytest.raises(UnknownModel, match="there is no model 'dpc-9'"):
        dpc.encode(source, model="dpc-9")
    (model,) = dpc.models()
    assert (model.name, model.id, model.default) == (artifact.DEFAULT, TINY.artifact.identity, True)
    assert (model.path, model.bytes) == (str(released), released.stat().st_size)


def test_inspect(released: Path) -> None:
    data = golden("profile-exif")
    info = dpc.inspect(data)
    assert (info.width, info.height, info.mode) == (48, 64, "RGB")
    assert (info.model, info.model_id) == (artifact.DEFAULT, TINY.artifact.id.hex())
    assert (info.quality, info.level) == (1, 0)
    assert (info.bytes, info.bpp) == (len(data), 8 * len(data) / 48 / 64)
    assert info.chunks.keys() == {"body", "icc", "exif"}
    assert sum(info.chunks.values()) + 30 > len(data)
    assert dpc.inspect(make_tiny.GOLDEN / "alpha.dpc").mode == "RGBA"
    grey = dpc.inspect(io.BytesIO(golden("grey")))
    assert (grey.mode, grey.quality) == ("L", pytest.approx(60, abs=0.2))


def test_a_file_of_a_model_that_is_not_installed(released: Path) -> None:
    data = packed(container.unpack(golden("photo")), model=b"\1\2\3\4")
    match = rf"made with model 01020304, which is not installed \(installed: {artifact.DEFAULT} .*dpc models add FILE$"
    with pytest.raises(UnknownModel, match=match):
        dpc.decode(data)
    known = packed(container.unpack(golden("photo")), model=bytes.fromhex(next(iter(installed.KNOWN))))
    with pytest.raises(UnknownModel, match=r"made with model (dpc-\d+) \(\w{8}\).*dpc models add \1.dpcmodel$"):
        dpc.decode(known)
    info = dpc.inspect(data)
    assert (info.model, info.model_id) == (None, "01020304")
    with pytest.raises(Corrupt, match="checksum"):
        dpc.decode(data[:-1] + b"x")


# errors of a file


def test_a_file_of_another_model() -> None:
    with pytest.raises(WrongModel, match="made with model 01020304, this codec holds tiny"):
        TINY.decode(packed(container.unpack(golden("photo")), model=b"\1\2\3\4"))
    assert issubclass(WrongModel, ModelError)


def test_the_numbers_of_the_format_are_those_of_the_networks() -> None:
    pytest.importorskip("torch")
    from dpc.networks import context, integer, sizes

    # docs/format.md and test_exact.py have them written out
    assert (integer.W_MAX, integer.UNSIGNED, context.INDEX_BITS, context.MAGNITUDE_MAX) == (63, (0, 255), 3, 15)
    assert (sizes.STRIDE, sizes.HYPER_STRIDE) == (tiles.STRIDE, tiles.HYPER)
    assert artifact.FINE == 64


def test_an_alpha_section_of_another_size() -> None:
    file = container.unpack(golden("alpha"))
    with pytest.raises(Corrupt, match="the alpha chunk is a WebP of 49x40 pixels"):
        TINY.decode(packed(file, alpha=opacity.to_bytes(make_tiny.noise(40, 49))))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Truncated),
        (b"\x89DPC\3", UnsupportedVersion),
        (b"\x89PNG\r\n\x1a\n", dpc.NotADPCFile),
        (golden("photo")[:-1] + b"x", Corrupt),
    ],
)
def test_what_is_no_file(data: bytes, error: type[DPCError]) -> None:
    for call in (TINY.decode, dpc.decode, dpc.inspect):
        with pytest.raises(error):
            call(data)


# tiles


WHOLES = [(4, 4), (112, 113), (113, 112), (96, 400), (193, 305), (120, 1000), (196, 308), (32, 4096), (4096, 32)]


@pytest.mark.parametrize("halo", [8, 16])
@pytest.mark.parametrize(("h", "w"), WHOLES)
def test_tiles_cover_the_picture_once(h: int, w: int, halo: int) -> None:
    parts = [
        None,
        (slice(0, 1), slice(0, w)),
        (slice(h // 2, h), slice(w // 3, w // 3 + 1)),
        (slice(1, h), slice(2, w)),
    ]
    for part in parts:
        seen = np.zeros((h, w), int)
        for core, outer, inner in tiles.tiles(h, w, halo, part):
            seen[core] += 1
            grid = np.arange(h * w).reshape(h, w)
            np.testing.assert_array_equal(grid[outer][inner], grid[core])
            sides = [side.stop - side.start for side in outer]
            assert sides[0] * sides[1] <= tiles.SIDE**2
            for a, b, side, whole in zip(core, outer, sides, (h, w), strict=True):
                assert whole % 4 or part or b.start % 4 == b.stop % 4 == 0
                assert side >= min(halo if part else 2 * halo, whole)
                assert b.start == 0 or a.start - b.start >= halo
                assert b.stop == whole or b.stop - a.stop >= halo
        assert len({tuple(s.stop - s.start for s in outer) for _, outer, _ in tiles.tiles(h, w, halo, part)}) == 1
        wanted = np.zeros((h, w), int)
        wanted[part or ...] = 1
        np.testing.assert_array_equal(seen, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_tiles_give_the_same_as_one_piece(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Learned(MODELS[name], threads=1)
    # seams on both sides; neither whole positions nor whole hyper-latent positions
    picture = photo(16 * 37 + 5, 16 * 29 + 11)
    whole = [(quality, one.encode(picture, quality=quality, fast=True)) for quality in (15, 80)]
    wanted = [(make_tiny.held(one, data), one.decode(data, as_array=True).astype(int)) for _, data in whole]
    monkeypatch.setattr(tiles, "SIDE", 24)
    assert len(list(tiles.tiles(30, 38))) == 20
    for (quality, data), (latents, pixels) in zip(whole, wanted, strict=True):
        # read: exactly the same, and the picture within one level
        mine = make_tiny.held(one, data)
        for kind in ("z", "r", "index"):
            np.testing.assert_array_equal(getattr(mine, kind), getattr(latents, kind))
        assert np.abs(one.decode(data, as_array=True) - pixels).max() <= 1
        # written: but for values on the edge of rounding
        mine = one.latents(picture, quality)
        for kind in ("z", "r"):
            difference = np.abs(getattr(mine, kind) - getattr(latents, kind))
            assert (difference > 0).mean() < 1e-3
            assert difference.max() <= 1
        again = one.encode(picture, quality=quality, fast=True)
        assert abs(len(again) - len(data)) <= 8
        assert np.abs(make_tiny.held(one, again).r - mine.r).max() == 0


# strips


TALL = photo(150, 16 * 70 + 3)  # of three strips


@pytest.fixture(scope="module")
def tall() -> bytes:
    return TINY.encode(TALL, quality=60)


def exact(threads: int = 1, at_once: int = 1) -> Codec:
    one = Learned(Artifact(make_tiny.EXACT_MODEL, threads))
    one._at_once = at_once
    return one


def test_a_strip_is_read_without_the_others(tall: bytes) -> None:
    file = container.unpack(tall)
    every = transforms.strips(*transforms.positions(file.height, file.width))
    assert [(s.number, s.start, s.stop, s.w) for s in every] == [(0, 0, 32, 10), (1, 32, 64, 10), (2, 64, 71, 10)]
    streams = stream.split(file.body, 3)
    assert stream.join([bytes(s) for s in streams]) == file.body
    # another picture's strip in its place changes the pixels there, and only as far as the synthesis sees
    other = stream.split(
        container.unpack(TINY.encode(TALL.transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=60)).body, 3
    )
    mixed = packed(file, body=stream.join([bytes(s) for s in (streams[0], other[1], streams[2])]))
    before, after = (TINY.decode(data, as_array=True).astype(int) for data in (tall, mixed))
    changed = np.flatnonzero(np.abs(before - after).max((1, 2)) > 1)
    assert 512 - 16 * tiles.HALO <= changed.min() < 530 and 1000 < changed.max() < 1024 + 16 * tiles.HALO


def test_pixels_do_not_depend_on_threads_tiles_or_strips_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = exact().encode(TALL, quality=60)
    assert exact(2, 3).encode(TALL, quality=60) == data
    wanted = exact().decode(data, as_array=True)
    for threads, at_once in ((1, 2), (2, 1), (2, 3)):
        np.testing.assert_array_equal(exact(threads, at_once).decode(data, as_array=True), wanted)
    monkeypatch.setattr(tiles, "SIDE", 24)
    for at_once in (1, 3):
        np.testing.assert_array_equal(exact(1, at_once).decode(data, as_array=True), wanted)


REGIONS = [
    (0, 0, 150, 1123),
    (0, 0, 1, 1),
    (149, 1122, 150, 1123),
    (3, 500, 140, 530),
    (17, 1030, 90, 1123),
    (60, 16, 61, 17),
]


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_is_what_a_crop_would_be(region: codec.Region) -> None:
    one = exact()
    data = one.encode(TALL, quality=60)
    left, top, right, bottom = region
    wanted = one.decode(data, as_array=True)[top:bottom, left:right]
    np.testing.assert_array_equal(one.decode(data, region=region, as_array=True), wanted)
    np.testing.assert_array_equal(
        dpc.decode(one.encode(TALL, lossless=True), region=region), np.asarray(TALL.crop(region))
    )


def test_a_region_reads_its_strips_alone(tall: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    before = stream.StreamCoder.read
    monkeypatch.setattr(stream.StreamCoder, "read", lambda s, *a: read.append(a[1].number) or before(s, *a))
    TINY.decode(tall, region=(0, 0, 9, 200))
    TINY.decode(tall, region=(0, 300, 9, 500))
    TINY.decode(tall, region=(0, 1023, 9, 1025))
    assert read == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 151, 5), (0, 1000, 5, 1124), (9, 9, 5, 12)])
def test_a_region_outside_of_the_picture_is_refused(tall: bytes, region: codec.Region) -> None:
    with pytest.raises(OptionError, match=r"region .* does not lie in the picture of 150x1123 pixels; give a part"):
        TINY.decode(tall, region=region)


def test_a_region_keeps_alpha() -> None:
    pixels = make_tiny.noise(70, 90, 4)
    data = TINY.encode(pixels, quality=50)
    got = TINY.decode(data, region=(20, 10, 60, 65), as_array=True)
    np.testing.assert_array_equal(got[:, :, 3], pixels[10:65, 20:60, 3])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("lossless", [True, False])
def test_without_a_graph_for_it_a_preview_is_made_of_the_picture(channels: int, lossless: bool) -> None:
    pixels = make_tiny.noise(75, 91, channels)
    data = TINY.encode(pixels, lossless=lossless)
    whole = TINY.decode(data)
    wanted = whole if whole.mode != "L" else whole.convert("RGB")
    got = TINY.decode(data, preview=True)
    assert (got.size, got.mode) == ((12, 10), whole.mode)
    wanted = wanted.reduce(8).convert(whole.mode)
    assert np.abs(np.asarray(got, int) - np.asarray(wanted, int)).max() <= 1
    np.testing.assert_array_equal(np.asarray(dpc.decode(data, preview=True, as_array=True) if lossless else got), got)


def test_a_preview_of_a_part_is_refused(tall: bytes) -> None:
    with pytest.raises(OptionError, match="a preview is of the whole picture; leave region out, or preview"):
        TINY.decode(tall, preview=True, region=(0, 0, 10, 10))


def test_max_pixels(tall: bytes) -> None:
    message = r"the picture has 150x1123 pixels, max_pixels is 168449; raise it .* or decode a region"
    assert_refused(tall, TooLarge, message, max_pixels=150 * 1123 - 1)
    assert TINY.decode(tall, max_pixels=150 * 1123).size == (150, 1123)
    assert TINY.decode(tall, max_pixels=100, region=(0, 0, 10, 10)).size == (10, 10)
    assert TINY.decode(tall, max_pixels=None).size == (150, 1123)
    assert_refused(packed(container.unpack(tall), width=16000, height=16000), TooLarge, "max_pixels is 178956970")


# the quality map


BYTES = Artifact(make_tiny.BYTES_MODEL, 1)


def masked(height: int, width: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[64 : height // 2, 64:] = True
    return mask


def test_a_mask_moves_the_quality_to_where_it_is_bright() -> None:
    one, picture = Learned(BYTES), np.asarray(photo(192, 256))
    mask = masked(256, 192)
    grey = np.full((256, 192), 0.5)
    plain, mapped = (one.encode(picture, quality=50, roi=roi) for roi in (grey, mask))
    assert container.unpack(plain).quality_map is None
    assert 4 <= len(container.unpack(mapped).quality_map or b"") <= 12
    inside, outside = (slice(72, 120), slice(72, 192)), (slice(144, 256), slice(0, 192))

    def error(data: bytes, part: tuple[slice, slice]) -> float:
        return float(np.square(one.decode(data, as_array=True)[part].astype(float) - picture[part]).mean())

    assert error(mapped, inside) < error(plain, inside)
    assert error(mapped, outside) > error(plain, outside)
    as_file = one.encode(picture, quality=50, roi=png(Image.fromarray(mask)))
    assert as_file == mapped == one.encode(picture, quality=50, roi=255 * mask.astype(np.uint8))
    size = len(one.encode(picture, max_bytes=len(plain), roi=mask))
    assert 0.97 * len(plain) <= size <= len(plain)


def test_pixels_with_a_map_do_not_depend_on_threads_tiles_or_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = masked(1123, 150)
    one = Learned(BYTES)
    data = one.encode(TALL, quality=60, roi=mask)
    wanted = one.decode(data, as_array=True)
    other = Learned(Artifact(make_tiny.BYTES_MODEL, 2))
    other._at_once = 3
    np.testing.assert_array_equal(other.decode(data, as_array=True), wanted)
    assert other.encode(TALL, quality=60, roi=mask) == data
    monkeypatch.setattr(tiles, "SIDE", 24)
    np.testing.assert_array_equal(other.decode(data, as_array=True), wanted)
    np.testing.assert_array_equal(one.decode(data, region=(40, 490, 90, 560), as_array=True), wanted[490:560, 40:90])


@pytest.mark.parametrize("texture", [False, True])
def test_a_map_leaves_no_seams_between_cells(texture: bool) -> None:
    """The error's step across the border of a cell, beside that across other borders of latent positions."""
    one = Learned(BYTES)
    picture = np.asarray(photo(320, 192)) if texture else np.full((192, 320, 3), (180, 190, 200), np.uint8)
    mask = np.zeros((192, 320), bool)
    mask[:, 128:192] = True

    def step(roi: npt.NDArray[Any]) -> float:
        decoded = one.decode(one.encode(picture, quality=60, roi=roi), as_array=True).astype(float)
        steps = np.abs(np.diff((decoded - picture).mean(2), axis=1)).mean(0)[15::16]
        return float(steps[[7, 11]].mean() / np.delete(steps, [7, 11]).mean())

    assert step(mask) < 1.5 * step(np.full(mask.shape, 0.5))


def test_a_mask_needs_a_model_that_allows_it() -> None:
    with pytest.raises(OptionError, match="roi: tiny codes every picture at one quality; leave roi out"):
        TINY.encode(TALL, roi=masked(1123, 150))


def test_a_mask_is_looked_at_even_where_the_picture_is_kept_without_loss() -> None:
    one, flat = Codec(BYTES), np.full((80, 90, 3), 7, np.uint8)
    for options in ({"max_bytes": 1000}, {}):
        with pytest.raises(OptionError, match="the mask has 80x90 pixels, the picture 90x80"):
            one.encode(flat, roi=np.zeros((90, 80)), **options)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="nowhere.png cannot be opened"):
            one.encode(flat, roi="nowhere.png", **options)  # type: ignore[arg-type]


def test_what_is_clear_in_a_mask_is_black() -> None:
    one, picture = Learned(BYTES), np.asarray(photo(192, 256))
    mask = masked(256, 192)
    white = np.full((256, 192, 4), 255, np.uint8)
    white[..., 3] *= mask
    assert one.encode(picture, quality=50, roi=white) == one.encode(picture, quality=50, roi=mask)


def test_a_mask_is_read_once_for_a_page_too(monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.full((256, 512, 3), 255, np.uint8)
    page[100:110, 20:200:3] = 0
    page[:, 256:] = np.asarray(photo(256, 256))
    loads, load = [], image.load
    monkeypatch.setattr(image, "load", lambda source, *more: loads.append(source) or load(source, *more))
    data = Codec(BYTES).encode(page, quality=50, roi=png(Image.new("L", (512, 256), "white")))
    assert container.unpack(data).overlay is not None
    assert len(loads) == 2


# without loss


def test_what_is_smaller_without_loss_is_stored_so() -> None:
    one = Codec(TINY.artifact)
    flag = np.repeat(np.array([[0, 85, 164], [255, 255, 255], [213, 43, 30]], np.uint8), 2, 0)[:, None].repeat(6, 1)
    photograph = content("photo", 200, 300)
    page = np.full((300, 400, 3), 255, np.uint8)
    page[::7, 20:300:3] = 0
    for pixels in (flag, page):
        data = one.encode(pixels, quality=100)
        np.testing.assert_array_equal(one.decode(data, as_array=True), pixels)
        assert len(data) < len(TINY.encode(pixels, quality=100))
        assert one.encode(pixels, bpp=8 * len(data) / pixels[:, :, 0].size) == data
        assert one.encode(pixels, max_bytes=len(data)) == data
    assert not container.peek(one.encode(photograph, quality=100)).lossless
    assert one.encode(photograph, quality=100) == TINY.encode(photograph, quality=100)
    np.testing.assert_array_equal(one.decode(one.encode(photograph, lossless=True), as_array=True), photograph)


def test_a_page_at_a_low_rate_is_noted() -> None:
    one, notes = Codec(TINY.artifact), []
    page = np.full((300, 400, 3), 255, np.uint8)
    noise = make_tiny.noise(300, 400, 3)
    for top, left in itertools.product(range(4, 280, 24), range(4, 380, 24)):  # no part is flat enough for an overlay
        page[top : top + 14, left : left + 14] = noise[top : top + 14, left : left + 14]
    data = one.encode(page, quality=1, note=notes.append)
    assert not container.peek(data).lossless and container.unpack(data).overlay is None
    size = len(one.encode(page, lossless=True))
    assert notes == [f"this looks like a page or a window, whose small letters lose most; {notes[0].split('; ')[1]}"]
    assert notes[0].endswith(f"lossless every pixel in {size:,} bytes")
    one.encode(content("photo", 200, 300), quality=1, note=notes.append)
    one.encode(page, lossless=True, note=notes.append)
    one.encode(np.full((48, 64, 3), (0, 128, 0), np.uint8), quality=1, lossless=None, note=notes.append)
    plain = Image.new("RGB", (64, 48), (0, 128, 0))
    exif = Image.Exif()
    exif[271] = "C" * 2000
    plain.info["exif"] = exif.tobytes()
    one.encode(plain, quality=1, note=notes.append)
    assert len(notes) == 1  # a plain picture is no page, whatever its EXIF takes


def test_a_rate_that_the_alpha_alone_takes_is_noted() -> None:
    """It was said that letters lose."""
    one, notes = Codec(TINY.artifact), []
    pixels = np.dstack([content("photo", 96, 128), make_tiny.noise(96, 128, 1)[..., 0]])
    data = one.encode(pixels, bpp=0.3, note=notes.append)
    alpha = container.unpack(data).alpha
    assert alpha is not None
    rate = f"{8 * len(alpha) / (96 * 128):.3g}"
    assert notes == [f"{len(alpha):,} bytes, {rate} bpp, go to alpha, kept without loss"]
    one.encode(pixels, bpp=9, lossless=False, note=notes.append)
    assert len(notes) == 1
    picture, exif = Image.fromarray(content("photo", 96, 128)), Image.Exif()
    exif[271] = "C" * 2000
    picture.info["exif"] = exif.tobytes()
    one.encode(picture, bpp=0.3, note=notes.append)
    assert notes[1].endswith("go to EXIF, kept without loss; strip drops EXIF and the like")


def test_what_is_clear_costs_nothing_without_loss() -> None:
    """Its colours took half of the bytes, and nobody sees them."""
    alpha = np.zeros((96, 128), np.uint8)
    alpha[30:60, 30:90] = make_tiny.noise(30, 60, 1)[..., 0] | 1
    pixels = np.dstack([content("photo", 96, 128), alpha])
    data = Codec(TINY.artifact).encode(pixels, lossless=True)
    back = Codec(TINY.artifact).decode(data, as_array=True)
    np.testing.assert_array_equal(back[..., 3], alpha)
    np.testing.assert_array_equal(back[alpha > 0], pixels[alpha > 0])
    part = Codec(TINY.artifact).encode(np.ascontiguousarray(pixels[30:60, 30:90]), lossless=True)
    assert len(data) < len(part) + 300


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.dpc").touch()
    for source in (b"", tmp_path / "empty.dpc", io.BytesIO()):
        with pytest.raises(Truncated, match="the file is empty"):
            dpc.inspect(source)


def test_a_strip_of_a_photograph_is_no_page() -> None:
    notes: list[str] = []
    strip = make_tiny.noise(500, 3, 3)
    data = Codec(TINY.artifact).encode(strip, quality=1, note=notes.append)
    assert not container.peek(data).lossless and not notes


def test_room_beyond_quality_100_is_taken_by_the_file_without_loss() -> None:
    one, photograph = Codec(TINY.artifact), content("photo", 200, 300)
    exact = one.encode(photograph, lossless=True)
    assert one.encode(photograph, max_bytes=len(exact)) == exact
    assert one.encode(photograph, bpp=64) == exact
    best = TINY.encode(photograph, quality=100)
    assert one.encode(photograph, max_bytes=len(exact) - 1) == best
    assert one.encode(photograph, max_bytes=len(exact), lossless=False) == best
    wide = np.resize(photograph[:20], (1, 16384, 3))
    assert not container.peek(one.encode(wide, max_bytes=10**6)).lossless


def test_photographs_are_not_tried() -> None:
    assert lossless.flatness(np.asarray(Image.open(PHOTO).convert("RGB"))) < 0.3 < lossless.FLAT
    assert lossless.flatness(make_tiny.noise(200, 200, 3)) < 0.01
    assert lossless.flatness(np.zeros((500, 400, 3), np.uint8)) == 1


def test_lossless_is_refused_where_webp_ends_and_colours_are_many() -> None:
    many = np.resize(make_tiny.noise(20, 20, 3), (1, 16384, 3))
    message = "16384x1 pixels, and more than 16383 a side can be .* at most 256 colours and 16777216 pixels; cut it"
    with pytest.raises(OptionError, match=message):
        TINY.encode(many, lossless=True)
    assert not container.peek(Codec(TINY.artifact).encode(many)).lossless


@pytest.mark.parametrize("shape", [(1, 16384, 3), (16400, 16, 3), (2, 65535, 3)])
def test_flat_pictures_beyond_webp_are_kept_without_loss(shape: tuple[int, ...]) -> None:
    flat = np.zeros(shape, np.uint8)
    flat[: shape[0] // 2 + 1, : shape[1] // 2] = (200, 10, 60)
    data = Codec(TINY.artifact).encode(flat)
    assert container.peek(data).lossless and len(data) < 1000
    assert np.array_equal(TINY.decode(data, as_array=True), flat)
    assert np.array_equal(TINY.decode(TINY.encode(flat, lossless=True), as_array=True), flat)


@pytest.mark.parametrize("shape", [(1, 1, 3), (48, 64, 3), (300, 400, 3), (3, 20000, 3)])
def test_one_colour_takes_a_few_bytes_and_is_exact(shape: tuple[int, ...]) -> None:
    for colour in ((255, 0, 0), (0, 0, 0), (255, 255, 255), (1, 2, 3)):
        flat = np.broadcast_to(np.uint8(colour), shape)
        data = Codec(TINY.artifact).encode(flat)
        assert len(data) <= 28 and np.array_equal(TINY.decode(data, as_array=True), flat)


# damage


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_refused(name: str) -> None:
    data = golden(name)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            TINY.decode(data[:length])


def outcome(data: bytes) -> str:
    """How decoding ends: in a picture or in a DPCError; nothing else, and soon."""
    start = time.perf_counter()
    try:
        picture = TINY.decode(data)
        assert picture.width * picture.height <= container.MAX_PIXELS
        result = "picture"
    except DPCError as error:
        assert "\n" not in str(error)
        result = type(error).__name__
    assert time.perf_counter() - start < 20
    return result


def test_every_flipped_bit_is_found_by_the_checksum() -> None:
    data = golden("alpha")
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            TINY.decode(flipped)


def test_flipped_bits_under_a_right_checksum_end_in_a_picture_or_an_error() -> None:
    rng = random.Random(3)
    seen: dict[str, int] = {}
    for _ in range(2000):
        data = bytearray(golden(rng.choice(NAMES)))
        for _ in range(rng.choice([1, 1, 2, 8])):
            # half of them in the header and the first words
            place = rng.randrange(len(data) - 4) if rng.random() < 0.5 else rng.randrange(4, 40)
            data[place] ^= 1 << rng.randrange(8)
        result = outcome(sealed(data))
        seen[result] = seen.get(result, 0) + 1
    assert {"Corrupt", "picture", "WrongModel", "Truncated"} <= set(seen), seen


@pytest.mark.parametrize("name", ["photo", "noise", "one"])
def test_a_shortened_stream_ends_in_a_picture_or_an_error(name: str) -> None:
    file = container.unpack(golden(name))
    for length in range(4, len(file.body) - 3):
        outcome(packed(file, body=file.body[:length]))
        outcome(packed(file, body=file.body[length:]))


@settings(max_examples=150)
@given(st.binary(min_size=4, max_size=600), st.integers(1, 90), st.integers(1, 90), st.integers(0, 448))
def test_any_stream_ends_in_a_picture_or_an_error(stream: bytes, width: int, height: int, level: int) -> None:
    outcome(container.pack(DPCFile(width=width, height=height, model=TINY.artifact.id, level=level, body=stream)))


# limits


def test_a_header_that_claims_the_largest_sides_is_refused_before_memory_is_taken() -> None:
    file = container.unpack(golden("photo"))
    data = packed(file, width=3855, height=65535)  # the largest that may be
    at = data.index(bytes([0x8F, 0x1E]))
    data = sealed(data[:at] + b"\xff\xff\x03" + data[at + 2 :])
    assert_refused(data, TooLarge, "65535x65535 pixels")


@pytest.mark.parametrize(("width", "height"), [(16000, 16000), (4096, 65535), (65535, 1)])
@pytest.mark.parametrize("level", [0, 300])
def test_a_large_picture_of_a_short_stream_is_refused_before_memory_is_taken(
    width: int, height: int, level: int
) -> None:
    count = len(transforms.strips(*transforms.positions(height, width)))
    body = stream.join([(1 << 24).to_bytes(4, "little")] * count)
    data = packed(container.unpack(golden("photo")), width=width, height=height, level=level, body=body)
    assert_refused(data, Corrupt, "positions take at least", max_pixels=None)


def assert_refused(data: bytes, error: type[DPCError], message: str, **options: Any) -> None:
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(error, match=message):
            TINY.decode(data, **options)
        assert time.perf_counter() - start < 2
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# rates


@needs("data", "kodak")
@pytest.mark.skipif(not artifact.released(), reason="no model is released yet")
@pytest.mark.parametrize("quality", [5, 40, 95])
@pytest.mark.parametrize("number", ["05", "13", "23"])
def test_real_bytes_are_what_the_model_estimates(number: str, quality: float) -> None:
    one = api._codec(artifact.find(), 1)
    path = KODAK / f"kodim{number}.png"
    # as it is: not refined, and without the lines at the edges of a scan, which are no latents
    data = one.encode(path, quality=quality, lossless=False, fast=True)
    latents, tables = one.latents(path, quality), one.artifact.tables
    bits = tables.bits(latents.z, latents.z_index) + tables.bits(latents.r, latents.index)
    file = container.unpack(data)
    header = len(data) - len(file.body)
    assert header <= 24 + (2 + len(file.quality_map) if file.quality_map else 0)
    assert len(data) == pytest.approx(bits / 8 + header, rel=0.01, abs=32)


def test_the_benchmark_of_speed_runs(tmp_path: Path) -> None:
    Image.open(PHOTO).crop((0, 0, 96, 64)).save(tmp_path / "a.png")
    script = [sys.executable, str(ROOT / "benchmarks" / "speed.py")]
    options = ["--model", str(make_tiny.MODEL), "--repeats", "1", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*script, str(tmp_path), *options], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for start in ("1 pictures, 1 threads", "DPC ", "JPEG 2000 ", "AVIF ", "dpc encode a.png", "dpc decode a.png"):
        assert any(line.startswith(start) for line in done.stdout.splitlines()), done.stdout
    (tmp_path / "none").mkdir()
    done = subprocess.run([*script, str(tmp_path / "none")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'none'} holds no pictures\n")


def test_the_benchmark_of_text_runs(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "text.py"), "--bpp", "1", "--out", str(tmp_path / "t.png")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*script, "--codecs", f"dpc:{make_tiny.MODEL},jpeg"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and "jpeg" in lines[1] and lines[1].endswith("dB")
    with Image.open(tmp_path / "t.png") as shown:
        assert shown.height == 384 and shown.width % 512 == 0
