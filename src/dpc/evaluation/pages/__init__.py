"""Test pictures with known text that anyone can render again: pages, windows, signs and diagrams.

Each is described by a text file in this folder, NAME.page; `dpc.evaluation.pages.rendering` reads those. The typefaces
come from the package pymupdf-fonts. No training of this project uses them.
"""

from dpc.evaluation.pages.rendering import FONTS, Page, names, parse, render, write

__all__ = ["FONTS", "Page", "names", "parse", "render", "write"]
