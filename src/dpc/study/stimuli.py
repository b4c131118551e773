"""A study folder out of pictures and codecs, or out of anyone's folders.

    original --codec at the goal's bytes--> decoded --part that is shown--> PNG, padded to one length per picture
    original --JPEG at quality 3--> the worst, for training and traps

Everything is made in a temporary folder that is renamed when it is complete.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import math
import os
import random
import secrets
import shlex
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from dpc import __version__
from dpc.codec.image import load, pictures_in
from dpc.errors import DPCError, ImageError, OptionError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Rgb
from dpc.files import atomic_write, csv_text
from dpc.study import plan as plans
from dpc.study.plan import Plan, Stimulus
from dpc.study.plates import plates
from dpc.study.sources import Loose, Precomputed, Source, sources_of

__all__ = ["EXAMPLE", "Made", "example_codecs", "example_pictures", "new", "pad", "read", "read_truth", "secret"]

NEARBY = (1.0, 0.98, 1.02, 0.96, 1.04, 0.94, 1.06)  # of a goal, tried when codecs do not meet within the tolerance
WORST_QUALITY = 3  # JPEG: blocks and false colours that nobody takes for the original
LARGEST_PICTURE = 4096  # pixels a side that a study shows
EXAMPLE = {"bpp": (0.2,), "votes": 10, "trials": 12}


@dataclass(frozen=True)
class Made:
    """A study as it lies on disk. notes: what its maker should know."""

    folder: Path
    plan: Plan
    stimuli: tuple[Stimulus, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Coded:
    quality: float
    bytes: int
    rgb: Rgb


def new(
    folder: Path,
    images: Sequence[Path],
    *,
    codecs: Sequence[str] = (),
    folders: Sequence[tuple[str, Path]] = (),
    bpp: Sequence[float] = (),
    crop: tuple[int, int] | None = None,
    title: str = "Which picture is closer to the original?",
    question: str | None = None,
    design: plans.Design | None = None,
    checks: plans.Checks | None = None,
    screening: plans.Screening | None = None,
    people: plans.People | None = None,
    exclusion: plans.Exclusion | None = None,
    limits: plans.Limits | None = None,
    seed: int | None = None,
    unknown_sizes: bool = False,
    threads: int | None = 1,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Made:
    """Make a study folder, which must not exist or be empty.

    images: files, and folders that are searched (not below). codecs: names in evaluation.codecs. folders: (name,
    folder). bpp: the rates; without it the files of the first folder are the goals, and every other method is brought
    to their bytes. crop: (width, height) of the middle that is shown; rates stay those of the whole picture. Raises
    OptionError where sizes of a pair differ by more than the design's tolerance, and whatever codecs and pictures
    raise.
    """
    design, checks = design or plans.Design(), checks or plans.Checks()
    screening = screening or plans.Screening()
    if folder.resolve() == Path.cwd() or os.path.ismount(folder):
        raise OptionError(f"{folder} cannot be replaced by a study; name a folder that is to be made, as mystudy")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} exists and is not empty; give a folder that a new study can be made in")
    if any(not (rate > 0 and math.isfinite(rate)) for rate in bpp):
        raise OptionError("a rate of 0 bpp or less cannot be reached; give rates such as 0.15,0.25,0.5")
    if list(bpp) != sorted(set(bpp)):
        raise OptionError(
            f"--bpp {','.join(f'{r:g}' for r in bpp)}: give each rate once, from the lowest to the highest"
        )
    sources = sources_of(codecs, folders, unknown_sizes, threads)
    if not bpp and not folders:
        raise OptionError("no sizes were given; name rates with --bpp, or a folder that has them with --folder")
    seed = secrets.randbelow(2**31) if seed is None else seed
    paths = _paths(images)
    goals = {path.stem: _goals(path, sources, bpp) for path in paths}
    count = len(next(iter(goals.values())))
    uneven = next((name for name, found in goals.items() if len(found) != count), None)
    if uneven is not None:
        raise OptionError(f"{uneven} has {len(goals[uneven])} files and others {count}; every picture needs each rate")

    plan = Plan(  # whatever it refuses is told before the first picture is coded; its rates and sizes come at the end
        title=title,
        seed=seed,
        rates=tuple(f"{r:g}" for r in bpp) or tuple(map(str, range(count))),
        methods=tuple(plans.Method(s.name, s.version, s.settings) for s in sources),
        pictures=tuple(plans.Picture(path.stem, "", 0, 0) for path in paths),
        **({} if question is None else {"question": question}),
        crop="" if crop is None else f"{crop[0]}x{crop[1]}",
        command=command,
        made_by=f"dpc {__version__}",
        design=design,
        checks=checks,
        screening=screening,
        exclusion=exclusion or plans.Exclusion(),
        people=people or plans.People(),
        limits=limits or plans.Limits(),
    )

    place = folder.resolve()  # behind a link, which the finished folder could not replace
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))  # its mode is 700
    try:
        (part / "stimuli").mkdir()
        (part / "plates").mkdir()
        chance = random.Random(f"{seed} stimuli")
        stimuli: list[Stimulus] = []
        pictures: list[plans.Picture] = []
        notes: list[str] = []
        names = ", ".join(s.name for s in sources)
        say(f"coding {len(paths)} pictures with {names}, at {count} rates each, by search: AVIF and HEIC take longest")
        for i, path in enumerate(paths):
            original = srgb(path)
            made = _picture(path.stem, original, goals[path.stem], sources, design.tolerance, part, crop, chance, notes)
            stimuli += made
            height, width = _part(original, crop).shape[:2]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            pictures.append(plans.Picture(path.stem, digest, width, height))
            say(f"{i + 1}/{len(paths)} {path.stem}: " + _sizes(made))
        numbers = plates(part / "plates", seed) if screening.colour != "off" else ()
        plan = dataclasses.replace(
            plan,
            rates=plan.rates if bpp else _rate_names(stimuli, sources[0].name, count),
            pictures=tuple(pictures),
            screening=dataclasses.replace(screening, plates=numbers),
        )
        plans.write(plan, part / "study.toml")
        write_truth(part / "truth.csv", stimuli)
        _write_secret(part / "secret.key")
        os.replace(part, place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Made(folder, plan, tuple(stimuli), tuple(dict.fromkeys(notes)))


def read(folder: Path, check: bool = True) -> Made:
    """A study folder as `new` left it. check: compare every picture file with its sha256. OptionError: what is off."""
    plan = plans.read(folder / "study.toml")
    stimuli = read_truth(folder / "truth.csv")
    known = {(s.picture, s.kind, s.method, s.rate) for s in stimuli}
    wanted = {(p.name, "coded", m.name, r) for p in plan.pictures for m in plan.methods for r in range(len(plan.rates))}
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


def _write_secret(path: Path) -> None:
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


# one picture


def _picture(
    name: str,
    original: Rgb,
    goals: Sequence[float],
    sources: Sequence[Source],
    tolerance: float,
    part: Path,
    crop: tuple[int, int] | None,
    chance: random.Random,
    notes: list[str],
) -> list[Stimulus]:
    pixels = original.shape[0] * original.shape[1]
    shown: list[tuple[str, str, int, _Coded]] = [("original", "", -1, _Coded(math.nan, 0, original))]
    worst = io.BytesIO()
    Image.fromarray(original).save(worst, "JPEG", quality=WORST_QUALITY, subsampling="4:2:0")
    with Image.open(worst) as decoded:
        rgb = np.asarray(decoded.convert("RGB"))
    shown.append(("worst", "", -1, _Coded(float(WORST_QUALITY), worst.tell(), rgb)))
    for rate, goal in enumerate(goals):
        matched = _matched(name, original, goal, sources, tolerance, notes)
        shown += [("coded", s.name, rate, c) for s, c in zip(sources, matched, strict=True)]
    files = [png(_part(c.rgb, crop)) for *_, c in shown]
    length = max(map(len, files)) + 12
    made = []
    for (kind, method, rate, c), data in zip(shown, files, strict=True):
        identity = f"{chance.getrandbits(64):016x}"
        padded = pad(data, length, chance)
        (part / "stimuli" / f"{identity}.png").write_bytes(padded)
        digest = hashlib.sha256(padded).hexdigest()
        rate_bpp = round(8 * c.bytes / pixels, 6)
        made.append(Stimulus(identity, name, kind, method, rate, c.bytes, rate_bpp, c.quality, digest))
    return made


def _matched(
    name: str, original: Rgb, goal: float, sources: Sequence[Source], tolerance: float, notes: list[str]
) -> list[_Coded]:
    """What every method makes of a picture in about so many bytes (0: not known), alike within the tolerance."""
    pixels = original.shape[0] * original.shape[1]
    best: tuple[float, list[tuple[Source, float, int, bytes | Path]]] | None = None
    for factor in NEARBY:
        found: list[tuple[Source, float, int, bytes | Path]] = []
        for source in sources:
            if isinstance(source, (Loose, Precomputed)):
                entries = source.of(name)
                if not entries:
                    raise OptionError(f"{source.name} has no picture called {name}; every method needs every original")
                quality, size, path = min(entries, key=lambda e: abs(math.log(max(e[1], 1) / max(goal, 1))))
                found.append((source, quality, size, path))
            else:
                quality, data = baselines.at_bpp(source, original, 8 * goal * factor / pixels)
                found.append((source, quality, len(data), data))
        known = [size for *_, size, _ in found if size]
        spread = 1 - min(known) / max(known) if known else 0.0
        if len(known) < len(found):
            notes.append("some sizes are not known: equal size cannot be claimed for those methods")
        if best is None or spread < best[0]:
            best = spread, found
        if best[0] <= tolerance or all(isinstance(s, (Loose, Precomputed)) for s in sources):
            break
    assert best is not None  # NEARBY is not empty
    spread, found = best
    if spread > tolerance:
        small, large = (pick((f for f in found if f[2]), key=lambda f: f[2]) for pick in (min, max))
        raise OptionError(
            f"{name} at about {8 * goal / pixels:.3f} bpp: {small[0].name} has {small[2]:,} bytes and {large[0].name} "
            f"{large[2]:,}, {spread:.1%} apart; the tolerance is {tolerance:.1%}: choose other rates, leave it out, or "
            "allow more with --tolerance"
        )
    return [_Coded(float(quality), size, _pixels(s, what, original)) for s, quality, size, what in found]


def _pixels(source: Source, what: bytes | Path, original: Rgb) -> Rgb:
    rgb = srgb(what) if isinstance(what, Path) else source.decode(what)  # type: ignore[union-attr]
    if rgb.shape != original.shape:
        place = what if isinstance(what, Path) else f"what {source.name} decodes"
        raise ImageError(
            f"{place} is {rgb.shape[1]}x{rgb.shape[0]}, its original is {original.shape[1]}x{original.shape[0]}; "
            "decode it at full size"
        )
    return rgb


def _goals(path: Path, sources: Sequence[Source], bpp: Sequence[float]) -> list[float]:
    """Bytes that every method is brought to, for each rate."""
    if bpp:
        with Image.open(path) as image:  # the header only
            return [rate * image.width * image.height / 8 for rate in bpp]
    first = sources[0]
    assert isinstance(first, (Loose, Precomputed))  # new() checked it
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


def _paths(images: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for where in images:
        if where.is_dir():
            found += pictures_in(where)
        elif where.is_file():
            found.append(where)
        else:
            raise OptionError(f"{where} does not exist; give a picture or a folder of pictures")
    if not found:
        raise OptionError("no pictures were given; name files or folders with --images")
    stems = [p.stem for p in found]
    if twice := next((s for s in stems if stems.count(s) > 1), None):
        raise OptionError(f"two pictures are called {twice}; a study needs different names")
    return found


def srgb(path: Path) -> Rgb:
    """The picture in a file, (H, W, 3) uint8 sRGB, opaque on white."""
    picture = load(path)
    rgb = picture.rgb
    if max(rgb.shape[:2]) > LARGEST_PICTURE:
        raise ImageError(
            f"{path} is {rgb.shape[1]}x{rgb.shape[0]}; a study shows at most {LARGEST_PICTURE} pixels a side: cut it"
        )
    if picture.icc is not None:
        try:
            converted = ImageCms.profileToProfile(
                Image.fromarray(np.ascontiguousarray(rgb)),
                ImageCms.ImageCmsProfile(io.BytesIO(picture.icc)),
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
            )
            rgb = rgb if converted is None else np.asarray(converted)
        except (OSError, ImageCms.PyCMSError) as error:
            raise ImageError(f"{path} has a colour profile that cannot be used; convert it to sRGB") from error
    if picture.alpha is not None:
        opacity = picture.alpha[:, :, None].astype(np.uint32)
        rgb = ((rgb * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(rgb)


def _part(rgb: Rgb, crop: tuple[int, int] | None) -> Rgb:
    """The middle of a picture, no larger than it is."""
    if crop is None:
        return rgb
    width, height = min(crop[0], rgb.shape[1]), min(crop[1], rgb.shape[0])
    x, y = (rgb.shape[1] - width) // 2, (rgb.shape[0] - height) // 2
    return np.ascontiguousarray(rgb[y : y + height, x : x + width])


def _sizes(made: Sequence[Stimulus]) -> str:
    return ", ".join(f"{s.method} {s.bytes:,}" for s in made if s.kind == "coded") + " bytes"


# PNG


def png(rgb: Rgb) -> bytes:
    """A PNG of the pixels and nothing else."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", compress_level=6)
    return out.getvalue()


