"""A tab of Chromium with the package of web/ in it, on a server of `dpc web`: what the tests of this folder share."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

from dpc.web import server as web

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BUILT = (Path(web.__file__).parent / "static" / "index.html.gz").exists()
DATA = ROOT / "tests" / "data"
EXACT = DATA / "exact.dpcmodel"
TINY = sorted(DATA.glob("*.dpcmodel"))  # of floats, of exact floats, of bytes


def requirements() -> list[pytest.MarkDecorator]:
    """Marks of a file of tests that drive the browser."""
    return [
        pytest.mark.browser,
        pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH; apt-get install chromium"),
        pytest.mark.skipif(not BUILT, reason="the page is not built; make web, which needs node 20 or newer"),
    ]


@contextmanager
def served() -> Iterator[web.Server]:
    """A running server with the installed models and the tiny ones of the tests."""
    with web.Server(files=web.assets(TINY)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


SCRIPT = """
window.errors = [];
addEventListener("securitypolicyviolation", e => errors.push(`${e.violatedDirective} ${e.blockedURI}`));
window.fromBase64 = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
window.toBase64 = bytes => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
};
"""

DECODE = """async ([text, options]) => {
  try {
    const { image, times, icc, exif, xmp, ...about } = await dpc.decode(fromBase64(text), options);
    return { ...about, icc: icc && toBase64(icc), exif: exif && toBase64(exif), pixels: toBase64(image.data) };
  } catch (error) {
    return { error: error.name, message: error.message, isDPC: error instanceof dpc.DPCError };
  }
}"""

ENCODE = """async ([text, width, height, options]) => {
  try {
    const image = new ImageData(new Uint8ClampedArray(fromBase64(text).buffer), width, height);
    return { bytes: toBase64(await dpc.encode(image, options)) };
  } catch (error) {
    return { error: error.name, message: error.message };
  }
}"""


class Tab:
    """A page of the server with the package in `dpc`; no request may leave the machine."""

    def __init__(self, browser: Any, url: str, path: str = "", **options: Any) -> None:
        self.url = url
        self.requests: list[str] = []
        self.failures: list[str] = []
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(600_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.add_init_script(SCRIPT)
        self.page.goto(url + path)
        self.page.evaluate("async () => { window.dpc = await import('/index.js'); }")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true; Playwright's own waiting breaks the policy of the page."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"{expression} stays false"
            self.page.wait_for_timeout(50)

    def decode(self, data: bytes, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(DECODE, [base64.b64encode(data).decode(), options])
        return found

    def pixels(self, data: bytes) -> np.ndarray:
        """(H, W, 4) uint8."""
        found = self.decode(data)
        assert "error" not in found, found
        return self.array(found["pixels"], found["width"], found["height"])

    def array(self, text: str, width: int, height: int) -> np.ndarray:
        """(H, W, 4) uint8 from base64."""
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)

    def finish(self) -> None:
        """Close the tab; nothing went wrong in it, the policy held, and nothing was asked of another host."""
        assert self.failures == []
        assert self.page.evaluate("errors") == [], "the content security policy was broken"
        asked = {url.split("/")[2] for url in self.requests if url.startswith("http")}
        assert asked == {self.url.split("/")[2]}
        self.page.close()

    def encode(self, picture: np.ndarray, **options: Any) -> bytes:
        rgba = np.array(Image.fromarray(picture).convert("RGBA"))
        text = base64.b64encode(rgba.tobytes()).decode()
        found = self.page.evaluate(ENCODE, [text, rgba.shape[1], rgba.shape[0], options])
        assert "error" not in found, found
        return base64.b64decode(found["bytes"])


def path_of(model: str) -> str | Path:
    """A tiny model's path, an installed one's name."""
    tiny = DATA / f"{model}.dpcmodel"
    return tiny if tiny.exists() else model


def rgba(image: Image.Image) -> np.ndarray:
    return np.array(image.convert("RGBA"))


def photo(width: int, height: int, mode: str = "RGB") -> np.ndarray:
    """A piece of the demo photograph, repeated where it is too small; with opacities where the mode has them."""
    with Image.open(ROOT / "demo" / "photo.png") as image:
        whole = np.array(image.convert("RGB"))
    times = (-(-height // whole.shape[0]), -(-width // whole.shape[1]), 1)
    piece = Image.fromarray(np.tile(whole, times)[:height, :width])
    if mode in ("RGBA", "LA"):
        piece.putalpha(Image.linear_gradient("L").resize((width, height)))
    return np.array(piece.convert(mode))
