"""Where things are: the repository, and the folder of reference data that is no part of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
"""The repository."""

SHARED = Path(os.environ.get("DPC_DATA") or ROOT.parent / "shared")
"""Reference data: the Kodak pictures, opinion scores, weights of metrics and more; DPC_DATA, default ../shared."""

TORCHVISION = Path(sys.prefix, "torchvision")
"""A folder that holds torchvision; it is in no path, see the Makefile."""

NO_DATA = "DPC_DATA names the folder of data"


def needs(*parts: str) -> Callable[[Any], Any]:
    """Marks a test that needs a file or a folder of the reference data; it is skipped where that is missing."""
    place = SHARED.joinpath(*parts)
    missing = pytest.mark.skipif(not place.exists(), reason=f"there is no {place}; {NO_DATA}")
    return lambda test: pytest.mark.data(missing(test))


def python_path(file: str) -> str:
    """PYTHONPATH of processes that import the test in this file."""
    return os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", Path(file).parent)))


DPC_7 = ROOT / "results" / "dpc-7" / "dpc-7.dpcmodel"  # of the first generation; no longer in the package
