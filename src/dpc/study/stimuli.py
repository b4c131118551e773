"""A study folder as it lies on disk: the plan, the picture files and the hidden truth about them."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpc.errors import OptionError
from dpc.files import atomic_write, csv_text
from dpc.study import plan_file
from dpc.study.plan import Plan, Stimulus

__all__ = ["Made", "new_secret", "read", "read_truth", "secret", "write_truth"]


@dataclass(frozen=True)
class Made:
    """A study as it lies on disk. notes: what its maker should know."""

    folder: Path
    plan: Plan
    stimuli: tuple[Stimulus, ...]
    notes: tuple[str, ...] = ()


def read(folder: Path, check: bool = True) -> Made:
    """A study folder as `prepare` left it; OptionError for what is wrong with it.

    check: compare every picture file with its sha256.
    """
    plan = plan_file.read(folder)
    stimuli = read_truth(folder / "truth.csv")
    known = {(s.picture, s.kind, s.method, s.rate) for s in stimuli}
    rates = range(len(plan.rates))
    wanted = {(p.name, "coded", m.name, r) for p in plan.pictures for m in plan.methods for r in rates}
    wanted |= {(p.name, kind, "", -1) for p in plan.pictures for kind in ("original", "worst")}
    if missing := sorted(wanted - known):
        picture, kind, method, _ = missing[0]
        raise OptionError(f"{folder}/truth.csv has no {method or kind} of {picture}; the study is not complete")
    if check:
        for s in stimuli:
            file = folder / "stimuli" / f"{s.id}.png"
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != s.sha256:
                raise OptionError(f"{file} is missing or was changed since the study was made; make the study again")
    return Made(folder, plan, tuple(stimuli))


# truth.csv and secret.key

_FIELDS = [f.name for f in dataclasses.fields(Stimulus)]


def write_truth(path: Path, stimuli: Sequence[Stimulus]) -> None:
    """Which file is what; sorted by name, so that its order tells nothing."""
    atomic_write(path, csv_text(_FIELDS, (dataclasses.astuple(s) for s in sorted(stimuli, key=lambda s: s.id))))


def read_truth(path: Path) -> list[Stimulus]:
    """What `write_truth` wrote; OptionError for anything else."""
    kinds = {"rate": int, "bytes": int, "bpp": float, "quality": float}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [Stimulus(**{n: kinds.get(n, str)(row[n]) for n in _FIELDS}) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise OptionError(f"{path} is not the truth of a study ({type(error).__name__}: {error})") from error


def new_secret(path: Path) -> None:
    """Write a new key that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")


def secret(folder: Path) -> bytes:
    """The key that signs sessions. OptionError where others may read it."""
    path = folder / "secret.key"
    try:
        mode, text = path.stat().st_mode & 0o777, path.read_text().strip()
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); it belongs to the study") from error
    if os.name == "posix" and mode & 0o077:
        raise OptionError(f"{path} can be read by others (mode {mode:o}); chmod 600 {shlex.quote(str(path))}")
    if len(text) < 32:
        raise OptionError(f"{path} is damaged; it must hold the key that the study was made with")
    return text.encode()
