"""From study.toml to a study that can be served.

    check      what every codec can reach of every picture, before anything else is coded
    match      every codec to the bytes of each rate, within the tolerance
    show       original, versions and a very bad one as PNG files, padded to one length per picture

Where sizes cannot meet, nothing is made, and what would help is said; what was coded is kept for the next run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dpc import __version__
from dpc.codec.image import pictures_in
from dpc.errors import OptionError
from dpc.evaluation.codecs import Rgb
from dpc.reading import validated
from dpc.study import plan_file
from dpc.study.coded import NEARBY, File, Shelf, pixels_of, spread
from dpc.study.plan import Asked, Draft, Method, Picture, Plan, Stimulus
from dpc.study.plates import plates
from dpc.study.shown import crop_of, middle, pad, png, srgb, worst
from dpc.study.sources import Loose, Precomputed, Source, sources_of
from dpc.study.stimuli import Made, new_secret, write_truth
from dpc.study.unmet import Unmet, refusal

__all__ = ["new", "prepare"]

Say = Callable[[str], None]
SLACK = max(NEARBY) - 1  # by which the common target of all codecs may move
UNKNOWN = "some sizes are not known: equal size cannot be claimed for those methods"


def new(folder: Path, draft: Draft) -> Path:
    """Make the folder of a study, which must not exist or be empty, with a study.toml to edit; its path."""
    place = folder.resolve()
    if place == Path.cwd() or os.path.ismount(folder):
        raise OptionError(f"{folder} cannot be replaced by a study; name a folder that is to be made, as mystudy")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists and is not empty; give a folder that a new study can be made in")
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)  # the truth about the pictures is nobody else's
    plan_file.write(draft, place / "study.toml")
    return folder / "study.toml"


def prepare(folder: Path, threads: int | None = 1, say: Say = lambda line: None) -> Made:
    """Make what study.toml asks for, in its folder.

    OptionError where sizes cannot meet, with what would help, and where the folder holds votes; then what was there
    before is as it was. Raises whatever codecs and pictures raise.
    """
    draft = plan_file.read_draft(folder / "study.toml")
    if (folder / "votes.sqlite").exists():
        raise OptionError(
            f"{folder} holds votes on the pictures that it has; make a new study, or remove {folder}/votes.sqlite and "
            "with it every answer"
        )
    job = _Job(folder, draft, threads)
    say(f"checking which sizes {_count(len(job.sources), 'method')} can reach of {_count(len(job.paths), 'picture')}")
    missed = [unmet for path in job.paths for unmet in job.out_of_reach(path)]
    if missed:
        raise refusal(missed, job.plan, bool(draft.sources.bpp), say)
    chosen: dict[str, list[list[File]]] = {}
    for i, path in enumerate(job.paths):
        chosen[path.stem] = job.matched(path)
        sizes = ", ".join(f"{f.method} {f.bytes:,}" for files in chosen[path.stem] for f in files)
        say(f"{i + 1}/{len(job.paths)} {path.stem}: {sizes} bytes")
    missed = [
        Unmet(name, rate, {f.method: f.bytes for f in files if f.bytes})
        for name, rates in chosen.items()
        for rate, files in enumerate(rates)
        if spread(files) > draft.design.tolerance
    ]
    if missed:
        raise refusal(missed, job.plan, bool(draft.sources.bpp), say)
    return job.show(chosen)


class _Job:
    """A draft, and what it names: found and checked before the first picture is coded.

    paths: originals. targets: name of a picture -> bytes of each rate. plan: its pictures' sizes and, where the rates
    are those of a folder, their names are not known yet.
    """

    def __init__(self, folder: Path, draft: Draft, threads: int | None) -> None:
        self.folder, self.draft = folder, draft
        where = draft.sources
        named = [(name, _place(folder, place)) for name, place in where.folders.items()]
        self.sources = sources_of(where.codecs, named, where.unknown_sizes, threads)
        if not where.bpp and not named:
            raise OptionError("no sizes were given; name rates in sources.bpp, or a folder that has them")
        self.paths = _originals([_place(folder, place) for place in where.images], where.leave_out)
        self.targets = {path.stem: _targets(path, self.sources, where.bpp) for path in self.paths}
        count = len(next(iter(self.targets.values())))
        uneven = next((name for name, found in self.targets.items() if len(found) != count), None)
        if uneven is not None:
            raise OptionError(
                f"{uneven} has {len(self.targets[uneven])} files and others {count}; every picture needs each rate"
            )
        own = {f.name: getattr(draft, f.name) for f in dataclasses.fields(Asked)}
        self.plan = validated(
            folder / "study.toml",
            {
                **own,
                "rates": tuple(f"{r:g}" for r in where.bpp) or tuple(map(str, range(count))),
                "methods": tuple(Method(s.name, s.version, s.settings) for s in self.sources),
                "pictures": tuple(Picture(path.stem, "", 0, 0) for path in self.paths),
            },
            Plan,
        )

    def shelves(self, path: Path) -> tuple[Rgb, list[Shelf]]:
        """The original, and a shelf for each method."""
        original = srgb(path)
        return original, [Shelf(self.folder / "coded", s, path.stem, original) for s in self.sources]

    def out_of_reach(self, path: Path) -> list[Unmet]:
        """The rates of a picture that some method cannot reach, however the common target is moved."""
        targets, tolerance = self.targets[path.stem], self.draft.design.tolerance
        room = (1 + SLACK) / (1 - tolerance) if tolerance < 1 else math.inf
        found = []
        reach = {s.source.name: s.reaches(min(targets), max(targets)) for s in self.shelves(path)[1]}
        for rate, target in enumerate(targets):
            missed = {
                name: low if low > target * room else high
                for name, (low, high) in reach.items()
                if high and (low > target * room or high * room < target)
            }
            if missed:
                others = {name: round(target) for name in reach if name not in missed}
                found.append(Unmet(path.stem, rate, {**others, **missed}, tuple(missed)))
        return found

    def matched(self, path: Path) -> list[list[File]]:
        """For each rate of a picture: what every method makes of it, as alike in size as they come."""
        shelves = self.shelves(path)[1]
        found = []
        for target in self.targets[path.stem]:
            best: list[File] = []
            for factor in NEARBY:
                files = [shelf.near(target * factor) for shelf in shelves]
                if not best or spread(files) < spread(best):
                    best = files
                fixed = all(isinstance(s, (Loose, Precomputed)) for s in self.sources)
                if fixed or spread(best) <= self.draft.design.tolerance:
                    break
            found.append(best)
        return found

    def show(self, chosen: dict[str, list[list[File]]]) -> Made:
        """Write what is shown; the last file that is written, prepared.json, makes it a study."""
        plan, folder = self.plan, self.folder
        chance = random.Random(f"{plan.seed} stimuli")
        stimuli: list[Stimulus] = []
        pictures: list[Picture] = []
        part = Path(tempfile.mkdtemp(dir=folder, prefix=".stimuli-"))  # its mode is 700
        try:
            for name in ("stimuli", "plates"):
                (part / name).mkdir()
            for path in self.paths:
                made, size = self._picture(path, chosen[path.stem], part / "stimuli", chance)
                stimuli += made
                pictures.append(Picture(path.stem, hashlib.sha256(path.read_bytes()).hexdigest(), *size))
            numbers = plates(part / "plates", plan.seed) if plan.screening.colour != "off" else ()
            (folder / "prepared.json").unlink(missing_ok=True)  # until the new one is there this is no study
            for name in ("stimuli", "plates"):
                shutil.rmtree(folder / name, ignore_errors=True)
                os.replace(part / name, folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        write_truth(folder / "truth.csv", stimuli)
        if not (folder / "secret.key").exists():
            new_secret(folder / "secret.key")
        rates = plan.rates if self.draft.sources.bpp else _rate_names(stimuli, self.sources[0].name, len(plan.rates))
        made_from = plan_file.made_from(self.draft)
        prepared = plan_file.Prepared(2, f"dpc {__version__}", rates, plan.methods, tuple(pictures), numbers, made_from)
        plan_file.write_prepared(prepared, folder / "prepared.json")
        notes = (UNKNOWN,) if any(not f.bytes for rates in chosen.values() for files in rates for f in files) else ()
        return Made(folder, plan_file.read(folder), tuple(stimuli), notes)

    def _picture(
        self, path: Path, chosen: Sequence[Sequence[File]], place: Path, chance: random.Random
    ) -> tuple[list[Stimulus], tuple[int, int]]:
        """(the stimuli of a picture, whose files are written, the width and height that are shown)."""
        original = srgb(path)
        pixels, crop = original.shape[0] * original.shape[1], crop_of(self.draft.sources.crop)
        bad, size = worst(original)
        shown: list[tuple[str, int, File, Rgb]] = [
            ("original", -1, File("", math.nan, 0, path), original),
            ("worst", -1, File("", math.nan, size, path), bad),
        ]
        for rate, files in enumerate(chosen):
            for source, file in zip(self.sources, files, strict=True):
                shown.append(("coded", rate, file, pixels_of(source, file, original)))
        pngs = [png(middle(rgb, crop)) for *_, rgb in shown]
        length = max(map(len, pngs)) + 12
        made = []
        for (kind, rate, file, _), data in zip(shown, pngs, strict=True):
            identity = f"{chance.getrandbits(64):016x}"
            padded = pad(data, length, chance)
            (place / f"{identity}.png").write_bytes(padded)
            digest, bpp = hashlib.sha256(padded).hexdigest(), round(8 * file.bytes / pixels, 6)
            values = (kind, file.method, rate, file.bytes, bpp, file.quality, digest)
            made.append(Stimulus(identity, path.stem, *values))
        height, width = middle(original, crop).shape[:2]
        return made, (width, height)


def _place(folder: Path, place: str) -> Path:
    """A path of study.toml, which is relative to it."""
    return folder / Path(place).expanduser()


def _originals(places: Sequence[Path], leave_out: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for where in places:
        if where.is_dir():
            found += pictures_in(where)
        elif where.is_file():
            found.append(where)
        else:
            raise OptionError(f"{where} does not exist; give a picture or a folder of pictures in sources.images")
    if unknown := next((name for name in leave_out if name not in {p.stem for p in found}), None):
        raise OptionError(f"sources.leave_out names {unknown!r}, but no picture is called so")
    found = [p for p in found if p.stem not in leave_out]
    if not found:
        raise OptionError("no pictures were given; name files or folders in sources.images")
    stems = [p.stem for p in found]
    if twice := next((s for s in stems if stems.count(s) > 1), None):
        raise OptionError(f"two pictures are called {twice}; a study needs different names")
    return found


def _targets(path: Path, sources: Sequence[Source], bpp: Sequence[float]) -> list[float]:
    """Bytes that every method is brought to, for each rate."""
    if bpp:
        with Image.open(path) as image:  # the header only
            return [rate * image.width * image.height / 8 for rate in bpp]
    first = sources[0]
    assert isinstance(first, (Loose, Precomputed))  # _Job checked it
    found = [float(size) for _, size, _ in first.of(path.stem)]
    if not found:
        raise OptionError(f"{first.name} has no picture called {path.stem}; every method needs every original")
    return found


def _rate_names(stimuli: Sequence[Stimulus], method: str, count: int) -> tuple[str, ...]:
    """The mean rate of the first method at each of its files, with as many digits as tell them apart."""
    means = [
        float(np.mean([s.bpp for s in stimuli if s.kind == "coded" and s.method == method and s.rate == rate]))
        for rate in range(count)
    ]
    for digits in (2, 3, 4):
        names = tuple(f"{m:.{digits}g}" if m else "given" for m in means)
        if len(set(names)) == count:
            return names
    return tuple(f"{name} ({i + 1})" for i, name in enumerate(names))


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
