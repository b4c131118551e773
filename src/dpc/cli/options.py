"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dpc.errors import OptionError

__all__ = [
    "MAX_JOBS",
    "MAX_THREADS",
    "AllThreads",
    "BatchEngine",
    "CompressAI",
    "CompressAIWeights",
    "Engine",
    "Folders",
    "Force",
    "LpipsWeights",
    "Model",
    "Processes",
    "Qualities",
    "Threads",
    "folders_of",
    "numbers",
    "parse_crop",
    "parse_region",
    "parse_size",
    "qualities_of",
    "words",
]

MAX_JOBS = 256
MAX_THREADS = 64
MAX_BPP = 64.0
MAX_BYTES = 1 << 40
MAX_COUNT = 10_000_000  # of pictures, rows, raters
MAX_RESAMPLES = 100_000
MAX_SEED = (1 << 63) - 1


class Number:
    """Reads an option that takes a number: from `low` (above it, where `above`) to `high`, never nan."""

    __name__ = "number"

    def __init__(self, low: float, high: float, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def __call__(self, text: object) -> float:
        """The number; BadParameter, to which the option's name is added, for any other text."""
        begin = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        try:
            value = float(str(text))
        except ValueError:
            raise typer.BadParameter(f"{str(text)[:40]!r} is not a number; give one {begin} to {self.high:g}") from None
        if not self.low <= value <= self.high or (self.above and value == self.low):
            raise typer.BadParameter(f"{value:g} is out of range; give a number {begin} to {self.high:g}")
        return value


QUALITY = Number(1, 100)
BPP = Number(0, MAX_BPP, above=True)
MINUTES = Number(0, 10_000_000)
Processes: TypeAlias = Annotated[
    int, typer.Option("--processes", metavar="N", min=1, max=MAX_JOBS, help="Pictures side by side.")
]
Threads: TypeAlias = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, max=MAX_THREADS, help="Threads of each process.")
]
Engine: TypeAlias = Annotated[str, typer.Option("--engine", metavar="E", help="serial, processes, or ray: a cluster.")]
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
BatchEngine: TypeAlias = Annotated[
    str, typer.Option("--engine", metavar="E", help="processes, or ray: a cluster (RAY_ADDRESS, or this machine).")
]
Model: TypeAlias = Annotated[str | None, typer.Option("--model", metavar="M", help="Name or path of a model.")]
AllThreads: TypeAlias = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, max=MAX_THREADS, help="Default: all cores.")
]
Force: TypeAlias = Annotated[bool, typer.Option("-f", "--force", help="Overwrite what exists.")]


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers in "0.15,0.25"; OptionError names the option."""
    try:
        found = tuple(float(part) for part in words(text))
    except ValueError as error:
        raise OptionError(f"{option} {text[:60]}: give numbers with commas between them") from error
    for value in found:
        if not abs(value) <= MAX_COUNT:
            raise OptionError(f"{option} {text[:60]}: {value:g} is no number from 0 to {MAX_COUNT:,}")
    return found


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


def parse_size(text: str) -> int:
    """Bytes in "40000", "40k" or "1.5M"; k is 1000, M is 1,000,000; whole bytes only."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([kM]?)", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size, write it as 40000, 40k or 1.5M")
    size = Fraction(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()]
    if size.denominator > 1:
        raise typer.BadParameter(f"{text!r} is no whole number of bytes")
    if not 1 <= size <= MAX_BYTES:
        raise typer.BadParameter(f"{text!r} is out of range; give 1 to {MAX_BYTES:,} bytes")
    return int(size)


def parse_crop(text: str) -> tuple[int, int, tuple[int, int] | None]:
    """Width, height and corner of "512x384+100+40"; without a corner it is None, for the middle."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?:\+(\d{1,6})\+(\d{1,6}))?", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a part of a picture, write it as 512x384 or 512x384+100+40")
    return int(match[1]), int(match[2]), None if match[3] is None else (int(match[3]), int(match[4]))


def parse_region(text: str | None) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of "512x384+100+40"; None for None."""
    if text is None:
        return None
    width, height, corner = parse_crop(text)
    if corner is None:
        raise typer.BadParameter(f"{text!r} has no corner, write it as 512x384+100+40")
    return corner[0], corner[1], corner[0] + width, corner[1] + height
