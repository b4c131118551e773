"""Small files with a codec's weights: enough to evaluate, to measure again and to start from.

{"earlier": 1, "kind", "sizes": JSON, "about": JSON, "state"}; parameters in float16, see EarlierCodec.exact. The
checkpoints of dpc's own network, which `dpc train` writes, are read too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from dpc.errors import ModelError, OptionError, UnknownModel
from dpc.files import atomic_write
from dpc.networks.earlier.protocol import EarlierCodec, make
from dpc.networks.own import Own

__all__ = ["load", "save"]

VERSION = 1


def save(path: Path, codec: EarlierCodec, about: dict[str, Any]) -> None:
    """Write a codec made by `make`. about: what JSON can hold; {"recipe": ...} says what it was trained with.

    The codec stays as it is, in float32: only `load` gives the codec whose files the written weights read. ModelError
    when a weight is not finite in float16.
    """
    if codec.sizes is None:
        raise ModelError(f"{path.name}: the sizes of this codec are not known; make it with make({codec.kind!r}, ...)")
    parameters = {name for name, _ in codec.named_parameters()}
    state = {}
    for name, value in codec.state_dict().items():
        value = value.detach().cpu()
        small = value.half() if name in parameters and not name.startswith(codec.exact) else value.clone()
        if not small.isfinite().all():
            raise ModelError(f"{path.name}: the weights {name} are not finite in {small.dtype}; train anew")
        state[name] = small
    texts = {"kind": codec.kind, "sizes": json.dumps(codec.sizes), "about": json.dumps(about)}
    atomic_write(path, lambda file: torch.save({"earlier": VERSION, **texts, "state": state}, file))


def load(path: Path) -> tuple[EarlierCodec, dict[str, Any]]:
    """(codec, about): float32, evaluation mode, updated, ready to code. UnknownModel or ModelError in one line."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UnknownModel(f"the weights {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise ModelError(f"{path} is not a file of weights ({type(error).__name__}); get it again") from error
    if not isinstance(found, dict) or (found.get("earlier") != VERSION and not _own(found)):
        raise ModelError(f"{path} holds no earlier codec of version {VERSION}; those are written by its training")
    codec: EarlierCodec
    try:
        if _own(found):
            codec, about = Own.of_checkpoint(found)
        else:
            codec = make(found["kind"], **json.loads(found["sizes"]))
            codec.load_state_dict(found["state"])  # copies into float32
            about = json.loads(found["about"])
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, OptionError) as error:
        said = " ".join(str(error).split())
        raise ModelError(f"{path} does not fit its kind ({said}); it is damaged or of another release") from error
    codec.update()
    return codec, about


def _own(found: dict[str, Any]) -> bool:
    """Whether a loaded file is a checkpoint of dpc's own network."""
    try:
        return "ema" in found and "network" in json.loads(found.get("recipe", "{}"))
    except (ValueError, TypeError):
        return False
