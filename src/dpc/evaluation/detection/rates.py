"""Qualities of mean rates: each codec at the one quality at which all pictures together come nearest to a rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dpc.codec.image import load
from dpc.evaluation.codecs import Codec, Rgb
from dpc.evaluation.detection.dataset import Dataset, Picture
from dpc.evaluation.experiment import Subjects, engines
from dpc.evaluation.experiment.cells import lines
from dpc.files import atomic_write, csv_text

__all__ = ["find", "mean_qualities"]

COLUMNS = ("codec", "version", "settings", "annotations", "pictures", "target", "quality", "bpp")
SAMPLE = 10  # pictures on which the quality of a mean rate is looked for
# the outer rates are aimed at by such shares further out, so that all rates lie between files; the mean of all pictures
# was up to 15 % above that of the sample
BELOW, ABOVE = 0.2, 0.07
CLOSE = 0.02  # a quality within this share of a mean rate is not improved


def find(
    subjects: Subjects, targets: Sequence[float], data: Dataset, file: Path, say: Callable[[str], None]
) -> tuple[dict[str, tuple[float, ...]], dict[str, str]]:
    """(codec as given -> its qualities, those that were asked for among them; codec -> why it has none).

    targets: mean rates in bpp. file: a table of what was found, which is read first and grows.
    """
    known = _read(file)
    chosen, failed = dict(subjects.qualities), {}
    sample = _sample(data.pictures)
    for name in subjects.codecs:
        if subjects.chosen(name):
            continue
        codec = subjects.codec(name)
        about = (codec.name, codec.version, codec.settings, data.sha256, str(len(data.pictures)))
        keys = {aim: (*about, f"{aim:.6g}") for aim in _aims(targets)}
        new = [aim for aim, key in keys.items() if key not in known]
        if new:
            say(f"{codec.name}: looking for the qualities of {', '.join(f'{g:g}' for g in targets)} bpp on average")
            try:
                pictures = [load(p.path).rgb for p in sample]
                old = {float(quality): float(bpp) for key, (quality, bpp) in known.items() if key[:5] == about}
                for aim, (quality, bpp) in mean_qualities(codec, pictures, new, old).items():
                    known[keys[aim]] = f"{quality:.12g}", f"{bpp:.6g}"
            except Exception as error:  # a codec's fault of any kind costs this codec only
                failed[name] = engines.line(error)
                continue
            atomic_write(file, csv_text(COLUMNS, ([*key, *value] for key, value in known.items())))
        chosen[name] = tuple(dict.fromkeys(float(known[key][0]) for key in keys.values()))
    return chosen, failed


def _read(file: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """What was found before: the first six of COLUMNS -> (quality, bpp). A line that was cut off is left out."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    whole = (cells for _, cells in lines(text) if None not in map(cells.get, COLUMNS))
    return {tuple(str(cells[c]) for c in COLUMNS[:6]): (str(cells["quality"]), str(cells["bpp"])) for cells in whole}


def _aims(targets: Sequence[float]) -> list[float]:
    """The mean rates to code at, so that every target lies between two of them."""
    ordered = sorted(set(targets))
    inner = ordered[1:-1]
    return [ordered[0] * (1 - BELOW), *inner, ordered[-1] * (1 + ABOVE)]


def _sample(pictures: Sequence[Picture]) -> list[Picture]:
    """SAMPLE pictures whose files' rates are spread as those of all."""
    ordered = sorted(pictures, key=lambda p: (p.bpp, p.id))
    places = (np.arange(min(SAMPLE, len(ordered))) + 0.5) * len(ordered) / min(SAMPLE, len(ordered))
    return [ordered[int(i)] for i in places]


def mean_qualities(
    codec: Codec, pictures: Sequence[Rgb], rates: Sequence[float], known: Mapping[float, float] | None = None
) -> dict[float, tuple[float, float]]:
    """Rate -> (quality, mean bpp of the pictures), the nearest that the codec has, by search.

    known: quality -> mean bpp of these pictures, which need not be coded again.
    """
    seen: dict[int, float] = {}
    for quality, bpp in (known or {}).items():
        seen[min(range(len(codec.qualities)), key=lambda i: abs(codec.qualities[i] - quality))] = bpp

    def mean(place: int) -> None:
        quality = codec.qualities[place]
        sizes = [8 * len(codec.encode(p, quality)) / (p.shape[0] * p.shape[1]) for p in pictures]
        seen[place] = float(np.mean(sizes))

    found = {}
    for rate in rates:
        while not any(abs(bpp / rate - 1) <= CLOSE for bpp in seen.values()):
            low = max((i for i, bpp in seen.items() if bpp <= rate), default=-1)
            high = min((i for i, bpp in seen.items() if bpp > rate), default=len(codec.qualities))
            if high - low < 2:
                break
            place = (low + high) // 2
            if low in seen and high in seen:  # log bpp is almost linear
                share = math.log(rate / seen[low]) / math.log(seen[high] / seen[low])
                place = min(max(low + round(share * (high - low)), low + 1), high - 1)
            mean(place)
        best = min(seen, key=lambda i: abs(math.log(seen[i] / rate)))
        found[rate] = float(codec.qualities[best]), seen[best]
    return found
