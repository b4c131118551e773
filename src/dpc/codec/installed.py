"""The models that are installed, by the four bytes that name them in files, and how one is added."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from dpc.codec.archive import SUFFIX
from dpc.codec.artifact import Artifact, folder, installed, metadata_of
from dpc.errors import ModelError, UnknownModel
from dpc.files import atomic_write

__all__ = ["KNOWN", "add", "by_id", "forget", "needed"]

KNOWN = {"7cc2c150": "dpc-7", "f947606c": "dpc-8"}
"""Every model that the package ever brought: the digits that name it in files -> name. So a missing one has a name."""


@lru_cache(maxsize=1)
def by_id() -> dict[bytes, Path]:
    """The four bytes of each installed model -> its path. A file that is no sound artifact is left out."""
    found: dict[bytes, Path] = {}
    for path in installed().values():
        try:
            found[bytes.fromhex(metadata_of(path)["identity"][:8])] = path
        except (ModelError, LookupError, TypeError, ValueError):
            continue  # dpc models says what is wrong with it
    return found


def forget() -> None:
    """Look at the folders again: models came or went."""
    by_id.cache_clear()


def needed(model: bytes) -> Path:
    """The path of the model with these four bytes. UnknownModel, with what to do, when it is not installed."""
    path = by_id().get(model)
    if path is not None:
        return path
    name = KNOWN.get(model.hex())
    wanted = f"{name} ({model.hex()})" if name else model.hex()
    source = f"get {name}{SUFFIX}" if name else f"get its {SUFFIX} file from where the picture comes from"
    raise UnknownModel(
        f"the file was made with model {wanted}, which is not installed (installed: "
        f"{', '.join(f'{p.stem} {i.hex()}' for i, p in by_id().items()) or 'none'}); "
        f"{source}, then: dpc models add {name or 'FILE'}{SUFFIX if name else ''}"
    )


def add(path: str | Path) -> Path:
    """Copy a model to the folder of this user; returns where it lies, also when it was installed before.

    The content is checked against the identity that it claims. Raises ModelError for what is no sound artifact, and for
    one that files could not tell from an installed one; OSError when the folder cannot be written to.
    """
    model = Artifact(path)
    for other in installed().values():
        if model.identity[:8] == metadata_of(other)["identity"][:8]:
            if model.identity == metadata_of(other)["identity"]:
                return other
            raise ModelError(
                f"{path} and {other} have identities that begin alike ({model.identity[:8]}), and files could not "
                f"tell them apart; remove {other} first"
            )
    plain = re.fullmatch(r"\w[\w.-]{0,63}", model.name) and model.name not in installed()
    target = folder() / f"{model.name if plain else f'model-{model.identity[:8]}'}{SUFFIX}"
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, Path(path).read_bytes(), overwrite=False)
    forget()
    return target
