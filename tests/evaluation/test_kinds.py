"""Lists of kinds: read, found beside pictures, refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpc.errors import OptionError
from dpc.evaluation import kinds


def test_a_list_beside_pictures(tmp_path: Path) -> None:
    assert kinds.beside(tmp_path) == {}
    (tmp_path / "kinds.csv").write_text("image,kind,who\na,text,me\nb,faces,\n")
    (tmp_path / "a.png").touch()
    assert kinds.beside(tmp_path) == kinds.beside(tmp_path / "a.png") == {"a": "text", "b": "faces"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,kind\na,\n", "line 2: give an image and its kind"),
        ("picture,kind\na,text\n", "line 2"),
        ("image,kind\na,text\na,signs\n", "line 3: a is text already"),
        ("image,kind\n", "names no image"),
    ],
)
def test_a_wrong_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "k.csv").write_text(text)
    with pytest.raises(OptionError, match=message):
        kinds.read(tmp_path / "k.csv")
    with pytest.raises(OptionError, match="cannot be read"):
        kinds.read(tmp_path / "none.csv")
