"""Codecs behind one protocol: all that are installed, sizes, folders, tools that are missing, CompressAI's worker."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image

from dpc.codec import artifact
from dpc.codec.codec import Codec
from dpc.errors import DPCError, ImageError, OptionError, ToolMissing, UnknownModel
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import jpegli, programs


def photo(height: int = 75, width: int = 98) -> baselines.Rgb:
    """Smooth colours, an edge and a little noise."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 2, y * 3, 128 + 60 * np.sin(x / 9 + y / 7)], -1) + 60 * (x + y > 90)[..., None]
    return np.clip(rgb + np.random.default_rng(0).normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)


def error(a: baselines.Rgb, b: baselines.Rgb) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


def codec(name: str) -> baselines.Codec:
    reason = baselines.missing(name)
    if reason:
        pytest.skip(reason)
    return baselines.get(name)


# No package has BPG, and the one with VVC takes 165 MB: they are tried where they are, and by stand-ins below.
SELDOM = ("bpg", "vvc")
TRIED = [name for name in baselines.NAMES if name not in SELDOM or baselines.missing(name) is None]


@pytest.mark.parametrize("name", TRIED)
def test_a_picture_comes_back_and_more_bytes_are_better(name: str) -> None:
    c, image = codec(name), photo()
    assert c.name == name and c.version and c.settings and "unknown" not in c.version
    scale = list(c.qualities)
    assert scale in (sorted(scale), sorted(scale, reverse=True)) and len(set(scale)) == len(scale)
    poor, good = (c.encode(image, scale[int(s * (len(scale) - 1))]) for s in (0.2, 0.8))
    assert len(poor) < len(good)
    decoded = [c.decode(data) for data in (poor, good)]
    assert all(d.shape == image.shape and d.dtype == np.uint8 for d in decoded)
    assert error(decoded[1], image) < min(8, error(decoded[0], image))
    assert c.encode(image, scale[int(0.2 * (len(scale) - 1))]) == poor
    with pytest.raises(OptionError):
        c.encode(image, max(scale) + 1)


def test_the_call_stands_beside_the_settings() -> None:
    avif = codec("avif-best")
    assert avif.command == (  # type: ignore[attr-defined]
        "Image.save(format='AVIF', quality=Q, subsampling='4:4:4', speed=0, max_threads=1, advanced={'tune': 'iq'})"
    )
    assert codec("jpegxl-9").settings.startswith("VarDCT, effort 9") and codec("jpegxl").name == "jpegxl"


def test_mozjpeg_beats_libjpeg_turbo_at_equal_error() -> None:
    """Fewer bytes than the same error takes with libjpeg-turbo's best tables and scans; 4:2:0 and progressive."""
    image = photo(240, 320)
    moz, turbo = codec("jpeg-moz"), baselines.get("jpeg")
    data = moz.encode(image, 60)
    for quality in range(20, 95):
        other = turbo.encode(image, quality)
        if error(turbo.decode(other), image) <= error(moz.decode(data), image):
            break
    assert len(data) < 0.97 * len(other)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info.get("progressive") and [layer[1:3] for layer in opened.layer][0] == (2, 2)  # type: ignore[attr-defined]


