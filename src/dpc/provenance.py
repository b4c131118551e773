"""What made a file or a row: the commit of this code, the packages that decide figures, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path

__all__ = ["commit", "commit_of", "tools", "version_of"]

PROJECT = 'name = "dpc-codec"'  # the line of pyproject.toml that tells this repository from all others


@lru_cache(maxsize=1)
def commit() -> str:
    """The git commit of the code that runs, see commit_of."""
    return commit_of(Path(__file__).resolve().parent)


def commit_of(package: Path) -> str:
    """The git commit of a checkout of this project, by the folder of its package (src/dpc in it).

    40 hexadecimal digits, "-dirty" behind them where a file below src differs from the commit or is not in it. "" where
    the package is not in such a checkout: an installed copy may lie inside of another repository, whose commit says
    nothing about it.
    """
    root = package.parent.parent
    # git's own variables name another repository while one of its hooks runs
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
        return done.stdout.strip()

    try:
        if PROJECT not in (root / "pyproject.toml").read_text(encoding="utf-8").splitlines():
            return ""
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return ""
        git("ls-files", "--error-unmatch", str(package / "__init__.py"))
        found = git("rev-parse", "HEAD")
        return found + ("-dirty" if git("status", "--porcelain", "--", "src") else "")
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


@lru_cache(maxsize=1)
def tools() -> str:
    """Python, the packages that decide figures, and the machine."""
    packages = ("numpy", "Pillow", "onnxruntime", "constriction", "torch", "ssimulacra2")
    versions = [f"{name} {v}" for name in packages if (v := version_of(name))]
    with suppress(ImportError, AttributeError):  # Pillow names libavif's version alone, not that of its coders
        versions.append(import_module("PIL._avif").codec_versions())
    python = f"Python {sys.version.split()[0]}"
    return ", ".join([python, *versions, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"])


@lru_cache(maxsize=32)
def version_of(package: str) -> str:
    """The version of an installed package, "" when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
