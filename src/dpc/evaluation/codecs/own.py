"""DPC itself: one codec for each model artifact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dpc.codec import artifact, container
from dpc.codec.codec import Codec
from dpc.evaluation import independence
from dpc.evaluation.codecs.protocol import Rgb

__all__ = ["Dpc"]

SIZES = 1000


class Dpc:
    """A model of this codec. model: a released name, the path of an artifact, or None for the default. fast: its files
    are made as by `dpc encode --fast`.

    Its quality is DPC's own, 1 to 100, in steps of the model's fine levels. A file of a given size that holds merged
    colours or an overlay has no quality that makes it again: here it is SIZES and its bytes. Raises UnknownModel,
    ModelError.
    """

    def __init__(self, model: str | None, threads: int | None, fast: bool = False) -> None:
        path = artifact.find(model)
        self._codec = Codec(path, threads)
        self._fast = fast
        levels = self._codec.artifact.sizes.fine_levels
        kind = "dpc-fast" if fast else "dpc"
        self.name = kind if model is None else f"{kind}:{Path(path).stem}"
        self.model = self._codec.artifact.identity
        # the identity does not cover the networks that only shape the picture, the hash of the file does
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self.version = f"model {self._codec.artifact.name} {self.model[:16]}, file {digest[:16]}"
        self.seen = independence.of_metadata(self._codec.artifact.metadata)
        self.settings = f"{threads or 'all'} threads" if threads != 1 else "one thread"
        self.qualities = tuple(1 + 99 * level / (levels - 1) for level in range(levels))

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The .dpc file at a quality; above SIZES: the best one of no more bytes."""
        if quality > SIZES:
            return self._codec.encode(image, max_bytes=round(quality - SIZES), fast=self._fast)
        return self._codec.encode(image, quality=quality, fast=self._fast)

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3)."""
        return np.asarray(self._codec.decode(data).convert("RGB"))

    def at_bytes(self, image: Rgb, max_bytes: int) -> tuple[float, bytes]:
        """(quality, file) by the codec's own search, which codes no picture again."""
        return self._with_quality(self._codec.encode(image, max_bytes=max_bytes, fast=self._fast))

    def at_bpp(self, image: Rgb, bpp: float) -> tuple[float, bytes]:
        """(quality, file) nearest to a rate."""
        return self._with_quality(self._codec.encode(image, bpp=bpp, fast=self._fast))

    def _with_quality(self, data: bytes) -> tuple[float, bytes]:
        file = container.unpack(data)
        if file.merged or file.overlay is not None:
            return float(SIZES + len(data)), data
        return self.qualities[-1 if file.level is None else file.level], data
