"""Runs ColorVideoVDP in an environment of its own; see dpc.evaluation.metrics.cvvdp. It imports nothing of dpc.

It reads questions from stdin and writes answers to stdout: a line of JSON with the length of what follows, and that.
With --version it prints that of the package, which it has imported, and ends.
"""

import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


def package() -> Any:
    """The module pycvvdp, also beside a torchvision of another build than torch."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "foreign"))
    return import_module("torchvision_names").import_module("pycvvdp")


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        package()
        sys.stdout.write(version("cvvdp"))
        return
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    import numpy as np
    import torch

    pycvvdp = package()
    torch.set_num_threads(1)
    metric = None
    while line := sys.stdin.buffer.readline():
        head = json.loads(line)
        payload = sys.stdin.buffer.read(head["bytes"])
        try:
            if metric is None:
                metric = pycvvdp.cvvdp(display_name=head["display"], device=torch.device("cpu"), quiet=True)
            pair = np.frombuffer(payload, np.uint8).reshape(2, head["height"], head["width"], 3)
            with torch.inference_mode():
                jod, _ = metric.predict(pair[1].copy(), pair[0].copy(), dim_order="HWC")
            answer: dict[str, object] = {"jod": float(jod)}
        except Exception as error:  # told to the other side, which goes on without this picture
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer | {"bytes": 0}).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
