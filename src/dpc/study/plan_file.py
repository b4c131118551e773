"""study.toml, which a person edits, and prepared.json, which says what was made of it.

    study.toml        the draft, with comments
    prepared.json     methods, pictures, names of the rates, colour plates, and the parts of the draft they were made of
    truth.csv         one line per picture file: which method, rate and bytes it is (never served)
    stimuli/*.png     the picture files, under random names
    plates/*.png      colour plates
    coded/            the compressed files, so that a second `dpc study prepare` codes nothing again; may be deleted
    secret.key        signs sessions; only its owner may read it
    votes.sqlite      what people did, unless a database is given

A study of format 1, which an earlier dpc made, has all of it in study.toml and no prepared.json; it is still read.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jinja2
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dpc.errors import OptionError
from dpc.files import atomic_write
from dpc.reading import read_json, read_toml, validated
from dpc.study.plan import Asked, Draft, Method, Picture, Plan

__all__ = ["Prepared", "made_from", "read", "read_draft", "write", "write_prepared"]

FORMAT = 2
LARGEST = 1 << 24  # bytes of a prepared.json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Prepared:
    """What was made of a draft. made_from: `made_from` of it."""

    format: int
    made_by: str
    rates: tuple[str, ...]
    methods: tuple[Method, ...]
    pictures: tuple[Picture, ...]
    plates: tuple[str, ...]
    made_from: dict[str, Any] = Field(default_factory=dict)


def write(draft: Draft, path: Path) -> None:
    """The draft as TOML with comments, as a whole or not at all."""
    environment = jinja2.Environment(  # this is no HTML: every value goes through the filter
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = _toml
    atomic_write(path, environment.get_template("study.toml").render(d=draft))


def write_prepared(prepared: Prepared, path: Path) -> None:
    """prepared.json, as a whole or not at all."""
    atomic_write(path, json.dumps(dataclasses.asdict(prepared), indent=1, ensure_ascii=False) + "\n")


def made_from(draft: Draft) -> dict[str, Any]:
    """The parts of a draft that the pictures were made of: they must not be changed without making them again."""
    kept = {"seed": draft.seed, "design.tolerance": draft.design.tolerance, "screening.colour": draft.screening.colour}
    kept |= {f"sources.{name}": value for name, value in dataclasses.asdict(draft.sources).items()}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def read_draft(path: Path) -> Draft:
    """What a person wrote; OptionError with one line for whatever is wrong with it."""
    table = _table(path)
    if table.get("format") == 1:
        raise OptionError(f"{path} was prepared by an earlier dpc (format 1) and is complete; serve or report it")
    return _draft(table, path)


def read(folder: Path) -> Plan:
    """The plan of a study whose pictures were made; OptionError with one line for whatever is wrong with it."""
    path = folder / "study.toml"
    table = _table(path)
    if table.get("format") == 1:
        del table["format"]
        return validated(path, table, Plan)
    draft, prepared = _draft(table, path), _prepared(folder)
    now = made_from(draft)
    for name, before in prepared.made_from.items():
        if now.get(name) != before:
            raise OptionError(
                f"{path}: {name} = {now.get(name)!r}, but the pictures were made with {before!r}; change it back, or "
                f"run dpc study prepare {folder} again"
            )
    own = {f.name: getattr(draft, f.name) for f in dataclasses.fields(Asked)}
    own |= {name: getattr(prepared, name) for name in ("rates", "methods", "pictures", "made_by")}
    own["screening"] = dataclasses.replace(draft.screening, plates=prepared.plates)
    return validated(path, {**own, "crop": draft.sources.crop, "command": f"dpc study prepare {folder}"}, Plan)


def _prepared(folder: Path) -> Prepared:
    path = folder / "prepared.json"
    if not path.exists():
        raise OptionError(f"{folder} has no pictures yet; edit {folder}/study.toml, then dpc study prepare {folder}")
    return read_json(path, Prepared, LARGEST)


def _table(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise OptionError(f"there is no {path}; make a study with dpc study new")
    table = read_toml(path, dict[str, Any])
    number = table.pop("format", None)
    if number not in (1, FORMAT):
        raise OptionError(f"{path} is of format {number!r}, this dpc reads 1 and {FORMAT}; use the dpc that made it")
    return {**table, "format": number}


def _draft(table: dict[str, Any], path: Path) -> Draft:
    return validated(path, {name: value for name, value in table.items() if name != "format"}, Draft)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    # a JSON string is a TOML basic string, but for the delete character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else str(value)
