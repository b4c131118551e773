"""Average precision by pycocotools, and its spread over pictures.

Pictures are evaluated once (COCOeval.evaluate); a resample of them is a list of places in that, which
COCOeval.accumulate turns into precision again. So every figure, that of a resample too, is pycocotools' own.
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

__all__ = ["NAMES", "Evaluated", "Truth", "counted", "matches"]

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")
"""What pycocotools reports of boxes, in its order. AR is of 100 boxes."""

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

    def resampled(self, samples: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        """AP of every sample; a sample is a list of places in the pictures, which may come several times."""
        evaluation = self._evaluation
        whole = evaluation.params
        count = len(whole.imgIds)
        areas = len(whole.areaRng)
        # of every category that has boxes: its pictures, all sizes of boxes
        by_category = [
            evaluation.evalImgs[k * areas * count : k * areas * count + count] for k in range(len(whole.catIds))
        ]
        used = [k for k, images in enumerate(by_category) if any(e and (e["gtIgnore"] == 0).any() for e in images)]
        kept = {name: getattr(evaluation, name) for name in ("params", "evalImgs", "_paramsEval", "eval")}
        values = []
        try:
            for sample in samples:
                params = type(whole)("bbox")
                params.imgIds = list(range(len(sample)))
                params.catIds = [whole.catIds[k] for k in used]
                params.areaRng, params.areaRngLbl = whole.areaRng[:1], whole.areaRngLbl[:1]
                params.maxDets = whole.maxDets[-1:]
                evaluation.params = evaluation._paramsEval = params
                evaluation.evalImgs = [by_category[k][i] for k in used for i in sample]
                with _quiet():
                    evaluation.accumulate()
                precision = evaluation.eval["precision"]
                values.append(float(np.mean(precision[precision > -1])) if (precision > -1).any() else math.nan)
        finally:
            for name, value in kept.items():
                setattr(evaluation, name, value)
        return np.array(values)


def counted(truth: Truth, found: Boxes, score: float) -> Boxes:
    """The finds that count: those of a category that is scored, with at least this score."""
    return found[(found[:, 1] >= score) & np.isin(found[:, 0], truth.categories)]


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
