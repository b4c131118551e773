"""python -m dpc.training: `dpc train` for machines that have torch, numpy and Pillow and nothing else of the extras."""

from __future__ import annotations

import time

_BEGAN = time.monotonic()  # before torch is imported: --minutes holds for the whole program

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from dpc.errors import DPCError  # noqa: E402
from dpc.training.begin import begin  # noqa: E402


def main() -> int:
    """Parse, train; exit code 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m dpc.training", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--horizon", type=float)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--from", dest="start", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--lpips-weights", type=Path)
    options = vars(parser.parse_args())
    try:
        begin(options.pop("recipe"), began=_BEGAN, say=_say, **options)
    except DPCError as error:
        print(f"dpc: error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f"{error.filename}: " if error.filename else ""
        print(f"dpc: error: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
