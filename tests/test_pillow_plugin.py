"""Pillow opens, loads and saves .dpc files."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from pictures import profile_of
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import dpc
from dpc import api
from dpc.codec import colour
from dpc.codec.container import Colour, pack, unpack

PHOTO = ROOT / "demo" / "photo.png"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    dpc.register()


@pytest.fixture(scope="module")
def crop() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.crop((150, 60, 247, 141)).convert("RGB")


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "DPC", **options)
    return out.getvalue()


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode; an alpha channel is a ramp, so that it is not dropped as opaque."""
    image = image.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_open_tells_size_and_mode_and_load_decodes(mode: str, crop: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.dpc"
    in_mode(crop, mode).save(path, quality=60)
    assert path.read_bytes() == dpc.encode(in_mode(crop, mode), quality=60)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("DPC", (97, 81), mode)
        assert image.get_format_mimetype() == "image/x-dpc"
        image.load()
        assert image.mode == mode
        assert image.tobytes() == dpc.decode(path.read_bytes()).tobytes()
    if mode.endswith("A"):
        assert image.getchannel("A").tobytes() == in_mode(crop, mode).getchannel("A").tobytes()


def test_pixels_are_not_decoded_before_load(crop: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(crop)
    calls = []
    decode = api.decode
    monkeypatch.setattr(api, "decode", lambda *args, **options: calls.append(args) or decode(*args, **options))
    with Image.open(io.BytesIO(data)) as image:
        assert calls == []
        image.load()
        image.load()
        assert len(calls) == 1


def test_opening_loads_neither_numpy_nor_onnxruntime(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.dpc")
    program = (
        "import sys, dpc; dpc.register(); from PIL import Image; Image.open(sys.argv[1]).close();"
        "print([name for name in ('numpy', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, tmp_path / "a.dpc"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT / "src", check=True)
    assert done.stdout.strip() == b"[]"


def test_registering_twice_changes_nothing(crop: Image.Image) -> None:
    before = list(Image.ID)
    dpc.register()
    assert list(Image.ID) == before
    assert Image.EXTENSION[".dpc"] == "DPC"


def test_file_objects_stay_open_and_need_no_name(crop: Image.Image) -> None:
    file = io.BytesIO(saved(crop))
    Image.open(file).load()
    assert not file.closed


def test_a_decoded_picture_is_an_ordinary_image(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.dpc")
    image = Image.open(tmp_path / "a.dpc")
    assert np.asarray(image).shape == (81, 97, 3)
    assert image.crop((0, 0, 10, 10)).size == (10, 10)
    image.thumbnail((32, 32))
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as small:
        assert small.size == image.size


def test_rates(crop: Image.Image) -> None:
    assert len(saved(crop, quality=10)) < len(saved(crop)) < len(saved(crop, quality=90))
    assert len(saved(crop, max_bytes=1000)) <= 1000
    assert len(saved(crop, bpp=1.0)) * 8 / (97 * 81) == pytest.approx(1.0, rel=0.1)
    assert saved(crop, model=next(model.name for model in dpc.models() if model.default)) == saved(crop)


def exif_with(camera: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = camera
    return exif


def test_exif(crop: Image.Image) -> None:
    def camera(**options: object) -> str | None:
        with Image.open(io.BytesIO(saved(source, **options))) as image:
            return image.getexif().get(0x010F)

    source = crop
    assert camera() is None
    assert camera(exif=exif_with("given")) == "given"
    assert camera(exif=exif_with("given").tobytes()) == "given"

    source = crop.copy()
    source.info["exif"] = exif_with("own").tobytes()
    assert camera() == "own"
    assert camera(exif=exif_with("given")) == "given"
    assert camera(exif=None) is None
    assert camera(exif=False) is None
    assert source.getexif()[0x010F] == "own"


def test_profile(crop: Image.Image) -> None:
    def profile(**options: object) -> bytes | None:
        with Image.open(io.BytesIO(saved(source, **options))) as image:
            before = image.info.get("icc_profile")
            image.load()
            assert image.info.get("icc_profile") == before
            return before

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = profile_of("RGB")
    source = crop.copy()
    assert profile() is None
    assert colour.recognise(profile(icc_profile=srgb) or b"") == Colour.SRGB
    assert profile(icc_profile=other) == other
    source.info["icc_profile"] = other
    assert profile() == other
    assert profile(icc_profile=None) is None
    assert profile(strip=True) is None


def test_xmp_and_density(crop: Image.Image) -> None:
    def info(**options: object) -> dict[object, object]:
        with Image.open(io.BytesIO(saved(source, **options))) as image:
            return image.info

    source = crop.copy()
    assert info() == {}
    source.info.update(xmp=b"<own/>", dpi=(300, 300))
    assert info() == {"xmp": b"<own/>", "dpi": pytest.approx((300, 300), abs=0.01)}
    assert info(xmp=b"<given/>", dpi=None) == {"xmp": b"<given/>"}
    assert info(strip=True) == {}


@pytest.mark.parametrize("piece", [7, 100_000])
def test_a_parser_is_fed_piece_by_piece(piece: int, crop: Image.Image) -> None:
    data = saved(crop)
    parser = ImageFile.Parser()
    for at in range(0, len(data), piece):
        parser.feed(data[at : at + piece])
    image = parser.close()
    assert (image.format, image.size) == ("DPC", crop.size)
    assert image.tobytes() == dpc.decode(data).tobytes()
    cut = ImageFile.Parser()
    cut.feed(data[:-1])
    with pytest.raises(OSError):
        cut.close()


def test_orientation_is_applied_once(crop: Image.Image) -> None:
    source = crop.copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    source.info["exif"] = exif.tobytes()
    with Image.open(io.BytesIO(saved(source))) as image:
        assert image.size == (81, 97)
        assert image.getexif().get(0x0112, 1) == 1


def frames(number: int) -> Image.Image:
    out = io.BytesIO()
    first, *more = (Image.new("L", (16, 16), 40 * i) for i in range(number))
    first.save(out, "GIF", save_all=True, append_images=more)
    return Image.open(out)


def test_several_frames_are_refused(crop: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(dpc.ImageError, match="2 frames"):
        frames(2).save(tmp_path / "a.dpc")
    with pytest.raises(dpc.ImageError, match="2 frames"):
        frames(2).save(tmp_path / "a.dpc", save_all=True)
    with pytest.raises(dpc.ImageError, match="1 picture"):
        crop.save(tmp_path / "a.dpc", append_images=[crop])
    assert list(tmp_path.iterdir()) == []
    assert saved(crop, save_all=True) == saved(crop)


def test_a_thumbnail_is_made_of_the_preview(crop: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(crop)
    asked = []
    before = api.decode
    monkeypatch.setattr(api, "decode", lambda *a, **k: asked.append(k["preview"]) or before(*a, **k))
    sizes = [(5, 5), (6, 5), (7, 6), (50, 50)]  # of 97x81, whose preview has 13x11
    for size in sizes:
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail(size)
            assert image.width <= size[0] and image.height <= size[1]
            wanted = crop.copy()
            wanted.thumbnail(size, reducing_gap=None)
            assert image.size == wanted.size
            if size < (9, 9):
                assert np.abs(np.asarray(image, int) - np.asarray(wanted, int)).mean() < 8
    assert asked == [True, True, False, False]
    with Image.open(io.BytesIO(data)) as image:
        assert image.draft("L", (13, 11)) == ("RGB", (0, 0, 97 / 8, 81 / 8)) and image.size == (13, 11)
        assert image.draft("L", (1, 1)) is None  # once is enough
        assert image.tobytes() == dpc.decode(data, preview=True).tobytes()


def test_a_bad_option_leaves_no_file(crop: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(dpc.OptionError):
        crop.save(tmp_path / "a.dpc", quality=101)
    with pytest.raises(dpc.OptionError):
        crop.save(tmp_path / "a.dpc", quality=40, bpp=1.0)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_raise_what_pillow_raises(crop: Image.Image) -> None:
    data = saved(crop)
    for cut in range(4, len(data)):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data[:cut]))
    with pytest.raises(UnidentifiedImageError, match="version 9") as caught:
        Image.open(io.BytesIO(data[:4] + b"\x09" + data[5:]))
    assert isinstance(caught.value.__cause__, dpc.UnsupportedVersion)


def test_what_only_decoding_can_find_is_an_oserror(crop: Image.Image) -> None:
    file = unpack(saved(crop))
    unknown = pack(type(file)(**{**vars(file), "model": b"\0\1\2\3"}))
    with Image.open(io.BytesIO(unknown)) as image, pytest.raises(OSError) as caught:
        image.load()
    assert isinstance(caught.value.__cause__, dpc.ModelError)


def test_pillows_limit_on_pixels_holds(crop: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(crop)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_other_formats_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.dpc").write_bytes(PHOTO.read_bytes())
    with Image.open(tmp_path / "a.dpc") as image:
        assert image.format == "PNG"
