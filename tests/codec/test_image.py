"""Pictures in and out: every mode, orientation, profile, EXIF, alpha, limits, hostile files, memory."""

from __future__ import annotations

import base64
import io
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import LCMS_SRGB, camera_exif, noise, opened, png, profile_of, saved, tiff
from PIL import Image, ImageCms, ImageOps

import dpc
from dpc.codec import image as dpc_image
from dpc.codec.colour import profile, to_srgb
from dpc.codec.container import Colour
from dpc.codec.image import Picture, Source, load, to_pil
from dpc.codec.metadata import Beside
from dpc.codec.tiff import tiff_bytes
from dpc.errors import DPCError, ImageError, TooLarge

# --- sources


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3)
    data = saved(Image.fromarray(pixels))
    path = tmp_path / "p.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources: list[Source] = [
            str(path),
            path,
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            file,
            opened(data),
            Image.fromarray(pixels),
            pixels,
        ]
        for source in sources:
            picture = load(source)
            assert isinstance(picture, Picture)
            assert picture.rgb.dtype == np.uint8
            assert picture.rgb.flags.c_contiguous
            assert np.array_equal(picture.rgb, pixels)
            assert (picture.alpha, picture.grey, picture.icc, picture.beside) == (None, False, None, Beside())
            assert (picture.colour, picture.notes) == (Colour.UNKNOWN, ())
        assert not file.closed


def test_a_given_pil_image_stays_usable_and_unchanged() -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.info["transparency"] = 1
    before = (image.tobytes(), image.mode, dict(image.info), image.getpalette())
    load(image)
    assert (image.tobytes(), image.mode, dict(image.info), image.getpalette()) == before
    lazy = opened(saved(Image.new("RGB", (2, 2))))
    load(lazy)
    assert lazy.getpixel((0, 0)) == (0, 0, 0)


def test_a_file_object_is_read_from_its_start_also_when_it_cannot_seek() -> None:
    data = saved(Image.fromarray(noise(3, 3, 3)))
    file = io.BytesIO(data)
    file.seek(9)
    assert np.array_equal(load(file).rgb, noise(3, 3, 3))

    reading, writing = os.pipe()
    with open(reading, "rb") as pipe:
        with open(writing, "wb") as out:
            out.write(data)
        assert np.array_equal(load(pipe).rgb, noise(3, 3, 3))


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_arrays(channels: tuple[int, ...]) -> None:
    array = noise(4, 5, *channels)
    picture = load(array)
    assert picture.grey == (channels in ((), (1,)))
    assert np.array_equal(
        picture.rgb, array[:, :, :3] if channels and channels != (1,) else np.repeat(array.reshape(4, 5, 1), 3, axis=2)
    )
    if channels == (4,):
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, array[:, :, 3])
    else:
        assert picture.alpha is None
    turned = load(array[::-1, ::2])
    assert turned.rgb.flags.c_contiguous
    assert np.array_equal(turned.rgb, picture.rgb[::-1, ::2])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2), np.uint16),
        np.zeros((2, 2), bool),
        np.zeros(4, np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2), np.uint8),
        np.zeros((2, 0, 3), np.uint8),
        np.zeros((2, 2, 0), np.uint8),
    ],
)
def test_other_arrays_are_refused(array: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="array"):
        load(array)


# --- modes


def test_one_bit() -> None:
    image = Image.new("1", (3, 2))
    image.putpixel((2, 1), 1)
    picture = load(saved(image))
    assert picture.grey
    assert picture.rgb[:, :, 0].tolist() == [[0, 0, 0], [0, 0, 255]]


def test_grey() -> None:
    picture = load(saved(Image.fromarray(noise(4, 6))))
    assert picture.grey
    assert picture.alpha is None
    assert all(np.array_equal(picture.rgb[:, :, c], noise(4, 6)) for c in range(3))


def test_grey_with_alpha() -> None:
    grey, alpha = noise(4, 6), noise(6, 4).T
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(np.ascontiguousarray(alpha))])
    picture = load(saved(image))
    assert picture.grey
    assert np.array_equal(picture.rgb[:, :, 1], grey)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)


def test_rgb_with_alpha_and_without_where_it_is_opaque() -> None:
    pixels = noise(4, 6, 4)
    picture = load(saved(Image.fromarray(pixels)))
    assert not picture.grey
    seen = pixels[:, :, 3] > 0
    assert np.array_equal(picture.rgb[seen], pixels[seen][:, :3])
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, pixels[:, :, 3])
    pixels[:, :, 3] = 255
    assert load(saved(Image.fromarray(pixels))).alpha is None
    assert load(pixels).alpha is None


