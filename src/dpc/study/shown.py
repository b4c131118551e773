"""Pictures as they are shown: sRGB, the middle of large ones, PNG files of one length."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from dpc.codec.image import load
from dpc.errors import ImageError, OptionError
from dpc.evaluation.codecs import Rgb

__all__ = ["crop_of", "middle", "pad", "png", "srgb", "worst"]

LARGEST_PICTURE = 4096  # pixels a side that a study shows
WORST_QUALITY = 3  # JPEG: blocks and false colours that nobody takes for the original


def srgb(path: Path) -> Rgb:
    """The picture in a file, (H, W, 3) uint8 sRGB, opaque on white."""
    picture = load(path)
    rgb = picture.rgb
    if max(rgb.shape[:2]) > LARGEST_PICTURE:
        raise ImageError(
            f"{path} is {rgb.shape[1]}x{rgb.shape[0]}; a study shows at most {LARGEST_PICTURE} pixels a side: cut it"
        )
    if picture.profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                Image.fromarray(np.ascontiguousarray(rgb)),
                ImageCms.ImageCmsProfile(io.BytesIO(picture.profile)),
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
            )
            rgb = rgb if converted is None else np.asarray(converted)
        except (OSError, ImageCms.PyCMSError) as error:
            raise ImageError(f"{path} has a colour profile that cannot be used; convert it to sRGB") from error
    if picture.alpha is not None:
        opacity = picture.alpha[:, :, None].astype(np.uint32)
        rgb = ((rgb * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(rgb)


def crop_of(text: str) -> tuple[int, int] | None:
    """(width, height) of "WxH", None for ""."""
    width, _, height = text.partition("x")
    return (int(width), int(height)) if text else None


def middle(rgb: Rgb, crop: tuple[int, int] | None) -> Rgb:
    """The middle of a picture, no larger than it is."""
    if crop is None:
        return rgb
    width, height = min(crop[0], rgb.shape[1]), min(crop[1], rgb.shape[0])
    x, y = (rgb.shape[1] - width) // 2, (rgb.shape[0] - height) // 2
    return np.ascontiguousarray(rgb[y : y + height, x : x + width])


def worst(original: Rgb) -> tuple[Rgb, int]:
    """(a version that nobody takes for the original, bytes of its file)."""
    file = io.BytesIO()
    Image.fromarray(original).save(file, "JPEG", quality=WORST_QUALITY, subsampling="4:2:0")
    with Image.open(file) as decoded:
        return np.asarray(decoded.convert("RGB")), file.tell()


def png(rgb: Rgb) -> bytes:
    """A PNG of the pixels and nothing else."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", compress_level=6)
    return out.getvalue()


def pad(data: bytes, length: int, chance: random.Random) -> bytes:
    """A PNG file brought to a length by a chunk that every reader skips; random, so that it does not compress.

    OptionError when there are fewer than 12 bytes to add.
    """
    room = length - len(data) - 12
    if room < 0:
        raise OptionError(f"a PNG of {len(data)} bytes cannot be padded to {length}; at least 12 more are needed")
    body = b"paDd" + chance.randbytes(room)
    chunk = struct.pack(">I", room) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-12] + chunk + data[-12:]
