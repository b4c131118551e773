"""The study in a real browser: simulated raters (labelled as such) on a desktop and a phone, from consent to the code.

With DPC_SHOTS=FOLDER a picture of every page is left in the folder.
"""

# ruff: noqa: E501
from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from study_server import Server, server, study

from dpc.study import plan as plans
from dpc.study import stimuli, store

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")
SHOTS = os.environ.get("DPC_SHOTS")
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = os.environ.get("DPC_STUDY")  # another study to look at
    if given:
        folder = Path(given)
    else:
        screening = plans.Screening(colour="ask")
        people = plans.People(organiser="The tests", contact="tests@example.org")
        folder = study(
            tmp_path_factory.mktemp("browser"), size=(320, 200), screening=screening, people=people,
            checks=plans.Checks(2, 1, 1, 1),
        ).folder  # fmt: skip
    with server(folder) as found:
        yield found


def rehearsal(running: Server) -> str:
    """The address that `dpc study serve` prints for simulated raters."""
    return running.url(f"/?rater=simulated&key={store.rater_key(stimuli.secret(running.folder), 'simulated')}")


class Rater:
    """A simulated rater at a page. problems: what the browser complained about."""

    def __init__(self, chromium: Any, url: str, options: dict[str, Any], name: str = "") -> None:
        self.context = chromium.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.problems: list[str] = []
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.problems.append(str(e)))
        self.name = name
        self.page.goto(url)

    def shot(self, what: str, whole: bool = True) -> None:
        if SHOTS and self.name:
            self.page.screenshot(path=f"{SHOTS}/{self.name}-{what}.png", full_page=whole)

    def seen(self, name: str) -> None:
        self.page.wait_for_selector(f"#{name}:not([hidden])")

    def until_trial(self) -> None:
        self.seen("consent")
        self.shot("1-consent")
        self.page.check("#agree")
        self.page.click("#begin")
        self.seen("screening")
        self.page.wait_for_selector("#check-density:not(:empty)")
        self.shot("2-screening")
        for field in self.page.query_selector_all("[name=plate]"):
            field.fill("57")
        self.page.click("#screening-form button")
        self.seen("intro")
        self.shot("3-intro")
        self.page.click("#practise")
        self.ready()

    def ready(self) -> None:
        """Until the pictures can be seen."""
        self.page.wait_for_selector("#show-b:enabled")
        self.page.wait_for_selector("#waiting", state="hidden")

    def until(self, expression: str) -> None:
        """Until a JavaScript expression is true. (The page forbids eval, so wait_for_function cannot poll.)"""
        for _ in range(1200):
            if self.js(expression):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"not true after 30 seconds: {expression}")

    def js(self, expression: str, page: Any = None) -> Any:
        """The value of a JavaScript expression that may name the page's `trial`, `fetched` and `$`."""
        return (page or self.page).evaluate(
            "Promise.all(['trial', 'pictures', 'page'].map((name) => import(`/static/${name}.js`))).then("
            f"([{{ current }}, {{ fetched }}, {{ $ }}]) => {{ const trial = current(); return {expression}; }})"
        )

    def token(self) -> str:
        return str(self.js("trial.token"))

    def answered(self, before: str) -> None:
        """Until the answer is stored and something else is there."""
        for _ in range(400):
            if self.js("trial ? trial.token : ''") != before or self.page.is_visible("#feedback[open]"):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError("the answer was not stored")


