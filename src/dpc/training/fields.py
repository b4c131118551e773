"""Recipes as frozen dataclasses, made of plain data: unknown keys, wrong types and numbers out of range are refused.

By hand, as a pack trains on machines that have no pydantic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from dpc.errors import DPCError

__all__ = ["RecipeError", "build", "check_digits", "within"]

KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


class RecipeError(DPCError):
    """A recipe that cannot be read: unknown key, wrong type, value out of range."""


def build(cls: type[Any], table: Any, where: str, nested: Mapping[str, Callable[[Any], Any]] | None = None) -> Any:
    """An instance of a dataclass. nested: makes the values of some keys. A key may lack its field's last underscore.

    RecipeError that names the key and where it stands.
    """
    if not isinstance(table, dict):
        raise RecipeError(f"{where} must be a table, not {type(table).__name__}")
    fields = {f.name.rstrip("_"): f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise RecipeError(f"unknown key {key!r} in {where}; known keys: {', '.join(fields)}")
        values[fields[key].name] = nested[key](value) if nested and key in nested else _typed(fields[key], value, where)
    missing = [key for key, f in fields.items() if f.name not in values and _needed(f)]
    if missing:
        raise RecipeError(f"{where} lacks {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _typed(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """A value of a field's type; lists become tuples, whole numbers floats where a float is meant."""
    kind = str(field.type).removesuffix(" | None")
    value = tuple(value) if isinstance(value, list) else value
    key = field.name.rstrip("_")
    if not isinstance(value, KINDS.get(kind, (tuple,))) or (isinstance(value, bool) and kind != "bool"):
        raise RecipeError(f"{key} = {value!r} in {where} must be of type {kind}")
    return float(value) if isinstance(value, int) and kind == "float" else value


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def within(owner: Any, names: str, least: float, most: float = math.inf, *, above: bool = False) -> None:
    """ValueError unless the fields that are named, with spaces between, lie in [least, most], and are finite.

    above: they must be more than least. A field that is None is left alone.
    """
    for name in names.split():
        value = getattr(owner, name)
        if value is None or (math.isfinite(value) and least <= value <= most and not (above and value == least)):
            continue
        end = f"at most {most:,g}" if math.isfinite(most) else "finite"
        raise ValueError(
            f"{name.rstrip('_')} = {value}: it must be {'above' if above else 'at least'} {least:g} and {end}"
        )


def check_digits(value: Any, key: str) -> None:
    """RecipeError for a whole number that no float can have."""
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise RecipeError(f"{key} = {str(value)[:20]}...: it must be below 2^63")
    for name, inner in value.items() if isinstance(value, dict) else ():
        check_digits(inner, str(name))
    for inner in value if isinstance(value, (list, tuple)) else ():
        check_digits(inner, key)
