"""The container: exact bytes, every rule of docs/format.md, truncations, bit flips."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT

from dpc.codec import container
from dpc.codec.container import (
    HEADER_BYTES,
    MAGIC,
    MAX_PIXELS,
    MAX_SIDE,
    VERSION,
    DPCFile,
    Header,
    check_size,
    pack,
    peek,
    unpack,
)
from dpc.errors import Corrupt, DPCError, FormatError, NotADPCFile, TooLarge, Truncated, UnsupportedVersion

FORMAT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
SMALL = DPCFile(300, 7, b"\x00\xffmo", 0x1234, True, b"stream", b"alpha", b"icc", b"exif")
HEADER = bytes.fromhex("89445043 01 01 00ff6d6f 3412 ac02 07")
SECTIONS = b"\x01\x06stream\x02\x05alpha\x03\x03icc\x04\x04exif"


def sealed(body: bytes) -> bytes:
    """A body with the checksum that belongs to it."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def header(size: bytes = b"\x05\x06", version: int = 1, flags: int = 0) -> bytes:
    return MAGIC + bytes([version, flags]) + b"mode\x00\x00" + size


STREAM = b"\x01\x01s"

# what docs/format.md calls broken, and the error it must give; R21 and R22 are in test_image.py
BROKEN: list[tuple[str, bytes, type[FormatError]]] = [
    ("R1", b"\x89PNG\r\n\x1a\n" + bytes(40), NotADPCFile),
    ("R1", b"GI", NotADPCFile),
    ("R2", b"", Truncated),
    ("R2", MAGIC[:2], Truncated),
    ("R2", header()[:11], Truncated),
    ("R2", header(b"\x85"), Truncated),
    ("R3", sealed(header(version=0) + STREAM), UnsupportedVersion),
    ("R3", sealed(header(version=2) + STREAM), UnsupportedVersion),
    ("R3", MAGIC + b"\x02", UnsupportedVersion),
    *(("R4", sealed(header(flags=1 << bit) + STREAM), Corrupt) for bit in range(1, 8)),
    ("R5", sealed(header(b"\x80\x80\x80\x01\x06") + STREAM), Corrupt),
    ("R5", sealed(header(b"\x06\x80\x80\x80\x01") + STREAM), Corrupt),
    ("R6", sealed(header(b"\x85\x00\x06") + STREAM), Corrupt),
    ("R6", sealed(header(b"\x06\x85\x80\x00") + STREAM), Corrupt),
    ("R7", sealed(header(b"\x00\x06") + STREAM), Corrupt),
    ("R7", sealed(header(b"\x06\x00") + STREAM), Corrupt),
    ("R8", sealed(header(b"\x80\x80\x04\x01") + STREAM), TooLarge),
    ("R8", sealed(header(b"\x01\x80\x80\x04") + STREAM), TooLarge),
    ("R9", sealed(header(b"\xff\xff\x03\xff\xff\x03") + STREAM), TooLarge),
    ("R9", sealed(header(b"\x80\x80\x01\x81\x80\x01") + STREAM), TooLarge),
    *(("R10", header() + bytes(n), Truncated) for n in range(4)),
    ("R11", sealed(header() + b"\x00\x00" + STREAM), Corrupt),
    ("R11", sealed(header() + STREAM + b"\x05\x01x"), Corrupt),
    ("R12", sealed(header() + STREAM + STREAM), Corrupt),
    ("R12", sealed(header() + b"\x02\x01a" + STREAM), Corrupt),
    ("R13", sealed(header() + b"\x01"), Truncated),
    ("R13", sealed(header() + b"\x01\x81"), Truncated),
    ("R14", sealed(header() + b"\x01\x81\x80\x80\x80\x80\x01s"), Corrupt),
    ("R15", sealed(header() + b"\x01\x81\x00s"), Corrupt),
    ("R15", sealed(header() + b"\x01\x81\x80\x80\x80\x00s"), Corrupt),
    *(("R16", sealed(header() + STREAM + bytes([kind, 0])), Corrupt) for kind in (2, 3, 4)),
    ("R17", sealed(header() + b"\x01\x81\x80\x80\x80\x04s"), TooLarge),
    ("R17", sealed(header() + b"\x01\xff\xff\xff\xff\x7fs"), TooLarge),
    ("R17", sealed(header() + STREAM + b"\x02\x81\x80\x80\x80\x02a"), TooLarge),
    ("R17", sealed(header() + STREAM + b"\x03\x81\x80\x80\x02i"), TooLarge),
    ("R17", sealed(header() + STREAM + b"\x04\x81\x80\x40e"), TooLarge),
    ("R18", sealed(header() + b"\x01\x02s"), Truncated),
    ("R18", sealed(header() + b"\x01\x80\x80\x80\x80\x04s"), Truncated),
    ("R19", sealed(header()), Corrupt),
    ("R19", sealed(header() + b"\x02\x01a"), Corrupt),
    ("R20", header() + STREAM + bytes(4), Corrupt),
    ("R20", sealed(header() + STREAM)[:-1] + b"!", Corrupt),
    ("R20", sealed(header() + STREAM + b"\x02\x01a").replace(b"\x01a", b"\x01b"), Corrupt),
]


