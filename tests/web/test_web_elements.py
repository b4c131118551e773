"""<dpc-img>, the polyfill and the page of `dpc web` in a real Chromium."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_tab import EXACT, Tab, photo, requirements, rgba, served
from PIL import Image

import dpc
from dpc.codec.codec import Codec
from dpc.web import server as web

pytestmark = requirements()

PICTURE = """async selector => {
  const found = document.querySelector(selector);
  const image = found.shadowRoot?.querySelector("img") ?? found;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return { width: canvas.width, height: canvas.height, data: toBase64(data) };
}"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    codec = Codec(EXACT, threads=1)
    return {
        "a.dpc": codec.encode(photo(60, 40), quality=50),
        "b.dpc": codec.encode(photo(90, 64)[::-1].copy(), quality=50),
        "broken.dpc": b"\x89DPC\x02",
    }


@pytest.fixture(scope="module")
def opened(browser: Any, files: dict[str, bytes]) -> Iterator[Callable[..., Tab]]:
    """Opens pages of this HTML, with the policy of `dpc web` and the files at hand."""
    with served() as server:
        for name, data in files.items():
            server.files[name] = web.Asset(data, None, "image/x-dpc")
        fallback = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(fallback, "JPEG")
        server.files["fallback.jpg"] = web.Asset(fallback.getvalue(), None, "image/jpeg")
        tabs: list[Tab] = []

        def open_page(html: str, script: str = "", style: str = "", setup: str = "") -> Tab:
            server.files["style.css"] = web.Asset(style.encode(), None, "text/css")
            server.files["setup.js"] = web.Asset(setup.encode(), None, "text/javascript")
            head = '<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">'
            scripts = "".join(f'<script type="module" src="{s}"></script>' for s in ("setup.js", script) if s)
            page = f"{head}<body>{html}{scripts}"
            server.files["test.html"] = web.Asset(page.encode(), None, "text/html")
            tabs.append(Tab(browser, server.url, "test.html"))
            return tabs[-1]

        yield open_page
        for tab in tabs:
            tab.finish()


def shown(tab: Tab, selector: str) -> np.ndarray:
    found = tab.page.evaluate(PICTURE, selector)
    return tab.array(found["data"], found["width"], found["height"])


def expected(files: dict[str, bytes], name: str) -> np.ndarray:
    return rgba(Codec(EXACT, threads=1).decode(files[name]))


# the element

EVENTS = """
window.heard = [];
for (const name of ["load", "error"])
  document.addEventListener(name, e => {
    if (e.target instanceof Element) heard.push([name, e.target.id, e.detail?.name ?? null]);
  }, true);
"""


def test_the_element_shows_the_picture(opened: Callable[..., Tab], files: dict[str, bytes]) -> None:
    tab = opened(
        '<dpc-img id="x" src="a.dpc" alt="A cup" width="120" height="80"></dpc-img>', "element.js", setup=EVENTS
    )
    box = "(() => { const b = document.querySelector('#x').getBoundingClientRect(); return [b.width, b.height]; })()"
    assert tab.page.evaluate(box) == [120, 80], "the place is kept before the picture comes"
    tab.until("heard.some(e => e[0] == 'load' && e[1] == 'x')")
    assert np.array_equal(shown(tab, "#x"), expected(files, "a.dpc"))
    assert tab.page.evaluate(box) == [120, 80]
    values = "(x => [x.complete, x.naturalWidth, x.naturalHeight, x.alt, x.currentSrc.endsWith('/a.dpc')])"
    assert tab.page.evaluate(f"{values}(document.querySelector('#x'))") == [True, 60, 40, "A cup", True]
    image = tab.page.get_by_role("img", name="A cup")
    assert image.count() == 1, "assistive technology sees one picture with its text"


def test_size_follows_the_picture_without_attributes(opened: Callable[..., Tab]) -> None:
    tab = opened('<dpc-img id="x" src="a.dpc" alt=""></dpc-img>', "element.js")
    tab.page.evaluate("document.querySelector('#x').decode()")
    box = "(() => { const b = document.querySelector('#x').getBoundingClientRect(); return [b.width, b.height]; })()"
    assert tab.page.evaluate(box) == [60, 40]
    assert tab.page.get_by_role("img").count() == 0, "a decorative picture is passed over"
    tab.page.evaluate("document.querySelector('#x').style.width = '30px'")
    assert tab.page.evaluate(box) == [30, 20]


