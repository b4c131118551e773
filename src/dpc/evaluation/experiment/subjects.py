"""What codes: codecs by name and folders of precomputed pictures, and which of them work here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from dpc.errors import OptionError, ToolMissing
from dpc.evaluation import codecs as baselines
from dpc.evaluation.codecs import Codec, Folder

__all__ = ["Subjects", "codec_of", "sha256", "usable"]


@dataclass(frozen=True)
class Subjects:
    """What codes the pictures of an experiment.

    codecs: names in evaluation.codecs. qualities: for a codec by name, or for all under "". folders: name -> folder of
    precomputed pictures, measured at all they have. threads: of each codec. python, network_weights: of CompressAI, see
    dpc.evaluation.codecs.get.
    """

    codecs: tuple[str, ...]
    qualities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    python: str | None = None
    network_weights: str | None = None

    def codec(self, given: str) -> Codec:
        """A codec by the name that was given, made once in each process."""
        return codec_of(given, self.threads, self.python, self.network_weights)

    def chosen(self, given: str) -> tuple[float, ...]:
        """The qualities that were asked of a codec."""
        return self.qualities.get(given, self.qualities.get("", ()))


@lru_cache(maxsize=32)
def codec_of(name: str, threads: int, python: str | None, weights: str | None) -> Codec:
    """See Subjects.codec."""
    return baselines.get(name, threads=threads, python=python, weights=weights)


def usable(subjects: Subjects) -> tuple[dict[str, Codec], dict[str, str]]:
    """(given name -> codec, given name -> why it is left out), before anything is coded.

    Raises OptionError for what cannot be meant, and ToolMissing when nothing is left.
    """
    found: dict[str, Codec] = {}
    missing: dict[str, str] = {}
    for name in subjects.qualities:
        if (
            name
            and name not in (*baselines.NAMES, "dpc-fast", *subjects.codecs)
            and not name.startswith(("dpc:", "dpc-fast:", "compressai:", "learned:"))
        ):
            raise OptionError(
                f"qualities are given for {name!r}, which is no codec; choose {', '.join(baselines.NAMES)}"
            )
    for given in dict.fromkeys(subjects.codecs):
        try:
            codec = subjects.codec(given)
        except ToolMissing as error:
            missing[given] = str(error)
            continue
        for quality in subjects.chosen(given):
            baselines.check(codec, quality)
        found[given] = codec
    taken = {*subjects.codecs, *(codec.name for codec in found.values())}
    for name, place in subjects.folders.items():
        if name in taken:
            raise OptionError(f"a folder is called {name}, as one of the codecs is; give it another name")
        Folder(name, Path(place))
    if not found and not subjects.folders:
        raise ToolMissing("; ".join(missing.values()) or "no codec was given; name some, such as dpc,jpeg,avif")
    return found, missing


def sha256(path: Path) -> str:
    """The hash of a file, by which rows know its picture."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
