"""Learned codecs by their files of weights: dpc's own network, and the earlier codecs of dpc.networks.earlier."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpc.errors import FormatError, OptionError
from dpc.evaluation import independence
from dpc.evaluation.codecs.protocol import Rgb, check, need

if TYPE_CHECKING:
    from dpc.networks.earlier.protocol import EarlierCodec

__all__ = ["Learned"]

TOLD = ("mse", "ms_ssim", "lpips", "lambda", "beta", "target")
"""Keys of [loss] and [rate] that stand among the settings."""


class Learned:
    """One file of weights is a codec with one quality, 1; a folder of them, one for each rate, is one with several.

    A folder holds them as *.pt, or the folders of trainings with their weights.pt. Its qualities go from the lowest
    rate that the trainings saw on held-out photographs to the highest. All files are of one kind. A file of dpc's own
    network has that network's qualities, and stands alone. The model of a row is the identity of the weights, of a
    folder the hash of its identities.
    Raises ToolMissing without torch, UnknownModel, ModelError, OptionError.
    """

    def __init__(self, text: str, threads: int | None) -> None:
        need("torch", "torch", f"learned:{text}")
        from dpc.networks.earlier.checkpoint import load
        from dpc.networks.own import QUALITIES, Own

        place = Path(text)
        files = _files(place) if text else []
        if not files:
            raise OptionError(f"learned:{text} names no weights; give a file of weights, or a folder of them (*.pt)")
        found = sorted(((*load(file), file.stem) for file in files), key=lambda one: _held_out(one[1]))
        codecs = self._codecs = [codec for codec, _, _ in found]
        recipes = [about.get("recipe") or {} for _, about, _ in found]
        if len({codec.kind for codec in codecs}) > 1:
            raise OptionError(
                f"{text} holds codecs of several kinds, {', '.join(c.kind for c in codecs)}; name one file"
            )
        self._own = codecs[0] if isinstance(codecs[0], Own) else None
        if self._own and len(codecs) > 1:
            raise OptionError(
                f"{text} holds {len(codecs)} files of dpc's own network, of all rates each; name one file"
            )
        self._threads = threads
        identities = [codec.identity for codec in codecs]
        self.model = identities[0] if len(found) == 1 else hashlib.sha256("".join(identities).encode()).hexdigest()
        names = [str(recipe.get("name") or stem) for recipe, (_, _, stem) in zip(recipes, found, strict=True)]
        self.name = f"learned:{place.resolve().name if place.is_dir() else names[0]}"
        short = ", ".join(identity[:16] for identity in identities)
        self.version = f"{codecs[0].kind}, weights {short}, torch {metadata.version('torch')}"
        abouts = [about | {"recipe": recipe} for (_, about, _), recipe in zip(found, recipes, strict=True)]
        told = "; ".join(dict.fromkeys(map(_told, names, abouts)))
        self.settings = f"{told}; {f'{threads} threads' if threads != 1 else 'one thread'}"
        began = [recipe for _, about, _ in found for recipe in about.get("before", [])]
        self.seen = independence.of_recipes(recipes + began)
        self.qualities = QUALITIES if self._own else range(1, len(found) + 1)

    def encode(self, image: Rgb, quality: float) -> bytes:
        """The file by the weights of a quality."""
        check(self, quality)
        codec = self._own or self._codecs[int(quality) - 1]
        if self._own:
            self._own.quality = int(quality)
        with _threads(self._threads):
            return codec.compress(image)

    def decode(self, data: bytes) -> Rgb:
        """The picture, uint8 (H, W, 3), by the weights that the file names."""
        with _threads(self._threads):
            return self._made_by(data).decompress(data)

    def _made_by(self, data: bytes) -> EarlierCodec:
        from dpc.networks.earlier.stream import made_with

        start = made_with(data)
        for codec in self._codecs:
            if codec.identity.startswith(start):
                return codec
        raise FormatError(f"the file was made with the model {start}..., which is none of {self.name}")


def _files(place: Path) -> list[Path]:
    """The weights of a file, of a training's folder, of a folder of weights or of a folder of trainings."""
    if not place.is_dir():
        return [place]
    own = place / "weights.pt"
    return [own] if own.is_file() else sorted(place.glob("*.pt")) or sorted(place.glob("*/weights.pt"))


def _held_out(about: Mapping[str, Any]) -> float:
    """Bits per pixel that a training saw on held-out photographs; infinite where it does not say."""
    return float((about.get("held_out") or {}).get("bpp", float("inf")))


def _told(name: str, about: Mapping[str, Any]) -> str:
    """A training in a few words: its recipe's name, the terms of its loss and of its rate, how many crops."""
    recipe = about["recipe"]
    if "stages" in recipe:
        return f"recipe {name}: all rates, {about.get('crops')} crops"
    terms = {**(recipe.get("loss") or {}), **(recipe.get("rate") or {})}
    numbers = [f"{term} {terms[term]:g}" for term in TOLD if terms.get(term)]
    nets = [f"nets {' '.join(terms['lpips_nets'])}"] if terms.get("lpips") and terms.get("lpips_nets") else []
    crops = [f"{recipe['crops']} crops"] if "crops" in recipe else []
    return f"recipe {name}: {', '.join(numbers + nets + crops)}" if numbers else f"weights {name}, recipe unknown"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch on so many threads; None: as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
