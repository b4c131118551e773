"""A stream is read by integers alone: the same symbols and scale indices in every setting, and in plain numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from paths import DPC_7
from PIL import Image

from dpc.codec import container
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec, Latents

Array = npt.NDArray[Any]

NAMES = sorted(path.stem for path in make_tiny.GOLDEN.glob("*.dpc"))
MODELS = {"tiny": make_tiny.MODEL, "dpc-7": DPC_7}  # of the first generation
SETTINGS = [(1, True), (2, True), (1, False), (2, False)]


SETS = {"tiny": (make_tiny.MODEL, make_tiny.GOLDEN), "bytes": (make_tiny.BYTES_MODEL, make_tiny.BYTES)}


@cache
def codec(kind: str, threads: int, optimise: bool) -> Codec:
    return Codec(Artifact(SETS[kind][0], threads, optimise=optimise))


def golden(name: str, kind: str = "tiny") -> bytes:
    return (SETS[kind][1] / f"{name}.dpc").read_bytes()


def expected(name: str, kind: str = "tiny") -> dict[str, Array]:
    with np.load(SETS[kind][1] / "expected.npz") as arrays:
        return {kind: arrays[f"{name}/{kind}"] for kind in ("z", "r", "index")}


def assert_latents(latents: Latents, wanted: dict[str, Array]) -> None:
    for kind, array in wanted.items():
        np.testing.assert_array_equal(getattr(latents, kind), array, err_msg=kind)


# golden files


@pytest.mark.parametrize(("threads", "optimise"), SETTINGS)
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_read_and_written_alike(name: str, kind: str, threads: int, optimise: bool) -> None:
    one, data = codec(kind, threads, optimise), golden(name, kind)
    file, wanted = container.unpack(data), expected(name, kind)
    assert_latents(make_tiny.held(one, data), wanted)
    picture = np.asarray(Image.open(SETS[kind][1] / f"{name}.png")).astype(int)
    assert np.abs(one.decode(data, as_array=True) - picture).max() <= (0 if kind == "bytes" else 1)
    source, _ = make_tiny.pictures()[name]
    quality = 1 + 99 * file.level / 448
    assert_latents(one.latents(source, quality), wanted)
    assert one.encode(source, quality=quality, lossless=False) == data


def test_the_golden_files_are_worth_their_name() -> None:
    assert set(NAMES) == set(make_tiny.pictures())
    model = Artifact(make_tiny.MODEL)
    indices: set[int] = set()
    escapes = z_escapes = 0
    for name in NAMES:
        wanted = expected(name)
        indices |= set(np.unique(wanted["index"]).tolist())
        escapes += int((np.abs(wanted["r"]) > model.tables.limits[wanted["index"]]).sum())
        z_index = model.z_indices[container.peek(golden(name)).level]
        z_escapes += int((np.abs(wanted["z"]) > model.tables.limits[z_index][:, None, None]).sum())
    assert indices == set(range(64))
    assert escapes > 100
    assert z_escapes > 0


def test_the_maker_of_golden_files_keeps_what_exists(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("torch")
    before = {path: path.read_bytes() for path in make_tiny.DATA.rglob("*") if path.is_file()}
    monkeypatch.setattr("sys.argv", ["make_tiny.py"])
    assert make_tiny.main() == 0
    assert capsys.readouterr().out.count("--force makes it again") == 2 * len(NAMES) + len(make_tiny.EXACT_NAMES)
    assert {path: path.read_bytes() for path in make_tiny.DATA.rglob("*") if path.is_file()} == before


# the integer networks, as docs/format.md has them


def convolution(x: Array, weight: Array, bias: Array) -> Array:
    """(C, h, w) -> (O, h, w) with zeros around, in the kind of number that x has."""
    size = weight.shape[-1]
    rows, columns = x.shape[1:]
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    result = np.zeros((len(weight), rows, columns), x.dtype) + bias.astype(x.dtype)[:, None, None]
    for i, j in itertools.product(range(size), repeat=2):
        result += np.tensordot(weight[:, :, i, j].astype(x.dtype), padded[:, i : i + rows, j : j + columns], 1)
    assert np.abs(result).max() < 2**24
    return result


def shifted(acc: Array, bits: int) -> Array:
    """acc / 2**bits, halves rounded up."""
    if acc.dtype.kind == "i":
        return (acc + (1 << bits - 1)) >> bits
    return np.floor(acc * acc.dtype.type(2.0**-bits) + acc.dtype.type(0.5))


def shuffled(x: Array) -> Array:
    channels, rows, columns = x.shape[0] // 4, *x.shape[1:]
    return x.reshape(channels, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2).reshape(channels, 2 * rows, 2 * columns)


class Reference:
    """The scale networks of an artifact, from its integer weights."""

    def __init__(self, model: Artifact) -> None:
        self.weights = model.weights

    def layer(self, name: str, x: Array, bits: int, clip: bool = True) -> Array:
        acc = convolution(x, self.weights[f"scales.{name}.weight"], self.weights[f"scales.{name}.bias"])
        result = shifted(acc, bits)
        return result.clip(0, 255) if clip else result

    def features(self, z: Array) -> Array:
        return shuffled(self.layer("c", self.layer("b", shuffled(self.layer("a", z, 2)), 6), 6))

    def index(self, group: int, features: Array, r: Array) -> Array:
        """Before the offset. r: of all earlier groups."""
        inputs = np.concatenate([features, np.abs(r).clip(max=15) * 16])
        return self.layer(f"head.{group}", self.layer(f"mix.{group}", inputs, 6), 7, clip=False)


def hyper_latents(model: Artifact) -> Iterator[Array]:
    """Inputs of scale0: random, all at their limits, and the worst for some channels of the first layer."""
    rng = np.random.default_rng(1)
    shape, limit = (model.sizes.hyper_latents, 3, 4), model.sizes.z_limit
    yield rng.integers(-limit, limit + 1, shape)
    yield rng.laplace(0, 2, shape).round().clip(-limit, limit).astype(np.int64)
    yield rng.choice([-limit, limit], shape)
    yield np.full(shape, limit)
    yield np.full(shape, -limit)
    signs = np.sign(model.weights["scales.a.weight"][:, :, 0, 0].astype(np.int64))
    for channel in range(0, len(signs), max(1, len(signs) // 4)):
        yield np.broadcast_to(limit * signs[channel][:, None, None], shape).copy()


def contexts(model: Artifact, group: int) -> Iterator[tuple[Array, Array]]:
    """Inputs of scale1, scale2, ...: likewise."""
    rng = np.random.default_rng(group)
    weight = model.weights[f"scales.mix.{group}.weight"].astype(np.int64)
    width, before = model.weights[f"scales.mix.{group}.weight"].shape[0], sum(model.sizes.groups[:group])
    f_shape, r_shape = (width, 5, 6), (before, 5, 6)
    yield rng.integers(0, 256, f_shape), rng.laplace(0, 3, r_shape).round().astype(np.int64)
    yield np.full(f_shape, 255), np.full(r_shape, 32767)
    yield np.full(f_shape, 255), np.full(r_shape, -32767)
    yield np.zeros(f_shape, np.int64), rng.choice([-32767, 0, 32767], r_shape)
    for channel, sign in itertools.product(range(0, width, width // 2), (1, -1)):
        worst = (sign * weight[channel].sum((1, 2)) > 0)[:, None, None]
        yield np.broadcast_to(255 * worst[:width], f_shape).copy(), np.broadcast_to(15 * worst[width:], r_shape).copy()


def runs(model: Path, graph: str, **inputs: Array) -> Iterator[list[Array]]:
    """Outputs of a graph in every setting."""
    for threads, optimise in SETTINGS:
        one = loaded(model, threads, optimise)
        yield [out[0] for out in one.run(graph, **{k: v[None].astype(np.float32) for k, v in inputs.items()})]


@cache
def loaded(model: Path, threads: int, optimise: bool) -> Artifact:
    return Artifact(model, threads, optimise=optimise)


@pytest.mark.parametrize("name", MODELS)
def test_the_first_scale_network_equals_integers(name: str) -> None:
    model = loaded(MODELS[name], 1, True)
    reference = Reference(model)
    for z in hyper_latents(model):
        features = reference.features(z.astype(np.int64))
        index = reference.index(0, features, features[:0])
        for kind in (np.float64, np.float32):
            real = reference.features(z.astype(kind))
            np.testing.assert_array_equal(real, features)
            np.testing.assert_array_equal(reference.index(0, real, real[:0]), index)
        for got_features, got_index in runs(MODELS[name], "scale0", z_hat=z):
            np.testing.assert_array_equal(got_features, features)
            np.testing.assert_array_equal(got_index, index)


@pytest.mark.parametrize("name", MODELS)
def test_the_later_scale_networks_equal_integers(name: str) -> None:
    model = loaded(MODELS[name], 1, True)
    reference = Reference(model)
    for group in range(1, len(model.sizes.groups)):
        for features, r in contexts(model, group):
            index = reference.index(group, features.astype(np.int64), r.astype(np.int64))
            for kind in (np.float64, np.float32):
                np.testing.assert_array_equal(reference.index(group, features.astype(kind), r.astype(kind)), index)
            for (got,) in runs(MODELS[name], f"scale{group}", features=features, r=r):
                np.testing.assert_array_equal(got, index)


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_gives_the_scale_indices_of_golden_files(name: str, kind: type[np.generic]) -> None:
    model, wanted = loaded(make_tiny.MODEL, 1, True), expected(name)
    reference, level = Reference(model), container.peek(golden(name)).level
    features = reference.features(wanted["z"].astype(kind))
    r = np.zeros((model.sizes.latents, *features.shape[1:]), kind)
    h, w = wanted["r"].shape[1:]
    r[:, :h, :w] = wanted["r"]
    start = 0
    for group, size in enumerate(model.sizes.groups):
        part = slice(start, start + size)
        index = reference.index(group, features, r[:start]) + model.offsets[level, part, None, None].astype(kind)
        np.testing.assert_array_equal(index.clip(0, 63)[:, :h, :w], wanted["index"][part])
        start += size
