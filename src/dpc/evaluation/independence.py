"""Which metrics are independent of a codec: those that it was neither trained on nor selected by.

A codec that was trained on a metric, or chosen because a metric liked it, is no longer told from others by that metric.
What a DPC model was trained on follows from the weights of its loss in its recipe, which its artifact holds; what it
was selected by stands there as `selected_by`. Rows keep both as `seen`: names of metrics, `none`, or `unknown`, which
is also what rows without the column are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "MARK",
    "NONE",
    "NO_VALUE",
    "UNKNOWN",
    "heading",
    "leading",
    "marked",
    "names_of",
    "note",
    "of_metadata",
    "of_recipes",
    "seen_by",
    "trained_on",
]

UNKNOWN, NONE = "unknown", "none"
MARK = "†"
NO_VALUE = "–"

TERMS = {
    "mse": ("psnr",),
    "ms_ssim": ("ms_ssim", "ssim"),
    "grid": ("peak_2", "peak_4", "peak_8", "peak_16"),
    "plain": ("plain_2", "plain_025", "luma_below_4", "luma_below_8"),
    "chroma": (),
    "edges": (),
}
"""Terms of a training's loss, and the metrics that measure the same or share their networks."""
TEACHERS = (*TERMS["mse"], *TERMS["ms_ssim"], *TERMS["grid"], "lpips_alex", "lpips_squeeze", UNKNOWN)
"""What dpc-7, whose pictures teach stages with a teacher, has seen: who learns from it has seen the same."""
TRUNKS = {"alex": ("lpips_alex",), "squeeze": ("lpips_squeeze",), "vgg": ("lpips_vgg", "dists")}


def of_metadata(metadata: Mapping[str, Any]) -> str:
    """`seen` of a DPC model, from the metadata of its artifact.

    It holds `unknown` beside what is known where the recipe is missing, has a loss that is not known here, or does not
    say what the model was selected by.
    """
    recipe = metadata.get("training", {}).get("recipe", {})
    selected = recipe.get("selected_by", [UNKNOWN]) if isinstance(recipe, Mapping) else [UNKNOWN]
    return _text({*(trained_on(metadata) or {UNKNOWN}), *selected})


def trained_on(metadata: Mapping[str, Any]) -> set[str] | None:
    """The metrics of the losses in a model's recipe; None when it has no recipe, or a loss that is not known here."""
    recipe = metadata.get("training", {}).get("recipe", {})
    stages = recipe.get("stages") if isinstance(recipe, Mapping) else None
    if not stages:
        return None
    return _of_losses(stages)


def of_recipes(recipes: Iterable[Mapping[str, Any]]) -> str:
    """`seen` of a learned codec's weights, from their recipes and those of the weights they began with.

    `unknown` as in of_metadata.
    """
    found: set[str] = set()
    for recipe in recipes:
        losses = recipe.get("stages") or ([recipe["loss"]] if recipe.get("loss") else [])
        trained = _of_losses(losses) if losses else None
        found.update({UNKNOWN} if trained is None else trained, recipe.get("selected_by", [UNKNOWN]))
    return _text(found)


def _of_losses(losses: Iterable[Mapping[str, Any]]) -> set[str] | None:
    """The metrics of weights of losses by their terms' names; None for a trunk that is not known here."""
    found: set[str] = set()
    for stage in losses:
        nets = stage.get("lpips_nets", ()) if stage.get("lpips") else ()
        if any(net not in TRUNKS for net in nets):
            return None
        found.update(name for net in nets for name in TRUNKS[net])
        found.update(TEACHERS if stage.get("taught") or stage.get("teacher") else ())
        found.update(name for term, names in TERMS.items() if stage.get(term) for name in names)
    return found


def _text(names: Iterable[str]) -> str:
    """The cell of a row."""
    return " ".join(sorted(names)) or NONE


def names_of(text: str) -> tuple[frozenset[str], bool]:
    """(the metrics that a cell names, whether there may be more)."""
    words = frozenset(text.split())
    return words - {UNKNOWN, NONE}, UNKNOWN in words or not words


def seen_by(cells: Mapping[str, str]) -> dict[str, list[str]]:
    """Metric -> the codecs that have seen it. cells: codec -> its `seen`."""
    found: dict[str, list[str]] = {}
    for codec, text in cells.items():
        for name in names_of(text)[0]:
            found.setdefault(name, []).append(codec)
    return found


def leading(names: Sequence[str], cells: Mapping[str, str]) -> list[str]:
    """The metrics in the order of a table: those that no codec has seen come first, then those that few have."""
    seen = seen_by(cells)
    return sorted(names, key=lambda name: len(seen.get(name, ())))


def marked(text: str, name: str, seen: str) -> str:
    """A value of a metric as a table shows it: with a mark behind it when its codec has `seen` the metric."""
    return f"{text}{MARK}" if name in names_of(seen)[0] and text != NO_VALUE else text


def heading(title: str, name: str, cells: Mapping[str, str]) -> str:
    """The title of a metric's column or axis; with a mark behind it when a codec has seen the metric."""
    return f"{title} {MARK}" if name in seen_by(cells) else title


def note(names: Sequence[str], cells: Mapping[str, str]) -> str:
    """A sentence that says what the mark means and whose knowledge is missing; "" when there is nothing to say."""
    seen = seen_by(cells)
    by_codec = {codec: [name for name in names if codec in seen.get(name, ())] for codec in cells}
    told = [f"{codec} ({', '.join(found)})" for codec, found in by_codec.items() if found]
    unknown = [codec for codec, text in cells.items() if names_of(text)[1]]
    parts = []
    if told:
        parts.append(f"{MARK}: not independent, as a codec was trained on it or selected by it: {'; '.join(told)}.")
    if unknown:
        parts.append(f"What they were selected by is unknown: {', '.join(unknown)}.")
    return " ".join(parts)
