"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dpc.errors import OptionError

__all__ = [
    "CompressAI",
    "CompressAIWeights",
    "Engine",
    "Folders",
    "LpipsWeights",
    "Processes",
    "Qualities",
    "Threads",
    "folders_of",
    "numbers",
    "qualities_of",
    "words",
]

Processes: TypeAlias = Annotated[int, typer.Option("--processes", metavar="N", min=1, help="Pictures side by side.")]
Threads: TypeAlias = Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Threads of each process.")]
Engine: TypeAlias = Annotated[str, typer.Option("--engine", metavar="E", help="processes, or ray: a cluster.")]
Folders: TypeAlias = Annotated[
    list[str] | None, typer.Option("--folder", metavar="NAME=D", help="Decoded pictures and sizes.csv.")
]
Qualities: TypeAlias = Annotated[
    list[str] | None, typer.Option("--qualities", metavar="[C=]Q,Q", help="Code at these, of all or of one codec.")
]
LpipsWeights: TypeAlias = Annotated[
    Path | None, typer.Option("--lpips-weights", metavar="D", help="Folder of the LPIPS weights.")
]
CompressAI: TypeAlias = Annotated[
    str | None, typer.Option("--compressai", metavar="PYTHON", help="The Python that has compressai.")
]
CompressAIWeights: TypeAlias = Annotated[
    str | None, typer.Option("--compressai-weights", metavar="W", help="A checkpoint, or untrained.")
]


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers in "0.15,0.25"; OptionError names the option."""
    try:
        return tuple(float(part) for part in words(text))
    except ValueError as error:
        raise OptionError(f"{option} {text}: give numbers with commas between them") from error


def words(text: str) -> list[str]:
    """The parts of "a,b"."""
    return [part.strip() for part in text.split(",") if part.strip()]


def folders_of(texts: list[str]) -> dict[str, str]:
    """Name -> folder of ["name=folder"]; OptionError otherwise, and for a name that is there twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, place = text.partition("=")
        if not name or not place:
            raise OptionError(f"--folder {text}: write it as NAME=DIR")
        if name in found:
            raise OptionError(f"--folder {text}: {name} is {found[name]} already; give one of them another name")
        found[name] = place
    return found


def qualities_of(texts: list[str]) -> dict[str, tuple[float, ...]]:
    """Codec -> qualities, under "" those of all others."""
    found = {}
    for text in texts:
        name, _, values = text.rpartition("=")
        if name in found:
            raise OptionError(f"--qualities {text}: {name or 'the others'} were given already; write them in one list")
        found[name] = numbers("--qualities", values)
    return found
