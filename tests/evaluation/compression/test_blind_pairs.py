"""scripts/blind_pairs.py: pairs hide who is who, and votes are counted for the right codec."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from PIL import Image


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return "blind_pairs"


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    import blind_pairs

    monkeypatch.setattr(sys, "argv", ["blind_pairs", *map(str, words)])
    return int(blind_pairs.main())


def test_pairs_are_made_and_votes_counted(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(ROOT / "demo" / "photo.png") as image:
        original = np.asarray(image.convert("RGB").crop((150, 60, 246, 140)))
    for n in range(4):
        Image.fromarray(np.roll(original, 8 * n, 1)).save(tmp_path / f"p{n}.png")
    out = tmp_path / "out"
    pictures = sorted(tmp_path.glob("p*.png"))
    assert call(monkeypatch, "make", out, *pictures, "--codecs", "webp,jpeg", "--bpp", "1,2") == 0
    with (out / "key.csv").open(newline="") as file:
        key = list(csv.DictReader(file))
    assert len(key) == 8 and {row["left"] for row in key} == {"webp", "jpeg"}  # both stand on either side
    assert {(row["picture"], row["bpp"]) for row in key} == {(p.stem, r) for p in pictures for r in ("1", "2")}
    with Image.open(out / "pairs" / f"{key[0]['pair']}.png") as pair:
        shown = np.asarray(pair)
    wanted = np.roll(original, 8 * int(key[0]["picture"][1:]), 1)
    assert np.array_equal(shown[24:, 106:202], wanted)  # the original in the middle
    with (out / "mirrored" / "key.csv").open(newline="") as file:
        mirrored = list(csv.DictReader(file))
    assert [(r["pair"], r["left"], r["left_bytes"]) for r in mirrored] == [
        (r["pair"], r["right"], r["right_bytes"]) for r in key
    ]
    with Image.open(out / "mirrored" / "pairs" / f"{key[0]['pair']}.png") as pair:
        assert np.array_equal(np.asarray(pair)[24:, :96], shown[24:, 212:])
    for row in key:
        assert abs(int(row["left_bytes"]) / int(row["right_bytes"]) - 1) < 0.2

    ballot = tmp_path / "ballot.csv"
    side = {(row["pair"], row[at]): at for row in key for at in ("left", "right")}
    lines = [f"{row['pair']},{side[row['pair'], 'webp']},crisper" for row in key[:5]]
    other = key[5]["pair"]
    lines += [f"{int(other[4:])},{side[other, 'jpeg']},", f"{key[6]['pair']},Same,"]
    ballot.write_text("pair,vote,why\n" + "\n".join(lines) + "\n")
    capsys.readouterr()
    assert call(monkeypatch, "count", out, ballot, "--lines") == 0
    told = capsys.readouterr().out.splitlines()
    for name, number in (("webp", 5), ("jpeg", 1)):
        assert sum(int(line.split(f"{name} ")[1].split(",")[0]) for line in told[-3:-1]) == number
    assert told[-1].endswith("same 1")
    assert sum("webp crisper" in line for line in told) == 5


def test_the_first_codec_takes_a_share_of_the_bytes(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = ROOT / "demo" / "photo.png", tmp_path / "out"
    made = ("make", out, picture, "--codecs", "webp,jpeg", "--bpp", "2")
    assert call(monkeypatch, *made, "--share", "0.5") == 0
    with (out / "key.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    taken = {row[side]: int(row[f"{side}_bytes"]) for side in ("left", "right")}
    assert 0.4 < taken["webp"] / taken["jpeg"] < 0.6
    assert call(monkeypatch, *made, "--share", "50") == 1
    assert "--share 50: above 0 and at most 1" in capsys.readouterr().err


def test_what_is_no_vote_is_named(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.csv").write_text("pair,picture,bpp,left,right,left_bytes,right_bytes\npair000,a,1,x,y,1,1\n")
    ballot = tmp_path / "ballot.csv"
    for text, named in (("pair000,up\n", "'up'"), ("pair001,left\n", "'pair001'")):
        ballot.write_text("pair,vote\n" + text)
        assert call(monkeypatch, "count", tmp_path, ballot) == 1
        error = capsys.readouterr().err
        assert error.startswith("blind_pairs: error: ") and "line 2" in error and named in error
    assert call(monkeypatch, "make", tmp_path / "out", "a.png", "--codecs", "jpeg") == 1
    assert "two codecs that differ" in capsys.readouterr().err and not (tmp_path / "out").exists()
