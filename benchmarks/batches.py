"""Many small pictures: pictures a second of one process, of threads, of a process for each core, and of Pillow's AVIF.

    python benchmarks/batches.py [--pictures 10000] [--side 128] [--rounds 3]

The pictures are crops of demo/photo.png as JPEG. Every way codes the same files with the same cores, in turns; reading
and writing files is counted, starting processes too. Seconds of processor time tell what a busy machine hides.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median

from PIL import Image

import dpc
from dpc.cli.batch import cores
from dpc.files import atomic_write

ROOT = Path(__file__).parent.parent


def crops(folder: Path, count: int, side: int) -> list[Path]:
    """So many JPEG files."""
    paths = []
    with Image.open(ROOT / "demo" / "photo.png") as photo:
        rgb = photo.convert("RGB")
    for number in range(count):
        left, top = number * 37 % (rgb.width - side), number * 53 % (rgb.height - side)
        paths.append(folder / f"{number:05}.jpg")
        rgb.crop((left, top, left + side, top + side)).save(paths[-1], quality=92)
    return paths


def command(source: Path, out: Path, *options: str) -> None:
    """dpc encode of the folder."""
    subprocess.run(
        [sys.executable, "-m", "dpc", "encode", str(source), "--out-dir", str(out), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )


def shared(source: Path, out: Path) -> None:
    """One process whose threads share a codec."""
    codec = dpc.Codec(threads=1)
    out.mkdir()

    def one(path: Path) -> None:
        atomic_write(out / f"{path.stem}.dpc", codec.encode(path))

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(one, sorted(source.iterdir())))


def avif_one(pair: tuple[Path, Path]) -> None:
    """A picture to AVIF by Pillow, at its default quality and speed, one thread."""
    with Image.open(pair[0]) as image:
        atomic_write(pair[1], lambda file: image.save(file, "AVIF", max_threads=1))


def avif(source: Path, out: Path) -> None:
    """Pillow's AVIF in a process for each core."""
    out.mkdir()
    with ProcessPoolExecutor(cores()) as pool:
        pairs = [(path, out / f"{path.stem}.avif") for path in sorted(source.iterdir())]
        list(pool.map(avif_one, pairs, chunksize=16))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways: dict[str, Callable[[Path, Path], None]] = {
        "dpc, one process, one thread": lambda a, b: command(a, b, "--jobs", "1", "--threads", "1"),
        "dpc, threads that share a Codec": shared,
        "dpc, processes (the default)": command,
        "AVIF by Pillow, processes": avif,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "in"
        source.mkdir()
        crops(source, options.pictures, options.side)
        for _ in range(options.rounds):
            for name, way in ways.items():
                out = Path(scratch) / "out"
                before, begin = os.times(), time.perf_counter()
                way(source, out)
                taken, after = time.perf_counter() - begin, os.times()
                used = sum(after[:4]) - sum(before[:4])
                assert len(list(out.iterdir())) == options.pictures
                shutil.rmtree(out)
                found[name].append((taken, used))
                print(f"{name}: {taken:.1f} s, {used:.1f} s of processor time", file=sys.stderr, flush=True)
    about = f"{options.pictures} pictures of {options.side} x {options.side}"
    print(f"{about}, {cores()} cores, {options.rounds} rounds in turns")
    print("| | pictures a second | milliseconds of processor time a picture |\n|---|---|---|")
    for name, rounds in found.items():
        rate = options.pictures / median(taken for taken, _ in rounds)
        print(f"| {name} | {rate:.0f} | {1000 * median(used for _, used in rounds) / options.pictures:.1f} |")


if __name__ == "__main__":
    main()
