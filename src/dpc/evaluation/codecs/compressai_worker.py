"""Runs in an environment that has compressai, started by learned.py; it imports nothing of this package.

With --version it prints that of the package, which it has imported, and ends. Otherwise requests and answers are a line
of JSON with the length of the payload behind it:

    {"do": "encode", "model", "metric", "weights", "quality", "threads", "width", "height"} RGB -> file
    {"do": "decode", ...} file -> {"width", "height"} RGB

A file: width, height (u16), quality (u8), rows and columns of the coarsest latent (u16), number of strings (u8),
their lengths (u32), the strings; all little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

STRIDE = 64
HEAD = "<HHBHHB"


@lru_cache(maxsize=1)
def package(name: str) -> Any:
    """A module of CompressAI, also beside a torchvision of another build than torch."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))
    return import_module("torchvision_names").import_module(name)


@lru_cache(maxsize=2)
def network(model: str, metric: str, weights: str | None, quality: int, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    net = package("compressai.zoo").image_models[model](quality=quality, metric=metric, pretrained=weights is None)
    if weights == "untrained":
        torch.manual_seed(0)
    elif weights is not None:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        net = type(net).from_state_dict(state.get("state_dict", state))
    net.eval()
    net.update(force=True)
    return net


def options(head: dict[str, Any], quality: int) -> tuple[str, str, str | None, int, int]:
    return head["model"], head["metric"], head["weights"], quality, head["threads"]


def encode(head: dict[str, Any], payload: bytes) -> bytes:
    import torch

    width, height, quality = head["width"], head["height"], head["quality"]
    net = network(*options(head, quality))
    x = torch.frombuffer(bytearray(payload), dtype=torch.uint8).reshape(height, width, 3)
    x = x.permute(2, 0, 1)[None].float() / 255
    x = torch.nn.functional.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    with torch.inference_mode():
        out = net.compress(x)
    strings = [s[0] for s in out["strings"]]
    rows, columns = out["shape"]
    start = struct.pack(HEAD, width, height, quality, rows, columns, len(strings))
    return start + struct.pack(f"<{len(strings)}I", *map(len, strings)) + b"".join(strings)


def decode(head: dict[str, Any], payload: bytes) -> tuple[int, int, bytes]:
    import torch

    width, height, quality, rows, columns, count = struct.unpack_from(HEAD, payload)
    at = struct.calcsize(HEAD) + 4 * count
    strings = []
    for length in struct.unpack_from(f"<{count}I", payload, struct.calcsize(HEAD)):
        strings.append([payload[at : at + length]])
        at += length
    with torch.inference_mode():
        x = network(*options(head, quality)).decompress(strings, (rows, columns))["x_hat"]
    pixels = x[0, :, :height, :width].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return width, height, bytes(pixels.contiguous().numpy().tobytes())


def answer(stream: BinaryIO, head: dict[str, Any], payload: bytes = b"") -> None:
    stream.write(json.dumps(head | {"bytes": len(payload)}).encode() + b"\n" + payload)
    stream.flush()


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        package("compressai.zoo")
        sys.stdout.write(import_module("compressai").__version__)
        return
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    source = sys.stdin.buffer
    while line := source.readline():
        head = json.loads(line)
        payload = source.read(head["bytes"])
        try:
            if head["do"] == "encode":
                answer(out, {}, encode(head, payload))
            else:
                width, height, pixels = decode(head, payload)
                answer(out, {"width": width, "height": height}, pixels)
        except Exception as error:  # told to the other side, which goes on without this picture
            answer(out, {"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
