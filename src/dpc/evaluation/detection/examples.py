"""Example pictures for the page: every codec within equal bytes, with what the detector finds, misses and invents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpc.codec.image import load
from dpc.errors import DPCError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Rgb
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset, Picture
from dpc.evaluation.detection.protocol import Detector
from dpc.evaluation.detection.rows import ORIGINAL, Boxes, rounded
from dpc.evaluation.detection.scoring import SCORE, Truth, counted, matches
from dpc.evaluation.experiment import engines
from dpc.evaluation.markup import data_url

__all__ = ["choose", "make"]

LEAST, MOST = 2, 12  # boxes that are found in the uncompressed picture of an example, and boxes that it has


@dataclass(frozen=True, eq=False)
class _Shown:
    """One coded picture and what was found in it."""

    title: str
    bytes: int
    rgb: Rgb
    boxes: Boxes


def choose(truth: Truth, data: Dataset, found: Mapping[int, Boxes], count: int) -> list[Picture]:
    """Pictures that can be read, spread evenly over all by id; no codec has a say.

    Those with at most MOST boxes of which at least LEAST are found in the uncompressed picture.
    """
    numbers: dict[int, int] = {}
    for box in data.annotations:
        numbers[box["image_id"]] = numbers.get(box["image_id"], 0) + 1
    fit = [
        picture
        for picture in data.pictures
        if LEAST <= numbers.get(picture.id, 0) <= MOST
        and sum(matches(truth, picture.id, found[picture.id], SCORE)[0]) >= LEAST
    ]
    count = min(count, len(fit))
    return [fit[int((i + 0.5) * len(fit) / count)] for i in range(count)]


def make(
    result: run.Result,
    data: Dataset,
    truth: Truth,
    detector: Detector,
    codecs: Sequence[str],
    count: int,
    bpp: float,
) -> dict[str, Any]:
    """What examples.html shows: `count` pictures, coded by all `codecs` (names of the rows) within bpp."""
    about = (detector.name, detector.version, detector.settings)
    original = {
        r.image: r.found
        for r in result.rows
        if r.codec == ORIGINAL and (r.detector, r.detector_version, r.detector_settings) == about
    }
    missing: dict[str, str] = {}
    pictures = []
    for picture in choose(truth, data, original, count):
        rgb = load(picture.path).rgb
        shown = [_Shown("uncompressed", picture.path.stat().st_size, rgb, original[picture.id])]
        for name in codecs:
            try:
                codec = _codec(result, name)
                _, coded = baselines.at_bytes(codec, rgb, int(bpp * rgb.shape[0] * rgb.shape[1] / 8))
                decoded = codec.decode(coded)
                boxes = rounded(run.boxes_of(detector.detect(decoded), result.labels[detector.name]))
                shown.append(_Shown(name, len(coded), decoded, boxes))
            except Exception as error:  # other people's encoders raise whatever they like, and the rest goes on
                missing[f"{name}, {picture.path.name}"] = engines.line(error)
        figures = [_figure(s, picture, truth, data) for s in shown]
        pictures.append({"name": picture.path.name, "width": rgb.shape[1], "height": rgb.shape[0], "shown": figures})
    about_them = {"detector": detector.name, "bpp": bpp, "most": MOST, "least": LEAST}
    return about_them | {"pictures": pictures, "missing": missing}


def _codec(result: run.Result, name: str) -> baselines.Codec:
    """The codec of rows, by the name that it was given; DPCError where another version of it is installed."""
    codec = result.plan.codec(result.codecs.get(name, name))
    if not any((r.codec, r.version, r.settings) == (name, codec.version, codec.settings) for r in result.rows):
        raise DPCError(f"its rows are of another version than {codec.version}")
    return codec


def _mark(kind: str, box: Sequence[float], name: str, words: str, picture: Picture) -> dict[str, Any]:
    """A box and the place of its name: inside of it, and of the picture. What is false is named below, as it often lies
    on what is found or missed."""
    left, top, width, height = box
    right, bottom = min(left + width, picture.width), min(top + height, picture.height)
    at_right = left > 0.6 * picture.width
    x = right - 4 if at_right else max(left, 0) + 4
    y = bottom - 6 if kind == "false" else max(top, 0) + 16
    return {"kind": kind, "box": box, "name": name, "words": words, "x": x, "y": y, "at_right": at_right}


def _figure(shown: _Shown, picture: Picture, truth: Truth, data: Dataset) -> dict[str, Any]:
    seen, right = matches(truth, picture.id, shown.boxes, SCORE)
    annotated = [a for a in data.annotations if a["image_id"] == picture.id and not a["iscrowd"]]
    marks = [
        _mark("missed", a["bbox"], data.categories[a["category_id"]], "missed", picture)
        for a, hit in zip(annotated, seen, strict=True)
        if not hit
    ]
    for (category, score, *box), good in zip(counted(truth, shown.boxes, SCORE).tolist(), right, strict=True):
        kind = "found" if good else "false"
        marks.append(_mark(kind, box, data.categories[int(category)], f"{kind}, score {score:.2f}", picture))
    return {
        "title": shown.title,
        "bytes": shown.bytes,
        "bpp": 8 * shown.bytes / (shown.rgb.shape[0] * shown.rgb.shape[1]),
        "words": f"{sum(right)} found, {len(seen) - sum(seen)} missed, {len(right) - sum(right)} false",
        "url": data_url(shown.rgb, quality=90),
        "marks": marks,
    }
