"""The typefaces of synthetic crops: files of Python packages, so that a crop is the same on every machine."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from dpc.errors import ToolMissing

FOLDER = "DPC_FONTS"  # environment variable: a folder that holds the files, in place of the packages
# Pages for evaluation must use none of these.
FILES = {
    "font_roboto/files": ("Roboto-Regular", "Roboto-Light", "Roboto-Medium", "Roboto-Bold", "Roboto-Italic"),
    "font_source_sans_pro/files": ("SourceSansPro-Regular", "SourceSansPro-Semibold", "SourceSansPro-It"),
    "font_source_serif_pro/files": ("SourceSerifPro-Regular", "SourceSerifPro-Bold", "SourceSerifPro-It"),
    "font_manrope/files": ("Manrope-Regular", "Manrope-SemiBold"),
    "font_caladea/files": ("Caladea-Regular", "Caladea-Bold", "Caladea-Italic"),
    "font_amatic_sc/files": ("AmaticSC-Bold",),
    "font_fredoka_one/files": ("FredokaOne-Regular",),
    "matplotlib/mpl-data/fonts/ttf": (
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSansMono",
        "DejaVuSerif",
        "STIXGeneral",
        "STIXGeneralItalic",
        "cmtt10",
    ),
}


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """The paths of all typefaces, in a fixed order. ToolMissing where one is not there."""
    found = []
    for place, names in FILES.items():
        package, *inner = place.split("/")
        if FOLDER in os.environ:
            folder = Path(os.environ[FOLDER])
        else:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise ToolMissing(
                    f"synthetic crops need the typefaces of {package.replace('_', '-')}; pip install '.[train]', or "
                    "set synthetic = 0 in the recipe"
                )
            folder = Path(next(iter(spec.submodule_search_locations))).joinpath(*inner)
        found += [folder / f"{name}.ttf" for name in names]
    if missing := [p for p in found if not p.is_file()]:
        raise ToolMissing(f"the typeface {missing[0]} is missing; install its package again")
    return tuple(found)


@lru_cache(maxsize=512)
def font(index: int, size: int) -> ImageFont.FreeTypeFont:
    """Typeface number index, size in pixels."""
    return ImageFont.truetype(files()[index], size, layout_engine=ImageFont.Layout.BASIC)
