"""The report that a person can send: intervals, pictures at equal bytes in one file, and the page in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Window
from PIL import Image

from dpc.errors import OptionError
from dpc.evaluation import figures
from dpc.evaluation.compression import curves
from dpc.evaluation.compression import gallery as galleries
from dpc.evaluation.compression.drawing import curve_of
from dpc.evaluation.compression.gallery import gallery
from dpc.evaluation.compression.report import report
from dpc.evaluation.compression.rows import Row, read, write
from dpc.evaluation.compression.run import Plan, bench
from dpc.evaluation.metrics.psnr import psnr

pytest.importorskip("matplotlib")
pytest.importorskip("bjontegaard")


def photo(seed: int, height: int, width: int) -> Any:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 2, y * 3, 128 + 60 * np.sin(x / (5 + seed) + y / 7)], -1)
    return np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures, of different sizes, and one of their rows."""
    folder = tmp_path_factory.mktemp("set")
    images = folder / "images"
    images.mkdir()
    for i in range(3):
        Image.fromarray(photo(i, 64 + 16 * i, 96)).save(images / f"p{i}.png")
    bench(Plan(("jpeg", "webp"), {"": (10, 30, 60, 80, 90)}, metrics=("psnr",)), images, folder / "out")
    return images, folder / "out"


