"""Metrics on pictures: the table, reference values, bounds, bad input; error spectra of known patterns."""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT, SHARED, needs
from PIL import Image, ImageFilter

from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation.metrics import METRICS, Metric, lpips_distance
from dpc.evaluation.metrics.ms_ssim import ms_ssim
from dpc.evaluation.metrics.pair import Picture, luma
from dpc.evaluation.metrics.psnr import psnr
from dpc.evaluation.metrics.reference import PEAKS, Reference, usable
from dpc.evaluation.metrics.spectrum import PERIODS, SUSPECT, spectrum_peaks
from dpc.evaluation.metrics.ssim import ssim

KODAK = SHARED / "data" / "kodak"
needs_kodak = needs("data", "kodak")
NUMPY_METRICS = [
    m for n, m in METRICS.items() if not n.startswith(("lpips", "text", "plain", "cvvdp")) and n != "dists"
]


def photo(height: int = 384, width: int = 512, seed: int = 0) -> Picture:
    """Something like a photograph: noise with a 1/f spectrum."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))[:, :, None]
    spectrum = np.fft.fft2(rng.normal(size=(height, width, 3)), axes=(0, 1)) / (f + 1 / width) ** 1.7
    x = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return as_picture(128 + 45 * x / x.std())


def as_picture(x: np.ndarray) -> Picture:
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def through(picture: Picture, fmt: str, **options: object) -> Picture:
    """The picture after a codec of Pillow's."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, fmt, **options)
    with Image.open(file) as im:
        return np.array(im.convert("RGB"))


def noisy(picture: Picture, sigma: float, seed: int = 1) -> Picture:
    return as_picture(picture + np.random.default_rng(seed).normal(0, sigma, picture.shape))


# The table


def test_table() -> None:
    assert list(METRICS) == [
        "psnr",
        "ssim",
        "ms_ssim",
        "lpips_alex",
        "lpips_squeeze",
        "lpips_vgg",
        "dists",
        "ssimulacra2",
        "butteraugli",
        "cvvdp",
        "luma_below_4",
        "luma_below_8",
        "plain_2",
        "plain_025",
        "text_read",
        "text_known",
    ]
    for name, m in METRICS.items():
        assert m.name == name and m.title and m.source and m.low < m.high
        assert m.higher_is_better is not (
            name.startswith(("lpips", "luma", "plain")) or name in ("dists", "butteraugli")
        )


def test_table_needs_no_torch() -> None:
    code = "import sys, dpc.evaluation.metrics, dpc.evaluation.metrics.spectrum; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


@pytest.mark.parametrize("metric", NUMPY_METRICS, ids=lambda m: m.name)
def test_identity_symmetry_direction_and_bounds(metric: Metric) -> None:
    if metric.name == "ssimulacra2":
        pytest.importorskip("ssimulacra2")
    if metric.name == "butteraugli" and shutil.which("butteraugli_main") is None:
        pytest.skip("butteraugli_main is not on the PATH; apt-get install libjxl-devtools")
    x = photo(200, 220)
    little, much = noisy(x, 4), noisy(x, 16)
    best = metric.high if metric.higher_is_better else metric.low
    assert metric.function(x, x) == best
    if metric.name not in ("ssimulacra2", "butteraugli"):
        assert metric.function(x, little) == pytest.approx(metric.function(little, x), abs=1e-12)
    assert (metric.function(x, little) > metric.function(x, much)) is metric.higher_is_better
    for other in (much, 255 - x, np.zeros_like(x)):
        assert metric.low <= metric.function(x, other) <= metric.high


@pytest.mark.parametrize("function", [*(m.function for m in METRICS.values()), spectrum_peaks])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((200, 200, 3)), "must be a uint8 array with values 0 to 255, got float64"),
        (np.zeros((200, 200, 3), np.uint16), "got uint16"),
        ([[1, 2], [3, 4]], "must be a uint8 array with values 0 to 255, got list"),
        (np.zeros((200, 200), np.uint8), r"must have shape \(H, W, 3\), got \(200, 200\)"),
        (np.zeros((200, 200, 4), np.uint8), r"must have shape \(H, W, 3\)"),
        (np.zeros((0, 200, 3), np.uint8), r"must have shape \(H, W, 3\)"),
        (np.zeros((200, 201, 3), np.uint8), r"must have one size, got \(200, 200\) and \(200, 201\)"),
    ],
)
def test_wrong_input(function, wrong, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        function(np.zeros((200, 200, 3), np.uint8), wrong)


def test_lpips_without_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "dpc.evaluation.metrics.lpips", raising=False)
    x = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ToolMissing, match="needs torch, which is not installed"):
        lpips_distance(x, x, weights="a folder that no other test names")


# PSNR, MS-SSIM


def test_psnr_values() -> None:
    x = np.full((5, 7, 3), 100, np.uint8)
    assert psnr(x, x + np.uint8(1)) == pytest.approx(20 * math.log10(255))
    assert psnr(np.zeros_like(x), np.full_like(x, 255)) == 0.0
    one = x.copy()
    one[0, 0, 0] = 200
    assert psnr(x, one) == pytest.approx(10 * math.log10(255**2 / (100**2 / x.size)))
    assert psnr(x, x) == math.inf


