"""web/ in a real Chromium against the Python codec: pixels, streams, errors, the element, the polyfill, the page."""

from __future__ import annotations

import base64
import dataclasses
import io
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_tab import DATA, ENCODE, EXACT, TINY, Tab, path_of, photo, requirements, rgba, served
from pictures import profile_of
from PIL import Image, ImageCms

import dpc
from dpc.codec import artifact, container, quality_map
from dpc.codec.codec import Codec
from dpc.web import server as web

pytestmark = requirements()


@pytest.fixture(scope="module")
def running() -> Iterator[web.Server]:
    with served() as server:
        yield server


@pytest.fixture(scope="module")
def tab(browser: Any, running: web.Server) -> Iterator[Tab]:
    opened = Tab(browser, running.url)
    yield opened
    opened.finish()


MODELS = [*artifact.released(), "exact", "bytes"]
SIZES = [(1, 1), (2000, 1), (1, 2000), (17, 33), (65, 64), (700, 300), (300, 1100), (2000, 2000)]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_pixels_equal_those_of_python(tab: Tab, model: str, size: tuple[int, int]) -> None:
    codec = Codec(path_of(model), threads=1)
    data = codec.encode(photo(*size), quality=45)
    assert np.array_equal(tab.pixels(data), rgba(codec.decode(data)))


def test_quality_maps(tab: Tab) -> None:
    picture = photo(300, 700)
    mask = np.zeros((700, 300), np.float32)
    mask[150:560, 40:200] = 1
    codec = Codec(path_of("bytes"), threads=1)
    data = codec.encode(picture, quality=50, roi=mask)
    assert container.unpack(data).quality_map is not None
    assert np.array_equal(tab.pixels(data), rgba(codec.decode(data)))


@pytest.mark.parametrize("size", [(300, 700), (131, 97), (64, 64), (63, 80)], ids=lambda size: "x".join(map(str, size)))
def test_the_default_quality_map_is_that_of_python(tab: Tab, size: tuple[int, int]) -> None:
    picture = photo(*size)
    picture[20:60, 10:50] = 255  # plain ground with hard edges
    picture[30:50:3, 20:40] = 0
    expected = quality_map.quality_map(picture)
    made = container.unpack(tab.encode(picture, model="bytes", lossless=False)).quality_map
    if expected is None:
        assert made is None
    else:
        assert np.array_equal(quality_map.unpack(made, *expected.shape), expected)


GONE = DATA / "exact" / "released-dpc-7.dpc"  # of a model that the package no longer brings
GOLDEN = sorted({*DATA.glob("*/*.dpc")} - {GONE})


