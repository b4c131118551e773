"""Which inputs become which outputs: files, folders of files, and lists."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import typer

from dpc.cli import places
from dpc.cli.places import STDIO

__all__ = ["Job", "Inputs", "is_coded", "is_picture", "plan"]

SNIFFED = {"AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "WEBP"}
"""Formats that a file of any other name may have. TIFF is not among them: raw files of cameras are TIFFs inside."""

STUBS = {"BUFR", "DPC", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats whose pictures Pillow finds and cannot read, and our own."""

NAMED = 5  # files that are named where many are left out


@dataclass(frozen=True)
class Job:
    """One input and its output; "-" is a stream. options: the target of this picture, by a list. new: there was no
    output when the job was handed out."""

    source: str
    target: str
    options: dict[str, float] = field(default_factory=dict)
    new: bool = field(default=False, compare=False)


@dataclass
class Inputs:
    """What a command is to do.

    failures: (input, why it can have no output). left_out: files of folders that are not taken. make_folders: whether
    the folders of outputs are made.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    make_folders: bool = False

    def left_out_line(self) -> str:
        """How many files were left out, and which."""
        endings = Counter(PurePosixPath(name).suffix.lower() or "without ending" for name in self.left_out)
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(NAMED))
        names = ", ".join(self.left_out[:NAMED]) + (", ..." if len(self.left_out) > NAMED else "")
        return f"left out, {len(self.left_out):,} files ({kinds}): {names}"


def is_coded(place: str) -> bool:
    """Whether a file of a folder is taken by `dpc decode`."""
    return place.lower().endswith(".dpc")


def is_picture(place: str) -> bool:
    """Whether a file of a folder is taken by `dpc encode`: by its ending, else by its first bytes if it is here."""
    suffixes, heif = _readable()
    ending = PurePosixPath(place).suffix.lower()
    if ending in suffixes:
        return True
    if ending == ".dpc" or places.is_url(place) or not os.path.isfile(place):
        return False
    from PIL import Image

    try:
        with Image.open(place, formats=[*(SNIFFED - {"HEIF"}), *heif]):
            return True
    except Exception:  # whatever Pillow says: it is no picture of these formats
        return False


@cache
def _readable() -> tuple[frozenset[str], tuple[str, ...]]:
    """The endings that Pillow reads here, with pillow-heif where it is installed; and whether HEIF is among them."""
    from PIL import Image

    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()
    found = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN.keys() - STUBS}
    return frozenset(found), ("HEIF",) if "HEIF" in Image.OPEN else ()


def plan(
    paths: list[str],
    out_dir: str | None,
    suffix: str,
    allowed: list[str],
    taken: Callable[[str], bool] | None = None,
    listed: Path | None = None,
) -> Inputs:
    """The Inputs of a command line.

    suffix: of an output that was not named. allowed: endings that an output may have; another one is a usage error, so
    that `dpc encode *.jpg` never takes the last photograph for its output. With out_dir a folder stands for all files
    below it that are `taken`, and its own folders are made there again. listed: a table with more inputs.
    """
    for path in paths:
        _check_path(path, taken is not None)
    if out_dir is not None:
        return _into_folder(paths, out_dir, suffix, allowed, taken, listed)
    if listed is not None:
        raise typer.BadParameter("--list needs --out-dir, the folder for its outputs")
    return Inputs([_single(paths, suffix, allowed, taken is not None)])


def _check_path(path: str, urls: bool) -> None:
    if re.match(r"https?://", path):
        raise typer.BadParameter(f"{path} is a web address; get the file first, such as with curl -O")
    if places.is_url(path):
        if not urls:
            raise typer.BadParameter(f"{path} is not here; get the file first")
    elif path != STDIO and not Path(path).name and not os.path.isdir(path):
        raise typer.BadParameter(f"{path!r} is not the name of a file")


def _into_folder(
    paths: list[str],
    out_dir: str,
    suffix: str,
    allowed: list[str],
    taken: Callable[[str], bool] | None,
    listed: Path | None,
) -> Inputs:
    if not places.is_url(out_dir):
        for place in [Path(out_dir), *Path(out_dir).parents]:
            if place.exists() and not place.is_dir():
                raise typer.BadParameter(f"--out-dir: {place} is a file, not a folder; name another")
    if STDIO in paths:
        raise typer.BadParameter("- has no name that an output in --out-dir could have")
    found = Inputs(make_folders=True)
    for path in paths:
        if taken is not None and places.is_folder(path):
            _folder(found, path, out_dir, suffix, taken)
        else:
            found.jobs.append(Job(path, places.join(out_dir, _renamed(PurePosixPath(path).name, suffix))))
    if listed is not None:
        found.jobs += _listed(listed, out_dir, suffix, allowed)
    if not found.jobs and not (set(paths) - {name for name, _ in found.failures}):
        raise typer.BadParameter("; ".join(why for _, why in found.failures) or f"{listed} lists no pictures")
    found.jobs, twice = _distinct(found.jobs)
    found.failures += twice
    return found


def _folder(found: Inputs, folder: str, out_dir: str, suffix: str, taken: Callable[[str], bool]) -> None:
    """Add what a folder holds."""

    def failed(error: OSError) -> None:
        found.failures.append((str(error.filename or folder), f"{error.filename}: {error.strerror}"))

    before = len(found.jobs)
    for place, name in places.walk(folder, failed):
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and taken(place):
            found.jobs.append(Job(place, places.join(out_dir, _renamed(name, suffix))))
        else:
            found.left_out.append(place)
    if len(found.jobs) == before:
        what = "picture that Pillow can read" if taken is is_picture else "file that ends in .dpc"
        found.failures.append((folder, f"{folder} holds no {what}"))


def _listed(path: Path, out_dir: str, suffix: str, allowed: list[str]) -> Iterable[Job]:
    from dpc.cli import manifest

    for row in manifest.rows(path):
        local = not places.is_url(row.input)
        source = os.path.join(path.parent, row.input) if local and path.parent != Path() else row.input
        inside = local and not os.path.isabs(row.input) and ".." not in Path(row.input).parts
        name = row.output or _renamed(Path(row.input).as_posix() if inside else PurePosixPath(row.input).name, suffix)
        if PurePosixPath(name).suffix[1:].lower() not in allowed:
            raise typer.BadParameter(f"{path}: the output {name} does not end in {_endings(allowed)}")
        yield Job(source, places.join(out_dir, name), row.target)


def _distinct(jobs: list[Job]) -> tuple[list[Job], list[tuple[str, str]]]:
    """The jobs with outputs of their own, and those whose output belongs to one before them."""
    owner: dict[str, str] = {}
    kept: list[Job] = []
    failures = []
    real = cache(os.path.realpath)
    for job in jobs:
        folder, _, name = job.target.rpartition("/")
        key = job.target if places.is_url(job.target) else os.path.join(real(folder or "."), name)
        if key in owner:
            failures.append((job.source, f"{job.target} already holds the output of {owner[key]}; rename one"))
        else:
            owner[key] = job.source
            kept.append(job)
    return kept, failures


def _single(paths: list[str], suffix: str, allowed: list[str], folders: bool) -> Job:
    if not paths:
        raise typer.BadParameter("give an input")
    if len(paths) > 2:
        raise typer.BadParameter(f"{len(paths)} paths; for more than one input give --out-dir")
    source = paths[0]
    if os.path.isdir(source) and folders:
        raise typer.BadParameter(f"{source} is a folder; for the files in it give --out-dir")
    if len(paths) == 2 and os.path.isdir(paths[1]):
        raise typer.BadParameter(f"{paths[1]} is a folder; for outputs in it give --out-dir {paths[1]}")
    if len(paths) == 2:
        target = paths[1]
    elif source == STDIO:
        target = STDIO
    elif places.is_stream(source):
        raise typer.BadParameter(f"{source} is a pipe or a device; name the output, or - for stdout")
    else:
        target = _renamed(source, suffix)
    if target == STDIO:
        if sys.stdout.isatty():
            raise typer.BadParameter("stdout is a terminal, the output is binary; redirect it or name a file")
    elif PurePosixPath(target).suffix[1:].lower() not in allowed:
        raise typer.BadParameter(f"{target} does not end in {_endings(allowed)}; for several inputs give --out-dir")
    return Job(source, target)


def _renamed(name: str, suffix: str) -> str:
    """A name with another ending."""
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{PurePosixPath(last).stem}.{suffix}"


def _endings(allowed: list[str]) -> str:
    return " or ".join(f".{name}" for name in allowed)
