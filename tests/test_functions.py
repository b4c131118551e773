"""Functions fit on a screen. Those that do not are listed here with a reason; the list may only get shorter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

LINES = 60

OPTIONS = "the command's options are its signature"
PARAMETERS = "half of it are its parameters and what each means"
LONGER = {  # file and function: lines at most, and why
    "src/dpc/cli/compression.py bench": (72, OPTIONS),
    "src/dpc/cli/detection.py detect": (122, OPTIONS),
}


def functions(source: str) -> Iterator[tuple[str, int]]:
    """(name, lines with signature and docstring) of every function and method."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def long_ones(root: Path) -> dict[str, int]:
    """File and function -> lines, of those with more than LINES."""
    files = [path for folder in ("src", "scripts", "benchmarks") for path in sorted((root / folder).rglob("*.py"))]
    return {
        f"{path.relative_to(root).as_posix()} {name}": lines
        for path in files
        for name, lines in functions(path.read_text("utf-8"))
        if lines > LINES
    }


def test_functions_fit_on_a_screen() -> None:
    found = long_ones(ROOT)
    new = [f"{name}: {lines} lines" for name, lines in found.items() if lines > LONGER.get(name, (LINES, ""))[0]]
    assert not new, f"split these, {LINES} lines are the limit: {new}"


def test_the_list_of_longer_ones_is_of_today() -> None:
    assert sorted(LONGER.keys() - long_ones(ROOT).keys()) == [], "these fit now: take them off the list"


@pytest.mark.parametrize(("lines", "long"), [(LINES, False), (LINES + 1, True)])
def test_the_check_finds_a_long_function(tmp_path: Path, lines: int, long: bool) -> None:
    (tmp_path / "src").mkdir()
    body = "\n".join(["class A:", "    def b(self) -> None:", *["        pass"] * (lines - 1)])
    (tmp_path / "src" / "c.py").write_text(body)
    assert long_ones(tmp_path) == ({"src/c.py b": lines} if long else {})
