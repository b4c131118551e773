"""Test sets and scoring: what is wrong with a set is said first, and every figure is pycocotools' own."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import make_detection as make
import numpy as np
import pytest
from paths import SHARED, needs
from PIL import Image

from dpc.codec.image import load
from dpc.errors import OptionError, ToolMissing
from dpc.evaluation.detection import dataset, detectors, run
from dpc.evaluation.detection.rows import rounded

pytest.importorskip("pycocotools")
from dpc.evaluation.detection import points, scoring  # noqa: E402

DATA = SHARED / "data" / "detection"
needs_data = needs("data", "detection")


# test sets


def test_a_set_is_read(tmp_path: Path) -> None:
    data = dataset.read(make.dataset(tmp_path))
    assert [p.id for p in data.pictures] == [10, 11, 12, 13, 14, 15] and data.categories == {1: "red", 2: "Blue"}
    assert (data.pictures[0].width, data.pictures[0].format) == (64, "PNG") and data.pictures[0].bpp > 1
    assert min(a["id"] for a in data.annotations) == 1 and data.annotations[0]["area"] == 256
    assert data.notes == ["6 pictures, 18 boxes of 2 categories."]
    few = dataset.read(tmp_path / "instances.json", limit=2, categories=[" RED "])
    assert len(few.pictures) == 2 and {a["category_id"] for a in few.annotations} == {1} and list(few.scored) == [1]


def test_what_a_reader_should_know_is_noted(tmp_path: Path) -> None:
    file = make.dataset(tmp_path, 3)
    content = json.loads(file.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 11]
    content["annotations"][0]["iscrowd"] = 1
    content["categories"].append({"id": 9, "name": "green"})
    Image.open(tmp_path / "images" / "0.png").save(tmp_path / "images" / "0.jpg")
    content["images"][0]["file_name"] = "val/0.jpg"
    file.write_text(json.dumps(content))
    notes = " ".join(dataset.read(file).notes)
    assert "3 pictures, 6 boxes of 2 categories, 1 of them crowds." in notes
    assert "JPEG files among the pictures: 1," in notes
    assert "Pictures without a box: 1;" in notes and "which do not count: 1 of 3 (green)" in notes


def test_cocos_own_folders_are_found(tmp_path: Path) -> None:
    make.dataset(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "images").rename(tmp_path / "val2017")
    assert len(dataset.read(tmp_path / "annotations" / "instances_val2017.json").pictures) == 6


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(categories=[]), "has no categories"),
        (lambda c: c.update(images=[]), "lists no images"),
        (lambda c: c.update(annotations=[]), "not one annotation"),
        (lambda c: c.pop("images"), "is not in COCO's format"),
        (lambda c: c["annotations"][0].pop("bbox"), "is not in COCO's format .*bbox"),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 1, -5, 5]),
            r"annotations\[0\].bbox\[2\] is -5",
        ),
        (lambda c: c["annotations"][3].update(image_id=99), "1 annotations of images that it does not list.* id 99"),
        (lambda c: c["annotations"][3].update(category_id=7), "1 annotations of categories it does not have.* id 7"),
        (lambda c: c["images"].append(c["images"][0]), "1 images under an id that another one has"),
        (lambda c: c["images"][2].update(file_name="gone.png"), r"1 of 6 annotated images are not in .*gone.png"),
        (lambda c: c["images"][2].update(width=65), "64x64 pixels, its annotations are for 65x64"),
    ],
)
def test_a_set_that_cannot_be_used(tmp_path: Path, change: Change, message: str) -> None:
    file = make.dataset(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=message):
        dataset.read(file)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    file = make.dataset(tmp_path)
    with pytest.raises(OptionError, match="cannot be opened"):
        dataset.read(tmp_path / "none.json")
    with pytest.raises(OptionError, match="has no category green; it has red, Blue"):
        dataset.read(file, categories=["green"])
    with pytest.raises(OptionError, match="no folder .*name it with --images"):
        dataset.read(file, tmp_path / "nowhere")
    (tmp_path / "images" / "3.png").write_bytes(b"no picture")
    with pytest.raises(OptionError, match="3.png is not a picture that can be read"):
        dataset.read(file)
    file.write_text("{")
    with pytest.raises(OptionError, match="is not JSON"):
        dataset.read(file)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    data = dataset.read(make.dataset(tmp_path))
    knows: Any = SimpleNamespace(name="d", classes=("tree", "blue", "Red "))
    assert dataset.match(knows, data) == {2: 1, 1: 2}
    lacks: Any = SimpleNamespace(name="d", classes=("tree", "blue"))
    with pytest.raises(OptionError, match=r"d does not know 1 of the 2 annotated categories \(red\).*--categories"):
        dataset.match(lacks, data)
    only = dataset.read(tmp_path / "instances.json", categories=["blue"])
    assert dataset.match(lacks, only) == {1: 2}


# scoring


@pytest.fixture
def small(tmp_path: Path) -> dataset.Dataset:
    return dataset.read(make.dataset(tmp_path))


def perfect(data: dataset.Dataset, score: float = 0.9) -> dict[int, Any]:
    found: dict[int, list[Any]] = {}
    for a in data.annotations:
        found.setdefault(a["image_id"], []).append([a["category_id"], score, *a["bbox"]])
    return {image: np.array(boxes, np.float64) for image, boxes in found.items()}


def test_perfect_and_nothing(small: dataset.Dataset) -> None:
    truth = scoring.Truth(small)
    values = truth.evaluate(perfect(small)).values
    assert values["AP"] == values["AP50"] == values["AR"] == pytest.approx(1.0)
    assert math.isnan(values["APl"])  # there are no large boxes
    nothing = truth.evaluate({})
    assert nothing.values["AP"] == 0.0
    assert nothing.resampled([np.arange(6)])["AP"].tolist() == [0.0]


def test_the_annotation_that_pycocotools_takes_for_none_counts(small: dataset.Dataset) -> None:
    # ids start at 0 in this file; pycocotools reads a match with id 0 as no match
    found = perfect(small)
    values = scoring.Truth(small).evaluate({10: found[10]}).values
    assert values["AR"] == pytest.approx(len(found[10]) / len(small.annotations), abs=0.2)
    assert scoring.matches(scoring.Truth(small), 10, found[10], 0.5) == ([True] * 3, [True] * 3)


def test_resamples_are_scored_as_pycocotools_scores_such_a_set(small: dataset.Dataset) -> None:
    rng = np.random.default_rng(1)
    found = perfect(small)
    for boxes in found.values():
        boxes[:, 1] = rng.uniform(0.1, 1, len(boxes))
        boxes[:, 2] += rng.uniform(-6, 6, len(boxes))
    evaluated = scoring.Truth(small).evaluate(found)
    before = evaluated.values
    sample = np.array([0, 0, 3, 5, 2, 2])
    assert all(len(values) == 0 for values in evaluated.resampled([]).values())
    resampled = evaluated.resampled([np.arange(6), sample, np.arange(6)])
    same, drawn, again = resampled["AP"]
    for name in scoring.SIZES:
        assert resampled[name][0] == pytest.approx(before[name], abs=1e-12, nan_ok=True)
    assert same == again == pytest.approx(before["AP"], abs=1e-12) and evaluated.values == before
    # the drawn set written out: each picture under a new id
    pictures, annotations, copied = [], [], {}
    for number, place in enumerate(sample, 1):
        picture = small.pictures[place]
        pictures.append(dataset.Picture(number, picture.path, 64, 64, "PNG", 1.0))
        own = [dict(a, image_id=number) for a in small.annotations if a["image_id"] == picture.id]
        annotations += own
        copied[number] = found[picture.id]
    for i, a in enumerate(annotations, 1):
        a["id"] = i
    written = dataset.Dataset("", pictures, small.categories, small.scored, annotations, [])
    once_more = scoring.Truth(written).evaluate(copied).values
    assert [values[1] for values in resampled.values()] == pytest.approx(
        [once_more[name] for name in scoring.SIZES], abs=1e-12, nan_ok=True
    )
    assert drawn != pytest.approx(same, abs=1e-6)


def test_what_is_found_missed_and_false(small: dataset.Dataset) -> None:
    truth = scoring.Truth(small)
    found = perfect(small)[10]
    found[0, 1] = 0.2  # below the score that counts
    found[1, 2] += 12  # beside its square
    assert scoring.matches(truth, 10, found, 0.3) == ([False, False, True], [False, True])
    assert scoring.matches(truth, 10, np.zeros((0, 6)), 0.3) == ([False] * 3, [])


def test_finds_that_are_kept() -> None:
    before = np.array(
        [[1, 0.9, 0, 0, 10, 10], [1, 0.8, 2, 0, 10, 10], [2, 0.7, 50, 50, 10, 10], [1, 0.1, 80, 80, 9, 9]]
    )
    assert scoring.kept(before, before) == (3, 3)  # the fourth is below the score that counts
    assert scoring.kept(before, np.zeros((0, 6))) == (0, 3) and scoring.kept(np.zeros((0, 6)), before) == (0, 0)
    moved = before.copy()
    moved[2, 2] += 6  # overlaps its own by a quarter
    assert scoring.kept(before, moved) == (2, 3)
    other = before.copy()
    other[2, 0] = 3  # another category
    assert scoring.kept(before, other) == (2, 3)
    assert scoring.kept(before, before[[0, 2]]) == (2, 3)  # one box is not found twice
    fainter = before * [1, 0.3, 1, 1, 1, 1]
    assert scoring.kept(before, fainter) == (0, 3)


def test_what_is_found_where_few_categories_count(tmp_path: Path) -> None:
    data = dataset.read(make.dataset(tmp_path), categories=["blue"])
    everything = perfect(dataset.read(make.dataset(tmp_path)))
    truth = scoring.Truth(data)
    for picture in data.pictures:
        own = [a for a in data.annotations if a["image_id"] == picture.id]
        found = everything[picture.id]
        assert len(scoring.counted(truth, found, 0.3)) == len(own) <= len(found)
        assert scoring.matches(truth, picture.id, found, 0.3) == ([True] * len(own), [True] * len(own))


def test_without_pycocotools(small: dataset.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(ToolMissing, match=r"pip install '\.\[detect\]'"):
        scoring.Truth(small)


@pytest.mark.slow
@needs_data
def test_yolox_nano_has_its_known_precision() -> None:
    """AP 0.289 and AP50 0.449 are known of a 334-image superset; half of it cannot be far from that."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data = dataset.read(DATA / "instances.json")
    detector = detectors.get(str(DATA / "yolox_nano.onnx"))
    labels = dataset.match(detector, data)
    found = {p.id: run.boxes_of(detector.detect(load(p.path).rgb), labels) for p in data.pictures}
    evaluated = scoring.Truth(data).evaluate({image: rounded(boxes) for image, boxes in found.items()})
    values = evaluated.values
    assert values["AP"] == pytest.approx(0.3075, abs=0.0005) and values["AP50"] == pytest.approx(0.4798, abs=0.0005)
    samples = np.random.default_rng(0).integers(0, 150, (20, 150))
    spread = float(evaluated.resampled(list(samples))["AP"].std())
    assert abs(values["AP"] - 0.289) < 3 * spread < 0.06
    # the usual way, from the file itself and unrounded
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(DATA / "instances.json"))
        results = [
            {"image_id": image, "category_id": int(c), "score": s, "bbox": [x, y, w, h]}
            for image, boxes in found.items()
            for c, s, x, y, w, h in boxes.tolist()
        ]
        usual = COCOeval(coco, coco.loadRes(results), "bbox")
        usual.evaluate()
        usual.accumulate()
        usual.summarize()
    assert list(values.values()) == pytest.approx(usual.stats.tolist(), abs=0.001)


def test_an_interval_needs_nine_tenths_of_the_draws() -> None:
    draws = np.arange(50.0)
    found = points.spread(20.0, draws)  # around the value, not around the draws
    assert (found.low, found.high) == pytest.approx((20 - 1.96 * 14.577, 20 + 1.96 * 14.577), abs=1e-2)
    assert found.share == 1
    draws[:5] = np.nan
    found = points.spread(20.0, draws)
    assert np.isfinite([found.low, found.high]).all() and found.share == 0.9
    draws[5] = np.nan
    for few in (draws, draws[:0], np.ones(1)):
        found = points.spread(20.0, few)
        assert np.isnan([found.low, found.high]).all() and found.value == 20.0
