"""Kinds of pictures: a codec that leads on photographs may lose on text, and a mean over both hides it.

A list of kinds is a CSV file with the columns image (file name without its ending) and kind. It is called kinds.csv and
lies beside the pictures, or is given. Kinds may have any name; these are the usual ones:

    photographs   landscapes, objects, animals
    faces         faces and crowds
    text          pages, windows and screens
    signs         signs and architecture: letters and hard edges in a scene
    drawings      charts, diagrams, maps, drawings
"""

from __future__ import annotations

import csv
from pathlib import Path

from dpc.errors import OptionError

__all__ = ["FILE", "KINDS", "beside", "read"]

FILE = "kinds.csv"
KINDS = ("photographs", "faces", "text", "signs", "drawings")


def read(path: Path) -> dict[str, str]:
    """{image: kind} of a list. OptionError names what is wrong with it."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path} cannot be read as a list of kinds: {error}") from error
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        image, kind = (row.get("image") or "").strip(), (row.get("kind") or "").strip()
        if not image or not kind:
            raise OptionError(f"{path}, line {number}: give an image and its kind, under the heads image and kind")
        if found.setdefault(image, kind) != kind:
            raise OptionError(f"{path}, line {number}: {image} is {found[image]} already; give each image one kind")
    if not found:
        raise OptionError(f"{path} names no image; its columns are image and kind")
    return found


def beside(pictures: Path) -> dict[str, str]:
    """The kinds of kinds.csv in a folder of pictures, or beside one picture; {} when there is none."""
    folder = pictures if pictures.is_dir() else pictures.parent
    return read(folder / FILE) if (folder / FILE).is_file() else {}
