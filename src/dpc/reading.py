"""Reading what people write: TOML and JSON files, and CSV tables, held against pydantic models.

Whatever is wrong with a file is one OptionError line that names the file, the place in it, the value and the limit.
pydantic comes with the extras, and `table` does without it: `import dpc` loads neither this module nor pydantic.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dpc.errors import OptionError, ToolMissing

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter

__all__ = ["read_csv", "read_json", "read_toml", "table", "validated"]

MAX_CONFIG = 1 << 20  # bytes of a TOML file
MAX_DEPTH = 32  # nested lists and tables in one
MAX_ROWS = 10_000_000
MAX_CELL = 1 << 16  # characters
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
SHOWN = 60  # characters of a value in an error

Model = TypeVar("Model", bound="BaseModel")
Kind = TypeVar("Kind")


def read_toml(path: Path, kind: type[Kind], limit: int = MAX_CONFIG) -> Kind:
    """The TOML file as an instance of `kind`, a pydantic model or a type of its fields. OptionError."""
    return validated(path, _toml(path, limit), kind)


def read_json(path: Path, kind: type[Kind], limit: int = MAX_CONFIG) -> Kind:
    """The JSON file as an instance of `kind`; NaN and Infinity, which JSON does not have, are refused. OptionError."""
    return validated(path, _json(path, limit), kind)


def table(path: Path, limit: int = MAX_CONFIG) -> dict[str, Any]:
    """What a .json file, or a TOML file of any other name, holds, unchecked. OptionError unless it is a table."""
    found = _json(path, limit) if path.suffix.lower() == ".json" else _toml(path, limit)
    if not isinstance(found, dict):
        raise OptionError(f"{path} holds a {type(found).__name__}, not a table of names and values")
    return _shallow(path, found)


def _toml(path: Path, limit: int) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(_text(path, limit))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, as is a number too long for Python
        raise OptionError(f"{path} is not TOML: {_line(error)}") from error


def _json(path: Path, limit: int) -> Any:
    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        return json.loads(_text(path, limit), parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not JSON: {_line(error)}") from error


def read_csv(path: Path, model: type[Model], most: int = MAX_ROWS) -> Iterator[Model]:
    """The rows of a CSV table with a header, one by one; columns that the model does not know are its own affair.

    Empty cells count as missing. At most `most` rows. OptionError for all that is wrong, with the line's number.
    """
    before = csv.field_size_limit(MAX_CELL)  # it holds for the whole process
    at = 1  # the line where what is read next begins
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            _check_header(path, header, model)
            at = lines.line_num + 1
            for number, line in enumerate(lines, 1):
                begin, at = at, lines.line_num + 1
                if not line:
                    continue
                if number > most:
                    raise OptionError(f"{path} has more than {most:,} rows; cut it into parts")
                if len(line) != len(header):
                    raise OptionError(f"{path}, line {begin}: {len(line)} cells under {len(header)} column names")
                cells = {name: cell for name, cell in zip(header, line, strict=True) if cell}
                yield validated(path, cells, model, f"line {begin}")
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise OptionError(f"{path}, line {at}: this is not CSV in UTF-8: {_line(error)}") from error
    finally:
        csv.field_size_limit(before)


def validated(path: Path, found: Any, kind: type[Kind], where: str = "") -> Kind:
    """What was read as an instance of `kind`; OptionError names the file, the place in it, the value and the limit."""
    try:
        from pydantic import ValidationError
    except ImportError as error:
        raise ToolMissing("this needs the package pydantic; pip install 'pydantic>=2.10'") from error
    _shallow(path, found)
    try:
        result: Kind = _adapter(kind).validate_python(found)
        return result
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        first = next((fault for fault in faults if fault["type"] in UNKNOWN), faults[0])  # it may explain the others
        place = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] == "missing" else f" (it is {_short(first['input'])})"
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] in UNKNOWN:
            said, value = "unknown; look for a spelling mistake, or remove it", ""
        more = f"; {error.error_count() - 1} more faults" if error.error_count() > 1 else ""
        begin = ", ".join(part for part in (str(path), where, place) if part)
        raise OptionError(f"{begin}: {said}{value}{more}") from error
    except (OverflowError, RecursionError) as error:
        raise OptionError(f"{path}: {_line(error)}") from error


_adapters: dict[Any, TypeAdapter[Any]] = {}  # made once a kind, as that takes longer than a row


def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _text(path: Path, limit: int) -> str:
    """The text of a regular file of at most `limit` bytes. OptionError."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise OptionError(f"{path} has more than {limit:,} bytes, the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error


def _check_header(path: Path, header: list[str], model: type[BaseModel]) -> None:
    if len(set(header)) != len(header):
        raise OptionError(f"{path} has a column twice: {', '.join(header)[:SHOWN]}")
    needed = [field.alias or name for name, field in model.model_fields.items() if field.is_required()]
    if missing := [name for name in needed if name not in header]:
        raise OptionError(f"{path} lacks the columns {', '.join(missing)}; its first line must name the columns")


def _shallow(path: Path, found: Kind) -> Kind:
    if _depth(found) > MAX_DEPTH:
        raise OptionError(f"{path} nests deeper than {MAX_DEPTH} levels")
    return found


def _depth(value: Any) -> int:
    """How deep lists and tables nest in each other, counted no further than one above MAX_DEPTH."""
    layer, depth = [value], 0
    while layer and depth <= MAX_DEPTH:
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += bool(layer)
    return depth


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
