"""Times encoding and decoding on a folder of pictures, beside JPEG 2000 and AVIF at about equal bytes.

    python benchmarks/speed.py DIR [--threads 2] [--quality 40] [--model M] [--repeats 3] [--pictures N]
    python benchmarks/speed.py DIR --compressai PYTHON
    python benchmarks/speed.py DIR --large

Seconds per picture are medians over the pictures of the best of the repeats, from pixels in memory to bytes in memory
and back. --compressai adds learned codecs of CompressAI, by its own coder in the environment of that Python, with
untrained weights at its quality 3: their bytes mean nothing, and the seconds of their entropy coding depend on them a
little. --large makes one picture of 6000x4000 pixels out of those of the folder, and prints time and peak memory of
`dpc encode` and `dpc decode` on it.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
COMPRESSAI = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")
PARTS = ("network", "entropy", "file")
LARGE = (6000, 4000)


@dataclass
class Row:
    """One codec on one picture: bytes, and the best seconds of either way, with those of its parts where known."""

    bytes: int
    encode: float
    decode: float
    encode_parts: dict[str, float]
    decode_parts: dict[str, float]


def best(repeats: int, call: Callable[[], Any], parts: Callable[[], dict[str, float]]) -> tuple[Any, float, dict]:
    """(result, seconds, parts) of the fastest of the calls."""
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        runs.append((time.perf_counter() - start, parts(), result))
    seconds, times, result = min(runs, key=lambda run: run[0])
    return result, seconds, times


def measured(repeats: int, encode: Callable[[], bytes], decode: Callable[[bytes], Any], codec: Any = None) -> Row:
    def parts() -> dict[str, float]:
        return {} if codec is None else dict(codec.times)

    data, encode_seconds, encode_parts = best(repeats, encode, parts)
    _, decode_seconds, decode_parts = best(repeats, lambda: decode(data), parts)
    return Row(len(data), encode_seconds, decode_seconds, encode_parts, decode_parts)


def opened(data: bytes) -> Any:
    """The decoded picture of a file that Pillow reads."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def saved(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg2000(image: Any, size: int) -> Callable[[], bytes]:
    """An encoder whose file has about this many bytes."""
    rate = 3 * image.width * image.height / size
    return lambda: saved(image, "JPEG2000", mct=1, quality_mode="rates", quality_layers=[rate])


def avif(image: Any, size: int, threads: int) -> Callable[[], bytes]:
    """An encoder whose file is the nearest to this many bytes that a quality gives."""

    def encode(quality: int) -> bytes:
        return saved(image, "AVIF", quality=quality, subsampling="4:4:4", max_threads=threads)

    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(encode(middle)) <= size else (low, middle)
    nearest = min((low, high), key=lambda quality: abs(len(encode(quality)) - size))
    return lambda: encode(nearest)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: dict[str, list[Row]], pixels: list[int]) -> None:
    def median(values: list[float]) -> float:
        return statistics.median(values) if values else float("nan")

    print(f"\n{'':<22}{'bpp':>7}  " + "".join(f"{name:>9}" for name in ("encode", *PARTS, "decode", *PARTS)))
    for name, results in rows.items():
        bpp = median([8 * row.bytes / n for row, n in zip(results, pixels, strict=True)])
        line = f"{name:<22}{bpp:>7.3f}  "
        for way in ("encode", "decode"):
            line += f"{median([getattr(row, way) for row in results]):>9.3f}"
            for part in PARTS:
                values = [parts[part] for row in results if (parts := getattr(row, f"{way}_parts"))]
                line += f"{median(values):>9.4f}" if values else f"{'-':>9}"
        print(line)


