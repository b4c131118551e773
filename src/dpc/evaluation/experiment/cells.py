"""Rows from outside: which numbers can be a row's, and one line for what cannot.

A row may come from anywhere. A rate of 0 or a size without end would put a codec at the top of a table: such a row is
refused, with its line and its column.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dpc.errors import DPCError

__all__ = ["LARGEST", "Coded", "Finite", "Memory", "Seconds", "checked", "lines", "renamed", "why"]

RENAMED = {"goal": "target"}
"""Columns of older rows -> their names of today. Such rows are read as they are."""

LARGEST = 1e9  # of any number that is neither a size nor endless by nature
NEAR = 1e-3  # bpp and bytes of a row agree within this share; rows hold 12 digits

Model = TypeVar("Model", bound=BaseModel)


def _nothing(value: Any) -> Any:
    """An empty cell is no number."""
    return None if value == "" else value


def _measured(low: float) -> Callable[[float], float]:
    def check(value: float) -> float:
        if not math.isnan(value) and not low <= value <= LARGEST:
            raise ValueError(f"must be {low:g} to {LARGEST:g}, or nan where it is not known")
        return value

    return check


Side = Annotated[int, Field(ge=1, le=1 << 20)]
Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Seconds = Annotated[float, AfterValidator(_measured(0))]
Memory = Annotated[float, AfterValidator(_measured(-LARGEST))]  # a difference, of a small codec about 0


class Coded(BaseModel):
    """The columns that rows of every experiment have; an empty target is none."""

    model_config = ConfigDict(extra="ignore")

    codec: Annotated[str, Field(min_length=1, max_length=200)]
    version: str
    settings: str
    model: str
    sha256: str
    width: Side
    height: Side
    quality: Annotated[Finite | None, BeforeValidator(_nothing)]
    target: Annotated[Rate | None, BeforeValidator(_nothing)]
    bytes: Annotated[int, Field(ge=1, le=1 << 53)]
    bpp: Rate
    dpc: str
    commit: str
    tools: str

    @model_validator(mode="after")
    def _agree(self) -> Coded:
        bpp = 8 * self.bytes / (self.width * self.height)
        if abs(self.bpp / bpp - 1) > NEAR:
            raise ValueError(
                f"bpp is {self.bpp:g}, but {self.bytes} bytes of {self.width}x{self.height} pixels are {bpp:g}"
            )
        return self


def lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line, its cells by column) of a table in CSV; the first line is its header."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for cells in reader:
        yield reader.line_num, renamed(cells)


def renamed(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row under the names that their columns have today."""
    return {RENAMED.get(name, name): cell for name, cell in cells.items()}


def checked(model: type[Model], rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path) -> Iterator[Model]:
    """The rows as a model has them; DPCError, naming line, column and value, at the first that cannot be one."""
    for number, cells in rows:
        try:
            yield model.model_validate(cells)
        except ValidationError as error:
            if any(fault["type"] == "missing" for fault in error.errors()):
                raise DPCError(
                    f"{path} does not hold rows of this version ({why(error)}); move it away or give another folder"
                ) from None
            raise DPCError(f"{path}, line {number}: {why(error)}; correct that row or remove it") from None


def why(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: where, what is there, what must be."""
    faults = error.errors(include_url=False)
    first = next((fault for fault in faults if fault["type"] == "missing"), faults[0])
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    said = " ".join(first["msg"].removeprefix("Value error, ").split())
    if first["type"] == "missing":
        return f"it has no {place}"
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{given[:60]}..."
    return f"{place} is {shown}: {said}" if place else said
