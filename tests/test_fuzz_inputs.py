"""Mutations of files, models, recipes, lists and rows, their checksums corrected: a result or one of our errors.

DPC_FUZZ=25000 python -m pytest tests/test_fuzz_inputs.py    that many of each kind, for a night; 500 by default
"""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

from dpc.cli import manifest
from dpc.codec import container
from dpc.codec.artifact import DRAWING, Artifact, decoding, identity_of
from dpc.codec.codec import Codec
from dpc.errors import DPCError
from dpc.evaluation.compression import rows
from dpc.training import recipe

COUNT = int(os.environ.get("DPC_FUZZ", "500"))
MODEL = ROOT / "tests" / "data" / "tiny.dpcmodel"
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)
WORDS = [
    b"nan",
    b"inf",
    b"-1",
    b"9" * 400,
    b"[" * 50,
    b"\xff\xfe",
    b"\0",
    b"\n",
    b'"',
    b"=",
    b",",
    b"1e999",
    b"true",
    b"",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The data with one to four changes: a bit, a byte, a piece cut out, doubled or replaced by an awkward word."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(5)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(found):
            found[place] = chance.randrange(256)
        elif kind == 2:
            del found[place : place + chance.randint(1, 20)]
        elif kind == 3:
            found[place:place] = found[place : place + chance.randint(1, 20)]
        else:
            found[place : place + chance.randint(0, 5)] = chance.choice(WORDS)
    return bytes(found)


def outcome(action: Callable[[], Any], sample: bytes) -> bool:
    """Whether it gave a result; one of our errors, in one line, is as good; anything else fails with the sample."""
    try:
        action()
    except DPCError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000, str(error)
        return False
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}, for {sample[:2000]!r}") from error
    return True


def test_files() -> None:
    chance = random.Random(1)
    codec = Codec(MODEL, 1)
    whole = codec.encode(PICTURE, quality=50, lossless=False)
    file = container.unpack(whole)
    results = 0
    for _ in range(COUNT):
        if chance.random() < 0.5:
            sample = mutated(whole, chance)
        else:  # the container's checksums are right again
            body = mutated(file.body, chance)
            sample = container.pack(replace(file, body=body))
        results += outcome(lambda: codec.decode(sample, as_array=True, max_pixels=1 << 20), sample)  # noqa: B023
    assert results < COUNT


@pytest.mark.slow
def test_models() -> None:
    chance = random.Random(2)
    with zipfile.ZipFile(MODEL) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    used = 0
    for _ in range(COUNT // 4):  # each takes as long as many of the others
        name = chance.choice(sorted(members))
        content = members | {name: mutated(members[name], chance)}
        sample = content[name]
        _correct(content)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for member, data in content.items():
                archive.writestr(member, data)

        def use() -> None:
            codec = Codec(Artifact(out.getvalue(), 1))  # noqa: B023
            codec.decode(codec.encode(PICTURE, quality=50), as_array=True)

        with np.errstate(all="ignore"):
            used += outcome(use, name.encode() + b": " + sample)
    assert used < COUNT // 4


def _correct(content: dict[str, bytes]) -> None:
    """Give the metadata the identity that the content has, where it has one."""
    try:
        meta = json.loads(content["metadata.json"])
        sizes = Artifact(MODEL).sizes
        arrays = {name: np.load(io.BytesIO(data)) for name, data in content.items() if name.endswith(".npy")}
        weights = {name[8:-4]: array for name, array in arrays.items() if name.startswith("weights/")}
        tables = {name[7:-4]: array for name, array in arrays.items() if name.startswith("tables/")}
        names = decoding(len(sizes.groups)) if meta.get("native_weights") else DRAWING
        drawing = {n: content[f"graphs/{n}.onnx"] for n in names} if meta.get("exact_pixels") else None
        meta["identity"] = identity_of(sizes, weights, tables, drawing)
        content["metadata.json"] = json.dumps(meta).encode()
    except Exception:  # no array, no JSON: then no identity can be right
        return


def test_recipes(tmp_path: Path) -> None:
    chance = random.Random(3)
    texts = [p.read_bytes() for p in sorted((ROOT / "src" / "dpc" / "training" / "recipes").glob("*.toml"))]
    path = tmp_path / "r.toml"
    for _ in range(COUNT):
        sample = mutated(chance.choice(texts), chance)
        path.write_bytes(sample)
        outcome(lambda: recipe.read(path), sample)


def test_lists(tmp_path: Path) -> None:
    chance = random.Random(4)
    text = b"input,output,quality,bpp,max_bytes\na.png,b.dpc,40,,\nc.png,,,0.2,\nd/e.png,,,,4000\n"
    path = tmp_path / "list.csv"
    for _ in range(COUNT):
        sample = mutated(text, chance)
        path.write_bytes(sample)
        outcome(lambda: list(manifest.rows(path)), sample)


@pytest.mark.data
def test_rows(tmp_path: Path) -> None:
    chance = random.Random(5)
    found = sorted((ROOT / "results").rglob("rows.csv"))
    if not found:
        pytest.skip("there are no rows in results")
    text = b"".join(found[0].read_bytes().splitlines(keepends=True)[:6])
    path = tmp_path / "rows.csv"
    for _ in range(COUNT):
        sample = mutated(text, chance)
        path.write_bytes(sample)
        outcome(lambda: rows.read(path), sample)
