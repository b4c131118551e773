"""The documents keep step with the commands, and their examples with the library."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from paths import ROOT

import dpc
from dpc.cli import app
from dpc.codec.formats import FORMATS

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command below this one; of groups those that are a command by themselves too."""
    below = getattr(command, "commands", None)
    if below is None or (command.invoke_without_command and name != "dpc"):
        yield name, command
    if below is not None:
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
    pages = [path for folder in ("docs", "results", "demo") for path in (ROOT / folder).rglob("*.md")]
    for path in (*pages, *ROOT.glob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", path.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith("mailto:"):
                assert (path.parent / link).exists(), f"{path.relative_to(ROOT)} links to {link}"


def test_the_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(dpc.__version__)}\]", changelog, re.MULTILINE)


def examples(*names: str) -> list[Any]:
    """The Python blocks of pages, as parameters of a test."""
    return [
        pytest.param(code, id=f"{name}-{n}")
        for name in names
        for n, code in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL))
    ]


@pytest.mark.parametrize("code", examples("README.md", "docs/guide/pictures.md", "docs/guide/mime.md"))
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_bytes((ROOT / "demo" / "photo.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "an example", "exec"), {})


# the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link that leads nowhere or a page in no menu is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(https?:[^\" >]*)", html)
        assert fetched == [], f"{page.name} fetches {fetched}"
        for script in re.findall(r'<script src="([^"]+)"', html):
            home = site if script.startswith("/") else page.parent
            assert (home / script.lstrip("/")).exists(), f"{page.name} lacks {script}"


@pytest.mark.slow
def test_the_reference_has_the_public_names(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in dpc.__all__:
        home = getattr(getattr(dpc, name), "__module__", None)
        if home is not None:
            assert f'id="{home}.{name}"' in page, f"{name} is not on the page"


def test_links_follow_files_into_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from docs_hooks import relinked

    assert relinked("[a](docs/format.md#x)", "README.md", "index.md") == "[a](format.md#x)"
    assert relinked("[a](results)", "README.md", "index.md") == "[a](results/README.md)"
    assert relinked("[a](../../README.md)", "docs/guide/study.md", "guide/study.md") == "[a](../index.md)"
    assert relinked("[rows](../../results/kodak/rows.csv)", "docs/guide/study.md", "guide/study.md") == (
        "rows (`results/kodak/rows.csv`)"
    )


# the project


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(dpc.__version__)}$", citation, re.MULTILINE)


def test_the_address_of_the_project_is_said_everywhere_or_nowhere() -> None:
    places = {"pyproject.toml": r"^\[project\.urls\]", "mkdocs.yml": "^repo_url:", "CITATION.cff": "^repository-code:"}
    said = {name: bool(re.search(line, (ROOT / name).read_text("utf-8"), re.M)) for name, line in places.items()}
    assert len(set(said.values())) == 1, f"RELEASING.md, 7: {said}"


def test_what_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), f"CONTRIBUTING.md names {path}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_hooks_are_what_make_lint_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for tool in re.findall(r"\$\(BIN\)/([\w-]+)", lint):
        assert f".venv/bin/{tool}" in hooks


def test_the_table_of_output_formats_is_the_one_of_the_code() -> None:
    page = (ROOT / "docs" / "guide" / "metadata.md").read_text(encoding="utf-8")

    def size(limit: int) -> str:
        return "no" if not limit else "any" if limit >= 1 << 32 else f"{limit:,} bytes"

    for ending, form in FORMATS.items():
        (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{ending}`" in line]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == f"{form.side:,}"
        assert [cell.startswith("yes") for cell in cells[2:5]] == [form.alpha, form.grey, form.icc]
        assert cells[5:7] == [size(form.exif), size(form.xmp)]
        assert cells[7] == {"field": "yes", "exif": "in EXIF", None: "no"}[form.density]