@pytest.mark.parametrize(
    ("transparency", "alpha"),
    [(None, None), (1, [[255, 0, 255]]), (b"\x00\x80\xff", [[0, 128, 255]]), (b"\x07", [[7, 255, 255]])],
)
def test_palette(transparency: int | bytes | None, alpha: list[list[int]] | None) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([250, 0, 1, 0, 251, 2, 3, 0, 252])
    for x in range(3):
        image.putpixel((x, 0), x)
    if transparency is not None:
        image.info["transparency"] = transparency
    picture = load(saved(image))
    assert not picture.grey
    seen = [255] * 3 if alpha is None else alpha[0]
    colours = ([250, 0, 1], [0, 251, 2], [3, 0, 252])
    assert all(p == c for p, c, a in zip(picture.rgb[0].tolist(), colours, seen, strict=True) if a)
    assert (None if picture.alpha is None else picture.alpha.tolist()) == alpha


@pytest.mark.parametrize(
    ("data", "grey", "alpha"),
    [
        (png(2, 1, 1, 0, b"\0\x40", (b"tRNS", b"\0\1")), [0, 255], [255, 0]),
        (png(2, 1, 8, 0, b"\0\x40\x50", (b"tRNS", b"\0\x50")), [64, 80], [255, 0]),
        (png(2, 1, 16, 0, b"\0\x40\x00\x50\x01", (b"tRNS", b"\x50\x01")), [64, 80], [255, 0]),
        (png(2, 1, 8, 2, b"\0\x40\x40\x40\x50\x50\x50", (b"tRNS", b"\0\x50\0\x50\0\x50")), [64, 80], [255, 0]),
    ],
)
def test_one_transparent_colour(data: bytes, grey: list[int], alpha: list[int]) -> None:
    picture = load(data)
    assert np.abs(picture.rgb[0].astype(int) - grey[0]).max() <= 2, "what is not seen goes on with what is"
    assert picture.rgb[0, 0].tolist() == [grey[0]] * 3
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == alpha


# ffmpeg -f lavfi -i color=c=0x408060:s=16x16 -frames:v 1 -pix_fmt yuv420p10le -c:v libaom-av1 -still-picture 1
AVIF_OF_10_BITS = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAAD5bWV0YQAAAAAAAAAvaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAA"
    "AFBpY3R1cmVIYW5kbGVyAAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAASEAAAAYAAAAKGlpbmYAAAAAAAEA"
    "AAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGppcHJwAAAAS2lwY28AAAAUaXNwZQAAAAAAAAAQAAAAEAAAABBwaXhpAAAAAAMK"
    "CgoAAAAMYXYxQ4EATAAAAAATY29scm5jbHgAAgACAAIAAAAAF2lwbWEAAAAAAAAAAQABBAECgwQAAAAgbWRhdAoGGAz/2oCAMg4Y"
    "AAAAUAAQAppnTZKLaQ=="
)


def jpeg_2000_of_16_bits(name: str) -> bytes:
    """A grey JPEG 2000 of 16 bits; "x.j2k": a bare codestream."""
    out = io.BytesIO()
    out.name = name
    Image.fromarray(np.full((8, 8), 0x1234, np.uint16)).save(out, "JPEG2000")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "became"),
    [
        (png(1, 1, 16, 0, b"\0\x12\x34"), ("8 bits",)),
        (png(1, 1, 16, 2, b"\0" + b"\x12\x34" * 3), ("8 bits",)),
        (png(1, 1, 16, 6, b"\0" + b"\x12\x34" * 4), ("8 bits",)),
        (png(1, 1, 8, 2, b"\0\x40\x80\xc0", (b"tEXt", b"bit_depth\x0016")), ()),
        (saved(Image.fromarray(np.zeros((2, 2), np.uint16)), "TIFF"), ("8 bits",)),
        (b"P6 1 1 65535 " + b"\x12\x34" * 3, ("8 bits",)),
        (b"P3 1 1 1023 1000 500 0 ", ("8 bits",)),
        (b"P6 1 1 255 abc", ()),
        (AVIF_OF_10_BITS, ("8 bits",)),
        (saved(Image.new("RGB", (8, 8)), "AVIF"), ()),
        (jpeg_2000_of_16_bits("x.jp2"), ("8 bits",)),
        (jpeg_2000_of_16_bits("x.j2k"), ("8 bits",)),
        (saved(Image.new("CMYK", (2, 2)), "TIFF"), ("RGB",)),
        (png(1, 1, 8, 2, b"\0\x40\x80\xc0", (b"cICP", bytes([9, 13, 0, 1]))), ("sRGB",)),
        (png(1, 1, 8, 2, b"\0\x40\x80\xc0"), ()),
        (saved(Image.new("RGB", (8, 8)), "JPEG"), ()),
        (saved(Image.new("P", (2, 2))), ()),
    ],
)
def test_what_the_values_became_is_told_where_nothing_may_be_lost(data: bytes, became: tuple[str, ...]) -> None:
    assert load(data).became == became
    notes: list[str] = []
    dpc.encode(data, lossless=True, note=notes.append)
    told = [line for line in notes if "converted" in line]
    assert told == [f"the picture was converted to {b} first; what came out is kept without loss" for b in became]
    notes.clear()
    dpc.encode(data, note=notes.append)
    assert not any("converted" in line for line in notes)


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2")])
def test_sixteen_bits_are_rounded_to_the_nearest(mode: str, dtype: str) -> None:
    values = np.arange(65536).reshape(256, 256)
    picture = load(Image.frombytes(mode, (256, 256), values.astype(dtype).tobytes()))
    assert picture.grey
    assert np.array_equal(picture.rgb[:, :, 0], np.rint(values * 255 / 65535))


