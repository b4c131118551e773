"""Synthetic crops: pages, windows, tables, diagrams and signs, on plain ground, on a gradient or on a photograph.

Photographs hold little text, and a codec that never saw any smears it: see docs/guide/training.md. A crop depends on
the generator and on the typefaces of fonts.py alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dpc.training.data import fonts

__all__ = ["synthetic"]

CHARACTERS = list(
    "etaoinshrdlucmfwypvbgkjqxz" * 4 + "ETAOINSHRDLUCMFWYPVBGKJQXZ" * 2 + "0123456789" * 3 + ".,:;!?-()/&%$+=@#\"'"
)
COMMON = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "are", "as", "with", "at", "by")

Colour = tuple[int, int, int]


def synthetic(rng: np.random.Generator, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop like `photo`, (S, S, 3) uint8, with writing and drawing on it; a quarter keeps the photograph as ground.

    It is made at one to two times the size and scaled down, as screens and scans differ in their edges.
    """
    size = photo.shape[0]
    scale = 1.0 if rng.random() < 0.6 else float(rng.uniform(1, 2))
    side = round(size * scale)
    image, ground = _plane(rng, photo, side)
    kind = rng.random()
    if kind < 0.2:
        _window(rng, image, scale)
    elif kind < 0.3:
        _table(rng, image, ground, scale)
    elif kind < 0.4:
        _diagram(rng, image, ground, scale)
    elif kind < 0.55:
        _sign(rng, image, scale)
    else:
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(0, 5))):
            _shape(rng, draw, side, ground)
        for _ in range(int(rng.integers(1, 4))):
            _paragraph(rng, image, ground, scale)
    if side != size:
        image = image.resize((size, size), Image.Resampling.BOX if scale > 1.9 else Image.Resampling.BICUBIC)
    return np.ascontiguousarray(image)


