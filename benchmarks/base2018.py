"""The base network of 2018: seconds of processor time to code a picture, crops a second in training.

    python benchmarks/base2018.py [PICTURE] [--filters 64] [--groups 2] [--channels 32] [--crop 160] [--fp32]

One thread; the weights are random, which changes bytes and not times. Processor time tells what a busy machine hides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from processor_time import seconds

from dpc.codec.image import load as load_picture
from dpc.networks.earlier.base2018 import Base2018

PHOTO = Path(__file__).parent.parent / "demo" / "photo.png"


def coding(codec: Base2018, picture: Path) -> None:
    """Say how long a picture takes."""
    rgb = load_picture(picture).rgb
    codec.update()
    encoding, data = seconds(lambda: codec.compress(rgb), 2)
    decoding, _ = seconds(lambda: codec.decompress(data), 2)
    symbols = torch.zeros(1, codec.channels, -(-rgb.shape[0] // 8), -(-rgb.shape[1] // 8), dtype=torch.long)
    with torch.inference_mode():
        network, _ = seconds(lambda: codec.synthesise(codec.centres[symbols]), 2)
    size = f"{rgb.shape[1]}x{rgb.shape[0]}"
    print(f"{size}: encode {encoding:.2f} s, decode {decoding:.2f} s, of it the decoder network {network:.2f} s")


def training(codec: Base2018, crop: int, batch: int, bf16: bool) -> None:
    """Say how many crops a second go forward and backward, without a loss and an optimiser."""
    codec.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    x = torch.rand(batch, 3, crop, crop).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        codec.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = codec(x)
        (out.x_hat.float().square().mean() + out.bits.mean() + out.extra["auxiliary"].mean()).backward()

    taken, _ = seconds(step, 5)
    print(f"{batch} crops of {crop}x{crop}, {'bf16' if bf16 else 'fp32'}: {batch / taken:.1f} crops a second")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the base network of 2018.")
    parser.add_argument("picture", nargs="?", default=PHOTO, type=Path)
    for name, default in (("filters", 64), ("groups", 2), ("blocks", 3), ("channels", 32), ("crop", 160), ("batch", 8)):
        parser.add_argument(f"--{name}", default=default, type=int, metavar="N", help=f"default: {default}")
    parser.add_argument("--fp32", action="store_true", help="train in float32; default: bf16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codec = Base2018(args.filters, args.groups, args.blocks, args.channels)
    print(f"{sum(p.numel() for p in codec.parameters()) / 1e6:.2f} million parameters")
    coding(codec, args.picture)
    training(codec, args.crop, args.batch, not args.fp32)


if __name__ == "__main__":
    main()
