"""Earlier learned codecs and others at equal bytes, picture by picture: folders for a study, and a contact sheet.

    python scripts/equal_bytes.py OUT PICTURE... --weights NAME=W [--weights NAME=W] [--codecs dpc:dpc-8,jpeg2000,avif]

W: weights of an earlier codec at one rate. The bytes of a picture are those of the first file of weights that has no
importance map, else the geometric mean of all. Codecs with an importance map (base-2018) are brought there by one
number for each picture that the encoder adds to the map; others with one rate keep their size, which the sheet tells.
OUT/NAME holds sizes.csv and the decoded pictures, as `dpc study` and `dpc bench --folder` take them; OUT/sheet.webp the
same crop of all.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from dpc.codec.image import load as load_picture
from dpc.errors import DPCError, OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Rgb
from dpc.evaluation.compression.evaluate import crops_of
from dpc.files import atomic_write
from dpc.networks.earlier.base2018 import Base2018
from dpc.networks.earlier.checkpoint import load
from dpc.networks.earlier.protocol import EarlierCodec

NEAR = 0.005  # share of the bytes that ends the search
REACH = 4.0  # the map's shift lies in -REACH .. REACH
ROUNDS = 12
CELLS = 8  # lines of the sheet

Coded = tuple[float, bytes, Rgb]
"""Quality or shift, file, decoded picture."""


def shifted(codec: Base2018, rgb: Rgb, target: float) -> tuple[float, bytes]:
    """(shift, file) nearest to so many bytes."""
    low, high, best = -REACH, REACH, (math.inf, 0.0, b"")
    shift = 0.0
    try:
        for _ in range(ROUNDS):
            codec.shift = shift
            data = codec.compress(rgb)
            best = min(best, (abs(math.log(len(data) / target)), shift, data))
            if best[0] < NEAR:
                break
            low, high = (shift, high) if len(data) < target else (low, shift)
            shift = (low + high) / 2
    finally:
        codec.shift = 0.0
    return best[1:]


def coded(rgb: Rgb, learned: Mapping[str, EarlierCodec], others: Mapping[str, Codec]) -> dict[str, Coded]:
    """Everything that is made of a picture."""
    plain = {name: codec.compress(rgb) for name, codec in learned.items()}
    fixed = [len(data) for name, data in plain.items() if not isinstance(learned[name], Base2018)]
    target = fixed[0] if fixed else math.exp(sum(math.log(len(data)) for data in plain.values()) / len(plain))
    found: dict[str, Coded] = {}
    for name, codec in learned.items():
        shift, data = shifted(codec, rgb, target) if isinstance(codec, Base2018) else (0.0, plain[name])
        found[name] = shift, data, codec.decompress(data)
    for name, other in others.items():
        quality, data = baselines.at_bpp(other, rgb, 8 * target / (rgb.shape[0] * rgb.shape[1]))
        found[name] = quality, data, other.decode(data)
    return found


def write(out: Path, made: Mapping[str, Mapping[str, Coded]]) -> None:
    """A folder for each codec. made: picture -> codec -> what was made."""
    lines: dict[str, list[tuple[str, float, int, str]]] = {}
    for picture, codecs in made.items():
        for name, (quality, data, rgb) in codecs.items():
            folder = out / name.replace(":", "-")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(folder / f"{picture}.png")
            lines.setdefault(folder.name, []).append((picture, quality, len(data), f"{picture}.png"))
    for folder_name, rows in lines.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("image", "quality", "bytes", "decoded"), *rows])
        atomic_write(out / folder_name / "sizes.csv", text.getvalue())


def sheet(paths: Sequence[Path], made: Mapping[str, Mapping[str, Coded]]) -> Image.Image:
    """The contact sheet of some of the pictures."""
    lines = []
    for path in paths[:: max(1, len(paths) // CELLS)][:CELLS]:
        cells = [(f"{name} {len(data):,} bytes", rgb) for name, (_, data, rgb) in made[path.stem].items()]
        lines.append([(path.stem, load_picture(path).rgb), *cells])
    return crops_of(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Learned codecs and others at equal bytes, picture by picture.")
    parser.add_argument("out", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--weights", action="append", required=True, metavar="NAME=W")
    parser.add_argument("--codecs", default="", metavar="C,C", help="names as in dpc bench")
    args = parser.parse_args()
    try:
        learned = {}
        for given in args.weights:
            name, _, path = given.partition("=")
            if not name or not path:
                raise OptionError(f"--weights {given}: give NAME=FILE")
            learned[name] = load(Path(path))[0]
        others = {name: baselines.get(name) for name in filter(None, args.codecs.split(","))}
        made = {}
        for picture in args.pictures:
            made[picture.stem] = coded(load_picture(picture).rgb, learned, others)
            print(picture.stem, ", ".join(f"{name} {len(data)}" for name, (_, data, _) in made[picture.stem].items()))
        write(args.out, made)
        sheet(args.pictures, made).save(args.out / "sheet.webp", quality=92)
    except (DPCError, OSError) as error:
        print(f"equal_bytes: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
