"""The rivals of 2017 and 2018: seconds of processor time to code a picture, crops a second in training.

    python benchmarks/rivals.py [PICTURE] [--filters 64] [--latents 60] [--crop 192] [--fp32] [--kinds joint,factorised]

One thread. The weights are random; latents and scales are spread so that many symbols are not zero, as after a
training. Processor time tells what a busy machine hides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from processor_time import seconds

from dpc.codec.image import load as load_picture
from dpc.networks.earlier.hyperprior import Factorised, Hyperprior
from dpc.networks.earlier.joint import Joint
from dpc.networks.earlier.protocol import EarlierCodec, make

PHOTO = Path(__file__).parent.parent / "demo" / "photo.png"
KINDS = "factorised,scale-hyperprior,mean-scale-hyperprior,joint"


@torch.no_grad()
def spread(codec: EarlierCodec) -> None:
    """Latents of some spread, and scales that are about right for it."""
    if isinstance(codec, Factorised | Hyperprior):
        latents = _last(codec.g_a)
        latents.weight.mul_(60)
    if isinstance(codec, Hyperprior):
        scales = _last(codec.parameters_of if isinstance(codec, Joint) else codec.h_s)
        assert scales.bias is not None
        scales.bias[: latents.out_channels] += 2.0


def _last(layers: torch.nn.Module) -> torch.nn.Conv2d:
    return [layer for layer in layers.modules() if isinstance(layer, torch.nn.Conv2d)][-1]


def coding(codec: EarlierCodec, picture: Path) -> str:
    """How long a picture takes."""
    rgb = load_picture(picture).rgb
    spread(codec)
    codec.update()
    codec.compress(rgb[:64, :64])
    encoding, data = seconds(lambda: codec.compress(rgb), 2)
    decoding, _ = seconds(lambda: codec.decompress(data), 2)
    bpp = 8 * len(data) / (rgb.shape[0] * rgb.shape[1])
    return f"{rgb.shape[1]}x{rgb.shape[0]} at {bpp:.1f} bpp: encode {encoding:.2f} s, decode {decoding:.2f} s"


def training(codec: EarlierCodec, crop: int, batch: int, bf16: bool) -> str:
    """How many crops a second go forward and backward, without a loss and an optimiser."""
    codec.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    x = torch.rand(batch, 3, crop, crop).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        codec.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = codec(x)
        (out.x_hat.float().square().mean() + out.bits.mean()).backward()

    taken, _ = seconds(step, 4)
    return f"{batch} crops of {crop}x{crop}, {'bf16' if bf16 else 'fp32'}: {batch / taken:.1f} crops a second"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the rivals of 2017 and 2018.")
    parser.add_argument("picture", nargs="?", default=PHOTO, type=Path)
    for name, default in (("filters", 64), ("latents", 60), ("crop", 192), ("batch", 8)):
        parser.add_argument(f"--{name}", default=default, type=int, metavar="N", help=f"default: {default}")
    parser.add_argument("--kinds", default=KINDS, metavar="K,K", help=f"default: {KINDS}")
    parser.add_argument("--fp32", action="store_true", help="train in float32; default: bf16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind in args.kinds.split(","):
        codec = make(kind, filters=args.filters, latents=args.latents)
        print(f"{kind}: {sum(p.numel() for p in codec.parameters()) / 1e6:.2f} million parameters")
        print("  " + coding(codec, args.picture))
        print("  " + training(codec, args.crop, args.batch, not args.fp32), flush=True)


if __name__ == "__main__":
    main()
