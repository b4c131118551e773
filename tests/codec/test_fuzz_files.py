"""Mutations of good files under a right checksum: each ends in a picture or in one of our errors, soon.

2,000 of them always; 100,000 with `pytest -m nightly tests/codec/test_fuzz_files.py`.
"""

from __future__ import annotations

import random
import resource
import time
import zlib

import make_vectors
import numpy as np
import pytest
from test_vectors import CODEC, CODECS

from dpc.codec import container
from dpc.errors import DPCError

SECONDS, MEGABYTES = 5, 600  # of processor time for one file; of growth for all of them
PIXELS = 1 << 20  # a larger picture is refused, so that a rightly paid one does not take minutes
FILES = [
    path.read_bytes() for kind in ("valid", "invalid") for path in sorted((make_vectors.FOLDER / kind).glob("*.dpc"))
]
GOOD = len(list((make_vectors.FOLDER / "valid").glob("*.dpc")))


def mutated(chance: random.Random) -> bytes:
    """A file, changed in a few places: bits, bytes, runs that are left out, doubled, or come from another file."""
    data = bytearray(FILES[chance.randrange(GOOD if chance.random() < 0.9 else len(FILES))][:-4])
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        # a quarter of them in the header, where everything is decided
        at = chance.randrange(len(data)) if chance.random() < 0.75 else chance.randrange(min(24, len(data)))
        kind = chance.randrange(6)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del data[at : at + chance.choice((1, 2, 4, 40))]
        elif kind == 3:
            data[at:at] = data[at : at + chance.choice((1, 4, 40))]
        elif kind == 4:
            other = chance.choice(FILES)
            start = chance.randrange(max(1, len(other)))
            data[at : at + 8] = other[start : start + 8]
        else:
            data[at:at] = chance.randbytes(chance.choice((1, 4)))
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def outcome(data: bytes) -> str:
    """How a reader ends; AssertionError where it takes too long or ends in another error."""
    start = time.process_time()
    try:
        model = container.peek(data).model
        codec = CODEC if model is None else CODECS.get(model.hex(), CODEC)
        array = codec.decode(data, as_array=True, max_pixels=PIXELS)
        assert array.dtype == np.uint8 and array[..., 0].size <= PIXELS
        result = "picture"
    except DPCError as error:
        assert "\n" not in str(error)
        result = type(error).__name__
    assert time.process_time() - start < SECONDS, data.hex()[:200]
    return result


def fuzzed(count: int, seed: int) -> dict[str, int]:
    """How often each outcome came."""
    chance = random.Random(seed)
    seen: dict[str, int] = {}
    for data in FILES[:GOOD]:  # the networks have what memory they take before it is measured
        outcome(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        data = mutated(chance)
        try:
            result = outcome(data)
        except BaseException as error:
            raise AssertionError(f"mutation {number} of seed {seed}: {data.hex()}") from error
        seen[result] = seen.get(result, 0) + 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
    return seen


def test_two_thousand_mutations() -> None:
    seen = fuzzed(2000, 1)
    assert {"picture", "Corrupt", "Truncated", "TooLarge", "WrongModel", "NotADPCFile", "UnsupportedVersion"} <= set(
        seen
    )
    assert seen["picture"] >= 20, seen


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 12))
def test_ten_thousand_mutations(seed: int) -> None:
    assert sum(fuzzed(10_000, seed).values()) == 10_000
