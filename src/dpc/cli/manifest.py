"""A list of pictures: a CSV or Parquet table with one row a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpc.errors import OptionError, ToolMissing
from dpc.reading import MAX_ROWS, read_csv, validated

__all__ = ["Row", "rows"]


class Row(BaseModel):
    """One picture: its place, where its output goes below --out-dir, and the target of this picture."""

    model_config = ConfigDict(allow_inf_nan=False)

    input: str = Field(min_length=1, max_length=4096)
    output: str | None = Field(None, min_length=1, max_length=4096)
    quality: float | None = Field(None, ge=1, le=100)
    bpp: float | None = Field(None, gt=0, le=64)
    max_bytes: int | None = Field(None, ge=1, le=1 << 40)

    @model_validator(mode="after")
    def _sound(self) -> Row:
        if len(self.target) > 1:
            raise ValueError(f"{' and '.join(self.target)} exclude each other, give one of them")
        if self.output is not None:
            place = PurePosixPath(self.output)
            if place.is_absolute() or ".." in place.parts or "\\" in self.output or "\0" in self.output:
                raise ValueError(f"the output {self.output!r} leaves --out-dir; give a path below it")
        if "\0" in self.input:
            raise ValueError("the input's name holds a zero byte")
        return self

    @property
    def target(self) -> dict[str, float]:
        """Those of quality, bpp and max_bytes that are given."""
        given = {"quality": self.quality, "bpp": self.bpp, "max_bytes": self.max_bytes}
        return {name: value for name, value in given.items() if value is not None}


def rows(path: Path) -> Iterator[Row]:
    """The rows of a .csv or .parquet file. OptionError, ToolMissing."""
    if path.suffix.lower() == ".csv":
        return read_csv(path, Row)
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    raise OptionError(f"--list {path} is neither .csv nor .parquet; give a table of one of these")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ToolMissing("Parquet needs the package pyarrow; pip install pyarrow, or give a .csv") from error
    try:
        with parquet.ParquetFile(path) as file:
            known = [name for name in Row.model_fields if name in file.schema_arrow.names]
            if "input" not in known:
                raise OptionError(f"{path} lacks the columns input")
            if file.metadata.num_rows > MAX_ROWS:
                raise OptionError(f"{path} has {file.metadata.num_rows:,} rows, the most are {MAX_ROWS:,}; cut it")
            number = 0
            for batch in file.iter_batches(1000, columns=known):
                for found in batch.to_pylist():
                    number += 1
                    yield validated(path, found, Row, f"row {number}")
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except pyarrow.ArrowException as error:
        raise OptionError(f"{path} is not a Parquet file: {' '.join(str(error).split())[:200]}") from error
