"""Model artifacts: what a sound one gives, and that every kind of damage ends in a ModelError."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from paths import ROOT

from dpc.codec import archive, artifact
from dpc.codec.artifact import Artifact, Sizes
from dpc.codec.codec import Codec
from dpc.codec.graph_files import external_tensors
from dpc.errors import ModelError, UnknownModel

MODEL = ROOT / "tests" / "data" / "tiny.dpcmodel"
DATA = MODEL.read_bytes()

Members = dict[str, bytes]


def members() -> Members:
    with zipfile.ZipFile(MODEL) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out.getvalue()


def array(data: bytes) -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = np.load(io.BytesIO(data))
    return result


def npy(values: npt.NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def with_metadata(content: Members, **changes: Any) -> None:
    content["metadata.json"] = json.dumps({**json.loads(content["metadata.json"]), **changes}).encode()


# a sound one


@pytest.mark.parametrize("source", [MODEL, str(MODEL), DATA], ids=["path", "text", "bytes"])
def test_a_sound_artifact(source: str | Path | bytes) -> None:
    model = Artifact(source, threads=1)
    assert model.name == "tiny"
    assert model.bytes == len(DATA)
    assert model.sizes == Sizes(latents=24, hyper_latents=8, groups=(4, 8, 12), levels=8, z_limit=63)
    assert model.sizes.fine_levels == 449
    assert len(model.identity) == 64
    assert model.id.hex() == model.identity[:8]
    assert model.metadata["licence"] == "Apache-2.0"
    assert len(model.tables) == 64


def test_every_graph_runs() -> None:
    model = Artifact(MODEL, threads=1)
    (y,) = model.run("analysis", image=np.zeros((1, 128, 192, 3), np.uint8))
    assert y.shape == (1, 24, 8, 12)
    (z,) = model.run("hyper", y=y, gain=model.gain(0))
    assert z.shape == (1, 8, 2, 3)
    features, index = model.run("scale0", z_hat=z)
    assert (features.shape, index.shape) == ((1, 16, 8, 12), (1, 4, 8, 12))
    (index,) = model.run("scale2", features=features, r=np.zeros((1, 12, 8, 12), np.float32))
    assert index.shape == (1, 12, 8, 12)
    even = np.ones((1, 1, 8, 12), np.float32)
    (y_hat,) = model.run("means", z_hat=z, r=np.zeros_like(y), gain=model.gain(0), even=even)
    (picture,) = model.run("synthesis", y_hat=y_hat, weights=model.interpolation(0))
    assert (picture.shape, picture.dtype) == ((1, 128, 192, 3), np.uint8)


def test_gains_and_weights_of_a_level() -> None:
    model = Artifact(MODEL)
    exact = np.exp(model.log_gain.astype(np.float64))
    for level in (0, 64, 448):
        np.testing.assert_allclose(model.gain(level).ravel(), exact[level // 64], rtol=1e-6)
        np.testing.assert_array_equal(model.interpolation(level)[0], np.eye(8)[level // 64])
    np.testing.assert_allclose(model.gain(96).ravel(), np.sqrt(exact[1] * exact[2]), rtol=1e-6)
    np.testing.assert_array_equal(model.interpolation(80)[0, :3], [0, 0.75, 0.25])
    assert (np.diff([model.gain(level).sum() for level in range(449)]) > 0).all()


def test_the_metadata_alone() -> None:
    assert artifact.metadata_of(MODEL) == Artifact(MODEL).metadata
    assert artifact.sizes_of(MODEL) == Artifact(MODEL).sizes


# writing


def parts() -> tuple[Any, Any, Any, Any]:
    content = members()
    graphs = {k[7:-5]: v for k, v in content.items() if k.startswith("graphs/")}
    weights = {k[8:-4]: array(v) for k, v in content.items() if k.startswith("weights/")}
    tables = {k[7:-4]: array(v) for k, v in content.items() if k.startswith("tables/")}
    return json.loads(content["metadata.json"]), graphs, weights, tables


def backwards(mapping: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(list(mapping.items())))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    metadata, graphs, weights, tables = parts()
    archive.write(tmp_path / "a.dpcmodel", metadata, graphs, weights, tables)
    archive.write(tmp_path / "b.dpcmodel", *(backwards(p) for p in (metadata, graphs, weights, tables)))
    assert (tmp_path / "a.dpcmodel").read_bytes() == (tmp_path / "b.dpcmodel").read_bytes()
    assert Artifact(tmp_path / "a.dpcmodel").identity == Artifact(MODEL).identity
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dpcmodel", "b.dpcmodel"]


def test_the_identity_covers_what_decides_how_a_stream_is_read() -> None:
    _, _, weights, tables = parts()
    sizes = Artifact(MODEL).sizes
    identity = artifact.identity_of(sizes, weights, tables)
    assert identity == Artifact(MODEL).identity

    def changed(mapping: dict[str, Any], name: str) -> dict[str, Any]:
        copy = mapping[name].copy()
        copy.flat[0] += 1
        return {**mapping, name: copy}

    for name in weights:
        decides = name.startswith(("scales.", "means."))
        assert (artifact.identity_of(sizes, changed(weights, name), tables) != identity) == decides, name
    for name in tables:
        decides = not name.endswith("anchors")
        assert (artifact.identity_of(sizes, weights, changed(tables, name)) != identity) == decides, name
    assert artifact.identity_of(Sizes(24, 8, (4, 8, 12), 8, 62), weights, tables) != identity
    assert artifact.identity_of(Sizes(24, 8, (8, 4, 12), 8, 63), weights, tables) != identity


# damage


def drop(name: str) -> Callable[[Members], object]:
    return lambda content: content.pop(name)


def put(name: str, data: bytes) -> Callable[[Members], object]:
    return lambda content: content.update({name: data})


def meta(**changes: Any) -> Callable[[Members], object]:
    return lambda content: with_metadata(content, **changes)


def network(**changes: Any) -> Callable[[Members], object]:
    def change(content: Members) -> None:
        with_metadata(content, network={**json.loads(content["metadata.json"])["network"], **changes})

    return change


def table(name: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Callable[[Members], object]:
    return lambda content: content.update({f"tables/{name}.npy": npy(change(array(content[f"tables/{name}.npy"])))})


def weight_changed(content: Members) -> None:
    name = "weights/scales.b.weight.npy"
    values = array(content[name]).copy()
    values.flat[5] += 1
    content[name] = npy(values)


DAMAGE: dict[str, tuple[Callable[[Members], object], str]] = {
    "no metadata": (drop("metadata.json"), "not a sound model"),
    "metadata is not JSON": (put("metadata.json", b"{"), "not a sound model"),
    "metadata nests for ever": (put("metadata.json", b"[" * 100_000), "not a sound model"),
    "metadata is a list": (put("metadata.json", b"[]"), "artifact format None"),
    "wrong format": (meta(artifact_format=2), "artifact format 2; this version of dpc reads 1"),
    "no network": (meta(network=None), "lacks or garbles"),
    "no graph_weights": (meta(graph_weights=None), "lacks or garbles"),
    "endless number": (meta(z_limit=float("inf")), "lacks or garbles"),
    "groups do not sum up": (network(groups=[4, 8, 11]), "do not fit together"),
    "a negative group": (network(groups=[-4, 16, 12]), "do not fit together"),
    "one level": (network(levels=1), "do not fit together"),
    "z_limit": (meta(z_limit=0), "do not fit together"),
    "no graph": (drop("graphs/scale1.onnx"), "lacks the graphs scale1"),
    "no table": (drop("tables/offsets.npy"), "lacks or garbles 'offsets'"),
    "no weight of the integer branch": (drop("weights/scales.b.weight.npy"), "lacks the weights scales.b.weight"),
    "no weight of the synthesis": (drop("weights/g_s.linear.npy"), "lacks the weights g_s.linear"),
    "changed weight": (weight_changed, "does not have the identity it claims"),
    "changed gain": (table("log_gain", lambda a: a + np.float32(1e-3)), "does not have the identity"),
    "a weight that is no array": (put("weights/g_s.linear.npy", b"\x93NUMPY\1\0\xff\xff{"), "not a sound model"),
    "a pickle": (put("weights/g_s.linear.npy", npy(np.array([{}]))), "not a sound model"),
    "an array of more than there is": (
        put("weights/g_s.linear.npy", npy(np.zeros((1, 9)))[:-72].replace(b"(1, 9)", b"(9**9, 9)")),
        "not a sound model",
    ),
    "tables: wrong shape": (table("offsets", lambda a: a[:-1]), "offsets in .* has shape"),
    "tables: wrong kind": (table("offsets", lambda a: a.astype(np.float32)), "wrong kind"),
    "tables: an index of none": (table("z_indices", lambda a: a + 60), "leave the range 1..63"),
    "tables: index 0": (table("z_indices", lambda a: a * 0), "leave the range 1..63"),
    "tables: sum": (table("frequencies", lambda a: a + 1), "table 1 is not a row"),
    "tables: lengths": (table("lengths", lambda a: -a), "table 1 is not a row"),
    "tables: lengths that are no integers": (table("lengths", lambda a: a + 0.5), "lacks or garbles"),
    "tables: none": (table("lengths", lambda a: a[:0]), "0 tables"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_a_model_error(name: str) -> None:
    damage, message = DAMAGE[name]
    content = members()
    damage(content)
    with pytest.raises(ModelError, match=message) as caught:
        Artifact(zipped(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9])
@pytest.mark.parametrize("where", ["weights", "tables"])
def test_numbers_that_cannot_be_computed_with_are_refused_at_load(where: str, value: float) -> None:
    """Analysis weights are not in the identity: nothing else would tell."""
    content = members()
    name = "tables/log_gain.npy"
    if where == "weights":
        name = next(n for n in sorted(content) if n.startswith("weights/g_a.") and array(content[n]).dtype.kind == "f")
    values = array(content[name]).astype(np.float32)
    values.flat[0] = value
    content[name] = npy(values)
    with pytest.raises(ModelError, match="the limit is") as caught:
        Artifact(zipped(content))
    assert Path(name).stem in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (np.zeros(64, np.float32), "go down to 0; they must be above 0"),
        (np.full(64, np.nan, np.float32), "the limit is"),
        (np.ones(63, np.float32), "has shape"),
        (np.ones(64, np.int32), "numbers of the wrong kind"),
    ],
)
def test_scales_that_no_gradient_can_use_are_refused_at_load(scales: npt.NDArray[Any], message: str) -> None:
    """They are not in the identity."""
    with zipfile.ZipFile(artifact.find()) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert Artifact(zipped(content)).refines
    content["tables/scales.npy"] = npy(scales)
    with pytest.raises(ModelError, match=message) as caught:
        Artifact(zipped(content))
    assert "scales" in str(caught.value) and "\n" not in str(caught.value)
    del content["tables/scales.npy"]
    assert not Artifact(zipped(content)).refines


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (3, 2**40), (-1, -1)])
def test_an_array_that_claims_more_than_it_has_takes_no_memory(shape: tuple[int, ...]) -> None:
    content = members()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})  # type: ignore[no-untyped-call]
    content["tables/log_gain.npy"] = header.getvalue() + bytes(64)
    tracemalloc.start()
    with pytest.raises(ModelError, match="not a sound model artifact"):
        Artifact(zipped(content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_sizes_of_400_digits_and_deep_nesting_are_a_model_error() -> None:
    big = int("9" * 400)
    nested = b"[" * 100_000
    for change in (
        network(latents=big),
        network(levels=big),
        network(groups=[big]),
        network(encoder_depths=[big, 1, 1]),
        network(decoder_depths=[1e400, 1, 1]),
        network(decoder_depths=[-1, 1, 1]),
        meta(z_limit=big),
        meta(halo=big),
        meta(halo="wide"),
        put("metadata.json", nested),
        put("metadata.json", "{}".encode("utf-16")),
        put("metadata.json", b'{"artifact_format": ' + b"9" * 400 + b"}"),
    ):
        content = members()
        change(content)
        with pytest.raises(ModelError) as caught:
            Artifact(zipped(content))
        assert "\n" not in str(caught.value)


def field(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    length, size = len(data), b""
    while length >= 128:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def external(name: bytes) -> bytes:
    """A tensor that lies in a file."""
    entry = field(1, b"location") + field(2, b"/etc/hostname")
    return field(8, name) + field(13, entry) + bytes([14 << 3, 1])


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_a_graph_never_reads_a_file_beside_the_model(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = field(1, field(5, field(1, b"value") + field(5, external(b"secret"))))
    added = {
        "initializer": field(5, external(b"secret")),
        "constant": constant,
        "branch": field(1, field(5, field(1, b"then_branch") + field(6, constant))),
    }[place]
    content = members()
    content["graphs/analysis.onnx"] += field(7, added)  # merged into the graph, as protocol buffers are
    assert external_tensors(content["graphs/analysis.onnx"]) >= {"secret"}
    model = Artifact(zipped(content))  # analysis is not in the identity
    with pytest.raises(ModelError, match="'secret' from a file outside of the model") as caught:
        model.run("analysis", image=np.zeros((1, 16, 16, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_only_what_is_handed_over_is_external_in_a_sound_model() -> None:
    for path in [MODEL, *artifact.released().values()]:
        model = Artifact(path)
        for name, graph in model._graphs.items():
            assert external_tensors(graph) == set(model._needs[name])
            for cut in range(0, len(graph), max(1, len(graph) // 50)):
                with contextlib.suppress(ValueError):
                    external_tensors(graph[:cut])


def test_a_checkpoint_is_told_from_a_model(tmp_path: Path) -> None:
    for name, data in (
        ("last.pt", zipped({"archive/data.pkl": b""})),
        ("old.pth", b"no zip"),
        ("x.dpcmodel", zipped({"last/data.pkl": b""})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=f"dpc export .*{name} MODEL.dpcmodel"):
            Artifact(tmp_path / name)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "huge.dpcmodel", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="the most of a model is"):
        Artifact(tmp_path / "huge.dpcmodel")


def test_an_artifact_travels_by_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.dpcmodel"
    path.write_bytes(DATA)
    for source in (path, DATA):
        one = Artifact(source, 1)
        one.run("hyper", y=np.zeros((1, one.sizes.latents, 4, 4), np.float32), gain=one.gain(0))
        again = pickle.loads(pickle.dumps(one))
        assert (again.identity, again.threads, again.path) == (one.identity, 1, one.path)
    kept = pickle.dumps(Artifact(path))
    content = members()
    table("log_gain", lambda values: values + np.float32(0.5))(content)
    with pytest.raises(ModelError) as told:
        Artifact(zipped(content))
    assert "identity" in str(told.value)
    path.unlink()
    with pytest.raises(ModelError, match="cannot read the model"):
        pickle.loads(kept)


def test_a_damaged_graph_is_a_model_error_when_it_is_used() -> None:
    content = members()
    content["graphs/analysis.onnx"] = content["graphs/analysis.onnx"][:-50]
    with pytest.raises(ModelError, match="graph analysis of the given data"):
        Codec(Artifact(zipped(content))).encode(np.zeros((9, 9, 3), np.uint8))


def test_inputs_that_a_graph_cannot_take_are_a_model_error() -> None:
    with pytest.raises(ModelError, match="graph hyper of .* cannot be run by onnxruntime"):
        Artifact(MODEL).run("hyper", y=np.zeros((1, 23, 8, 8), np.float32), gain=np.ones((1, 24, 1, 1), np.float32))


@pytest.mark.parametrize("length", [0, 1, 21, 22, 1000, len(DATA) // 2, len(DATA) - 1])
def test_a_truncated_file_is_a_model_error(length: int) -> None:
    with pytest.raises(ModelError, match="the given data is not a sound model artifact"):
        Artifact(DATA[:length])


def test_what_is_no_archive_is_a_model_error(tmp_path: Path) -> None:
    for data in (b"", b"hello", bytes(1000)):
        with pytest.raises(ModelError):
            Artifact(data)
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(ModelError):
            artifact.metadata_of(tmp_path / "x")
        with pytest.raises(ModelError):
            artifact.sizes_of(tmp_path / "x")
    for path in (tmp_path / "none.dpcmodel", tmp_path):
        with pytest.raises(ModelError, match=r"cannot read the model .*: (No such file|Is a directory)"):
            Artifact(path)
        with pytest.raises(ModelError):
            artifact.metadata_of(path)


def test_metadata_of_another_kind_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(zipped({"metadata.json": b'{"network": {}}'}))
    with pytest.raises(ModelError):
        artifact.sizes_of(tmp_path / "x")
    (tmp_path / "x").write_bytes(zipped({"metadata.json": b"[" * 100_000}))
    with pytest.raises(ModelError):
        artifact.metadata_of(tmp_path / "x")


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    content = members()
    content["weights/bomb.npy"] = bytes(3_000_000)
    assert len(data := zipped(content)) < 300_000
    monkeypatch.setattr(archive, "MAX_UNPACKED", 2_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # reading any member fails
    with pytest.raises(ModelError, match=r"claims to unpack to \d+ bytes; the limit is 2000000"):
        Artifact(data)


def test_every_flipped_bit_ends_in_a_model_error_or_a_model() -> None:
    """Also in the archive's own fields: encryption, compression methods, offsets, names."""
    rng = random.Random(5)
    central = DATA.index(b"PK\1\2")
    places = [rng.randrange(len(DATA)) for _ in range(60)]
    places += [rng.randrange(central, len(DATA)) for _ in range(240)]
    loaded = 0
    for place in places:
        data = bytearray(DATA)
        data[place] ^= 1 << rng.randrange(8)
        try:
            assert Artifact(bytes(data)).identity == Artifact(MODEL).identity
            loaded += 1
        except ModelError:
            pass
    assert loaded < len(places)


