"""Rendered pages: all of them draw, the same each time, with text that a recogniser reads; faults are named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dpc.errors import OptionError, ToolMissing
from dpc.evaluation import pages

NAMES = pages.names()


def test_there_is_a_page_of_each_sort() -> None:
    kinds = {name: pages.parse(name).kind for name in NAMES}
    assert set(kinds.values()) == {"text", "signs", "drawings"} and len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_the_same_each_time_and_holds_its_text(name: str) -> None:
    pytest.importorskip("pymupdf_fonts")
    page = pages.parse(name)
    first, words = pages.render(page), list(page.text)
    assert first.shape == (512, 768, 3) and first.dtype == np.uint8 and first.std() > 5
    assert np.array_equal(pages.render(page), first) and page.text == words
    assert sum(map(len, words)) > 60 and all(word.strip() for word in words)


def test_grain_is_within_its_levels() -> None:
    plain = pages.render(pages.parse("x", "size 40 30\nground #808080\n")).astype(int)
    noise = pages.render(pages.parse("x", "size 40 30\nground #808080\ngrain 2 5\n")) - plain
    assert set(np.unique(noise)) == {-2, -1, 0, 1, 2} and abs(noise.mean()) < 0.1


def test_no_typeface_of_the_pages_is_one_of_the_training() -> None:
    """Letters that a network was trained on say little about letters that it was not."""
    fonts = pytest.importorskip("pymupdf_fonts")
    trained = ("Roboto", "Source", "Manrope", "Caladea", "Amatic", "Fredoka", "DejaVu", "STIX", "Computer", "Aileron")
    families = {fonts.fontdescriptors[code]["name"] for code in pages.FONTS.values()}
    assert families and not [f for f in families if f.startswith(trained)]


def test_write_leaves_pictures_texts_and_kinds(tmp_path: Path) -> None:
    pytest.importorskip("pymupdf_fonts")
    (path,) = pages.write(tmp_path / "new", ["chat"])
    assert path.name == "chat.png" and "Who has the key?" in path.with_suffix(".txt").read_text().splitlines()
    assert (path.parent / "kinds.csv").read_text() == "image,kind\nchat,text\n"
    with pytest.raises(OptionError, match="page 'nothing' is unknown; choose from article"):
        pages.write(tmp_path, ["nothing"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("circle 1 2", "line 2: the instruction 'circle' is unknown"),
        ("rect 1 2 3 4 #000000 | words", "line 2: the instruction 'rect' is unknown, or lacks"),
        ("text 1 2 sans 10 #000000", "or lacks its text"),
        ("size 5", "line 2"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pages.parse("x", f"# a page\n{line}\n")


@pytest.mark.parametrize(
    "line", ["rect 1 2 x 4 #000000", "rect 1 2 3 4 grun", "photo none 0 0 9 9", "text 1 9 arial 9 #000000 | a"]
)
def test_a_step_that_cannot_be_drawn_is_named(line: str) -> None:
    with pytest.raises(OptionError, match=r"x\.page: (rect|photo|text)"):
        pages.render(pages.parse("x", f"size 20 20\n{line}\n"))


def test_without_the_typefaces_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymupdf_fonts", None)
    from dpc.evaluation.pages import rendering

    rendering._font.cache_clear()
    with pytest.raises(ToolMissing, match="pip install pymupdf-fonts"):
        pages.render(pages.parse("x", "size 20 20\ntext 1 9 sans 9 #000000 | a\n"))
