"""A plain, slow reader of indexed bodies, written from docs/format.md alone: loops, and integers of any size."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cache

NEIGHBOURS = (
    "(-1,0) (0,-1) (-1,-1) (1,-1) (-2,0) (0,-2) (2,-1) (-2,-1) (1,-2) (-1,-2) (-3,0) (-3,-1) (2,-2) "
    "(-2,-2) (0,-3) (-1,-3) (1,-3) (-4,0) (3,-2) (-3,-2) (2,-3) (-2,-3) (-4,-1) (4,-2) (-5,0) (3,-3)"
)
OFFSETS = [(int(x), int(y)) for x, y in (pair.strip("()").split(",") for pair in NEIGHBOURS.split())]
SIZES = (1, 3, 6, 10, 16, 26)

Pixel = tuple[int, int]


def exact_log(n: int) -> Decimal:
    """256 ln(5 n + 2), not rounded."""
    with localcontext(prec=40):
        return 256 * Decimal(5 * n + 2).ln()


def exact_squash(u: int) -> Decimal:
    """65536 / (1 + exp(-u / 256)), neither rounded nor limited."""
    with localcontext(prec=40):
        return 65536 / (1 + (Decimal(-u) / 256).exp())


def rounded(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_HALF_UP))


@cache
def squash(u: int) -> int:
    """p."""
    return min(max(rounded(exact_squash(min(max(u, -2047), 2047))), 24), 65512)


LOGS = [rounded(exact_log(n)) for n in range(61)]


class Stream:
    """The coder, as it stands there."""

    def __init__(self, data: bytes) -> None:
        self.words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        self.state = 0
        self.refill()
        while self.state < 1 << 32 and self.words:
            self.refill()

    def refill(self) -> None:
        self.state = (self.state << 32) + self.words.pop()

    def bit(self, p: int) -> int:
        assert self.state >= 1 << 24
        f1 = 256 * p
        f0 = (1 << 24) - f1
        slot = self.state % (1 << 24)
        bit = int(slot >= f0)
        self.state = (f1 if bit else f0) * (self.state >> 24) + slot - (f0 if bit else 0)
        if self.state < 1 << 32 and self.words:
            self.refill()
        return bit


class Reader:
    """The numbers of a picture."""

    def __init__(self, stream: Stream, width: int, height: int, colours: int) -> None:
        self.stream, self.width, self.height, self.depth = stream, width, height, (colours - 1).bit_length()
        self.known: dict[Pixel, int] = {}
        self.flat = [[0, 0] for _ in range(256)]
        self.counts: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        self.weights = {(kind, group): [19660] * 6 for kind in range(10) for group in range(4)}
        self.g = [1]
        for _ in range(157 + 257):
            self.g.append(48271 * self.g[-1] % (2**31 - 1))

    def colours(self, pixel: Pixel) -> list[int]:
        """c1 ... c26."""
        x, y = pixel
        inside = [(x + dx, y + dy) if (y + dy) // 64 == y // 64 else (-1, -1) for dx, dy in OFFSETS]
        return [self.known.get(place, 0) for place in inside]

    def run(self) -> list[list[int]]:
        for t in range(self.width + 3 * 63):
            rows = sorted(range(self.height), key=lambda row: (row % 64, row // 64))
            pixels = [(t - 3 * (row % 64), row) for row in rows if 0 <= t - 3 * (row % 64) < self.width]
            self.known.update(self.step(pixels))
        return [[self.known[x, y] for x in range(self.width)] for y in range(self.height)]

    def step(self, pixels: list[Pixel]) -> dict[Pixel, int]:
        near = {pixel: self.colours(pixel) for pixel in pixels}
        found = {pixel: c[0] for pixel, c in near.items()}
        flat = [pixel for pixel in pixels if len(set(near[pixel])) == 1]
        others = [pixel for pixel in pixels if len(set(near[pixel])) > 1]
        left = self.leave([near[pixel][0] for pixel in flat])
        still = {pixel for pixel, bit in zip(flat, left, strict=True) if bit}
        first = self.decide([(near[pixel], 0) for pixel in others], 0, 15)
        another = [pixel for pixel, bit in zip(others, first, strict=True) if bit]
        still |= {pixel for pixel in another if near[pixel][0] == near[pixel][1]}
        asked = [pixel for pixel in another if near[pixel][0] != near[pixel][1]]
        for pixel, bit in zip(asked, self.decide([(near[pixel], 1) for pixel in asked], 1, 15), strict=True):
            found[pixel] = near[pixel][1]
            if bit:
                still.add(pixel)
        last = [pixel for pixel in pixels if pixel in still]
        nodes = dict.fromkeys(last, 1)
        for b in reversed(range(self.depth)):
            bits = self.decide([(near[pixel], 1 + nodes[pixel]) for pixel in last], 2 + b, 13)
            nodes = {pixel: 2 * nodes[pixel] + bit for pixel, bit in zip(last, bits, strict=True)}
        return found | {pixel: node - (1 << self.depth) for pixel, node in nodes.items()}

    def leave(self, colours: list[int]) -> list[int]:
        """Round 1."""
        bits = []
        for c in colours:
            s, left = self.flat[c]
            bits.append(self.stream.bit(min(max(65536 * (2 * left + 1) // (2 * (s + left) + 40), 1), 32768)))
        for c, bit in zip(colours, bits, strict=True):
            self.flat[c][bit] += 1
        for pair in self.flat:
            if sum(pair) > 65535:
                pair[:] = [n >> 1 for n in pair]
        return bits

    def decide(self, decisions: list[tuple[list[int], int]], kind: int, h: int) -> list[int]:
        """Rounds 2 to 4: decisions of c1 ... c26 and d."""
        bits = []
        steps = {group: [0] * 6 for group in range(4)}
        grown: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        for c, d in decisions:
            slots = []
            for k, n in enumerate(SIZES):
                total = sum(self.g[26 * k + 1 + i] * c[i] for i in range(n)) + self.g[157 + d]
                slots.append((k, total % 1048573))
            pairs = [self.counts[slot] for slot in slots]
            x = [LOGS[n1] - LOGS[n0] for n0, n1 in pairs]
            group = sum(pairs[k] != [0, 0] for k in (2, 4, 5))
            u = sum(w * one for w, one in zip(self.weights[kind, group], x, strict=True)) >> 16
            p = squash(u)
            bit = self.stream.bit(p)
            bits.append(bit)
            for k in range(6):
                steps[group][k] += (65536 * bit - p) * x[k]
                grown[slots[k]][bit] += 1
        for group, moved in steps.items():
            w = self.weights[kind, group]
            w[:] = [min(max(w[k] + (moved[k] >> h), -262144), 262144) for k in range(6)]
        for slot, (b, a) in grown.items():
            n0, n1 = self.counts[slot][0] + b, self.counts[slot][1] + a
            if a > 0 and n0 > 2:
                n0 = (n0 >> 1) + 1
            if b > 0 and n1 > 2:
                n1 = (n1 >> 1) + 1
            self.counts[slot][:] = min(n0, 60), min(n1, 60)
        return bits


def read(body: bytes, width: int, height: int) -> list[list[tuple[int, ...]]]:
    """The rows of a picture: red, green, blue and opacity of each pixel."""
    colours = body[1] + 1
    stream = Stream(body[2 + 3 * colours :])
    numbers = Reader(stream, width, height, colours).run()
    assert stream.state == 1 << 24 and not stream.words
    clear = colours - 1 if body[0] == 2 else None
    palette = [(*body[2 + 3 * c : 5 + 3 * c], 0 if c == clear else 255) for c in range(colours)]
    return [[palette[number] for number in row] for row in numbers]