@pytest.mark.parametrize(("rule", "data", "error"), BROKEN)
def test_a_broken_rule_gives_its_error_in_one_line(rule: str, data: bytes, error: type[FormatError]) -> None:
    with pytest.raises(FormatError) as caught:
        unpack(data)
    assert caught.type is error
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message, "the way out is missing"


def test_the_tested_rules_are_the_documented_ones_with_their_errors() -> None:
    documented = dict(re.findall(r"^\| (R\d+) \|.*\| (\w+) \|$", FORMAT, re.M))
    tested = {rule: error.__name__ for rule, _, error in BROKEN}
    assert documented == {**tested, "R21": "Corrupt", "R22": "Corrupt"}


def test_the_files_that_the_broken_ones_are_made_from_are_good() -> None:
    assert unpack(sealed(header() + STREAM)) == DPCFile(5, 6, b"mode", 0, False, b"s")
    assert unpack(sealed(header() + STREAM + b"\x02\x01a\x04\x01e")).exif == b"e"


def test_exact_bytes() -> None:
    assert pack(SMALL) == sealed(HEADER + SECTIONS)
    assert unpack(pack(SMALL)) == SMALL


def test_the_documented_example_is_exact() -> None:
    (block,) = re.findall(r"```text\n(0000.*?)```", FORMAT, re.S)
    data = b""
    for line in block.splitlines():
        match = re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )+) ", line)
        assert match, line
        assert int(match[1], 16) == len(data), line
        data += bytes.fromhex(match[2])
    empty_exif = b"MM\0*\0\0\0\x08" + bytes(6)
    example = DPCFile(768, 512, b"\xa1\xb2\xc3\xd4", 1200, False, b"\xde\xad\xbe\xef\x00", exif=empty_exif)
    assert data == pack(example)
    assert unpack(data) == example
    assert f"no entries. {len(data)} bytes:" in FORMAT


def test_the_documented_limits_are_the_real_ones() -> None:
    limits = {section.name: section for section in container._SECTIONS}
    assert (limits["stream"].shortest, limits["stream"].longest) == (0, 2**30)
    assert f"| 1 | stream | always | 0 to {2**30} (2^30) |" in FORMAT
    for name, title, power in (("alpha", "alpha", 29), ("icc", "ICC profile", 22), ("exif", "EXIF", 20)):
        assert (limits[name].shortest, limits[name].longest) == (1, 2**power)
        kind = limits[name].kind
        assert re.search(rf"\| {kind} \| {title} \| .* \| 1 to {2**power} \(2\^{power}\) \|", FORMAT)
    assert f"| width, height | {MAX_SIDE} |" in FORMAT
    assert f"| width x height | {MAX_PIXELS} (2^28) |" in FORMAT
    assert MAX_PIXELS == 2**28
    assert f"# The DPC file format, version {VERSION}\n" in FORMAT
    assert f"The first {HEADER_BYTES} bytes" in FORMAT


def test_overhead_is_24_bytes() -> None:
    for size in (16384, 2**21 - 1):
        assert len(pack(DPCFile(768, 512, b"mode", 4000, False, bytes(size)))) == size + 24
    assert "24 bytes around the stream" in FORMAT


def test_peek_reads_the_header_from_the_first_bytes() -> None:
    big = replace(SMALL, width=MAX_SIDE, height=4096)
    data = pack(big)
    assert peek(data[:HEADER_BYTES]) == Header(MAX_SIDE, 4096, b"\x00\xffmo", 0x1234, True)
    assert peek(data) == peek(data[:HEADER_BYTES])
    with pytest.raises(Truncated):
        peek(data[:16])
    with pytest.raises(TooLarge):
        peek(header(b"\xff\xff\x03\xff\xff\x03"))


def test_a_claim_of_65535_by_65535_is_refused_with_its_value_and_limit() -> None:
    with pytest.raises(TooLarge, match=r"65535x65535 .* 268435456"):
        unpack(sealed(header(b"\xff\xff\x03\xff\xff\x03") + STREAM))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_taken(kind: Callable[[bytes], bytes]) -> None:
    data = kind(pack(SMALL))
    found = unpack(data)
    assert found == SMALL
    payloads = (found.model, found.stream, found.alpha, found.icc, found.exif)
    assert all(type(payload) is bytes for payload in payloads)
    assert peek(data).width == 300


dpc_files = st.builds(
    DPCFile,
    width=st.integers(1, 2**14),
    height=st.integers(1, 2**14),
    model=st.binary(min_size=4, max_size=4),
    level=st.integers(0, 65535),
    grey=st.booleans(),
    stream=st.binary(max_size=300),
    alpha=st.none() | st.binary(min_size=1, max_size=20),
    icc=st.none() | st.binary(min_size=1, max_size=20),
    exif=st.none() | st.binary(min_size=1, max_size=20),
)


