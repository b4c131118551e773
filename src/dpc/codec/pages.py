"""Pages and parts of pages, in place of what the networks make of them: which of the ways is tried, and which is taken.

without loss, colours merged    exact.py, merging.py
without noise                   denoising.py
in an overlay                   overlay.py; boards.py for those in photographs
letters alone in an overlay     inks.py
in few colours                  merging.py, where nothing else fits
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import boards, container, denoising, exact, inks, merging, overlay, regions
from dpc.codec.coder import NEAR_ENOUGH, Coder, Task

UInt8 = NDArray[np.uint8]
Judge = Callable[[UInt8, UInt8, UInt8, UInt8 | None], bool]
"""Takes a picture, two ways to show it and its alpha; says whether the first way is better."""
Draft = tuple[dict[str, Any], bytes]
"""The fields of a file, and the file, before it is smoothed."""

CHUNK = 6  # bytes: the head of a chunk, at most
FINEST = 16  # the least tolerance of a page's colours that give bytes to its photographs
INKED = 0.8  # of the bytes, what letters alone take at most
EDGE = 2  # pixels around letters whose errors are theirs
SLOPE = 0.75  # squared errors of the networks fall about with this power of the bytes
CHEAP = (
    0.5  # of the learned file: a page that takes no more without loss has no photographs, for which to look takes time
)
OVERLAID = 0.6  # of the bytes, what an overlay takes at most where the rest pays for it


class Pages:
    """What may take the place of a task's learned file.

    plain: that file. whole: the one without loss, where it may be the smaller one. merged: the one of the size that is
    asked for whose colours are merged, where there is one. clean: gives the page that the picture shows without its
    noise, None where it is no such page. shown: what a file shows, as an array. coder_of: makes the
    coder of a picture, (H, W, 3). letters: gives those on gradients or photographs. masked: whether a mask says where
    quality goes; then noise and colours of ground stay, and no part of the picture pays for another.
    """

    def __init__(
        self,
        task: Task,
        plain: bytes,
        whole: bytes | None,
        merged: bytes | None,
        clean: Callable[[], UInt8 | None],
        shown: Callable[[bytes], UInt8],
        coder_of: Callable[[UInt8], Coder],
        letters: Callable[[], inks.Drawn | None],
        *,
        masked: bool,
    ) -> None:
        self._task, self._plain, self._whole, self._masked = task, plain, whole, masked
        self._clean = clean
        self._merged, self._shown, self._coder_of, self._letters = merged, shown, coder_of, letters

    def best(self) -> bytes | None:
        """What keeps the picture, or parts of it, better than the learned file in as many bytes; None where nothing is.

        Where the learned file is above the size that is asked for: what is below that size, else below the file's own.
        """
        size, own = self._task.size, float(len(self._plain))
        sizes = [own] if size is None else [size, own] if own > NEAR_ENOUGH * size else [size]
        return next((kept for kept in map(self._within, sizes) if kept), None)

    def _within(self, most: float) -> bytes | None:
        kept = self._merged or self._kept(most)
        return (None if kept and kept == self._whole else self._inked(most, kept or self._plain)) or kept

    def _kept(self, most: float) -> bytes | None:
        if self._whole and self._task.size is None and len(self._whole) <= CHEAP * most:
            return self._whole
        picture, about, clean = self._task.picture, self._task.about, self._clean()
        found = self._overlaid(most) if clean is None else None
        if self._whole and most != self._task.size:  # at the size that is asked for these were tried first
            least = min(most, len(found)) if found else most
            kept = self._whole if len(self._whole) <= least else None
            kept = kept or exact.merged_file(picture, about, least, noisy=clean is not None)
            if kept:
                return kept
        if clean is not None:
            kept = exact.without_noise(picture, about, most, clean)
            if kept := self._better(kept, self._plain, denoising.nearer):
                return kept
            found = self._overlaid(most)
        if self._whole and not self._masked:
            coarse = exact.merged_file(picture, about, most, clean, coarse=True)
            found = self._better(coarse, found or self._plain, merging.halves) or found
        return found

    def _better(self, kept: bytes | None, other: bytes, judge: Judge) -> bytes | None:
        """The file of a page, where the judge says that it is better than the other one, or where it alone fits."""
        if kept is None or len(other) > (self._task.target.max_bytes or len(other)):
            return kept
        picture = self._task.picture
        return kept if judge(picture.rgb, self._shown(kept), self._shown(other), picture.alpha) else None

    @cached_property
    def _by_networks(self) -> UInt8:
        return self._shown(self._plain)

    @cached_property
    def _flat(self) -> tuple[overlay.Page, bool] | None:
        """The flat parts of the picture, and whether it is a page rather than a photograph with boards in it."""
        picture = self._task.picture
        if page := overlay.find(picture.rgb, picture.alpha):
            return page, True
        page = boards.page(picture.rgb, picture.alpha, lambda: self._by_networks)
        return None if page is None else (page, False)

    @cached_property
    def _coder(self) -> Coder | None:
        """That of the picture without its flat parts."""
        return None if self._flat is None else self._coder_of(self._flat[0].behind)

    def _overlaid(self, most: float) -> bytes | None:
        """The file with an overlay, where it and the rest, as good as in the plain file, fit into so many bytes.

        Of a page also where its colours get fewer or the rest gets worse, and the whole is nearer to the picture.
        """
        if self._flat is None or self._coder is None:
            return None
        (page, is_page), size, coder = self._flat, self._task.size, self._coder
        room = most - len(coder.file(self._task.about, self._level)) - CHUNK
        trades = is_page and not self._masked
        if found := page.fitting(room):
            if not is_page and not denoising.nearer(self._task.picture.rgb, found[1], self._by_networks, page.mask):
                return None
            coarser = page.fitting(room, finest=FINEST) if trades and size else None
            drafts = [self._over(data, coder) for data, _ in (found, coarser or found)]
            return self._finished(self._nearest(drafts), coder)
        if not trades:
            return None
        for share in dict.fromkeys((max(room, OVERLAID * most if size else room), room)):
            if found := page.fitting(share, finest=FINEST, coarse=True):
                file = self._finished(self._over(found[0], coder), coder)
                if len(file) <= self._limit(most) and self._better(file, self._plain, merging.nearer):
                    return file
        return None

    @cached_property
    def _under(self) -> Coder | None:
        """That of the picture without its letters."""
        drawn = self._letters()
        return None if drawn is None else self._coder_of(drawn.behind)

    def _inked(self, most: float, other: bytes) -> bytes | None:
        """The file with letters in an overlay, where it fits into so many bytes and is nearer than the other one."""
        task, drawn = self._task, self._letters()
        if drawn is None:
            return None
        share = inks.SHARES[drawn.smooth] * most
        data = drawn.fitting(INKED * most, share)
        if data is None or not self._promising(drawn, len(data) / most) or self._under is None:
            return None
        if task.size is None or self._masked:
            room = most - len(self._under.file(task.about, self._level)) - CHUNK
            data = data if len(data) <= room else drawn.fitting(room, share)
            if data is None:
                return None
        draft = self._over(data, self._under)
        spare = len(data) + most - len(draft[1])  # much where the rest is as good as the networks can make it
        if task.size is not None and (finer := drawn.fitting(spare, spare)) and len(finer) > len(data):
            draft = self._over(finer, self._under)
        files = self._finished(draft, self._under), draft[1]
        file = next((file for file in files if len(file) <= self._limit(most)), None)
        return self._better(file, other, merging.nearer)

    def _promising(self, drawn: inks.Drawn, share: float) -> bool:
        """Whether letters gain more than the rest may lose by their share of the bytes; found without coding it."""
        picture, near = self._task.picture, regions.grown(drawn.opacity > 0, EDGE)
        masks = picture.alpha, near.astype(np.uint8)
        whole, letters = (merging.squares(picture.rgb, self._by_networks, mask) for mask in masks)
        return whole - letters < whole * (1 - share) ** SLOPE

    def _limit(self, most: float) -> float:
        """The bytes of a file for so many: a rate is met nearly, a quality and a limit are not gone beyond."""
        rate = self._task.size is not None and self._task.target.max_bytes is None
        return NEAR_ENOUGH * most if rate else most

    @cached_property
    def _level(self) -> int:
        return container.peek(self._plain).level or 0

    def _over(self, data: bytes, coder: Coder) -> Draft:
        """An overlay over what the networks make of the rest, as the target asks, or at the level of the plain file."""
        task = self._task
        about = task.about | {"overlay": data}
        return about, coder.file(about, self._level) if task.size is None else coder.reached(task, about)

    def _nearest(self, drafts: list[Draft]) -> Draft:
        """The one that shows the picture with the least squared error."""
        picture = self._task.picture
        if drafts[0][1] == drafts[-1][1]:
            return drafts[0]
        return min(drafts, key=lambda draft: merging.squares(picture.rgb, self._shown(draft[1]), picture.alpha))

    def _finished(self, draft: Draft, coder: Coder) -> bytes:
        return coder.finished(self._task, *draft)
