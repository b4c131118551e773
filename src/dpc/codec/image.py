"""Pictures in files, bytes, Pillow and numpy <-> uint8 arrays, as they cross the boundary of the codec.

    load   source -> open -> limits -> strips of rows -> 8 bits, RGB, upright, nothing under alpha 0 -> Picture
    to_pil arrays and the rest of the file -> PIL.Image

What becomes of each kind of input is the table in docs/format.md, "Pictures in and out".
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from dpc.codec import colour, hidden, metadata
from dpc.codec.colour_tags import declared
from dpc.codec.container import MAGIC, Colour, check_size
from dpc.codec.depth import is_deep
from dpc.codec.metadata import Beside
from dpc.errors import DPCError, ImageError, OptionError, TooLarge

__all__ = ["SUFFIXES", "Picture", "Source", "load", "pictures_in", "to_pil"]

UInt8: TypeAlias = npt.NDArray[np.uint8]
Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | UInt8"

_GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_STRIP_PIXELS = 1 << 20

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")  # of pictures, where a folder is given


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that can be encoded, the right way up.

    rgb: (H, W, 3) uint8; the three channels are equal where grey is true. alpha: (H, W) uint8, or None when every pixel
    is opaque; where it is 0, rgb holds nothing of what was there. colour: the space that rgb is in. icc: the profile,
    for Colour.ICC only. beside: EXIF, XMP, pixel density. notes: what of the source was not kept, a line each. became:
    what its values were converted to, such as 8 bits; empty where they are those of the source.
    """

    rgb: UInt8
    alpha: UInt8 | None
    grey: bool
    colour: Colour = Colour.UNKNOWN
    icc: bytes | None = None
    beside: Beside = Beside()
    notes: tuple[str, ...] = ()
    became: tuple[str, ...] = ()

    @property
    def profile(self) -> bytes | None:
        """The ICC profile through which rgb becomes sRGB; None where it is sRGB or unknown."""
        return colour.profile(self.colour) if self.colour in (Colour.DISPLAY_P3, Colour.ADOBE_RGB) else self.icc


def pictures_in(folder: Path) -> list[Path]:
    """All picture files of a folder, not those below it, sorted; OptionError when there is none, or no folder."""
    if not folder.is_dir():
        raise OptionError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}; give a folder of pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise OptionError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}); give another folder")
    return found


def load(source: Source, icc: bool = True) -> Picture:
    """The picture in a path, bytes, a binary file object, a PIL image, or a (H, W[, 1|3|4]) uint8 array.

    icc: False converts colours that are not in sRGB to it, so that no profile is left. A file object is read from its
    start and left open. Raises ImageError for what is no picture, is damaged, moves, or is of
    a mode that has no place here. Raises TooLarge, before any pixel is decoded, for a picture above the limits of the
    format or above Pillow's own guard (PIL.Image.MAX_IMAGE_PIXELS).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the picture", icc)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "the picture", icc)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        try:
            file = open(name, "rb")  # closed by the with below; only the opening is tried
        except OSError as exc:
            raise ImageError(f"{name} cannot be opened: {exc.strerror}; give the path of a picture") from exc
        with file:
            return _from_file(file, name, icc)
    if hasattr(source, "read"):
        return _from_file(source, "the picture", icc)
    raise ImageError(
        f"a {type(source).__name__} is not a picture; give a path, bytes, a binary file object, "
        "a PIL image or a uint8 array"
    )


def to_pil(
    rgb: UInt8, alpha: UInt8 | None = None, grey: bool = False, info: Mapping[str, Any] = MappingProxyType({})
) -> Image.Image:
    """A PIL image of mode L, LA, RGB or RGBA.

    rgb: (H, W, 3) uint8; where grey, its ITU-R 601 luma is taken. alpha: (H, W) uint8. info: as `metadata.info_of`
    gives it.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if grey:
        image = image.convert("L")
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    image.info.update(info)
    return image


