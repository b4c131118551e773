"""The command line through its entry point: in-process for the logic, in real processes for streams."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import make_tiny
import numpy as np
import pytest
from paths import ROOT
from pictures import LCMS_SRGB, camera_exif, noise, profile_of
from PIL import Image
from typer.testing import CliRunner, Result

import dpc
import dpc.__main__
from dpc.cli import app
from dpc.cli.inputs import plan
from dpc.cli.options import parse_size
from dpc.codec import artifact
from dpc.codec.formats import FORMATS

PHOTO = ROOT / "demo" / "photo.png"


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="dpc")


def process(*args: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dpc", *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT / "src", timeout=120)


def error_line(result: Result) -> str:
    """The one line on stderr of a command that failed with exit code 1."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("dpc: error: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


@pytest.fixture(scope="module")
def crop() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.crop((150, 60, 246, 140)).convert("RGB")


@pytest.fixture
def png(tmp_path: Path, crop: Image.Image) -> Path:
    path = tmp_path / "photo.png"
    crop.save(path)
    return path


@pytest.fixture(scope="module")
def coded(crop: Image.Image) -> bytes:
    return dpc.encode(crop)


@pytest.fixture
def dpc_file(tmp_path: Path, coded: bytes) -> Path:
    path = tmp_path / "coded.dpc"
    path.write_bytes(coded)
    return path


# encode and decode


def test_encode_and_decode_give_back_the_picture(png: Path, tmp_path: Path) -> None:
    result = run("encode", png, tmp_path / "a.dpc")
    assert result.exit_code == 0, result.output
    data = (tmp_path / "a.dpc").read_bytes()
    assert f"{len(data):,} bytes, {8 * len(data) / (96 * 80):.3f} bpp, quality 40" in result.stdout
    assert data == dpc.encode(png)

    assert run("decode", tmp_path / "a.dpc", tmp_path / "b.png").exit_code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert (image.size, image.mode) == ((96, 80), "RGB")
        assert image.tobytes() == dpc.decode(data).tobytes()


