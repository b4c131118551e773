"""Drawn crops: text, lines and shapes on plain ground, on a gradient or on a photograph.

Photographs hold little text, and a codec that never saw any smears it: see docs/training.md. Only the typeface that
comes with Pillow is used, so that a crop depends on the generator alone and not on the fonts of a machine; sizes,
weights, widths, slants and characters vary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["drawn"]

CHARACTERS = list(
    "etaoinshrdlucmfwypvbgkjqxz" * 4 + "ETAOINSHRDLUCMFWYPVBGKJQXZ" * 2 + "0123456789" * 3 + ".,:;!?-()/&%$+=@#\"'"
)
COMMON = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "are", "as", "with", "at", "by")

Colour = tuple[int, int, int]


def drawn(rng: np.random.Generator, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop like `photo`, (S, S, 3) uint8, with drawing on it; a quarter keeps the photograph as the ground.

    The ground is drawn at one to two times the size and scaled down, as screens and scans differ in their edges.
    """
    size = photo.shape[0]
    scale = 1.0 if rng.random() < 0.6 else float(rng.uniform(1, 2))
    side = round(size * scale)
    kind = rng.random()
    if kind < 0.25:
        image = Image.fromarray(photo).resize((side, side), Image.Resampling.BICUBIC)
        ground = _colour(photo.reshape(-1, 3).mean(0))
    elif kind < 0.35:
        ends = rng.integers(0, 256, (2, 3))
        ramp = np.linspace(ends[0], ends[1], side).round().astype(np.uint8)
        plane = np.broadcast_to(ramp[:, None], (side, side, 3))
        image = Image.fromarray(np.ascontiguousarray(plane if rng.random() < 0.5 else plane.transpose(1, 0, 2)))
        ground = _colour(ends.mean(0))
    else:
        ground = _ground(rng)
        image = Image.new("RGB", (side, side), ground)
        if rng.random() < 0.25:  # a page with a picture in it
            w, h = (int(v) for v in rng.integers(side // 4, side // 2, 2))
            inset = Image.fromarray(photo).resize((w, h), Image.Resampling.BICUBIC)
            image.paste(inset, (int(rng.integers(side - w)), int(rng.integers(side - h))))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 5))):
        _shape(rng, draw, side, ground)
    for _ in range(int(rng.integers(1, 4))):
        _paragraph(rng, image, ground, scale)
    if side != size:
        image = image.resize((size, size), Image.Resampling.BOX if scale > 1.9 else Image.Resampling.BICUBIC)
    return np.ascontiguousarray(image)


def _colour(values: NDArray[Any]) -> Colour:
    return int(values[0]), int(values[1]), int(values[2])


def _ground(rng: np.random.Generator) -> Colour:
    """Mostly near white, often near black, else any colour."""
    kind = rng.random()
    values = (
        rng.integers(232, 256, 3) if kind < 0.5 else rng.integers(0, 40, 3) if kind < 0.7 else rng.integers(0, 256, 3)
    )
    if kind < 0.2:
        values = np.array([255, 255, 255])
    return _colour(values)


def _ink(rng: np.random.Generator, ground: Colour) -> Colour:
    """A colour that stands out from the ground: mostly grey, else any; some faint."""
    light = sum(ground) / 3
    least = 40 if rng.random() < 0.2 else 90
    for _ in range(20):
        values = np.repeat(rng.integers(0, 256), 3) if rng.random() < 0.6 else rng.integers(0, 256, 3)
        if abs(float(values.mean()) - light) >= least:
            return _colour(values)
    return (0, 0, 0) if light > 127 else (255, 255, 255)


def _shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, ground: Colour) -> None:
    x, y = (int(v) for v in rng.integers(-side // 8, side, 2))
    w, h = (int(v) for v in rng.integers(4, side // 2, 2))
    ink = _ink(rng, ground)
    width = int(rng.integers(1, 5))
    kind = int(rng.integers(5))
    if kind == 0:
        draw.rectangle((x, y, x + w, y + h), fill=ink)
    elif kind == 1:
        draw.rounded_rectangle((x, y, x + w, y + h), min(w, h) // 4, outline=ink, width=width)
    elif kind == 2:
        draw.ellipse((x, y, x + w, y + h), fill=ink if rng.random() < 0.5 else None, outline=ink, width=width)
    elif kind == 3:
        draw.line((x, y, x + w, y + int(h * rng.uniform(-1, 1))), fill=ink, width=width)
    else:  # the lines of a table or a diagram
        step = int(rng.integers(6, 40))
        for k in range(0, side, step):
            draw.line((0, k, side, k) if rng.random() < 0.7 else (k, 0, k, side), fill=ink, width=min(width, 2))


def _paragraph(rng: np.random.Generator, image: Image.Image, ground: Colour, scale: float) -> None:
    """A few lines of text, from 7 to 48 pixels high at the size of the crop, most of them small."""
    height = float(np.exp(rng.uniform(np.log(7), np.log(48)))) * scale
    font = ImageFont.load_default(height)
    lines = int(rng.integers(1, max(2, min(8, int(image.height / (1.4 * height))))))
    text = "\n".join(_words(rng, int(image.width / (0.5 * height)) + 1) for _ in range(lines))
    width, stroke = float(rng.uniform(0.75, 1.3)), int(rng.random() < 0.25 and height > 14)
    _, _, right, bottom = ImageDraw.Draw(image).multiline_textbbox((0, 0), text, font, stroke_width=stroke)
    mask = Image.new("L", (int(right) + 4, int(bottom) + 4))
    ImageDraw.Draw(mask).multiline_text((2, 0), text, 255, font, stroke_width=stroke)
    if rng.random() < 0.5:  # narrower, wider, slanted
        slant = float(rng.uniform(-0.3, 0.3)) if rng.random() < 0.5 else 0.0
        mask = mask.transform(
            mask.size,
            Image.Transform.AFFINE,
            (1 / width, slant, -slant * mask.height / 2, 0, 1, 0),
            Image.Resampling.BICUBIC,
        )
    if rng.random() < 0.1:
        mask = mask.rotate(float(rng.choice([90, 270, rng.uniform(-30, 30)])), Image.Resampling.BICUBIC, expand=True)
    x, y = int(rng.integers(-image.width // 8, image.width // 2)), int(rng.integers(-4, image.height - int(height / 2)))
    image.paste(_ink(rng, ground), (x, y), mask)


def _words(rng: np.random.Generator, length: int) -> str:
    """Words of at least so many characters together."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < length:
        known = rng.random() < 0.3
        word = str(rng.choice(COMMON)) if known else "".join(rng.choice(CHARACTERS, int(rng.integers(1, 11))))
        words.append(word)
    return " ".join(words)
