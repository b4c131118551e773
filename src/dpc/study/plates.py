"""Plates of dots that tell whether a person's screen and eyes show red and green."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["plate", "plates"]


def plates(folder: Path, seed: int) -> tuple[str, ...]:
    """Two plates of dots: a number that differs in lightness, which everybody reads, and one in red and green only.

    A screening in words, no medical test: screens differ.
    """
    chance = random.Random(f"{seed} plates")
    numbers = tuple(str(n) for n in chance.sample([12, 29, 45, 57, 74, 83, 96], 2))
    for i, number in enumerate(numbers):
        plate(number, red_green=i == 1, chance=chance).save(folder / f"{i + 1}.png", "PNG")
    return numbers


def plate(number: str, red_green: bool, chance: random.Random, size: int = 300) -> Image.Image:
    """A plate of dots of random lightness, with a number in it."""
    mask = Image.new("L", (size, size))
    font = ImageFont.load_default(size * 0.62)
    ImageDraw.Draw(mask).text((size / 2, size / 2), number, 255, font, anchor="mm", stroke_width=size // 60)
    inside = np.asarray(mask) > 127
    scale = 3  # made large and reduced, for smooth edges
    image = Image.new("RGB", (size * scale, size * scale), (238, 238, 232))
    draw = ImageDraw.Draw(image)
    dots: list[tuple[float, float, float]] = []
    for radius, tries in ((9.0, 900), (6.5, 3500), (4.5, 7000), (3.2, 9000)):
        for _ in range(tries):
            x, y = chance.uniform(0, size), chance.uniform(0, size)
            if math.hypot(x - size / 2, y - size / 2) + radius > size / 2 - 4:
                continue
            if any((x - a) ** 2 + (y - b) ** 2 < (radius + r + 1) ** 2 for a, b, r in dots):
                continue
            dots.append((x, y, radius))
            light = chance.uniform(-22, 22)
            if red_green:  # the same luma on average
                colour = (196, 112, 82) if inside[int(y), int(x)] else (128, 148, 74)
            else:
                colour = (70, 70, 90) if inside[int(y), int(x)] else (176, 172, 156)
            fill = tuple(int(min(max(c + light, 0), 255)) for c in colour)
            draw.ellipse([scale * (v - radius) for v in (x, y)] + [scale * (v + radius) for v in (x, y)], fill)
    return image.resize((size, size), Image.Resampling.LANCZOS)