def test_a_file_larger_than_its_input_is_said_to_be(png: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.jpg"
    with Image.open(png) as image:
        image.convert("RGB").save(small, quality=1)
    before = small.stat().st_size
    result = run("encode", small, "--quality", "100")
    assert result.exit_code == 0 and small.with_suffix(".dpc").stat().st_size > before
    assert f"; larger than the input ({before:,} bytes), --max-bytes {before} would not be" in result.stdout
    result = run("encode", small, "--max-bytes", str(before), "-f")
    assert result.exit_code == 0 and "larger than" not in result.stdout
    assert small.with_suffix(".dpc").stat().st_size <= before


def test_outputs_are_named_after_inputs(png: Path) -> None:
    assert run("encode", png).exit_code == 0
    assert png.with_suffix(".dpc").exists()
    png.unlink()
    assert run("decode", png.with_suffix(".dpc")).exit_code == 0
    assert png.exists()


def test_the_rate_options_reach_the_encoder(png: Path, tmp_path: Path) -> None:
    sizes = []
    rates = (["--quality", "5"], ["--quality", "95"], ["--bpp", "1"], ["--max-bytes", "1k"])
    for number, options in enumerate(rates):
        assert run("encode", *options, png, tmp_path / f"{number}.dpc").exit_code == 0
        sizes.append((tmp_path / f"{number}.dpc").stat().st_size)
    assert sizes[0] < sizes[1]
    assert sizes[2] == pytest.approx(96 * 80 / 8, rel=0.1)
    assert sizes[3] <= 1000


def test_model_and_threads_are_taken(png: Path, tmp_path: Path, coded: bytes) -> None:
    model = next(model for model in dpc.models() if model.default)
    options = ["--model", model.name, "--threads", 1]
    assert run("encode", *options, png, tmp_path / "a.dpc").exit_code == 0
    assert (tmp_path / "a.dpc").read_bytes() == coded
    assert run("decode", *options, tmp_path / "a.dpc", tmp_path / "a.png").exit_code == 0


def test_exif_is_kept_or_dropped(crop: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    crop.save(tmp_path / "a.jpg", exif=exif)
    for options, expected in (([], "a camera"), (["--no-exif"], None)):
        assert run("encode", *options, "-f", tmp_path / "a.jpg").exit_code == 0
        assert run("decode", "-f", tmp_path / "a.dpc", tmp_path / "b.png").exit_code == 0
        with Image.open(tmp_path / "b.png") as image:
            assert image.getexif().get(0x010F) == expected


def test_the_profile_is_kept(crop: Image.Image, tmp_path: Path) -> None:
    profile = profile_of("RGB")
    crop.save(tmp_path / "a.png", icc_profile=profile)
    assert run("encode", tmp_path / "a.png").exit_code == 0
    for ending in ("png", "jpg", "tif", "webp"):
        assert run("decode", tmp_path / "a.dpc", tmp_path / f"b.{ending}").exit_code == 0
        with Image.open(tmp_path / f"b.{ending}") as image:
            assert image.info.get("icc_profile") == profile, ending


def test_a_profile_of_srgb_takes_no_bytes(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.png")
    crop.save(tmp_path / "b.png", icc_profile=LCMS_SRGB)
    assert run("encode", tmp_path / "a.png", tmp_path / "b.png", "--out-dir", tmp_path).exit_code == 0
    assert (tmp_path / "a.dpc").stat().st_size == (tmp_path / "b.dpc").stat().st_size


def test_what_is_beside_a_picture_is_dropped_where_that_is_asked(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(
        tmp_path / "a.jpg", exif=camera_exif(), xmp=b"<x/>", icc_profile=profile_of("RGB"), dpi=(300, 300), quality=95
    )
    for options, kept in (
        ([], {"icc", "exif", "xmp", "density"}),
        (["--no-icc"], {"exif", "xmp", "density"}),
        (["--no-exif", "--no-xmp"], {"icc", "density"}),
        (["--strip"], set()),
    ):
        assert run("encode", "-f", *options, tmp_path / "a.jpg").exit_code == 0
        assert dpc.inspect(tmp_path / "a.dpc").chunks.keys() - {"body"} == kept


@pytest.mark.skipif(not artifact.released(), reason="no model is released yet")
def test_fast_smooths_nothing(tmp_path: Path) -> None:
    board = np.array(make_tiny.photograph(0, 0, 448, 288).resize((448, 288)))
    board[40:200, 60:300], board[90:120, 100:260] = (236, 232, 220), (40, 20, 90)
    Image.fromarray(board).save(tmp_path / "a.png")
    for options, there in (([], True), (["--fast"], False)):
        assert run("encode", "-f", "--no-lossless", *options, tmp_path / "a.png").exit_code == 0
        assert ("smoothing" in dpc.inspect(tmp_path / "a.dpc").chunks) == there


def test_a_profile_that_is_not_kept_is_said(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.png", icc_profile=profile_of("CMYK"))
    assert "its ICC profile is not kept, it is for CMYK" in run("encode", tmp_path / "a.png").stdout
    to_stream = run("encode", tmp_path / "a.png", "-")
    assert "its ICC profile is not kept, it is for CMYK" in to_stream.stderr
    with pytest.warns(dpc.PictureWarning, match="it is for CMYK"):
        dpc.encode(tmp_path / "a.png")


def test_what_a_format_has_no_place_for_is_one_line(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.png", exif=camera_exif(Make="X" * 66000))
    assert run("encode", tmp_path / "a.png").exit_code == 0
    result = run("decode", tmp_path / "a.dpc", tmp_path / "b.jpg")
    assert result.exit_code == 0 and (tmp_path / "b.jpg").exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"dpc: {tmp_path / 'b.jpg'}: .jpg has no place for: EXIF (66,")
    result = run("decode", tmp_path / "a.dpc", tmp_path / "b.tif")
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_exif_of_a_camera_reaches_a_tiff(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.jpg", exif=camera_exif())
    assert run("encode", tmp_path / "a.jpg").exit_code == 0
    result = run("decode", tmp_path / "a.dpc", tmp_path / "b.tif")
    assert (result.exit_code, result.stderr) == (0, "")
    with Image.open(tmp_path / "b.tif") as image:
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:01:01 00:00:00"


def test_a_side_that_a_format_does_not_know(tmp_path: Path) -> None:
    Image.new("RGB", (16384, 1)).save(tmp_path / "w.png")
    assert run("encode", tmp_path / "w.png").exit_code == 0
    line = error_line(run("decode", tmp_path / "w.dpc", tmp_path / "w.webp"))
    assert "16384x1 pixels are too many on a side for .webp, it takes 16383; choose png, tif" in line
    assert not (tmp_path / "w.webp").exists()


def test_hidden_colours_take_no_bytes(tmp_path: Path) -> None:
    alpha = np.zeros((128, 128), np.uint8)
    alpha[48:80, 48:80] = 255
    seen = alpha[:, :, None] > 0
    ramp = np.arange(128, dtype=np.uint8)[:, None, None] + np.zeros((128, 128, 3), np.uint8)
    files = {dpc.encode(np.dstack([np.where(seen, ramp, under), alpha])) for under in (noise(128, 128, 3), np.uint8(9))}
    assert len(files) == 1


@pytest.mark.parametrize("ending", FORMATS)
def test_decode_writes_every_format(ending: str, dpc_file: Path, tmp_path: Path) -> None:
    named, folder = tmp_path / f"b.{ending}", tmp_path / "d"
    assert run("decode", dpc_file, named).exit_code == 0
    assert run("decode", "--format", ending, "--out-dir", folder, dpc_file).exit_code == 0
    for path in (named, folder / f"coded.{ending}"):
        with Image.open(path) as image:
            assert (image.format, image.size) == (FORMATS[ending].name, (96, 80))


# nothing is overwritten, nothing is left half done


def test_an_output_that_exists_is_kept_without_force(png: Path, dpc_file: Path, coded: bytes) -> None:
    before = png.read_bytes()
    assert "-f overwrites it" in error_line(run("decode", dpc_file, png))
    assert png.read_bytes() == before
    assert run("decode", "-f", dpc_file, png).exit_code == 0
    assert png.read_bytes() != before

    dpc_file.write_bytes(b"something else")
    error_line(run("encode", png, dpc_file))
    assert dpc_file.read_bytes() == b"something else"
    assert run("encode", "--force", png, dpc_file).exit_code == 0
    assert dpc_file.read_bytes() != b"something else"


def test_the_input_is_never_the_output(png: Path) -> None:
    path = png.rename(png.with_suffix(".dpc"))
    before = path.read_bytes()
    assert "is the input itself" in error_line(run("encode", "-f", path))
    assert path.read_bytes() == before


def test_what_is_not_a_file_is_never_replaced(png: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.dpc").mkdir()
    result = run("encode", "-f", png, tmp_path / "folder.dpc")
    assert result.exit_code == 2 and "is a folder; for outputs in it give --out-dir" in " ".join(result.output.split())
    os.mkfifo(tmp_path / "pipe.dpc")
    assert "not a regular file" in error_line(run("encode", "-f", png, tmp_path / "pipe.dpc"))


def test_a_link_is_written_through(png: Path, tmp_path: Path) -> None:
    (tmp_path / "real.dpc").write_bytes(b"old")
    (tmp_path / "link.dpc").symlink_to("real.dpc")
    assert run("encode", "-f", png, tmp_path / "link.dpc").exit_code == 0
    assert (tmp_path / "link.dpc").is_symlink()
    assert (tmp_path / "real.dpc").read_bytes().startswith(b"\x89DPC")


def test_a_failed_write_leaves_nothing(png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object) -> None:
        raise OSError(28, "No space left on device", "a.dpc")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in error_line(run("encode", png, tmp_path / "a.dpc"))
    assert list(tmp_path.iterdir()) == [png]


def test_a_full_disk_behind_stdout_is_named_without_its_number(png: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "dpc", "encode", str(png), "-"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT / "src", timeout=120)
    assert (done.returncode, done.stderr.decode()) == (1, f"dpc: error: {png}: No space left on device\n")


def test_a_planted_link_is_not_followed(png: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / f".dpc-{os.getpid()}.part").symlink_to("victim")
    assert run("encode", png, tmp_path / "a.dpc").exit_code == 0
    assert (tmp_path / "victim").read_bytes() == b"precious" and not (tmp_path / "a.dpc").is_symlink()


def test_a_file_that_appears_meanwhile_is_kept(
    png: Path, tmp_path: Path, coded: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: object, **options: object) -> bytes:
        (tmp_path / "a.dpc").write_bytes(b"from another program")
        return coded

    monkeypatch.setattr(dpc, "encode", slow)
    error_line(run("encode", png, tmp_path / "a.dpc"))
    assert (tmp_path / "a.dpc").read_bytes() == b"from another program"
    assert len(list(tmp_path.iterdir())) == 2


# several inputs


def test_one_failure_does_not_lose_the_rest(crop: Image.Image, tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        crop.save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no picture")
    out = tmp_path / "new" / "folder"
    names = ("a.png", "b.png", "missing.png", "c.png")
    result = run("encode", "--out-dir", out, *(tmp_path / name for name in names))
    assert result.exit_code == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.dpc", "c.dpc"]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert "b.png" in lines[0] and "missing.png" in lines[1]

    result = run("decode", "--out-dir", out, *sorted(out.iterdir()))
    assert result.exit_code == 0
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "c.png"]


def test_two_inputs_of_one_name_do_not_replace_each_other(crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "a.png")
    crop.rotate(180).save(tmp_path / "a.bmp")
    result = run("encode", "-f", "--out-dir", tmp_path, tmp_path / "a.png", tmp_path / "a.bmp")
    assert "already holds the output of" in error_line(result)
    assert (tmp_path / "a.dpc").read_bytes() == dpc.encode(tmp_path / "a.png")


def test_a_folder_stands_for_all_pictures_below_it(crop: Image.Image, tmp_path: Path) -> None:
    photos, coded, back = tmp_path / "photos", tmp_path / "coded", tmp_path / "back"
    (photos / "b" / "c").mkdir(parents=True)
    (photos / "notes.txt").write_text("no picture")
    crop.save(photos / "a.PNG")
    crop.save(photos / "b" / "c" / "a.jpg")
    assert run("encode", photos, "--out-dir", coded).exit_code == 0
    assert [p.relative_to(coded).as_posix() for p in sorted(coded.rglob("*.*"))] == ["a.dpc", "b/c/a.dpc"]
    # again: what is there is an error, or is left as it is
    (coded / "a.dpc").write_bytes(b"mine")
    (coded / "b" / "c" / "a.dpc").unlink()
    result = run("encode", photos, "--out-dir", coded)
    assert result.exit_code == 1 and "a.dpc exists; -f overwrites it" in result.stderr
    (coded / "b" / "c" / "a.dpc").unlink()
    result = run("encode", photos, "--out-dir", coded, "--skip-existing")
    assert result.exit_code == 0 and "a.dpc: exists, left as it is" in result.stdout
    assert (coded / "a.dpc").read_bytes() == b"mine" and (coded / "b" / "c" / "a.dpc").stat().st_size > 4
    (coded / "a.dpc").unlink()
    assert run("decode", coded, "--out-dir", back).exit_code == 0
    assert [p.name for p in back.rglob("*.png")] == ["a.png"]
    result = run("decode", photos, "--out-dir", back)
    assert result.exit_code == 2 and "holds no file that ends in .dpc" in " ".join(result.output.split())
    (tmp_path / "file").write_text("")
    result = run("encode", photos, "--out-dir", tmp_path / "file")
    assert result.exit_code == 2 and "is a file, not a folder" in " ".join(result.output.split())


def test_a_folder_that_may_not_be_written_to_is_said_before_the_work(
    png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(dpc, "encode", lambda *args, **options: pytest.fail("it was encoded"))
    assert "may not be written to; name another output" in error_line(run("encode", png, tmp_path / "a.dpc"))


def test_transparency_is_kept_or_said_to_be_lost(crop: Image.Image, tmp_path: Path) -> None:
    clear = crop.copy()
    clear.putalpha(Image.linear_gradient("L").resize(crop.size))
    clear.save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png").exit_code == 0
    expected = np.asarray(dpc.decode(tmp_path / "a.dpc"))
    for ending in ("png", "tif", "webp"):
        assert run("decode", tmp_path / "a.dpc", tmp_path / f"b.{ending}").exit_code == 0
        with Image.open(tmp_path / f"b.{ending}") as image:
            assert np.array_equal(np.asarray(image), expected), ending
    for ending in ("bmp", "jpg"):
        result = run("decode", tmp_path / "a.dpc", tmp_path / f"b.{ending}")
        assert result.exit_code == 0 and (tmp_path / f"b.{ending}").exists()
        assert f".{ending} has no place for: transparency (the picture is on white)" in result.stderr


def test_a_rate_that_a_picture_cannot_have_is_said(png: Path, tmp_path: Path) -> None:
    assert (
        "nothing this picture can have is nearer to 20 bpp" in run("encode", png, "--bpp", "20", "--no-lossless").stdout
    )
    assert "nearer" not in run("encode", "-f", png, "--bpp", "1").stdout


def test_an_input_of_another_kind_is_said_before_its_output(png: Path, crop: Image.Image, tmp_path: Path) -> None:
    crop.save(tmp_path / "photo.jpg")
    assert "give a .dpc file" in error_line(run("decode", tmp_path / "photo.jpg"))  # photo.png exists


TERMINATED = """
import os, signal, sys, dpc.cli.batch
from dpc.cli import main
os.link = os.replace = lambda *names: os.kill(os.getpid(), signal.SIGTERM)  # the whole output is beside its place
sys.argv = ["dpc", "encode", sys.argv[1]]
main()
"""


def test_a_terminated_command_leaves_nothing(png: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TERMINATED, png], capture_output=True, text=True)
    assert done.returncode == 128 + 15 and not done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == [png]


def test_nothing_is_left_in_the_home_folder(png: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | {"HOME": str(home)}
    env.pop("XDG_CACHE_HOME", None)
    done = subprocess.run([sys.executable, "-m", "dpc", "encode", png], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert list(home.rglob("*")) == []


def test_an_unforeseen_shortage_of_memory_is_one_line(png: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*args: object, **options: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(dpc, "encode", greedy)
    assert "not enough memory" in error_line(run("encode", png))


# errors: one line and exit code 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["encode", "missing.png"], "missing.png"),
        (["encode", "text.png"], "text.png"),
        (["encode", "photo.png", "no/such/folder/a.dpc"], "does not exist"),
        (["encode", "photo.png", "--model", "no-such-model"], "no-such-model"),
        (["encode", "photo.png", "--max-bytes", "3"], "3"),
        (["decode", "missing.dpc"], "missing.dpc"),
        (["decode", "text.png", "a.png"], "text.png"),
        (["decode", "cut.dpc"], "cut.dpc"),
        (["decode", "--model", "no-such-model", "coded.dpc"], "no-such-model"),
        (["inspect", "missing.dpc"], "missing.dpc"),
        (["inspect", "cut.dpc"], ""),
    ],
)
def test_errors_are_one_line(
    args: list[str], words: str, png: Path, dpc_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.png").write_text("no picture, no DPC file")
    (tmp_path / "cut.dpc").write_bytes(dpc_file.read_bytes()[:-10])
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert words in error_line(run(*args))
    assert sorted(tmp_path.iterdir()) == before


# usage: exit code 2


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["encode"],
        ["nonsense"],
        ["encode", "--nonsense", "a.png"],
        ["encode", "--quality", "101", "a.png"],
        ["encode", "--quality", "0", "a.png"],
        ["encode", "--quality", "many", "a.png"],
        ["encode", "--quality", "nan", "a.png"],
        ["encode", "--bpp", "-1", "a.png"],
        ["encode", "--quality", "40", "--bpp", "1", "a.png"],
        ["encode", "--bpp", "1", "--max-bytes", "1k", "a.png"],
        ["encode", "--max-bytes", "4x", "a.png"],
        ["encode", "--max-bytes", "40.7", "a.png"],
        ["encode", "http://example.org/a.png"],
        ["encode", "-f", "--skip-existing", "--out-dir", "d", "a.png"],
        ["decode", "-f", "--skip-existing", "--out-dir", "d", "a.dpc"],
        ["encode", "."],
        ["encode", "--threads", "0", "a.png"],
        ["encode", "a.png", "b.png"],
        ["encode", "a.png", "b.png", "c.png"],
        ["encode", "--out-dir", "d", "-"],
        ["encode", ""],
        ["encode", "/"],
        ["decode", "a.dpc", "b.dpc"],
        ["decode", "--format", "gif", "a.dpc"],
        ["decode", "--format", "png", "a.dpc", "b.jpg"],
        ["inspect"],
    ],
)
def test_wrong_usage(args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("40000", 40_000), ("40k", 40_000), ("40K", 40_000), ("1.5M", 1_500_000), ("0.015k", 15)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_photograph_is_never_taken_for_the_output() -> None:
    with pytest.raises(Exception, match="--out-dir"):
        plan(["a.jpg", "b.jpg"], None, "dpc", ["dpc"])


# inspect, models, version


def test_inspect(dpc_file: Path) -> None:
    result = run("inspect", dpc_file)
    assert result.exit_code == 0
    assert result.stdout.startswith("96x80 RGB, ")
    assert "quality  39.9 (level " in result.stdout

    record = json.loads(run("inspect", "--json", dpc_file).stdout)
    assert (record["width"], record["height"], record["mode"]) == (96, 80, "RGB")
    assert record["bytes"] == dpc_file.stat().st_size
    assert record["bpp"] == pytest.approx(8 * record["bytes"] / (96 * 80))
    assert record["quality"] == pytest.approx(40, abs=0.2)
    assert record["chunks"]["body"] < record["bytes"]


def test_inspect_several(dpc_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dpc"
    bad.write_bytes(dpc_file.read_bytes()[:-9])
    result = run("inspect", dpc_file, bad, dpc_file)
    assert result.exit_code == 1 and result.stdout.count("96x80 RGB") == 2 and result.stdout.count(str(dpc_file)) == 2
    assert result.stderr.startswith(f"dpc: error: {bad}: ") and result.stderr.count("\n") == 1
    lines = run("inspect", "--json", dpc_file, dpc_file).stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == [str(dpc_file)] * 2


def test_models() -> None:
    result = run("models")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [model.name for model in dpc.models()]
    assert sum(", default" in line for line in result.stdout.splitlines()) == 1
    for line, model in zip(result.stdout.splitlines(), dpc.models(), strict=True):
        assert (
            (", exact pixels)" in line) == model.exact_pixels == (model.name not in [f"dpc-{n}" for n in range(1, 7)])
        )


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"dpc {dpc.__version__}\n")


def test_the_entry_point_is_this_program() -> None:
    scripts = [e.value for e in importlib.metadata.entry_points(group="console_scripts") if e.name == "dpc"]
    declared = re.search(r'^dpc = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert {declared[1], *scripts} == {"dpc.__main__:main"}


def test_an_interrupt_while_the_command_line_is_loaded_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "dpc.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "dpc.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        dpc.__main__.main()
    assert ended.value.code == dpc.__main__.INTERRUPTED


# real processes


def test_streams_in_a_real_process(png: Path, crop: Image.Image, coded: bytes) -> None:
    encoded = process("encode", "-", "-", stdin=png.read_bytes())
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    assert encoded.stdout == coded

    decoded = process("decode", "-", "--format", "bmp", stdin=encoded.stdout)
    assert (decoded.returncode, decoded.stderr) == (0, b"")
    with Image.open(io.BytesIO(decoded.stdout)) as image:
        assert (image.format, image.tobytes()) == ("BMP", dpc.decode(coded).tobytes())

    inspected = process("inspect", "-", "--json", stdin=coded)
    assert json.loads(inspected.stdout)["bytes"] == len(coded)


def test_exit_codes_of_a_real_process(png: Path, tmp_path: Path) -> None:
    assert process("encode", png, tmp_path / "a.dpc").returncode == 0
    again = process("encode", png, tmp_path / "a.dpc")
    assert again.returncode == 1
    assert again.stderr.startswith(b"dpc: error: ") and again.stderr.count(b"\n") == 1
    assert process("encode", png, tmp_path / "a.dpc", "--what").returncode == 2
    garbage = process("decode", "-", stdin=b"\x89DPC garbage")
    assert garbage.returncode == 1
    assert garbage.stderr.startswith(b"dpc: error: stdin: ") and garbage.stderr.count(b"\n") == 1


SLOW = """
import sys, time, dpc
from dpc.cli import main

def encode(source, *, progress, **options):
    for step in range(steps):
        time.sleep(0.1)
        progress(step / 20)
    return DATA

steps = int(sys.argv.pop(1))
DATA = dpc.encode(sys.argv[-2])
dpc.encode = encode
main()
"""


def on_a_terminal(source: str, *args: object) -> tuple[int, bytes]:
    """Exit code, and what a terminal on stderr received."""
    pty = pytest.importorskip("pty", reason="terminals are tested where there are pseudo-terminals")
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", source, *map(str, args)]
    terminal = {**os.environ, "TERM": "xterm"}
    child = subprocess.Popen(command, stderr=follower, stdout=subprocess.DEVNULL, cwd=ROOT / "src", env=terminal)
    os.close(follower)
    received = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        received += chunk
    os.close(leader)
    return child.wait(timeout=120), received


def test_a_bar_is_shown_on_a_terminal_after_a_second(png: Path, tmp_path: Path) -> None:
    code, received = on_a_terminal(SLOW, 20, "encode", png, tmp_path / "a.dpc")
    assert code == 0
    assert b"%" in received


def test_no_bar_for_what_is_quick(png: Path, tmp_path: Path) -> None:
    code, received = on_a_terminal(SLOW, 1, "encode", png, tmp_path / "a.dpc")
    assert (code, received) == (0, b"")


def test_no_bar_without_a_terminal(png: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, "15", "encode", str(png), str(tmp_path / "a.dpc")]
    done = subprocess.run(command, capture_output=True, cwd=ROOT / "src", timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_missing_model_is_named_and_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPC_MODELS", str(tmp_path / "models"))
    file = tmp_path / "photo.dpc"
    file.write_bytes(dpc.Codec(make_tiny.MODEL).encode(PHOTO))
    result = run("decode", file)
    assert result.exit_code == 1
    assert "which is not installed" in result.stderr and result.stderr.rstrip().endswith("dpc models add FILE")
    result = run("models", "add", make_tiny.MODEL)
    assert str(tmp_path / "models") in result.stderr
    assert result.stdout.strip() in run("models").stdout.splitlines()
    assert run("decode", file).exit_code == 0
    result = run("models", "add", file)
    assert result.exit_code == 1
    assert "not a sound model artifact" in result.stderr


# parts, limits, nothing lost


def test_a_region_and_a_limit(dpc_file: Path, tmp_path: Path) -> None:
    whole, out = dpc.decode(dpc_file), tmp_path / "part.png"
    assert run("decode", dpc_file, out, "--region", "20x10+5+7").exit_code == 0
    with Image.open(out) as part:
        assert part.size == (20, 10)
        assert np.abs(np.asarray(part, int) - np.asarray(whole.crop((5, 7, 25, 17)), int)).max() <= 1
    for region in ("20x10", "20", "20x10+5"):
        assert run("decode", dpc_file, "-f", out, "--region", region).exit_code == 2
    outside = run("decode", dpc_file, out, "-f", "--region", "9999x1+0+0")
    assert (outside.exit_code, "does not lie in the picture" in outside.stderr) == (1, True)
    large = run("decode", dpc_file, out, "-f", "--max-pixels", 10)
    assert (large.exit_code, "max_pixels is 10" in large.stderr) == (1, True)


def test_a_preview(dpc_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.png"
    assert run("decode", dpc_file, out, "--preview").exit_code == 0
    with Image.open(out) as small:
        assert small.size == tuple(-(-n // 8) for n in dpc.decode(dpc_file).size)
    both = run("decode", dpc_file, out, "-f", "--preview", "--region", "20x10+5+7")
    assert both.exit_code == 2 and "leave --region out, or --preview" in " ".join(both.stderr.split())


def test_flat_pictures_are_kept_without_loss(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100), (1, 2, 3)).save(tmp_path / "a.png")
    assert "lossless" in run("encode", tmp_path / "a.png").stdout
    assert "lossless, needs no model" in run("inspect", tmp_path / "a.dpc").stdout
    assert "quality 40" in run("encode", tmp_path / "a.png", "--no-lossless", "-f").stdout


def test_a_line_break_in_a_name_breaks_no_line(crop: Image.Image, tmp_path: Path) -> None:
    odd = tmp_path / "a\nb\x1b[1m.png"
    crop.save(odd)
    result = run("encode", odd)
    assert (result.exit_code, result.stdout.count("\n"), "\x1b" in result.stdout) == (0, 1, False)
    assert "a\\nb\\x1b[1m.dpc: " in result.stdout
    odd.write_bytes(b"nothing")
    line = error_line(run("encode", odd, "-f"))
    assert line.count("\\nb\\x1b[1m.png") == 1 and "in no format" in line


def test_without_loss_there_is_no_place_that_is_better(png: Path, tmp_path: Path) -> None:
    result = run("encode", png, tmp_path / "out.dpc", "--lossless", "--roi", png)
    assert result.exit_code == 2 and "--roi" in result.stderr and not (tmp_path / "out.dpc").exists()
    with pytest.raises(dpc.errors.OptionError, match="lossless and roi exclude each other"):
        dpc.encode(png, lossless=True, roi=png)
