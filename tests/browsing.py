"""A page of the package in a browser window: what is drawn, what it asks for, what goes wrong in it."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

__all__ = ["Window", "browser"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on the PATH; apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        yield opened
        opened.close()


class Window:
    """The page in a browser window."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}} | options)
        self.tab = self.context.new_page()
        self.problems: list[str] = []
        self.tab.on("console", lambda message: self.problems.append(message.text))
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.asked: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.tab.wait_for_selector("#viewer:not([hidden]) canvas")
        self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
        self.settle()

    def canvases(self) -> list[np.ndarray[Any, Any]]:
        """What is drawn in each pane, (H, W, 4) uint8."""
        urls = self.tab.evaluate("[...document.querySelectorAll('canvas')].map((c) => c.toDataURL())")
        return [np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls]

    def screen(self) -> np.ndarray[Any, Any]:
        """The pixels of the screen."""
        return np.array(Image.open(io.BytesIO(self.tab.screenshot())).convert("RGB"))

    def text(self, selector: str) -> list[str]:
        return [str(text) for text in self.tab.locator(selector).all_inner_texts()]

    def divider(self) -> int:
        return int(self.tab.get_by_role("slider").get_attribute("aria-valuenow"))
