"""python -m dpc.training: `dpc train` for machines that have torch, numpy and Pillow and nothing else of the extras."""

from __future__ import annotations

import time

_BEGAN = time.monotonic()  # before torch is imported: --minutes holds for the whole program

import argparse  # noqa: E402
import inspect  # noqa: E402
import sys  # noqa: E402
import typing  # noqa: E402

from dpc.errors import DPCError  # noqa: E402
from dpc.training.begin import begin  # noqa: E402

RENAMED = {"start": "--from"}
GIVEN = {"recipe", "began", "say"}  # no options


def _parser() -> argparse.ArgumentParser:
    """The options of begin(), from its signature: `dpc train` has the same."""
    parser = argparse.ArgumentParser(prog="python -m dpc.training", description=__doc__)
    parser.add_argument("recipe", nargs="+", help="several with a [codec] table are trained in turn")
    hints = typing.get_type_hints(begin)
    for name, parameter in inspect.signature(begin).parameters.items():
        if name in GIVEN:
            continue
        flag = RENAMED.get(name, "--" + name.replace("_", "-"))
        kinds = [kind for kind in typing.get_args(hints[name]) or [hints[name]] if kind is not type(None)]
        if parameter.default is inspect.Parameter.empty:
            parser.add_argument(flag, dest=name, action="append", type=kinds[0], required=True)
        else:
            parser.add_argument(flag, dest=name, type=kinds[0], default=parameter.default)
    return parser


def main() -> int:
    """Parse, train; exit code 0, or 1 with one line on stderr."""
    options = vars(_parser().parse_args())
    try:
        recipes = options.pop("recipe")
        begin(recipes[0] if len(recipes) == 1 else recipes, began=_BEGAN, say=_say, **options)
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
