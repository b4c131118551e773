"""Makes tests/data/tiny.dpcmodel, a small model whose every path matters, and tests/data/golden, files made with it.

    python tests/make_tiny.py [--force]         needs the train extra

The golden files stand for every file that users have: a change that reads them differently is a new format version,
and the old golden files stay. So nothing that exists is written again without --force.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
MODEL = DATA / "tiny.dpcmodel"
GOLDEN = DATA / "golden"
SEED = 20
MARGIN = 2e-5  # no latent of a golden file lies closer to a rounding boundary, so any float32 code encodes it alike


def photograph(left: int, top: int, width: int, height: int) -> Image.Image:
    """A crop of the demo photograph."""
    return Image.open(ROOT / "demo" / "photo.png").convert("RGB").crop((left, top, left + width, top + height))


def noise(height: int, width: int, *more: int) -> np.ndarray:
    """Uniform noise, uint8."""
    return np.random.default_rng(SEED).integers(0, 256, (height, width, *more), dtype=np.uint8)


def saved(image: Image.Image, **options: Any) -> bytes:
    """A PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def pictures() -> dict[str, tuple[bytes, float]]:
    """Name -> (PNG, quality) of every golden file."""
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    alpha = photograph(180, 60, 48, 40)
    alpha.putalpha(Image.fromarray(np.broadcast_to(ramp[:48], (40, 48)).copy()))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a cat, turned", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "photo": (saved(photograph(150, 40, 96, 80)), 70),
        "photo-low": (saved(photograph(150, 40, 96, 80)), 10),
        "noise": (saved(Image.fromarray(noise(64, 64, 3))), 90),
        "flat": (saved(Image.new("RGB", (80, 33), (200, 30, 90))), 40),
        "one": (saved(Image.new("RGB", (1, 1), (10, 200, 250))), 100),
        "line": (saved(Image.fromarray(noise(1, 50, 3))), 55),
        "column": (saved(photograph(200, 10, 1, 257)), 33.3),
        "prime": (saved(photograph(100, 100, 101, 67)), 100),
        "grey": (saved(photograph(120, 20, 70, 70).convert("L")), 60),
        "alpha": (saved(alpha), 50),
        "profile-exif": (saved(photograph(0, 0, 64, 48), icc_profile=profile, exif=exif), 1),
    }


def tiny() -> Any:
    """An untrained Model: the wavelet start, and seeded random weights in all that starts at zero."""
    import torch

    from dpc.training.model import Model
    from dpc.training.networks import Network

    torch.manual_seed(SEED)
    net = Network(
        latents=24, hyper_latents=8, groups=(4, 8, 12), levels=8, widths=(8, 16, 24),
        encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1), half_width=4, hyper_width=16, scale_width=16,
        mean_width=16, pass_widths=(16, 16, 16),
    )  # fmt: skip
    model = Model(net)
    photo = torch.from_numpy(np.array(photograph(0, 0, 448, 288))).permute(2, 0, 1)[None] / 255
    model.start_from_wavelet([photo], torch.logspace(math.log10(0.8), math.log10(0.03), net.levels))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith(("g_a", "g_s")) and not value.any() and "mean" not in name:
                value.normal_(std=0.05)
            elif name.startswith("means") and not value.any():
                value.normal_(std=0.08)
        model.h_a.c.weight *= 4
        for conv in (model.scales.a, model.scales.b, model.scales.c, *model.scales.mix):
            conv.bias.normal_(std=0.5)
        for head in model.scales.head:
            head.weight.normal_(std=0.5)
            head.bias.normal_(std=2.0)
        # whole indices, so that other machines interpolate the same offsets
        model.offset += 3 * torch.randn(net.levels, net.latents)
        model.z_index += 6 * torch.rand(net.levels, net.hyper_latents)
    return model


def undecided(model: Any, image: Any, level: int) -> bool:
    """Whether a latent lies within MARGIN of a rounding boundary."""
    raise NotImplementedError


def main() -> None:
    pass


if __name__ == "__main__":
    main()
