"""Context mixing in WebAssembly: the bits of codec/mixing.py, and the way without it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import make_tiny
import make_vectors
import numpy as np
import numpy.typing as npt
import pytest
import wasmtime

from dpc.codec import fast_mixing, indexed, mixing
from dpc.errors import Corrupt

UInt8 = npt.NDArray[np.uint8]
LETTERS = np.array(make_vectors.letters(137, 150))


def numbers(kind: str) -> UInt8:
    """A picture of few colours, as their numbers."""
    noise = make_tiny.noise(131, 90)
    if kind == "letters":
        return np.unique(LETTERS[..., 0], return_inverse=True)[1].reshape(LETTERS.shape[:2]).astype(np.uint8)
    if kind == "flat":  # counts of one colour that are halved many times
        plain = np.zeros((600, 400), np.uint8)
        plain[300, ::7] = 1
        return plain
    return {"noise": noise, "few": noise % 3, "two": noise % 2, "row": noise[:1], "column": noise[:, :1]}[kind]


@pytest.mark.parametrize("kind", ["letters", "flat", "noise", "few", "two", "row", "column"])
def test_it_tells_the_same_decisions_as_numpy(kind: str) -> None:
    picture = numbers(kind)
    colours = int(picture.max()) + 1
    told = fast_mixing.encode(picture, colours)
    assert told is not None, "wasmtime is a part of the runtime"
    expected = indexed._told(picture, colours)
    np.testing.assert_array_equal(told[0], expected[0])
    np.testing.assert_array_equal(told[1], expected[1])
    words = indexed._coded(picture, colours)
    read = fast_mixing.decode(words, *picture.shape, colours)
    assert read is not None
    np.testing.assert_array_equal(read, picture)


def test_its_tables_fit_into_their_places() -> None:
    """Each lies before the next: an exported constant of the program says where it begins."""
    program = fast_mixing._program()
    assert program is not None
    run = fast_mixing._Run(program, 8, 8, 0)
    places = sorted(
        (run._exports[name].value(run._store), len(table))  # type: ignore[union-attr]
        for name, table in program.tables.items()
    )
    assert all(start + size <= after for (start, size), (after, _) in zip(places, places[1:], strict=False))


@pytest.mark.parametrize("damage", ["cut", "longer", "other"])
def test_a_stream_that_no_writer_makes_is_left_to_numpy_to_name(damage: str) -> None:
    words = indexed._coded(numbers("letters"), 256)
    broken = {"cut": words[4:], "longer": b"\1\0\0\0" + words, "other": words[:-4] + b"\1\0\0\0"}[damage]
    assert fast_mixing.decode(broken, *LETTERS.shape[:2], 256) is None


def test_threads_have_memories_of_their_own() -> None:
    pictures = [numbers(kind) for kind in ("letters", "noise", "few", "two")] * 3
    words = [indexed._coded(picture, 256) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: fast_mixing.decode(words[i], *pictures[i].shape, 256), range(len(words))))
    for found, picture in zip(read, pictures, strict=True):
        assert found is not None
        np.testing.assert_array_equal(found, picture)


def test_without_wasmtime_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    body = indexed.to_bytes(LETTERS)
    assert body is not None
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    fast_mixing._program.cache_clear()
    try:
        assert fast_mixing.encode(numbers("two"), 2) is None
        assert indexed.to_bytes(LETTERS) == body
        height, width = LETTERS.shape[:2]
        np.testing.assert_array_equal(indexed.from_bytes(body, width, height, "body")[0], LETTERS)
        with pytest.raises(Corrupt, match="ends before its picture"):
            indexed.from_bytes(body[:-4] + b"\1\0\0\0", width, height, "body")
    finally:
        fast_mixing._program.cache_clear()


def test_where_no_program_may_run_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise wasmtime.WasmtimeError("memory protection")

    monkeypatch.setattr(wasmtime, "Module", refused)
    fast_mixing._program.cache_clear()
    try:
        assert fast_mixing.decode(bytes(8), 1, 1, 2) is None
    finally:
        fast_mixing._program.cache_clear()


def test_where_it_finds_no_memory_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise wasmtime.WasmtimeError("failed to reserve virtual memory")

    body = indexed.to_bytes(LETTERS)
    assert body is not None
    monkeypatch.setattr(wasmtime, "Instance", refused)
    assert indexed.to_bytes(LETTERS) == body
    height, width = LETTERS.shape[:2]
    np.testing.assert_array_equal(indexed.from_bytes(body, width, height, "body")[0], LETTERS)


def test_a_picture_of_the_most_pixels_finds_memory() -> None:
    program = fast_mixing._program()
    assert program is not None and mixing.BAND == 64
    run = fast_mixing._Run(program, 4096, 2048, 1 << 20)
    assert run.call("pixelsAt") > 0
    assert run.call("streamAt") > 4096 * 2048