def test_a_libvips_without_mozjpeg_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg-turbo takes the options and does without them."""
    codec("jpeg-moz")
    saved = jpegli._saved
    monkeypatch.setattr(jpegli, "_saved", lambda vips, image, quality, trellis: saved(vips, image, quality, False))
    with pytest.raises(ToolMissing, match="built with mozjpeg.*pip install pyvips-binary"):
        baselines.get("jpeg-moz")


@pytest.mark.parametrize("name", ["dpc", "jpeg", "jpeg2000", "webp"])
def test_sizes(name: str) -> None:
    c, image = codec(name), photo(150, 196)
    quality, data = baselines.at_bytes(c, image, 3000)
    assert 2000 < len(data) <= 3000
    assert c.encode(image, quality) == data
    quality, data = baselines.at_bpp(c, image, 0.6)
    assert len(data) * 8 / (150 * 196) == pytest.approx(0.6, rel=0.1)
    assert c.encode(image, quality) == data
    if name in ("jpeg", "jpeg2000"):  # one step further on the scale is not nearer
        i = list(c.qualities).index(quality)
        for j in (i - 1, i + 1):
            other = len(c.encode(image, c.qualities[j])) * 8 / (150 * 196)
            assert abs(other - 0.6) >= abs(len(data) * 8 / (150 * 196) - 0.6)
    with pytest.raises(OptionError, match="10"):
        baselines.at_bytes(c, image, 10)


def test_the_ends_of_the_scale() -> None:
    c, image = baselines.get("jpeg"), photo()
    assert baselines.at_bytes(c, image, 10**7)[0] == 95
    assert baselines.at_bpp(c, image, 1e-6)[0] == 1
    assert baselines.at_bpp(c, image, 1e6)[0] == 95


def test_the_colour_transform_of_jpeg_2000_is_on() -> None:
    c, image = codec("jpeg2000"), photo(128, 128)
    file = io.BytesIO()
    Image.fromarray(image).save(
        file, "JPEG2000", quality_mode="rates", quality_layers=[24], irreversible=True, no_jp2=True
    )
    assert error(c.decode(c.encode(image, c.qualities[177])), image) < error(c.decode(file.getvalue()), image)


def test_the_smaller_of_two_jpegs_counts() -> None:
    image = photo(200, 200)
    for quality in (5, 90):
        sizes = []
        for progressive in (False, True):
            file = io.BytesIO()
            Image.fromarray(image).save(
                file, "JPEG", quality=quality, subsampling="4:2:0", optimize=True, progressive=progressive
            )
            sizes.append(file.tell())
        assert len(baselines.get("jpeg").encode(image, quality)) == min(sizes)


def test_names_and_models() -> None:
    assert [baselines.missing(name) for name in ("dpc", "jpeg", "webp")] == [None, None, None]
    for name in ("jpg", "dpc-7", "compressai:nothing", "compressai:mbt2018:vmaf", ""):
        with pytest.raises(OptionError, match="choose"):
            baselines.get(name)
    with pytest.raises(UnknownModel):
        baselines.get("dpc:nothing")
    assert baselines.get("dpc-fast").name == "dpc-fast"


def test_dpc_fast_is_what_the_option_makes() -> None:
    rgb = photo(96, 128)
    fast, slow = baselines.get("dpc-fast:dpc-8"), baselines.get("dpc:dpc-8")
    assert fast.name == "dpc-fast:dpc-8"
    data = fast.encode(rgb, 40.0)
    assert data == Codec(artifact.find("dpc-8"), 1).encode(rgb, quality=40.0, fast=True) != slow.encode(rgb, 40.0)
    assert np.array_equal(fast.decode(data), slow.decode(data))


def test_what_is_missing_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for name, way in {
        "jpegxl": "pip install imagecodecs",
        "heic": "pip install pillow-heif",
        "jpeg-moz": "pip install pyvips pyvips-binary",
        "bpg": "bellard.org/bpg",
        "bpg-like": "apt-get install x265",
        "vvc": "pip install imageio-ffmpeg",
        "compressai:mbt2018-mean": "pip install compressai",
    }.items():
        with pytest.raises(ToolMissing, match=way):
            baselines.get(name)
        assert "\n" not in str(baselines.missing(name))
    with pytest.raises(ToolMissing, match="/no/python is not a program"):
        baselines.get("compressai:mbt2018", python="/no/python")


# programs


def tool(folder: Path, name: str, code: str) -> None:
    """A program of this name, written in Python."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport shutil, sys\n{code}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts")
