"""Integers <-> bytes: against a coder written out in plain Python, round trips, size, damage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.codec.entropy import ESCAPE_LIMIT, PRECISION, Decoder, Encoder, Tables
from dpc.errors import Corrupt, ModelError

Int = npt.NDArray[np.int32]


def row(limit: int, percent: int) -> npt.NDArray[np.uint32]:
    """Frequencies of -limit..limit and escape: each value is percent as frequent as the one nearer to 0."""
    mass = [10**30 * percent ** abs(k) // 100 ** abs(k) for k in range(-limit, limit + 1)] + [10**27]
    result = [1 + m * (2**PRECISION - len(mass)) // sum(mass) for m in mass]
    result[limit] += 2**PRECISION - sum(result)
    return np.array(result, np.uint32)


ROWS = [row(1, 1), row(2, 14), row(3, 37), row(9, 72), row(40, 92), row(300, 99)]
TABLES = Tables(ROWS)


class Reference:
    """The coder of docs/format.md with Python's integers: a stack of 32-bit words and a state of 64 bits."""

    def __init__(self, words: list[int] | None = None) -> None:
        self.words, self.state = list(words or []), 1 << PRECISION if words is None else 0
        self._fill()

    def _fill(self) -> None:
        while self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def push(self, start: int, frequency: int) -> None:
        if self.state >= frequency << (64 - PRECISION):
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = self.state // frequency << PRECISION | start + self.state % frequency

    def pop(self, frequencies: list[int]) -> int:
        slot = self.state & (1 << PRECISION) - 1
        start = symbol = 0
        while start + frequencies[symbol] <= slot:
            start += frequencies[symbol]
            symbol += 1
        self.state = (self.state >> PRECISION) * frequencies[symbol] + slot - start
        self._fill()
        return symbol

    def result(self) -> list[int]:
        words, state = list(self.words), self.state
        while state:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        return words


UNIFORM = [1 << PRECISION - 16] * 65536


def reference_parts(values: Int, indices: Int) -> list[tuple[int, list[int]]]:
    """(symbol, frequencies) in the order in which docs/format.md decodes them."""
    parts: list[tuple[int, list[int]]] = []
    escapes: list[tuple[int, list[int]]] = []
    for index in range(1, len(ROWS) + 1):
        frequencies = ROWS[index - 1].tolist()
        limit = (len(frequencies) - 2) // 2
        for value, mine in zip(values.ravel().tolist(), indices.ravel().tolist(), strict=True):
            if mine == index:
                known = abs(value) <= limit
                parts.append((value + limit if known else 2 * limit + 1, frequencies))
                if not known:
                    escapes.append((value + 32768, UNIFORM))
    return parts + escapes


def reference_encode(parts: list[tuple[Int, Int]]) -> bytes:
    coder = Reference()
    symbols = [pair for part in parts for pair in reference_parts(*part)]
    for symbol, frequencies in reversed(symbols):
        coder.push(sum(frequencies[:symbol]), frequencies[symbol])
    return np.array(coder.result(), "<u4").tobytes()


