"""The shape of the package: who may import whom, what an import costs, what is exported and what ships."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dpc
from dpc import errors

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"

# The arrows: what each part of dpc may import. A part is a module or a folder directly under src/dpc.
# One that is not listed here may import everything but the command line.
ARROWS: dict[str, set[str]] = {
    "__init__": {"api", "codec", "errors", "pillow_plugin"},
    "errors": set(),
    "container": {"errors"},
    "entropy": {"errors"},
    "image": {"container", "errors"},
    "artifact": {"entropy", "errors", "runtime"},
    "runtime": set(),
    "tiles": set(),
    "codec": {"artifact", "container", "entropy", "errors", "image", "tiles"},
    "api": {"artifact", "codec", "container", "errors", "image"},
    "figures": {"errors"},
    "options": {"errors"},
    "pillow_plugin": {"api", "container", "errors"},
    "batch": {"errors"},
    "baselines": {"artifact", "codec", "container", "errors", "image"},
    "benchmark": {"__version__", "baselines", "errors", "figures", "image", "metrics", "options"},
    "detection": {"__version__", "baselines", "benchmark", "errors", "figures", "image", "options", "runtime"},
    "metrics": {"errors", "metrics"},
    "study": {"__version__", "baselines", "errors", "figures", "image", "metrics", "options"},
}
# What turns arguments into calls; nothing else may import it.
COMMAND_LINE = {"cli", "batch"}
TORCH = {"torch", "torchvision", "lightning_fabric", "onnxscript"}
# Metrics that are networks, a program that runs in another environment and imports nothing of this package, and
# detectors of torchvision.
TORCH_TOO = {
    "metrics/lpips.py",
    "metrics/dists.py",
    "baselines/compressai_worker.py",
    "detection/torchvision_detector.py",
}


def modules() -> list[str]:
    """Paths of all modules of the package, relative to src/dpc."""
    return sorted(path.relative_to(SRC / "dpc").as_posix() for path in (SRC / "dpc").rglob("*.py"))


def imports(source: str, path: str) -> set[str]:
    """Full names that a module at this path (relative to src/dpc) imports, anywhere in it."""
    package = ["dpc", *Path(path).parent.parts]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{name}.{alias.name}" for alias in node.names} if name == "dpc" else {name}
    return found


def violations(source: str, path: str) -> list[str]:
    """What a module imports although it must not."""
    part = Path(path).parts[0].removesuffix(".py")
    allowed = ARROWS.get(part)
    wrong = []
    for name in sorted(imports(source, path)):
        root, *rest = name.split(".")
        if root == "dpc" and rest and rest[0] != part:
            inside_command_line = part in COMMAND_LINE and rest[0] in COMMAND_LINE
            if rest[0] in COMMAND_LINE and not inside_command_line:
                wrong.append(f"{path} imports {name}, the command line")
            elif allowed is not None and rest[0] not in allowed:
                wrong.append(f"{path} imports {name}, it may import {sorted(allowed)}")
        elif root == "dpc" and not rest and part != "cli":
            wrong.append(f"{path} imports the package itself")
        elif root in TORCH and part != "training" and path not in TORCH_TOO:
            wrong.append(f"{path} imports {name}, only training may")
    return wrong


@pytest.mark.parametrize("path", modules())
def test_imports_run_one_way(path: str) -> None:
    assert violations((SRC / "dpc" / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "from dpc.codec.container import pack"),
        ("container.py", "from dpc.codec.codec import Codec"),
        ("container.py", "from .codec import Codec"),
        ("container.py", "def f():\n    from dpc import codec"),
        ("codec.py", "import dpc.pillow_plugin"),
        ("codec.py", "import dpc"),
        ("codec.py", "import dpc.cli"),
        ("codec.py", "def f():\n    import torch"),
        ("artifact.py", "from torch import nn"),
        ("metrics/ms_ssim.py", "import torch"),
        ("metrics/ms_ssim.py", "from ..codec import encode"),
        ("training/loop.py", "from dpc.cli import app"),
        ("benchmark/rows.py", "from dpc.cli.batch import run"),
        ("benchmark/run.py", "from dpc.training import export"),
        ("baselines/own.py", "from dpc.evaluation.compression import run"),
        ("baselines/learned.py", "import torch"),
        ("benchmark/run.py", "from dpc.evaluation.detection import rows"),
        ("detection/run.py", "from dpc.training import export"),
        ("detection/onnx_detector.py", "import torch"),
        ("study/report.py", "from dpc.evaluation.compression import rows"),
    ],
)
def test_the_check_of_imports_finds_what_is_wrong(path: str, source: str) -> None:
    assert len(violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("codec.py", "from dpc.codec.container import pack\nfrom . import image\nimport numpy"),
        ("training/loop.py", "import torch\nfrom dpc.training.data.photos import crops\nfrom dpc import metrics"),
        ("metrics/lpips.py", "import torch"),
        ("cli.py", "import dpc\nfrom dpc.cli.batch import run\nfrom dpc.cli.training import app"),
    ],
)
def test_the_check_of_imports_passes_what_is_right(path: str, source: str) -> None:
    assert violations(source, path) == []


# what an import costs


def loaded(program: str) -> set[str]:
    """Names of all modules in a fresh interpreter that ran the program."""
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SRC, capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_is_cheap() -> None:
    before = loaded("pass")
    assert {name for name in loaded("import dpc") - before if name.startswith("dpc")} == {"dpc"}
    heavy = {"numpy", "PIL", "onnxruntime", "constriction", "torch", "typer", "rich"}
    assert not heavy & (loaded("import dpc; dpc.DPCError; dir(dpc)") - before)


def test_the_command_line_starts_without_what_codes_pictures() -> None:
    assert not {"numpy", "PIL", "onnxruntime", "constriction", "torch"} & loaded("import dpc.cli")


ROUND_TRIP = """
import sys
for name in ("torch", "torchvision", "onnx", "onnxscript", "scipy", "matplotlib"):
    sys.modules[name] = None    # importing it raises ImportError