def test_bpg_calls_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show = "if '-h' in sys.argv: sys.exit(print('BPG Image Encoder version 0.9.8'))"
    copy = "a = sys.argv\nshutil.copy(a[-1], a[a.index('-o') + 1])"
    tool(tmp_path, "bpgenc", f"{show}\n{copy}\nassert a[a.index('-q') + 1] == '30' and a[a.index('-f') + 1] == '444'")
    tool(tmp_path, "bpgdec", copy)
    monkeypatch.setenv("PATH", str(tmp_path))
    bpg, image = baselines.get("bpg"), photo()
    assert bpg.version == "BPG Image Encoder version 0.9.8"
    assert np.array_equal(bpg.decode(bpg.encode(image, 30)), image)
    with pytest.raises(DPCError, match="bpgenc ended with 1 and said: AssertionError"):
        bpg.encode(image, 31)


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts")
def test_vvc_calls_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that keeps the samples: what is left is the error of the colours at 4:2:0."""
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    version = "a = sys.argv\nif '-version' in a: sys.exit(print('ffmpeg version 9.0 Copyright'))"
    tool(tmp_path, "ffmpeg", version)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="ffmpeg was built without; pip install imageio-ffmpeg"):
        baselines.get("vvc")
    encoders = "if '-encoders' in a: sys.exit(print(' V....D libvvenc  H.266'))"
    keep = "data = open(a[a.index('-i') + 1], 'rb').read()"
    head = "f'YUV4MPEG2 W{w} H{h} F1:1 C420p10\\nFRAME\\n'.encode()"
    code = "if '-s' in a: w, h = a[a.index('-s') + 1].split('x'); assert a[a.index('-qp') + 1] == '20'"
    tool(
        tmp_path,
        "ffmpeg",
        f"{version}\n{encoders}\n{keep}\n{code}\nopen(a[-1], 'wb').write(({head} if '-s' in a else b'') + data)",
    )
    y, x = np.mgrid[:75, :99]
    smooth = np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)
    vvc = baselines.get("vvc")
    assert vvc.version == "ffmpeg version 9.0, libvvenc"
    back = vvc.decode(vvc.encode(smooth, 20))
    assert back.shape == smooth.shape
    assert error(back[8:-8, 8:-8], smooth[8:-8, 8:-8]) < 0.7


def test_colours_there_and_back() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    assert np.array_equal(programs.to_rgb(programs.to_ycbcr(image)), image)
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert np.allclose(programs.to_ycbcr(grey), [[[77]], [[128]], [[128]]])


@pytest.mark.parametrize("data", [b"", b"YUV4MPEG2 W4 H4 C422\nFRAME\n" + bytes(32), b"YUV4MPEG2 W2 H2 C444\nFRIME\n"])
def test_a_y4m_file_that_is_not_understood(data: bytes) -> None:
    with pytest.raises(DPCError, match="not understood"):
        programs.read_y4m(data)


# folders


def write_folder(path: Path, rows: list[dict[str, object]]) -> None:
    with open(path / "sizes.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_of_precomputed_pictures(tmp_path: Path) -> None:
    image = photo()
    Image.fromarray(image).save(tmp_path / "a-1.png")
    Image.fromarray(image[:50]).save(tmp_path / "a-2.png")
    (tmp_path / "a-1.bin").write_bytes(bytes(321))
    (tmp_path / "a-2.bin").write_bytes(bytes(123))
    write_folder(
        tmp_path,
        [{"image": "a", "lambda": q, "file": f"a-{q}.bin", "decoded": f"a-{q}.png"} for q in (1, 2)],
    )
    folder = baselines.Folder("mine", tmp_path)
    assert folder.settings == "precomputed, the quality is lambda"
    small, large = folder.of("a")
    assert (small.bytes, large.bytes, large.quality) == (123, 321, 1)
    assert folder.of("b") == []
    assert np.array_equal(folder.decoded(large, image), image)
    with pytest.raises(ImageError, match="98x50"):
        folder.decoded(small, image)


@pytest.mark.parametrize("text", [None, "", "image,bytes\n", "image,qp,bytes,decoded\na,x,1,a.png\n", "a,b\n1,2\n"])
def test_a_folder_without_proper_sizes(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "sizes.csv").write_text(text)
    with pytest.raises(OptionError, match="holds no sizes.csv with the columns"):
        baselines.Folder("mine", tmp_path)


def test_a_folder_with_a_size_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("image,qp,bytes,decoded\na,1,0,a.png\n")
    with pytest.raises(OptionError, match="gives a 0 bytes"):
        baselines.Folder("mine", tmp_path)
    (tmp_path / "sizes.csv").write_text("image,qp,bytes,decoded\n" + "a" * 200_000 + ",1,1,a.png\n")
    with pytest.raises(OptionError, match="field larger than field limit"):
        baselines.Folder("mine", tmp_path)


@needs("data", "kodak-bpg444")
def test_the_folder_of_genuine_bpg_files() -> None:
    folder = baselines.Folder("bpg", SHARED / "data" / "kodak-bpg444")
    entries = folder.of("kodim23")
    assert [e.quality for e in entries] == [43, 40, 34]
    original = np.asarray(Image.open(SHARED / "data" / "kodak" / "kodim23.png").convert("RGB"))
    errors = [error(folder.decoded(e, original), original) for e in entries]
    assert errors == sorted(errors, reverse=True) and errors[0] < 12


# CompressAI

STUB = '''
import torch

__version__ = "9.9"


class Net(torch.nn.Module):
    """Keeps every 64th row and column and its mean colour: enough to tell that the right things arrive."""

    def __init__(self, quality):
        super().__init__()
        self.quality = quality

    def update(self, force):
        print("a library that prints to stdout")

    def compress(self, x):
        n, c, h, w = x.shape
        assert h % 64 == 0 and w % 64 == 0 and n == 1 and x.min() >= 0 and x.max() <= 1
        small = torch.nn.functional.avg_pool2d(x, 64)
        if self.quality == 7:
            raise RuntimeError("bad quality")
        if self.quality == 8:
            raise SystemExit("gone")
        return {"strings": [[small.mul(255).byte().numpy().tobytes()], [b"z" * self.quality]], "shape": small.shape[2:]}

    def decompress(self, strings, shape):
        assert strings[1] == [b"z" * self.quality]
        small = torch.frombuffer(bytearray(strings[0][0]), dtype=torch.uint8).reshape(1, 3, *shape) / 255
        return {"x_hat": small.repeat_interleave(64, 2).repeat_interleave(64, 3) * 1.01}
'''
ZOO = """
import compressai


