"""Pairs of pictures for blind raters, and the count of their votes: which of two codecs looks better at equal bytes?

    python scripts/blind_pairs.py make OUT PICTURE... --codecs dpc:NEW.dpcmodel,dpc:dpc-8 [--bpp 0.12,0.25]
                                  [--share 1] [--seed 1]
    python scripts/blind_pairs.py count OUT BALLOT.csv... [--lines]

make: OUT/pairs/pairNNN.png shows two coded pictures with the original between them, sides and order by chance; at most
512 x 512 pixels, the upper left ones. Give raters that folder alone: OUT/key.csv says what is what. The first codec is
brought to the bytes of the second, or to the given share of them. OUT/mirrored holds the same with the sides exchanged:
give it to as many raters, as raters lean to a side, and count both.
count: a ballot is a CSV with the columns pair, vote (left, right, same) and, if the rater likes, why. Prints the votes
for both codecs at each rate, and how often each side was chosen: a rater who leans shows there. --lines: every vote.

A quick help for choosing among models on held-out training pictures. A study with people is `dpc study`; votes of a
vision model are no votes of people, so say whose they are.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpc.codec.image import load
from dpc.errors import DPCError, OptionError
from dpc.evaluation.codecs import get
from dpc.evaluation.codecs.protocol import Codec, Rgb
from dpc.evaluation.codecs.sizes import at_bpp, at_bytes

SIDE = 512  # pixels: three panels fit on a screen
TITLE, GAP = 24, 10  # pixels
MIRRORED = "mirrored"
VOTES = ("left", "right", "same")
KEY = ("pair", "picture", "bpp", "left", "right", "left_bytes", "right_bytes")


def panels(left: Rgb, original: Rgb, right: Rgb) -> Image.Image:
    """Two coded pictures with the original between them, each pixel as one."""
    height, width = original.shape[:2]
    image = Image.new("RGB", (3 * width + 2 * GAP, height + TITLE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(18)
    for n, (title, picture) in enumerate((("LEFT", left), ("ORIGINAL", original), ("RIGHT", right))):
        draw.text((n * (width + GAP) + 4, 2), title, "black", font)
        image.paste(Image.fromarray(picture), (n * (width + GAP), TITLE))
    return image


def make(out: Path, pictures: list[Path], codecs: list[str], rates: list[float], seed: int, share: float = 1.0) -> None:
    """Write OUT/pairs and OUT/key.csv; a pair that a codec cannot make is left out, with a line."""
    if len(codecs) != 2 or codecs[0] == codecs[1]:
        raise OptionError(f"--codecs {','.join(codecs)}: two codecs that differ are needed, such as dpc:dpc-8,avif")
    if not 0 < share <= 1:
        raise OptionError(f"--share {share:g}: above 0 and at most 1, such as 0.5 for half of the bytes")
    first, second = (get(name) for name in codecs)
    folders = (out, out / MIRRORED)
    for folder in folders:
        (folder / "pairs").mkdir(parents=True, exist_ok=False)
    rng = random.Random(seed)
    wanted = [(picture, rate) for picture in pictures for rate in rates]
    rng.shuffle(wanted)
    keys: list[list[list[str | int]]] = [[list(KEY)], [list(KEY)]]
    for number, (picture, rate) in enumerate(wanted):
        original = np.ascontiguousarray(load(picture).rgb[:SIDE, :SIDE])
        try:
            _, theirs = at_bpp(second, original, rate)
            _, mine = at_bytes(first, original, max(1, round(share * len(theirs))))
        except DPCError as error:
            print(f"{picture} at {rate:g} bpp is left out: {error}", file=sys.stderr)
            continue
        sides: list[tuple[str, Codec, bytes]] = [(codecs[0], first, mine), (codecs[1], second, theirs)]
        rng.shuffle(sides)
        name = f"pair{number:03d}"
        for folder, key in zip(folders, keys, strict=True):
            (left, a, a_data), (right, b, b_data) = sides
            panels(a.decode(a_data), original, b.decode(b_data)).save(folder / "pairs" / f"{name}.png")
            key.append([name, picture.stem, f"{rate:g}", left, right, len(a_data), len(b_data)])
            sides.reverse()
    for folder, key in zip(folders, keys, strict=True):
        with (folder / "key.csv").open("w", newline="") as file:
            csv.writer(file).writerows(key)


def votes(out: Path, ballots: list[Path]) -> Iterator[tuple[dict[str, str], str, str]]:
    """(line of the key, vote, why) of every ballot; OptionError names what is wrong with one."""
    with (out / "key.csv").open(newline="") as file:
        key = {row["pair"]: row for row in csv.DictReader(file)}
    for ballot in ballots:
        with ballot.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                pair, vote = (row.get("pair") or "").strip(), (row.get("vote") or "").strip().lower()
                pair = f"pair{int(pair):03d}" if pair.isdigit() else pair
                if pair not in key or vote not in VOTES:
                    raise OptionError(
                        f"{ballot}, line {number}: pair {pair!r}, vote {vote!r}; a pair of {out / 'key.csv'} and one "
                        f"of {', '.join(VOTES)} are needed"
                    )
                yield key[pair], vote, row.get("why") or ""


def count(out: Path, ballots: list[Path], lines: bool) -> None:
    """Print the votes."""
    tally: Counter[tuple[str, str]] = Counter()
    sides: Counter[str] = Counter()
    for row, vote, why in votes(out, ballots):
        winner = "same" if vote == "same" else row[vote]
        tally[row["bpp"], winner] += 1
        sides[vote] += 1
        if lines:
            print(f"{row['picture']} at {row['bpp']} bpp: {winner} {why}".rstrip())
    names = sorted({name for _, name in tally})
    for rate in sorted({rate for rate, _ in tally}, key=float):
        print(f"{rate} bpp: " + ", ".join(f"{name} {tally[rate, name]}" for name in names))
    print("sides: " + ", ".join(f"{side} {sides[side]}" for side in VOTES))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make")
    one.add_argument("out", type=Path)
    one.add_argument("pictures", type=Path, nargs="+")
    one.add_argument("--codecs", required=True)
    one.add_argument("--bpp", default="0.12,0.25")
    one.add_argument("--share", type=float, default=1.0)
    one.add_argument("--seed", type=int, default=1)
    other = commands.add_parser("count")
    other.add_argument("out", type=Path)
    other.add_argument("ballots", type=Path, nargs="+")
    other.add_argument("--lines", action="store_true")
    args = parser.parse_args()
    try:
        if args.command == "make":
            rates = [float(v) for v in args.bpp.split(",")]
            make(args.out, args.pictures, args.codecs.split(","), rates, args.seed, args.share)
        else:
            count(args.out, args.ballots, args.lines)
    except (DPCError, OSError, ValueError) as error:
        print(f"blind_pairs: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
