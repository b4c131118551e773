"""The pictures by which a model is chosen: held-out training photographs, and synthetic pages that no training drew.

    python benchmarks/selection.py PHOTOS FOLDER
    dpc bench FOLDER --codecs dpc:dpc-8,dpc:NEW.dpcmodel,avif --bpp 0.15,0.25,0.5 --out SELECTED \\
        --metrics lpips_alex,plain_2,luma_below_4,ssimulacra2,text_read,ms_ssim --lpips-weights WEIGHTS
    dpc report SELECTED --out PAGE --pictures FOLDER

PHOTOS: the training folder. FOLDER gets the middles of the held-out photographs at full size (at most 512 x 512), pages
of 384 x 384 from a seed of their own, and kinds.csv, so that both kinds have tables of their own. Test pictures and the
metrics that only judge the end (DISTS, Butteraugli, CVVDP) choose nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dpc.training.data.photos import Photos
from dpc.training.data.synthetic import synthetic

SIDE, PAGE = 512, 384
PAGES = 8
SEED = 1_000_003  # no training has it


def main(folder: str, out: str) -> None:
    photos = Photos([folder], SIDE)
    Path(out).mkdir(parents=True, exist_ok=False)
    kinds = ["image,kind"]
    rng = np.random.default_rng(SEED)
    grounds = []
    for n, place in enumerate(photos.validation):
        picture = photos.picture(place)
        top, left = (max(0, (v - SIDE) // 2) for v in picture.shape[:2])
        middle = np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])
        grounds.append(middle[:PAGE, :PAGE])
        kinds.append(f"photo{n:02d},photographs")
        Image.fromarray(middle).save(Path(out) / f"photo{n:02d}.png")
    for n in range(PAGES):
        kinds.append(f"page{n},text")
        Image.fromarray(synthetic(rng, grounds[n % len(grounds)])).save(Path(out) / f"page{n}.png")
    (Path(out) / "kinds.csv").write_text("\n".join(kinds) + "\n")
    print(f"{len(photos.validation)} photographs and {PAGES} pages in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
