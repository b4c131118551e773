"""Context mixing in WebAssembly: what codec/mixing.py computes, bit for bit, ten times as fast or faster.

web/wasm/mixing.ts is the source of mixing.wasm; wasmtime runs it. Where wasmtime is not at hand, or finds no memory,
the functions here give None and the caller takes codec/mixing.py, which is what they are held against.
"""

from __future__ import annotations

import atexit
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpc.codec import mixing

UInt8 = NDArray[np.uint8]
Int16 = NDArray[np.int16]


class _Program(NamedTuple):
    engine: Any
    module: Any
    tables: dict[str, bytes]


class _Run:
    """One instance of the program, with a memory of its own: threads share nothing but the compiled code."""

    def __init__(self, program: _Program, height: int, width: int, size: int) -> None:
        import wasmtime

        self._store = wasmtime.Store(program.engine)
        self._exports = wasmtime.Instance(self._store, program.module, []).exports(self._store)
        self._memory: Any = self._exports["memory"]
        if not self.call("reserve", height, width, size):
            raise MemoryError(f"no memory for a picture of {width}x{height} colours")
        for name, table in program.tables.items():
            self.write(self.place(name), table)

    def call(self, name: str, *values: int) -> int:
        function: Any = self._exports[name]
        return int(function(self._store, *values))

    def place(self, name: str) -> int:
        """Where a table lies."""
        found: Any = self._exports[name]
        return int(found.value(self._store))

    def write(self, place: int, data: bytes) -> None:
        self._memory.write(self._store, data, place)

    def read(self, place: int, size: int) -> bytearray:
        found: bytearray = self._memory.read(self._store, place, place + size)
        return found


def decode(words: bytes, height: int, width: int, colours: int) -> UInt8 | None:
    """The numbers of the pixels, (height, width), in a stream; None too for a stream that no writer makes."""
    run = _started(height, width, len(words))
    if run is None:
        return None
    run.write(run.call("streamAt"), words)
    if run.call("decode", height, width, colours, len(words) // 4):
        return None
    return np.frombuffer(run.read(run.call("pixelsAt"), height * width), np.uint8).reshape(height, width)


def encode(numbers: UInt8, colours: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]] | None:
    """The decisions that tell the numbers of the pixels, (height, width): probabilities of 1 out of ONE, and bits."""
    height, width = numbers.shape
    run = _started(height, width, 0)
    if run is None:
        return None
    run.write(run.call("pixelsAt"), numbers.tobytes())
    count = run.call("encode", height, width, colours)
    if count < 0:  # no memory
        return None
    decisions = np.frombuffer(run.read(run.call("streamAt"), 4 * count), "<u4")
    return decisions >> np.uint32(1), (decisions & 1).astype(bool)


def choose(numbers: UInt8, palette: Int16, wanted: Int16, price: int) -> UInt8 | None:
    """The numbers of the pixels, (height, width), or cheaper ones whose colours are near enough to what is wanted.

    palette: (colours, 4), as colours are compared: lightness in quarters of a level, two hues in levels, and nothing.
    wanted: (height, width, 4), the same of each pixel, and whether its number stays. price: the squared error, in
    levels, that a bit is worth.
    """
    height, width = numbers.shape
    run = _started(height, width, wanted.nbytes)
    if run is None:
        return None
    for name, table in (("COSTS", _costs()), ("PALETTE", palette.astype("<i2"))):
        run.write(run.place(name), table.tobytes())
    run.write(run.call("pixelsAt"), numbers.tobytes())
    run.write(run.call("streamAt"), wanted.astype("<i2").tobytes())
    if run.call("choose", height, width, len(palette), price):
        return None
    return np.frombuffer(run.read(run.call("pixelsAt"), height * width), np.uint8).reshape(height, width)


@cache
def _costs() -> NDArray[np.int32]:
    """Bits of a decision in 256ths, by its probability in 4096ths; that of none is below one."""
    shares = np.arange(4097) / 4096
    shares[0] = 2.0**-16
    return np.rint(-256 * np.log2(shares)).astype("<i4")


def _started(height: int, width: int, size: int) -> _Run | None:
    """An instance for a picture and a stream of so many bytes; None where there is no program, or no memory for it."""
    program = _program()
    if program is None:
        return None
    import wasmtime

    try:
        return _Run(program, height, width, size)
    except (wasmtime.WasmtimeError, MemoryError):  # it wants gigabytes of addresses, which `ulimit -v` may refuse
        return None


@cache
def _program() -> _Program | None:
    try:
        import wasmtime
    except (ImportError, OSError):  # not installed, or its library is made for another machine
        return None
    try:
        engine = wasmtime.Engine()
        module = wasmtime.Module(engine, files("dpc.codec").joinpath("mixing.wasm").read_bytes())
    except wasmtime.WasmtimeError:  # as where memory may not hold programs
        return None
    atexit.register(_program.cache_clear)  # while wasmtime is still there to free it
    logs, squash, contexts, decisions = mixing._tables()
    across, down = np.array(mixing.NEIGHBOURS).T
    tables = {
        "LOGS": logs,
        "SQUASH": squash,
        "FACTORS": contexts.T.astype(np.int64) % mixing.SLOTS,
        "DECISIONS": decisions % mixing.SLOTS,
        "ACROSS": across,
        "DOWN": down,
        "SIZES": np.array(mixing.SIZES),
    }
    return _Program(engine, module, {name: table.astype("<i4").tobytes() for name, table in tables.items()})
