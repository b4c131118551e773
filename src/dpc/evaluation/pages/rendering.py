"""Render test pictures from text files.

A file NAME.page holds one instruction a line, drawn in this order. `#` begins a comment; text follows a bar.

    kind KIND                            of picture, see dpc.evaluation.kinds
    size WIDTH HEIGHT
    ground COLOUR
    gradient X0 Y0 X1 Y1 COLOUR COLOUR   from top to bottom
    photo NAME X0 Y0 X1 Y1               one of the demonstration photographs, cropped to this shape
    rect X0 Y0 X1 Y1 COLOUR              whole pixels, X1 and Y1 not included
    frame X0 Y0 X1 Y1 COLOUR WIDTH       a rectangle's border, inside of it
    round X0 Y0 X1 Y1 RADIUS COLOUR      rounded corners
    polygon COLOUR X Y X Y X Y ...
    ellipse COLOUR X0 Y0 X1 Y1
    line COLOUR WIDTH X Y X Y ...
    wire COLOUR WIDTH SAG X0 Y0 X1 Y1    hangs SAG pixels below the straight line, in the middle
    text X Y FONT SIZE COLOUR [ANCHOR] | words      ANCHOR as in Pillow, ls when left out
    turned X Y DEGREES FONT SIZE COLOUR | words     around the middle of the words
    paragraph X Y WIDTH FONT SIZE COLOUR | words    broken into lines; Y is the top
    grain LEVELS SEED                    noise of whole levels, -LEVELS to LEVELS, on what is drawn so far
    row X Y FONT SIZE COLOUR W,W,... | cell; cell   cells of a table, columns W pixels wide

Rounded corners, polygons, ellipses, lines and wires have smooth edges. A colour is #rrggbb.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from dpc.errors import OptionError, ToolMissing

__all__ = ["FONTS", "Page", "names", "parse", "render", "write"]

FONTS = {
    "sans": "figo",
    "sans-bold": "figbo",
    "sans-italic": "figit",
    "noto": "notos",
    "noto-bold": "notosbo",
    "noto-italic": "notosit",
    "ubuntu": "ubuntu",
    "ubuntu-bold": "ubuntubo",
    "mono": "cascadia",
    "mono-bold": "cascadiab",
    "mono-italic": "cascadiai",
    "fira-mono": "fimo",
    "space": "spacemo",
    "space-bold": "spacembo",
}
"""Names in a page, and the code of the typeface in the package pymupdf-fonts: FiraGO, Noto Sans, Ubuntu and more."""
SMOOTH = 4  # shapes are drawn at this many times the size, and averaged


@dataclass
class Page:
    """What a file describes. text: every run of words in the order of drawing."""

    name: str
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    steps: list[tuple[str, list[str], str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def names() -> list[str]:
    """The pages of this package, in alphabetical order."""
    return sorted(p.name.removesuffix(".page") for p in _folder().iterdir() if p.name.endswith(".page"))


def parse(name: str, text: str | None = None) -> Page:
    """Read the page `name` of this package, or `text` under that name. OptionError names the line that is wrong."""
    if text is None:
        text = (_folder() / f"{name}.page").read_text(encoding="utf-8")
    page = Page(name)
    for number, line in enumerate(text.splitlines(), 1):
        head, bar, words = line.partition("|")
        order, *values = head.split() or ["#"]
        if order.startswith("#"):
            continue
        try:
            if order == "kind":
                (page.kind,) = values
            elif order == "size":
                page.size = int(values[0]), int(values[1])
            elif order not in _STEPS or bool(bar) != (order in _WORDS):
                raise ValueError(f"the instruction {order!r} is unknown, or lacks its text")
            else:
                page.steps.append((order, values, words.strip()))
        except (ValueError, IndexError) as error:
            raise OptionError(f"{name}.page, line {number}: {error}") from error
    return page


def render(page: Page) -> NDArray[np.uint8]:
    """The picture of a page, (H, W, 3) uint8 sRGB; fills page.text. OptionError for a step that cannot be drawn.

    ToolMissing without the package pymupdf-fonts.
    """
    image = Image.new("RGB", page.size, "white")
    page.text.clear()
    for order, values, words in page.steps:
        try:
            _STEPS[order](image, page, values, words)
        except (ValueError, IndexError, KeyError) as error:
            raise OptionError(f"{page.name}.page: {order} {' '.join(values)}: {error}") from error
    return np.array(image)


def write(out: Path, chosen: Sequence[str] | None = None) -> list[Path]:
    """Write NAME.png and its text as NAME.txt for each page into the folder `out`, and kinds.csv. Returns the pictures.

    chosen: some of `names`, default all. Raises OptionError for an unknown name, ToolMissing without the typefaces.
    """
    every = names()
    for name in chosen or ():
        if name not in every:
            raise OptionError(f"page {name!r} is unknown; choose from {', '.join(every)}")
    out.mkdir(parents=True, exist_ok=True)
    paths, kinds = [], []
    for name in chosen or every:
        page = parse(name)
        picture = render(page)
        paths.append(out / f"{name}.png")
        Image.fromarray(picture).save(paths[-1])
        (out / f"{name}.txt").write_text("\n".join(page.text) + "\n", encoding="utf-8")
        kinds.append((name, page.kind))
    with open(out / "kinds.csv", "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(("image", "kind"))
        writer.writerows(kinds)
    return paths


def _folder() -> Any:
    return resources.files("dpc.evaluation.pages")


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name not in FONTS:
        raise ValueError(f"the typeface {name!r} is unknown; choose from {', '.join(FONTS)}")
    try:
        buffers = import_module("pymupdf_fonts").fontbuffers
    except ImportError as error:
        raise ToolMissing("rendered pages need the package pymupdf-fonts; pip install pymupdf-fonts") from error
    # the basic layout is the same everywhere; Raqm is not installed on every machine
    return ImageFont.truetype(io.BytesIO(buffers[FONTS[name]]()), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4)
def _photo(name: str) -> Image.Image:
    for place in (Path(str(resources.files("dpc.study"))) / "example", Path(__file__).parents[4] / "demo"):
        for path in place.glob(f"{name}.*"):
            return Image.open(path).convert("RGB")
    raise ValueError(f"there is no demonstration photograph {name!r}")


def _numbers(values: Sequence[str]) -> list[float]:
    return [float(v) for v in values]


def _smooth(
    image: Image.Image,
    colour: str,
    points: Sequence[str],
    margin: float,
    draw: Callable[[ImageDraw.ImageDraw, list[float]], None],
) -> None:
    """Paint `colour` where `draw` draws on a mask of SMOOTH times the size: around the points and `margin` pixels."""
    xy = np.array([float(p) for p in points]).reshape(-1, 2)
    left, top = np.maximum(np.floor(xy.min(0) - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(xy.max(0) + margin), image.size).astype(int)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", ((right - left) * SMOOTH, (bottom - top) * SMOOTH), 0)
    draw(ImageDraw.Draw(mask), ((xy - (left, top)) * SMOOTH).ravel().tolist())
    size = int(right - left), int(bottom - top)
    image.paste(ImageColor.getrgb(colour), (int(left), int(top)), mask.resize(size, Image.Resampling.BOX))


def _ground(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    image.paste(ImageColor.getrgb(v[0]), (0, 0, *image.size))


def _gradient(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x0, y0, x1, y1 = map(int, v[:4])
    ends = [np.array(ImageColor.getrgb(c), float) for c in v[4:6]]
    share = np.linspace(0, 1, y1 - y0)[:, None]
    column = np.rint(ends[0] * (1 - share) + ends[1] * share).astype(np.uint8)
    image.paste(Image.fromarray(np.repeat(column[:, None], x1 - x0, 1)), (x0, y0))


def _paste_photo(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x0, y0, x1, y1 = map(int, v[1:5])
    image.paste(ImageOps.fit(_photo(v[0]), (x1 - x0, y1 - y0), Image.Resampling.LANCZOS), (x0, y0))


def _rect(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x0, y0, x1, y1 = map(int, v[:4])
    image.paste(ImageColor.getrgb(v[4]), (x0, y0, x1, y1))


def _frame(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x0, y0, x1, y1, width = (int(n) for n in (*v[:4], v[5]))
    ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), outline=v[4], width=width)


def _round(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    radius = SMOOTH * float(v[4])
    _smooth(image, v[5], v[:4], 1, lambda d, p: d.rounded_rectangle((p[0], p[1], p[2] - 1, p[3] - 1), radius, 255))


def _polygon(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    _smooth(image, v[0], v[1:], 1, lambda draw, points: draw.polygon(points, 255))


def _ellipse(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    _smooth(image, v[0], v[1:5], 1, lambda draw, points: draw.ellipse(points, 255))


def _line(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    width = max(1, round(SMOOTH * float(v[1])))
    _smooth(image, v[0], v[2:], width, lambda draw, points: draw.line(points, 255, width, "curve"))


def _wire(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    sag, x0, y0, x1, y1 = _numbers(v[2:7])
    t = np.linspace(0, 1, 65)
    points = np.stack([x0 + (x1 - x0) * t, y0 + (y1 - y0) * t + 4 * sag * t * (1 - t)], 1)
    _line(image, page, [*v[:2], *map(str, points.ravel())], words)


def _text(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x, y = _numbers(v[:2])
    anchor = v[5] if len(v) > 5 else "ls"
    ImageDraw.Draw(image).text((x, y), words, v[4], _font(v[2], int(v[3])), anchor)
    page.text.append(words)


def _turned(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x, y, degrees = _numbers(v[:3])
    font = _font(v[3], int(v[4]))
    left, top, right, bottom = font.getbbox(words, anchor="mm")
    half = round(max(-left, right)) + 2, round(max(-top, bottom)) + 2
    mask = Image.new("L", (2 * half[0], 2 * half[1]), 0)
    ImageDraw.Draw(mask).text(half, words, 255, font, "mm")
    mask = mask.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    image.paste(ImageColor.getrgb(v[5]), (round(x - mask.width / 2), round(y - mask.height / 2)), mask)
    page.text.append(words)


def _paragraph(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x, y, width = _numbers(v[:3])
    font, size = _font(v[3], int(v[4])), int(v[4])
    lines, line = [], ""
    for word in words.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    for number, text in enumerate([*lines, line]):
        _text(image, page, [str(x), str(y + size + number * round(1.4 * size)), v[3], v[4], v[5]], text)


def _row(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    x = float(v[0])
    for width, cell in zip(v[5].split(","), words.split(";"), strict=True):
        if cell.strip():
            _text(image, page, [str(x), *v[1:5]], cell.strip())
        x += float(width)


def _grain(image: Image.Image, page: Page, v: Sequence[str], words: str) -> None:
    levels, pixels = int(v[0]), np.array(image).astype(np.int16)
    noise = np.random.Generator(np.random.PCG64(int(v[1]))).integers(-levels, levels + 1, pixels.shape)
    image.paste(Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)))


_STEPS: dict[str, Callable[[Image.Image, Page, Sequence[str], str], None]] = {
    "ground": _ground,
    "gradient": _gradient,
    "photo": _paste_photo,
    "rect": _rect,
    "frame": _frame,
    "round": _round,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "line": _line,
    "wire": _wire,
    "text": _text,
    "turned": _turned,
    "paragraph": _paragraph,
    "row": _row,
    "grain": _grain,
}
_WORDS = ("text", "turned", "paragraph", "row")
