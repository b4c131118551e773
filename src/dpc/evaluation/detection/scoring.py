"""Average precision by pycocotools, and its spread over pictures.

Pictures are evaluated once (COCOeval.evaluate), and every figure of the set is pycocotools' own. A resample weighs the
matches of that evaluation; a test holds it to what pycocotools gives for the resampled set written out.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.errors import ToolMissing
from dpc.evaluation.detection.dataset import Dataset

__all__ = ["NAMES", "SCORE", "SIZES", "Evaluated", "Truth", "counted", "kept", "matches"]

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")
"""What pycocotools reports of boxes, in its order. AR is of 100 boxes."""

SIZES = ("AP", "APs", "APm", "APl")
"""Precision over all boxes, and over small, medium and large ones: what is resampled."""

SCORE = 0.3  # finds below it count as not made, where single finds are counted
MOST = 100  # finds of a picture and category that count, as COCO has it
OVERLAP = 0.5  # IoU from which on two boxes are the same

Boxes = NDArray[np.float64]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


class Truth:
    """The boxes of a test set as pycocotools holds them. ToolMissing without pycocotools."""

    def __init__(self, data: Dataset) -> None:
        try:
            from pycocotools.coco import COCO
        except ImportError as error:
            raise ToolMissing("scoring needs the package pycocotools; pip install '.[detect]'") from error
        self.images = [p.id for p in data.pictures]
        self.categories = list(data.scored)
        self._coco = COCO()
        self._coco.dataset = {
            "images": [{"id": p.id, "width": p.width, "height": p.height} for p in data.pictures],
            "categories": [{"id": i, "name": data.categories[i]} for i in data.scored],
            "annotations": [dict(a) for a in data.annotations],
        }
        with _quiet():
            self._coco.createIndex()

    def evaluate(self, found: Mapping[int, Boxes]) -> Evaluated:
        """found: image id -> (N, 6) category, score, left, top, width, height. A picture that is absent has none."""
        evaluation = self._evaluation(found)
        with _quiet():
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return Evaluated(evaluation, dict(zip(NAMES, map(float, evaluation.stats), strict=True)))

    def _evaluation(self, found: Mapping[int, Boxes]) -> Any:
        from pycocotools.cocoeval import COCOeval

        chosen = set(self.categories)
        images = set(self.images)
        results = [
            {"image_id": image, "category_id": int(c), "score": s, "bbox": [x, y, w, h]}
            for image, boxes in found.items()
            if image in images
            for c, s, x, y, w, h in boxes.tolist()
            if c in chosen
        ]
        with _quiet():
            if results:
                detections = self._coco.loadRes(results)
            else:  # loadRes does not take an empty list
                detections = type(self._coco)()
                detections.dataset = {**self._coco.dataset, "annotations": []}
                detections.createIndex()
            evaluation = COCOeval(self._coco, detections, "bbox")
        evaluation.params.imgIds = self.images
        evaluation.params.catIds = self.categories
        return evaluation


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One set of pictures, scored: values holds NAMES (nan where there is nothing to score)."""

    _evaluation: Any
    _values: Mapping[str, float]

    @property
    def values(self) -> dict[str, float]:
        return {name: math.nan if value < 0 else value for name, value in self._values.items()}

    def resampled(self, samples: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.float64]]:
        """Each of SIZES of every sample; a sample is a list of places in the pictures, which may come several times.

        The matches are pycocotools'; precision is computed from them as its accumulate does, for all samples at once:
        a picture that comes twice counts twice.
        """
        evaluation = self._evaluation
        count, areas = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
        weights = np.zeros((len(samples), count))  # how often a picture comes
        for line, sample in zip(weights, samples, strict=True):
            np.add.at(line, sample, 1)
        found: dict[str, NDArray[np.float64]] = {}
        for area, name in enumerate(SIZES):
            of_category = []
            for k in range(len(evaluation.params.catIds)):
                place = (k * areas + area) * count
                images = evaluation.evalImgs[place : place + count]
                if any(e and (e["gtIgnore"] == 0).any() for e in images):
                    of_category.append(_precision(images, weights, evaluation.params.recThrs))
            found[name] = _mean(of_category, len(samples))
        return found


def _mean(of_category: Sequence[NDArray[np.float64]], samples: int) -> NDArray[np.float64]:
    """The mean over the categories that a sample has boxes of (the others are nan); nan where it has none."""
    if not of_category:
        return np.full(samples, math.nan)
    values = np.stack(of_category)
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(there, values, 0).sum(0) / there.sum(0)
    return mean


