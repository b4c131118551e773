"""Legibility: known words are read, blurred ones are not, twigs are no text; sums of strings that one can count."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image, ImageFilter

from dpc.errors import ToolMissing
from dpc.evaluation import pages
from dpc.evaluation.metrics import METRICS, legibility
from dpc.evaluation.metrics.legibility import Reading, common, known_share, share
from dpc.evaluation.metrics.reference import Reference

PAGE = """size 400 120
ground #ffffff
text 20 40 sans 22 #000000 | Platform 7 is closed
text 20 80 noto 14 #000000 | Trains to Odense leave from 3
"""


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    pytest.importorskip("rapidocr_onnxruntime")
    pytest.importorskip("pymupdf_fonts")
    return pages.render(pages.parse("x", PAGE))


def blurred(picture: np.ndarray, radius: float) -> np.ndarray:
    return np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def test_common_subsequence() -> None:
    pairs = ("", "x"), ("abc", "abc"), ("harbour", "harpoon"), ("abcdef", "acf")
    assert [common(a, b) for a, b in pairs] == [0, 3, 4, 3]


def test_shares_of_readings() -> None:
    first = Reading([np.zeros((4, 2))] * 2, ["Platform7", "closed"])
    assert share(first, ["Platform7", "closed"]) == 1.0
    assert share(first, ["Platfom1", ""]) == pytest.approx(7 / 15)
    assert known_share(first, ["Platform7", "dosed"], ["Platform 7", "closed", "unseen line"]) == pytest.approx(13 / 25)
    assert math.isnan(share(Reading([], []), [])) and math.isnan(known_share(first, ["", ""], ["ab"]))


def test_known_words_are_read_and_blurred_ones_are_not(page: np.ndarray) -> None:
    """The value from outside is the text itself: all of it is read on the page that says it."""
    words = ["Platform 7 is closed", "Trains to Odense leave from 3"]
    reference = Reference(page, ["text_read", "text_known"], text=words)
    assert reference.measure(page) == {"text_read": 1.0, "text_known": 1.0}
    half, gone = reference.measure(blurred(page, 2.0)), reference.measure(blurred(page, 6.0))
    assert 0.3 < half["text_read"] < 0.99 and half["text_known"] == pytest.approx(half["text_read"], abs=0.05)
    assert gone["text_read"] < 0.2
    assert math.isnan(Reference(page, ["text_known"]).measure(page)["text_known"])


SIGNS = """size 480 320
photo coffee 0 0 480 320
round 20 30 230 110 8 #1c4f8a
text 125 66 sans-bold 24 #ffffff ms | Harbour 71
text 125 98 sans 24 #ffffff ms | Parking 4
rect 300 220 440 260 #f3d64b
text 370 247 noto 16 #101010 ms | Coffee 12
"""


def test_signs_on_a_photograph_need_no_known_text() -> None:
    """What the recogniser reads on the original is the measure; words in other places are not in it."""
    pytest.importorskip("rapidocr_onnxruntime")
    pytest.importorskip("pymupdf_fonts")
    picture = pages.render(pages.parse("x", SIGNS))
    assert "".join(sorted(legibility.read(picture).lines)).lower() == "coffee12harbour71parking4"
    reference = Reference(picture, ["text_read", "text_known"])  # no text is given
    assert reference.measure(picture)["text_read"] == 1.0
    half, gone = (reference.measure(blurred(picture, radius)) for radius in (2.5, 6.0))
    assert gone["text_read"] < 0.2 < half["text_read"] < 1.0 and math.isnan(half["text_known"])
    other = pages.render(pages.parse("x", SIGNS.replace("Harbour 71", "Quixly 503")))
    assert 0.4 < reference.measure(other)["text_read"] < 0.8
    more = pages.render(pages.parse("x", SIGNS + "text 240 200 sans-bold 24 #ffffff ms | Museum 88\n"))
    assert reference.measure(more)["text_read"] == 1.0


def test_a_picture_without_text_has_no_value(page: np.ndarray) -> None:
    plain = np.full((120, 160, 3), 90, np.uint8)
    assert math.isnan(METRICS["text_read"].function(plain, plain))


@needs("data", "kodak")
def test_a_fence_is_no_text() -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    with Image.open(SHARED / "data" / "kodak" / "kodim19.png") as im:
        assert legibility.read(np.array(im.convert("RGB"))).characters < legibility.LEAST


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    legibility._engine.cache_clear()
    x = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(ToolMissing, match="pip install rapidocr-onnxruntime"):
        METRICS["text_read"].function(x, x)