def drawn(seed: int, shape: tuple[int, ...], escapes: float = 0.05) -> tuple[Int, Int]:
    """Values and the indices to code them under, some of them escapes, 0 where the index is 0."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, len(TABLES), shape)
    values = rng.laplace(0, 1 + 2.0**indices).round()
    values = np.where(rng.random(shape) < escapes, rng.integers(-ESCAPE_LIMIT, ESCAPE_LIMIT + 1, shape), values)
    values = np.where(indices == 0, 0, values).astype(np.int32)
    return values, indices.astype(np.int32)


def encode(*parts: tuple[Int, npt.NDArray[np.integer]]) -> bytes:
    encoder = Encoder(TABLES)
    for values, indices in parts:
        encoder.add(values, indices)
    return encoder.finish()


# the words


@pytest.mark.parametrize("seed", range(6))
def test_the_words_are_those_of_the_reference(seed: int) -> None:
    parts = [drawn(seed, (3, 7, 5)), drawn(seed + 100, (40,)), drawn(seed + 200, (2, 0))]
    assert encode(*parts) == reference_encode(parts)


def test_the_reference_decodes_the_words() -> None:
    values, indices = drawn(1, (100,))
    data = encode((values, indices))
    coder = Reference(np.frombuffer(data, "<u4").tolist())
    for symbol, frequencies in reference_parts(values, indices):
        assert coder.pop(frequencies) == symbol
    assert coder.state == 1 << PRECISION and not coder.words


def test_known_symbols_give_known_words() -> None:
    values = np.array([0, -3, 3, 4, 1, 0, 300, -2, 0, 11], np.int32)
    indices = np.array([0, 3, 3, 3, 1, 2, 6, 2, 5, 5], np.int32)
    assert encode((values, indices)).hex() == "8836808b3615287688b6fd6a02000000"


@pytest.mark.parametrize("index", range(1, len(TABLES)))
def test_every_symbol_of_every_table_is_coded_with_its_own_frequency(index: int) -> None:
    """What lets the tables be integers: the coder uses the frequencies as they are, not nearly so."""
    limit = int(TABLES.limits[index])
    values = np.append(np.arange(-limit, limit + 1), 2 * limit).astype(np.int32)
    parts = [(values, np.full(values.shape, index, np.int32))]
    assert encode(*parts) == reference_encode(parts)


# round trips


@settings(max_examples=150)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, len(TABLES) - 1),
                st.one_of(st.integers(-4, 4), st.integers(-400, 400), st.integers(-ESCAPE_LIMIT, ESCAPE_LIMIT)),
            ),
            max_size=60,
        ),
        max_size=4,
    ),
    st.sampled_from([np.uint8, np.int32, np.int64]),
)
def test_round_trip(drawn_parts: list[list[tuple[int, int]]], kind: type[np.integer]) -> None:
    parts = []
    for pairs in drawn_parts:
        indices = np.array([i for i, _ in pairs], kind)
        parts.append((np.array([v if i else 0 for i, v in pairs], np.int32), indices))
    data = encode(*parts)
    decoder = Decoder(TABLES, data)
    for values, indices in parts:
        got = decoder.read(indices)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, values)
    decoder.finish()
    assert encode(*parts) == data


def test_shapes_are_kept() -> None:
    values, indices = drawn(4, (5, 3, 4))
    # a view that does not lie in one piece
    data = encode((values.transpose(2, 0, 1), indices.transpose(2, 0, 1)))
    np.testing.assert_array_equal(Decoder(TABLES, data).read(indices.transpose(2, 0, 1)), values.transpose(2, 0, 1))


def test_nothing_is_one_word() -> None:
    nothing = np.zeros((4, 4), np.int32)
    data = (1 << PRECISION).to_bytes(4, "little")
    assert encode() == encode((nothing, nothing)) == encode((nothing[:0], nothing[:0])) == data
    decoder = Decoder(TABLES, data)
    np.testing.assert_array_equal(decoder.read(nothing), nothing)
    decoder.finish()


@pytest.mark.parametrize("value", [0, 1, -1, 2, ESCAPE_LIMIT, -ESCAPE_LIMIT])
@pytest.mark.parametrize("index", [1, 6])
def test_one_symbol(value: int, index: int) -> None:
    values, indices = np.array([[value]], np.int32), np.array([[index]], np.uint8)
    data = encode((values, indices))
    decoder = Decoder(TABLES, data)
    np.testing.assert_array_equal(decoder.read(indices), values)
    decoder.finish()


# size


@pytest.mark.parametrize(
    ("count", "escapes"), [(0, 0.0), (1, 0.0), (10, 0.0), (300, 0.1), (20_000, 0.0), (20_000, 0.02)]
)
def test_bits_are_those_of_the_bytes(count: int, escapes: float) -> None:
    values, indices = drawn(count, (count,), escapes)
    estimate, real = TABLES.bits(values, indices) / 8, len(encode((values, indices)))
    assert abs(real - estimate) <= 0.01 * estimate + 8


# damage


def damaged(data: bytes, indices: Int) -> None:
    decoder = Decoder(TABLES, data)
    decoder.read(indices)
    decoder.finish()


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_stream_of_odd_length_is_refused(cut: int) -> None:
    values, indices = drawn(2, (200,))
    with pytest.raises(Corrupt, match="multiple of 4"):
        damaged(encode((values, indices))[:-cut], indices)


def test_a_stream_that_ends_in_a_zero_word_is_refused() -> None:
    values, indices = drawn(2, (200,))
    with pytest.raises(Corrupt, match="zero word"):
        damaged(encode((values, indices)) + bytes(4), indices)


@pytest.mark.parametrize("data", [b"", bytes(4), b"\xff\xff\xff\0", b"\1\0\0\1"])
def test_a_stream_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        damaged(data, np.zeros(3, np.int32))


@pytest.mark.parametrize("state", [1, 5, (1 << PRECISION) - 1, 1 << PRECISION])
@pytest.mark.parametrize("index", range(1, len(TABLES)))
def test_no_symbol_is_free(state: int, index: int) -> None:
    """Without a lowest state these few bytes would hold any number of symbols."""
    with pytest.raises(Corrupt, match="ends before its part"):
        Decoder(TABLES, state.to_bytes(4, "little")).read(np.full(10_000, index, np.int32))


def test_a_stream_that_holds_more_is_refused() -> None:
    values, indices = drawn(2, (200,))
    with pytest.raises(Corrupt, match="more than"):
        damaged(encode((values, indices)), indices[:-50])


def test_an_escape_for_a_value_that_the_table_has_is_refused() -> None:
    """One content, one stream: what a reader accepts a writer gives back byte for byte."""
    for value in (-1, 0, 1, -32768):
        coder = Reference()
        coder.push((value + 32768) << PRECISION - 16, 1 << PRECISION - 16)
        coder.push(int(ROWS[0][:3].sum()), int(ROWS[0][3]))
        with pytest.raises(Corrupt, match="escape"):
            damaged(np.array(coder.result(), "<u4").tobytes(), np.array([1], np.int32))


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_any_bytes_decode_to_values_that_give_them_back_or_are_corrupt(data: bytes) -> None:
    data = data[: len(data) // 4 * 4]
    indices = drawn(3, (150,))[1]
    try:
        decoder = Decoder(TABLES, data)
        values = decoder.read(indices)
        decoder.finish()
    except Corrupt:
        return
    assert encode((values, indices)) == data


# tables


@pytest.mark.parametrize(
    "bad",
    [
        np.array([1 << 23, 1 << 23], np.uint32),  # too short
        np.array([1 << 22, 1 << 23, 1 << 22], np.uint32),
        np.array([1 << 22, 1 << 22, 1 << 22, 1 << 21, 1 << 21], np.uint32),  # an odd number
        np.array([1 << 22, 1 << 22, 1 << 22, (1 << 22) + 1], np.uint32),  # does not sum to 2**24
        np.array([1 << 22, 1 << 22, 1 << 22, (1 << 22) - 1], np.uint32),
        np.array([0, 1 << 23, 1 << 22, 1 << 22], np.uint32),  # a symbol that cannot be coded
        np.array([-(1 << 22), 1 << 23, 1 << 23, 1 << 22], np.int64),
        np.full((2, 2), 1 << 22, np.uint32),
        np.zeros(0, np.uint32),
    ],
)
def test_a_bad_table_is_refused(bad: npt.NDArray[np.integer]) -> None:
    with pytest.raises(ModelError, match="table 2 "):
        Tables([ROWS[0], bad])


def test_tables_know_their_limits() -> None:
    assert len(TABLES) == 7
    assert TABLES.limits.tolist() == [0, 1, 2, 3, 9, 40, 300]
