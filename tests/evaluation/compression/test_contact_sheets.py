"""scripts/contact_sheets.py: crops beside each other, and lists that are wrong."""

from __future__ import annotations

from pathlib import Path

import make_tiny
import numpy as np
import pytest
from paths import ROOT
from PIL import Image


def test_a_sheet_for_each_kind_and_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import contact_sheets

    make_tiny.photograph(0, 0, 300, 200).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("kind,picture,left,top\nsky,a.png,90,0\nwall,a.png,0,50\nsky,a.png,0,0\n")
    words = ["contact_sheets", str(tmp_path / "list.csv"), str(tmp_path), "--codec", "webp", "--peer", "jpeg"]
    monkeypatch.setattr("sys.argv", [*words, "--bpp", "1,2", "--out", str(tmp_path / "out")])
    assert contact_sheets.main() == 0, capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("sky-1.png", "sky-2.png", "wall-1.png", "wall-2.png")
    ]
    with Image.open(tmp_path / "out" / "sky-1.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    rows, columns = 2, 4
    assert sheet.shape[0] % rows == 0 and sheet.shape[1] % columns == 0
    first = sheet[contact_sheets.TITLE : contact_sheets.TITLE + 288 : 2, 0:384:2]
    with Image.open(tmp_path / "a.png") as image:
        original = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(first, original[:144, 90:282])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith("sky a.png: webp, ")
    sizes = [int(part.split(", ")[1].split()[0].replace(",", "")) for part in lines[0].split(": ")[1].split("; ")]
    assert sizes[1] <= sizes[0] < sizes[2] <= 2 * sizes[0]


def test_a_line_that_is_no_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import contact_sheets

    (tmp_path / "list.csv").write_text("kind,picture,left,top\nsky,a.png,0,0\nsky,a.png,left,0\n")
    monkeypatch.setattr("sys.argv", ["contact_sheets", str(tmp_path / "list.csv"), str(tmp_path), "--peer", "jpeg"])
    assert contact_sheets.main() == 1
    assert "list.csv, line 3: wants kind, picture, left, top" in capsys.readouterr().err