def test_a_new_source_replaces_the_old_one(opened: Callable[..., Tab], files: dict[str, bytes]) -> None:
    tab = opened('<dpc-img id="x" src="a.dpc"></dpc-img>', "element.js", setup=EVENTS)
    tab.page.evaluate("document.querySelector('#x').decode()")
    tab.page.evaluate(
        "(x => { x.src = 'broken.dpc'; x.src = 'b.dpc'; return x.decode(); })(document.querySelector('#x'))"
    )
    assert np.array_equal(shown(tab, "#x"), expected(files, "b.dpc"))
    assert not [event for event in tab.page.evaluate("heard") if event[0] == "error"]
    tab.page.evaluate("document.querySelector('#x').removeAttribute('src')")
    assert tab.page.evaluate("document.querySelector('#x').naturalWidth") == 0


def test_errors_are_events(opened: Callable[..., Tab]) -> None:
    html = '<dpc-img id="x" src="broken.dpc" alt="broken"></dpc-img><dpc-img id="y" src="none.dpc"></dpc-img>'
    tab = opened(html, "element.js", setup=EVENTS)
    tab.until("heard.filter(e => e[0] == 'error').length == 2")
    found = sorted(tab.page.evaluate("heard.filter(e => e[0] == 'error')"))
    assert found == [["error", "x", "Truncated"], ["error", "y", "NotADPCFile"]]
    assert tab.page.evaluate("document.querySelector('#x').decode().catch(e => e.name)") == "Truncated"


def test_lazy_pictures_wait(opened: Callable[..., Tab]) -> None:
    html = '<div id="far"></div><dpc-img id="x" src="a.dpc" loading="lazy" width="60" height="40"></dpc-img>'
    tab = opened(html, "element.js", style="#far { height: 9000px; }")
    tab.page.wait_for_timeout(500)
    assert not [url for url in tab.requests if url.endswith("a.dpc")]
    tab.page.evaluate("scrollTo(0, 9000)")
    tab.page.evaluate("document.querySelector('#x').decode()")
    assert [url for url in tab.requests if url.endswith("a.dpc")]


def test_pictures_are_decoded_once(opened: Callable[..., Tab]) -> None:
    html = '<dpc-img class="x" src="a.dpc"></dpc-img>' * 3
    tab = opened(html, "element.js")
    tab.page.evaluate("Promise.all([...document.querySelectorAll('.x')].map(x => x.decode()))")
    tab.page.evaluate(
        "(x => { x.src = 'a.dpc'; document.body.append(x); return x.decode(); })(document.createElement('dpc-img'))"
    )
    assert len([url for url in tab.requests if url.endswith("a.dpc")]) == 1


def test_srcset_picks_by_width(opened: Callable[..., Tab]) -> None:
    html = '<dpc-img id="x" srcset="a.dpc 60w, b.dpc 900w" sizes="50px" src="broken.dpc"></dpc-img>'
    tab = opened(html, "element.js")
    tab.page.evaluate("document.querySelector('#x').decode()")
    assert tab.page.evaluate("document.querySelector('#x').currentSrc").endswith("/a.dpc")
    tab.page.evaluate(
        "document.querySelector('#x').sizes = 1; document.querySelector('#x').setAttribute('sizes', '100vw')"
    )
    tab.page.evaluate("document.querySelector('#x').decode()")
    assert tab.page.evaluate("document.querySelector('#x').currentSrc").endswith("/b.dpc")


# the polyfill

FILLED = "document.querySelector('{}').currentSrc.startsWith('blob:')"


def test_img_works_also_when_added_later(opened: Callable[..., Tab], files: dict[str, bytes]) -> None:
    tab = opened('<img id="x" src="a.dpc" alt="A cup">', "polyfill.js", setup=EVENTS)
    tab.until(FILLED.format("#x"))
    assert np.array_equal(shown(tab, "#x"), expected(files, "a.dpc"))
    add = "(y => { y.id = 'y'; y.src = '/b.dpc?v=2'; document.body.append(y); })(new Image())"
    tab.page.evaluate(add)
    tab.until(FILLED.format("#y"))
    assert np.array_equal(shown(tab, "#y"), expected(files, "b.dpc"))
    tab.page.evaluate("document.querySelector('#x').src = 'b.dpc'")
    tab.until("document.querySelector('#x').naturalWidth == 90")
    assert tab.page.get_by_role("img", name="A cup").count() == 1


