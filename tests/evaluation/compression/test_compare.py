"""`dpc compare`: equal bytes, a page that needs nothing but itself, and the page in a real browser."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Window
from paths import ROOT, SHARED, needs
from PIL import Image
from typer.testing import CliRunner, Result

from dpc.cli import app
from dpc.cli.options import parse_crop
from dpc.codec.codec import Codec
from dpc.codec.colour import profile
from dpc.codec.container import Colour
from dpc.errors import DPCError, ImageError, OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.compression import compare as benchmark
from dpc.evaluation.markup import data_url

WEIGHTS = SHARED / "weights" / "lpips"
BOX = (150, 60, 350, 240)  # 200x180: enough for MS-SSIM, quick to code


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="dpc")


class Reader(HTMLParser):
    """Collects (tag, attributes) of a page, and its text by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outside(page: str) -> list[str]:
    """What a browser would fetch for the page from elsewhere."""
    fetched = [
        value or ""
        for tag, attributes in Reader(page).tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "poster", "data", "action") or name.startswith("on")
    ]
    fetched += re.findall(r"url\(([^)]*)\)", page) + re.findall(r"@import[^;]*", page)
    fetched += re.findall(r"\b(?:fetch|import|importScripts|Worker|EventSource|WebSocket|XMLHttpRequest)\(", page)
    return [value for value in fetched if not value.startswith("data:") and value != "return false"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / 'a "photo" <b>&.png'
    with Image.open(ROOT / "demo" / "photo.png") as image:
        image.crop(BOX).convert("RGB").save(path)
    return path


@pytest.fixture(scope="module")
def original(photo: Path) -> np.ndarray[Any, Any]:
    with Image.open(photo) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def compared(photo: Path) -> benchmark.Comparison:
    return benchmark.compare(photo, max_bytes=4000, codecs=["jpeg", "webp"], threads=1)


@pytest.fixture(scope="module")
def page(compared: benchmark.Comparison) -> str:
    return benchmark.page(compared)


# equal bytes


def test_no_codec_is_larger_than_dpc_and_each_is_at_its_best(compared: benchmark.Comparison) -> None:
    first, *others = compared.shown
    assert (first.name, [s.name for s in others]) == ("dpc", ["jpeg", "webp"])
    assert first.bytes <= 4000
    for shown in others:
        codec = baselines.get(shown.name)
        assert shown.bytes == len(codec.encode(compared.original, shown.quality)) <= first.bytes
        better = codec.qualities[list(codec.qualities).index(shown.quality) + 1]
        assert len(codec.encode(compared.original, better)) > first.bytes


def test_what_is_shown_is_what_was_decoded(compared: benchmark.Comparison, original: np.ndarray[Any, Any]) -> None:
    from dpc.evaluation.metrics import METRICS

    assert np.array_equal(compared.original, original)
    for shown in compared.shown:
        codec = baselines.get(shown.name)
        # latents are refined for the size that is asked for, so the quality alone does not make the same file
        data = (
            Codec(threads=1).encode(original, max_bytes=4000)
            if shown.name == "dpc"
            else codec.encode(original, shown.quality)
        )
        assert len(data) == shown.bytes
        assert np.array_equal(shown.rgb, codec.decode(data))
        for name in ("psnr", "ms_ssim"):
            assert shown.scores[name] == METRICS[name].function(original, shown.rgb)


@pytest.mark.parametrize(("rate", "value"), [("bpp", 0.8), ("quality", 30.0), (None, 0.25)])
def test_the_rate_is_that_of_dpc(photo: Path, rate: str | None, value: float) -> None:
    made = benchmark.compare(photo, codecs=[], threads=1, **({} if rate is None else {rate: value}))  # type: ignore[arg-type]
    (shown,) = made.shown
    got = shown.quality if rate == "quality" else made.bpp(shown.bytes)
    assert got == pytest.approx(value, rel=0.1)


@needs("weights", "lpips", "alex.pth")
def test_lpips_is_there_when_its_weights_are(photo: Path) -> None:
    pytest.importorskip("torch")
    made = benchmark.compare(photo, codecs=[], threads=1, lpips_weights=WEIGHTS)
    assert 0 < made.shown[0].scores["lpips_alex"] < 1
    assert "LPIPS 0." in benchmark.page(made)


# what is left out


def test_lpips_without_weights_is_named(photo: Path, tmp_path: Path) -> None:
    made = benchmark.compare(photo, codecs=[], threads=1, lpips_weights=tmp_path)
    assert "lpips_alex" not in made.shown[0].scores
    assert "fetch" in made.missing["LPIPS AlexNet"] or "pip install torch" in made.missing["LPIPS AlexNet"]


def test_a_codec_that_is_missing_is_named_and_the_rest_goes_on(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    made = benchmark.compare(photo, max_bytes=4000, codecs=["vvc", "jpeg"], threads=1)
    assert [shown.name for shown in made.shown] == ["dpc", "jpeg"]
    assert "vvenc" in made.missing["vvc"]
    assert re.search(r'<ul id="missing">\s*<li>VVC: .*vvenc', benchmark.page(made))


def test_bpg_is_replaced_by_its_like_only_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing: dict[str, str] = {}
    benchmark._others(None, missing, 1, None)
    assert {"bpg", "bpg-like"} <= set(missing)
    missing.clear()
    benchmark._others(["bpg"], missing, 1, None)
    assert set(missing) == {"bpg"}


def test_a_codec_that_cannot_go_so_low_or_breaks_is_left_out(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name, version, settings, qualities = "broken", "1", "none", (1.0, 2.0)

        def encode(self, image: Any, quality: float) -> bytes:
            return b"x"

        def decode(self, data: bytes) -> Any:
            raise RuntimeError("it\nfell apart")

    real = baselines.get
    monkeypatch.setattr(baselines, "get", lambda name, **o: Broken() if name == "broken" else real(name, **o))
    small = benchmark.compare(photo, max_bytes=450, codecs=["jpeg", "broken"], threads=1)
    assert [shown.name for shown in small.shown] == ["dpc"]
    assert "smallest" in small.missing["jpeg"]
    assert small.missing["broken"] == "it fell apart"


# the picture


def test_transparency_and_profile_are_taken_out(tmp_path: Path) -> None:
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:, :30] = (200, 10, 20, 255)
    for space, red, count in ((Colour.SRGB, 200, 1), (Colour.DISPLAY_P3, 218, 2)):
        Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=profile(space))
        rgb, notes = benchmark._srgb(tmp_path / "a.png", None)
        assert np.abs(rgb[:, :30, 0].astype(int) - red).max() <= 2
        assert (rgb[:, 30:] == 255).all()
        assert len(notes) == count


def test_a_part_is_cut_out_first(photo: Path, original: np.ndarray[Any, Any]) -> None:
    for crop, corner in (((64, 48, (10, 20)), (10, 20)), ((64, 48, None), (68, 66))):
        made = benchmark.compare(photo, codecs=[], crop=crop, threads=1)
        x, y = corner
        assert np.array_equal(made.original, original[y : y + 48, x : x + 64])
        assert made.size is None
        assert f"64 × 48 pixels at {x}, {y}" in benchmark.page(made)
        assert "MS-SSIM (RGB)" in made.missing  # too small for it
    for outside_of_it in ((64, 48, (150, 20)), (201, 10, None), (0, 5, None)):
        with pytest.raises(OptionError, match="not inside the picture"):
            benchmark.compare(photo, codecs=[], crop=outside_of_it)


def test_a_picture_too_long_for_webp_becomes_png() -> None:
    for shape, kind in (((2, 16383, 3), "webp"), ((16384, 2, 3), "png")):
        rgb = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        head, _, data = data_url(rgb).partition(",")
        assert head == f"data:image/{kind};base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert np.array_equal(np.array(image), rgb)


# the page


def test_the_page_holds_every_picture_without_loss(page: str, compared: benchmark.Comparison) -> None:
    images = Reader(page).all("img")
    expected = [("Original", compared.original), *((s.title, s.rgb) for s in compared.shown)]
    assert [image["alt"] for image in images] == [title for title, _ in expected]
    for image, (_, rgb) in zip(images, expected, strict=True):
        data = (image["src"] or "").partition(",")[2]
        with Image.open(io.BytesIO(base64.b64decode(data))) as stored:
            assert np.array_equal(np.array(stored.convert("RGB")), rgb)


def test_the_page_says_names_bytes_rates_and_metrics(page: str, compared: benchmark.Comparison) -> None:
    for shown in compared.shown:
        row = re.search(rf'<th scope="row">{shown.title}</th>.*', page)
        assert row is not None
        caption = re.search(rf"<b>{shown.title}</b>.*</figcaption>", page)
        assert caption is not None
        for text, digits in ((row[0], 4), (caption[0], 3)):
            assert f"{shown.bytes:,}" in text
            assert f"{compared.bpp(shown.bytes):.{digits}f}" in text
            assert f"{shown.scores['psnr']:.2f} dB" in text
            assert f"{shown.scores['ms_ssim']:.4f}" in text
        assert shown.version in page


def test_the_page_asks_nothing_of_the_network(page: str) -> None:
    assert outside(page) == []
    assert "default-src 'none'" in page
    assert "{{" not in page


@pytest.mark.parametrize(
    "bad",
    [
        '<script src="https://example.org/a.js"></script>',
        '<img src="picture.png">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "<style>@import 'a.css';</style>",
        "<style>p { background: url(https://example.org/a.png) }</style>",
        "<script>fetch('a')</script>",
    ],
)
def test_the_check_finds_what_lies_outside(page: str, bad: str) -> None:
    assert outside(page.replace("</body>", bad + "</body>"))


def test_names_are_escaped(page: str) -> None:
    assert "<title>a &#34;photo&#34; &lt;b&gt;&amp;.png" in page


def test_the_same_comparison_gives_the_same_page(page: str, compared: benchmark.Comparison) -> None:
    assert benchmark.page(compared) == page


def test_the_template_ships_with_the_package() -> None:
    assert all(
        (resources.files("dpc.evaluation") / "templates" / name).is_file() for name in ("compare.html", "viewer.js")
    )


def test_identical_pictures_have_a_psnr(compared: benchmark.Comparison) -> None:
    assert benchmark._value("psnr", float("inf")) == "∞ (identical)"


# bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 40, "bpp": 0.2}, "exclude each other"),
        ({"quality": 0.0}, "1 .* to 100"),
        ({"bpp": -1.0}, "bpp"),
        ({"max_bytes": 3}, "max_bytes=3"),
        ({"codecs": ["jpegs"]}, "unknown"),
        ({"model": "nonsense"}, "nonsense"),
    ],
)
def test_wrong_options(photo: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DPCError, match=message):
        benchmark.compare(photo, **{"codecs": [], "threads": 1} | options)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for source in (tmp_path / "a.jpg", tmp_path / "absent.jpg", b"no picture"):
        with pytest.raises(ImageError):
            benchmark.compare(source, codecs=[], threads=1)


