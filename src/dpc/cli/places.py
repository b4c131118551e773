"""Where files are: on this machine, or anywhere that fsspec opens (s3://bucket/photo.jpg, memory://, sftp://)."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from dpc.errors import ToolMissing
from dpc.files import atomic_write

__all__ = ["STDIO", "exists", "is_folder", "is_stream", "is_url", "join", "read", "walk", "write"]

STDIO = "-"
"""Stands for stdin as an input and for stdout as an output."""


def is_url(path: str) -> bool:
    """Whether it is a place for fsspec, such as s3://bucket/photo.jpg."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def is_stream(path: str) -> bool:
    """Whether it can be read only once, in order: stdin, a pipe, a device."""
    if path == STDIO:
        return True
    try:
        mode = 0 if is_url(path) else os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def is_folder(path: str) -> bool:
    """Whether it is a folder, here or behind fsspec."""
    if not is_url(path):
        return os.path.isdir(path)
    system, inner = _opened(path)
    return bool(system.isdir(inner))


def exists(path: str) -> bool:
    """Whether there is a file or a folder."""
    if not is_url(path):
        return os.path.lexists(path)
    system, inner = _opened(path)
    return bool(system.exists(inner))


def join(folder: str, name: str) -> str:
    """The place of a name below a folder; the name has slashes between its parts."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder, *name.split("/")))


def read(path: str) -> bytes:
    """The bytes of a file, once; "-" is stdin. OSError, ToolMissing."""
    if path == STDIO:
        return sys.stdin.buffer.read()
    if not is_url(path):
        return Path(path).read_bytes()
    system, inner = _opened(path)
    data: bytes = system.cat_file(inner)
    return data


def write(path: str, data: bytes, overwrite: bool) -> None:
    """Put the whole file there, making its folder. FileExistsError; OSError.

    Behind fsspec it is handed over in one piece: object stores show it whole or not at all, for others that is theirs.
    """
    if not is_url(path):
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data, overwrite=overwrite)
        return
    system, inner = _opened(path)
    if not overwrite and system.exists(inner):
        raise FileExistsError(f"{path} exists")
    system.makedirs(str(PurePosixPath(inner).parent), exist_ok=True)
    system.pipe_file(inner, data)


def walk(folder: str, failed: Callable[[OSError], None]) -> list[tuple[str, str]]:
    """(place, name relative to the folder) of every file below a folder, sorted; hidden ones and links to folders too.

    failed: is told of every folder that cannot be read.
    """
    if is_url(folder):
        system, inner = _opened(folder)
        return [
            (system.unstrip_protocol(p), str(PurePosixPath(p).relative_to(inner))) for p in sorted(system.find(inner))
        ]
    found = []
    for place, folders, files in os.walk(folder, onerror=failed):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name) for name in [*files, *links]]
    return [(str(p), p.relative_to(folder).as_posix()) for p in sorted(found)]


def _opened(path: str) -> tuple[Any, str]:
    """fsspec's file system of a place, and the place in it."""
    try:
        import fsspec
    except ImportError as error:
        raise ToolMissing(f"{path} needs the package fsspec; pip install fsspec, or use a local path") from error
    try:
        system, inner = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ToolMissing(f"{path} cannot be opened by fsspec: {' '.join(str(error).split())}") from error
    return system, inner