def _precision(
    images: Sequence[Mapping[str, Any] | None], weights: NDArray[np.float64], recalls: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean precision of a category in every sample, over all IoU and the given recalls; nan without a box.

    images: what pycocotools found in each picture. weights: (samples, pictures), how often a picture comes.
    """
    there = [(i, e) for i, e in enumerate(images) if e]
    boxes = np.zeros(len(images))
    for i, e in there:
        boxes[i] = np.count_nonzero(e["gtIgnore"] == 0)
    total = weights @ boxes
    scores = np.concatenate([e["dtScores"][:MOST] for _, e in there])
    order = np.argsort(-scores, kind="mergesort")
    picture = np.concatenate([np.full(len(e["dtScores"][:MOST]), i) for i, e in there])[order]
    right = np.concatenate([e["dtMatches"][:, :MOST] for _, e in there], 1)[:, order] > 0
    left_out = np.concatenate([e["dtIgnore"][:, :MOST] for _, e in there], 1)[:, order].astype(bool)
    found = np.zeros(len(weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        for t in range(len(right)):  # IoU
            found += _area(picture, right[t], ~left_out[t], weights, total, recalls)
    return np.where(total > 0, found / len(right), math.nan)


def _area(
    picture: NDArray[np.int64],
    right: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    weights: NDArray[np.float64],
    total: NDArray[np.float64],
    recalls: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean over the recalls of the best precision from each on, in every sample, for finds in order of their scores.

    Precision is needed at hits alone: behind a hit it falls until the next one.
    """
    hits = np.flatnonzero(right & counts)
    if not hits.size:
        return np.zeros(len(weights))
    # of every picture, the finds that count up to each hit, and the hits among them
    before = np.searchsorted(hits, np.arange(hits[-1] + 1))
    finds = np.zeros((weights.shape[1], hits.size))
    np.add.at(finds, (picture[: hits[-1] + 1], before), counts[: hits[-1] + 1])
    own = np.zeros_like(finds)
    own[picture[hits], np.arange(hits.size)] = 1
    so_far = weights @ np.cumsum(own, 1)  # (samples, hits)
    precision = so_far / (weights @ np.cumsum(finds, 1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    # a hit stands for the recalls that it is the first to reach
    reached = np.searchsorted(recalls, so_far / total[:, None], side="right")
    return (precision * np.diff(reached, axis=1, prepend=0)).sum(1) / len(recalls)


def counted(truth: Truth, found: Boxes, score: float) -> Boxes:
    """The finds that count: those of a category that is scored, with at least this score."""
    return found[(found[:, 1] >= score) & np.isin(found[:, 0], truth.categories)]


def kept(before: Boxes, after: Boxes, score: float = SCORE) -> tuple[int, int]:
    """(how many finds are found again, how many there were), of one picture before and after it was coded.

    before, after: (N, 6). Finds count with at least this score. Found again is one whose box overlaps, by OVERLAP or
    more, a find of its category that no other one has taken; those with the highest scores choose first.
    """
    from pycocotools.mask import iou

    before, after = (boxes[boxes[:, 1] >= score] for boxes in (before, after))
    if not len(before) or not len(after):
        return 0, len(before)
    before = before[np.argsort(-before[:, 1], kind="stable")]
    overlaps = np.asarray(iou(before[:, 2:], after[:, 2:], [0] * len(after)))
    overlaps[before[:, :1] != after[None, :, 0]] = 0
    found = 0
    for line in overlaps:
        best = int(line.argmax())
        if line[best] >= OVERLAP:
            found += 1
            overlaps[:, best] = 0
    return found, len(before)


def matches(truth: Truth, image: int, found: Boxes, score: float) -> tuple[list[bool], list[bool]]:
    """Which boxes of a picture are found and which finds are right, by pycocotools at IoU 0.5.

    found: (N, 6). Returns (one for each annotation of the picture that is no crowd, in the set's order; one for each
    of the finds counted(), in their order; a find that lies in a crowd is right).
    """
    finds = counted(truth, found, score)
    evaluation = truth._evaluation({image: finds})
    evaluation.params.imgIds = [image]
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [evaluation.params.areaRng[0]], ["all"]
    with _quiet():
        evaluation.evaluate()
    seen, right = set(), set()
    for result in evaluation.evalImgs:
        if result is not None:
            seen |= {gt for gt, hit in zip(result["gtIds"], result["gtMatches"][0], strict=True) if hit > 0}
            good = (result["dtMatches"][0] > 0) | result["dtIgnore"][0].astype(bool)
            right |= {dt for dt, fine in zip(result["dtIds"], good, strict=True) if fine}
    boxes = [a["id"] for a in truth._coco.imgToAnns[image] if not a["iscrowd"]]
    return [i in seen for i in boxes], [number in right for number in range(1, len(finds) + 1)]
