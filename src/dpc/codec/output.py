"""Decoded pictures as files of other formats; what each can carry stands in formats.py.

What a format has no place for is left out and named; colours whose profile cannot go with them are converted to sRGB; a
picture of a size that a format does not know is refused.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from dpc.codec import colour, metadata
from dpc.codec.container import Colour
from dpc.codec.formats import FORMATS, Format
from dpc.codec.tiff import tiff_bytes
from dpc.errors import OptionError, ToolMissing

__all__ = ["picture_bytes"]


def picture_bytes(image: Image.Image, ending: str) -> tuple[bytes, list[str]]:
    """A decoded picture as a file of one of FORMATS, and the names of what was left out of it.

    image: mode L, LA, RGB or RGBA, its info as dpc.decode gives it. Lossless but for JPEG (quality 95, 4:4:4) and AVIF
    (quality 90, 4:4:4). Raises OptionError for a side that the format does not know, ToolMissing where Pillow was built
    without the format.
    """
    form, left = FORMATS[ending], []
    if max(image.size) > form.side:
        fitting = ", ".join(e for e, f in FORMATS.items() if f.side >= max(image.size) and f.alpha)
        raise OptionError(
            f"{image.width}x{image.height} pixels are too many on a side for .{ending}, it takes {form.side}; "
            f"choose {fitting}"
        )
    icc, exif, xmp, dpi = (image.info.get(key) for key in ("icc_profile", "exif", "xmp", "dpi"))
    if not form.alpha and image.mode in ("LA", "RGBA"):
        left.append("transparency (the picture is on white)")
        image = _on_white(image)
    image, icc = _coloured(image, icc, form, left)
    exif, dpi = _exif(exif, dpi, form, left)
    if xmp is not None and len(xmp) > form.xmp:
        left.append(_too_long("XMP", xmp, form.xmp))
        xmp = None
    if xmp is not None and form.name == "PNG" and not _is_text(xmp):
        left.append("XMP (it is not UTF-8)")
        xmp = None
    tags = metadata.parsed(exif or b"")
    if tags is None and form.name in ("TIFF", "AVIF"):
        left.append("EXIF (it cannot be read)")
        exif = None
    if form.name == "TIFF":
        data, lost = tiff_bytes(image, tags or Image.Exif(), icc, xmp, dpi)
        return data, left + [f"{name} of EXIF" for name in lost]
    if form.name == "AVIF" and exif is not None:
        exif = metadata.without_orientation(exif)  # it is 1; with it Pillow would write all of EXIF anew
    return _saved(image, form, icc, exif, xmp, dpi), left


def _saved(
    image: Image.Image,
    form: Format,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
) -> bytes:
    Image.init()
    if form.name not in Image.SAVE:
        raise ToolMissing(f"this Pillow cannot write {form.name}; install a newer one, or choose png")
    kept = {"exif": exif, "xmp": xmp, "dpi": dpi}
    options: dict[str, Any] = {**form.options, "icc_profile": icc}
    options.update((key, value) for key, value in kept.items() if value is not None)
    if form.name == "PNG" and xmp is not None:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    out = io.BytesIO()
    image.save(out, form.name, **options)
    return out.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    mode = image.mode[:-1]
    white = Image.new(mode, image.size, "white")
    white.paste(image.convert(mode), mask=image.getchannel("A"))
    return white


def _coloured(image: Image.Image, icc: bytes | None, form: Format, left: list[str]) -> tuple[Image.Image, bytes | None]:
    """The image and its profile as the format can have them, the colours converted where it cannot."""
    grey = image.mode in ("L", "LA")
    to_colour = grey and not form.grey
    if icc is not None:
        code, has = colour.recognise(icc), colour.space_of(icc)
        if has != ("GRAY" if grey else "RGB"):
            left.append(f"ICC profile (it is for {has or 'nothing known'})")
            icc = None
        elif code is not None and form.icc and to_colour:
            icc = colour.profile(code)
        elif code == Colour.SRGB and not form.icc:
            icc = None
        elif to_colour or not form.icc:
            converter = colour.to_srgb(icc, "L" if grey else "RGB")
            name = "ICC profile" if code is None else f"profile of {colour.named(code)}"
            left.append(f"{name} ({'it cannot be used' if converter is None else 'the colours are converted to sRGB'})")
            image, icc = image if converter is None else _converted(image, converter), None
    if to_colour:
        image = image.convert("RGBA" if image.mode == "LA" else "RGB")
    return image, icc


def _converted(image: Image.Image, converter: colour.Converter) -> Image.Image:
    """The image in sRGB, of the same mode."""
    mode = image.mode.removesuffix("A")
    colours = converter(image.convert(mode))
    result = colours.getchannel("G") if mode == "L" else colours
    if image.mode != mode:
        result.putalpha(image.getchannel("A"))
    return result


def _exif(
    exif: bytes | None, dpi: tuple[float, float] | None, form: Format, left: list[str]
) -> tuple[bytes | None, tuple[float, float] | None]:
    """EXIF and dots per inch as the format can have them."""
    if exif is not None:
        bare = exif.removeprefix(metadata.EXIF_PREFIX)
        if len(bare) > form.exif:
            left.append(_too_long("EXIF", bare, form.exif))
            exif = None
    if dpi is None or form.density == "field" and not (form.name == "JPEG" and not 0.5 <= min(dpi) <= max(dpi) < 65535):
        return exif, dpi
    if form.density == "exif" and exif is None:
        tags = Image.Exif()
        tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = dpi
        tags[ExifTags.Base.ResolutionUnit] = 2
        return tags.tobytes(), None
    if exif is None or metadata.density_in(exif) is None:
        left.append("pixel density")
    return exif, None


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _too_long(name: str, data: bytes, limit: int) -> str:
    return f"{name} ({len(data):,} bytes, the limit is {limit:,})" if limit else name