@pytest.mark.parametrize("size", [(161, 161), (163, 250), (176, 192), (240, 201)])
def test_ms_ssim_agrees_with_pytorch_msssim_and_with_the_loss(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    published = pytest.importorskip("pytorch_msssim").ms_ssim
    from dpc.training.losses import ms_ssim as loss

    x = photo(*size)
    for y in (noisy(x, 10), through(x, "jpeg", quality=5), 255 - x):
        a, b = (torch.from_numpy(p).permute(2, 0, 1)[None] / 255.0 for p in (x, y))
        value = ms_ssim(x, y)
        assert value == pytest.approx(published(a, b, data_range=1.0).item(), abs=1e-5)
        assert value == pytest.approx(loss.ms_ssim(a, b).item(), abs=1e-5)


def test_ms_ssim_small_picture() -> None:
    x = np.zeros((160, 300, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 161 pixels a side, got 300x160"):
        ms_ssim(x, x)


@pytest.mark.parametrize("size", [(11, 11), (40, 33), (120, 201)])
def test_ssim_agrees_with_pytorch_msssim(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    published = pytest.importorskip("pytorch_msssim").ssim
    x = photo(*size)
    for y in (noisy(x, 10), through(x, "jpeg", quality=5), 255 - x):
        a, b = (torch.from_numpy(p).permute(2, 0, 1)[None] / 255.0 for p in (x, y))
        assert ssim(x, y) == pytest.approx(published(a, b, data_range=1.0).item(), abs=3e-5)  # it is float32


@pytest.mark.parametrize(("name", "smallest"), [("ssim", 11), ("ssimulacra2", 8), ("butteraugli", 8)])
def test_pictures_too_small(name: str, smallest: int) -> None:
    x = np.zeros((smallest - 1, 30, 3), np.uint8)
    with pytest.raises(ValueError, match=f"at least {smallest} pixels a side, got 30x{smallest - 1}"):
        METRICS[name].function(x, x)


def test_ssimulacra2_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    x = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ToolMissing, match="pip install ssimulacra2"):
        METRICS["ssimulacra2"].function(x, x)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script")
def test_butteraugli_calls_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that checks what it is given and answers as the program of libjxl 0.7 does."""
    x = photo(20, 30)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="libjxl-devtools"):
        METRICS["butteraugli"].function(x, x)
    program = tmp_path / "butteraugli_main"
    answer = "print('6.0528502464\\n3-norm: 2.118063')"
    check = f"a, b = (open(p, 'rb').read() for p in sys.argv[1:])\nassert a == {ppm(x)!r} and b == {ppm(255 - x)!r}"
    program.write_text(f"#!{sys.executable}\nimport sys\n{check}\n{answer}\n")
    program.chmod(0o755)
    assert METRICS["butteraugli"].function(x, 255 - x) == 2.118063
    with pytest.raises(DPCError, match="ended with 1 and said: AssertionError"):
        METRICS["butteraugli"].function(x, x)
    program.write_text(f"#!{sys.executable}\nprint('6.05')\n")
    with pytest.raises(DPCError, match="ended with 0 and said: 6.05"):
        METRICS["butteraugli"].function(x, x)


def ppm(x: Picture) -> bytes:
    out = io.BytesIO()
    Image.fromarray(x).save(out, "PPM")
    return out.getvalue()


@needs_kodak
def test_ssimulacra2_of_jpeg_lies_where_its_author_puts_it() -> None:
    """Quality 20 of libjpeg-turbo at 4:2:0 is about 30, quality 35 about 50, in the author's table; the decimals are of
    the package ssimulacra2 0.3."""
    pytest.importorskip("ssimulacra2")
    with Image.open(KODAK / "kodim23.png") as im:
        x = np.array(im.convert("RGB"))[:256, :384]
    for quality, expected in ((20, 33.51), (35, 57.41)):
        assert METRICS["ssimulacra2"].function(x, through(x, "jpeg", quality=quality)) == pytest.approx(
            expected, abs=0.5
        )


@needs_kodak
@pytest.mark.skipif(shutil.which("butteraugli_main") is None, reason="apt-get install libjxl-devtools")
def test_butteraugli_of_jpeg_is_what_its_program_said_before() -> None:
    with Image.open(KODAK / "kodim23.png") as im:
        x = np.array(im.convert("RGB"))[:256, :384]
    for quality, expected in ((20, 2.469), (60, 1.245)):
        value = METRICS["butteraugli"].function(x, through(x, "jpeg", quality=quality))
        assert value == pytest.approx(expected, rel=0.02)


def test_a_reference_measures_what_the_table_does() -> None:
    x = photo(200, 220)
    y = noisy(x, 8)
    names = ["psnr", "ssim", "ms_ssim", *PEAKS]
    values = Reference(x, names).measure(y)
    assert list(values) == names
    for name in names[:3]:
        assert values[name] == METRICS[name].function(x, y)
    assert [values[p] for p in PEAKS] == list(spectrum_peaks(x, y).values())
    small = Reference(x[:100], names).measure(y[:100])
    assert math.isnan(small["ms_ssim"]) and math.isnan(small["peak_2"]) and small["psnr"] > 20
    with pytest.raises(ValueError, match="one size"):
        Reference(x, names).measure(y[:50])


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    good, missing = usable(["psnr", "lpips_squeeze"], tmp_path)
    assert good == ["psnr"] and list(missing) == ["lpips_squeeze"]
    assert str(tmp_path) in missing["lpips_squeeze"] or "torch" in missing["lpips_squeeze"]
    with pytest.raises(OptionError, match="choose from psnr"):
        usable(["vmaf"])


# Error spectrum


def test_luma() -> None:
    assert luma(np.full((1, 1, 3), 255, np.uint8)).item() == pytest.approx(255.0)
    assert luma(np.array([[[255, 0, 0]]], np.uint8)).item() == pytest.approx(76.245)


def test_spectrum_is_flat_for_harmless_errors() -> None:
    x = photo()
    blurred = np.array(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1.5)))
    for y in (noisy(x, 5), blurred, as_picture(x * 0.9 + 5.0)):
        peaks = spectrum_peaks(x, y)
        assert tuple(peaks) == PERIODS
        assert all(0.6 < r < 1.6 for r in peaks.values()), peaks


def test_spectrum_of_identical_pictures() -> None:
    x = photo(128, 130)
    assert spectrum_peaks(x, x) == dict.fromkeys(PERIODS, 1.0)


def test_spectrum_finds_jpeg_blocks() -> None:
    x = photo()
    peaks = spectrum_peaks(x, through(x, "jpeg", quality=10))
    assert peaks[8] > SUSPECT and peaks[4] > SUSPECT and peaks[2] > SUSPECT
    assert peaks[16] < 1.5


@pytest.mark.parametrize("size", [(384, 512), (400, 300), (131, 257)])
def test_spectrum_finds_a_faint_checkerboard(size: tuple[int, int]) -> None:
    x = photo(*size)
    y, z = np.indices(size)
    board = np.where((y + z) % 2, 1.0, -1.0)[:, :, None]
    peaks = spectrum_peaks(x, noisy(as_picture(x + board), 3))
    assert peaks[2] > 3 * SUSPECT
    assert max(peaks[4], peaks[8], peaks[16]) < SUSPECT


@pytest.mark.parametrize("period", [2, 4, 8, 16])
@pytest.mark.parametrize("axis", [0, 1])
def test_spectrum_names_the_period_of_a_wave(period: int, axis: int) -> None:
    x = photo()
    wave = 2 * np.cos(2 * np.pi * np.indices(x.shape)[axis] / period)
    peaks = spectrum_peaks(x, noisy(as_picture(x + wave), 2))
    assert peaks[period] > 2 * SUSPECT
    # shorter periods may show it too: the size of a wave's differences has half its period
    assert all(r < SUSPECT for p, r in peaks.items() if p > period)


def test_spectrum_finds_edges_of_random_16_pixel_blocks() -> None:
    x = photo(384, 512)
    offsets = np.random.default_rng(2).normal(0, 4, (24, 32, 1)).repeat(16, 0).repeat(16, 1)
    peaks = spectrum_peaks(x, as_picture(noisy(x, 1) + offsets))
    assert all(r > SUSPECT for r in peaks.values()), peaks


def test_spectrum_small_picture() -> None:
    x = np.zeros((127, 300, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 128 pixels a side, got 300x127"):
        spectrum_peaks(x, x)


@needs_kodak
def test_spectrum_on_photographs() -> None:
    """Medians over six Kodak pictures: wavelets, AVIF and WebP pass, JPEG blocks and 16x16 means do not."""
    found: dict[str, list[list[float]]] = {}
    for path in sorted(KODAK.glob("*.png"))[::4]:
        with Image.open(path) as im:
            x = np.array(im.convert("RGB"))
        h, w = x.shape[0] // 16, x.shape[1] // 16
        means = x.reshape(h, 16, w, 16, 3).mean((1, 3)).repeat(16, 0).repeat(16, 1)
        decoded = {
            "jp2": through(x, "jpeg2000", quality_mode="rates", quality_layers=[60], mct=1),
            "webp": through(x, "webp", quality=10),
            "jpeg": through(x, "jpeg", quality=10),
            "means": as_picture(means),
        }
        for name, y in decoded.items():
            found.setdefault(name, []).append(list(spectrum_peaks(x, y).values()))
    medians = {n: dict(zip(PERIODS, np.median(v, axis=0), strict=True)) for n, v in found.items()}
    for clean in ("jp2", "webp"):
        assert all(r < SUSPECT for r in medians[clean].values()), medians
    assert all(medians["jpeg"][p] > SUSPECT for p in (2, 4, 8)) and medians["jpeg"][16] < 1.5
    assert all(r > SUSPECT for r in medians["means"].values())
