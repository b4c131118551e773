"""The context model while coding: all symbols whose context is known are done at once, and every layer only once.

Order. A filter of the first layer sees taps(first=True). With the time of a symbol

    t(channel, row, column) = 4 channel + 2 row + column

each of these taps is earlier: by 4 - 2 row - column >= 1 in the channel before, by 2 - column >= 1 in the row above,
by 1 on the left. The later layers add the symbol's own place, whose first layer is known once those symbols are. So
what four layers see, sums of such steps, is earlier too: all symbols of one time (a wavefront) can be coded together.
C x h x w symbols take 4 (C - 1) + 2 (h - 1) + w wavefronts: 345 for the 196,608 symbols of a Kodak picture with 32
channels. No order has fewer: there is a chain of as many symbols, each seen by the first layer of the next. From the
last symbol on it goes back to column 0; (0, -1, 1) and a step to the left lead to column 0 of the row above; (-1, 1,
1), (0, -1, 1) and two steps to the left lead from the first symbol of a channel to that of the channel before.

Work. At its time every symbol gets the outputs of the first, second and third layer at its own place; taps reach back 7
wavefronts, so 8 of them are kept. Nothing is computed twice, and memory grows with C x h only.

Numbers. Weights and activations are whole multiples of powers of two in float64 and no sum reaches 2^53, so no addition
is ever rounded, in whichever order it is done: encoder and decoder agree for any batch, library or number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.errors import Corrupt, ModelError
from dpc.networks.earlier.base2018.context import Context, MaskedConv, Tap

Float = NDArray[np.float64]
Int = NDArray[np.int32]
Index = NDArray[np.int64]

ACTIVATION_BITS = 12  # activations are multiples of 2^-12 ...
ACTIVATION_MAX = 1024.0  # ... and at most this
WEIGHT_BITS = 16  # weights are multiples of 2^-16
LOGIT_BITS = 8  # differences of logits are rounded to multiples of 2^-8
LARGEST_COST = 24.0  # bits of a symbol: constriction gives every centre at least one part of 2^24
REACH = 8  # wavefronts that are kept: a tap reaches back 7

_UNITS = np.round(2.0**22 * np.exp(-np.arange(16 << LOGIT_BITS) / 2.0**LOGIT_BITS))
"""Weight of a centre by how far its logit lies below the largest one."""


def time_of(tap: Tap) -> int:
    """The time of a place, or of one relative to another."""
    channel, row, column = tap
    return 4 * channel + 2 * row + column


class Layer:
    """A masked convolution at single places: (n, taps * inputs) -> (n, outputs), exact."""

    def __init__(self, conv: MaskedConv) -> None:
        weight, bias = (part.double().cpu().numpy() for part in conv.matrix())
        self.taps = conv.taps
        self.weight: Float = np.round(np.ldexp(weight, WEIGHT_BITS)) * 2.0**-WEIGHT_BITS
        self.bias: Float = np.round(np.ldexp(bias, WEIGHT_BITS)) * 2.0**-WEIGHT_BITS
        largest = float((np.abs(self.weight).sum(0) * ACTIVATION_MAX + np.abs(self.bias)).max()) + ACTIVATION_MAX
        if not largest < 2.0 ** (53 - WEIGHT_BITS - ACTIVATION_BITS):
            raise ModelError(
                f"the context model's weights add up to {largest:g}, too much to code with; train it again"
            )

    def __call__(self, x: Float) -> Float:
        return x.reshape(len(x), len(self.weight)) @ self.weight + self.bias


def rounded(x: Float, *, low: float) -> Float:
    """Activations: multiples of 2^-ACTIVATION_BITS in low .. ACTIVATION_MAX. x is overwritten."""
    x *= 2.0**ACTIVATION_BITS
    np.rint(x, out=x)
    x *= 2.0**-ACTIVATION_BITS
    return np.clip(x, low, ACTIVATION_MAX, out=x)


class Recent:
    """A layer's outputs at the last REACH wavefronts, (width) each; zeros outside of the volume.

    A place is its channel and row; with its time that gives the column.
    """

    def __init__(self, channels: int, rows: int, width: int, taps: list[Tap]) -> None:
        self._wide = rows + 2
        self._size = (channels + 1) * self._wide
        self._data = np.zeros((REACH * self._size, width))
        back = [-time_of(tap) for tap in taps]
        shift = [channel * self._wide + row for channel, row, _ in taps]
        self._offsets = [
            np.array([(now - b) % REACH * self._size + s for b, s in zip(back, shift, strict=True)], np.int64)
            for now in range(REACH)
        ]

    def place(self, channel: Index, row: Index) -> Index:
        """The number of a place."""
        return (channel + 1) * self._wide + row + 1

    def put(self, time: int, places: Index, values: Float) -> None:
        """The outputs at the places of this time's wavefront."""
        begin = time % REACH * self._size
        self._data[begin : begin + self._size] = 0
        self._data[begin + places] = values

    def around(self, time: int, places: Index) -> Float:
        """What the taps at places see at this time: (n, taps, width)."""
        return self._data.take(places[:, None] + self._offsets[time % REACH], 0)


