"""Names that changed: what was recorded under an old one is still read. (The database: `database.migrate`.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["OLD_COLUMNS", "OLD_VALUES", "renamed"]

OLD_COLUMNS = {"simulated": "rater_kind"}
"""Columns of tables of votes: old name -> new name."""
OLD_VALUES = {"rater_kind": {"yes": "simulated", "no": "people"}}
"""Column -> old value -> new value."""

Value = TypeVar("Value")


def renamed(row: Mapping[str, Value]) -> dict[str, Value]:
    """A row with the names and values of today."""
    found = {OLD_COLUMNS.get(name, name): value for name, value in row.items()}
    return {name: OLD_VALUES.get(name, {}).get(value, value) for name, value in found.items()}  # type: ignore
