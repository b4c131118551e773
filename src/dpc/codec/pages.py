"""Pages and parts of pages, in place of what the networks make of them: which of the ways is tried, and which is taken.

without loss, colours merged    exact.py, merging.py
without noise                   denoising.py
in an overlay                   overlay.py; boards.py for those in photographs
in few colours                  merging.py, where nothing else fits
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dpc.codec import boards, container, denoising, exact, merging, overlay
from dpc.codec.coder import NEAR_ENOUGH, Coder, Task

UInt8 = NDArray[np.uint8]
Judge = Callable[[UInt8, UInt8, UInt8, UInt8 | None], bool]
"""Takes a picture, two ways to show it and its alpha; says whether the first way is better."""

CHUNK = 6  # bytes: the head of a chunk, at most
FINEST, FINE = 16, 0.8  # the least tolerance of a page's colours up to this share of the levels: the rest gains more
OVERLAID = 0.6  # of the bytes, what an overlay takes at most where the rest pays for it


class Pages:
    """What may take the place of a task's learned file.

    decode: Codec.decode. coder: makes the coder of a picture, (H, W, 3). top: the finest level of the model.
    """

    def __init__(self, task: Task, decode: Callable[..., Any], coder: Callable[[UInt8], Coder], top: int) -> None:
        self._task, self._coder, self._top = task, coder, top
        self._decode = decode

    def instead_of(self, plain: bytes, whole: bytes | None, *, noise: bool) -> bytes | None:
        """What keeps the picture, or parts of it, better than the learned file in as many bytes; None where nothing is.

        plain: the learned file. whole: the file without loss, where it may be the smaller one. noise: whether noise may
        be taken away, and colours of ground be changed.
        """
        picture, about, size = self._task.picture, self._task.about, self._task.size
        if whole is None and size is not None and container.peek(plain).level == self._top:
            if kept := exact.within(picture, about, size):
                return kept
        clean = denoising.page(picture.rgb) if noise else None
        found = self._overlaid(plain) if clean is None else None
        most = size or float(len(found or plain))
        if whole and size is None:
            kept = whole if len(whole) <= most else exact.merged_file(picture, about, most)
            if kept:
                return kept
        if clean is not None:
            kept = exact.without_noise(picture, about, most, clean)
            if kept := self._better(kept, plain, denoising.nearer):
                return kept
            found = self._overlaid(plain)
        if whole and noise:
            coarse = exact.merged_file(picture, about, most, clean, coarse=True)
            found = self._better(coarse, found or plain, merging.halves) or found
        return found

    def _shown(self, data: bytes) -> UInt8:
        return cast(UInt8, self._decode(data, as_array=True, max_pixels=None))

    def _better(self, kept: bytes | None, plain: bytes, judge: Judge) -> bytes | None:
        """The file of a page, where the judge says that it is better than the learned file, or where it alone fits."""
        if kept is None or len(plain) > (self._task.target.max_bytes or len(plain)):
            return kept
        picture = self._task.picture
        return kept if judge(picture.rgb, self._shown(kept), self._shown(plain), picture.alpha) else None

    def _overlaid(self, plain: bytes) -> bytes | None:
        """The file with an overlay, where it and the rest, as good as in the plain file, fit into as many bytes.

        Of a page also where its colours get fewer or the rest gets worse, and the whole is nearer to the picture.
        """
        rgb, alpha = self._task.picture.rgb, self._task.picture.alpha

        @cache
        def by_networks() -> UInt8:
            return self._shown(plain)

        page = overlay.find(rgb, alpha)
        sure = page is not None
        page = page or boards.page(rgb, alpha, by_networks)
        if page is None:
            return None
        coder = self._coder(page.behind)
        level = container.peek(plain).level or 0
        most = max(self._task.size or 0.0, float(len(plain)))
        limit = self._task.target.max_bytes or NEAR_ENOUGH * most
        room = most - len(coder.file(self._task.about, level)) - CHUNK
        finest = (
            FINEST if sure and self._task.size and level < FINE * self._top else 0
        )  # at a quality nothing gains by it
        if found := page.fitting(room, finest=finest):
            if not sure and not denoising.nearer(rgb, found[1], by_networks(), page.mask):
                return None
            return self._laid_over(coder, found[0], level)
        if not sure:
            return None
        for share in dict.fromkeys((max(room, OVERLAID * most if self._task.size else 0.0), room)):
            if found := page.fitting(share, finest=finest, coarse=True):
                file = self._laid_over(coder, found[0], level)
                if len(file) <= limit and self._better(file, plain, merging.nearer):
                    return file
        return None

    def _laid_over(self, coder: Coder, data: bytes, level: int) -> bytes:
        """The file with this overlay, over what the coder makes of the rest: as the target asks, or at the level."""
        about = self._task.about | {"overlay": data}
        file = coder.file(about, level) if self._task.size is None else coder.reached(self._task, about)
        return coder.smoothed(self._task, about, file)
