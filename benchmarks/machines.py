"""Whether the networks that draw pictures give the same bits on other machines, real or emulated.

    python benchmarks/machines.py write FOLDER MODEL [MODEL ...]     graphs with their weights, and inputs, to a folder
    python benchmarks/machines.py run FOLDER [--reference]           prints a digest of what comes out of each graph

MODEL: the name or path of an artifact. `write` needs the train extra. `run` needs numpy and onnxruntime alone (with
--reference, onnx in place of onnxruntime: its evaluator in plain numpy), nothing of dpc, so that it runs where dpc is
not installed. Digests of an exact model are the same everywhere; those of models before dpc-7 are not. Other processors
on a Linux x86 machine, with Debian's qemu-user:

    qemu-x86_64 -cpu SandyBridge python3 benchmarks/machines.py run FOLDER       AVX, neither AVX2 nor FMA
    qemu-x86_64 -cpu Haswell python3 benchmarks/machines.py run FOLDER           AVX2 and FMA
    qemu-aarch64 -cpu max,pauth=off,sve=off,sme=off -L ROOT ROOT/usr/bin/python3.11 benchmarks/machines.py run FOLDER

The last one is ARM64. ROOT: arm64 packages of Debian unpacked by dpkg -x (python3.11-minimal, libpython3.11-minimal,
libpython3.11-stdlib, libc6, libstdc++6, libgcc-s1, zlib1g, libexpat1, libffi8), with PYTHONHOME=ROOT/usr, and
PYTHONPATH to wheels that `pip download --only-binary=:all: --platform manylinux_2_28_aarch64` fetched.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = 4
ROWS, COLUMNS = 8, 12  # positions


def write(folder: Path, *models: str) -> None:
    """FOLDER/MODEL-GRAPH.onnx and FOLDER/MODEL-GRAPH-SEED.npz."""
    from dpc.codec.artifact import DRAWING, Artifact, find

    folder.mkdir(parents=True, exist_ok=True)
    for path in map(find, models):
        model = Artifact(path, 1)
        for graph in DRAWING:
            (folder / f"{path.stem}-{graph}.onnx").write_bytes(whole(model, graph).SerializeToString())
            for seed in range(SEEDS):
                np.savez(folder / f"{path.stem}-{graph}-{seed}.npz", **inputs(model, graph, seed))


def whole(model: Any, graph: str) -> Any:
    """The ONNX graph with its weights in it; synthesis also gives what becomes pixels, before it is rounded."""
    import onnx

    loaded = onnx.load_from_string(model._graphs[graph])
    for tensor in loaded.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            weight = model.weights[tensor.name].astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    if graph == "synthesis":
        last = next(node for node in reversed(loaded.graph.node) if node.op_type in ("Clip", "QuantizeLinear"))
        loaded.graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], 1, None))
    return loaded


def inputs(model: Any, graph: str, seed: int) -> dict[str, Any]:
    """Made-up inputs, the larger the seed the wilder."""
    rng, n = np.random.default_rng(seed), model.sizes.latents
    level = int(rng.integers(model.sizes.fine_levels))
    shape, spread = (1, n, ROWS, COLUMNS), 2.0 ** rng.uniform(-3, 3 + 3 * seed, (1, n, 1, 1))
    if graph == "synthesis":
        y_hat = rng.normal(size=shape) * spread / 4
        return {"y_hat": y_hat.astype(np.float32), "weights": model.interpolation(level)}
    z = rng.integers(-3 - 20 * seed, 4 + 20 * seed, (1, model.sizes.hyper_latents, ROWS // 4, COLUMNS // 4))
    return {
        "z_hat": z.clip(-model.sizes.z_limit, model.sizes.z_limit).astype(np.float32),
        "r": np.round(rng.laplace(size=shape) * spread).astype(np.float32),
        "gain": model.gain(level),
        "even": (np.indices((1, 1, ROWS, COLUMNS)).sum(0) % 2 == 0).astype(np.float32),
    }


def new_ops() -> list[Any]:
    """What onnx's reference evaluator lacks: the sum of bytes of one scale, the only ones that the graphs add."""
    from onnx.reference.op_run import OpRun

    class QLinearAdd(OpRun):
        op_domain = "com.microsoft"

        def _run(self, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, *rest: Any) -> tuple[Any]:
            assert int(rest[-1]) == int(a_zero)  # the sum is of the first one's kind
            return ((a.astype(np.int64) + b - int(b_zero)).clip(0, 255).astype(np.uint8),)

    return [QLinearAdd]


def run(folder: Path, reference: bool) -> None:
    """A line for each graph: its name, and a digest of all that it gives."""
    session: Any
    if reference:
        from onnx.reference import ReferenceEvaluator

        tool = "onnx reference evaluator"
    else:
        import onnxruntime

        tool = f"onnxruntime {onnxruntime.__version__}"
    print(f"{platform.machine()}, {tool}, numpy {np.__version__}")
    for path in sorted(folder.glob("*.onnx")):
        digest = hashlib.sha256()
        if reference:
            session = ReferenceEvaluator(str(path), new_ops=new_ops())
        else:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for seed in range(SEEDS):
            for output in session.run(None, dict(np.load(f"{path.with_suffix('')}-{seed}.npz"))):
                digest.update(np.ascontiguousarray(output).tobytes())
        print(f"{path.stem:24} {digest.hexdigest()[:16]}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, *models] if models:
            write(Path(folder), *models)
        case ["run", folder, *rest] if rest in ([], ["--reference"]):
            run(Path(folder), bool(rest))
        case _:
            sys.exit(__doc__)
