"""Imports a package beside a torchvision of another build than torch, in an environment of its own.

The programs of such environments put this folder on their path; it imports nothing of dpc.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType
from typing import Any

_kept: list[Any] = []  # libraries of operators, which end with the object


def import_module(name: str) -> ModuleType:
    """The module of this name.

    The compiled part of a torchvision that does not fit torch is not loaded, and its import ends at the name of an
    operator. Packages that use its Python part only need no more than the name: here it gets one that does nothing.
    """
    while True:
        try:
            return importlib.import_module(name)
        except RuntimeError as error:
            wanted = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if wanted is None:
                raise
            import torch

            operators = torch.library.Library("torchvision", "FRAGMENT")
            operators.define(f"{wanted[1]}(Tensor x) -> Tensor")
            _kept.append(operators)
            begun = name.partition(".")[0], "torchvision"
            for module in [module for module in sys.modules if module.partition(".")[0] in begun]:
                del sys.modules[module]