def _from_array(array: npt.NDArray[Any]) -> Picture:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(
            f"an array of {array.dtype} and shape {array.shape} is not a picture; "
            "give uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    pixels = array if array.ndim == 3 else array[:, :, None]
    grey = pixels.shape[2] == 1
    if pixels.shape[2] == 4 and (alpha := _unless_opaque(pixels[:, :, 3])) is not None:
        rgb = pixels[:, :, :3].copy()
        hidden.cover(rgb, alpha)
        return Picture(rgb, alpha, False)
    rgb = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if grey else pixels[:, :, :3])
    return Picture(rgb, None, grey)


def _from_file(file: BinaryIO, name: str, icc: bool) -> Picture:
    try:
        image = _opened(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise TooLarge(
            f"{name} is above Pillow's guard ({_line(exc)}); make it smaller first, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS in Python"
        ) from exc
    except PIL.UnidentifiedImageError as exc:
        file.seek(0)
        start = file.read(len(MAGIC))
        if not start:
            raise ImageError(f"{name} is empty; give a picture") from exc
        if start == MAGIC:
            raise ImageError(f"{name} is a .dpc file; dpc decode makes a picture of it") from exc
        raise ImageError(
            f"{name} is in no format that Pillow {PIL.__version__} can read; convert it to PNG or JPEG"
        ) from exc
    except Exception as exc:  # Pillow's readers raise whatever the damage happens to hit
        raise ImageError(f"{name} cannot be read ({_line(exc)}); convert it to PNG or JPEG") from exc
    with image:
        return _from_pil(image, name, icc)


def _opened(file: BinaryIO) -> Image.Image:
    """What Pillow opens, with pillow-heif where that is installed; it is loaded only for a file that may be HEIC."""
    try:
        return Image.open(file)
    except PIL.UnidentifiedImageError:
        file.seek(0)
        if file.read(12)[4:8] != b"ftyp" or not _with_heif():
            raise
        file.seek(0)
        return Image.open(file)


@cache
def _with_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _from_pil(image: Image.Image, name: str, icc: bool) -> Picture:
    try:
        _check_size(image.width, image.height, name)
        # the further pictures of a multi-picture JPEG are previews or gain maps of the first
        if getattr(image, "is_animated", False) and image.format != "MPO":
            frames = getattr(image, "n_frames", "several")
            raise ImageError(
                f"{name} holds {frames} frames or pages, DPC holds 1; save the one you want as a picture of its own"
            )
        if image.mode not in _GREY_MODES | _COLOUR_MODES:
            raise ImageError(
                f"{name} is of mode {image.mode}, which does not fit 8-bit RGB; convert it to 8-bit grey or RGB"
            )
        said, tiff = declared(image), metadata.of_tiff(image)  # while the file is open
        deep = is_deep(image)
        image.load()
        return _convert(image, said, tiff, icc, deep)
    except DPCError:
        raise
    except Exception as exc:  # Pillow's readers raise whatever the damage happens to hit
        raise ImageError(
            f"{name} cannot be decoded ({_line(exc)}); it may be damaged, convert it to PNG or JPEG"
        ) from exc


def _check_size(width: int, height: int, name: str) -> None:
    if not width or not height:
        raise ImageError(f"{name} is {width}x{height} pixels, the least is 1x1; give a picture with pixels")
    check_size(width, height)


def _unless_opaque(alpha: UInt8) -> UInt8 | None:
    return None if alpha.min() == 255 else np.ascontiguousarray(alpha)


def _convert(
    image: Image.Image,
    said: tuple[bytes | None, bool, str | None],
    tiff: tuple[bytes | None, tuple[str, ...]],
    keep: bool,
    deep: bool,
) -> Picture:
    """The Picture in a loaded PIL image, of what its file said of colours and tags.

    deep: its values had more than 8 bits.

    Strips of rows are converted and written through a turned view of the result, so that no second whole
    picture is ever made.
    """
    space, icc, to_srgb, note = _colours(image, *said, keep)
    turn = metadata.orientation(image)
    width, height = image.size
    upright = (width, height) if turn >= 5 else (height, width)
    rgb = np.empty((*upright, 3), np.uint8)
    alpha = np.empty(upright, np.uint8) if image.has_transparency_data else None
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = _strip(image.crop((0, top, width, bottom)), to_srgb)
        _as_stored(rgb, turn)[top:bottom] = strip[:, :, :3]
        if alpha is not None:
            _as_stored(alpha, turn)[top:bottom] = strip[:, :, 3]
    if alpha is not None and (alpha := _unless_opaque(alpha)) is not None:
        hidden.cover(rgb, alpha)
    beside = metadata.of_image(image, turn >= 5, tiff)
    notes = (note, *beside.notes) if note else beside.notes
    became: tuple[str, ...] = ("8 bits",) if deep else ()
    if to_srgb is not None or image.mode in ("CMYK", "YCbCr"):
        became += ("sRGB" if to_srgb is not None else "RGB",)
    return Picture(rgb, alpha, image.mode in _GREY_MODES, space, icc, beside, notes, became)


def _colours(
    image: Image.Image, icc: bytes | None, stated: bool, note: str | None, keep: bool
) -> tuple[Colour, bytes | None, colour.Converter | None, str | None]:
    """The space of the Picture, its profile, the conversion that leads there, and a note.

    icc: the profile of the image's colours; stated: it stands in the file. One without a code is kept if it is stated
    and keep is true; else the colours are converted to sRGB.
    """
    if icc is None:
        return Colour.UNKNOWN, None, None, note
    has = colour.space_of(icc)
    if has is None:
        return Colour.UNKNOWN, None, None, "its ICC profile is not kept, it is damaged"
    kind = "grey" if image.mode in _GREY_MODES else "CMYK" if image.mode == "CMYK" else "RGB"
    code = colour.recognise(icc)
    if kind == "grey":
        code = Colour.SRGB if code == Colour.DISPLAY_P3 else code  # the same greys
        fits = has == "GRAY" or has == "RGB" and (code is not None or not stated)
    else:
        fits = has == kind
    if not fits:
        return Colour.UNKNOWN, None, None, f"its ICC profile is not kept, it is for {has} and the picture is {kind}"
    if code == Colour.SRGB or code is not None and keep:
        return code if keep else Colour.UNKNOWN, None, None, note
    if keep and stated and kind != "CMYK":
        return Colour.ICC, icc, None, note
    to_srgb = colour.to_srgb(icc, "L" if has == "GRAY" else has)
    if to_srgb is None:
        return Colour.UNKNOWN, None, None, "its ICC profile is not kept, it cannot be used"
    return Colour.SRGB if keep else Colour.UNKNOWN, None, to_srgb, note


def _strip(strip: Image.Image, to_srgb: colour.Converter | None) -> UInt8:
    """(H, W, 3 or 4) uint8, 4 where the picture has transparency."""
    if strip.mode.startswith("I;16"):
        wide = np.asarray(strip).astype(np.uint32)
        grey = ((wide + 128) // 257).astype(np.uint8)
        clear = strip.info.get("transparency")
        opaque = np.where(wide == clear, 0, 255).astype(np.uint8)
        pixels = np.stack([grey, grey, grey] if clear is None else [grey, grey, grey, opaque], axis=2)
    elif strip.mode == "CMYK":
        return np.asarray(strip.convert("RGB") if to_srgb is None else to_srgb(strip))
    else:
        pixels = np.asarray(strip.convert("RGBA" if strip.has_transparency_data else "RGB"))
    if to_srgb is None:
        return pixels
    converted = np.asarray(to_srgb(Image.fromarray(np.ascontiguousarray(pixels[:, :, :3]))))
    if strip.mode in _GREY_MODES:
        converted = np.repeat(converted[:, :, 1:2], 3, axis=2)
    return np.dstack([converted, pixels[:, :, 3:]])


def _as_stored(upright: UInt8, orientation: int) -> UInt8:
    """A view of an upright picture in which it lies as a file of this EXIF orientation (1..8) stores it."""
    turned = upright.swapaxes(0, 1) if orientation >= 5 else upright
    down = -1 if orientation in (3, 4, 6, 7) else 1
    across = -1 if orientation in (2, 3, 7, 8) else 1
    return turned[::down, ::across]


def _line(exc: BaseException) -> str:
    """An error of another library in one line."""
    return " ".join(str(exc).split()) or type(exc).__name__
