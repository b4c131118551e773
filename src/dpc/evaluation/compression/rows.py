"""Rows: one for each codec, picture and quality, in a CSV file that grows as they are measured.

    codec, version, settings, model   what coded; model: the sha256 identity of a DPC artifact, of an earlier
                                      codec's weights or of CompressAI's checkpoint, of a precomputed picture that of
                                      its files (Folder.identity)
    seen                              metrics that it was trained on or selected by: names, none or unknown
                                      (dpc.evaluation.independence)
    command                           the call that made the file, Q for the quality; empty: not told
    image, sha256, width, height      which picture; the hash is of its file
    kind                              of picture, see dpc.evaluation.kinds; empty: not known
    quality, target                   on the codec's own scale; target: the bpp that it was searched for, or empty
    bytes, bpp                        of the whole file
    encode_s, decode_s                of one file
    memory_mb                         a fresh process's peak above its start, on a picture of about this size
    dpc, commit, tools                what measured
    psnr, ...                         one column for each of metrics.reference.NAMES; empty: not asked for,
                                      nan: the picture is too small for it

Failures lie beside it in failures.csv: codec, image, quality or target, and the reason.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dpc.errors import DPCError, ToolMissing
from dpc.evaluation.experiment.cells import LARGEST, Coded, Finite, Memory, Seconds, checked, lines, renamed
from dpc.evaluation.independence import UNKNOWN
from dpc.evaluation.metrics import METRICS
from dpc.evaluation.metrics.reference import NAMES
from dpc.files import atomic_write, csv_text

__all__ = ["Key", "Row", "append", "merged", "need_pyarrow", "read", "write", "write_parquet"]

Key: TypeAlias = "tuple[str, str, str, str, float | None, float | None]"


@dataclass(frozen=True)
class Row:
    """See the top of this file. metrics holds what was measured."""

    codec: str
    version: str
    settings: str
    model: str
    image: str
    sha256: str
    width: int
    height: int
    quality: float
    target: float | None
    bytes: int
    bpp: float
    encode_s: float
    decode_s: float
    memory_mb: float
    dpc: str
    commit: str
    tools: str
    metrics: Mapping[str, float]
    seen: str = UNKNOWN
    kind: str = ""
    command: str = ""

    @property
    def key(self) -> Key:
        """What makes a row the same row when a run is repeated: codec, picture and quality, or the target."""
        quality = self.quality if self.target is None else None
        return self.codec, self.version, self.settings, self.sha256, quality, self.target

    @property
    def precomputed(self) -> bool:
        """Whether somebody else coded it, and only the file's size and the decoded picture are known."""
        return self.settings.startswith("precomputed")


_FIELDS = [f.name for f in dataclasses.fields(Row) if f.name != "metrics"]
COLUMNS = (*_FIELDS, *NAMES)
_WHOLE = ("width", "height", "bytes")
_NUMBERS = ("quality", "target", "bpp", "encode_s", "decode_s", "memory_mb")


class _Cells(Coded):
    """The columns as a file has them, checked."""

    image: str
    quality: Finite
    encode_s: Seconds
    decode_s: Seconds
    memory_mb: Memory
    seen: str = UNKNOWN
    kind: str = ""
    command: str = ""


def read(path: Path) -> list[Row]:
    """The rows of a file, none when it does not exist; DPCError when it is something else.

    A file whose name ends in .parquet is one of `write_parquet` (ToolMissing without pyarrow). Of a CSV file
    a last line that was cut off when a run was killed is left out.
    """
    if not path.exists():
        return []
    try:
        if path.suffix == ".parquet":
            cells = list(enumerate(_read_parquet(path), 1))
        else:
            text = path.read_bytes()
            cells = list(lines(text[: text.rfind(b"\n") + 1].decode("utf-8")))
    except (ValueError, csv.Error) as error:
        raise DPCError(
            f"{path} does not hold rows of this version ({type(error).__name__} {error}); give another file"
        ) from error
    return [
        Row(**{name: getattr(row, name) for name in _FIELDS}, metrics=_metrics(given, f"{path}, line {number}"))
        for row, (number, given) in zip(checked(_Cells, cells, path), cells, strict=True)
    ]


def _metrics(cells: Mapping[str, Any], place: str) -> dict[str, float]:
    """The metrics of a row, each nan or within its range; an empty cell was not asked for."""
    found = {}
    for name in NAMES:
        if (cell := cells.get(name)) in ("", None):
            continue
        low, high = (METRICS[name].low, METRICS[name].high) if name in METRICS else (0.0, LARGEST)
        try:
            value = float(cell)
        except (TypeError, ValueError):
            raise DPCError(f"{place}: {name} is {cell!r:.60}, no number; correct that row or remove it") from None
        endless = math.isinf(value) and value == high  # what identical pictures have
        if not math.isnan(value) and not endless and not max(low, -LARGEST) <= value <= min(high, LARGEST):
            raise DPCError(
                f"{place}: {name} is {value:g}, but lies between {low:g} and {high:g}; correct that row or remove it"
            )
        found[name] = value
    return found


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row of each key, the last; it keeps what an earlier one measured of the same file and it did not."""
    found: dict[Key, Row] = {}
    for row in rows:
        before = found.get(row.key)
        if before and (before.bytes, before.model) == (row.bytes, row.model):
            row = dataclasses.replace(row, metrics={**before.metrics, **row.metrics})
        found[row.key] = row
    return list(found.values())


def append(path: Path, rows: Sequence[Row]) -> None:
    """Add rows at the end; the file and its header are made when they are not there."""
    new = not path.exists() or not path.stat().st_size
    text = _table(rows)
    with open(path, "a", newline="", encoding="utf-8") as file:
        file.write(text if new else text.partition("\n")[2])


def write(path: Path, rows: Sequence[Row]) -> None:
    """The file with exactly these rows, as a whole or not at all."""
    atomic_write(path, _table(rows))


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        cells = {name: _text(getattr(row, name), exact=name in ("quality", "target")) for name in _FIELDS}
        cells |= {name: _text(value) for name, value in row.metrics.items()}
        lines.append([cells.get(name, "") for name in COLUMNS])
    return csv_text(COLUMNS, lines)


def need_pyarrow() -> None:
    """ToolMissing unless pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ToolMissing("Parquet needs the package pyarrow; pip install pyarrow") from error


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a Parquet file with the columns of the CSV file, as a whole or not at all; a missing value is null.

    Raises ToolMissing without pyarrow.
    """
    need_pyarrow()
    import pyarrow
    from pyarrow import parquet

    kinds = {name: pyarrow.float64() for name in (*NAMES, *_NUMBERS)}
    kinds |= dict.fromkeys(_WHOLE, pyarrow.int64())
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    values = [{name: getattr(row, name) for name in _FIELDS} | dict(row.metrics) for row in rows]
    atomic_write(path, lambda file: parquet.write_table(pyarrow.Table.from_pylist(values, schema), file))


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    need_pyarrow()
    import pyarrow
    from pyarrow import parquet

    try:
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise DPCError(f"{path} is not a Parquet file; give another") from error
    return [renamed(row) for row in found]


def _text(value: Any, exact: bool = False) -> Any:
    """A cell; exact: all digits, because the value is part of the row's key."""
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.12g}"
        return text if not exact or float(text) == value else repr(value)
    return value
