"""The documents keep step with the commands, and their examples with the library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from paths import ROOT

import dpc
from dpc.cli import app
from dpc.cli.codec import FORMATS

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command below this one, groups of commands left out."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    else:
        for part, child in below.items():
            yield from commands(child, f"{name} {part}")


def sections(text: str) -> dict[str, str]:
    """Title without backquotes -> text, of every second-level section of a document."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    titles = (title.replace("`", "").strip() for title in parts[1::2])
    return dict(zip(titles, parts[2::2], strict=True))


def undocumented(application: typer.Typer, text: str) -> list[str]:
    """Commands without a section of their own, and options that their command's section does not name."""
    missing = []
    described = sections(text)
    for name, command in commands(typer.main.get_command(application), "dpc"):
        if name not in described:
            missing.append(name)
            continue
        for parameter in command.params:
            names = [*parameter.opts, *parameter.secondary_opts]
            missing += [
                f"{name} {option}"
                for option in names
                if option.startswith("-") and not re.search(rf"(?<![\w-]){option}(?![\w-])", described[name])
            ]
    return missing


def test_every_command_and_option_is_documented() -> None:
    assert undocumented(app, CLI) == []


def test_no_section_is_left_of_a_command_that_is_gone() -> None:
    existing = {name for name, _ in commands(typer.main.get_command(app), "dpc")}
    assert {title for title in sections(CLI) if title.startswith("dpc ")} <= existing


def test_the_check_finds_what_is_missing() -> None:
    sample = typer.Typer()
    group = typer.Typer()

    @sample.command()
    def known(good: int = 1, bad: int = 2) -> None: ...

    @group.command()
    def new(x: int = 1) -> None: ...

    sample.add_typer(group, name="group")
    text = "# Title\n## `dpc known`\n--good and --bad-luck\n## dpc group other\n--bad\n"
    assert undocumented(sample, text) == ["dpc known --bad", "dpc group new"]


def test_formats_are_documented() -> None:
    for ending in FORMATS:
        assert f"`{ending}`" in sections(CLI)["dpc decode"]


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_links_between_documents_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "docs" / "cli.md", ROOT / "demo" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_the_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(dpc.__version__)}\]", changelog, re.MULTILINE)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_bytes((ROOT / "demo" / "photo.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
