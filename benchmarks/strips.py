"""What cutting the stream into strips costs: bytes of strips of several heights against one strip.

    python benchmarks/strips.py PICTURE... [--model M] [--qualities 20 40 60] [--rows 256 512 1024]

Pictures are cropped to about 2 megapixels (1,600 x 1,300, or upright).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from PIL import Image

import dpc
from dpc.codec import stream, transforms
from dpc.codec.quality_map import Levels
from dpc.codec.stream import StreamCoder
from dpc.codec.tiles import STRIDE
from dpc.codec.timing import Clock
from dpc.codec.transforms import Transforms

SIDES = (1600, 1300)


def body(codec: dpc.Codec, y: Any, quality: float, rows: int) -> int:
    """Bytes of the body with strips of so many rows of pixels."""
    transforms.STRIP = rows // STRIDE
    clock = Clock()
    networks = Transforms(codec.artifact, clock)
    coder, levels = StreamCoder(networks, clock), Levels(codec.level(quality), codec.artifact.sizes.fine_levels - 1)
    strips = transforms.strips(*y.shape[1:])
    return len(stream.join([coder.write(*networks.quantise(y, strip, levels), strip, levels) for strip in strips]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--qualities", type=float, nargs="+", default=[20.0, 40.0, 60.0])
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 512, 1024])
    args = parser.parse_args()
    codec = dpc.Codec(args.model, 1)
    for path in args.pictures:
        with Image.open(path) as image:
            w, h = SIDES if image.width > image.height else SIDES[::-1]
            pixels = np.asarray(image.convert("RGB").crop((0, 0, min(w, image.width), min(h, image.height))))
        y = Transforms(codec.artifact, Clock()).analyse(pixels, lambda done: None)
        for quality in args.qualities:
            whole = body(codec, y, quality, 1 << 16)
            costs = (f"{rows} rows {100 * (body(codec, y, quality, rows) / whole - 1):+.2f} %" for rows in args.rows)
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            line = f"{codec.artifact.name} {path} {size} quality {quality:g}: {whole:,} bytes"
            print(line, *costs, sep="; ", flush=True)


if __name__ == "__main__":
    main()
