"""What the guide shows is run: every example of its pages in a process of its own, and the files of type and magic."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import make_tiny
import pytest
from paths import ROOT, TORCHVISION

GUIDE = ROOT / "docs" / "guide"
MIME, MAGIC = ROOT / "share" / "mime" / "packages" / "dpc.xml", ROOT / "share" / "misc" / "magic" / "dpc.magic"
PHOTO = make_tiny.GOLDEN / "photo.dpc"

# torchvision's wheel on PyPI lacks its operators beside a torch for processors; reading pictures needs none of them.
OPERATORS = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def examples() -> list[tuple[str, str]]:
    """(library, code) of every example on the page of places."""
    parts = re.split(r"^## (.*)$", (GUIDE / "places.md").read_text("utf-8"), flags=re.MULTILINE)
    return [
        (title, code)
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("library", "code"), examples(), ids=[library for library, _ in examples()])
def test_pictures_are_where_the_guide_says(library: str, code: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "demo" / "photo.png", tmp_path / "photo.jpg")
    path = [str(ROOT / "src")]
    if library == "torchvision":
        if not TORCHVISION.is_dir():
            pytest.skip(f"there is no {TORCHVISION}; the Makefile makes it")
        path.append(str(TORCHVISION))
        code = OPERATORS + code
    (tmp_path / "example.py").write_text(code)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_every_place_of_the_table_has_an_example() -> None:
    table = re.findall(r"^\| ([^|]+) \| yes", (GUIDE / "places.md").read_text("utf-8"), re.MULTILINE)
    assert set(table) - {"Pillow"} == {library for library, _ in examples()}  # Pillow's is in pictures.md and README


@pytest.mark.skipif(shutil.which("file") is None, reason="file is not installed")
def test_file_knows_the_magic_number(tmp_path: Path) -> None:
    def told(*arguments: str | Path) -> str:
        return subprocess.run(["file", "-b", "-m", MAGIC, *arguments], capture_output=True, text=True).stdout.strip()

    assert told(PHOTO) == "DPC image data, version 2"
    assert told("--mime-type", PHOTO) == "image/x-dpc"
    assert told("--extension", PHOTO) == "dpc"
    assert told(make_tiny.GOLDEN / "grey.dpc").endswith("grey")
    assert "DPC" not in told(ROOT / "demo" / "photo.png")


@pytest.mark.skipif(shutil.which("update-mime-database") is None, reason="shared-mime-info is not installed")
def test_desktops_know_the_type(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    shutil.copy(MIME, tmp_path / "packages")
    subprocess.run(["update-mime-database", tmp_path], check=True, capture_output=True)
    assert "60:image/x-dpc" in (tmp_path / "magic").read_bytes().decode("latin-1")
    assert b"\x89DPC" in (tmp_path / "magic").read_bytes()
    assert "50:image/x-dpc:*.dpc" in (tmp_path / "globs2").read_text().splitlines()


def test_one_mime_type_everywhere() -> None:
    names = {
        *re.findall(r'type="(image/[^"]+)"', MIME.read_text()),
        *re.findall(r"image/[\w-]+", MAGIC.read_text()),
        *re.findall(r"image/x-d[\w-]+", (GUIDE / "mime.md").read_text("utf-8")),
        *re.findall(r'"(image/[^"]+)"', (ROOT / "src" / "dpc" / "pillow_plugin.py").read_text("utf-8")),
        *re.findall(r"image/[\w-]*dpc", (GUIDE / "web.md").read_text("utf-8")),
        *(
            name
            for path in (ROOT / "web" / "src").rglob("*.ts")
            for name in re.findall(r"image/[\w-]*dpc", path.read_text("utf-8"))
        ),
    }
    assert names == {"image/x-dpc"}