def _plane(rng: np.random.Generator, photo: NDArray[np.uint8], side: int) -> tuple[Image.Image, Colour]:
    """What is drawn on, and its colour."""
    kind = rng.random()
    if kind < 0.25:
        image = Image.fromarray(photo).resize((side, side), Image.Resampling.BICUBIC)
        return image, _colour(photo.reshape(-1, 3).mean(0))
    if kind < 0.35:
        ends = rng.integers(0, 256, (2, 3))
        ramp = np.linspace(ends[0], ends[1], side).round().astype(np.uint8)
        plane = np.broadcast_to(ramp[:, None], (side, side, 3))
        image = Image.fromarray(np.ascontiguousarray(plane if rng.random() < 0.5 else plane.transpose(1, 0, 2)))
        return image, _colour(ends.mean(0))
    ground = _ground(rng)
    image = Image.new("RGB", (side, side), ground)
    if rng.random() < 0.25:  # a page with a picture in it
        w, h = (int(v) for v in rng.integers(side // 4, side // 2, 2))
        inset = Image.fromarray(photo).resize((w, h), Image.Resampling.BICUBIC)
        image.paste(inset, (int(rng.integers(side - w)), int(rng.integers(side - h))))
    return image, ground


def _font(rng: np.random.Generator, height: float) -> Any:
    return fonts.font(int(rng.integers(len(fonts.files()))), max(6, round(height)))


def _label(rng: np.random.Generator, longest: int) -> str:
    return _words(rng, int(rng.integers(2, max(3, longest)))).strip()


def _window(rng: np.random.Generator, image: Image.Image, scale: float) -> None:
    """A part of a program's window: a bar, lines of small text, fields and buttons."""
    side, draw = image.width, ImageDraw.Draw(image)
    dark = rng.random() < 0.35
    base, bar = (int(rng.integers(20, 50)), int(rng.integers(35, 70))) if dark else (
        int(rng.integers(238, 256)), int(rng.integers(215, 245)))  # fmt: skip
    ink = (int(rng.integers(200, 256)),) * 3 if dark else (int(rng.integers(0, 70)),) * 3
    accent = _colour(rng.integers(20, 220, 3))
    top = int(rng.integers(-side // 4, side // 3))
    draw.rectangle((0, top, side, side), fill=(base, base, base))
    height = float(rng.uniform(8, 15)) * scale
    face, line = _font(rng, height), int(height * rng.uniform(1.5, 2.2))
    draw.rectangle((0, top, side, top + line), fill=(bar, bar, bar) if rng.random() < 0.7 else accent)
    draw.text((int(rng.integers(4, 40)), top + (line - height) / 2), _label(rng, 30), ink, face)
    split = int(rng.integers(side // 5, side // 2)) if rng.random() < 0.6 else 0
    if split:
        draw.rectangle((0, top + line, split, side), fill=(bar, bar, bar))
        draw.line((split, top + line, split, side), fill=((base + bar) // 2 - 20,) * 3)
    for y in range(top + line + line // 2, side, line):
        if split:
            draw.text((6, y), _label(rng, int(split / (0.6 * height))), ink, face)
        x = split + int(rng.integers(4, 24))
        kind = rng.random()
        if kind < 0.12:
            width = int(rng.integers(40, 110) * scale)
            draw.rounded_rectangle((x, y, x + width, y + line - 4), 4, fill=accent if rng.random() < 0.5 else None,
                                   outline=accent)  # fmt: skip
            draw.text((x + 8, y + 1), _label(rng, int(width / (0.7 * height))), (255, 255, 255), face)
        elif kind < 0.2:
            draw.rectangle((x, y, x + line // 2, y + line // 2), outline=ink)
            draw.text((x + line, y), _label(rng, 30), ink, face)
        else:
            draw.text((x, y), _label(rng, 45), ink if rng.random() < 0.85 else accent, face)


def _table(rng: np.random.Generator, image: Image.Image, ground: Colour, scale: float) -> None:
    side, draw, ink = image.width, ImageDraw.Draw(image), _ink(rng, ground)
    height = float(rng.uniform(8, 18)) * scale
    face, row, column = _font(rng, height), int(height * rng.uniform(1.3, 2)), int(rng.integers(30, 90) * scale)
    left, top = int(rng.integers(-20, 20)), int(rng.integers(-20, 40))
    for y in range(top, side, row):
        draw.line((left, y, side, y), fill=ink, width=1)
        for x in range(left, side, column):
            number = f"{rng.normal() * 10 ** rng.integers(0, 4):.{int(rng.integers(0, 4))}f}"
            draw.text((x + 4, y + 2), number if rng.random() < 0.7 else _label(rng, 8), ink, face)
    if rng.random() < 0.7:
        for x in range(left, side, column):
            draw.line((x, top, x, side), fill=ink, width=1)


def _diagram(rng: np.random.Generator, image: Image.Image, ground: Colour, scale: float) -> None:
    """Boxes with labels, joined by lines; or curves over axes."""
    side, draw, ink = image.width, ImageDraw.Draw(image), _ink(rng, ground)
    width = int(rng.integers(1, 4))
    face = _font(rng, float(rng.uniform(8, 20)) * scale)
    if rng.random() < 0.4:
        across = np.linspace(0, side, 60)
        for _ in range(int(rng.integers(1, 4))):
            up = side / 2 + np.cumsum(rng.normal(size=60)) * side / 30
            draw.line([(float(a), float(b)) for a, b in zip(across, up, strict=True)], _ink(rng, ground), width)
        draw.line((side // 10, 0, side // 10, side), ink)
        draw.line((0, side * 9 // 10, side, side * 9 // 10), ink)
        for k in range(0, side, side // 6):
            draw.text((k, side * 9 // 10 + 2), f"{k / 7:.1f}", ink, face)
        return
    centres = [tuple(int(v) for v in rng.integers(0, side, 2)) for _ in range(int(rng.integers(2, 6)))]
    for a, b in zip(centres, centres[1:], strict=False):
        draw.line((*a, *b), fill=ink, width=width)
    for x, y in centres:
        w, h = int(rng.integers(20, 60) * scale), int(rng.integers(10, 30) * scale)
        fill = _ground(rng) if rng.random() < 0.7 else ground
        draw.rectangle((x - w, y - h, x + w, y + h), fill=fill, outline=ink, width=width)
        draw.text((x - w + 4, y - h // 2), _label(rng, 10), _ink(rng, fill), face)


def _sign(rng: np.random.Generator, image: Image.Image, scale: float) -> None:
    """A board with large letters, turned a little."""
    side = image.width
    w, h = int(rng.uniform(0.4, 1) * side), int(rng.uniform(0.15, 0.6) * side)
    ground = _colour(rng.integers(0, 256, 3)) if rng.random() < 0.7 else _ground(rng)
    board = Image.new("RGBA", (w, h), (*ground, 255))
    draw, ink = ImageDraw.Draw(board), _ink(rng, ground)
    if rng.random() < 0.5:
        draw.rectangle((3, 3, w - 4, h - 4), outline=ink, width=int(rng.integers(1, 4)))
    lines = int(rng.integers(1, 4))
    face = _font(rng, min(h / (1.3 * lines), 60 * scale))
    for k in range(lines):
        text = _label(rng, 14)
        draw.text(
            (int(rng.integers(4, 16)), k * h / lines + 2), text.upper() if rng.random() < 0.6 else text, ink, face
        )
    angle = 0.0 if rng.random() < 0.4 else float(rng.uniform(-12, 12))
    board = board.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    image.paste(board, (int(rng.integers(-w // 4, side - w // 2)), int(rng.integers(-h // 4, side - h // 2))), board)


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
    font = _font(rng, height)
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