def make(quality, metric, pretrained):
    assert metric == "ms-ssim" and not pretrained
    return compressai.Net(quality)


image_models = {"mbt2018-mean": make}
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_compressai_in_its_own_process(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "compressai").mkdir()
    (tmp_path / "compressai" / "__init__.py").write_text(STUB)
    (tmp_path / "compressai" / "zoo.py").write_text(ZOO)
    python = tmp_path / "python"
    python.write_text(f'#!{shutil.which("sh")}\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    c = baselines.get("compressai:mbt2018-mean:ms-ssim", python=str(python), weights="untrained")
    assert (c.name, c.version) == ("compressai:mbt2018-mean:ms-ssim", "compressai 9.9")
    assert list(c.qualities) == [1, 2, 3, 4, 5, 6, 7, 8]
    image = np.full((70, 100, 3), (10, 200, 100), np.uint8)
    data = c.encode(image, 3)
    assert len(data) == 10 + 2 * 4 + 2 * 2 * 3 + 3
    decoded = c.decode(data)
    assert decoded.shape == image.shape and error(decoded, image) < 3
    assert len(c.encode(image, 5)) == len(data) + 2
    with pytest.raises(DPCError, match="bad quality"):
        c.encode(image, 7)
    assert np.array_equal(c.decode(data), decoded)  # it goes on
    with pytest.raises(DPCError, match="ended and said: gone"):
        c.encode(image, 8)
    assert np.array_equal(c.decode(data), decoded)  # a new one is started
    with pytest.raises(OptionError, match="1 to 8"):
        c.encode(image, 9)
    c.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_an_interpreter_without_compressai(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{shutil.which('sh')}\necho Oh no >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ToolMissing, match=r"has no compressai that works \(Oh no\)"):
        baselines.get("compressai:mbt2018", python=str(python))


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_an_interpreter_that_does_not_run_and_one_that_talks_nonsense(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/nowhere/sh\n")
    python.chmod(0o755)
    with pytest.raises(ToolMissing, match="does not run"):
        baselines.get("compressai:mbt2018", python=str(python))
    python.write_text(f"#!{shutil.which('sh')}\necho 9.9\n")
    with pytest.raises(OptionError, match="weights nowhere.pth of mbt2018 cannot be read"):
        baselines.get("compressai:mbt2018", python=str(python), weights="nowhere.pth")
    (tmp_path / "w.pth").write_bytes(b"weights")
    c = baselines.get("compressai:mbt2018", python=str(python), weights=str(tmp_path / "w.pth"))
    assert c.model == hashlib.sha256(b"weights").hexdigest()  # type: ignore[attr-defined]
    with pytest.raises(DPCError, match="CompressAI's process ended"):
        c.encode(photo(), 3)
