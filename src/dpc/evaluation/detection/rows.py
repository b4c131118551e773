"""Rows: one for each detector, codec, picture and quality; a file for each codec, CSV under gzip.

    detector, detector_version, detector_settings    what looked
    codec, version, settings, model                  what coded; codec "original" is the picture as it was
    annotations                                      sha256 of the annotations file
    image, file, sha256, width, height               which picture: its id there, its file's name and hash
    quality, target                                  on the codec's own scale; target: the bpp that was searched for
    bytes, bpp                                       of the whole file
    dpc, commit, tools                               what measured
    found                                            category:score:left:top:width:height, a semicolon between two

A file grows by one gzip member for each row, so what a killed run leaves is readable (zcat, pandas) up to its last row;
it is written as a whole, in order, when the run ends.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dpc.errors import DPCError
from dpc.evaluation.experiment.cells import LARGEST, Coded, checked, lines
from dpc.evaluation.figures import file_name
from dpc.files import atomic_write

__all__ = ["ORIGINAL", "Key", "Row", "append", "file_of", "read", "rounded", "write"]

ORIGINAL = "original"
PIECE = 1 << 14  # bytes that are unzipped at a time
Key: TypeAlias = "tuple[str, str, str, str, str, str, str, int, str, float | None, float | None]"
Boxes: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, eq=False)
class Row:
    """See the top of this file. found: (N, 6) float64, as rounded() gives it."""

    detector: str
    detector_version: str
    detector_settings: str
    codec: str
    version: str
    settings: str
    model: str
    annotations: str
    image: int
    file: str
    sha256: str
    width: int
    height: int
    quality: float
    target: float | None
    bytes: int
    bpp: float
    dpc: str
    commit: str
    tools: str
    found: Boxes

    @property
    def key(self) -> Key:
        """What makes a row the same row when a run is repeated."""
        kinds = (self.detector, self.detector_version, self.detector_settings, self.codec, self.version, self.settings)
        return *kinds, self.annotations, self.image, self.sha256, *self.point

    @property
    def point(self) -> tuple[float | None, float | None]:
        """(quality, None), or (None, target) where the rate of the picture was searched for."""
        if self.target is not None:
            return None, self.target
        return None if math.isnan(self.quality) else self.quality, None


_FIELDS = [f.name for f in dataclasses.fields(Row)]


class _Cells(Coded):
    """The columns as a file has them, checked; boxes are numbers, with scores of 0 to 1."""

    detector: str
    detector_version: str
    detector_settings: str
    annotations: str
    image: Annotated[int, Field(ge=-(1 << 53), le=1 << 53)]
    file: str
    found: Any

    @field_validator("found")
    @classmethod
    def _boxes(cls, text: str) -> Boxes:
        boxes = [box.split(":") for box in text.split(";")] if text else []
        if any(len(box) != 6 for box in boxes):
            raise ValueError("a box is category:score:left:top:width:height")
        values = np.array([list(map(float, box)) for box in boxes], np.float64).reshape(-1, 6)
        if not (np.isfinite(values) & (np.abs(values) <= LARGEST)).all():
            raise ValueError(f"boxes are finite numbers of up to {LARGEST:g}")
        if ((values[:, 1] < 0) | (values[:, 1] > 1)).any():
            raise ValueError("scores are 0 to 1")
        return values


def rounded(found: Boxes) -> Boxes:
    """Boxes as a row holds them: scores to 5 places, pixels to 2."""
    return np.round(found * [1, 1e5, 100, 100, 100, 100]) / [1, 1e5, 100, 100, 100, 100]


def file_of(folder: Path, codec: str) -> Path:
    """The file of a codec's rows."""
    return folder / f"{file_name(codec)}.csv.gz"


def read(path: Path) -> list[Row]:
    """The rows of a file, none when it does not exist; DPCError when it is damaged or something else.

    Of a last part that was cut off when a run was killed, the rows that are whole count.
    """
    if not path.exists():
        return []
    limit = csv.field_size_limit(1 << 24)  # some thousand boxes of one picture are longer than the default
    try:
        text = _unzip(path.read_bytes())
        cells = list(lines(text[: text.rfind(b"\n") + 1].decode("utf-8")))
    except (ValueError, csv.Error) as error:
        raise DPCError(
            f"{path} does not hold rows of this version ({type(error).__name__} {error}); move it away or give "
            "another folder"
        ) from error
    finally:
        csv.field_size_limit(limit)  # it holds for the whole process
    # every member of the file begins with the header
    rows = [(number, line) for number, line in cells if line.get("detector") != "detector"]
    return [_row(row) for row in checked(_Cells, rows, path)]


def append(path: Path, rows: Sequence[Row]) -> None:
    """Add rows at the end, as a member of their own; every member begins with the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(_zip(rows))


def write(path: Path, rows: Sequence[Row]) -> None:
    """The file with exactly these rows, as a whole or not at all. The same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _zip(rows))


def _zip(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    for row in rows:
        writer.writerow([_text(getattr(row, name)) for name in _FIELDS])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _unzip(data: bytes) -> bytes:
    """All members, and what can be had of a last one that was cut off; ValueError for anything else."""
    parts: list[bytes] = []
    members, place = 0, 0
    view = memoryview(data)
    while place < len(data):
        member = zlib.decompressobj(31)
        while not member.eof and place < len(data):  # in pieces, as what is left behind a member is copied
            piece = view[place : place + PIECE]
            try:
                parts.append(member.decompress(piece))
            except zlib.error as error:
                raise ValueError(f"damaged after {members} whole parts: {error}") from error
            place += len(piece) - len(member.unused_data)
        members += 1
    return b"".join(parts)


def _text(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ";".join(f"{c:.0f}:{s:.5f}:{x:.2f}:{y:.2f}:{w:.2f}:{h:.2f}" for c, s, x, y, w, h in value)
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    return f"{value:.12g}" if isinstance(value, float) else value


def _row(cells: _Cells) -> Row:
    given = {name: getattr(cells, name) for name in _FIELDS}
    given["quality"] = math.nan if cells.quality is None else cells.quality
    return Row(**given)
