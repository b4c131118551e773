"""What each format of a decoded picture carries, read back with Pillow; what is left out is named."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import camera_exif, noise, opened, profile_of
from PIL import Image

from dpc.codec import colour, output
from dpc.codec.container import Colour
from dpc.codec.formats import FORMATS
from dpc.codec.output import picture_bytes
from dpc.errors import OptionError, ToolMissing

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
LOSSLESS = ("png", "tif", "webp", "bmp", "ppm")
ENDINGS = (*LOSSLESS, "avif", "jpg")  # one for each format


def full(mode: str, size: tuple[int, int] = (50, 40)) -> Image.Image:
    """A picture of a mode, with everything that a decoded one may have beside its pixels."""
    image = Image.fromarray(noise(size[1], size[0], 3)).convert(mode.removesuffix("A"))
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(noise(size[1], size[0])))
    icc = colour.profile(Colour.DISPLAY_P3, grey=mode.startswith("L"))
    image.info.update(icc_profile=icc, exif=camera_exif(), xmp=XMP, dpi=(300.0, 150.0))
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_the_table_promises_is_what_is_read_back(ending: str, mode: str) -> None:
    image, form = full(mode), FORMATS[ending]
    data, left = picture_bytes(image, ending)
    back = opened(data)
    back.load()
    assert back.format == form.name
    assert ("transparency (the picture is on white)" in left) == (mode.endswith("A") and not form.alpha)
    assert back.mode == (mode if form.grey else mode.replace("L", "RGB")).removesuffix("" if form.alpha else "A")
    exif = back.getexif()
    if form.exif:
        assert exif[0x010F] == "a camera"
        assert exif.get_ifd(0x8769)[0x9003] == "2024:01:01 00:00:00"
        assert exif.get_ifd(0x8769)[0x927C] == b"maker\0note"
        assert exif.get_ifd(0x8825)[2] == (48.0, 51.0, 30.0)
        assert exif.get_ifd(0xA005)[1] == "R98"
    assert ("EXIF" in left) == (not form.exif)
    assert ("XMP" in left) == (not form.xmp)
    assert bool(back.info.get("xmp")) == bool(form.xmp)
    assert ("pixel density" in left) == (form.density != "field")
    if form.density == "field":
        assert back.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    icc = back.info.get("icc_profile")
    assert (icc is not None) == form.icc
    if icc is not None:
        grey_file = back.mode.startswith("L")
        assert colour.space_of(icc) == ("GRAY" if grey_file else "RGB")
        assert colour.recognise(icc) == (Colour.SRGB if mode.startswith("L") else Colour.DISPLAY_P3)


@pytest.mark.parametrize(
    ("ending", "mode"),
    [(e, m) for e in LOSSLESS for m in ("L", "LA", "RGB", "RGBA") if FORMATS[e].alpha or not m.endswith("A")],
)
def test_pixels_are_written_as_they_are(ending: str, mode: str) -> None:
    image = full(mode, (301, 997) if ending == "tif" else (31, 97))  # several strips in a TIFF
    del image.info["icc_profile"]
    back = opened(picture_bytes(image, ending)[0])
    assert np.array_equal(np.asarray(back.convert(mode)), np.asarray(image))


def test_transparent_pictures_are_put_on_white() -> None:
    image = Image.fromarray(np.uint8([[[0, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 51]]]))
    data, left = picture_bytes(image, "bmp")
    assert np.asarray(opened(data))[0, :, 0].tolist() == [0, 255, 204]
    assert left == ["transparency (the picture is on white)"]


@pytest.mark.parametrize("ending", ["bmp", "ppm"])
def test_colours_are_converted_where_the_profile_cannot_go(ending: str) -> None:
    image = Image.new("RGB", (4, 4), (234, 51, 35))
    image.info["icc_profile"] = colour.profile(Colour.DISPLAY_P3)
    data, left = picture_bytes(image, ending)
    assert np.abs(np.asarray(opened(data)).astype(int) - [255, 0, 0]).max() <= 1, "sRGB's red, as Display P3 has it"
    assert left == ["profile of Display P3 (the colours are converted to sRGB)"]
    image.info["icc_profile"] = colour.profile(Colour.SRGB)
    data, left = picture_bytes(image, ending)
    assert np.asarray(opened(data))[0, 0].tolist() == [234, 51, 35]
    assert left == [], "sRGB is what it is without a profile"


def test_a_grey_profile_does_not_go_into_a_file_of_colours() -> None:
    image = Image.new("L", (4, 4), 100)
    image.info["icc_profile"] = colour.profile(Colour.ADOBE_RGB, grey=True)
    back = opened(picture_bytes(image, "webp")[0])
    assert colour.recognise(back.info["icc_profile"]) == Colour.ADOBE_RGB
    assert colour.space_of(back.info["icc_profile"]) == "RGB"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_profile_of_another_space_is_left_out(ending: str) -> None:
    image = Image.new("L", (16, 16), 100)
    image.info["icc_profile"] = profile_of("RGB")
    data, left = picture_bytes(image, ending)
    assert "icc_profile" not in opened(data).info
    assert left == ["ICC profile (it is for RGB)"]


def test_exif_and_xmp_that_are_too_long_are_left_out() -> None:
    image = Image.new("RGB", (16, 16))
    image.info.update(exif=camera_exif(Make="X" * 66000), xmp=XMP + b" " * 70000)
    for ending in ENDINGS:
        data, left = picture_bytes(image, ending)
        back = opened(data)
        if ending == "jpg":
            assert [text.split(" ")[0] for text in left] == ["EXIF", "XMP"]
            assert "the limit is 65,527" in left[0]
            assert not back.getexif()
        elif FORMATS[ending].exif:
            assert left == []
            assert len(back.getexif()[0x010F]) == 66000


def test_the_longest_exif_and_xmp_of_a_jpeg() -> None:
    bare = len(camera_exif(Make="")) - 6
    form = FORMATS["jpg"]
    for more, left in ((0, 0), (2, 1)):
        image = Image.new("RGB", (16, 16))
        image.info["exif"] = camera_exif(Make="X" * (form.exif - bare - 2 + more))
        data, names = picture_bytes(image, "jpg")
        assert len(names) == left
        assert bool(opened(data).getexif()) == (not left)
        image.info = {"xmp": b"x" * (form.xmp + more)}
        assert len(picture_bytes(image, "jpg")[1]) == left


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("exif", [b"Exif\0\0junkjunkjunk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"junk"])
def test_exif_that_cannot_be_read_is_survived(ending: str, exif: bytes) -> None:
    image = Image.new("RGB", (16, 16), "red")
    image.info["exif"] = exif
    data, left = picture_bytes(image, ending)
    assert opened(data).convert("RGB").getpixel((3, 3))[0] > 250
    assert left == ([] if ending in ("png", "webp", "jpg") else left)


def test_xmp_that_is_no_text_is_survived() -> None:
    image = Image.new("RGB", (16, 16), "red")
    image.info["xmp"] = b"\xff\xfe"
    for ending in ENDINGS:
        picture_bytes(image, ending)
    assert picture_bytes(image, "png")[1] == ["XMP (it is not UTF-8)"]


@pytest.mark.parametrize("ending", ["webp", "avif"])
def test_density_goes_into_exif_where_there_is_no_field(ending: str) -> None:
    image = Image.new("RGB", (16, 16))
    image.info["dpi"] = (300.0, 150.0)
    data, left = picture_bytes(image, ending)
    exif = opened(data).getexif()
    assert (exif[0x011A], exif[0x011B], exif[0x0128]) == (300, 150, 2)
    assert left == []


def test_the_orientation_of_avif_leaves_all_else_in_place() -> None:
    image = Image.new("RGB", (16, 16))
    image.info["exif"] = camera_exif()
    back = opened(picture_bytes(image, "avif")[0])
    written = back.info["exif"].removeprefix(b"Exif\0\0")
    assert len(written) == len(camera_exif()) - 6, "as long as it was: nothing is written anew"
    assert 0x0112 not in back.getexif()


def test_the_thumbnail_of_exif_is_named_where_it_is_lost() -> None:
    image, exif = Image.new("RGB", (16, 16)), bytearray(camera_exif())
    first = len(exif) - 6
    count = int.from_bytes(exif[14:16], "little" if exif[6:8] == b"II" else "big")
    order = "little" if exif[6:8] == b"II" else "big"
    exif[16 + 12 * count : 20 + 12 * count] = first.to_bytes(4, order)
    exif += (1).to_bytes(2, order) + (0x0103).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order)
    exif += (6).to_bytes(2, order) + bytes(2) + bytes(4)
    image.info["exif"] = bytes(exif)
    assert picture_bytes(image, "tif")[1] == ["thumbnail of EXIF"]
    assert picture_bytes(image, "png")[1] == []


@pytest.mark.parametrize(
    ("ending", "side"), [("webp", 16384), ("jpg", 65501), ("avif", 32769), ("jpeg", 65535), ("jfif", 65535)]
)
def test_a_side_that_a_format_does_not_know_is_one_clear_error(ending: str, side: int) -> None:
    for size in ((side, 1), (1, side)):
        with pytest.raises(OptionError) as caught:
            picture_bytes(Image.new("RGB", size), ending)
        limit = FORMATS[ending].side
        assert f"too many on a side for .{ending}, it takes {limit}; choose png, tif" in str(caught.value)
    longest = Image.new("L", (FORMATS[ending].side, 1))
    assert opened(picture_bytes(longest, ending)[0]).size == longest.size


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "ppm"])
def test_the_longest_sides_of_a_dpc_picture_fit(ending: str) -> None:
    for size in ((65535, 1), (1, 65535)):
        assert opened(picture_bytes(Image.new("RGB", size), ending)[0]).size == size


def test_a_pillow_without_the_format_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.Image, "SAVE", {})
    with pytest.raises(ToolMissing, match="cannot write AVIF; install a newer one, or choose png"):
        picture_bytes(Image.new("RGB", (4, 4)), "avif")
