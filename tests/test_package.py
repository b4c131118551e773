"""The shape of the package: who may import torch, what an import costs, what is exported and what ships."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

import dpc
from dpc import errors

SRC = ROOT / "src"
SHIPPED = {".py", ".toml", ".html", ".css", ".js", ".typed", ".dpcmodel"}

WITH_TORCH = {"networks", "training"}
TORCH = {"torch", "torchvision", "lightning_fabric", "onnxscript"}
# Metrics that are networks, a program that runs in another environment and imports nothing of this package, and
# detectors of torchvision.
TORCH_TOO = {
    "evaluation/metrics/lpips.py",
    "evaluation/metrics/lpips_weights.py",
    "evaluation/metrics/dists.py",
    "evaluation/codecs/compressai_worker.py",
    "evaluation/metrics/cvvdp_worker.py",
    "evaluation/foreign/torchvision_names.py",
    "evaluation/codecs/earlier.py",
    "evaluation/detection/torchvision_detector.py",
    "evaluation/metrics/vgg.py",
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
    """What a module imports although it must not: the package itself, or torch. lint-imports holds all other arrows."""
    wrong = []
    for name in sorted(imports(source, path)):
        if name == "dpc" and Path(path).parts[0] != "cli":
            wrong.append(f"{path} imports the package itself")
        elif name.split(".")[0] in TORCH and Path(path).parts[0] not in WITH_TORCH and path not in TORCH_TOO:
            wrong.append(f"{path} imports {name}, only networks and training may")
    return wrong


@pytest.mark.parametrize("path", modules())
def test_nothing_imports_torch_or_the_package_itself(path: str) -> None:
    assert violations((SRC / "dpc" / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("codec/codec.py", "import dpc"),
        ("codec/codec.py", "def f():\n    import torch"),
        ("codec/artifact.py", "from torch import nn"),
        ("evaluation/metrics/ms_ssim.py", "import torch"),
        ("evaluation/codecs/learned.py", "import torch"),
        ("evaluation/detection/onnx_detector.py", "import torch"),
    ],
)
def test_the_check_of_imports_finds_what_is_wrong(path: str, source: str) -> None:
    assert len(violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("codec/codec.py", "from dpc.codec.container import pack\nfrom . import image\nimport numpy"),
        ("networks/model.py", "import torch"),
        ("training/trainer.py", "import torch\nfrom dpc.training.data.photos import crops\nfrom dpc import evaluation"),
        ("evaluation/metrics/lpips.py", "import torch"),
        ("cli/codec.py", "import dpc\nfrom dpc.cli.batch import run"),
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
        assert issubclass(value, (dpc.DPCError, Warning))
        assert getattr(dpc, name) is value
        assert name in (errors.__doc__ or "")


def test_models_stays_a_function() -> None:
    # a folder src/dpc/models, imported as a package, would hide the function
    assert callable(dpc.models)
    assert dpc.models()
    assert callable(dpc.models)


def test_what_ships_with_the_package_is_there() -> None:
    assert (SRC / "dpc" / "py.typed").exists()
    assert list((SRC / "dpc" / "training" / "recipes").glob("*.toml"))
    assert any(model.default for model in dpc.models())


@pytest.mark.slow
def test_the_wheel_is_small_and_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 20e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len([name for name in names if name.endswith(".dpcmodel")]) == 1
    source = {path.relative_to(SRC).as_posix() for path in (SRC / "dpc").rglob("*") if path.suffix in SHIPPED}
    assert source <= set(names)
    built = (SRC / "dpc" / "web" / "static" / "index.html.gz").exists() or shutil.which("npm") is not None
    assert ("dpc/web/static/index.html.gz" in names) == built
    assert not [name for name in names if name.startswith(("tests", "docs", "results"))]