def test_sixteen_bit_files() -> None:
    grey = load(png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 0, 65535, 257 * 99 + 100)))
    assert grey.grey
    assert grey.rgb[0, :, 0].tolist() == [0, 255, 99]
    colour = load(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 65535, 0x1234, 0)))
    assert colour.rgb.tolist() == [[[255, 0x12, 0]]]
    grey_alpha = load(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0x1234, 0x5678)))
    assert grey_alpha.rgb.tolist() == [[[0x12] * 3]]
    assert grey_alpha.alpha is not None
    assert grey_alpha.alpha.tolist() == [[0x56]]


def test_cmyk_goes_through_its_profile_which_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpc_image, "_STRIP_PIXELS", 20)
    profile = profile_of("CMYK")
    image = Image.fromarray(noise(9, 8, 4), "CMYK")
    picture = load(saved(image, "TIFF", icc_profile=profile))
    through = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert through is not None
    assert np.array_equal(picture.rgb, np.asarray(through))
    plain = np.asarray(image.convert("RGB"))
    assert np.abs(picture.rgb.astype(int) - plain).mean() > 5, "the profile must make a difference"
    assert picture.icc is None
    for useless in (None, b"not a profile", LCMS_SRGB):
        image.info["icc_profile"] = useless
        picture = load(image)
        assert np.array_equal(picture.rgb, plain)
        assert picture.icc is None


def test_cmyk_jpeg() -> None:
    picture = load(saved(Image.new("CMYK", (20, 9), (255, 0, 0, 0)), "JPEG"))
    assert picture.rgb.shape == (9, 20, 3)
    assert np.abs(picture.rgb.astype(int) - [0, 255, 255]).max() < 4


def test_ycbcr() -> None:
    image = Image.fromarray(noise(4, 4, 3)).convert("YCbCr")
    assert np.array_equal(load(image).rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "HSV", "La", "RGBa"])
def test_modes_without_a_place_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match=f"of mode {mode}, .*; convert it"):
        load(Image.new(mode, (2, 2)))


def test_a_deep_portable_grey_map_is_refused() -> None:
    with pytest.raises(ImageError, match="of mode I,"):
        load(b"P5 2 1 65535\n" + bytes(4))


