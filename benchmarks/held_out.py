"""Whether models have learned their training pictures by heart: the same metrics on held-out and on training pictures.

    python benchmarks/held_out.py PHOTOS LPIPS MODEL [MODEL ...]

PHOTOS: the training folder; LPIPS: the folder of its weights; MODEL: a checkpoint or an artifact; A+B is the mean of
the weights of two. Prints PSNR, LPIPS AlexNet and SqueezeNet, and the luma error on plain ground, at 0.15, 0.25 and
0.5 bpp (estimated rates) on the middles of all held-out pictures and of 96 training pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from dpc.evaluation.metrics.lpips import LPIPS
from dpc.networks.model import Model
from dpc.training.data.photos import Photos
from dpc.training.log import RATES, at_rate
from dpc.training.validate import HeldOut, validate
from dpc.training.weights import weights_of

CROP = 192
METRICS = ("psnr", "lpips_alex", "lpips_squeeze", "plain")


def model_of(name: str) -> Model:
    parts = [weights_of(Path(part)) for part in name.split("+")]
    model = Model(parts[0].network)
    state = {k: torch.stack([p.state[k].float() for p in parts]).mean(0) for k in parts[0].state}
    model.load_state_dict(state)
    return model.eval()


def main(folder: str, weights: str, *names: str) -> None:
    photos = Photos([folder], CROP)
    some = np.random.default_rng(0).choice(len(photos.train), min(96, len(photos.train)), replace=False)
    sets = {"held out": photos.validation, "training": [photos.train[i] for i in some]}
    crops = {what: HeldOut(photos.middles(places, CROP), torch.device("cpu")) for what, places in sets.items()}
    nets = {net: LPIPS(net, weights) for net in ("alex", "squeeze")}
    for name in names:
        model = model_of(name)
        for what, places in sets.items():
            rows = [{k: str(v) for k, v in row.items()} for row in validate(model, crops[what], nets)]
            values = (
                f"{rate:g} bpp " + " / ".join(f"{at_rate(rows, rate, metric):.4f}" for metric in METRICS)
                for rate in RATES
            )
            print(f"{name}, {len(places)} {what}: {', '.join(values)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
