"""Coding by the clock, and rows that come before a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dpc.errors import DPCError
from dpc.evaluation import codecs
from dpc.evaluation.experiment import Failure, attempt, code, point_label

RGB = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)


def test_a_picture_is_coded_at_a_quality_or_at_a_rate() -> None:
    codec = codecs.get("jpeg")
    made = code(codec, RGB, 30, None)
    assert made.bytes == len(codec.encode(RGB, 30)) and made.quality == 30
    assert (made.rgb == codec.decode(codec.encode(RGB, 30))).all()
    assert made.encode_s > 0 and made.decode_s > 0
    rate = 8 * made.bytes / (40 * 56)
    again = code(codec, RGB, None, rate)
    assert abs(again.bytes / made.bytes - 1) < 0.03


def test_another_number_of_pixels_is_refused() -> None:
    class Cropping:
        name, qualities = "cropping", (1.0, 2.0)

        def encode(self, image: Any, quality: float) -> bytes:
            return image[:-1].tobytes()

        def decode(self, data: bytes) -> Any:
            return np.frombuffer(data, np.uint8).reshape(-1, 56, 3)

    with pytest.raises(DPCError, match="cropping gave back 56x39 pixels"):
        code(Cropping(), RGB, 1.0, None)  # type: ignore[arg-type]


def test_rows_before_a_fault_are_kept() -> None:
    def rows() -> Iterator[str]:
        yield "first"
        raise RuntimeError("a fault")

    found = list(attempt(rows(), "codec", "picture", point_label(None, 0.25)))
    assert found == ["first", Failure("codec", "picture", "0.25 bpp", "RuntimeError: a fault")]
    assert point_label(30.0, None) == "quality 30" and point_label(0.0, None) == "quality 0"