@pytest.mark.parametrize("size", [(1, 1), (65535, 1), (1, 65535), (7919, 3), (2, 3001)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_extreme_sizes(mode: str, size: tuple[int, int]) -> None:
    picture = load(Image.new(mode, size))
    assert picture.rgb.shape == (size[1], size[0], 3)
    assert picture.alpha is None or picture.alpha.shape == (size[1], size[0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_strips_meet(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(noise(37, 11, 3)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    whole = load(image)
    for pixels in (1, 11, 24, 400):
        monkeypatch.setattr(dpc_image, "_STRIP_PIXELS", pixels)
        parts = load(image)
        assert np.array_equal(parts.rgb, whole.rgb)
        assert (parts.alpha is None) == (whole.alpha is None)
        assert parts.alpha is None or np.array_equal(parts.alpha, whole.alpha)  # type: ignore[arg-type]


# --- frames


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_frame_is_refused(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    for source in (data, opened(data)):
        with pytest.raises(ImageError, match="holds 3 frames or pages, DPC holds 1; save the one"):
            load(source)
    assert load(opened(data).copy()).rgb.shape == (8, 8, 3), "one frame, copied out, is taken"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "BMP", "TGA", "PPM", "JPEG2000", "ICO"])
def test_one_frame_is_taken(kind: str) -> None:
    picture = load(saved(Image.new("RGB", (16, 16), (255, 0, 0)), kind))
    assert picture.rgb.shape == (16, 16, 3)
    assert np.abs(picture.rgb.astype(int) - [255, 0, 0]).max() <= 8


def test_of_a_multi_picture_jpeg_the_first_is_taken() -> None:
    second = Image.new("RGB", (8, 4), "red")
    data = saved(Image.new("RGB", (16, 8), "blue"), "MPO", save_all=True, append_images=[second])
    assert getattr(opened(data), "n_frames", 1) == 2
    picture = load(data)
    assert picture.rgb.shape == (8, 16, 3)
    assert picture.rgb[0, 0, 2] > 250


# --- orientation, EXIF, profile


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_applied_and_reset(kind: str, orientation: int) -> None:
    image = Image.fromarray(noise(10, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    data = saved(image, kind, exif=exif)
    picture = load(data)
    upright = ImageOps.exif_transpose(opened(data))
    assert np.array_equal(picture.rgb, np.asarray(upright))
    assert picture.rgb.shape[:2] == ((6, 10) if orientation in (5, 6, 7, 8) else (10, 6))
    assert picture.beside.exif is not None
    kept = Image.Exif()
    kept.load(picture.beside.exif)
    assert dict(kept) == ({} if kind == "TIFF" else {0x0112: 1}) | {0x010F: "a camera"}
    again = saved(to_pil(picture.rgb), exif=picture.beside.exif)
    assert np.array_equal(load(again).rgb, picture.rgb), "turned once only"


def test_alpha_and_grey_turn_too() -> None:
    pixels = noise(3, 5, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = load(saved(Image.fromarray(pixels), exif=exif))
    assert picture.alpha is not None
    assert np.array_equal(np.dstack([picture.rgb, picture.alpha]), np.rot90(pixels, -1))
    assert np.array_equal(
        load(saved(Image.fromarray(pixels[:, :, 0]), exif=exif)).rgb[:, :, 0], np.rot90(pixels[:, :, 0], -1)
    )


def test_orientation_in_xmp_is_applied() -> None:
    image = opened(saved(Image.fromarray(noise(3, 5, 3))))
    image.info["xmp"] = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = load(image)
    assert np.array_equal(picture.rgb, np.rot90(noise(3, 5, 3), -1))
    assert picture.beside.exif is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_only_the_entry_of_the_orientation_changes(order: str, kind: int, prefix: bytes) -> None:
    def exif(kind: int, value: int) -> bytes:
        return tiff(order, (0x0100, 4, 1, 7), (0x0112, kind, 1, value), (0x0128, 3, 1, 2), thumbnail=b"small")

    image = Image.fromarray(noise(3, 5, 3))
    image.info["exif"] = prefix + exif(kind, 8)
    picture = load(image)
    assert picture.beside.exif == exif(3, 1)
    assert np.array_equal(picture.rgb, np.rot90(noise(3, 5, 3)))


def test_exif_without_an_orientation_is_kept_as_it_is() -> None:
    image = Image.fromarray(noise(3, 5, 3))
    image.info["exif"] = tiff("<", (0x0128, 3, 1, 2), thumbnail=b"and more")
    picture = load(image)
    assert picture.beside.exif == image.info["exif"]
    assert np.array_equal(picture.rgb, noise(3, 5, 3))


GOOD_EXIF = tiff(">", (0x0112, 3, 1, 6), (0x0128, 3, 1, 2))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"garbage",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        *(GOOD_EXIF[:length] for length in range(10, 34)),
    ],
)
def test_broken_exif_is_dropped_and_the_picture_taken(exif: bytes) -> None:
    image = Image.fromarray(noise(3, 5, 3))
    image.info["exif"] = exif
    assert load(image).beside.exif is None


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0\x08\0\0\0\x02\0", b"MM\0*\0\0\0\x08\0\x03"]))
def test_any_exif_is_survived_and_never_asks_for_a_turn(rest: bytes, start: bytes) -> None:
    image = Image.fromarray(noise(3, 5, 3))
    image.info["exif"] = start + rest
    kept = load(image).beside.exif
    if kept is not None:
        assert len(kept) == len(start + rest)
        again = Image.fromarray(noise(3, 5, 3))
        again.info["exif"] = kept
        assert np.array_equal(load(again).rgb, noise(3, 5, 3))
        assert load(again).beside.exif == kept


# --- colours


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "TIFF"), ("RGBA", "WEBP"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG")],
)
def test_a_profile_of_srgb_becomes_a_code(mode: str, kind: str) -> None:
    picture = load(saved(Image.fromarray(noise(4, 4, 3)).convert(mode), kind, icc_profile=LCMS_SRGB))
    assert (picture.colour, picture.icc, picture.notes) == (Colour.SRGB, None, ())


@pytest.mark.parametrize("space", [Colour.DISPLAY_P3, Colour.ADOBE_RGB])
def test_other_common_profiles_become_codes(space: Colour) -> None:
    image = Image.fromarray(noise(4, 4, 3))
    picture = load(saved(image, icc_profile=profile(space)))
    assert (picture.colour, picture.icc, picture.notes) == (space, None, ())
    assert np.array_equal(picture.rgb, noise(4, 4, 3))
    grey = load(saved(image.convert("L"), icc_profile=profile(space, grey=True)))
    assert grey.colour == (Colour.SRGB if space == Colour.DISPLAY_P3 else space), "the same greys"


def test_a_profile_without_a_code_is_kept() -> None:
    picture = load(saved(Image.fromarray(noise(4, 4, 3)), icc_profile=profile_of("RGB")))
    assert (picture.colour, picture.icc, picture.notes) == (Colour.ICC, profile_of("RGB"), ())


@pytest.mark.parametrize(
    ("mode", "icc", "reason"),
    [
        ("RGB", profile_of("CMYK"), "it is for CMYK and the picture is RGB"),
        ("L", profile_of("RGB"), "it is for RGB and the picture is grey"),
        ("RGB", profile(Colour.SRGB, grey=True), "it is for GRAY and the picture is RGB"),
        ("CMYK", LCMS_SRGB, "it is for RGB and the picture is CMYK"),
        ("RGB", bytes(3144), "it is damaged"),
    ],
)
def test_a_profile_of_another_space_is_dropped_and_said(mode: str, icc: bytes, reason: str) -> None:
    image = Image.fromarray(noise(4, 4, 3)).convert(mode)
    image.info["icc_profile"] = icc
    picture = load(image)
    assert (picture.colour, picture.icc) == (Colour.UNKNOWN, None)
    assert picture.notes == (f"its ICC profile is not kept, {reason}",)


def test_without_a_profile_colours_are_converted() -> None:
    image = Image.fromarray(noise(9, 8, 3))
    image.info["icc_profile"] = profile(Colour.ADOBE_RGB)
    picture = load(image, icc=False)
    convert = to_srgb(profile(Colour.ADOBE_RGB), "RGB")
    assert convert is not None
    assert np.array_equal(picture.rgb, np.asarray(convert(image)))
    assert np.abs(picture.rgb.astype(int) - noise(9, 8, 3)).mean() > 5
    assert (picture.colour, picture.icc) == (Colour.UNKNOWN, None)
    image.info["icc_profile"] = LCMS_SRGB
    assert np.array_equal(load(image, icc=False).rgb, noise(9, 8, 3))


CHRM = {
    Colour.SRGB: (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    Colour.DISPLAY_P3: (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    Colour.ADOBE_RGB: (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
}


def gama(value: int) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", value)


def chrm(space: Colour) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *CHRM[space])


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([(b"sRGB", b"\0")], Colour.SRGB),
        ([(b"sRGB", b"\0"), gama(100000)], Colour.SRGB),
        ([gama(45455)], Colour.SRGB),
        ([gama(45455), chrm(Colour.SRGB)], Colour.SRGB),
        ([chrm(Colour.DISPLAY_P3)], Colour.DISPLAY_P3),
        ([gama(45470), chrm(Colour.ADOBE_RGB)], Colour.ADOBE_RGB),
        ([(b"cICP", bytes([1, 13, 0, 1]))], Colour.SRGB),
        ([(b"cICP", bytes([12, 13, 0, 1])), (b"sRGB", b"\0")], Colour.DISPLAY_P3),
        ([(b"cICP", bytes([2, 2, 0, 1]))], Colour.UNKNOWN),
        ([(b"tEXt", b"a\0b")], Colour.UNKNOWN),
    ],
)
def test_what_a_png_says_of_its_colours(chunks: list[tuple[bytes, bytes]], expected: Colour) -> None:
    picture = load(png(1, 1, 8, 2, b"\0\x40\x80\xc0", *chunks))
    assert (picture.colour, picture.icc, picture.notes) == (expected, None, ())
    assert picture.rgb.tolist() == [[[0x40, 0x80, 0xC0]]]


def test_a_png_whose_code_points_say_nothing_has_its_profile() -> None:
    icc = b"a\0\0" + zlib.compress(profile(Colour.ADOBE_RGB))
    for points, expected in (((2, 2), Colour.ADOBE_RGB), ((12, 13), Colour.DISPLAY_P3)):
        chunks = [(b"iCCP", icc), (b"cICP", bytes([*points, 0, 1]))]
        assert load(png(1, 1, 8, 2, b"\0\x40\x80\xc0", *chunks)).colour == expected


def test_a_png_of_another_gamma_becomes_srgb() -> None:
    for colour_type, row in ((2, b"\0\x40\x40\x40"), (0, b"\0\x40")):
        picture = load(png(1, 1, 8, colour_type, row, gama(100000)))
        assert picture.colour == Colour.SRGB
        assert np.abs(picture.rgb.astype(int) - 137).max() <= 1, "0.251 of the light is 137 in sRGB"
    wide = load(png(1, 1, 8, 2, b"\0\x00\xff\x00", (b"cICP", bytes([9, 14, 0, 1]))))
    assert wide.colour == Colour.SRGB
    assert wide.rgb.tolist() == [[[0, 255, 0]]]
    muted = load(png(1, 1, 8, 2, b"\0\x60\x90\x60", (b"cICP", bytes([9, 14, 0, 1])))).rgb[0, 0].astype(int)
    assert muted[0] < 0x50 and muted[1] > 0x90, "the same numbers are a stronger green in BT.2020"


def test_colours_that_8_bits_cannot_show_are_said() -> None:
    picture = load(png(1, 1, 8, 2, b"\0\x40\x80\xc0", (b"cICP", bytes([9, 16, 0, 1]))))
    assert picture.colour == Colour.UNKNOWN
    (note,) = picture.notes
    assert "PQ" in note


def test_what_avif_and_heic_say_of_their_colours() -> None:
    image = Image.new("RGB", (16, 16), (64, 128, 192))
    data = saved(image, "AVIF", quality=100, subsampling="4:4:4")
    assert load(data).colour == Colour.SRGB
    srgb, p3 = (b"colrnclx" + struct.pack(">HH", *points) for points in ((1, 13), (12, 13)))
    assert data.count(srgb) == 1
    picture = load(data.replace(srgb, p3))
    assert picture.colour == Colour.DISPLAY_P3
    assert np.abs(picture.rgb.astype(int) - [64, 128, 192]).max() <= 2
    assert load(saved(image, "AVIF", icc_profile=profile(Colour.ADOBE_RGB))).colour == Colour.ADOBE_RGB


def test_heic_is_read_where_pillow_heif_is_there() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    file = heif.from_pillow(Image.new("RGB", (64, 64), (64, 128, 192)))
    file.save(out, quality=95, color_primaries=12, transfer_characteristics=13, save_nclx_profile=True)
    picture = load(out.getvalue())
    assert picture.colour == Colour.DISPLAY_P3
    assert picture.became == ()
    assert np.abs(picture.rgb.astype(int) - [64, 128, 192]).max() <= 6
    out = io.BytesIO()
    heif.from_bytes(mode="RGB;16", size=(64, 64), data=bytes(64 * 64 * 6)).save(out)
    assert load(out.getvalue()).became == ("8 bits",)


def test_what_jpeg_2000_says_of_its_colours() -> None:
    data = saved(Image.fromarray(noise(16, 16, 3)), "JPEG2000")
    assert load(data).colour == Colour.SRGB
    at = data.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", data, at)
    icc = profile(Colour.ADOBE_RGB)
    box = struct.pack(">I4sBBB", 11 + len(icc), b"colr", 2, 0, 0) + icc
    head = data.index(b"jp2h") - 4
    (whole,) = struct.unpack_from(">I", data, head)
    longer = struct.pack(">I", whole + len(box) - length)
    assert load(data[:head] + longer + data[head + 4 : at] + box + data[at + length :]).colour == Colour.ADOBE_RGB


# --- beside the picture


def test_density_is_kept_in_pixels_per_metre() -> None:
    image = Image.fromarray(noise(4, 6, 3))
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        assert load(saved(image, kind, dpi=(300, 150))).beside.density == (11811, 5906), kind
    assert load(saved(image, "PNG")).beside.density is None
    assert load(saved(image, "JPEG", exif=camera_exif())).beside.density is None, "Pillow makes 72 up"
    turned = load(saved(image, "PNG", dpi=(300, 150), exif=camera_exif(Orientation=6)))
    assert turned.beside.density == (5906, 11811)


def test_density_that_exif_has_is_not_kept_twice() -> None:
    exif = camera_exif(XResolution=300.0, YResolution=300.0, ResolutionUnit=2)
    image = Image.fromarray(noise(4, 6, 3))
    assert load(saved(image, "JPEG", exif=exif, dpi=(300, 300))).beside.density is None
    assert load(saved(image, "JPEG", exif=exif, dpi=(72, 72))).beside.density == (2835, 2835)


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 1), (1e300, 1), "300", (300,), None])
def test_a_density_that_makes_no_sense_is_none(dpi: object) -> None:
    image = Image.fromarray(noise(4, 6, 3))
    image.info["dpi"] = dpi
    assert load(image).beside.density is None


def test_xmp_is_kept_upright_and_without_padding() -> None:
    packet = b'<?xpacket begin=""?><x:xmpmeta><rdf:Description tiff:Orientation="6" a="b"/></x:xmpmeta>'
    padded = packet + b" " * 2000 + b'<?xpacket end="w"?>'
    image = Image.fromarray(noise(3, 5, 3))
    for kind in ("JPEG", "WEBP", "AVIF"):
        xmp = load(saved(image, kind, xmp=padded)).beside.xmp
        assert xmp == packet.replace(b'"6"', b'"1"') + b'\n<?xpacket end="w"?>', kind
    image.info["xmp"] = b"<tiff:Orientation>8</tiff:Orientation>"
    picture = load(image)
    assert np.array_equal(picture.rgb, np.rot90(noise(3, 5, 3)))
    assert picture.beside.xmp == b"<tiff:Orientation>1</tiff:Orientation>"


def test_xmp_that_is_no_text_is_dropped_and_said() -> None:
    image = Image.fromarray(noise(3, 5, 3))
    image.info["xmp"] = b"\xff\xfe<"
    picture = load(image)
    assert picture.beside.xmp is None
    assert picture.notes == ("its XMP is not kept, it is not UTF-8",)


def test_descriptive_tags_of_a_tiff_become_exif() -> None:
    exif = Image.Exif()
    exif.load(camera_exif(ImageDescription="a shed", Copyright="me"))
    exif[33550] = (1.0, 2.0, 0.0)  # GeoTIFF
    exif[50839] = b"x" * 100  # ImageJ
    image = Image.fromarray(noise(4, 6, 3))
    plain = Image.Exif()
    plain.load(exif.tobytes())
    picture = load(tiff_bytes(image, plain, None, None, None)[0])
    assert picture.beside.exif is not None
    kept = Image.Exif()
    kept.load(picture.beside.exif)
    assert (kept[0x010F], kept[0x010E], kept[0x8298], kept[33550]) == ("a camera", "a shed", "me", (1.0, 2.0, 0.0))
    assert kept.get_ifd(0x8769)[0x9003] == "2024:01:01 00:00:00"
    assert kept.get_ifd(0x8769)[0x927C] == b"maker\0note"
    assert kept.get_ifd(0x8825)[2] == (48.0, 51.0, 30.0)
    assert kept.get_ifd(0xA005)[1] == "R98"
    assert 256 not in kept and 273 not in kept, "how the TIFF's own pixels lie"
    assert picture.notes == ("of its TIFF tags these are not kept: ImageJ data",)


def test_nothing_hidden_can_be_recovered() -> None:
    pixels = noise(40, 50, 4)
    pixels[:, :, 3] |= 1
    pixels[:, :25, 3] = 0
    other = pixels.copy()
    other[:, :25, :3] ^= 0x5A
    for make in (lambda a: a, lambda a: saved(Image.fromarray(a)), lambda a: saved(Image.fromarray(a), "TIFF")):
        one, two = load(make(pixels)), load(make(other))
        assert np.array_equal(one.rgb, two.rgb)
        assert np.array_equal(one.rgb[:, 25:], pixels[:, 25:, :3])
    assert np.array_equal(other[:, :25, :3] ^ 0x5A, pixels[:, :25, :3]), "the caller's array is left alone"


# --- what cannot be taken


@pytest.mark.parametrize(
    "source", [b"", b"hello", b"\x89PNG\r\n\x1a\n", io.BytesIO(b"GIF89a"), io.StringIO("text"), 3, None]
)
def test_what_is_no_picture_is_refused_in_one_line(source: object) -> None:
    with pytest.raises(ImageError) as caught:
        load(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)


def test_a_path_is_named_in_the_error(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("hello")
    cut = tmp_path / "cut.png"
    cut.write_bytes(saved(Image.fromarray(noise(90, 90, 3)))[:-500])
    empty = tmp_path / "empty.png"
    empty.touch()
    coded = tmp_path / "coded.dpc"
    coded.write_bytes(b"\x89DPC" + bytes(40))
    for path, reason in (
        (text, "in no format"),
        (empty, "empty.png is empty; give a picture"),
        (coded, "is a .dpc file; dpc decode makes a picture of it"),
        (cut, "cannot be decoded"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "none.png", "No such file"),
    ):
        with pytest.raises(ImageError, match=reason) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_empty_pil_image_is_refused() -> None:
    with pytest.raises(ImageError, match="3x0 pixels"):
        load(Image.new("RGB", (3, 0)))


@pytest.mark.parametrize(("width", "height"), [(65535, 65535), (65536, 1), (1, 65536), (12000, 14000), (16385, 16384)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_large_is_refused_before_a_pixel_is_decoded(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(self: Image.Image) -> None:
        raise AssertionError("pixels were asked for")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None if width == 16385 else 80_000_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", loaded)
    with pytest.raises(TooLarge) as caught:
        load(png(width, height, 8, 2, b""))
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)


def test_a_pillow_warning_made_an_error_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    data = saved(Image.new("RGB", (2, 2)))
    with pytest.warns(Image.DecompressionBombWarning):
        assert load(data).rgb.shape == (2, 2, 3)
    with pytest.raises(TooLarge, match=r"Pillow's guard .* PIL\.Image\.MAX_IMAGE_PIXELS"):
        load(saved(Image.new("RGB", (3, 3))))


def test_too_large_arrays_are_refused() -> None:
    with pytest.raises(TooLarge):
        load(np.broadcast_to(np.uint8(0), (16385, 16384)))
    with pytest.raises(TooLarge):
        load(np.zeros((1, 65536), np.uint8))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "JPEG2000", "BMP", "ICO"])
def test_damaged_pictures_give_a_picture_or_a_dpc_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif, "icc_profile": LCMS_SRGB} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    data = saved(Image.fromarray(noise(16, 16, 3)), kind, **options)
    chance = random.Random(3)
    for step in range(300):
        damaged = bytearray(data[: chance.randint(1, len(data))] if step % 3 == 0 else data)
        reach = min(len(damaged), 400) if step % 2 else len(damaged)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(reach)] ^= 1 << chance.randrange(8)
        try:
            picture = load(bytes(damaged))
        except DPCError as exc:
            assert "\n" not in str(exc)
        else:
            assert picture.rgb.ndim == 3


# --- back to Pillow


def test_to_pil() -> None:
    rgb, alpha, exif = noise(4, 6, 3), noise(4, 6), tiff("<", (0x0112, 3, 1, 1))
    grey = np.repeat(alpha[:, :, None], 3, axis=2)
    for image, mode in (
        (to_pil(rgb), "RGB"),
        (to_pil(rgb, alpha), "RGBA"),
        (to_pil(grey, grey=True), "L"),
        (to_pil(grey, alpha, True), "LA"),
    ):
        assert image.mode == mode
        assert image.size == (6, 4)
        assert image.info == {}
        assert np.array_equal(np.asarray(image.convert("RGB")), grey if mode.startswith("L") else rgb)
        if mode.endswith("A"):
            assert np.array_equal(np.asarray(image.getchannel("A")), alpha)
    full = to_pil(rgb[:, ::-1], None, False, {"icc_profile": LCMS_SRGB, "exif": b"Exif\0\0" + exif})
    assert full.info == {"icc_profile": LCMS_SRGB, "exif": b"Exif\0\0" + exif}
    assert full.getexif()[0x0112] == 1
    again = load(saved(full, "PNG", icc_profile=LCMS_SRGB, exif=full.info["exif"]))
    assert (again.colour, again.beside.exif) == (Colour.SRGB, exif)


modes = st.sampled_from([(), (1,), (3,), (4,)])


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), modes, st.integers(0, 2**32 - 1))
def test_load_and_to_pil_are_inverse(size: tuple[int, int], channels: tuple[int, ...], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    first = load(array)
    again = load(saved(to_pil(first.rgb, first.alpha, first.grey)))
    assert np.array_equal(first.rgb, again.rgb)
    assert first.grey == again.grey
    assert (first.alpha is None) == (again.alpha is None)
    assert first.alpha is None or np.array_equal(first.alpha, again.alpha)  # type: ignore[arg-type]


# --- memory


def test_the_formula_of_the_strips_covers_every_row_once() -> None:
    for width, height in ((1, 3_000_000), (65535, 40), (1024, 1025)):
        rows = max(1, dpc_image._STRIP_PIXELS // width)
        tops = [*range(0, height, rows), height]
        assert all(low < high for low, high in pairwise(tops))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_24_megapixels_stay_under_300_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((1500, 1000), 60).convert("RGB").resize((6000, 4000)).save(path, exif=exif)
    program = (
        "from pathlib import Path\n"
        "from dpc.codec.image import load\n"
        f"assert load({str(path)!r}).rgb.shape == (6000, 4000, 3)\n"
        "print(Path('/proc/self/status').read_text())\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", run.stdout)
    assert 70_000 < int(peak) < 300_000
