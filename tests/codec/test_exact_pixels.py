"""Pixels are the same everywhere: means and synthesis give the same bits in onnxruntime, torch and plain numpy."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

import make_tiny
import numpy as np
import numpy.typing as npt
import pytest
from paths import DPC_7
from PIL import Image

from dpc.codec import artifact, container, tiles
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec

sys.path.append(str(make_tiny.ROOT / "benchmarks"))
import machines  # noqa: E402

Array = npt.NDArray[Any]

NAMES = sorted(path.stem for path in make_tiny.EXACT.glob("*.dpc") if not path.stem.startswith("released-"))
RELEASED = {  # model: sha256 of the pixels of exact/released-MODEL.dpc
    "dpc-7": "d5f44004073b2574daac979166f98c1d9fe6de2b477d0f2c0e607a16e282407f",
    "dpc-8": "44b43a625cf60ccc6ac3fdbf94ac84e3411ca304a1015780081d9a6264c3ad06",
}
WORST = 3  # the seed of inputs at their ends
SETTINGS = [(1, True), (2, True), (1, False), (2, False)]
MODELS = {
    name: path
    for name, path in {
        "exact": make_tiny.EXACT_MODEL,
        "bytes": make_tiny.BYTES_MODEL,
        "dpc-7": DPC_7,
        **artifact.released(),
    }.items()
    if artifact.metadata_of(path).get("exact_pixels")
}


@cache
def loaded(model: Path, threads: int, optimise: bool) -> Artifact:
    return Artifact(model, threads, optimise=optimise)


# golden files: what any machine decodes


@pytest.mark.parametrize(("threads", "optimise"), SETTINGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_decoded_to_the_same_pixels(name: str, threads: int, optimise: bool) -> None:
    one = Codec(loaded(make_tiny.EXACT_MODEL, threads, optimise))
    picture = np.asarray(Image.open(make_tiny.EXACT / f"{name}.png"))
    np.testing.assert_array_equal(one.decode(make_tiny.EXACT / f"{name}.dpc", as_array=True), picture)


def test_the_golden_files_are_worth_their_name() -> None:
    assert set(NAMES) == set(make_tiny.EXACT_NAMES)
    levels = {container.peek((make_tiny.EXACT / f"{name}.dpc").read_bytes()).level for name in NAMES}
    assert len(levels) >= 4 and any(level % artifact.FINE for level in levels)


def test_every_exact_model_that_ships_has_a_golden_file() -> None:
    assert set(RELEASED) == set(MODELS) - {"exact", "bytes"}


@pytest.mark.parametrize(("name", "digest"), RELEASED.items())
def test_a_released_model_decodes_to_known_pixels(name: str, digest: str) -> None:
    pixels = Codec(MODELS[name]).decode(make_tiny.EXACT / f"released-{name}.dpc", as_array=True)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


# the graphs, in another implementation of ONNX


def inputs(model: Artifact, graph: str, seed: int) -> dict[str, Array]:
    """Made-up inputs of a graph: small ones, such as reach the limits, and the worst that a file can hold."""
    given: dict[str, Array] = machines.inputs(model, graph, seed)
    if graph == "means" and seed == WORST:
        given["z_hat"] = np.sign(given["z_hat"]) * model.sizes.z_limit
        given["r"] = np.sign(given["r"]) * 32767
    return given


@pytest.mark.parametrize("seed", [0, 1, 2, WORST])
@pytest.mark.parametrize("graph", artifact.DRAWING)
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_equals_the_reference_evaluator(name: str, graph: str, seed: int) -> None:
    reference = pytest.importorskip("onnx.reference")
    one = loaded(MODELS[name], 1, True)
    whole, given = machines.whole(one, graph), inputs(one, graph, seed)
    wanted = reference.ReferenceEvaluator(whole, new_ops=machines.new_ops()).run(None, given)
    assert np.isfinite(wanted[-1]).all() and wanted[-1].std() > 0.01
    for threads, optimise in SETTINGS:
        for got, array in zip(loaded(MODELS[name], threads, optimise).run(graph, **given), wanted, strict=False):
            np.testing.assert_array_equal(got, array)
    if graph == "synthesis":  # as real numbers too
        from dpc.codec.runtime import onnxruntime

        session = onnxruntime().InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, given)[-1], wanted[-1])


@pytest.mark.parametrize("seed", [0, 1, 2, WORST])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "exact"])
def test_the_networks_of_the_scales_equal_the_reference_evaluator(name: str, seed: int) -> None:
    """That of the first group gives features, which those of later groups read beside the residuals before them."""
    reference = pytest.importorskip("onnx.reference")
    one = loaded(MODELS[name], 1, True)
    given = inputs(one, "means", seed)
    given["features"] = one.run("scale0", z_hat=given["z_hat"])[0]
    start = 0
    for group, size in enumerate(one.sizes.groups):
        needed = {"features": given["features"], "r": given["r"][:, :start]} if group else {"z_hat": given["z_hat"]}
        evaluator = reference.ReferenceEvaluator(machines.whole(one, f"scale{group}"), new_ops=machines.new_ops())
        wanted = evaluator.run(None, needed)
        assert wanted[-1].std() > 0.01
        for threads, optimise in SETTINGS:
            for got, array in zip(
                loaded(MODELS[name], threads, optimise).run(f"scale{group}", **needed), wanted, strict=True
            ):
                np.testing.assert_array_equal(got, array)
        start += size


def test_tiles_do_not_change_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Codec(loaded(make_tiny.EXACT_MODEL, 1, True))
    photo = np.asarray(make_tiny.photograph(0, 0, 448, 288))
    data = one.encode(np.concatenate([photo, photo[::-1]])[:448], quality=60)
    whole = one.decode(data, as_array=True)
    monkeypatch.setattr(tiles, "SIDE", 24)
    assert len(list(tiles.tiles(28, 28))) == 16
    np.testing.assert_array_equal(one.decode(data, as_array=True), whole)


def test_the_identity_of_an_exact_model_holds_all_that_decides_its_pixels() -> None:
    one = loaded(make_tiny.EXACT_MODEL, 1, True)
    drawing = {g: one._graphs[g] for g in artifact.DRAWING}
    assert artifact.identity_of(one.sizes, one.weights, one._tables, drawing) == one.identity
    for graph in artifact.DRAWING:
        other = drawing | {graph: drawing[graph][:-1] + b"x"}
        assert artifact.identity_of(one.sizes, one.weights, one._tables, other) != one.identity
    changed = one.weights | {"g_s.mean": one.weights.get("g_s.mean", np.zeros(1)) + 1}
    assert artifact.identity_of(one.sizes, changed, one._tables, drawing) != one.identity
    changed = one.weights | {"g_a.mean": one.weights["g_a.mean"] + 1}
    assert artifact.identity_of(one.sizes, changed, one._tables, drawing) == one.identity