@pytest.fixture(scope="module")
def page(measured: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, rows = measured
    out = tmp_path_factory.mktemp("report")
    return report([rows], out, (2.0,), "jpeg", pictures=images, at=2.0, codecs=("webp", "jpeg"))["report.html"]


def by_codec(rows: Path) -> dict[str, list[Row]]:
    return figures.by_codec(read(rows / "rows.csv"))


def stored(url: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


# intervals


def test_intervals_are_those_of_the_mean_over_pictures(measured: tuple[Path, Path], page: Path) -> None:
    # 2.776 is Student's t of four degrees of freedom, from a printed table
    assert curves.half_width([1.0, 2, 3, 4, 5]) == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)
    assert math.isnan(curves.half_width([1.0])) and curves.half_width([3.0, 3, 3]) == 0
    rows = by_codec(measured[1])["webp"]
    points = curves.points(rows, "psnr")
    with open(page.parent / "curve-psnr.csv", newline="") as file:
        line = next(r for r in csv.DictReader(file) if r["codec"] == "webp")
    values = [curves.at(p, float(line["bpp"])) for p in points.values()]
    assert float(line["mean"]) == pytest.approx(np.mean([v for v in values if v is not None]), rel=1e-4)
    half = curves.half_width([v for v in values if v is not None])
    assert float(line["high"]) - float(line["mean"]) == pytest.approx(half, rel=1e-3)
    with open(page.parent / "bd-rate.csv", newline="") as file:
        (rate,) = csv.DictReader(file)
    assert float(rate["low"]) < float(rate["percent"]) < float(rate["high"]) and rate["pictures"] == "3"
    text = page.read_text()
    assert re.search(r"[+-]\d+\.\d to [+-]\d+\.\d</small>", text) and "overlap" in text


def test_no_codec_is_the_best_by_a_metric_that_it_has_seen(measured: tuple[Path, Path], tmp_path: Path) -> None:
    rows = read(measured[1] / "rows.csv")

    def bold(**seen: str) -> set[str]:
        write(tmp_path / "rows.csv", [replace(row, seen=seen.get(row.codec, "none")) for row in rows])
        text = report([tmp_path], tmp_path / "out", (2.0,))["report.html"].read_text()
        return set(re.findall(r'<th scope="row">(\w+)<td class="best">', text))

    assert bold() == {"webp"} and bold(jpeg="psnr") == {"webp"}
    assert bold(webp="psnr unknown") == {"jpeg"} and bold(webp="psnr", jpeg="psnr") == set()


def test_bands_of_earlier_models_are_not_drawn() -> None:
    """Seven models of one family lie on one another: their bands would hide the curves."""
    names = ["dpc:dpc-6", "dpc:dpc-7", "avif"]
    lines = {name: [(0.1, 30.0 + i), (0.5, 35.0 + i)] for i, name in enumerate(names)}
    (axes,) = curve_of("psnr", lines, names, bands=dict.fromkeys(names, [1.0, 1.0])).axes
    assert [len(axes.lines), len(axes.collections)] == [3, 2]
    bounds = [band.get_paths()[0].get_extents().ymin for band in axes.collections]
    assert bounds == pytest.approx([30.0, 31.0])  # of dpc-7 and of AVIF


# the pictures


def test_pictures_are_those_of_the_codecs_at_the_rate(measured: tuple[Path, Path]) -> None:
    images, rows = measured
    made = gallery(by_codec(rows), images, 2.0, ("webp", "jpeg"))
    assert [(p["group"], p["title"]) for p in made.pictures[:4]] == [
        ("p0", "Original"),
        ("p0", "webp"),
        ("p0", "jpeg"),
        ("p1", "Original"),
    ]
    assert len(made.pictures) == 9 and made.stored == "without loss" and not made.missing
    for i, picture in enumerate(made.pictures):
        rgb = stored(picture["url"])
        assert rgb.shape == (picture["height"], picture["width"], 3)
        original = photo(i // 3, 64 + 16 * (i // 3), 96)
        if i % 3 == 0:
            assert np.array_equal(rgb, original)
        else:
            bpp, value = float(picture["lines"][0][1].split()[0]), float(picture["lines"][1][0].split()[1])
            assert bpp == pytest.approx(2.0, rel=0.2) and value == pytest.approx(psnr(original, rgb), abs=0.01)


def test_a_page_keeps_within_its_size(measured: tuple[Path, Path]) -> None:
    images, rows = measured
    data = by_codec(rows)
    whole = sum(len(p["url"]) for p in gallery(data, images, 2.0).pictures)
    made = gallery(data, images, 2.0, limit=whole // 2)
    assert sum(len(p["url"]) for p in made.pictures) <= whole // 2
    found = re.fullmatch(r"as AVIF 4:4:4 of quality \d+, at least (\d+\.\d) dB from what each codec gave", made.stored)
    assert found is not None and float(found[1]) > 30
    with pytest.raises(OptionError, match="take more than 100 bytes however"):
        gallery(data, images, 2.0, limit=100)


def test_what_fits_without_loss_is_stored_so() -> None:
    """Originals take most of the bytes; reckoning with them alone would give up a page that fits."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    flat = np.full((48, 48, 3), 90, np.uint8)
    shown = [
        galleries._Shown(f"p{i}", title, [], noise if title == "Original" else flat)
        for i in range(6)
        for title in ("Original", *"abcde")
    ]
    total = sum(len(galleries._url(s.rgb, None)) for s in shown)
    assert total < sum(len(galleries._url(noise, None)) for _ in shown) / 4
    pictures, how = galleries._within(shown, total)
    assert how == "without loss" and sum(len(p["url"]) for p in pictures) == total
    assert galleries._within(shown, total - 1)[1] != how


def test_pictures_that_cannot_be_shown(
    measured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, rows = measured
    data = by_codec(rows)
    Image.fromarray(photo(9, 32, 32)).save(tmp_path / "other.png")
    with pytest.raises(OptionError, match="no picture of .* has a row"):
        gallery(data, tmp_path, 2.0)
    with pytest.raises(OptionError, match="there are no rows of avif; choose from jpeg, webp"):
        gallery(data, images, 2.0, ("avif",))
    for rate in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(OptionError, match="give a rate above 0"):
            gallery(data, images, rate)
    monkeypatch.setattr(galleries.baselines, "at_bpp", lambda codec, *_: 1 / (codec.name != "webp") and (0, b""))
    made = gallery(data, images / "p0.png", 2.0)
    assert made.missing["webp, p0"].startswith("ZeroDivisionError") and "jpeg, p0" in made.missing


# the page


def test_the_page_is_one_file(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", text) and "default-src 'none'" in text
    assert "script-src" in text and text.count("<figure data-name=") == 9


def test_names_are_text(measured: tuple[Path, Path], tmp_path: Path) -> None:
    wicked = "<script>alert(1)</script> $\\frac{$"
    rows = [
        replace(r, codec=wicked if r.codec == "webp" else r.codec, settings=wicked)
        for r in read(measured[1] / "rows.csv")
    ]
    write(tmp_path / "rows.csv", rows)
    text = report([tmp_path], tmp_path / "out", (2.0,))["report.html"].read_text()
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt; $\\frac{$" in text


@pytest.fixture
def window(browser: Any, page: Path) -> Iterator[Window]:
    opened = Window(browser, page)
    yield opened
    opened.context.close()
    assert opened.problems == []
    assert [url for url in opened.asked if not url.startswith(("data:", "blob:"))] == [page.as_uri()]


def choose(window: Window, name: str, value: str) -> None:
    window.tab.locator(f"#{name}").select_option(value)
    window.settle()


def only(window: Window, side: str) -> None:
    """All of what is shown is the picture on one side."""
    window.tab.get_by_role("slider", name="Divider").focus()
    window.press({"left": "End", "right": "Home"}[side], "1")


def test_every_picture_can_be_looked_at(window: Window) -> None:
    assert window.text("#group option") == ["p0", "p1", "p2"]
    assert window.text(".tag") == ["Original", "webp"]
    choose(window, "b", "2")
    for i, name in enumerate(("p0", "p1", "p2")):
        choose(window, "group", name)
        window.tab.wait_for_function(f"document.querySelectorAll('#stage .caption b').length == 2 && {i} >= 0")
        assert window.text(".tag") == ["Original", "jpeg"]  # the codec stays
        only(window, "right")
        (canvas,) = window.canvases()
        height = 64 + 16 * i
        top, left = (canvas.shape[0] - height + 1) // 2, (canvas.shape[1] - 96 + 1) // 2
        part = canvas[top : top + height, left : left + 96, :3]
        assert psnr(photo(i, height, 96), np.ascontiguousarray(part)) > 25
        assert canvas[top - 2, left + 5, 3] == 0  # and no more than it
        only(window, "left")
        assert np.array_equal(window.canvases()[0][top : top + height, left : left + 96, :3], photo(i, height, 96))


def test_the_error_map_shows_errors_by_octave(window: Window) -> None:
    only(window, "right")
    (plain,) = window.canvases()
    energy = {}
    for kind in ("0", "1", "2", "3", "4", "5", "6"):
        choose(window, "error", kind)
        (canvas,) = window.canvases()
        assert not np.array_equal(canvas, plain)
        energy[kind] = float(canvas[..., 0].mean())
    assert energy["0"] > energy["6"] and energy["1"] > energy["5"]  # at such a rate fine detail is what is lost
    assert window.tab.locator("#scale").is_visible()
    # the map of all is the luma error: black to red, three times as bright as 32 levels to 255
    choose(window, "error", "0")
    (canvas,) = window.canvases()
    a, b = (stored(window.tab.locator("#pictures img").nth(i).get_attribute("src")) for i in (0, 1))
    luma = np.abs((b.astype(float) - a) @ [0.299, 0.587, 0.114])
    top, left = (canvas.shape[0] - 64 + 1) // 2, (canvas.shape[1] - 96 + 1) // 2
    red = canvas[top : top + 64, left : left + 96, 0].astype(float)
    assert np.abs(red - np.clip(3 * 255 * luma / 32, 0, 255)).max() <= 1.5
    only(window, "left")  # the original stays as it is
    (canvas,) = window.canvases()
    assert np.array_equal(canvas[top : top + 64, left : left + 96, :3], a)
    choose(window, "error", "")
    only(window, "right")
    assert np.array_equal(window.canvases()[0], plain) and not window.tab.locator("#scale").is_visible()


def test_flicker_at_equal_bytes(window: Window) -> None:
    window.press("f", "1")
    (a,) = window.canvases()
    window.press("Space")
    (b,) = window.canvases()
    window.press("Space")
    assert not np.array_equal(a, b) and np.array_equal(window.canvases()[0], a)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser: Any, page: Path, scheme: str) -> None:
    window = Window(browser, page, color_scheme=scheme)
    paper, ink = window.tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        ".map((c) => c.match(/\\d+/g).slice(0, 3).reduce((sum, v) => sum + Number(v) / 3, 0))"
    )
    assert (paper > 200 > 60 > ink) if scheme == "light" else (ink > 200 > 60 > paper)
    window.tab.set_viewport_size({"width": 360, "height": 700})
    assert window.tab.evaluate("document.documentElement.scrollWidth") <= 360
    window.context.close()
    assert window.problems == []
