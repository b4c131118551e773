"""Writing files: whole or not at all, and never through a name that someone else may know."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

__all__ = ["Content", "atomic_write", "csv_text"]

Content: TypeAlias = "bytes | str | Callable[[BinaryIO], object]"
"""Bytes, text (written as UTF-8), or a function that writes to a binary file that can seek."""


def atomic_write(path: str | os.PathLike[str], content: Content, *, overwrite: bool = True) -> None:
    """Put the whole content at path, or leave what is there as it is.

    The content goes to a new file in the same folder, whose name cannot be guessed, then to the disk, and then the
    file is renamed. An exception, SystemExit included, leaves nothing behind. A link at path is followed. The file gets
    the permissions of the umask. OSError says what failed; FileExistsError when the file exists and overwrite is False.
    """
    place = Path(os.path.realpath(path))
    part = place.with_name(f".dpc-{secrets.token_hex(8)}.part")
    ours = True
    try:
        try:
            file = open(part, "xb+")  # "x" is O_EXCL: a file or a link that was planted is refused, not followed
        except FileExistsError:
            ours = False
            raise
        with file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, place)
        else:
            _link_or_rename(part, place)
    finally:
        if ours:
            part.unlink(missing_ok=True)


def _link_or_rename(part: Path, place: Path) -> None:
    """Give a file its name if no other has it. A link fails when the name is taken; not every file system has links."""
    try:
        os.link(part, place)
    except FileExistsError:
        raise FileExistsError(f"{place} exists") from None
    except OSError:
        if place.exists():
            raise FileExistsError(f"{place} exists") from None
        os.replace(part, place)


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table as CSV: the header, then the lines, each ended by one newline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