@pytest.mark.parametrize(("name", "options"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_a_simulated_rater_takes_part(chromium: Any, running: Server, name: str, options: dict[str, Any]) -> None:
    rater = Rater(chromium, rehearsal(running), options, name)
    page = rater.page
    assert page.is_visible("#ribbon") and "Simulated" in page.inner_text("#ribbon")
    rater.until_trial()
    assert page.is_disabled("#vote-a") and page.is_disabled("#vote-b")  # B was not looked at yet
    number = 0
    while True:
        page.wait_for_selector("#show-b:enabled:visible, #done:visible, #ready:visible")
        if page.is_visible("#done"):
            break
        if page.is_visible("#ready"):
            rater.shot("6-ready")
            page.click("#go")
            rater.ready()
            continue
        # the page may still change from the last trial to the pause before the real ones, or to the end
        rater.until(
            "(trial && trial.ready && !trial.sent && !$('trial').hidden) || !$('done').hidden || !$('ready').hidden"
        )
        if page.is_visible("#done") or page.is_visible("#ready"):
            continue
        rater.shot(f"4-trial-{number}", whole=False)
        page.click("#show-b")
        before = rater.token()
        page.click("#vote-a" if number % 2 else "#vote-b")
        rater.answered(before)
        if page.is_visible("#feedback[open]"):
            rater.shot(f"5-feedback-{number}", whole=False)
            page.click("#next")
            page.wait_for_selector("#feedback", state="hidden")
        number += 1
    rater.shot("8-done")
    assert page.inner_text("#code").count("-") == 1
    page.reload()
    rater.seen("done")  # and not the beginning
    assert rater.problems == []
    made = stimuli.read(running.folder)
    plan = made.plan
    with sqlite3.connect(running.folder / "votes.sqlite") as c:
        name_ = page.url.rpartition("/")[2].split(".")[0]
        (stored,) = c.execute(
            "select count(*) from votes join trials on trials.id = votes.trial join people on people.id = trials.person "
            "where people.name = ? and people.kind = 'simulated'", (name_,)
        ).fetchone()  # fmt: skip
    checks = plan.checks
    assert (
        stored
        == number
        == checks.training
        + min(plan.design.trials, len(plans.comparisons(plan, made.stimuli)))
        + checks.identical
        + checks.traps
        + checks.repeats
    )


@pytest.mark.parametrize("scale", [1, 1.25, 2, 3])
def test_one_picture_pixel_is_one_screen_pixel(chromium: Any, running: Server, scale: float) -> None:
    # a browser at this scale: emulation (device_scale_factor) rounds to CSS pixels, which no real screen does
    arguments = ["--no-sandbox", f"--force-device-scale-factor={scale}", "--window-size=1011,733"]
    scaled = chromium.browser_type.launch(executable_path=str(CHROMIUM), args=arguments)
    try:
        _one_to_one(Rater(scaled, rehearsal(running), {"no_viewport": True}), running, scale)
    finally:
        scaled.close()


def _one_to_one(rater: Rater, running: Server, scale: float) -> None:
    rater.until_trial()
    assert rater.page.evaluate("devicePixelRatio") == scale
    corners = set()
    for which in "abababab":
        rater.page.click(f"#show-{which}")
        corner = rater.js("(() => { const r = $('pictures').getBoundingClientRect(); return [r.left, r.top]; })()")
        x, y = (round(v * scale) for v in corner)
        corners.add((x, y))
        data = rater.context.request.get(running.url(f"/i/{rater.token()}/{which}")).body()
        wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        screen = np.asarray(Image.open(io.BytesIO(rater.page.screenshot(scale="device"))).convert("RGB")).astype(int)
        shown = screen[y : y + wanted.shape[0], x : x + wanted.shape[1]]
        assert np.abs(shown - wanted).max() <= 1  # colour conversion of the screenshot
    assert len(corners) == 1  # A and B stand at the same place, however often they are switched


def test_everything_can_be_done_by_keyboard(chromium: Any, running: Server) -> None:
    rater = Rater(chromium, rehearsal(running), DESKTOP)
    page, press = rater.page, rater.page.keyboard.press
    rater.seen("consent")
    page.focus("#agree")
    press("Space")
    press("Tab")
    press("Enter")
    rater.seen("screening")
    for field in page.query_selector_all("[name=plate]"):
        field.focus()
        page.keyboard.type("12")
    press("Tab")
    press("Enter")
    rater.seen("intro")
    page.focus("#practise")
    press("Enter")
    rater.ready()
    assert page.inner_text("#shown") == "A"
    press("1")  # B was not seen: nothing happens
    press("ArrowRight")
    assert page.inner_text("#shown") == "B"
    press("Space")
    assert page.inner_text("#shown") == "A"
    page.keyboard.down("o")
    assert page.inner_text("#shown") == "Original" and page.is_visible("#picture-o.on")
    page.keyboard.up("o")
    assert page.inner_text("#shown") == "A"
    press("p")
    page.wait_for_selector("#break[open]")
    assert "/s/" in page.input_value("#link")
    rater.name = "desktop"
    rater.shot("7-pause", whole=False)
    press("Escape")
    before = rater.token()
    press("2")
    rater.answered(before)
    page.wait_for_selector("#feedback[open]")
    rater.until("document.activeElement.id === 'next'")
    press("Enter")
    rater.until(f"trial.token !== '{before}'")
    rater.ready()
    # a button that keeps the original without holding
    page.focus("#show-o")
    press("Enter")
    assert page.get_attribute("#show-o", "aria-pressed") == "true"
    press("Enter")
    assert page.get_attribute("#show-o", "aria-pressed") == "false"
    assert rater.problems == []


def test_double_clicks_reloads_and_two_tabs_count_once(chromium: Any, running: Server) -> None:
    rater = Rater(chromium, rehearsal(running), DESKTOP)
    rater.until_trial()
    link = rater.page.url
    second = rater.context.new_page()
    second.goto(link)
    second.wait_for_selector("#ready:visible, #intro:visible")
    second.click("#practise" if second.is_visible("#practise") else "#go")
    second.wait_for_selector("#show-b:enabled")
    assert rater.js("trial.token", second) == rater.token()  # the same question in both
    for page in (rater.page, second):
        page.click("#show-b")
    rater.page.dblclick("#vote-a")
    rater.page.wait_for_selector("#feedback[open]")
    second.dblclick("#vote-b")  # answered before: the first answer stays
    second.wait_for_selector("#feedback[open]")
    rater.page.reload()
    rater.page.wait_for_selector("#ready:visible, #intro:visible")
    assert rater.js("fetched.size") >= 1
    name = link.rpartition("/")[2].split(".")[0]
    with sqlite3.connect(running.folder / "votes.sqlite") as c:
        stored = c.execute(
            "select answer from votes join trials on trials.id = votes.trial join people on people.id = trials.person "
            "where people.name = ?", (name,)
        ).fetchall()  # fmt: skip
    assert stored == [("a",)]


def test_an_answer_that_cannot_be_stored_is_kept(chromium: Any, running: Server) -> None:
    rater = Rater(chromium, rehearsal(running), DESKTOP)
    rater.until_trial()
    rater.page.click("#show-b")
    before = rater.token()
    lock = sqlite3.connect(running.folder / "votes.sqlite", isolation_level=None)
    lock.execute("begin immediate")
    rater.page.click("#vote-a")
    rater.page.wait_for_selector("#unsaved:visible")
    assert "Not saved, try again." in rater.page.inner_text("#unsaved")
    assert rater.token() == before and rater.page.is_visible("#trial")  # the place is kept
    lock.execute("rollback")
    lock.close()
    rater.page.click("#again")
    rater.page.wait_for_selector("#feedback[open]")
    assert rater.page.is_hidden("#unsaved")
    assert all("503" in problem for problem in rater.problems)


def test_an_answer_waits_for_a_lost_connection(chromium: Any, running: Server) -> None:
    rater = Rater(chromium, rehearsal(running), DESKTOP)
    rater.until_trial()
    rater.page.click("#show-b")
    before = rater.token()
    rater.context.set_offline(True)
    rater.page.click("#vote-a")
    rater.page.wait_for_selector("#offline:not([hidden])")
    rater.context.set_offline(False)
    rater.answered(before)
    assert rater.page.is_hidden("#offline")


def test_data_is_deleted_on_request(chromium: Any, running: Server) -> None:
    rater = Rater(chromium, rehearsal(running), DESKTOP)
    rater.until_trial()
    rater.page.click("#pause")
    with rater.page.expect_download() as download:
        rater.page.click("#break .download")
    assert "person" in Path(download.value.path()).read_text()
    rater.page.click("#break .delete")
    rater.page.click("#sure-yes")
    rater.seen("out")
    assert "deleted" in rater.page.inner_text("#out-reason")
    rater.page.reload()
    rater.seen("out")


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const lum = (c) => { const f = c.slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const paper = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("noscript, .skip, :disabled")) continue;
    const style = getComputedStyle(e), one = lum(parse(style.color)), two = lum(paper(e));
    const ratio = (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) bad.push(`${e.id || e.className || e.tagName}: ${ratio.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll("button, input, a, [tabindex='0']")) {
    const name = e.textContent.trim() || e.getAttribute("aria-label") || (e.labels && e.labels.length) || e.type === "hidden";
    if (e.checkVisibility() && !name) bad.push(`no name: ${e.outerHTML.slice(0, 80)}`);
    const box = e.getBoundingClientRect();
    if (e.checkVisibility() && e.tagName === "BUTTON" && Math.min(box.width, box.height) < 40) bad.push(`small: ${e.id}`);
  }
  for (const e of document.querySelectorAll("img:not([alt])")) bad.push("no alt text");
  return bad;
}"""


@pytest.mark.parametrize("options", [DESKTOP, PHONE])
def test_pages_are_accessible(chromium: Any, running: Server, options: dict[str, Any]) -> None:
    rater = Rater(chromium, rehearsal(running), options)
    rater.seen("consent")
    problems = rater.page.evaluate(CONTRAST)
    rater.page.check("#agree")
    rater.page.click("#begin")
    rater.seen("screening")
    problems += rater.page.evaluate(CONTRAST)
    for field in rater.page.query_selector_all("[name=plate]"):
        field.fill("x")
    rater.page.click("#screening-form button")
    rater.seen("intro")
    problems += rater.page.evaluate(CONTRAST)
    rater.page.click("#practise")
    rater.ready()
    rater.page.click("#show-b")
    problems += [p for p in rater.page.evaluate(CONTRAST) if not p.startswith("shown")]  # on grey, with a dark rim
    rater.page.click("#pause")
    problems += [p for p in rater.page.evaluate(CONTRAST) if not p.startswith("shown")]
    assert problems == []
    width = rater.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width == 0  # nothing to scroll sideways
