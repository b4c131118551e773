"""Trained weights from wherever they lie: a model artifact, a checkpoint, or the weights beside one."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpc.errors import OptionError
from dpc.networks.model import Model
from dpc.networks.sizes import Network
from dpc.training.checkpoint import CheckpointError, load_checkpoint, recipe_of
from dpc.training.recipe import Recipe, to_dict


@dataclass(frozen=True)
class Weights:
    """state: of a Model, averaged over the training where the source holds the average. recipe: None for an artifact.
    training: what is known of the training, plain data for the metadata of an artifact."""

    network: Network
    state: dict[str, Tensor]
    recipe: Recipe | None
    training: dict[str, Any]


def located(path: Path) -> Path:
    """The file that is meant: the path itself, the last.pt of a run's folder, or else a released model by its name."""
    if path.is_file():
        return path
    if (path / "last.pt").is_file():
        return path / "last.pt"
    from dpc.codec.artifact import released  # a pack trains without what this needs

    return released().get(str(path), path)


def is_artifact(path: Path) -> bool:
    """Whether a file is a model artifact (a checkpoint is a zip archive too, with other members)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "metadata.json" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def weights_of(path: Path) -> Weights:
    """The weights in an artifact (also a released model by its name) or a checkpoint. ModelError, CheckpointError."""
    path = located(path)
    if is_artifact(path):
        from dpc.codec.artifact import Artifact
        from dpc.training import first_generation
        from dpc.training.export.export import load

        artifact = Artifact(path)
        if first_generation.is_first(artifact):
            network = first_generation.network_of(artifact)
            return Weights(network, first_generation.state_of(artifact), None, dict(artifact.metadata["training"]))
        model = load(artifact)
        return Weights(model.net, model.state_dict(), None, dict(artifact.metadata["training"]))
    state = load_checkpoint(path)
    recipe = recipe_of(state)
    training = {k: state[k] for k in ("step", "minutes", "crops", "data_sha256")} | {"recipe": to_dict(recipe)}
    return Weights(recipe.network, {k: v.float() for k, v in state["ema"].items()}, recipe, training)


def checkpoint_of(path: Path) -> dict[str, Any]:
    """A checkpoint to go on from: one of a run, or what an exported model knows of its training.

    A model holds the averaged weights, the integer ones rounded as they run, and step, crops, minutes and recipe. It is
    a third of weights.pt, so it is what to keep of a long training. CheckpointError where it knows too little.
    """
    if not is_artifact(path):
        return load_checkpoint(path)
    weights = weights_of(path)
    known = {k: weights.training.get(k) for k in ("step", "minutes", "crops", "data_sha256", "recipe")}
    if missing := [k for k, v in known.items() if v is None]:
        raise CheckpointError(f"{path} does not say its training's {missing[0]}; begin a new one with --from {path}")
    return known | {"recipe": json.dumps(known["recipe"]), "ema": weights.state}


def grown(weights: Weights, network: Network, source: Path) -> dict[str, Tensor]:
    """State of a Model of this network that computes what the weights compute: blocks that they lack are identities.

    Only depths may grow. OptionError, naming the source, where the network differs in anything else or is shallower.
    """
    had = weights.network
    depths = ("encoder_depths", "encoder_dense", "decoder_depths")
    for side in depths:
        have, want = getattr(had, side), getattr(network, side)
        if any(w < h for h, w in zip(have, want, strict=True)):
            raise OptionError(f"{source} has {side} {have}, the recipe's {want} are smaller; they can only grow")
    if replace(had, **{side: getattr(network, side) for side in depths}) != network:
        raise OptionError(f"{source} has another [network] than the recipe; only {', '.join(depths)} can grow")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(network).state_dict() | weights.state
