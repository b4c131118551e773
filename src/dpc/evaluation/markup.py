"""HTML pages from the templates of this package; whatever a page shows is text, never markup, unless it says Markup."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpc.errors import ToolMissing

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["data_url", "environment", "render", "svg"]

LARGEST_WEBP = 16383  # pixels a side


def environment() -> Environment:
    """The templates, with autoescape on and unknown names refused. ToolMissing without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ToolMissing("pages need the package Jinja2; pip install '.[bench]'") from error
    made = Environment(
        loader=PackageLoader("dpc.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "signed": signed, "thousands": lambda number: f"{number:,}"}
    return made


def render(template: str, **values: Any) -> str:
    """The page of a template. The same values give the same page."""
    return environment().get_template(template).render(**values)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent; a dash where it is not known."""
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """A share in percent with its sign."""
    return "–" if math.isnan(value) else f"{100 * value:+.{digits}f}"


def svg(pictures: Iterable[str]) -> list[Any]:
    """Figures that matplotlib drew, as markup: their texts were escaped by it."""
    from markupsafe import Markup

    return [Markup(picture) for picture in pictures]


def data_url(
    rgb: NDArray[np.uint8], kind: Literal["WEBP", "AVIF"] = "WEBP", quality: int | None = None, **options: Any
) -> str:
    """A uint8 (H, W, 3) picture as a data URL; without a quality it is stored without loss.

    A picture that is too long for WebP is stored as PNG.
    """
    out = io.BytesIO()
    image = Image.fromarray(rgb)
    if max(rgb.shape[:2]) > LARGEST_WEBP:
        kind_name = "PNG"
        image.save(out, "PNG")
    elif quality is None:
        kind_name = "WEBP"
        image.save(out, "WEBP", lossless=True, quality=60, method=2)
    else:
        kind_name = kind
        image.save(out, kind, quality=quality, **options)
    return f"data:image/{kind_name.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
