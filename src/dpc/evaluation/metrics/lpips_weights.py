"""The files of weights of LPIPS and DISTS: which they are, where they are found, fetched and checked.

The size and sha256 of each published file are pinned here. They were taken from public records of these files, not
from a download of ours; the sha256 of torchvision's files begin with the digits in their names.

This module needs torch.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import pickle
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dpc.errors import ModelError, ToolMissing
from dpc.evaluation.metrics import vgg

__all__ = ["NETS", "Net", "Published", "cache_folder", "fill", "find", "locate", "read_weights"]

TORCHVISION = "https://download.pytorch.org/models/"
AUTHORS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/"
)


@dataclass(frozen=True)
class Published:
    """One published weight file: where it is, and how to know it."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file name in the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Net:
    """One trunk: which layers are tapped, their channels, the smallest side it takes, and its files."""

    taps: tuple[int, ...]
    channels: tuple[int, ...]
    smallest: int
    trunk_file: str
    trunk: Published
    head: Published

    @property
    def trunk_files(self) -> tuple[str, ...]:
        """What the file of the trunk may be called: all weights, in half precision, or torchvision's own."""
        return self.trunk_file, self.trunk_file.replace(".pth", "-fp16.pth"), self.trunk.name


NETS: dict[str, Net] = {
    "alex": Net(
        taps=(1, 4, 7, 9, 11),
        channels=(64, 192, 384, 256, 256),
        smallest=31,
        trunk_file="alexnet-features.pth",
        trunk=Published(
            TORCHVISION + "alexnet-owt-7be5be79.pth",
            244408911,
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        head=Published(AUTHORS + "alex.pth", 6009, "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    ),
    "squeeze": Net(
        taps=(1, 4, 7, 9, 10, 11, 12),
        channels=(64, 128, 256, 384, 384, 512, 512),
        smallest=17,
        trunk_file="squeezenet1_1-features.pth",
        trunk=Published(
            TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
            4958839,
            "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        ),
        head=Published(
            AUTHORS + "squeeze.pth",
            10811,
            "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        ),
    ),
    "vgg": Net(
        taps=vgg.TAPS,
        channels=(64, 128, 256, 512, 512),
        smallest=16,
        trunk_file="vgg16-features.pth",
        trunk=Published(
            TORCHVISION + "vgg16-397923af.pth",
            553433881,
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ),
        head=Published(AUTHORS + "vgg.pth", 7289, "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    ),
}


def cache_folder() -> Path:
    """Where downloaded weights are kept: ~/.cache/dpc/lpips."""
    return Path.home() / ".cache" / "dpc" / "lpips"


def locate(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files in a folder, or in its folders lpips and vgg; None when there is none."""
    places = (folder, folder / "lpips", folder / "vgg")
    return next((path for name in names for place in places if (path := place / name).is_file()), None)


def find(name: str, weights: str | Path | None, download: bool) -> tuple[Path, Path]:
    """Paths of trunk and head: in the folder given, else in the cache, else downloaded to the cache."""
    net = NETS[name]
    folder = cache_folder() if weights is None else Path(weights)
    trunk, head = locate(folder, net.trunk_files), locate(folder, [net.head.name])
    if trunk and head:
        return trunk, head
    head = folder / net.head.name
    reason = ""
    if weights is None and download:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not head.is_file():
                _fetch(net.head, head)
            if not trunk:
                trunk = folder / net.trunk_file
                _fetch(net.trunk, trunk, only="features.")
            return trunk, head
        except (OSError, http.client.HTTPException) as e:
            reason = f" and could not be downloaded ({e})"
    raise ToolMissing(
        f"the LPIPS weights {net.trunk.name} and {net.head.name} are not in {folder}{reason}; fetch "
        f"{net.trunk.url} and {net.head.url} into {cache_folder()}, or elsewhere and pass weights=FOLDER"
    )


def _fetch(file: Published, to: Path, only: str = "") -> None:
    """Download beside `to`, check size and sha256, keep the keys that start with `only`, move to `to`."""
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        part = Path(scratch) / file.name
        digest = hashlib.sha256()
        size = 0
        with urllib.request.urlopen(file.url, timeout=60) as response, part.open("wb") as out:
            while size <= file.size and (block := response.read(1 << 20)):
                size += len(block)
                digest.update(block)
                out.write(block)
        sha256 = digest.hexdigest()
        if size != file.size or sha256 != file.sha256:
            raise ModelError(
                f"{file.url} is not the published file: {size} bytes with sha256 {sha256[:16]}.., expected "
                f"{file.size} bytes with {file.sha256[:16]}..; try again, or pass weights=FOLDER"
            )
        if only:
            state = {k: v for k, v in read_weights(part).items() if k.startswith(only)}
            torch.save(state, part)
        os.replace(part, to)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file; nothing in it is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as e:
        raise ModelError(f"{path} cannot be read as torch weights ({type(e).__name__}); fetch it again") from e
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} holds {type(state).__name__} where a table of tensors was expected")
    return state


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy all weights of a trunk (keys features.*) or of the heads (keys linN.model.1.weight), or fail."""
    names = {
        k: f"lin{k.split('.')[0]}.model.1.weight" if isinstance(module, nn.ModuleList) else f"features.{k}"
        for k in module.state_dict()
    }
    missing = [v for v in names.values() if v not in state]
    if missing:
        raise ModelError(f"{path} holds other weights: {missing[0]} is not in it")
    try:
        module.load_state_dict({k: state[v] for k, v in names.items()})
    except RuntimeError as e:
        raise ModelError(f"{path} holds weights of another shape: {str(e).splitlines()[-1].strip()}") from e
