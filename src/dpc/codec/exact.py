"""Files without loss, of pictures and of pages whose colours were merged: whether there is one, and whether it fits.

about: the fields of a file that do not depend on how its colours are coded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec import container, denoising, image, lossless, merging, rdo
from dpc.codec.container import DPCFile
from dpc.errors import OptionError

PAGE = 1024  # bytes: a picture whose body takes less without loss has no letters to lose


def file(picture: image.Picture, about: dict[str, Any], wanted: bool | None) -> bytes | None:
    """The file without loss, where it is wanted, or where nobody says and it may be the smaller one."""
    if wanted is False or not (wanted or lossless.worth_trying(picture.rgb)):
        return None
    return _stored(picture.rgb, picture, about, merged=False) if wanted else _where_it_may(picture, about)


def within(picture: image.Picture, about: dict[str, Any], size: float) -> bytes | None:
    """The file without loss of a picture whose best file with loss leaves room, where it takes at most `size` bytes."""
    exact = _where_it_may(picture, about)
    return exact if exact and len(exact) <= size else None


def merged_file(
    picture: image.Picture,
    about: dict[str, Any],
    size: float,
    clean: NDArray[np.uint8] | None = None,
    *,
    noisy: bool = False,
    coarse: bool = False,
) -> bytes | None:
    """The file of at most so many bytes whose colours are merged as little as may be; None where there is none.

    clean: (H, W, 3), takes the place of the picture's colours. noisy: they have noise, which there is another way for
    where much would have to be merged. coarse: as merging.fitting has it.
    """
    shown = picture.rgb if clean is None else clean
    if lossless.flatness(shown) < lossless.FLAT:
        return None
    return merging.fitting(
        shown,
        lambda rgb, price: _stored(rdo.optimised(rgb, shown, price, picture.alpha), picture, about, merged=True),
        size,
        lambda rgb: lossless.guessed(rgb, picture.alpha),
        joined=clean is not None,
        coarsest=denoising.KEPT if noisy else merging.TOLERANCES[-1],
        coarse=coarse,
    )


def without_noise(picture: image.Picture, about: dict[str, Any], size: float, clean: NDArray[np.uint8]) -> bytes | None:
    """The same of a page with noise, as little as may be taken from it; clean: what denoising.page made of it."""

    def guess(rgb: NDArray[np.uint8]) -> float:
        return lossless.guessed(rgb, picture.alpha)

    for page in denoising.pages(picture.rgb, clean, guess, size):
        if kept := merged_file(picture, about, size, page):
            return kept
    return None


def loses_letters(rgb: NDArray[np.uint8], exact: bytes, data: bytes) -> bool:
    """Whether a picture is a page or a window whose letters the networks coded; exact: its file without loss."""
    if len(container.unpack(exact).body) <= PAGE or lossless.flatness(rgb) < lossless.FLAT:
        return False
    return container.unpack(data).overlay is None


def _where_it_may(picture: image.Picture, about: dict[str, Any]) -> bytes | None:
    """The file without loss; None for a picture too long and of too many colours for one."""
    try:
        return _stored(picture.rgb, picture, about, merged=False)
    except OptionError:
        return None


def _stored(rgb: NDArray[np.uint8], picture: image.Picture, about: dict[str, Any], *, merged: bool) -> bytes:
    """The file whose body is these colours, and the picture's alpha, without loss."""
    body = lossless.to_bytes(rgb, picture.alpha)
    return container.pack(DPCFile(**about | {"alpha": None}, model=None, level=None, merged=merged, body=body))
