"""Where the base network of 2018 spends its bits: the importance map and the coded bits beside a picture.

    python scripts/importance_maps.py WEIGHTS PICTURE... [--out DIR]

WEIGHTS: a weights.pt of a training of base-2018. Writes DIR/NAME.png with four panels (picture, decoded from its bytes,
importance map, bits of each 8x8 pixels) and DIR/NAME-channels.png with the bits and the kept share of each channel, and
prints a line for each picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dpc.codec.image import load as load_picture
from dpc.errors import DPCError, ModelError
from dpc.networks.earlier.base2018 import Base2018
from dpc.networks.earlier.checkpoint import load
from dpc.networks.earlier.protocol import padded


class Spent(NamedTuple):
    """kept: (C, h, w), 1 where the importance map keeps a symbol. bits: (C, h, w), estimated."""

    kept: NDArray[np.float32]
    bits: NDArray[np.float32]


@torch.inference_mode()
def spent(codec: Base2018, rgb: NDArray[np.uint8]) -> Spent:
    """What the symbols of a uint8 (H, W, 3) picture are and cost."""
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    mask, symbols = codec.analyse(padded(x, codec.stride))
    bits = codec.context.costs(symbols.value).gather(-1, symbols.indices[..., None])[..., 0]
    return Spent(mask[0].numpy(), bits[0].numpy())


def panels(rgb: NDArray[np.uint8], decoded: NDArray[np.uint8], found: Spent, size: int) -> Figure:
    """The four panels. size: bytes of the file."""
    height, width = rgb.shape[:2]
    figure = Figure(figsize=(13, 1 + 13 * height / width / 1.1), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    bpp = 8 * size / (height * width)
    pictures: list[tuple[Any, str, str | None]] = [
        (rgb, "picture", None),
        (decoded, f"decoded: {size:,} bytes, {bpp:.3f} bpp", None),
        (found.kept.sum(0), f"importance map: channels kept, of {len(found.kept)}", "gray"),
        (found.bits.sum(0), "bits of 8x8 pixels", "magma"),
    ]
    for axis, (values, title, colours) in zip(axes, pictures, strict=True):
        # a cell of the maps is 8x8 pixels; the last ones reach over the picture's edge
        tall, wide = values.shape[:2] if colours is None else (8 * values.shape[0], 8 * values.shape[1])
        shown = axis.imshow(values, colours, interpolation="nearest", extent=(0, wide, tall, 0), vmin=0)
        axis.set(xlim=(0, width), ylim=(height, 0), title=title, xticks=[], yticks=[])
        if colours is not None:
            figure.colorbar(shown, ax=axis, shrink=0.8)
    return figure


def by_channel(found: Spent) -> Figure:
    """Bits and kept share of each channel."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    channels = np.arange(len(found.bits))
    left.bar(channels, found.bits.sum((1, 2)), color="tab:purple")
    right.plot(channels, found.kept.mean((1, 2)), "o-", color="black")
    left.set(xlabel="channel", ylabel="bits (bars)")
    right.set(ylabel="share of positions that keep it (line)", ylim=(0, 1.02))
    return figure


def draw(codec: Base2018, path: Path, out: Path) -> str:
    """Write both figures of a picture; the line that is said about it."""
    rgb = load_picture(path).rgb
    data = codec.compress(rgb)
    found = spent(codec, rgb)
    panels(rgb, codec.decompress(data), found, len(data)).savefig(out / f"{path.stem}.png", dpi=100)
    by_channel(found).savefig(out / f"{path.stem}-channels.png", dpi=100)
    outside = found.bits[found.kept == 0].sum() / found.bits.sum()
    return (
        f"{path.name}: {len(data)} bytes, estimated {found.bits.sum() / 8:.0f}, {found.kept.mean():.1%} of the symbols "
        f"kept; {outside:.1%} of the bits go to the others"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Where the base network of 2018 spends its bits.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--out", default="importance", type=Path, metavar="DIR", help="default: importance")
    args = parser.parse_args()
    try:
        codec, _ = load(args.weights)
        if not isinstance(codec, Base2018):
            raise ModelError(f"{args.weights} holds the codec {codec.kind}, which has no importance map; use base-2018")
        args.out.mkdir(parents=True, exist_ok=True)
        for path in args.pictures:
            print(draw(codec, path, args.out))
    except (DPCError, OSError) as error:
        print(f"importance_maps: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
