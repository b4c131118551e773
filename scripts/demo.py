"""Compress and decode a photograph at three rates, and put the results side by side.

    python scripts/demo.py [PHOTO] [--out DIR]

Writes DIR/NAME-RATE.dpc, DIR/NAME-RATE.png and DIR/NAME-side-by-side.png, and prints sizes, bits per pixel
and times.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

import dpc

RATES = (0.15, 0.25, 0.5)
PANEL = 640
"""Most pixels on a side of what the sheet shows; a larger picture is shown by its middle."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Compress and decode a photograph at three rates.")
    parser.add_argument("photo", nargs="?", default="demo/photo.png", type=Path)
    parser.add_argument("--out", default="demo/out", type=Path, metavar="DIR", help="default: demo/out")
    args = parser.parse_args()
    try:
        demo(args.photo, args.out)
    except (dpc.DPCError, OSError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    return 0


def demo(photo: Path, out: Path) -> None:
    """Run the three rates; raises DPCError or OSError."""
    out.mkdir(parents=True, exist_ok=True)
    with Image.open(photo) as image:
        original = ImageOps.exif_transpose(image).convert("RGB")
    pixels = original.width * original.height
    print(f"{photo}: {original.width}x{original.height}, {photo.stat().st_size:,} bytes")
    print(f"{'aim':>10} {'bytes':>10} {'bpp':>7} {'of 24-bit':>10} {'encode':>8} {'decode':>8}")

    codec = dpc.Codec()
    panels = [(original, f"original, {photo.stat().st_size:,} bytes")]
    for rate in RATES:
        start = time.perf_counter()
        data = codec.encode(photo, bpp=rate, exif=False)
        middle = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()

        stem = out / f"{photo.stem}-{rate}"
        stem.with_name(f"{stem.name}.dpc").write_bytes(data)
        decoded.save(stem.with_name(f"{stem.name}.png"))
        bpp = 8 * len(data) / pixels
        print(
            f"{rate:>6} bpp {len(data):>10,} {bpp:>7.3f} {'1/' + str(round(24 / bpp)):>10} "
            f"{middle - start:>6.2f} s {end - middle:>6.2f} s"
        )
        panels.append((decoded.convert("RGB"), f"DPC {bpp:.2f} bpp, {len(data):,} bytes"))

    path = out / f"{photo.stem}-side-by-side.png"
    sheet(panels).save(path)
    print(f"look at {path}")
    program = os.path.relpath(Path(sys.executable).with_name("dpc"))
    print(f"beside other codecs at equal bytes, as a page: {program} compare {photo}")


def sheet(panels: list[tuple[Image.Image, str]]) -> Image.Image:
    """The middles of pictures of one size in two columns, pixel for pixel, each under its title."""
    size = (min(panels[0][0].width, PANEL), min(panels[0][0].height, PANEL))
    font = ImageFont.load_default(16)
    title, gap = 26, 8
    cell = max(size[0], 260), title + size[1]
    rows = (len(panels) + 1) // 2
    page = Image.new("RGB", (2 * cell[0] + 3 * gap, rows * cell[1] + (rows + 1) * gap), "white")
    draw = ImageDraw.Draw(page)
    for number, (picture, text) in enumerate(panels):
        left = gap + number % 2 * (cell[0] + gap)
        top = gap + number // 2 * (cell[1] + gap)
        x, y = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
        draw.text((left, top + 3), text, fill="black", font=font)
        page.paste(picture.crop((x, y, x + size[0], y + size[1])), (left, top + title))
    return page


if __name__ == "__main__":
    sys.exit(main())
