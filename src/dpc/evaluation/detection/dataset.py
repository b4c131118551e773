"""A test set in COCO's format, and everything that can be wrong with it, found before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import ExifTags, Image
from pydantic import BaseModel, Field, ValidationError

from dpc.errors import OptionError
from dpc.evaluation.detection.protocol import Detector
from dpc.evaluation.experiment.cells import LARGEST, why

__all__ = ["Dataset", "Picture", "match", "read"]


@dataclass(frozen=True)
class Picture:
    """One picture: its id in the annotations, its file, size and format, and the bits of the file per pixel."""

    id: int
    path: Path
    width: int
    height: int
    format: str
    bpp: float


@dataclass(frozen=True, eq=False)
class Dataset:
    """sha256: of the annotations file. categories: id -> name, all of them. scored: ids of those that count.

    annotations: of the pictures and the scored categories, each with id (from 1), image_id, category_id, bbox, area
    and iscrowd. notes: what a reader of the results should know, in sentences.
    """

    sha256: str
    pictures: Sequence[Picture]
    categories: Mapping[int, str]
    scored: Sequence[int]
    annotations: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


Id = Annotated[int, Field(ge=-(1 << 53), le=1 << 53)]
Place = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]


class _Category(BaseModel):
    id: Id
    name: Annotated[str, Field(max_length=200)]


class _Image(BaseModel):
    id: Id
    file_name: Annotated[str, Field(min_length=1, max_length=1000)]
    width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    height: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


class _Annotation(BaseModel):
    image_id: Id
    category_id: Id
    bbox: tuple[Place, Place, Length, Length]
    area: Annotated[float, Field(ge=0, le=LARGEST**2, allow_inf_nan=False)] | None = None
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0


class _Coco(BaseModel):
    """What is needed of a file in COCO's format; everything else in it is left alone."""

    categories: list[_Category]
    images: list[_Image]
    annotations: list[_Annotation]


def read(
    file: Path, images: Path | None = None, *, categories: Sequence[str] = (), limit: int | None = None
) -> Dataset:
    """The pictures and boxes of an annotations file.

    images: the folder of the pictures; by default `images` beside the file, or what COCO's own layout has
    (annotations/instances_NAME.json, NAME/). categories: names of the only ones that count. limit: the first so many
    pictures by id. Raises OptionError, one line for each thing that can be wrong.
    """
    try:
        data = file.read_bytes()
        content = json.loads(data)
    except OSError as error:
        raise OptionError(f"the annotations {file} cannot be opened: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{file} is not JSON ({error}); give annotations in COCO's format") from error
    try:
        given = _Coco.model_validate(content)
    except ValidationError as error:
        raise OptionError(
            f"{file} is not in COCO's format ({why(error)}); it must have images, annotations with boxes, and "
            "categories"
        ) from None
    names = {category.id: category.name for category in given.categories}
    listed = {image.id: image for image in given.images}
    boxes = [_box(annotation) for annotation in given.annotations]
    if not names:
        raise OptionError(f"{file} has no categories, so nothing can be scored; add them")
    if not listed:
        raise OptionError(f"{file} lists no images; add them")
    for what, repeated in (
        ("images", len(given.images) - len(listed)),
        ("categories", len(given.categories) - len(names)),
    ):
        if repeated:
            raise OptionError(f"{file} lists {repeated} {what} under an id that another one has; make ids unique")
    if not boxes:
        raise OptionError(f"{file} has images and not one annotation, so nothing can be scored")
    _refuse(file, [b["image_id"] for b in boxes if b["image_id"] not in listed], "images that it does not list")
    _refuse(file, [b["category_id"] for b in boxes if b["category_id"] not in names], "categories it does not have")
    scored = _chosen(file, names, categories)
    folder = _folder(file, images)
    used = sorted(listed)[:limit]
    pictures = _pictures(folder, [listed[i] for i in used])
    ids = set(used)
    kept = [b for b in boxes if b["image_id"] in ids and b["category_id"] in set(scored)]
    if not kept:
        raise OptionError(f"none of the {len(used)} images has a box of {', '.join(names[i] for i in scored)}")
    for number, box in enumerate(kept, 1):
        box["id"] = number  # pycocotools takes a match with id 0 for none
    notes = _notes(pictures, kept, {i: names[i] for i in scored})
    return Dataset(hashlib.sha256(data).hexdigest(), pictures, names, scored, kept, notes)


