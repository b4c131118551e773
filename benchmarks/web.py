"""Seconds to decode in headless Chromium and natively, in turn, with the same number of threads.

    python benchmarks/web.py PICTURE... [--model M] [--threads 1] [--quality 40] [--repeats 5]

The first picture is also timed from the moment at which the page has loaded and its model is ready. Beside the seconds
on the wall stand those of the processors, which other work on the machine changes less. Takes `make web`, and Linux.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shutil
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from dpc.codec.codec import Codec
from dpc.web import server

DECODE = """async text => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const begin = performance.now();
  const { image, times } = await dpc.decode(bytes);
  const seconds = (performance.now() - begin) / 1000;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", image.data));
  return { seconds, times, digest: [...digest].map(b => b.toString(16).padStart(2, "0")).join("") };
}"""
START = """async ([threads, model]) => {
  window.dpc = await import("/index.js");
  dpc.terminate();
  dpc.configure({ threads });
  await dpc.prepare({ model });
  return crossOriginIsolated;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quality", type=float, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    codec = Codec(args.model, threads=args.threads)
    files = {path: codec.encode(path, quality=args.quality, lossless=False) for path in args.pictures}
    extra = [Path(args.model)] if args.model and Path(args.model).is_file() else []
    with server.Server(files=server.assets(extra)) as running, sync_playwright() as playwright:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(running.url)
        isolated = page.evaluate(START, [args.threads, codec.artifact.name])
        print(f"{codec.artifact.name}, {args.threads} threads, isolated: {isolated}, Chromium {browser.version}")
        for path, data in files.items():
            print(path.name, line(codec, page, data, args.repeats))
        browser.close()


def chromium_cpu() -> float:
    """Processor seconds of all processes of Chromium that this one has started."""
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")
        except OSError:
            continue  # it has just ended
        fields = rest[2].split()
        parents[pid] = int(fields[1])
        seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * ("chrom" in rest[0])

    def mine(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and mine(parents[pid]))

    return sum(value for pid, value in seconds.items() if mine(pid))


def line(codec: Codec, page: Any, data: bytes, repeats: int) -> str:
    """Medians of one picture; the pixels must be the same."""
    text = base64.b64encode(data).decode()
    native, web, parts, native_cpu, web_cpu = [], [], [], [], []
    pixels = codec.decode(data).convert("RGBA")
    expected = hashlib.sha256(np.array(pixels).tobytes()).hexdigest()
    for _ in range(repeats + 1):
        begin, cpu = time.perf_counter(), time.process_time()
        codec.decode(data)
        native.append(time.perf_counter() - begin)
        native_cpu.append(time.process_time() - cpu)
        cpu = chromium_cpu()
        found = page.evaluate(DECODE, text)
        web_cpu.append(chromium_cpu() - cpu)
        assert found["digest"] == expected, "the pixels differ"
        web.append(found["seconds"])
        parts.append(found["times"])
    inside = {name: statistics.median(p[name] for p in parts[1:]) / 1000 for name in parts[0] if name != "all"}
    shares = ", ".join(f"{name} {seconds:.3f}" for name, seconds in inside.items())
    n, w, nc, wc = (statistics.median(values[1:]) for values in (native, web, native_cpu, web_cpu))
    return (
        f"native {n:.3f} s, browser {w:.3f} s ({w / n:.1f} times; first {web[0]:.3f} s); processor {nc:.3f} s and "
        f"{wc:.3f} s ({wc / nc:.1f} times); {shares}"
    )


if __name__ == "__main__":
    main()
