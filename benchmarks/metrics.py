"""Processor time of every metric on a picture, one thread: the median over files, and what the original costs once.

    python benchmarks/metrics.py PICTURE --weights DIR [--metrics psnr,dists] [--files 5]

Files are JPEG from low to high quality. Seconds are of processor time, this process and those that it started, so
that a machine with other work gives about the same; Linux only. The two metrics on VGG16 are measured together too.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dpc.evaluation.metrics import reference

TOGETHER = (("ssim", "ms_ssim"), ("lpips_vgg", "dists"), reference.PEAKS, ("text_read", "text_known"))


def main() -> None:
    """Print a line for each metric, for those that share work, and for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--metrics", default=",".join(reference.NAMES))
    parser.add_argument("--files", type=int, default=5)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    original = np.asarray(Image.open(args.picture).convert("RGB"))
    files = [_jpeg(original, quality) for quality in np.linspace(10, 90, args.files).astype(int)]
    names, missing = reference.usable(args.metrics.split(","), args.weights)
    for name, why in missing.items():
        print(f"{name}: {why}")
    shared = [tuple(n for n in group if n in names) for group in TOGETHER]
    groups = [(n,) for n in names if n not in reference.PEAKS] + [g for g in shared if len(g) > 1]
    for group in [*groups, tuple(names)]:
        begin = _seconds()
        measured = reference.Reference(original, group, args.weights)
        once = _seconds() - begin
        measured.measure(files[0])  # what is loaded at first use
        each = []
        for file in files:
            begin = _seconds()
            measured.measure(file)
            each.append(_seconds() - begin)
        title = "all" if len(group) == len(names) > 1 else " + ".join(group)
        print(
            f"{title}: {statistics.median(each):.2f} s a file ({min(each):.2f} to {max(each):.2f}), {once:.2f} s once"
        )


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def _seconds() -> float:
    """Processor time of this process, of those that it started, and of those that ended."""
    ended = os.times()
    living = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            living += int(fields[11]) + int(fields[12])
    return time.process_time() + ended.children_user + ended.children_system + living / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
