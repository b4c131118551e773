"""Integer symbols + integer tables <-> bytes, by constriction's ANS coder (32-bit words, 64-bit state, 24-bit tables).

The coder sees integers only: a table is a row of integer frequencies that sum to 2**24, one per scale index, made once
when a model is exported. Elements that share a scale index are coded with one call, in ascending order of the index;
inside a group they keep their order. A value outside its table is coded by the table's last symbol, escape, and its
value follows the groups as a uniform 16-bit number. docs/format.md is normative.

constriction is imported when something is coded: trainings make tables where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dpc.errors import Corrupt, ModelError

PRECISION = 24
ESCAPE_LIMIT = 32767  # coded values lie in -32767..32767
_BIAS = 32768
_START = 1 << PRECISION  # the coder's first and last state: below it symbols would be free

Int = NDArray[np.int32]


class Tables:
    """One probability table per scale index; index 0 stands for "always zero, not coded" and has none.

    frequencies[i - 1] is the row of scale index i: uint32 (2 K + 2,), each at least 1, sum 2**24, for the values
    -K..K and escape. Raises ModelError when a row breaks this.
    """

    def __init__(self, frequencies: Sequence[NDArray[np.uint32]]) -> None:
        self.frequencies = [np.asarray(row, dtype=np.int64) for row in frequencies]
        self.limits = np.zeros(len(frequencies) + 1, dtype=np.int32)
        self._narrow = np.uint8 if len(frequencies) < 256 else np.uint16  # the narrower, the faster to sort
        self._bits: list[NDArray[np.float64]] = [np.zeros(1)]
        for i, row in enumerate(self.frequencies, 1):
            if row.ndim != 1 or len(row) < 4 or len(row) % 2 or row.min() < 1 or row.sum() != 1 << PRECISION:
                raise ModelError(f"table {i} is not a row of 2 K + 2 positive frequencies that sum to 2**{PRECISION}")
            self.limits[i] = (len(row) - 2) // 2
            bits = PRECISION - np.log2(row)
            bits[-1] += 16
            self._bits.append(bits)

    @cached_property
    def _models(self) -> list[Any]:
        import constriction

        categorical = constriction.stream.model.Categorical
        # it gives every symbol one unit and shares out the rest, so frequency - 1 comes out exactly
        return [None, *(categorical((row - 1).astype(np.float64), perfect=False) for row in self.frequencies)]

    @cached_property
    def least_bits(self) -> NDArray[np.float64]:
        """Bits of the likeliest symbol under every scale index."""
        return np.array([0.0, *(PRECISION - np.log2(row.max()) for row in self.frequencies)])

    def __len__(self) -> int:
        """Number of scale indices, the uncoded index 0 counted."""
        return len(self.limits)

    def bits(self, values: Int, indices: NDArray[np.integer[Any]]) -> float:
        """Bits that coding the values under the tables takes (without the coder's few bytes of overhead)."""
        total = 0.0
        for i, _, symbols in self._groups(values.ravel(), indices.ravel()):
            total += float(self._bits[i][symbols].sum())
        return total

    def _groups(self, values: Int, indices: NDArray[Any]) -> list[tuple[int, Int, Int]]:
        """(index, values, symbols) of every group that occurs, in ascending order of the index."""
        coded = np.flatnonzero(indices)
        flat = indices[coded].astype(self._narrow)
        order = coded[np.argsort(flat, kind="stable")]
        counts = np.bincount(flat, minlength=len(self))
        groups, start = [], 0
        for i in np.flatnonzero(counts):
            mine = values[order[start : start + counts[i]]]
            start += counts[i]
            limit = self.limits[i]
            symbols = np.where(np.abs(mine) <= limit, mine + limit, 2 * limit + 1).astype(np.int32)
            groups.append((int(i), mine, symbols))
        return groups


@cache
def _uniform() -> Any:
    import constriction

    return constriction.stream.model.Uniform(65536)


class Encoder:
    """Collects parts in the order in which they will be decoded, then writes them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._parts: list[tuple[Int, Any]] = []

    def add(self, values: Int, indices: NDArray[Any]) -> None:
        """Append a part: int32 values within ESCAPE_LIMIT, and their scale indices, of one shape.

        Where the index is 0 nothing is coded; the value there must be 0.
        """
        escapes = []
        for i, mine, symbols in self._tables._groups(values.ravel(), indices.ravel()):
            self.add_symbols(symbols, self._tables._models[i])
            escapes.append(mine[symbols == len(self._tables.frequencies[i - 1]) - 1])
        escaped = np.concatenate(escapes) if escapes else np.zeros(0, np.int32)
        if len(escaped):
            self.add_symbols((escaped + _BIAS).astype(np.int32), _uniform())

    def add_symbols(self, symbols: Int, model: Any) -> None:
        """Append int32 symbols, all of one model of constriction."""
        self._parts.append((symbols, model))

    def finish(self) -> bytes:
        """The coded bytes: the coder's 32-bit words, little-endian."""
        import constriction

        coder = constriction.stream.stack.AnsCoder(np.array([_START], np.uint32))
        for symbols, model in reversed(self._parts):
            coder.encode_reverse(symbols, model)
        return cast(bytes, coder.get_compressed().astype("<u4").tobytes())


class Decoder:
    """Reads parts in the order in which they were added.

    No symbol is free: a stream that has run empty is Corrupt after the part that emptied it.
    """

    def __init__(self, tables: Tables, data: bytes | memoryview) -> None:
        import constriction

        self._tables = tables
        if len(data) % 4 or not data:
            raise Corrupt(f"a stream has {len(data)} bytes, not a positive multiple of 4; the file is damaged")
        try:
            self._coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
        except ValueError as error:
            raise Corrupt("a stream ends in a zero word; the file is damaged") from error
        self._check_state()

    def read(self, indices: NDArray[Any]) -> Int:
        """The next part: int32 values of the shape of indices, 0 where the index is 0."""
        flat = indices.ravel()
        values = np.zeros(flat.size, np.int32)
        coded = np.flatnonzero(flat)
        kinds = flat[coded].astype(self._tables._narrow)
        order = coded[np.argsort(kinds, kind="stable")]
        counts = np.bincount(kinds, minlength=len(self._tables))
        start, escapes = 0, []
        for i in np.flatnonzero(counts):
            here = order[start : start + counts[i]]
            start += counts[i]
            symbols = self.read_symbols(self._tables._models[i], len(here))
            limit = self._tables.limits[i]
            values[here] = symbols - limit
            escapes.append(here[symbols == 2 * limit + 1])
        where = np.concatenate(escapes) if escapes else np.zeros(0, np.int64)
        if len(where):
            escaped = self.read_symbols(_uniform(), len(where)) - _BIAS
            if (np.abs(escaped) <= self._tables.limits[flat[where]]).any() or escaped.min() < -ESCAPE_LIMIT:
                raise Corrupt("an escape holds a value that its table has, or one out of range; the file is damaged")
            values[where] = escaped
        return values.reshape(indices.shape)

    def read_symbols(self, model: Any, count: int) -> Int:
        """The next symbols, all of one model of constriction."""
        symbols = self._coder.decode(model, count)
        self._check_state()
        return cast(Int, symbols)

    def finish(self) -> None:
        """Corrupt unless exactly everything was read."""
        if self._coder.pos() != (0, _START):
            raise Corrupt("a stream holds more than its part of the picture; the file is damaged")

    def _check_state(self) -> None:
        if self._coder.pos()[1] < _START:  # once below, the state stays there: no word is left to refill it
            raise Corrupt("a stream ends before its part of the picture; the file is damaged")
