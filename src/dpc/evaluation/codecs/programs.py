"""Codecs that are programs on the PATH: BPG, its equivalent by x265, VVC. Pictures go through temporary files."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.errors import DPCError, ToolMissing
from dpc.evaluation.codecs.protocol import Rgb, check, program

__all__ = ["Bpg", "BpgLike", "Vvc"]

TIMEOUT = 1800  # seconds for one picture
_FFMPEG = r"ffmpeg version \S+"

Planes = list[NDArray[np.float64]]


class Bpg:
    """BPG by its own programs; the quality is the quantiser, 51 (smallest) down to 0."""

    programs = True  # it calls programs, whose memory is not this process's

    name = "bpg"
    seen = "ssim"  # bpgenc asks x265 for tune ssim
    command = "bpgenc -q Q -f 444 -c ycbcr -e x265 -m 9"
    settings = "4:4:4, YCbCr, x265, -m 9"
    qualities = range(51, -1, -1)

    def __init__(self) -> None:
        where = "build libbpg 0.9.8 (bellard.org/bpg), or use bpg-like, its equivalent by x265"
        self._encoder = program("bpgenc", "bpg", where)
        self._decoder = program("bpgdec", "bpg", where)
        self.version = _line([self._encoder, "-h"], r"BPG.*version.*|version.*") or "bpgenc of unknown version"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The .bpg file at a quantiser."""
        check(self, quality)
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.png"), Path(scratch, "out.bpg")
            Image.fromarray(image).save(source, compress_level=1)
            options = ["-q", str(int(quality)), "-f", "444", "-c", "ycbcr", "-e", "x265", "-m", "9"]
            _run([self._encoder, *options, "-o", str(target), str(source)])
            return target.read_bytes()

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.bpg"), Path(scratch, "out.png")
            source.write_bytes(data)
            _run([self._decoder, "-o", str(target), str(source)])
            with Image.open(target) as image:
                return np.array(image.convert("RGB"))


class BpgLike:
    """HEVC intra by x265 with the settings of BPG, as a bare stream: within about 2 % of BPG's size.

    The quality is the quantiser, 51 (smallest) down to 0. Colours are converted here (BT.601, full range), so that
    ffmpeg only decodes the stream.
    """

    programs = True  # it calls programs, whose memory is not this process's

    name = "bpg-like"
    seen = "ssim"
    command = "x265 --input-csp i444 --frames 1 --keyint 1 --preset veryslow --tune ssim --qp Q --range full --no-info"
    settings = "x265 intra as BPG has it (not BPG): 4:4:4, BT.601 full range, veryslow, tune ssim, bare stream"
    qualities = range(51, -1, -1)

    def __init__(self) -> None:
        self._encoder = program("x265", "bpg-like", "apt-get install x265, or brew install x265")
        self._decoder = program("ffmpeg", "bpg-like", "apt-get install ffmpeg, or brew install ffmpeg")
        encoder = _line([self._encoder, "--version"], r"HEVC encoder version.*") or "x265 of unknown version"
        decoder = _line([self._decoder, "-version"], _FFMPEG) or "ffmpeg of unknown version"
        self.version = f"{encoder}, {decoder}"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The HEVC stream at a quantiser."""
        check(self, quality)
        height, width = image.shape[:2]
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.yuv"), Path(scratch, "out.hevc")
            source.write_bytes(b"".join(_eight_bits(p).tobytes() for p in to_ycbcr(image)))
            _run(
                [self._encoder, "--input", str(source), "--input-res", f"{width}x{height}"]
                + ["--input-csp", "i444", "--fps", "1", "--frames", "1", "--keyint", "1", "--preset", "veryslow"]
                + ["--tune", "ssim", "--qp", str(int(quality)), "--range", "full", "--no-info", "--pools", "1"]
                + ["--frame-threads", "1", "--log-level", "error", "--output", str(target)]
            )
            return target.read_bytes()

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.hevc"), Path(scratch, "out.y4m")
            source.write_bytes(data)
            _run(
                [self._decoder, "-v", "error", "-threads", "1", "-f", "hevc", "-i", str(source)]
                + ["-f", "yuv4mpegpipe", "-strict", "-1", "-pix_fmt", "yuv444p", str(target)]
            )
            return to_rgb(read_y4m(target.read_bytes()))


class Vvc:
    """VVC intra by VVenC, which has 4:2:0 only; the quality is the quantiser, 63 (smallest) down to 0.

    An ffmpeg with libvvenc codes and decodes: that on the PATH if it has it, else the one of the package
    imageio-ffmpeg.
    """

    programs = True  # it calls programs, whose memory is not this process's

    name = "vvc"
    seen = "psnr"
    command = "ffmpeg -pix_fmt yuv420p10le -frames:v 1 -c:v libvvenc -preset slower -qp Q -qpa 0 -threads 1 -f vvc"
    settings = "VVenC intra, preset slower, 4:2:0 10 bits, BT.601 full range, no perceptual adaptation, one thread"
    qualities = range(63, -1, -1)

    def __init__(self) -> None:
        self._ffmpeg = _with_vvenc()
        self.version = f"{_line([self._ffmpeg, '-version'], _FFMPEG) or 'ffmpeg of unknown version'}, libvvenc"

    def encode(self, image: Rgb, quality: float) -> bytes:
        """A byte for the padding and the VVC stream at a quantiser."""
        check(self, quality)
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        y, *chroma = to_ycbcr(padded)
        planes = [y, *(c.reshape(c.shape[0] // 2, 2, -1, 2).mean((1, 3)) for c in chroma)]
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.yuv"), Path(scratch, "out.266")
            source.write_bytes(b"".join(_ten_bits(p).tobytes() for p in planes))
            size = f"{padded.shape[1]}x{padded.shape[0]}"
            _run(
                [self._ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", size, "-r", "1"]
                + ["-i", str(source), "-frames:v", "1", "-c:v", "libvvenc", "-preset", "slower"]
                + ["-qp", str(int(quality)), "-qpa", "0", "-threads", "1", "-f", "vvc", str(target)]
            )
            return bytes([-height % 8 << 4 | -width % 8]) + target.read_bytes()

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        with tempfile.TemporaryDirectory() as scratch:
            source, target = Path(scratch, "in.266"), Path(scratch, "out.y4m")
            source.write_bytes(data[1:])
            _run(
                [self._ffmpeg, "-v", "error", "-threads", "1", "-f", "vvc", "-i", str(source)]
                + ["-f", "yuv4mpegpipe", "-strict", "-1", "-pix_fmt", "yuv420p10le", str(target)]
            )
            rgb = to_rgb(read_y4m(target.read_bytes()))
        return rgb[: rgb.shape[0] - (data[0] >> 4), : rgb.shape[1] - (data[0] & 15)]


def _with_vvenc() -> str:
    """The path of an ffmpeg that has libvvenc; ToolMissing where there is none."""
    found = [path for path in (shutil.which("ffmpeg"), _of_imageio()) if path]
    for path in found:
        if _line([path, "-hide_banner", "-encoders"], r"\blibvvenc\b"):
            return path
    here = f"{found[0]} was built without" if found else "there is none"
    raise ToolMissing(f"vvc needs an ffmpeg with libvvenc, and {here}; pip install imageio-ffmpeg brings one")


def _of_imageio() -> str | None:
    """The ffmpeg that the package imageio-ffmpeg brings, if it is installed."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or its wheel has no program for this machine
        return None