class ExactContext:
    """The weights of a Context and the centres as they are, for coding."""

    def __init__(self, context: Context, centres: Float) -> None:
        self._layers = [Layer(conv) for conv in (context.enter, context.a, context.b, context.leave)]
        self._centres = rounded(np.array(centres, np.float64), low=-ACTIVATION_MAX)

    def run(self, shape: tuple[int, int, int], symbols: Callable[[tuple[Index, Index, Index], Float], Int]) -> None:
        """Call symbols(where, weights) -> indices for each wavefront, in order.

        shape: (C, h, w). where: (channel, row, column), n of each, n may be 0. weights: (n, L), of weights_of.
        indices: (n,), of the centres there.
        """
        channels, rows, columns = shape
        enter, a, b, leave = self._layers
        width = enter.weight.shape[1]
        values = Recent(channels, rows, 1, enter.taps)
        one, two, three = (Recent(channels, rows, width, layer.taps) for layer in (a, b, leave))
        start = 4 * np.arange(channels)[:, None] + 2 * np.arange(rows)
        for time in range(4 * (channels - 1) + 2 * (rows - 1) + columns):
            channel, row = np.nonzero((start <= time) & (start > time - columns))
            places = values.place(channel, row)
            first = rounded(enter(values.around(time, places)), low=0)
            one.put(time, places, first)
            two.put(time, places, rounded(a(one.around(time, places)), low=0))
            three.put(time, places, rounded(b(two.around(time, places)) + first, low=-ACTIVATION_MAX))
            logits = leave(three.around(time, places))
            where = channel, row, time - start[channel, row]
            found = symbols(where, weights_of(logits))
            values.put(time, places, self._centres[found][:, None])


def weights_of(logits: Float) -> Float:
    """Logits (n, L) -> whole numbers in proportion to the probabilities, 0 to 2^22; 0 stands for one part of 2^24."""
    below = np.rint((logits.max(1, keepdims=True) - logits) * 2.0**LOGIT_BITS)
    return _UNITS[np.minimum(below, len(_UNITS) - 1).astype(np.int64)]


def encode(context: ExactContext, symbols: Int) -> bytes:
    """The bytes of symbols (C, h, w), indices of centres: constriction's range coder, 32-bit words, little-endian."""
    import constriction  # a training does without

    coder, centres = constriction.stream.queue.RangeEncoder(), constriction.stream.model.Categorical(perfect=False)

    def write(where: tuple[Index, Index, Index], weights: Float) -> Int:
        here = symbols[where]
        coder.encode(here, centres, weights)
        return here

    context.run(symbols.shape, write)
    data: bytes = coder.get_compressed().astype("<u4").tobytes()
    return data


def decode(context: ExactContext, data: bytes, shape: tuple[int, int, int]) -> Int:
    """The symbols (C, h, w), int32, in bytes of `encode`. Corrupt when they are damaged."""
    import constriction

    if len(data) % 4:
        raise Corrupt(f"the coded symbols have {len(data)} bytes, no multiple of 4; the file is damaged")
    coder: Any = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    centres = constriction.stream.model.Categorical(perfect=False)
    symbols = np.zeros(shape, np.int32)

    def read(where: tuple[Index, Index, Index], weights: Float) -> Int:
        try:
            here: Int = coder.decode(centres, weights)
        except AssertionError as error:
            raise Corrupt("the coded symbols fit no picture of this model; the file is damaged") from error
        symbols[where] = here
        return here

    context.run(shape, read)
    if not coder.maybe_exhausted():
        raise Corrupt("the coded symbols hold more than one picture; the file is damaged")
    return symbols