@given(dpc_files)
def test_round_trip(file: DPCFile) -> None:
    data = pack(file)
    assert unpack(data) == file
    assert pack(file) == data
    assert peek(data[:HEADER_BYTES]) == Header(file.width, file.height, file.model, file.level, file.grey)


SIZES = [(1, 1), (MAX_SIDE, 1), (1, MAX_SIDE), (MAX_SIDE, 4096), (2**14, 2**14), (127, 128)]


@pytest.mark.parametrize("size", SIZES)
def test_round_trip_at_the_limits_of_the_size(size: tuple[int, int]) -> None:
    file = DPCFile(*size, b"mode", 65535, False, b"")
    assert unpack(pack(file)) == file


def test_round_trip_at_the_limits_of_the_payloads() -> None:
    file = replace(SMALL, icc=bytes(2**22), exif=bytes(2**20), stream=bytes(2**21))
    assert unpack(pack(file)) == file


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"width": 0}, Corrupt),
        ({"height": -1}, Corrupt),
        ({"width": 65536}, TooLarge),
        ({"width": 65535, "height": 65535}, TooLarge),
        ({"model": b"abc"}, Corrupt),
        ({"model": b"abcde"}, Corrupt),
        ({"level": 65536}, Corrupt),
        ({"level": -1}, Corrupt),
        ({"stream": None}, Corrupt),
        ({"alpha": b""}, Corrupt),
        ({"icc": b""}, Corrupt),
        ({"exif": b""}, Corrupt),
        ({"icc": bytes(2**22 + 1)}, TooLarge),
        ({"exif": bytes(2**20 + 1)}, TooLarge),
    ],
)
def test_what_cannot_be_read_is_not_written(change: dict[str, object], error: type[FormatError]) -> None:
    with pytest.raises(FormatError) as caught:
        pack(replace(SMALL, **change))  # type: ignore[arg-type]
    assert caught.type is error
    assert "\n" not in str(caught.value)


def test_too_much_exif_names_the_way_out() -> None:
    with pytest.raises(TooLarge, match=r"EXIF section is 1048577 .* limit is 1048576; .*exif=False"):
        pack(replace(SMALL, exif=bytes(2**20 + 1)))


@given(st.integers(-5, 2**17), st.integers(-5, 2**17))
def test_check_size(width: int, height: int) -> None:
    good = 1 <= width <= 65535 and 1 <= height <= 65535 and width * height <= 2**28
    try:
        check_size(width, height)
    except FormatError as exc:
        assert not good
        assert type(exc) is (Corrupt if min(width, height) < 1 else TooLarge)
    else:
        assert good


def test_every_truncation_is_refused() -> None:
    data = pack(SMALL)
    errors = set()
    for length in range(len(data)):
        with pytest.raises(FormatError) as caught:
            unpack(data[:length])
        errors.add(caught.type)
    assert errors == {Truncated, Corrupt}


def test_every_added_byte_is_refused() -> None:
    data = pack(SMALL)
    for byte in range(256):
        with pytest.raises(FormatError):
            unpack(data + bytes([byte]))
    with pytest.raises(FormatError):
        unpack(data + data)


def flipped(data: bytes, bits: list[int]) -> bytes:
    number = int.from_bytes(data, "little")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(len(data), "little")


def test_bit_flips_are_refused() -> None:
    data = pack(SMALL)
    for bit in range(8 * len(data)):
        with pytest.raises(FormatError):
            unpack(flipped(data, [bit]))
    chance = random.Random(1)
    for _ in range(5000):
        bits = chance.sample(range(8 * len(data)), chance.randint(2, 12))
        with pytest.raises(FormatError):
            unpack(flipped(data, bits))


def test_bit_flips_under_a_right_checksum_give_a_file_or_a_format_error() -> None:
    body = pack(SMALL)[:-4]
    chance = random.Random(2)
    damage = [[bit] for bit in range(8 * len(body))]
    damage += [chance.sample(range(8 * len(body)), chance.randint(2, 6)) for _ in range(5000)]
    read = 0
    for bits in damage:
        data = sealed(flipped(body, bits))
        try:
            file = unpack(data)
        except FormatError:
            continue
        read += 1
        assert pack(file) == data, "a file has exactly one encoding"
    assert read > 500


@given(st.binary(max_size=40))
def test_anything_after_a_good_start_is_a_file_or_a_format_error(tail: bytes) -> None:
    for start in (b"", MAGIC, header(), header() + STREAM):
        for data in (start + tail, sealed(start + tail)):
            try:
                file = unpack(data)
            except DPCError as exc:
                assert isinstance(exc, FormatError)
            else:
                assert pack(file) == data
