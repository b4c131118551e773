"""What decode gives back: the part or the preview that was asked for, as a PIL image or an array; lossless bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.codec import container, image, lossless
from dpc.codec.container import DEFAULT_MAX_PIXELS, DPCFile
from dpc.codec.metadata import info_of
from dpc.codec.tiles import STRIDE, Box
from dpc.codec.transforms import PREVIEW, luma
from dpc.errors import OptionError, TooLarge

EIGHTH = STRIDE // PREVIEW  # a preview has 1/8 of the picture's size, rounded up

Region = tuple[int, int, int, int]


def decode_lossless(
    source: DPCFile | bytes,
    *,
    region: Region | None = None,
    preview: bool = False,
    as_array: bool = False,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> Any:
    """The picture in a file whose body is lossless, which takes no model; else as Codec.decode."""
    file = source if isinstance(source, DPCFile) else container.unpack(source)
    part = part_of(file, region, preview, max_pixels)
    rgb, alpha = lossless.from_bytes(file.body, file.width, file.height)
    if preview:
        rgb, alpha = reduced(rgb, alpha)
    else:
        rgb, alpha = rgb[part], None if alpha is None else alpha[part]
    return finished(rgb, alpha, file, as_array)


def eighth(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The means of 8x8 pixels, those at the border of what is there."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(EIGHTH))


def reduced(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The preview of a decoded picture; what is clear has no say in the colours."""
    if alpha is None:
        return eighth(rgb), None
    both = eighth(np.dstack([rgb, alpha]))
    return both[:, :, :3], both[:, :, 3]


def part_of(file: DPCFile, region: Region | None, preview: bool, max_pixels: int | None) -> Box:
    """The rows and columns of pixels that are asked for. TooLarge, OptionError."""
    if preview and region is not None:
        raise OptionError("a preview is of the whole picture; leave region out, or preview")
    left, top, right, bottom = region or (0, 0, file.width, file.height)
    if not (0 <= left < right <= file.width and 0 <= top < bottom <= file.height):
        raise OptionError(
            f"region {right - left}x{bottom - top}+{left}+{top} does not lie in the picture of "
            f"{file.width}x{file.height} pixels; give a part of it"
        )
    # alpha, overlays and lossless bodies are decoded whole
    whole = file.lossless or file.alpha is not None or file.overlay is not None
    pixels = file.width * file.height if whole else (right - left) * (bottom - top)
    if max_pixels is not None and pixels > max_pixels:
        raise TooLarge(
            f"the picture has {file.width}x{file.height} pixels, max_pixels is {max_pixels}; "
            "raise it if the file can be trusted, or decode a region"
        )
    return slice(top, bottom), slice(left, right)


def finished(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, file: DPCFile, as_array: bool) -> Any:
    """What decode gives back. An array is made without a picture beside it: large ones would be there three times."""
    info = info_of(file)  # a damaged profile is an error for arrays too
    if not as_array:
        return image.to_pil(rgb, alpha, file.grey, info)
    colours = luma(rgb) if file.grey else rgb
    return colours if alpha is None else np.dstack([colours, alpha])