def test_a_broken_img_is_an_error(opened: Callable[..., Tab]) -> None:
    tab = opened("", "polyfill.js", setup=EVENTS)
    add = "(x => { x.id = 'x'; x.src = 'broken.dpc'; document.body.append(x); })(new Image())"
    tab.page.evaluate(add)
    tab.until("heard.some(e => e[0] == 'error' && e[2] == 'Truncated')")


def test_picture_takes_the_source(opened: Callable[..., Tab], files: dict[str, bytes]) -> None:
    html = """<picture><source type="image/x-dpc" srcset="b.dpc" media="(max-width: 10px)">
      <source type="image/x-dpc" srcset="a.dpc"><img id="x" src="fallback.jpg" alt=""></picture>"""
    tab = opened(html, "polyfill.js")
    tab.until(FILLED.format("#x"))
    assert np.array_equal(shown(tab, "#x"), expected(files, "a.dpc"))


def test_backgrounds_in_sheets_and_styles(opened: Callable[..., Tab]) -> None:
    style = (
        "#x { background: url(a.dpc) no-repeat; } @media (min-width: 1px) { #y { list-style-image: url('b.dpc'); } }"
    )
    tab = opened('<div id="x"></div><ul><li id="y"></li></ul><div id="z"></div>', "polyfill.js", style=style)
    value = "getComputedStyle(document.querySelector('{}')).{}.startsWith('url(\"blob:')"
    tab.until(value.format("#x", "backgroundImage"))
    tab.until(value.format("#y", "listStyleImage"))
    assert tab.page.evaluate("getComputedStyle(document.querySelector('#x')).backgroundRepeat") == "no-repeat"
    tab.page.evaluate("document.querySelector('#z').style.backgroundImage = 'url(a.dpc), none'")
    tab.until(value.format("#z", "backgroundImage"))


# the page


def upload(tab: Tab, name: str, data: bytes, kind: str) -> None:
    tab.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


@pytest.mark.slow
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_page_from_photograph_to_file(browser: Any, tmp_path: Path, phone: bool) -> None:
    with served() as server:
        size = {"viewport": {"width": 390, "height": 844}, "has_touch": True} if phone else {}
        tab = Tab(browser, server.url, **size)
        out = io.BytesIO()
        Image.fromarray(photo(240, 160)).save(out, "PNG")
        tab.page.evaluate("document.querySelector('#quality').value = 90")
        upload(tab, "cup.png", out.getvalue(), "image/png")
        tab.page.wait_for_selector("#download:not([hidden])")
        tab.until("document.querySelectorAll('#rows tr').length >= 5", seconds=300)
        names = tab.page.locator("#rows td:first-child").all_text_contents()
        assert names == ["Original", "DPC", "JPEG", "WebP", "AVIF"]
        sizes = [int(text.replace(",", "")) for text in tab.page.locator("#rows td:nth-child(2)").all_text_contents()]
        assert all(other <= sizes[1] for other in sizes[2:])
        with tab.page.expect_download() as download:
            tab.page.click("#download")
        data = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename == "cup.dpc" and len(data) == sizes[1]
        assert dpc.decode(data).size == (240, 160)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out sideways"
        tab.page.locator("#slider").fill("100")
        assert tab.page.evaluate("document.querySelector('#stage').style.getPropertyValue('--at')") == "10%"
        tab.page.select_option("#zoom", "4")
        assert tab.page.evaluate("document.querySelector('#picture-left').width") >= 4 * 240 / 3
        tab.page.check("input[value=size]")
        tab.page.fill("#size", "3")
        tab.page.click("#encode")
        tab.until("document.querySelector('#rows tr:nth-child(5)') && !document.querySelector('#encode').disabled")
        assert int(tab.page.locator("#rows tr:nth-child(2) td:nth-child(2)").text_content().replace(",", "")) <= 3000
        tab.finish()


def test_the_page_opens_dpc_files_and_says_what_is_wrong(browser: Any, files: dict[str, bytes]) -> None:
    with served() as server:
        tab = Tab(browser, server.url)
        upload(tab, "cup.dpc", files["a.dpc"], "")
        tab.page.wait_for_selector("#download:not([hidden])")
        assert tab.page.text_content("#download") == "Download cup.png"
        assert tab.page.evaluate("document.querySelector('#picture-right').naturalWidth") == 60
        upload(tab, "cut.dpc", files["a.dpc"][:-9], "")
        tab.page.wait_for_selector("#status.error")
        assert "the file was cut short, get it again" in tab.page.text_content("#status")
        upload(tab, "no.png", b"nothing", "image/png")
        tab.until("document.querySelector('#status').textContent.includes('no.png')")
        tab.finish()
