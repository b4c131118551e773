"""The one check at the door of every metric: two uint8 HxWx3 pictures of one size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]


def check(original: Picture, decoded: Picture) -> None:
    """Raise ValueError with one line unless both are uint8 (H, W, 3) arrays of one size, neither empty."""
    for name, a in (("original", original), ("decoded", decoded)):
        if not isinstance(a, np.ndarray) or a.dtype != np.uint8:
            kind = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
            raise ValueError(f"the {name} picture must be a uint8 array with values 0 to 255, got {kind}")
        if a.ndim != 3 or a.shape[2] != 3 or 0 in a.shape:
            raise ValueError(f"the {name} picture must have shape (H, W, 3), got {a.shape}")
    if original.shape != decoded.shape:
        raise ValueError(f"the pictures must have one size, got {original.shape[:2]} and {decoded.shape[:2]}")


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    """(H, W) BT.601 luma, 0 to 255, unrounded."""
    r, g, b = (picture[:, :, c].astype(np.float64) for c in range(3))
    return 0.299 * r + 0.587 * g + 0.114 * b
