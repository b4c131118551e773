"""What an ONNX graph wants to read from files beside it: a model must not make the reader open any.

The few fields of onnx.proto that can name a file are found by walking the protocol buffer: the runtime needs no onnx.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["external_tensors"]

# message -> number of its field -> kind of message in it; of everything else the bytes are passed over
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of a tensor
_DEPTH = 64


def external_tensors(graph: bytes) -> set[str]:
    """The names of all tensors whose values the graph wants from a file. ValueError for what is no protocol buffer."""
    return set(_walk(memoryview(graph), "model", 0))


def _walk(data: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        raise ValueError(f"the graph nests deeper than {_DEPTH}")
    if kind == "tensor":
        name, external = "", False
        for number, value in _fields(data):
            if number == _NAME and isinstance(value, memoryview):
                name = bytes(value).decode("utf-8", "replace")
            external |= number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)
        if external:
            yield name
        return
    inner = _FIELDS[kind]
    for number, value in _fields(data):
        if number in inner and isinstance(value, memoryview):
            yield from _walk(value, inner[number], depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if place + length > len(data):
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("the graph ends in the middle of a number")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than ten bytes")
