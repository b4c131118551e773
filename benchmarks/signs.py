"""Photographs with signs, for the share of text that is still read (`text_read`), where no text is known beforehand.

    python benchmarks/signs.py PHOTOS OUT --pictures 6
    dpc bench OUT --out rows --codecs dpc,avif --bpp 0.15,0.25,0.5 --metrics text_read,psnr
    dpc report rows --out page

OUT gets crops of 768 x 512 of photographs in PHOTOS, each with five boards that hang in perspective, with letters of 9
to 30 pixels, softened and grained as the photograph around them. Seeded: the same photographs give the same pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from dpc.codec.image import load, pictures_in
from dpc.errors import DPCError
from dpc.evaluation import pages

SIZE = 768, 512
BOARDS = (30, 20, 5), (20, 20, 310), (14, 20, 530), (11, 300, 10), (9, 300, 280)  # letters, top, left; in pixels
WORDS = (
    "Bakery Harbour Museum Platform Exit Parking Library Market Station Garden Hotel Coffee Theatre Bridge Open".split()
)
COLOURS = ("#ffffff", "#1c4f8a"), ("#101010", "#f3d64b"), ("#ffffff", "#1f6b3a"), ("#7a1f1f", "#f4efe2")
FONTS = "sans", "sans-bold", "noto", "noto-bold", "ubuntu", "mono"


def board(rng: np.random.Generator, letters: int) -> Image.Image:
    """A board with two lines of words, the letters so many pixels high."""
    ink, ground = COLOURS[rng.integers(len(COLOURS))]
    font = FONTS[rng.integers(len(FONTS))]
    first, second = (f"{WORDS[rng.integers(len(WORDS))]} {rng.integers(2, 99)}" for _ in range(2))
    width, height = 9 * letters, int(3.6 * letters)
    page = pages.parse(
        "board",
        f"size {width} {height}\nground {ground}\nframe 0 0 {width} {height} {ink} {max(1, letters // 10)}\n"
        f"text {width // 2} {int(1.5 * letters)} {font} {letters} {ink} ms | {first}\n"
        f"text {width // 2} {int(2.9 * letters)} {font} {letters} {ink} ms | {second}\n",
    )
    return Image.fromarray(pages.render(page))


def hung(photo: Image.Image, sign: Image.Image, rng: np.random.Generator, top: int, left: int) -> None:
    """Draw the board on the photograph, its corners moved by up to an eighth of its height."""
    width, height = sign.size
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], float)
    moved = corners + rng.uniform(-height / 8, height / 8, (4, 2)) + height / 8
    # the eight numbers that take a pixel of the result to one of the board
    rows = [[x, y, 1, 0, 0, 0, -u * x, -u * y] for (x, y), (u, _) in zip(moved, corners, strict=True)]
    rows += [[0, 0, 0, x, y, 1, -v * x, -v * y] for (x, y), (_, v) in zip(moved, corners, strict=True)]
    numbers = np.linalg.solve(np.array(rows), [*corners[:, 0], *corners[:, 1]]).tolist()
    size = width + height // 4, height + height // 4
    shape, soft = Image.Transform.PERSPECTIVE, ImageFilter.GaussianBlur(0.5)
    mask = Image.new("L", sign.size, 255).transform(size, shape, numbers, Image.Resampling.BICUBIC).filter(soft)
    softened = sign.transform(size, shape, numbers, Image.Resampling.BICUBIC).filter(soft)
    grained = np.array(softened) + rng.integers(-2, 3, (size[1], size[0], 1))
    photo.paste(Image.fromarray(np.clip(grained, 0, 255).astype(np.uint8)), (left, top), mask)


def signs(photo: np.ndarray, seed: int) -> np.ndarray:
    """A photograph (H, W, 3) uint8 of at least SIZE, cropped in its middle, with its boards."""
    rng = np.random.default_rng(seed)
    top, left = (photo.shape[0] - SIZE[1]) // 2, (photo.shape[1] - SIZE[0]) // 2
    picture = Image.fromarray(photo[top : top + SIZE[1], left : left + SIZE[0]])
    for letters, y, x in BOARDS:
        hung(picture, board(rng, letters), rng, y + int(rng.integers(0, 60)), x + int(rng.integers(0, 20)))
    return np.array(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=6)
    given = parser.parse_args()
    try:
        paths = pictures_in(given.photos)
    except DPCError as error:
        raise SystemExit(f"signs: error: {error}") from None
    given.out.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in paths:
        if count == given.pictures:
            break
        photo = load(path).rgb
        if photo.shape[0] >= SIZE[1] and photo.shape[1] >= SIZE[0]:
            Image.fromarray(signs(photo, count)).save(given.out / f"signs-{path.stem}.png")
            count += 1
    print(f"{count} pictures in {given.out}")


if __name__ == "__main__":
    main()
