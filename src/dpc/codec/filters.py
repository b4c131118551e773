"""What a file has smoothed in the picture of the networks, one after the other: wide smoothing, then smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpc.codec.container import DPCFile
from dpc.codec.smoothing import Smooth
from dpc.codec.tiles import Box
from dpc.codec.wide_smoothing import WideSmooth

__all__ = ["Filters"]


class Filters:
    """Those of a file. Corrupt."""

    def __init__(self, file: DPCFile) -> None:
        size = file.height, file.width
        self._all: list[WideSmooth | Smooth] = []
        if file.wide_smoothing is not None:
            self._all.append(WideSmooth(file.wide_smoothing, *size))
        if file.smoothing is not None:
            self._all.append(Smooth(file.smoothing, *size))

    def seen(self, part: Box) -> Box:
        """A box of pixels with those around it that they need."""
        for one in reversed(self._all):
            part = one.seen(part)
        return part

    def shown(self, rgb: NDArray[np.uint8], part: Box) -> NDArray[np.uint8]:
        """A part of the picture, (h, w, 3), of what is `seen` of it, which is changed."""
        boxes = [part]
        for one in reversed(self._all[1:]):
            boxes.insert(0, one.seen(boxes[0]))
        for one, box in zip(self._all, boxes, strict=False):
            rgb = one.shown(rgb, box)
        return rgb
