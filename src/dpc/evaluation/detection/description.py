"""How an ONNX detector is fed and read: families that are known, descriptions in files (docs/guide/detection.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dpc.evaluation.detection.protocol import COCO
from dpc.evaluation.experiment.cells import LARGEST
from dpc.reading import table, validated

__all__ = ["FAMILIES", "Description", "describe"]


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


Finite = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
Above = Annotated[int, Field(strict=True, gt=0, le=1 << 16)]


def _not_zero(value: float) -> float:
    if not value:
        raise ValueError("must not be 0, as pixels are divided by it")
    return value


def _coco(value: object) -> object:
    return list(COCO) if value == "coco" else value


def _off(value: object) -> object:
    return None if value is False else value


Divisor = Annotated[Finite, AfterValidator(_not_zero)]
Name = Annotated[str, Field(max_length=1000)]


class _Given(BaseModel):
    """What a description may say; what it leaves out is its family's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=4096)]
    name: Name = ""
    classes: Annotated[list[Name], Field(min_length=1, max_length=100_000), BeforeValidator(_coco)] = []
    input: Annotated[list[Above], Field(min_length=2, max_length=2)] | None = None
    colour: Literal["rgb", "bgr"] = "bgr"
    scale: Divisor = 1.0
    mean: Annotated[list[Finite], Field(min_length=3, max_length=3)] = []
    std: Annotated[list[Divisor], Field(min_length=3, max_length=3)] = []
    fit: Literal["letterbox", "letterbox-centre", "stretch"] = "letterbox"
    pad: Annotated[int, Field(ge=0, le=255)] = 0
    output: Literal["yolox", "nanodet", "fastestdet", "yolo", "boxes"] = "yolox"
    strides: Annotated[list[Above], Field(min_length=1, max_length=16)] = []
    objectness: bool = False
    boxes: Name = ""
    scores: Name = ""
    labels: Name = ""
    first_label: Annotated[int, Field(ge=-1000, le=1000)] = 0
    relative: bool = False
    score: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    nms: Annotated[Annotated[float, Field(gt=0, le=1)] | None, BeforeValidator(_off)] = None


def describe(path: Path) -> Description:
    """The description in a TOML or JSON file; OptionError for what cannot be one, and for unknown fields."""
    given = validated(path, table(path), _Given)
    said = {name: getattr(given, name) for name in given.model_fields_set}
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return replace(FAMILIES.get(given.output if "output" in said else "", Description()), **said)