def pad(data: bytes, length: int, chance: random.Random) -> bytes:
    """A PNG file brought to a length by a chunk that every reader skips; random, so that it does not compress.

    OptionError when there are fewer than 12 bytes to add.
    """
    room = length - len(data) - 12
    if room < 0:
        raise OptionError(f"a PNG of {len(data)} bytes cannot be padded to {length}; at least 12 more are needed")
    body = b"paDd" + chance.randbytes(room)
    chunk = struct.pack(">I", room) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-12] + chunk + data[-12:]


# the example


def example_pictures() -> list[Path]:
    """The photographs that come with dpc: in the package when it is installed, in the folder demo of a checkout."""
    places = (Path(str(resources.files("dpc.study"))) / "example", Path(__file__).parents[3] / "demo")
    for place in places:
        if place.is_dir() and (found := sorted(p for p in place.iterdir() if p.suffix in (".png", ".webp"))):
            return found
    raise OptionError("the example's photographs are not installed; give your own with --images")


def example_codecs() -> tuple[list[str], list[str]]:
    """(DPC, the first of BPG, HEIC and their like that works here, AVIF, JPEG 2000; what was left out and why)."""
    notes, codecs = [], ["dpc"]
    for choice in (("bpg", "heic", "bpg-like"), ("avif",), ("jpeg2000",)):
        reasons = []
        for name in choice:
            try:
                baselines.get(name)
            except DPCError as error:
                reasons.append(f"{name} is left out: {error}")
            else:
                codecs.append(name)
                break
        else:
            notes += reasons
    return codecs, notes
