"""Legibility: the share of a picture's characters that a text recogniser still reads. 1 is all; higher is better.

The recogniser is PP-OCRv4 by the package rapidocr-onnxruntime, whose wheel brings its models. Lines of text are found
on the original only. Each is then read on both pictures, in the same places:

    text_read     characters read on the original and, in the same order, on the decoded picture; over the original's
    text_known    the same against words that are known because the picture was rendered (NAME.txt beside NAME.png)

Spaces do not count, for the recogniser drops them on clean text too. A line counts when it is read on the original
with a confidence of at least 0.8 and holds two letters or digits: on photographs the detector finds "text" in twigs and
fences. A reading below a confidence of 0.5 is no reading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np

from dpc.errors import ToolMissing
from dpc.evaluation.metrics.pair import Picture, check

__all__ = ["LEAST", "Reading", "again", "common", "known_share", "read", "share", "text_read", "unknown", "version"]

SURE = 0.8  # confidence of a line on the original
READ = 0.5  # confidence below which a line is not read
LEAST = 8  # characters on the original; fewer say nothing
ALIKE = 0.6  # share of a known line's characters in a reading that is taken for it


@dataclass(frozen=True)
class Reading:
    """Where lines of text are on a picture, and what they say. boxes: (4, 2) corners each, in pixels."""

    boxes: list[np.ndarray]
    lines: list[str]

    @property
    def characters(self) -> int:
        """How many there are, without spaces."""
        return sum(map(len, self.lines))


def text_read(original: Picture, decoded: Picture) -> float:
    """Share of the original's characters that are read on both, 0 to 1; nan when the original has fewer than LEAST.

    Takes uint8 (H, W, 3) sRGB. Raises ValueError on a wrong shape or dtype, ToolMissing without the package.
    """
    check(original, decoded)
    first = read(original)
    return share(first, again(first, decoded))


def read(picture: Picture) -> Reading:
    """The lines of text of a uint8 (H, W, 3) sRGB picture that count, see the top of this file."""
    engine = _engine()
    found, _ = engine.text_det(_bgr(picture))
    if found is None or not len(found):
        return Reading([], [])
    boxes = list(found)
    sure = [
        (box, _plain(text))
        for box, (text, confidence) in zip(boxes, _texts(picture, boxes), strict=True)
        if confidence >= SURE and sum(c.isalnum() for c in text) >= 2
    ]
    return Reading([box for box, _ in sure], [text for _, text in sure])


def again(first: Reading, picture: Picture) -> list[str]:
    """What is read on another picture where `first` has its lines; "" for a line that is not read."""
    return [_plain(text) if sure >= READ else "" for text, sure in _texts(picture, first.boxes)]


def share(first: Reading, lines: Sequence[str]) -> float:
    """Characters of `first` that `lines` (of `again`) have too, over all of `first`; nan for fewer than LEAST."""
    if first.characters < LEAST:
        return math.nan
    return sum(common(a, b) for a, b in zip(first.lines, lines, strict=True)) / first.characters


def known_share(first: Reading, lines: Sequence[str], known: Sequence[str]) -> float:
    """Characters of the known lines that are read, over all of them; nan for fewer than LEAST.

    A known line is looked for in the reading of the original; one that is not found there counts as unread.
    """
    known = [text for text in map(_plain, known) if text]
    total = sum(map(len, known))
    if total < LEAST:
        return math.nan
    got = 0
    for text in known:
        scores = [common(text, seen) / max(len(text), 1) for seen in first.lines]
        if scores and max(scores) >= ALIKE:
            got += common(text, lines[int(np.argmax(scores))])
    return got / total


def unknown(original: Picture, decoded: Picture) -> float:
    """nan: what text a picture holds is not known from the pixels; Reference gets it beside them."""
    check(original, decoded)
    return math.nan


def common(a: str, b: str) -> int:
    """Length of the longest common subsequence of two strings."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def version() -> str:
    """Of the recogniser, "" when it is not installed."""
    try:
        return f"rapidocr-onnxruntime {metadata.version('rapidocr-onnxruntime')}, PP-OCRv4"
    except metadata.PackageNotFoundError:
        return ""


def _plain(text: str) -> str:
    return "".join(text.split())


def _bgr(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, :, ::-1])


def _texts(picture: Picture, boxes: Sequence[np.ndarray]) -> list[tuple[str, float]]:
    if not boxes:
        return []
    engine = _engine()
    found, _ = engine.text_rec(engine.get_crop_img_list(_bgr(picture), list(boxes)))
    return [(str(text), float(confidence)) for text, confidence in found]


@lru_cache(maxsize=1)
def _engine() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise ToolMissing(
            "legibility needs the package rapidocr-onnxruntime; pip install rapidocr-onnxruntime (Python below 3.13)"
        ) from error
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
