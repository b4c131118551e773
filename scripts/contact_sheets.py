"""Crops of one kind beside each other: the original, a codec, and another at equal and at twice the bytes.

    python scripts/contact_sheets.py LIST PICTURES [--codec dpc:dpc-8] [--peer avif] [--bpp 0.15,0.25] [--out DIR]

LIST: a CSV with the columns kind, picture, left, top (docs/research/sheets.csv). PICTURES: the folder that holds the
pictures. The whole picture is coded, and a crop of it shown. Writes DIR/KIND-RATE.png, a row for each line of LIST, and
prints the bytes of every file.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpc.codec.image import load
from dpc.errors import DPCError, OptionError
from dpc.evaluation.codecs import get
from dpc.evaluation.codecs.protocol import Codec, Rgb
from dpc.evaluation.codecs.sizes import at_bpp, at_bytes

CROP = 192, 144  # pixels
ZOOM = 2
TITLE, GAP = 22, 6  # pixels


@dataclass(frozen=True)
class Crop:
    """A line of the list. left, top: of the crop, in pixels."""

    kind: str
    picture: str
    left: int
    top: int


def crops(path: Path) -> list[Crop]:
    """The lines of a list; OptionError names what is wrong with one."""
    found = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                found.append(Crop(row["kind"], row["picture"], int(row["left"]), int(row["top"])))
            except (KeyError, TypeError, ValueError) as error:
                raise OptionError(f"{path}, line {number}: wants kind, picture, left, top; {error!r}") from error
    return found


class Coded:
    """What a codec, and its peer at the same and at twice the bytes, make of pictures; each is coded once."""

    def __init__(self, folder: Path, codec: Codec, peer: Codec) -> None:
        self.folder, self.codec, self.peer = folder, codec, peer
        self._known: dict[tuple[str, float], list[tuple[str, Rgb]]] = {}

    def panels(self, name: str, bpp: float) -> list[tuple[str, Rgb]]:
        """(title, picture) of the original and the three files."""
        key = name, bpp
        if key not in self._known:
            original = load(self.folder / name).rgb
            _, data = at_bpp(self.codec, original, bpp)
            self._known[key] = [("original", original), self._panel(self.codec, data)]
            for factor in (1, 2):
                _, file = at_bytes(self.peer, original, factor * len(data))
                self._known[key].append(self._panel(self.peer, file))
        return self._known[key]

    def _panel(self, codec: Codec, data: bytes) -> tuple[str, Rgb]:
        return f"{codec.name}, {len(data):,} bytes", codec.decode(data)


def sheet(rows: list[list[tuple[str, Rgb]]]) -> Image.Image:
    """Rows of titled crops of one size, each pixel as ZOOM x ZOOM."""
    wide, high = CROP[0] * ZOOM, CROP[1] * ZOOM
    cell = wide + GAP, high + TITLE + GAP
    image = Image.new("RGB", (cell[0] * max(map(len, rows)), cell[1] * len(rows)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for down, row in enumerate(rows):
        for across, (title, crop) in enumerate(row):
            at = across * cell[0], down * cell[1]
            draw.text((at[0] + 2, at[1] + 2), title, "black", font)
            size = crop.shape[1] * ZOOM, crop.shape[0] * ZOOM
            image.paste(Image.fromarray(crop).resize(size, Image.Resampling.NEAREST), (at[0], at[1] + TITLE))
    return image


def cut(picture: Rgb, crop: Crop) -> Rgb:
    """The crop of a picture, moved into it where it reaches over its edge."""
    height, width = picture.shape[:2]
    left, top = max(0, min(crop.left, width - CROP[0])), max(0, min(crop.top, height - CROP[1]))
    return np.ascontiguousarray(picture[top : top + CROP[1], left : left + CROP[0]])


def sheets(listed: list[Crop], coded: Coded, rates: list[float]) -> Iterator[tuple[str, Image.Image]]:
    """(name, sheet) for every kind and rate; prints what the files take."""
    for kind in dict.fromkeys(crop.kind for crop in listed):
        for bpp in rates:
            rows = []
            for crop in (crop for crop in listed if crop.kind == kind):
                panels = coded.panels(crop.picture, bpp)
                print(f"{kind} {crop.picture}: " + "; ".join(title for title, _ in panels[1:]))
                rows.append([(title, cut(picture, crop)) for title, picture in panels])
            yield f"{kind}-{bpp:g}", sheet(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--codec", default="dpc:dpc-8")
    parser.add_argument("--peer", default="avif")
    parser.add_argument("--bpp", default="0.15,0.25")
    parser.add_argument("--out", type=Path, default=Path("sheets"))
    args = parser.parse_args()
    try:
        coded = Coded(args.pictures, get(args.codec), get(args.peer))
        args.out.mkdir(parents=True, exist_ok=True)
        for name, image in sheets(crops(args.list), coded, [float(v) for v in args.bpp.split(",")]):
            image.save(args.out / f"{name}.png", optimize=True)
    except (DPCError, OSError, ValueError) as error:
        print(f"contact_sheets: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
