"""The templates of the study's pages: files, with every value escaped."""

from __future__ import annotations

from pathlib import Path

import jinja2

__all__ = ["environment"]


def environment() -> jinja2.Environment:
    """The templates of the package."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