def match(detector: Detector, data: Dataset) -> dict[int, int]:
    """Place in the detector's classes -> category id, by name; those of no category are left out.

    OptionError when a category that has boxes is none of the detector's classes.
    """
    places = {name.strip().casefold(): i for i, name in enumerate(detector.classes)}
    found = {places[key]: i for i, name in data.categories.items() if (key := name.strip().casefold()) in places}
    have = {a["category_id"] for a in data.annotations}
    missing = [data.categories[i] for i in sorted(have - set(found.values()))]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise OptionError(
            f"{detector.name} does not know {len(missing)} of the {len(have)} annotated categories ({some}); its "
            f"classes are {', '.join(detector.classes[:5])}, ...; take another detector, or score the common ones "
            "with --categories"
        )
    return found


def _box(given: _Annotation) -> dict[str, Any]:
    _, _, width, height = given.bbox
    return {
        "image_id": given.image_id,
        "category_id": given.category_id,
        "bbox": list(given.bbox),
        "area": width * height if given.area is None else given.area,
        "iscrowd": given.iscrowd,
    }


def _refuse(file: Path, wrong: Sequence[int], what: str) -> None:
    if wrong:
        raise OptionError(f"{file} has {len(wrong)} annotations of {what}, the first of id {wrong[0]}; correct it")


def _chosen(file: Path, names: Mapping[int, str], wanted: Sequence[str]) -> list[int]:
    ids = {name.strip().casefold(): i for i, name in names.items()}
    unknown = [name for name in wanted if name.strip().casefold() not in ids]
    if unknown:
        raise OptionError(f"{file} has no category {', '.join(unknown)}; it has {', '.join(names.values())}")
    return sorted(ids[name.strip().casefold()] for name in wanted) if wanted else sorted(names)


def _folder(file: Path, images: Path | None) -> Path:
    layout = file.parent.parent / file.stem.removeprefix("instances_")
    tried = [images] if images else [file.parent / "images", layout]
    for folder in tried:
        if folder.is_dir():
            return folder
    raise OptionError(f"there is no folder {' or '.join(map(str, tried))} of the pictures; name it with --images")


def _pictures(folder: Path, listed: Sequence[_Image]) -> list[Picture]:
    for image in listed:
        if Path(image.file_name).is_absolute() or ".." in Path(image.file_name).parts:
            raise OptionError(f"the annotations name the picture {image.file_name!r}, which is not inside of {folder}")
    names = [image.file_name for image in listed]
    paths = [folder / name if (folder / name).is_file() else folder / Path(name).name for name in names]
    gone = [path.name for path in paths if not path.is_file()]
    if gone:
        raise OptionError(
            f"{len(gone)} of {len(paths)} annotated images are not in {folder} (the first is {gone[0]}); add them, or "
            "name their folder with --images"
        )
    found = []
    for image, path in zip(listed, paths, strict=True):
        width, height, kind = _open(path)
        expected = (image.width or width, image.height or height)
        if expected != (width, height):
            raise OptionError(
                f"{path} is {width}x{height} pixels, its annotations are for {expected[0]}x{expected[1]}; boxes would "
                "be in wrong places"
            )
        found.append(Picture(image.id, path, width, height, kind, 8 * path.stat().st_size / (width * height)))
    return found


def _open(path: Path) -> tuple[int, int, str]:
    """(width, height, format) of a picture the right way up; no pixel is decoded."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            width, height = image.size[::-1] if turned else image.size
            return width, height, image.format or ""
    except Exception as error:  # Pillow's readers raise whatever the damage happens to hit
        raise OptionError(f"{path} is not a picture that can be read ({type(error).__name__}); replace it") from error


def _notes(pictures: Sequence[Picture], boxes: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> list[str]:
    with_boxes = {b["image_id"] for b in boxes}
    counts = Counter(b["category_id"] for b in boxes)
    notes = [
        f"{len(pictures)} pictures, {len(boxes)} boxes of {len(counts)} categories"
        + (f", {crowds} of them crowds" if (crowds := sum(b["iscrowd"] for b in boxes)) else "")
        + "."
    ]
    jpegs = [p.bpp for p in pictures if p.format in ("JPEG", "MPO")]
    if jpegs:
        notes.append(
            f"JPEG files among the pictures: {len(jpegs)}, {sum(jpegs) / len(jpegs):.2f} bpp on average; "
            "the uncompressed picture is what is decoded from them, and every codec codes a picture that JPEG went "
            "over first."
        )
    if empty := len(pictures) - len(with_boxes):
        notes.append(f"Pictures without a box: {empty}; whatever is found in them is false.")
    if absent := [name for i, name in names.items() if i not in counts]:
        some = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
        notes.append(f"Categories without a box here, which do not count: {len(absent)} of {len(names)} ({some}).")
    return notes