# the command


def test_the_command_writes_the_page(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    own = tmp_path / "a.png"
    own.write_bytes(photo.read_bytes())
    options = ["--max-bytes", "2k", "--codecs", "jpeg, vvc", "--crop", "180x170", "--threads", 1]
    result = run("compare", own, *options)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert [image["alt"] for image in Reader(text).all("img")] == ["Original", "DPC", "JPEG"]
    assert "180 × 170 pixels. DPC within 2,000 bytes takes" in result.stdout
    assert re.search(r"^not shown, vvc: .*vvenc", result.stdout, re.MULTILINE)

    again = run("compare", own, *options)
    assert again.exit_code == 1 and "-f overwrites it" in again.stderr
    assert run("compare", own, *options, "-f", "--out", tmp_path / "b.html").exit_code == 0
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == text


def test_the_command_takes_stdin(photo: Path) -> None:
    result = run("compare", "-", "--codecs", "jpeg", "--threads", 1, stdin=photo.read_bytes())
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--bpp", "1", "--quality", "3"], 2),
        (["--quality", "0"], 2),
        (["--max-bytes", "many"], 2),
        (["--crop", "12"], 2),
        (["--out", "page.png"], 2),
        (["--crop", "999x999"], 1),
        (["--codecs", "jpegs"], 1),
        (["--max-bytes", "3"], 1),
    ],
)
def test_wrong_usage(
    photo: Path, options: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(
        "compare", photo, "--threads", 1, *(["--out", "page.html"] if "--out" not in options else []), *options
    )
    assert result.exit_code == code, result.output
    assert code == 2 or re.fullmatch(r"dpc: error: [^\n]+\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_read() -> None:
    assert parse_crop("512x384") == (512, 384, None)
    assert parse_crop(" 512X384+0+40 ") == (512, 384, (0, 40))


# in a browser


@pytest.fixture
def window(browser: Any, page: str, tmp_path: Path) -> Iterator[Window]:
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    opened = Window(browser, path)
    yield opened
    opened.context.close()
    assert opened.problems == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [path.as_uri()]


def drawn(canvas: np.ndarray[Any, Any], picture: np.ndarray[Any, Any], zoom: int) -> np.ndarray[Any, Any]:
    """The picture as it must be on a canvas that shows its middle (or all of it) at a whole zoom; 0 outside."""
    big = np.repeat(np.repeat(picture, zoom, 0), zoom, 1)
    out = np.zeros((*canvas.shape[:2], 4), np.uint8)
    spans = []
    for place, size in zip(out.shape[:2], big.shape[:2], strict=True):
        start = int(np.floor(place / 2 - size / 2 + 0.5))
        spans.append((slice(max(start, 0), min(start + size, place)), max(-start, 0)))
    (rows, top), (columns, left) = spans
    part = big[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
    out[rows, columns] = np.concatenate([part, np.full((*part.shape[:2], 1), 255, np.uint8)], 2)
    return out


def test_the_slider_shows_both_pictures_at_exact_pixels(window: Window, compared: benchmark.Comparison) -> None:
    window.press("1")
    (canvas,) = window.canvases()
    a, b = (drawn(canvas, rgb, 1) for rgb in (compared.original, compared.shown[0].rgb))
    middle = round(canvas.shape[1] / 2)
    assert np.array_equal(canvas[:, :middle], a[:, :middle])
    assert np.array_equal(canvas[:, middle:], b[:, middle:])
    assert not np.array_equal(a[:, middle:], b[:, middle:])
    assert window.text(".tag") == ["Original", "DPC"]
    captions = window.text("#stage .caption")
    assert f"{compared.shown[0].bytes:,} bytes" in captions[1]
    assert "PSNR" in captions[1] and "MS-SSIM" in captions[1]


def test_the_divider_follows_keys_and_mouse(window: Window, compared: benchmark.Comparison) -> None:
    assert window.divider() == 50
    window.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert window.divider() == 51
    divider = window.tab.get_by_role("slider", name="Divider")
    divider.focus()
    window.press("PageUp")
    assert window.divider() == 61
    assert divider.get_attribute("aria-valuetext") == "61 % Original, 39 % DPC"
    window.press("End", "1")
    (canvas,) = window.canvases()
    assert np.array_equal(canvas, drawn(canvas, compared.original, 1))
    window.press("Home")
    (canvas,) = window.canvases()
    assert np.array_equal(canvas, drawn(canvas, compared.shown[0].rgb, 1))
    box = window.tab.locator(".frame").bounding_box()
    window.tab.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    window.tab.mouse.down()
    window.tab.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 10, steps=3)
    window.tab.mouse.up()
    window.settle()
    assert window.divider() == 25


def test_flicker_switches_in_place(window: Window, compared: benchmark.Comparison) -> None:
    window.press("f", "1")

    def shows(picture: np.ndarray[Any, Any]) -> bool:
        window.settle()
        (canvas,) = window.canvases()
        return np.array_equal(canvas, drawn(canvas, picture, 1))

    a, b = compared.original, compared.shown[0].rgb
    assert shows(a)
    window.press(" ")
    assert shows(b)
    assert window.text(".tag") == ["B: DPC"]
    window.press(" ")
    window.tab.keyboard.down("h")
    assert shows(b)
    window.tab.keyboard.up("h")
    assert shows(a)
    button = window.tab.get_by_role("button", name="Hold for other")
    button.hover()
    window.tab.mouse.down()
    assert shows(b)
    window.tab.mouse.up()
    assert shows(a)
    button.focus()
    window.tab.keyboard.down(" ")
    assert shows(b)
    window.tab.keyboard.up(" ")
    assert shows(a)
    window.press("t")
    window.tab.locator(".tag", has_text="B: DPC").wait_for()
    window.tab.locator(".tag", has_text="A: Original").wait_for()
    window.press("s", "f")
    assert window.tab.get_by_role("button", name="Take turns").get_attribute("aria-pressed") == "false"


def test_zoom_and_position_stay_in_step(window: Window, compared: benchmark.Comparison) -> None:
    window.press("b", "n", "8")
    assert window.text("#stage .caption b") == ["Original", "JPEG"]
    assert window.text("#zoom") == ["800 %"]
    pictures = [compared.original, compared.shown[1].rgb]
    for canvas, picture in zip(window.canvases(), pictures, strict=True):
        assert np.array_equal(canvas, drawn(canvas, picture, 8))

    before = window.canvases()
    box = window.tab.locator(".frame").first.bounding_box()
    window.tab.mouse.move(box["x"] + 200, box["y"] + 100)
    window.tab.mouse.down()
    window.tab.mouse.move(box["x"] + 180, box["y"] + 69, steps=2)
    window.tab.mouse.up()
    window.settle()
    for old, new in zip(before, window.canvases(), strict=True):
        assert np.array_equal(new[:-31, :-20], old[31:, 20:])
    window.press("ArrowLeft", "ArrowUp")
    assert not np.array_equal(window.canvases()[0], before[0])

    window.press("0")
    assert window.text("#zoom")[0].startswith("Fit")
    window.press("+", "+", "-")
    a, b = window.canvases()
    zoom = int(window.text("#zoom")[0].removesuffix("00 %"))
    assert np.array_equal(a, drawn(a, pictures[0], zoom))
    assert np.array_equal(b, drawn(b, pictures[1], zoom))


def test_a_picture_cannot_be_moved_out_of_sight(window: Window, compared: benchmark.Comparison) -> None:
    window.press("b", "8", *["ArrowLeft"] * 60, *["ArrowUp"] * 60)
    canvas = window.canvases()[0]
    corner = compared.original[: canvas.shape[0] // 8, : canvas.shape[1] // 8]
    rows, columns = corner.shape[0] * 8, corner.shape[1] * 8
    assert np.array_equal(canvas[:rows, :columns, :3], np.repeat(np.repeat(corner, 8, 0), 8, 1))


def test_every_picture_at_once(window: Window, compared: benchmark.Comparison) -> None:
    window.press("a", "1")
    assert window.text("#stage .caption b") == ["Original", "DPC", "JPEG", "WebP"]
    pictures = [compared.original, *(shown.rgb for shown in compared.shown)]
    for canvas, picture in zip(window.canvases(), pictures, strict=True):
        assert np.array_equal(canvas, drawn(canvas, picture, 1))


def test_the_controls_work_without_a_mouse_and_have_names(window: Window) -> None:
    tab = window.tab
    reached = []
    for _ in range(16):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate(
                """() => { const e = document.activeElement;
                return e.ariaLabel || e.labels?.[0]?.innerText || e.innerText || e.value || ""; }"""
            )
        )
    assert "" not in [name.strip() for name in reached]
    for name in ("Slider", "Swap A and B", "Zoom in", "Zoom out", "Fit", "100 %", "Divider", "Keys and gestures"):
        assert name in reached, name
    assert any("arrow keys move the picture" in name for name in reached)

    tab.get_by_label("Picture on the right, B").focus()
    tab.get_by_label("Picture on the right, B").select_option("B: WebP")
    window.settle()
    assert window.text(".tag") == ["Original", "WebP"]
    tab.get_by_role("button", name="Swap A and B").focus()
    window.press("Enter")
    assert window.text(".tag") == ["WebP", "Original"]
    tab.get_by_role("radio", name="Slider").focus()
    window.press("ArrowRight")
    assert tab.get_by_role("radio", name="Flicker").is_checked()
    window.press(" ")
    assert window.text(".tag") == ["B: Original"]


def test_the_keys_can_be_switched_off(window: Window) -> None:
    window.tab.locator("summary").click()
    window.tab.locator("#shortcuts").uncheck()
    window.tab.locator("#shortcuts").blur()
    window.press("f", "ArrowRight")
    assert window.tab.get_by_role("radio", name="Slider").is_checked()
    assert window.divider() == 50
    window.tab.get_by_role("slider").focus()
    window.press("ArrowRight")
    assert window.divider() == 51


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 3])
def test_one_to_one_is_one_screen_pixel(
    browser: Any, page: str, compared: benchmark.Comparison, tmp_path: Path, ratio: float
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    window = Window(browser, path, device_scale_factor=ratio)
    window.press("b", "1")
    screen = window.screen()
    for frame, picture in zip(
        window.tab.locator(".frame").all(), (compared.original, compared.shown[0].rgb), strict=True
    ):
        box = frame.bounding_box()
        x = round((box["x"] + box["width"] / 2) * ratio) - picture.shape[1] // 2
        y = round((box["y"] + box["height"] / 2) * ratio) - picture.shape[0] // 2
        height, width = picture.shape[:2]
        found = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if np.array_equal(screen[y + dy : y + dy + height, x + dx : x + dx + width], picture)
        ]
        assert len(found) == 1
    window.context.close()


def test_a_phone_shows_all_without_scrolling_sideways(browser: Any, page: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    phone = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
    window = Window(browser, path, **phone)
    for key in "sfba":
        window.press(key)
        assert window.tab.evaluate("document.documentElement.scrollWidth") == 360
        for control in window.tab.locator("#controls :is(button, select, label):visible").all():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    window.context.close()


def test_without_scripts_all_is_there(browser: Any, page: str, compared: benchmark.Comparison, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.locator("#pictures img").count() == 1 + len(compared.shown)
    assert tab.locator("#pictures img").first.is_visible()
    assert not tab.locator("#viewer").is_visible()
    context.close()
