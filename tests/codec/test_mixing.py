"""Context mixing: its tables, its coder, and what a plain reader made from docs/format.md finds."""

from __future__ import annotations

from decimal import Decimal

import indexed_reference as reference
import make_tiny
import make_vectors
import numpy as np
import numpy.typing as npt
import pytest

from dpc.codec import indexed, mixing


def far_from_halves(exact: list[Decimal]) -> bool:
    """Whether every library that is right to 1e-4 rounds these alike."""
    return all(abs(value - int(value) - Decimal("0.5")) > Decimal("1e-4") for value in exact)


def test_tables_are_the_exact_values_rounded() -> None:
    tables = mixing._tables()
    logs = [reference.exact_log(n) for n in range(mixing.MOST + 1)]
    squash = [reference.exact_squash(u) for u in range(-mixing.STEEP, mixing.STEEP + 1)]
    assert far_from_halves(logs) and far_from_halves(squash)
    assert tables.logs.tolist() == [reference.rounded(value) for value in logs]
    expected = [min(max(reference.rounded(value), 24), 65512) for value in squash]
    assert tables.squash.tolist() == expected


def test_factors_are_those_of_the_generator() -> None:
    tables, g = mixing._tables(), 1
    found = [*tables.contexts.T.ravel(), *tables.decisions]
    for place, value in enumerate(found):
        g = g * 48271 % (2**31 - 1)
        seen = place >= 156 or place % 26 < mixing.SIZES[place // 26]
        assert value == (g if seen else 0)
    assert len(found) == 156 + 258


def test_constriction_gives_a_bit_exactly_its_share() -> None:
    import constriction

    for p in [1, 2, 24, 25, 999, 32768, 65511, 65512, 65535, *np.random.default_rng(1).integers(1, 65536, 200)]:
        ones = 256 * int(p)
        zeros = (1 << 24) - ones
        for slot, bit in ((0, 0), (zeros - 1, 0), (zeros, 1), ((1 << 24) - 1, 1)):
            state = (123456789 << 24) + slot
            words = np.array([state & 0xFFFFFFFF, state >> 32], np.uint32)
            coder = constriction.stream.stack.AnsCoder(words)
            assert coder.decode(indexed._bernoulli(), np.array([p / mixing.ONE])).tolist() == [bit]
            after = (ones if bit else zeros) * 123456789 + slot - (zeros if bit else 0)
            assert coder.pos() == (0, after)


def test_weights_and_counts_stay_within_their_types() -> None:
    """A round of as many decisions as a picture can have, all of the same contexts."""
    mixer = mixing._Mixer(lambda p, wanted: np.ones(len(p), bool) if wanted is None else wanted)
    hashes = np.full((45000, 6), 5, np.int64)
    mixer.decide(hashes, 0, 0, mixing.SLOW, None)
    assert set(mixer._counts[mixer._counts > 0].tolist()) == {mixing.MOST}
    mixer.decide(hashes, 0, 0, mixing.SLOW, np.arange(45000) > 22000)
    assert mixer._counts.max() == mixing.MOST and np.abs(mixer._weights).max() <= mixing.LARGEST_WEIGHT


def picture(kind: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    noise = make_tiny.noise(70, 11)
    if kind == "letters":
        return np.array(make_vectors.letters(75, 67)), None
    if kind == "clear":
        rgb = np.array(make_vectors.letters(60, 60))[:34]
        alpha = np.where(rgb[..., 0] < 200, 0, 255).astype(np.uint8)
        return np.where(alpha[..., None] > 0, rgb, 0).astype(np.uint8), alpha
    if kind == "stripes":
        return np.where(np.arange(80)[None, :, None] % 3 > 0, 9, np.zeros((130, 80, 3))).astype(np.uint8), None
    return np.repeat({"noise": noise, "few": noise % 3}[kind][..., None], 3, 2), None


@pytest.mark.parametrize("kind", ["letters", "clear", "stripes", "noise", "few"])
def test_a_reader_made_from_the_document_finds_the_same(kind: str) -> None:
    rgb, alpha = picture(kind)
    height, width = rgb.shape[:2]
    body = indexed.to_bytes(rgb, alpha)
    assert body is not None
    opacity = np.full((height, width), 255, np.uint8) if alpha is None else alpha
    np.testing.assert_array_equal(np.array(reference.read(body, width, height)), np.dstack([rgb, opacity]))
