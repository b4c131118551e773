"""spec/vectors: this implementation finds what they say, and they cover every rule of docs/format.md."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from pathlib import Path
from typing import Any

import make_vectors
import pytest
from paths import ROOT

from dpc.codec import container
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec
from dpc.errors import DPCError, FormatError

VECTORS: dict[str, Any] = json.loads((make_vectors.FOLDER / "vectors.json").read_text(encoding="utf-8"))
CODECS = {model: Codec(Artifact(ROOT / path, 1)) for model, path in VECTORS["models"].items()}
CODEC = next(iter(CODECS.values()))  # that of the invalid and hostile files
MESSAGES = {  # of the rules of indexed bodies and of the learned body
    "R30": r"above 16777216 in all|which are not those of \d+ colours|ends in a zero word",
    "R31": "ends before its picture|does not end with its picture|uses colour 3 of 3",
    "S1": r"quality level \d+ is above the model's last, 448",
    "S2": "strip",
    "S3": "not a positive multiple of 4",
    "S4": "ends in a zero word",
    "S5": "ends before its part",
    "S6": "holds more than its part",
    "S7": "an escape holds a value",
    "S8": r"lies outside -63\.\.63",
    "S9": r"a delta of the quality map lies outside -8\.\.8",
    "S10": "the file has a quality map, which exact does not allow",
}


def data_of(vector: dict[str, Any]) -> bytes:
    return (make_vectors.FOLDER / vector["file"]).read_bytes()


def names(kind: str) -> list[Any]:
    return [pytest.param(vector, id=Path(vector["file"]).stem) for vector in VECTORS[kind]]


@pytest.mark.parametrize("vector", names("valid"))
def test_valid(vector: dict[str, Any]) -> None:
    codec = CODECS.get(vector["model"], CODEC)
    assert {"file": vector["file"], **make_vectors.found(codec, data_of(vector))} == vector


@pytest.mark.parametrize("vector", names("invalid"))
def test_invalid(vector: dict[str, Any]) -> None:
    data = data_of(vector)
    with pytest.raises(FormatError) as caught:
        container.unpack(data)
        assert vector["when"] == "decode"
        CODEC.decode(data)
    message = str(caught.value)
    assert type(caught.value).__name__ == vector["error"]
    assert "\n" not in message and "; " in message, "the way out is missing"
    assert re.search(MESSAGES.get(vector["rule"], ""), message)


@pytest.mark.parametrize("vector", names("hostile"))
def test_hostile(vector: dict[str, Any]) -> None:
    data = data_of(vector)
    make_vectors.error_of(CODEC, data)  # the networks are loaded
    tracemalloc.start()
    start = time.process_time()
    try:
        assert make_vectors.error_of(CODEC, data) == vector["error"] != ""
        assert time.process_time() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_every_rule_has_a_vector_with_its_error() -> None:
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| ([RS]\d+) \|.*\| (\w+) \|$", text, re.M))
    assert {vector["rule"]: vector["error"] for vector in VECTORS["invalid"]} == documented
    assert len(documented) == 41
    assert set(MESSAGES) == {"R30", "R31"} | {rule for rule in documented if rule[0] == "S"}


def test_the_vectors_are_those_that_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.relative_to(make_vectors.FOLDER): path for path in make_vectors.FOLDER.rglob("*.*")}
    for name, path in before.items():
        if name.parts[0] == "valid":
            (tmp_path / "valid").mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(path.read_bytes())
    monkeypatch.setattr(make_vectors, "FOLDER", tmp_path)
    make_vectors.main()
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    kept = {name: path.read_bytes() for name, path in before.items() if name.name != "README.md"}
    # another zlib or WebP deflates otherwise; what is read is held above
    assert made.keys() == kept.keys()
    assert {n: d for n, d in made.items() if re.search(r"-(R[1-9]|R1\d|R2[0-2])-", str(n))} == {
        n: d for n, d in kept.items() if re.search(r"-(R[1-9]|R1\d|R2[0-2])-", str(n))
    }


def test_every_error_is_one_of_ours() -> None:
    assert {v["error"] for kind in ("invalid", "hostile") for v in VECTORS[kind]} <= {
        cls.__name__ for cls in (*FormatError.__subclasses__(), *DPCError.__subclasses__())
    }
