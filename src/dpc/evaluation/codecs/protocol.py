"""What every codec offers."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpc.errors import OptionError, ToolMissing

__all__ = ["Codec", "Rgb", "check", "need", "program"]

Rgb: TypeAlias = NDArray[np.uint8]


class Codec(Protocol):
    """A codec at fixed settings.

    name: short, for tables. version: of the programs or libraries that decide bytes and pixels, and the identity of
    a model. settings: in words, all that is not the quality. qualities: every quality, from the smallest file to the
    largest (for bpg that is from 51 down to 0). A codec may say what it was trained on or selected by as `seen`, see
    dpc.evaluation.independence (without it that is unknown), and the call that makes its files as `command`.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def settings(self) -> str: ...

    @property
    def qualities(self) -> Sequence[float]: ...

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file of a uint8 (H, W, 3) picture. OptionError for a quality that the codec does not have."""

    def decode(self, data: bytes) -> Rgb:
        """The uint8 (H, W, 3) picture in a file of `encode`."""


def check(codec: Codec, quality: float) -> None:
    """OptionError unless the quality lies among the codec's: between the first and the last, and whole in a range."""
    low, high = sorted((codec.qualities[0], codec.qualities[-1]))
    if not low <= quality <= high:
        raise OptionError(f"{codec.name} takes a quality of {low:g} to {high:g}, not {quality:g}")
    if isinstance(codec.qualities, range) and quality != int(quality):
        raise OptionError(f"{codec.name} takes whole qualities, not {quality:g}")


def need(module: str, package: str, what: str) -> ModuleType:
    """An optional module; ToolMissing names the package that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ToolMissing(f"{what} needs the package {package}; pip install {package}") from error


def program(name: str, what: str, source: str) -> str:
    """The path of a program; ToolMissing says where to get it."""
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(f"{what} needs the program {name}, which is not on the PATH; {source}")
    return path
