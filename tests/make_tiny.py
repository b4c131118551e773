"""Makes tests/data/bytes.dpcmodel, a small model whose every path matters, and golden files of the models for tests.

    python tests/make_tiny.py [--force]         needs the train extra

A golden file stands for every file that users have: a change that reads it differently is a new format version, and
the old golden files stay. So what exists is kept; only --force makes it again.

    bytes.dpcmodel          a model of the second generation, whose networks compute with bytes
    bytes/NAME.dpc          a file made with it
    bytes/NAME.png          its decoded picture
    bytes/expected.npz      NAME/z, NAME/r, NAME/index: what its stream holds
    tiny.dpcmodel, golden/  the same of a model of the first generation, without exact pixels
    exact.dpcmodel, exact/  of one with exact pixels

The models of the first generation, like dpc-7, were made by an older version of this program (commit 142b1d2). They go
when dpc-7 goes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from paths import ROOT
from pictures import profile_of
from PIL import Image

from dpc.codec import container
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec, Latents
from dpc.codec.quality_map import Levels
from dpc.codec.stream import StreamCoder, split
from dpc.codec.timing import Clock
from dpc.codec.transforms import Transforms, positions, strips

DATA = ROOT / "tests" / "data"
MODEL = DATA / "tiny.dpcmodel"
GOLDEN = DATA / "golden"
EXACT_MODEL = DATA / "exact.dpcmodel"
EXACT = DATA / "exact"
EXACT_NAMES = ("flat", "noise", "photo", "photo-low", "prime")
BYTES_MODEL = DATA / "bytes.dpcmodel"
BYTES = DATA / "bytes"
SEED = 20
MARGIN = 2e-4  # no latent of a golden file lies nearer to a rounding boundary: every float32 code encodes it alike

# a big-endian TIFF structure with one entry, orientation 6: to be turned right
EXIF = bytes.fromhex("4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000")


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    """Noise, uint8, the same for ever."""
    return np.frombuffer(hashlib.shake_256(b"noise").digest(math.prod(shape)), np.uint8).reshape(shape)


def photograph(left: int, top: int, width: int, height: int) -> Image.Image:
    """A crop of the demo photograph, a cat."""
    return Image.open(ROOT / "demo" / "photo.png").convert("RGB").crop((left, top, left + width, top + height))


def page(width: int, height: int, step: float = 0.37) -> Image.Image:
    """Light ground, a dark box, and strokes with half tones at their edges, dark ones and dim ones."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    tones = np.full((height, width, 3), (244.0, 240.0, 228.0))
    for number, top in enumerate(range(6, height - 10, 12)):
        slant = (x * (1 + step * number) + 3 * y) % 11 - 5
        cover = np.clip(2.2 - np.abs(slant), 0, 1) * ((y >= top) & (y < top + 8) & (x > 5) & (x < width - 8))
        ink = np.array([(20, 24, 40), (150, 30, 30), (190, 190, 184)][number % 3])
        tones += cover[..., None] * (ink - tones)
    tones[height - 9 :, : width // 2] = (30, 60, 140)
    return Image.fromarray(tones.round().astype(np.uint8))


def _saved(picture: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", **options)
    return out.getvalue()


def held(one: Codec, data: bytes) -> Latents:
    """What the streams of a file without a quality map hold, all strips in one."""
    file = container.unpack(data)
    assert file.level is not None
    clock = Clock()
    coder, levels = StreamCoder(Transforms(one.artifact, clock), clock), Levels(file.level, one._top)
    every = strips(*positions(file.height, file.width))
    parts = []
    for strip, stream in zip(every, split(file.body, len(every)), strict=True):
        parts.append(coder.latents(*coder.read(stream, strip, levels), strip, levels))
    return Latents(*(np.concatenate([vars(part)[name] for part in parts], 1) for name in vars(parts[0])))


def pictures() -> dict[str, tuple[bytes, float]]:
    """Name -> (PNG, quality) of every golden file."""
    veiled = photograph(180, 60, 48, 40)
    veiled.putalpha(Image.fromarray(np.tile(np.arange(0, 240, 5, dtype=np.uint8), (40, 1))))
    profile = profile_of("RGB")  # one without a code
    return {
        "photo": (_saved(photograph(150, 40, 96, 80)), 70),
        "photo-low": (_saved(photograph(150, 40, 96, 80)), 10),
        "noise": (_saved(Image.fromarray(noise(64, 64, 3))), 90),
        "flat": (_saved(Image.new("RGB", (80, 33), (200, 30, 90))), 40),
        "one": (_saved(Image.new("RGB", (1, 1), (10, 200, 250))), 100),
        "line": (_saved(Image.fromarray(noise(1, 50, 3))), 55),
        "column": (_saved(photograph(200, 10, 1, 257)), 33.3),
        "prime": (_saved(photograph(100, 100, 101, 67)), 100),
        "grey": (_saved(photograph(120, 20, 70, 70).convert("L")), 60),
        "alpha": (_saved(veiled), 50),
        "profile-exif": (_saved(photograph(0, 0, 64, 48), icc_profile=profile, exif=EXIF), 1),
    }


def tiny() -> Any:
    """An untrained torch Model: the wavelet start, and seeded random weights where a training starts from zero."""
    import torch

    from dpc.networks.model import Model
    from dpc.networks.sizes import Network

    torch.manual_seed(SEED)
    model = Model(
        Network(
            latents=24,
            hyper_latents=8,
            groups=(4, 8, 12),
            widths=(8, 16, 24),
            encoder_depths=(1, 1, 1),
            encoder_dense=(0, 1, 0),
            decoder_depths=(1, 1, 1),
            hyper_width=16,
            scale_width=16,
            mean_width=16,
            pass_widths=(16, 16, 16),
        )
    ).requires_grad_(False)
    photo = torch.from_numpy(np.array(photograph(0, 0, 448, 288))).permute(2, 0, 1)[None] / 255
    model.start_from_wavelet([photo], torch.logspace(math.log10(0.8), math.log10(0.03), 8))
    for name, value in model.named_parameters():
        if name.startswith(("g_a", "g_s", "means")) and not value.any():
            value.normal_(std=0.06)
    model.h_a.c.weight *= 40
    scales = model.scales
    for conv in (*scales.features.values(), *scales.mix):
        conv.bias.normal_(std=0.5)
    for head in scales.head:
        head.weight.normal_(std=0.5)
        head.bias.normal_(std=2.0)
    model.offset += 3 * torch.randn(24) + 0.5 * torch.randn(8, 24)
    model.z_index += 16 * torch.rand(8) - 4
    for name, value in model.named_parameters():
        if name.startswith(("g_a", "h_a")):  # few significant bits make a small file
            mantissa, exponent = torch.frexp(value)
            value.copy_(torch.ldexp((mantissa * 16).round() / 16, exponent))
        if "linear" in name:
            value[value.abs() < value.abs().max() / 100] = 0
    return model


def decided(artifact: Artifact, source: bytes, quality: float) -> bool:
    """Whether every latent of the picture keeps its MARGIN."""

    def latents(shift: float) -> Latents:
        shifted = Codec(artifact)
        run = artifact.run

        def run_shifted(graph: str, **inputs: Any) -> Any:
            if graph == "quantise":
                inputs["rounding"] = inputs["rounding"] + np.float32(shift)
            if graph == "hyper":
                inputs["y"] = inputs["y"] * np.float32(1 + shift)
            return run(graph, **inputs)

        artifact.run = run_shifted
        try:
            return shifted.latents(source, quality)
        finally:
            artifact.run = run

    more, less = latents(MARGIN), latents(-MARGIN)
    return bool((more.z == less.z).all() and (more.r == less.r).all())


def golden(model: Path, folder: Path, names: Iterable[str], force: bool, held_too: bool) -> None:
    """The files of a model that are missing; with force all of them. held_too: expected.npz as well."""
    folder.mkdir(exist_ok=True)
    artifact = Artifact(model, 1)
    codec = Codec(artifact)
    path = folder / "expected.npz"
    expected = dict(np.load(path)) if path.exists() and not force else {}
    before = len(expected)
    for name in names:
        file = folder / f"{name}.dpc"
        if file.exists() and not force:
            print(f"kept {file}; --force makes it again")
            continue
        source, quality = pictures()[name]
        while not decided(artifact, source, quality):
            print(f"{name}: a latent is undecided at quality {quality}")
            quality -= 0.25
        file.write_bytes(codec.encode(source, quality=quality, lossless=False))
        codec.decode(file).save(folder / f"{name}.png", optimize=True)
        if held_too:
            latents = codec.latents(source, quality)
            expected |= {f"{name}/{k}": getattr(latents, k).astype(np.int16) for k in ("z", "r", "index")}
        print(f"made {file}: {file.stat().st_size} bytes")
    if len(expected) != before:
        np.savez_compressed(path, **expected)


def main() -> int:
    """Make what is missing; with --force, all of it but the models of the first generation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="overwrite golden files")
    force = parser.parse_args().force
    from dpc.training.export.export import export

    if force or not BYTES_MODEL.exists():
        export(tiny(), BYTES_MODEL, "bytes", description="a model for tests: random weights around the wavelet start")
        print(f"made {BYTES_MODEL}: {BYTES_MODEL.stat().st_size} bytes")
    golden(MODEL, GOLDEN, pictures(), force, held_too=True)
    golden(EXACT_MODEL, EXACT, EXACT_NAMES, force, held_too=False)
    golden(BYTES_MODEL, BYTES, pictures(), force, held_too=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