# finding


def test_released_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(artifact.resources, "files", lambda package: tmp_path)
    assert artifact.released() == {}
    with pytest.raises(UnknownModel, match=f"{artifact.DEFAULT} is missing from this installation; install dpc again"):
        artifact.find()
    with pytest.raises(UnknownModel, match=r"there is no model 'x'.*one of none"):
        artifact.find("x")
    for name in (artifact.DEFAULT, "other"):
        (tmp_path / "models" / f"{name}.dpcmodel").write_bytes(DATA)
    (tmp_path / "models" / "README.md").write_text("no model")
    assert list(artifact.released()) == [artifact.DEFAULT, "other"]
    assert artifact.find() == artifact.find(artifact.DEFAULT) == tmp_path / "models" / f"{artifact.DEFAULT}.dpcmodel"
    assert artifact.find("other") == tmp_path / "models" / "other.dpcmodel"
    assert artifact.find(MODEL) == artifact.find(str(MODEL)) == MODEL
    with pytest.raises(UnknownModel, match=rf"there is no model 'x'.*one of {artifact.DEFAULT}, other"):
        artifact.find("x")
    with pytest.raises(UnknownModel):
        artifact.find(tmp_path)


@pytest.mark.parametrize("path", artifact.released().values(), ids=lambda p: p.stem)
def test_a_released_model_is_sound(path: Path) -> None:
    model = Artifact(path)
    assert model.name == path.stem
    assert model.metadata["licence"] == "Apache-2.0"
    assert 0 < model.metadata["largest_accumulator"] < 2**24
    assert model.bytes < 20_000_000