def compare(
    paths: list[Path], model: str | None, quality: float, threads: int, repeats: int, compressai: str | None
) -> None:
    """The table of all codecs on all pictures; compressai: a Python that has it."""
    import numpy as np
    import onnxruntime
    import PIL
    from PIL import AvifImagePlugin, Image, features

    import dpc
    from dpc.evaluation import codecs as baselines

    AvifImagePlugin.DEFAULT_MAX_THREADS = threads
    codec = dpc.Codec(model, threads)
    print(
        f"{len(paths)} pictures, {threads} threads, best of {repeats}; {processor()}; dpc {dpc.__version__} model "
        f"{codec.artifact.name} {codec.artifact.id.hex()} quality {quality:g}, onnxruntime {onnxruntime.__version__}; "
        f"Pillow {PIL.__version__}, OpenJPEG {features.version('jpg_2000')} (1 thread), libavif "
        f"{features.version('avif')} (speed 6, 4:4:4)"
    )
    codec.decode(codec.encode(Image.new("RGB", (64, 64)), quality=quality))  # the networks are loaded before the clock
    rows: dict[str, list[Row]] = {"DPC": [], "JPEG 2000": [], "AVIF": []}
    learned = {}
    if compressai:
        for name in COMPRESSAI:
            made = baselines.get(f"compressai:{name}", threads=threads, python=compressai, weights="untrained")
            made.decode(made.encode(np.zeros((64, 64, 3), np.uint8), 3))
            learned[name] = made
            rows[name] = []
        print(f"{next(iter(learned.values())).version}, untrained weights, quality 3, {threads} threads")
    pixels = []
    for path in paths:
        with Image.open(path) as file:
            image = file.convert("RGB")
        pixels.append(image.width * image.height)
        mine = measured(repeats, partial(codec.encode, image, quality=quality), codec.decode, codec)
        rows["DPC"].append(mine)
        rows["JPEG 2000"].append(measured(repeats, jpeg2000(image, mine.bytes), opened))
        rows["AVIF"].append(measured(repeats, avif(image, mine.bytes, threads), opened))
        for name, other in learned.items():
            rows[name].append(measured(repeats, partial(other.encode, np.asarray(image), 3), other.decode))
    table(rows, pixels)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dpc", *map(str, arguments)]


def whole_process(path: Path, model: list[str], quality: float, threads: int, repeats: int) -> None:
    """Seconds of `dpc encode` and `dpc decode`, start of the interpreter and PNG included."""
    with tempfile.TemporaryDirectory() as folder:
        coded, decoded = Path(folder) / "a.dpc", Path(folder) / "a.png"
        options = [*model, "--threads", threads, "-f"]
        for name, arguments in (
            ("encode", [path, coded, "--quality", quality]),
            ("decode", [coded, decoded]),
        ):
            seconds = []
            for _ in range(repeats):
                start = time.perf_counter()
                subprocess.run(command(name, *arguments, *options), check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - start)
            print(f"dpc {name} {path.name} as a whole process: {min(seconds):.2f} s")


def large(paths: list[Path], model: list[str], quality: float, threads: int) -> None:
    """Time and peak memory of the commands on a picture of 24 megapixels."""
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("large.png", "large.dpc", "decoded.png"))
        # made in a process of its own: a child's peak memory counts that of its parent before it was started
        subprocess.run([sys.executable, __file__, "--make", str(source), *map(str, paths)], check=True)
        options = [*model, "--threads", threads]
        for name, arguments in (
            ("encode", [source, coded, "--quality", quality, *options]),
            ("decode", [coded, decoded, *options]),
        ):
            start = time.perf_counter()
            process = subprocess.Popen(command(name, *arguments), stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                sys.exit(f"dpc {name} failed")
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            print(f"dpc {name} of {LARGE[0]}x{LARGE[1]}: {seconds:.1f} s, peak memory {peak / 1e9:.2f} GB", flush=True)
        print(f"{coded.stat().st_size:,} bytes, {8 * coded.stat().st_size / LARGE[0] / LARGE[1]:.3f} bpp")


def make(target: Path, paths: list[Path]) -> None:
    """A picture of LARGE pixels: 4x4 fields, each one of the pictures, enlarged or reduced."""
    from PIL import Image

    width, height = LARGE[0] // 4, LARGE[1] // 4
    canvas = Image.new("RGB", LARGE)
    for i in range(16):
        with Image.open(paths[i % len(paths)]) as image:
            field = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        canvas.paste(field, (i % 4 * width, i // 4 * height))
    canvas.save(target, compress_level=1)


def main() -> int:
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quality", type=float, default=40.0)
    parser.add_argument("--model", help="name or path; default: the released model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pictures", type=int, help="only the first N")
    parser.add_argument("--compressai", metavar="PYTHON", help="a Python that has compressai")
    parser.add_argument("--large", action="store_true", help="only the picture of 24 megapixels")
    args = parser.parse_args()
    paths = sorted(path for path in args.folder.glob("*") if path.suffix.lower() in ENDINGS)[: args.pictures]
    if not paths:
        print(f"{args.folder} holds no pictures", file=sys.stderr)
        return 1
    model = ["--model", args.model] if args.model else []
    if args.large:
        large(paths, model, args.quality, args.threads)
        return 0
    compare(paths, args.model, args.quality, args.threads, args.repeats, args.compressai)
    whole_process(paths[0], model, args.quality, args.threads, args.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
