"""The container: exact bytes, every rule of docs/format.md, truncations, bit flips."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_vectors import BODY, CONTAINER, header, sealed
from paths import ROOT

from dpc import errors
from dpc.codec import container
from dpc.codec.container import (
    HEADER_BYTES,
    MAGIC,
    MAX_PIXELS,
    MAX_SIDE,
    VERSION,
    Colour,
    DPCFile,
    Header,
    check_size,
    pack,
    peek,
    unpack,
)
from dpc.codec.icc import MAX_ICC, deflated, inflated
from dpc.errors import Corrupt, DPCError, FormatError, TooLarge, Truncated

FORMAT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
SMALL = DPCFile(
    width=300,
    height=7,
    grey=True,
    colour=Colour.ICC,
    model=b"\x00\xffmo",
    level=0x1234,
    body=b"stream",
    quality_map=b"deltas",
    alpha=b"alpha",
    overlay=b"page",
    smoothing=b"cells",
    wide_smoothing=b"wider cells",
    icc=b"icc",
    exif=b"exif",
    xmp=b"xmp",
    density=b"12345678",
)
HEADER = bytes.fromhex("89445043 02 11 ac02 07 00ff6d6f 3412")
CHUNKS = b"\x01\x06deltas\x02\x06stream\x03\x05alpha\x04\x04page\x05\x05cells\x06\x0bwider cells"
CHUNKS += b"\x81\x03icc\x82\x04exif\x83\x03xmp\x84\x0812345678"
BARE = DPCFile(width=5, height=6, model=b"mode", level=0, body=b"body")


BROKEN = [(rule, data, getattr(errors, name)) for rule, data, name in CONTAINER]


@pytest.mark.parametrize(("rule", "data", "error"), BROKEN)
def test_a_broken_rule_gives_its_error_in_one_line(rule: str, data: bytes, error: type[FormatError]) -> None:
    with pytest.raises(FormatError) as caught:
        unpack(data)
    assert caught.type is error
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message, "the way out is missing"


def test_the_files_that_the_broken_ones_are_made_from_are_good() -> None:
    assert unpack(sealed(header() + BODY)) == BARE
    assert unpack(sealed(header() + BODY + b"\x03\x01a\x82\x01e")).exif == b"e"
    assert unpack(sealed(header(flags=2) + BODY)) == replace(BARE, model=None, level=None)


def test_unknown_ancillary_chunks_are_skipped() -> None:
    more = b"\x85\x00" + b"".join(bytes([kind, 2]) + b"??" for kind in range(0x86, 0x100))
    assert unpack(sealed(header() + BODY + b"\x82\x01e" + more)) == replace(BARE, exif=b"e")
    with pytest.raises(Corrupt, match="checksum"):
        unpack(header() + BODY + more + bytes(4))


def test_exact_bytes() -> None:
    assert pack(SMALL) == sealed(HEADER + CHUNKS)
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
    example = DPCFile(
        width=768,
        height=512,
        colour=Colour.DISPLAY_P3,
        model=b"\xa1\xb2\xc3\xd4",
        level=1200,
        body=b"\xde\xad\xbe\xef\x01\x23\x45\x67",
        exif=empty_exif,
    )
    assert data == pack(example)
    assert unpack(data) == example
    assert f"no entries. {len(data)} bytes:" in FORMAT


def test_the_documented_limits_are_the_real_ones() -> None:
    for chunk in container._CHUNKS:
        title = chunk.title
        lengths = str(chunk.shortest)
        if chunk.longest > chunk.shortest:
            power = chunk.longest.bit_length() - 1
            assert chunk.longest == 2**power
            lengths += rf" to {chunk.longest} \(2\^{power}\)"
        assert re.search(rf"^\| {chunk.type} \| {title} \| [^|]* \| {lengths} \|", FORMAT, re.M), title
    first = max(chunk.type for chunk in container._CHUNKS) + 1
    assert f"| {first} to 255 | later ones | may be | 0 to {container._LONGEST_UNKNOWN} (2^22) |" in FORMAT
    assert f"at most\n{256 - first} of them" in FORMAT
    assert MAX_ICC == 2**22
    assert f"| width, height | {MAX_SIDE} |" in FORMAT
    assert f"| width x height | {MAX_PIXELS} (2^28) |" in FORMAT
    assert MAX_PIXELS == 2**28
    assert f"# The DPC file format, version {VERSION}\n" in FORMAT
    assert f"The first {HEADER_BYTES} bytes" in FORMAT


def test_overhead_is_24_bytes() -> None:
    for size in (16384, 2**21 - 1):
        assert len(pack(replace(BARE, width=768, height=512, body=bytes(size)))) == size + 24
    assert "24 bytes around the body" in FORMAT


def header_of(file: DPCFile) -> Header:
    return Header(**{field.name: getattr(file, field.name) for field in fields(Header)})


def test_peek_reads_the_header_from_the_first_bytes() -> None:
    big = replace(SMALL, width=MAX_SIDE, height=4096)
    data = pack(big)
    assert peek(data[:HEADER_BYTES]) == header_of(big)
    assert peek(data) == peek(data[:HEADER_BYTES])
    with pytest.raises(Truncated):
        peek(data[:16])
    with pytest.raises(TooLarge):
        peek(header(b"\xff\xff\x03\xff\xff\x03"))


def test_a_claim_of_65535_by_65535_is_refused_with_its_value_and_limit() -> None:
    with pytest.raises(TooLarge, match=r"65535x65535 .* 268435456"):
        unpack(sealed(header(b"\xff\xff\x03\xff\xff\x03") + BODY))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_taken(kind: Callable[[bytes], bytes]) -> None:
    data = kind(pack(SMALL))
    found = unpack(data)
    assert found == SMALL
    payloads = [value for value in vars(found).values() if not isinstance(value, int)]
    assert all(type(payload) is bytes for payload in payloads)
    assert peek(data).width == 300


payloads = st.none() | st.binary(min_size=1, max_size=20)


@st.composite
def dpc_files(draw: st.DrawFn) -> DPCFile:
    lossless, icc = draw(st.booleans()), draw(payloads)
    return DPCFile(
        width=draw(st.integers(1, 2**14)),
        height=draw(st.integers(1, 2**14)),
        grey=draw(st.booleans()),
        colour=draw(st.sampled_from(list(Colour)[:4])) if icc is None else Colour.ICC,
        model=None if lossless else draw(st.binary(min_size=4, max_size=4)),
        level=None if lossless else draw(st.integers(0, 65535)),
        body=draw(st.binary(min_size=4, max_size=300)),
        quality_map=None if lossless else draw(st.none() | st.binary(min_size=4, max_size=20)),
        alpha=None if lossless else draw(payloads),
        overlay=None if lossless else draw(payloads),
        smoothing=None if lossless else draw(st.none() | st.binary(min_size=4, max_size=20)),
        icc=icc,
        exif=draw(payloads),
        xmp=draw(payloads),
        density=draw(st.none() | st.binary(min_size=8, max_size=8)),
    )


@given(dpc_files())
def test_round_trip(file: DPCFile) -> None:
    data = pack(file)
    assert unpack(data) == file
    assert pack(file) == data
    assert peek(data[:HEADER_BYTES]) == header_of(file)


SIZES = [(1, 1), (MAX_SIDE, 1), (1, MAX_SIDE), (MAX_SIDE, 4096), (2**14, 2**14), (127, 128)]


@pytest.mark.parametrize("size", SIZES)
def test_round_trip_at_the_limits_of_the_size(size: tuple[int, int]) -> None:
    file = replace(BARE, width=size[0], height=size[1], level=65535)
    assert unpack(pack(file)) == file


def test_round_trip_at_the_limits_of_the_payloads() -> None:
    file = replace(SMALL, icc=bytes(2**22), exif=bytes(2**20), xmp=bytes(2**22), body=bytes(2**21))
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
        ({"level": None}, Corrupt),
        ({"model": None}, Corrupt),
        ({"body": None}, Corrupt),
        ({"body": b"123"}, Corrupt),
        ({"quality_map": b"123"}, Corrupt),
        ({"model": None, "level": None}, Corrupt),
        ({"colour": Colour.SRGB}, Corrupt),
        ({"icc": None}, Corrupt),
        ({"density": b"1234567"}, Corrupt),
        ({"alpha": b""}, Corrupt),
        ({"icc": b""}, Corrupt),
        ({"exif": b""}, Corrupt),
        ({"icc": bytes(2**22 + 1)}, TooLarge),
        ({"exif": bytes(2**20 + 1)}, TooLarge),
        ({"xmp": bytes(2**22 + 1)}, TooLarge),
    ],
)
def test_what_cannot_be_read_is_not_written(change: dict[str, object], error: type[FormatError]) -> None:
    with pytest.raises(FormatError) as caught:
        pack(replace(SMALL, **change))  # type: ignore[arg-type]
    assert caught.type is error
    assert "\n" not in str(caught.value)


def test_too_much_exif_names_the_way_out() -> None:
    with pytest.raises(TooLarge, match=r"EXIF chunk is 1048577 .* limit is 1048576; .*exif=False"):
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


@pytest.mark.parametrize("file", [BARE, SMALL, replace(BARE, model=None, level=None)])
def test_what_is_appended_is_refused_and_named(file: DPCFile) -> None:
    data = pack(file)
    said = f"^the file has {{}} bytes, its picture ends after {len(data)}: something was appended; cut it off, or"
    for more in (*(bytes([byte]) for byte in range(256)), b"\r\n", bytes(4096), b"\xff" * 9, BODY, data):
        with pytest.raises(Corrupt, match=said.format(len(data) + len(more))):
            unpack(data + more)


@given(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=40))
def test_what_is_appended_is_named_whatever_the_checksum_reads_as(seed: int, more: bytes) -> None:
    data = pack(replace(BARE, body=seed.to_bytes(4, "little")))
    with pytest.raises(Corrupt, match=f" {len(data)}: something was appended; "):
        unpack(data + more)


def test_damage_is_named_as_damage_and_not_by_the_rule_it_broke() -> None:
    data = pack(SMALL)
    for at in range(len(HEADER), len(data)):
        for bit in range(8):
            with pytest.raises(FormatError) as caught:
                unpack(flipped(data, [8 * at + bit]))
            said = str(caught.value)
            assert said == "the checksum is not that of the content; the file is damaged, get it again" or (
                caught.type is Truncated and said.endswith("; the file was cut short, get it again")
            )


def test_appended_chunks_take_no_time() -> None:
    with pytest.raises(Corrupt, match="checksum"):
        unpack(header() + BODY + b"\x85\x00" * 2**20)


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
        # the one encoding of this content, but for chunks that were skipped
        assert pack(file) == data or len(pack(file)) < len(data)
    assert read > 500


@given(st.binary(max_size=40))
def test_anything_after_a_good_start_is_a_file_or_a_format_error(tail: bytes) -> None:
    for start in (b"", MAGIC, header(), header() + BODY):
        for data in (start + tail, sealed(start + tail)):
            try:
                file = unpack(data)
            except DPCError as exc:
                assert isinstance(exc, FormatError)
            else:
                assert pack(file) == data or len(pack(file)) < len(data)


# ICC profiles


@pytest.mark.parametrize("size", [1, 3144, 2**22])
def test_profiles_are_deflated(size: int) -> None:
    profile = (random.Random(1).randbytes(300) * (size // 300 + 1))[:size]
    assert inflated(deflated(profile)) == profile
    assert size < 1000 or len(deflated(profile)) < size / 4


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"profile",
        deflated(b""),
        deflated(b"profile")[:-1],
        deflated(b"profile") + b"!",
        zlib.compress(bytes(2**22 + 1)),
        zlib.compress(bytes(2**28)),
    ],
)
def test_a_profile_that_cannot_be_inflated_is_corrupt(payload: bytes) -> None:
    with pytest.raises(Corrupt, match=r"ICC profile .*; "):  # R25
        inflated(payload)


def test_a_profile_that_is_too_long_is_not_deflated() -> None:
    with pytest.raises(TooLarge, match="ICC profile is 4194305 bytes long, the limit is 4194304; "):
        deflated(bytes(2**22 + 1))
