"""python -m dpc.training.proxy: makes crops, trains a proxy of LPIPS on them, and puts it into a model."""

from __future__ import annotations

import argparse
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from dpc.codec.artifact import Artifact, find
from dpc.codec.codec import Codec
from dpc.errors import DPCError, ModelError, OptionError
from dpc.evaluation.metrics.lpips import LPIPS
from dpc.files import atomic_write
from dpc.training.data.photos import Photos
from dpc.training.export.export import with_proxy
from dpc.training.proxy.crops import SIDE, made, write
from dpc.training.proxy.network import Proxy
from dpc.training.proxy.training import train

NPZ = ".npz"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dpc.training.proxy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    crops = commands.add_parser("crops", help="crops that a model drew, with LPIPS's gradients")
    crops.add_argument("out", type=Path)
    crops.add_argument("--model", help="default: the released one")
    crops.add_argument("--data", action="append", required=True, help="photographs")
    crops.add_argument("--lpips-weights", required=True)
    crops.add_argument("--seed", type=int, required=True, help="another for each process")
    crops.add_argument("--count", type=int, default=2000)
    trained = commands.add_parser("train", help="train on such crops")
    trained.add_argument("crops", type=Path)
    trained.add_argument("out", type=Path, help="PROXY.npz")
    trained.add_argument("--from", dest="start", type=Path, help="a PROXY.npz, or a model that has one")
    trained.add_argument("--minutes", type=float, required=True)
    trained.add_argument("--seed", type=int, default=0)
    put = commands.add_parser("put", help="a model with another proxy; its identity and its files stay")
    put.add_argument("model", help="a model by its name or path")
    put.add_argument("proxy", type=Path, help="PROXY.npz")
    put.add_argument("out", type=Path, help="OUT.dpcmodel")
    return parser


def main() -> int:
    """Parse, do; exit code 0, or 1 with one line on stderr."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    try:
        {"crops": _crops, "train": _train, "put": _put}[options.command](options)
    except DPCError as error:
        print(f"dpc: error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f"{error.filename}: " if error.filename else ""
        print(f"dpc: error: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _crops(options: argparse.Namespace) -> None:
    nets = [LPIPS(n, options.lpips_weights, download=False).eval().requires_grad_(False) for n in ("alex", "squeeze")]
    rng = np.random.default_rng(options.seed)
    drawn = made(Codec(options.model, threads=1), Photos(options.data, SIDE), nets, rng)
    write(options.out, drawn, options.seed, options.count)


def _train(options: argparse.Namespace) -> None:
    if not 0 < options.minutes < math.inf:
        raise OptionError(f"--minutes {options.minutes:g}: give more than 0")
    if options.out.suffix != NPZ or not options.out.parent.is_dir():
        raise OptionError(f"{options.out}: give a name that ends with {NPZ}, in a folder that is there")
    proxy = _proxy(options.start) if options.start else Proxy()
    cosine, size = train(proxy, options.crops, options.minutes, options.seed, _say)
    atomic_write(options.out, lambda file: np.savez(file, **proxy.stored()))  # type: ignore[arg-type]
    _say(f"{options.out}: held-out crops: cosine {cosine:.4f}, size {size:.3f}")


def _put(options: argparse.Namespace) -> None:
    made = with_proxy(find(options.model), options.out, _proxy(options.proxy))
    _say(f"{options.out}: {made.identity[:16]}, {made.bytes:,} bytes")


def _proxy(path: Path) -> Proxy:
    try:
        if path.suffix == NPZ:
            with np.load(path) as file:
                proxy = Proxy.of(dict(file))
        else:
            proxy = Proxy.of(Artifact(path).weights)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"cannot read the proxy {path}: {error}") from error
    if proxy is None:
        raise ModelError(f"{path} holds no proxy")
    return proxy


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
