"""From what detectors' networks give to boxes: the decoding of each family, and suppression.

Boxes are left, top, right, bottom in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpc.errors import ModelError
from dpc.evaluation.detection.protocol import Found

__all__ = ["decode_fastestdet", "decode_nanodet", "decode_yolox", "suppress"]

Floats = NDArray[np.float32]


def decode_yolox(table: Floats, size: tuple[int, int], strides: tuple[int, ...]) -> Floats:
    """Raw rows of YOLOX with boxes as centre and size in pixels of the input.

    table: (N, 5 + classes); row by row over the cells of each stride in turn. size: (width, height) of the input.
    ModelError when N is not the number of cells.
    """
    cell, step = _cells(size, strides, len(table))
    table = table.copy()
    table[:, :2] = (table[:, :2] + cell) * step
    table[:, 2:4] = np.exp(table[:, 2:4]) * step
    return table


def decode_nanodet(
    scores: Sequence[Floats], distances: Sequence[Floats], size: tuple[int, int], strides: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Boxes (N, 4) and scores (N, classes) of NanoDet's maps, one of each kind for each stride.

    scores: (cells, classes), behind the sigmoid. distances: (cells, 4 x bins), of which the mean of the softmax is the
    distance of an edge from the middle of the cell, in strides: left, top, right, bottom (distribution focal loss,
    Li et al. 2020). Boxes end at the border of the input. ModelError when the cells are not those of the strides.
    """
    table = np.concatenate(list(distances))
    cell, step = _cells(size, strides, len(table))
    raw = table.reshape(len(table), 4, -1)
    share = np.exp(raw - raw.max(2, keepdims=True))
    share /= share.sum(2, keepdims=True)
    far = (share @ np.arange(raw.shape[2], dtype=np.float32)) * step
    middle = ((cell + 0.5) * step).astype(np.float32)
    boxes = np.concatenate([middle - far[:, :2], middle + far[:, 2:]], 1)
    return np.clip(boxes, 0, np.array([*size, *size], np.float32)).astype(np.float32), np.concatenate(list(scores))


def decode_fastestdet(planes: Floats, size: tuple[int, int], strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Boxes (N, 4) and scores (N, classes) of FastestDet's planes (5 + classes, rows, columns).

    The planes are objectness, shift of the centre (tanh, in cells), size (sigmoid, in shares of the input), and the
    classes. A cell stands for its best class alone, as in the authors' evaluation; the score is objectness times class.
    ModelError when the cells are not those of the stride.
    """
    count = planes.shape[1] * planes.shape[2]
    cell, _ = _cells(size, strides, count)
    table = planes.reshape(len(planes), count).T
    middle = (np.tanh(table[:, 1:3]) + cell) / np.array([planes.shape[2], planes.shape[1]], np.float32)
    half = 0.5 / (1 + np.exp(-table[:, 3:5]))
    boxes = np.concatenate([middle - half, middle + half], 1) * np.array([*size, *size], np.float32)
    scores = table[:, :1] * table[:, 5:]
    best = scores.argmax(1)[:, None] == np.arange(scores.shape[1])
    return boxes.astype(np.float32), np.where(best, scores, 0)


def _cells(size: tuple[int, int], strides: tuple[int, ...], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(x, y) of every cell, row by row over each stride in turn, and its stride; ModelError when they are not count."""
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        steps.append(np.full((cells[-1].shape[0], 1), stride))
    if (total := sum(map(len, cells))) != count:
        raise ModelError(
            f"{count} boxes are not the {total} cells of strides {list(strides)} in {size[0]}x{size[1]}; "
            "write a description of this detector (docs/guide/detection.md)"
        )
    return np.concatenate(cells), np.concatenate(steps)


def suppress(boxes: Floats, scores: Floats, score: float, iou: float | None) -> Found:
    """Every (box, class) above a score, without those that overlap a better one of its class by more than iou.

    boxes: (N, 4) left, top, right, bottom. scores: (N, classes). iou: None keeps all. Areas count a pixel more on each
    side, as YOLOX's numpy version does.
    """
    kept: list[tuple[Floats, Floats, int]] = []
    for label in range(scores.shape[1]):
        chosen = scores[:, label] > score
        if chosen.any():
            own, value = boxes[chosen], scores[chosen, label]
            places = list(range(len(own))) if iou is None else _greedy(own, value, iou)
            kept.append((own[places], value[places], label))
    if not kept:
        return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    labels = np.concatenate([np.full(len(b), label, np.int64) for b, _, label in kept])
    return Found(np.concatenate([b for b, _, _ in kept]), np.concatenate([v for _, v, _ in kept]), labels)


def _greedy(boxes: Floats, scores: Floats, iou: float) -> list[int]:
    """Places of the boxes that stay, the best first."""
    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low + 1
    area = size[:, 0] * size[:, 1]
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        common = np.maximum(0.0, np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest]) + 1)
        shared = common[:, 0] * common[:, 1]
        order = rest[shared / (area[best] + area[rest] - shared) <= iou]
    return kept
