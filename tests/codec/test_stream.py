"""The body: the table of strips, and what docs/format.md calls broken in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpc.codec.stream import join, split
from dpc.errors import Corrupt


@given(st.lists(st.integers(1, 200000), min_size=1, max_size=8))
def test_round_trip(words: list[int]) -> None:
    streams = [bytes([n]) * (4 * count) for n, count in enumerate(words)]
    body = join(streams)
    assert [bytes(s) for s in split(body, len(streams))] == streams
    assert len(words) > 1 or body == streams[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x00" + bytes(8),  # a length of 0
        b"\x81\x00" + bytes(8),  # not in the fewest bytes
        b"\x81\x80\x80\x80\x01" + bytes(8),  # five bytes
        b"\xff\xff\xff\x7f" + bytes(8),  # past the end
        b"\x02" + bytes(8),  # leaves nothing for the last one
        b"\x80",
    ],
)
def test_a_table_that_cannot_be_is_corrupt(body: bytes) -> None:  # S2
    with pytest.raises(Corrupt, match="strip"):
        split(body, 2)


@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_table_is_read_or_corrupt(body: bytes, count: int) -> None:
    try:
        streams = split(body, count)
    except Corrupt:
        return
    assert len(streams) == count and streams[-1]
    table = len(body) - sum(map(len, streams))
    assert 0 <= table <= 4 * (count - 1)