# colours: BT.601, full range, as in JPEG


def to_ycbcr(rgb: Rgb) -> Planes:
    """Y, Cb, Cr of a picture, each (H, W), 0 to 255 and unrounded."""
    r, g, b = (rgb[:, :, c].astype(np.float64) for c in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return [y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128]


def to_rgb(planes: Planes) -> Rgb:
    """The picture of Y, Cb, Cr (0 to 255); chroma of half size is repeated with linear interpolation."""
    y = planes[0]
    cb, cr = (_double(p) if p.shape != y.shape else p for p in planes[1:])
    r, b = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    g = (y - 0.299 * r - 0.114 * b) / 0.587
    return np.clip(np.rint(np.stack([r, g, b], -1)), 0, 255).astype(np.uint8)


def _double(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the size along both axes: each new sample lies a quarter of a step from its nearest old one."""
    for _ in range(2):
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        out = np.empty((2 * plane.shape[0], plane.shape[1]))
        out[0::2] = 0.75 * plane + 0.25 * padded[:-2]
        out[1::2] = 0.75 * plane + 0.25 * padded[2:]
        plane = out.T
    return plane


def _eight_bits(plane: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _ten_bits(plane: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.clip(np.rint(plane * (1023 / 255)), 0, 1023).astype("<u2")


def read_y4m(data: bytes) -> Planes:
    """The planes of the first frame of a y4m file (4:4:4 or 4:2:0, 8 or 10 bits), scaled to 0 to 255."""
    header, _, rest = data.partition(b"\n")
    found = re.match(rb"YUV4MPEG2 W(\d+) H(\d+).* C(444|420)(?:jpeg|mpeg2|paldv)?(p10)?", header)
    frame, _, samples = rest.partition(b"\n")
    if not found or not frame.startswith(b"FRAME"):
        raise DPCError(f"the decoder wrote a file that is not understood: {header[:80]!r}")
    width, height, half = int(found[1]), int(found[2]), found[3] == b"420"
    kind, scale = ("<u2", 255 / 1023) if found[4] else ("u1", 1.0)
    shapes = [(height, width), *[((height + half) // (1 + half), (width + half) // (1 + half))] * 2]
    planes, start = [], 0
    for shape in shapes:
        count = shape[0] * shape[1]
        plane = np.frombuffer(samples, kind, count, start)
        planes.append(plane.reshape(shape) * scale)
        start += plane.nbytes
    return planes


def _run(command: list[str]) -> None:
    """Run a program; DPCError with the last line that it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise DPCError(f"{Path(command[0]).name} took more than {TIMEOUT} s for one picture") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise DPCError(f"{Path(command[0]).name} ended with {done.returncode} and said: {said}")


def _line(command: list[str], pattern: str) -> str:
    """What a pattern finds in the words of a program, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(pattern, done.stdout + done.stderr)
    return found[0].strip() if found else ""
