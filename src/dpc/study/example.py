"""The example: photographs that come with dpc, and codecs that work here."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from dpc.errors import DPCError, OptionError
from dpc.evaluation import codecs as baselines

__all__ = ["BPP", "TRIALS", "VOTES", "example_codecs", "example_pictures"]

BPP, VOTES, TRIALS = (0.2,), 10, 12


def example_pictures() -> list[Path]:
    """The photographs that come with dpc: in the package when it is installed, in the folder demo of a checkout."""
    places = (Path(str(resources.files("dpc.study"))) / "example", Path(__file__).parents[3] / "demo")
    for place in places:
        if place.is_dir() and (found := sorted(p for p in place.iterdir() if p.suffix in (".png", ".webp"))):
            return found
    raise OptionError("the example's photographs are not installed; give your own with sources.images")


def example_codecs() -> tuple[list[str], list[str]]:
    """(DPC, the first of BPG, HEIC and their like that works here, AVIF, JPEG 2000; what was left out and why)."""
    notes, codecs = [], ["dpc"]
    for choice in (("bpg", "heic", "bpg-like"), ("avif",), ("jpeg2000",)):
        reasons = []
        for name in choice:
            try:
                baselines.get(name)
            except DPCError as error:
                reasons.append(f"{name} is left out: {error}")
            else:
                codecs.append(name)
                break
        else:
            notes += reasons
    return codecs, notes
