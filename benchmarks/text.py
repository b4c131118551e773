"""What codecs leave of text: a synthetic page at equal bytes, PSNR of each, and the pages side by side.

    python benchmarks/text.py [--bpp 0.35,0.7] [--codecs dpc,avif,jpegxl,webp,jpeg] [--out text.png]

The page is drawn here, so it is no photograph and in no training set; text of 10 to 32 pixels, black and red on paper
white, and a button. DPC models that are trained on photographs alone smear small text and leave dirt around it.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpc.errors import DPCError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.metrics.psnr import psnr

SIZES = (10, 12, 14, 18, 24, 32)
COLOURS = ((20, 20, 20), (160, 20, 20))


def page() -> baselines.Rgb:
    """The page, uint8 (384, 512, 3)."""
    image = Image.new("RGB", (512, 384), (250, 250, 245))
    draw = ImageDraw.Draw(image)
    y = 8
    for size in SIZES:
        font = ImageFont.load_default(size)
        for colour in COLOURS:
            text = f"The quick brown fox jumps over the lazy dog 0123456789 ({size} px)"
            draw.text((10, y), text, colour, font)
            y += int(size * 1.35)
    draw.rectangle((10, y + 4, 250, y + 60), fill=(30, 60, 140))
    draw.text((20, y + 15), "Buttons & menus", "white", ImageFont.load_default(20))
    return np.asarray(image)


def main() -> None:
    parser = argparse.ArgumentParser(description="Text at equal bytes.")
    parser.add_argument("--bpp", default="0.35,0.7")
    parser.add_argument("--codecs", default="dpc,avif,jpegxl,webp,jpeg")
    parser.add_argument("--out")
    given = parser.parse_args()
    original = page()
    rows = []
    for bpp in map(float, given.bpp.split(",")):
        shown = [original]
        for name in given.codecs.split(","):
            try:
                codec = baselines.get(name)
                _, data = baselines.at_bytes(codec, original, int(bpp * original.size / 3 / 8))
            except DPCError as error:
                print(f"{bpp:g} bpp  {name:16s} {error}")
                continue
            decoded = codec.decode(data)
            shown.append(decoded)
            print(f"{bpp:g} bpp  {codec.name:16s} {len(data):6d} bytes  PSNR {psnr(original, decoded):5.2f} dB")
        rows.append(np.concatenate(shown, 1))
    if given.out:
        width = max(row.shape[1] for row in rows)
        rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
        Image.fromarray(np.concatenate(rows, 0)).save(given.out)


if __name__ == "__main__":
    main()