import dpc
from PIL import Image
image = Image.linear_gradient("L").resize((70, 50)).convert("RGB")
dpc.register()
assert dpc.decode(dpc.encode(image, max_bytes=2000)).size == (70, 50)
assert dpc.Codec().decode(dpc.Codec().encode(image)).size == (70, 50)
dpc.inspect(dpc.encode(image)), dpc.models()
for name in list(sys.modules):
    if sys.modules[name] is None:
        del sys.modules[name]
"""


def test_encoding_and_decoding_need_the_runtime_only() -> None:
    names = loaded(ROUND_TRIP)
    assert "onnxruntime" in names
    assert not {name.partition(".")[0] for name in names} & TORCH


# what is exported


def test_everything_exported_is_there() -> None:
    assert len(set(dpc.__all__)) == len(dpc.__all__)
    for name in dpc.__all__:
        assert getattr(dpc, name) is not None
    assert set(dpc.__all__) <= set(dir(dpc))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dpc.nonsense  # noqa: B018


def test_every_error_is_exported_and_in_the_tree() -> None:
    public = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert set(errors.__all__) == set(public) <= set(dpc.__all__)
    for name, value in public.items():
        assert issubclass(value, dpc.DPCError)
        assert getattr(dpc, name) is value
        assert name in (errors.__doc__ or "")


def test_models_stays_a_function() -> None:
    # the folder src/dpc/models has the same name; importing it as a package would hide the function
    assert callable(dpc.models)
    assert dpc.models()
    assert callable(dpc.models)


def test_what_ships_with_the_package_is_there() -> None:
    assert (SRC / "dpc" / "py.typed").exists()
    assert list((SRC / "dpc" / "recipes").glob("*.toml"))
    assert any(model.default for model in dpc.models())
