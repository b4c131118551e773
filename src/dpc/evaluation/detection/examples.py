"""Example pictures for the page: every codec within equal bytes, with what the detector finds, misses and invents."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from dpc.codec.image import load
from dpc.errors import DPCError
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Rgb
from dpc.evaluation.detection import run
from dpc.evaluation.detection.dataset import Dataset, Picture
from dpc.evaluation.detection.protocol import Detector
from dpc.evaluation.detection.rows import ORIGINAL, Boxes, rounded
from dpc.evaluation.detection.scoring import Truth, counted, matches
from dpc.evaluation.experiment import engines

__all__ = ["STYLE", "choose", "make"]

SCORE = 0.3  # finds below it are not shown, and count as not made
LEAST, MOST = 2, 12  # boxes that are found in the uncompressed picture of an example, and boxes that it has

STYLE = """
body{overflow-wrap:anywhere}
td.wrap,th.wrap{white-space:normal;text-align:left;min-width:16rem}
td,th{vertical-align:top}tbody th{font-weight:400}
.examples{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr))}
.examples figure{margin:0}.examples figure:has(.large:checked){grid-column:1/-1}
.picture{position:relative;line-height:0}.picture img{width:100%;height:auto}
.picture svg{position:absolute;inset:0;width:100%;height:100%}
figcaption{line-height:1.4;padding-top:.25rem}figcaption label{font-size:.875rem;color:#555}
.box{fill:none;stroke-width:3;vector-effect:non-scaling-stroke}
.found .box{stroke:#00d084}.missed .box{stroke:#ffd500;stroke-dasharray:8 5}
.false .box{stroke:#ff3b6b;stroke-dasharray:2 4}
.word{font:700 15px system-ui,sans-serif;fill:#fff;paint-order:stroke}
.word{stroke:#000;stroke-width:4px;stroke-linejoin:round}
.switches{position:sticky;top:0;background:#fffffff0;padding:.5rem 0;z-index:1}
.switches label{margin-right:1.25rem;white-space:nowrap}
.switches i{display:inline-block;width:1.5rem;border-top:3px;vertical-align:middle;margin-right:.25rem}
.switches .f{border-top:3px solid #00a86b}.switches .m{border-top:3px dashed #c9a800}
.switches .x{border-top:3px dotted #ff3b6b}
section:has(#show-found:not(:checked)) .found,section:has(#show-missed:not(:checked)) .missed,
section:has(#show-false:not(:checked)) .false,section:has(#show-words:not(:checked)) .word{display:none}
:focus-visible{outline:3px solid #0072b2;outline-offset:2px}
"""


@dataclass(frozen=True, eq=False)
class _Shown:
    """One coded picture and what was found in it."""

    title: str
    bytes: int
    rgb: Rgb
    boxes: Boxes


def choose(truth: Truth, data: Dataset, found: Mapping[int, Boxes], count: int) -> list[Picture]:
    """Pictures that can be read, spread evenly over all by id; no codec has a say.

    Those with at most MOST boxes of which at least LEAST are found in the uncompressed picture.
    """
    numbers: dict[int, int] = {}
    for box in data.annotations:
        numbers[box["image_id"]] = numbers.get(box["image_id"], 0) + 1
    fit = [
        picture
        for picture in data.pictures
        if LEAST <= numbers.get(picture.id, 0) <= MOST
        and sum(matches(truth, picture.id, found[picture.id], SCORE)[0]) >= LEAST
    ]
    count = min(count, len(fit))
    return [fit[int((i + 0.5) * len(fit) / count)] for i in range(count)]


def make(
    result: run.Result,
    data: Dataset,
    truth: Truth,
    detector: Detector,
    codecs: Sequence[str],
    count: int,
    bpp: float,
) -> str:
    """A section of HTML with `count` pictures, coded by all `codecs` (names of the rows) within bpp."""
    about = (detector.name, detector.version, detector.settings)
    original = {
        r.image: r.found
        for r in result.rows
        if r.codec == ORIGINAL and (r.detector, r.detector_version, r.detector_settings) == about
    }
    chosen = choose(truth, data, original, count)
    missing: dict[str, str] = {}
    parts = [
        f"<section id=examples><h2>Examples at equal bytes</h2><p>No file has more than {bpp:g} bits per pixel. Boxes "
        f"of {html.escape(detector.name)} with a score of {SCORE:g} or more; found means IoU 0.5 with an annotated box "
        "of its category, by pycocotools. The pictures were not picked by result: they are spread evenly by number "
        f"over those with up to {MOST} boxes, at least {LEAST} of them found without compression. Pictures are stored "
        "here as WebP of quality 90.</p><div class=switches role=group aria-label=Boxes>"
    ]
    for key, mark, word in (
        ("found", "f", "found"),
        ("missed", "m", "missed"),
        ("false", "x", "false"),
        ("words", "", "names"),
    ):
        sign = f"<i class={mark}></i>" if mark else ""
        parts.append(f"<label><input type=checkbox id=show-{key} checked> {sign}{word}</label>")
    parts.append("</div>")
    for picture in chosen:
        rgb = load(picture.path).rgb
        size = picture.path.stat().st_size
        shown = [_Shown("uncompressed", size, rgb, original[picture.id])]
        for name in codecs:
            try:
                codec = _codec(result, name)
                _, data_bytes = baselines.at_bytes(codec, rgb, int(bpp * rgb.shape[0] * rgb.shape[1] / 8))
                decoded = codec.decode(data_bytes)
                labels = result.labels[detector.name]
                shown.append(
                    _Shown(name, len(data_bytes), decoded, rounded(run.boxes_of(detector.detect(decoded), labels)))
                )
            except Exception as error:  # other people's encoders raise whatever they like, and the rest goes on
                missing[f"{name}, {picture.path.name}"] = engines.line(error)
        parts.append(f"<h3>{html.escape(picture.path.name)}, {rgb.shape[1]} × {rgb.shape[0]}</h3><div class=examples>")
        parts += [_figure(s, picture, truth, data) for s in shown]
        parts.append("</div>")
    if not chosen:
        parts.append("<p>No picture is like that.</p>")
    if missing:
        parts.append("<p>Not shown: " + html.escape("; ".join(f"{k}: {v}" for k, v in missing.items())) + "</p>")
    parts.append("</section>")
    return "".join(parts)


def _codec(result: run.Result, name: str) -> baselines.Codec:
    """The codec of rows, by the name that it was given; DPCError where another version of it is installed."""
    codec = result.plan.codec(result.codecs.get(name, name))
    if not any((r.codec, r.version, r.settings) == (name, codec.version, codec.settings) for r in result.rows):
        raise DPCError(f"its rows are of another version than {codec.version}")
    return codec


def _figure(shown: _Shown, picture: Picture, truth: Truth, data: Dataset) -> str:
    seen, right = matches(truth, picture.id, shown.boxes, SCORE)
    annotated = [a for a in data.annotations if a["image_id"] == picture.id and not a["iscrowd"]]
    marks = [
        _box("missed", a["bbox"], data.categories[a["category_id"]], "missed")
        for a, hit in zip(annotated, seen, strict=True)
        if not hit
    ]
    for (category, score, *box), good in zip(counted(truth, shown.boxes, SCORE).tolist(), right, strict=True):
        kind = "found" if good else "false"
        marks.append(_box(kind, box, data.categories[int(category)], f"{kind}, score {score:.2f}"))
    height, width = shown.rgb.shape[:2]
    words = f"{sum(right)} found, {len(seen) - sum(seen)} missed, {len(right) - sum(right)} false"
    title = html.escape(shown.title)
    return (
        f"<figure><div class=picture><img src='{_data_url(shown.rgb)}' width={width} height={height} "
        f"alt='{title}: {words}'><svg viewBox='0 0 {width} {height}' aria-hidden=true>{''.join(marks)}</svg></div>"
        f"<figcaption><b>{title}</b> {shown.bytes:,} bytes, {8 * shown.bytes / (width * height):.3f} bpp<br>{words}<br>"
        "<label><input type=checkbox class=large> large</label></figcaption></figure>"
    )


def _box(kind: str, box: Sequence[float], name: str, words: str) -> str:
    x, y, width, height = box
    return (
        f"<g class={kind}><title>{html.escape(name)}: {words}</title><rect class=box x='{x:.1f}' y='{y:.1f}' "
        f"width='{width:.1f}' height='{height:.1f}'/><text class=word x='{max(x, 0) + 3:.1f}' y='{max(y, 0) + 16:.1f}'>"
        f"{html.escape(name)}</text></g>"
    )


def _data_url(rgb: Rgb) -> str:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
