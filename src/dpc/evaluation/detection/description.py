"""How an ONNX detector is fed and read: families that are known, descriptions in files (docs/guide/detection.md)."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dpc.errors import OptionError
from dpc.evaluation.detection.protocol import COCO

__all__ = ["FAMILIES", "Description", "describe"]

FITS = ("letterbox", "letterbox-centre", "stretch")
OUTPUTS = ("yolox", "nanodet", "fastestdet", "yolo", "boxes")


@dataclass(frozen=True)
class Description:
    """How an ONNX detector is fed and read; the defaults are YOLOX's. See docs/guide/detection.md for each field.

    score, nms: what YOLOX's own evaluation uses. input: (width, height), only needed when the file leaves it open.
    """

    model: str = ""
    name: str = ""
    classes: tuple[str, ...] = COCO
    input: tuple[int, int] | None = None
    colour: str = "bgr"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fit: str = "letterbox"
    pad: int = 114
    output: str = "yolox"
    strides: tuple[int, ...] = (8, 16, 32)
    objectness: bool = False
    boxes: str = "boxes"
    scores: str = "scores"
    labels: str = "labels"
    first_label: int = 0
    relative: bool = False
    score: float = 0.01
    nms: float | None = 0.65


FAMILIES = {
    "yolox": Description(),
    "nanodet": Description(
        output="nanodet",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        fit="letterbox-centre",
        pad=0,
        score=0.05,
        nms=0.6,
    ),
    "fastestdet": Description(output="fastestdet", scale=255.0, fit="stretch", strides=(16,), score=0.001, nms=0.45),
}
"""What the authors of each family feed and read in their own evaluation."""


def describe(path: Path) -> Description:
    """The description in a TOML or JSON file; OptionError for what cannot be one, and for unknown fields."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            given = json.loads(text)
        else:
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib
            given = tomllib.loads(text)
    except OSError as error:
        raise OptionError(f"the detector {path} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise OptionError(f"{path} is not a description of a detector: {' '.join(str(error).split())}") from error
    known = {field.name: field.default for field in fields(Description)}
    if not isinstance(given, dict) or (unknown := sorted(set(given) - set(known))):
        what = ", ".join(unknown) if isinstance(given, dict) else "no table"
        raise OptionError(f"{path}: {what} is unknown in a detector's description; it may have {', '.join(known)}")
    if given.get("classes") == "coco":
        given["classes"] = list(COCO)
    if given.get("nms") is False:
        given["nms"] = None
    for name, value in given.items():
        given[name] = tuple(value) if isinstance(value, list) else value
        kinds = {"input": (tuple,), "nms": (int, float, type(None)), "scale": (int, float), "score": (int, float)}
        if not isinstance(given[name], kinds.get(name, (type(known[name]),))):
            raise OptionError(
                f"{path}: {name} = {value!r} is not of the kind that it must be; see docs/guide/detection.md"
            )
    made = replace(FAMILIES.get(str(given.get("output")), Description()), **given)
    for name, value, choices in (
        ("fit", made.fit, FITS),
        ("output", made.output, OUTPUTS),
        ("colour", made.colour, ("rgb", "bgr")),
    ):
        if value not in choices:
            raise OptionError(f"{path}: {name} {value!r} is unknown; choose from {', '.join(choices)}")
    for name, numbers, count in (("mean", made.mean, 3), ("std", made.std, 3), ("input", made.input or (1, 1), 2)):
        if len(numbers) != count or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise OptionError(f"{path}: {name} must be {count} numbers, not {list(numbers)}")
    for name, fine, rule in (
        ("scale", made.scale != 0 and math.isfinite(made.scale), "a number that is not 0: pixels are divided by it"),
        ("std", all(made.std), "three numbers that are not 0: pixels are divided by them"),
        ("input", all(type(n) is int and n > 0 for n in made.input or ()), "whole numbers above 0, width and height"),
        ("strides", made.strides and all(type(n) is int and n > 0 for n in made.strides), "whole numbers above 0"),
        ("pad", 0 <= made.pad <= 255, "a grey of 0 to 255"),
        ("score", 0 <= made.score < 1, "at least 0 and below 1"),
        ("nms", made.nms is None or 0 < made.nms <= 1, "an IoU above 0 and at most 1, or false"),
    ):
        if not fine:
            value = getattr(made, name)
            raise OptionError(f"{path}: {name} is {list(value) if isinstance(value, tuple) else value}; give {rule}")
    if not made.model:
        raise OptionError(f"{path} names no model; add the line model = 'FILE.onnx', beside the description")
    if not made.classes or not all(isinstance(c, str) for c in made.classes):
        raise OptionError(f"{path}: classes must be names, or 'coco'")
    return made
