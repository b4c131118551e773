"""Peak memory of encoding and decoding large pictures.

    python benchmarks/memory.py [--model M] [--megapixels 24 100] [--threads 1] [--quality 40] [--bpp B]

Each call has a process of its own, that holds the picture as an array (encode) or its file (decode, into an array).
Printed are its peak memory, that without the picture's array, and the seconds of the call. The picture is
demo/photo.png, again and again, side by side.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PHOTO = Path(__file__).parent.parent / "demo" / "photo.png"


def picture(width: int, height: int) -> Any:
    """The photograph side by side, every other one mirrored, (height, width, 3) uint8."""
    import numpy as np
    from PIL import Image

    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    array = np.empty((height, width, 3), np.uint8)
    rows, columns = photo.shape[:2]
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            part = photo[:, :: 1 - 2 * (left // columns % 2)]
            here = array[top : top + rows, left : left + columns]
            here[...] = part[: here.shape[0], : here.shape[1]]
    return array


def peak() -> float:
    """Megabytes of this process so far, at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def child(args: argparse.Namespace, way: str, width: int, height: int) -> None:
    """Encode or decode once, and print what it took."""
    import dpc

    codec = dpc.Codec(args.model, args.threads)
    array = 3 * width * height / 1e6
    if way == "encode":
        pixels = picture(width, height)
        start = time.perf_counter()
        target = {"quality": args.quality} if args.bpp is None else {"bpp": args.bpp}
        args.file.write_bytes(codec.encode(pixels, **target))
    else:
        start = time.perf_counter()
        codec.decode(args.file, as_array=True, max_pixels=None)
    seconds = time.perf_counter() - start
    print(
        f"{codec.artifact.name} {way} {width}x{height}: peak {peak():.0f} MB, without the array of {array:.0f} MB "
        f"{peak() - array:.0f} MB; {seconds:.1f} s, {args.file.stat().st_size:,} bytes",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="name or path; default: the released model")
    parser.add_argument("--megapixels", type=int, nargs="+", default=[24, 100])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quality", type=float, default=40.0)
    parser.add_argument("--bpp", type=float)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args, args.child[0], int(args.child[1]), int(args.child[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in args.megapixels:
            height = round((megapixels * 1e6 / 1.5) ** 0.5)
            width = round(megapixels * 1e6 / height)
            for way in ("encode", "decode"):
                made = ["--file", str(Path(folder) / "a.dpc"), "--child", way, str(width), str(height)]
                subprocess.run([sys.executable, __file__, *sys.argv[1:], *made], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
