"""What every detector offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dpc.evaluation.codecs import Rgb

__all__ = ["COCO", "Detector", "Found"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector finds in a picture, in any order.

    boxes: (N, 4) float32, left, top, right, bottom in pixels of the picture, they may reach beyond it. scores: (N,)
    float32, 0 to 1. labels: (N,) int64, places in the detector's classes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Detector(Protocol):
    """A detector at fixed settings.

    name: short, for tables. version: of the weights (a hash) and what runs them. settings: in words, all that decides
    what is found besides the weights: input, thresholds, suppression. classes: their names.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def settings(self) -> str: ...

    @property
    def classes(self) -> Sequence[str]: ...

    def detect(self, image: Rgb) -> Found:
        """What there is in a uint8 (H, W, 3) sRGB picture."""


COCO = tuple(
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush".split(",")
)
"""The 80 classes of COCO in the order in which detectors are trained on them."""
