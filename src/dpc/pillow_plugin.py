"""Pillow reads and writes .dpc files once `register()` was called.

    dpc.register()
    image = Image.open("photo.dpc")         size, mode and info; the pixels are decoded by load()
    image.thumbnail((160, 160))             of a picture 16 times as large: made of its preview
    image.save("smaller.dpc", bpp=0.2)      or quality=, or max_bytes=

Reading raises what Pillow's users expect, with the DPCError as its cause: UnidentifiedImageError from open,
OSError from load. Saving raises the DPCError itself. Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS, holds: open
warns of a larger picture and refuses one of more than twice as many pixels.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from dpc.codec import lossless
from dpc.codec.container import HEADER_BYTES, MAGIC, peek, unpack
from dpc.codec.metadata import info_of
from dpc.errors import DPCError, FormatError, ImageError

__all__ = ["DPCDecoder", "DPCImageFile", "register"]

# dpc.api is imported where pixels are coded: it loads ONNX Runtime, which opening a file does not need.


def register() -> None:
    """Add the format to Pillow: .dpc files, image/x-dpc. Calling it again changes nothing."""
    Image.register_open(DPCImageFile.format, DPCImageFile, _accept)
    Image.register_decoder("dpc", DPCDecoder)
    Image.register_save(DPCImageFile.format, _save)
    Image.register_save_all(DPCImageFile.format, _save_all)
    Image.register_extension(DPCImageFile.format, ".dpc")
    Image.register_mime(DPCImageFile.format, "image/x-dpc")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


class DPCImageFile(ImageFile.ImageFile):
    """A picture of mode L, LA, RGB or RGBA; info holds icc_profile, exif, xmp and dpi where the file does."""

    format = "DPC"
    format_description = "Deep Perceptual Compression"

    def _open(self) -> None:
        if self.fp is None:
            raise OSError("the file is closed; open it again")
        head = self.fp.read(HEADER_BYTES)
        try:
            header = peek(head)
            # The chunks decide mode and info; the pixels stay coded.
            file = unpack(head + self.fp.read())
            alpha = lossless.has_alpha(file.body) if file.lossless else file.alpha is not None
            self.info.update(info_of(file))
        except FormatError as error:
            raise UnidentifiedImageError(str(error)) from error
        self._size = header.width, header.height
        self._mode = ("L" if header.grey else "RGB") + "A" * alpha
        self.tile = [ImageFile._Tile("dpc", (0, 0, *self._size), 0, None)]

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Load the preview, at 1/8 of the size, where it is as large as asked for; the mode stays. Before load() alone.

        Returns the mode, and the box of the preview in which the picture lies; None where nothing changed.
        """
        from dpc.codec.returned import EIGHTH

        width, height = self.size
        small = -(-width // EIGHTH), -(-height // EIGHTH)
        if size is None or not self.tile or self.tile[0].args or small[0] < size[0] or small[1] < size[1]:
            return None
        self.tile = [ImageFile._Tile("dpc", (0, 0, *small), 0, (True,))]
        self._size = small
        return self.mode, (0, 0, width / EIGHTH, height / EIGHTH)

    def load_seek(self, pos: int) -> None:
        """Go to a place in the file. That it is here tells ImageFile.Parser to wait for the whole file."""
        if self.fp is not None:
            self.fp.seek(pos)


class DPCDecoder(ImageFile.PyDecoder):
    """Decodes the file from its beginning, once Pillow asks for pixels; with an argument, its preview."""

    _pulls_fd = True

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Fill the picture; returns (-1, 0), Pillow's sign for "done, no error"."""
        from dpc.api import decode

        if self.fd is None:
            raise OSError("the file is closed; open it again")
        try:
            # Pillow has held the size against its own limit
            image = decode(self.fd.read(), preview=bool(self.args), max_pixels=None)
        except DPCError as error:
            raise OSError(str(error)) from error
        if image.mode != self.mode:
            raise OSError(f"the file was opened as mode {self.mode} and is now {image.mode}; open it again")
        self.set_as_raw(image.tobytes())
        return -1, 0


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Options: quality, bpp, max_bytes, lossless, roi, model, strip and fast as in dpc.encode.

    exif: True (default) keeps the picture's own, bytes or an Image.Exif replace it, None or False drop it.
    icc_profile, xmp, dpi: replace the picture's own, None drops it.
    """
    from dpc.api import encode

    options = image.encoderinfo
    exif = options.get("exif", True)
    if isinstance(exif, Image.Exif):
        exif = exif.tobytes()
    own = {key: options[key] for key in ("icc_profile", "xmp", "dpi") if key in options}
    if isinstance(exif, bytes):
        own["exif"] = exif
    if own:
        image = image.copy()
        image.info.update(own)
    names = ("quality", "bpp", "max_bytes", "lossless", "roi", "model")
    as_given: dict[str, Any] = {key: options.get(key) for key in names}
    as_given |= {key: bool(options.get(key)) for key in ("strip", "fast")}
    fp.write(encode(image, **as_given, exif=bool(exif)))


def _save_all(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """A DPC file holds one picture, so that save_all is only for a picture of one frame."""
    more = len(list(image.encoderinfo.get("append_images", ())))
    if more:
        raise ImageError(f"{more} pictures cannot be appended, a DPC file holds 1; save each to its own file")
    _save(image, fp, filename)
