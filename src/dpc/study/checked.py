"""What pydantic says of a faulty value, in one line."""

from __future__ import annotations

from pydantic import ValidationError

__all__ = ["one_line"]


def one_line(error: ValidationError) -> str:
    """The first fault: where, what was given, what is allowed."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {where!r}; look for a spelling mistake, or remove it"
    if first["type"] in ("missing", "missing_argument"):
        return f"{where} is missing"
    given = repr(first["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "it must").replace("tuple", "list")
    return f"{where} = {given}: {message}" if where else message
