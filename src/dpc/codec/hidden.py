"""Colours under alpha 0: nobody sees them, so they are replaced by what costs least.

`cover` continues the visible colours into the hidden parts. The means of visible pixels are taken over 2x2, 4x4, ...
until every mean has some; what is hidden gets the mean around it, from the coarsest to the finest. So nothing of what
was there is left, edges keep their colour when they are scaled or blurred, and far from an edge all is smooth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["cover"]

_STRIP_ROWS = 256  # even
_MIDDLE = 128  # where all is hidden
_ANY = [0, *[255] * 255]  # of four pixels one was seen, or more

UInt8 = npt.NDArray[np.uint8]


def cover(rgb: UInt8, alpha: UInt8) -> None:
    """Replace, in place, the colours of (H, W, 3) where (H, W) is 0; the result depends on the visible ones alone."""
    if alpha.min() > 0:
        return
    if alpha.max() == 0:
        rgb[...] = _MIDDLE
        return
    height, width = alpha.shape
    small = Image.new("RGBA", (-(-width // 2), -(-height // 2)))
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        small.paste(_halved(_marked(rgb[rows], alpha[rows])), (0, top // 2))
    coarse = _filled(small)
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        if alpha[rows].min() > 0:
            continue
        # one row more on both sides, so that strips meet without a seam
        first, last = max(top // 2 - 1, 0), min((top + _STRIP_ROWS) // 2 + 1, coarse.height)
        around = coarse.crop((0, first, coarse.width, last))
        filled = _over(_marked(rgb[rows], alpha[rows]), around, top - 2 * first)
        rgb[rows] = np.asarray(filled)


def _marked(rgb: UInt8, alpha: UInt8) -> Image.Image:
    """RGBA, its alpha 255 where a pixel is visible at all, else 0."""
    marked = np.empty((*alpha.shape, 4), np.uint8)
    marked[:, :, :3] = rgb
    marked[:, :, 3] = np.where(alpha > 0, 255, 0)
    return Image.fromarray(marked)


def _halved(image: Image.Image) -> Image.Image:
    """The mean of the visible pixels of every 2x2; visible where any of them is."""
    small = image.convert("RGBa").reduce(2).convert("RGBA")
    small.putalpha(small.getchannel("A").point(_ANY))
    return small


def _filled(image: Image.Image) -> Image.Image:
    """RGB without hidden pixels; at least one is visible."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return _over(image, _filled(_halved(image)), 0)


def _over(image: Image.Image, small: Image.Image, top: int) -> Image.Image:
    """RGB: the image where it is visible, elsewhere the one of half its size, enlarged; top: where the image begins."""
    around = small.resize((2 * small.width, 2 * small.height), Image.Resampling.BILINEAR)
    around = around.crop((0, top, image.width, top + image.height))
    around.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return around