@pytest.mark.slow
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_files(tab: Tab, path: Path) -> None:
    data = path.read_bytes()
    model = dpc.inspect(data).model_id
    codec = next(c for c in (Codec(m, threads=1) for m in (*TINY, None)) if model.startswith(c.artifact.id.hex()))
    difference = np.abs(tab.pixels(data).astype(int) - rgba(codec.decode(data)))
    # of a model whose pixels are not exact decoders must come within one level of the same
    assert difference.max() <= (0 if codec.artifact.metadata.get("exact_pixels") else 1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_grey_and_alpha_equal_those_of_python(tab: Tab, mode: str) -> None:
    codec = Codec(EXACT, threads=1)
    data = codec.encode(Image.fromarray(photo(90, 70, mode), mode), quality=60)
    decoded = codec.decode(data)
    assert decoded.mode == mode
    assert np.array_equal(tab.pixels(data), rgba(decoded))
    found = tab.decode(data)
    assert (found["grey"], found["alpha"]) == (mode in ("L", "LA"), mode in ("LA", "RGBA"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_bodies(tab: Tab, mode: str) -> None:
    flat = np.zeros((50, 80, len(mode)), np.uint8)
    flat[10:30, 20:60] = (200, 30, 90, 120)[: len(mode)]
    header = {"width": 80, "height": 50, "model": None, "level": None}
    body = lossless_body(flat)
    data = container.pack(container.DPCFile(**header, body=body))
    assert np.array_equal(tab.pixels(data), rgba(Image.fromarray(flat, mode)))
    made = tab.encode(flat)
    assert dpc.inspect(made).bytes < 400
    expected = np.array(Image.fromarray(flat, mode).convert("RGBA"))
    expected[expected[:, :, 3] == 0] = 0  # what is clear comes back black
    assert np.array_equal(rgba(dpc.decode(made)), expected)
    assert np.array_equal(tab.pixels(made), expected)
    assert container.unpack(made).body[:1] == (b"\1" if mode == "RGB" else b"\3"), "indexed, with opacities"
    assert container.unpack(tab.encode(flat, lossless=False)).lossless is False


def lossless_body(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True)
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_streams_made_in_the_browser_decode_in_python(tab: Tab, model: str) -> None:
    codec = Codec(path_of(model), threads=1)
    picture = photo(200, 130)
    for options in ({"quality": 30}, {"maxBytes": 1500}, {"bpp": 0.4}):
        data = tab.encode(picture, model=model, lossless=False, **options)
        decoded = codec.decode(data)
        assert np.array_equal(tab.pixels(data), rgba(decoded))
        if "maxBytes" in options:
            assert 0.7 * 1500 < len(data) <= 1500
        if "bpp" in options:
            assert abs(8 * len(data) / (200 * 130) - 0.4) < 0.03
    # the two encoders may differ in a rounding here and there, so not by many bytes; the browser's refines nothing
    here = codec.encode(picture, quality=50, lossless=False, fast=True)
    there = tab.encode(picture, model=model, lossless=False, quality=50)
    assert abs(len(here) - len(there)) <= 0.01 * len(here) + 8


def test_opacity_survives_the_browser(tab: Tab) -> None:
    picture = photo(64, 48, "RGBA")
    decoded = rgba(Codec(EXACT, threads=1).decode(tab.encode(picture, model="exact", lossless=False)))
    assert np.array_equal(decoded[:, :, 3], picture[:, :, 3])


def test_profile_and_exif_are_handed_on(tab: Tab) -> None:
    image = Image.fromarray(photo(40, 30))
    profile = profile_of("RGB")
    exif = Image.Exif()
    exif[271] = "Maker"
    out = io.BytesIO()
    image.save(out, "PNG", icc_profile=profile, exif=exif)
    data = Codec(EXACT, threads=1).encode(out.getvalue())
    found = tab.decode(data)
    assert base64.b64decode(found["icc"]) == profile
    assert b"Maker" in base64.b64decode(found["exif"])


# bad input


def damaged() -> Iterator[tuple[str, bytes]]:
    good = Codec(EXACT, threads=1).encode(Image.fromarray(photo(70, 50, "RGBA")), quality=40)
    rng = np.random.default_rng(7)
    for at in sorted({0, 3, 4, 5, 8, len(good) // 2, len(good) - 1, *rng.integers(0, len(good), 20).tolist()}):
        yield f"cut at {at}", good[:at]
    for at in rng.integers(0, len(good), 40).tolist():
        yield f"byte {at} changed", good[:at] + bytes([good[at] ^ 1 << int(rng.integers(8))]) + good[at + 1 :]
    # the checksum put right, so that what is inside is looked at
    for at in rng.integers(20, len(good) - 4, 60).tolist():
        body = bytearray(good[:-4])
        body[at] ^= 1 << int(rng.integers(8))
        yield f"byte {at} changed, checksum right", bytes(body) + zlib.crc32(body).to_bytes(4, "little")
    yield "foreign", b"\x89PNG\r\n\x1a\n" + bytes(50)
    yield "empty", b""


def test_damaged_files_end_in_the_error_of_python(tab: Tab) -> None:
    codec = Codec(EXACT, threads=1)
    for what, data in damaged():
        try:
            expected: Any = rgba(codec.decode(data))
        except dpc.DPCError as error:
            expected = type(error).__name__
        found = tab.decode(data)
        if isinstance(expected, str):
            assert found.get("error") == expected, f"{what}: {found.get('message')}"
            assert found["isDPC"] and "\n" not in found["message"]
        else:
            assert np.array_equal(tab.pixels(data), expected), what


def test_a_model_that_is_not_at_hand_is_named(tab: Tab) -> None:
    codec = Codec(EXACT, threads=1)
    file = container.unpack(codec.encode(photo(20, 20)))
    data = container.pack(dataclasses.replace(file, model=bytes.fromhex("01020304")))
    found = tab.decode(data)
    assert found["error"] == "UnknownModel" and "01020304" in found["message"]


def test_more_pixels_than_wanted_are_refused(tab: Tab) -> None:
    data = Codec(EXACT, threads=1).encode(photo(40, 30))
    assert tab.decode(data, maxPixels=1199)["error"] == "TooLarge"
    assert "error" not in tab.decode(data, maxPixels=1200)


@pytest.mark.parametrize("options", [{"quality": 0}, {"bpp": -1}, {"maxBytes": 5}, {"quality": 5, "bpp": 1}])
def test_bad_options_are_refused(tab: Tab, options: dict[str, Any]) -> None:
    text = base64.b64encode(bytes(4 * 400)).decode()
    found = tab.page.evaluate(ENCODE, [text, 20, 20, {**options, "model": "exact"}])
    assert found["error"] == "OptionError"


def test_a_job_can_be_given_up(tab: Tab) -> None:
    data = Codec(EXACT, threads=1).encode(photo(60, 40))
    found = tab.page.evaluate(
        """async text => {
          const given = new AbortController();
          const jobs = [1, 2, 3].map(() => dpc.decode(fromBase64(text), { signal: given.signal }));
          const kept = dpc.decode(fromBase64(text));
          given.abort();
          const ends = await Promise.allSettled(jobs);
          return [ends.map(e => e.reason?.name), (await kept).width];
        }""",
        base64.b64encode(data).decode(),
    )
    assert found == [["AbortError"] * 3, 60]


# how models come


def test_models_are_cached_and_checked(browser: Any, running: web.Server) -> None:
    tab = Tab(browser, running.url)
    data = Codec(EXACT, threads=1).encode(photo(30, 20))
    tab.pixels(data)
    asked = [url for url in tab.requests if "exact.decode" in url]
    assert len(asked) == 1
    tab.page.evaluate("dpc.terminate()")
    tab.pixels(data)
    assert len([url for url in tab.requests if "exact.decode" in url]) == 1, "the second time it comes from the cache"
    name = "models/exact.decode.dpcmodel"
    tab.page.evaluate(
        """async part => {
          const cache = await caches.open("dpc-models");
          for (const request of await cache.keys())
            if (request.url.includes(part)) await cache.put(request, new Response("nonsense"));
          dpc.terminate();
        }""",
        name,
    )
    tab.pixels(data)
    assert len([url for url in tab.requests if "exact.decode" in url]) == 2, "what is damaged in the cache is fetched"
    tab.page.close()


def test_a_damaged_model_is_refused(browser: Any, running: web.Server) -> None:
    name = "models/exact.decode.dpcmodel"
    asset = running.files[name]
    broken = web.Asset(asset.data[:-1] + b"x", None, asset.type)
    data = Codec(EXACT, threads=1).encode(photo(30, 20))
    with web.Server(files={**running.files, name: broken}) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        tab = Tab(browser, other.url)
        found = tab.decode(data)
        other.shutdown()
    assert found["error"] == "ModelError" and "sha256" in found["message"]
    tab.page.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_pixels(browser: Any, running: web.Server, threads: int) -> None:
    tab = Tab(browser, running.url)
    assert tab.page.evaluate("crossOriginIsolated")
    tab.page.evaluate("threads => { dpc.terminate(); dpc.configure({ threads }); }", threads)
    codec = Codec(EXACT, threads=1)
    data = codec.encode(photo(500, 300))
    assert np.array_equal(tab.pixels(data), rgba(codec.decode(data)))
    tab.page.close()


def test_progress_is_told(browser: Any, running: web.Server) -> None:
    tab = Tab(browser, running.url)
    data = Codec(EXACT, threads=1).encode(photo(400, 700))
    told = tab.page.evaluate(
        """async text => {
          const told = [];
          await dpc.decode(fromBase64(text), { onProgress: p => told.push([p.stage, p.share]) });
          return told;
        }""",
        base64.b64encode(data).decode(),
    )
    for stage in ("model", "decode"):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(shares) and shares[-1] == 1
    tab.finish()


@pytest.mark.parametrize("colour", [container.Colour.DISPLAY_P3, container.Colour.ADOBE_RGB])
def test_colour_spaces_reach_the_screen(tab: Tab, colour: container.Colour) -> None:
    flat = np.full((20, 20, 3), (200, 100, 50), np.uint8)
    body = lossless_body(flat)
    data = container.pack(container.DPCFile(width=20, height=20, model=None, level=None, colour=colour, body=body))
    decoded = dpc.decode(data)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(decoded.info["icc_profile"]))
    srgb = ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(decoded, profile, srgb, renderingIntent=1).getpixel((9, 9))
    found = tab.page.evaluate(
        """async text => {
          const { image } = await dpc.decode(fromBase64(text), { as: "png" });
          const canvas = new OffscreenCanvas(20, 20);
          const context = canvas.getContext("2d");
          context.drawImage(await createImageBitmap(image), 0, 0);
          return [...context.getImageData(9, 9, 1, 1).data];
        }""",
        base64.b64encode(data).decode(),
    )
    assert np.abs(np.subtract(found[:3], expected)).max() <= 3, (found, expected)
    assert np.abs(np.subtract(found[:3], (200, 100, 50))).max() > 3
    assert tab.decode(data)["colour"] == {2: "display-p3", 3: "a98-rgb"}[colour]
