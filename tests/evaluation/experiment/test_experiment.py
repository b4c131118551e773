"""What every experiment rests on: engines, rows kept as they come, failures, and which commit made a row."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from dpc import provenance
from dpc.errors import OptionError, ToolMissing
from dpc.evaluation.experiment import Failure, Subjects, carry_out, engines, usable, write_failures


def _squares(task: int) -> Iterator[Any]:
    if task == 2:
        raise ZeroDivisionError("by nothing")
    yield task * task
    if task == 3:
        yield Failure("jpeg", "3", "quality 1", "no")


def _carried_out(**changes: Any) -> tuple[list[int], int, list[Failure], list[str], list[float]]:
    kept: list[int] = []
    lines: list[str] = []
    shares: list[float] = []
    new, failures = carry_out(
        _squares, range(4), total=4, name=str, keep=kept.append, say=lines.append, progress=shares.append, **changes
    )
    return kept, new, failures, lines, shares


def test_rows_are_kept_and_a_failure_costs_its_own() -> None:
    kept, new, failures, lines, shares = _carried_out(engine="serial", processes=8)
    assert kept == [0, 1, 9] and new == 3 and shares == [0.25, 0.5, 0.75, 1.0]
    assert failures == [Failure("", "2", "", "ZeroDivisionError: by nothing"), Failure("jpeg", "3", "quality 1", "no")]
    assert lines[0] == "1/4 0: 1 new row so far, 0 s, about 0 s left"


def test_in_one_process_rows_come_as_they_are_made() -> None:
    kept: list[int] = []

    def slow(task: int) -> Iterator[int]:
        yield task
        assert kept == [task]  # kept before the next one is made
        yield task + 1

    assert carry_out(slow, [5], total=1, name=str, keep=kept.append) == (2, [])


def test_time_left_is_that_of_tasks_that_had_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dpc.evaluation.experiment.tasks.time.monotonic", lambda: now[0])
    lines: list[str] = []

    def work(task: int) -> Iterator[int]:
        if task >= 8:
            now[0] += 15
            yield task

    carry_out(work, range(10), total=10, name=str, keep=lambda row: None, say=lines.append)
    # rows of eight tasks were there already; the ninth took the time, and one like it is left
    assert lines[8:] == [
        "9/10 8: 1 new row so far, 15 s, about 15 s left",
        "10/10 9: 2 new rows so far, 30 s, about 0 s left",
    ]


def test_what_does_not_travel_costs_its_own_task() -> None:
    def local() -> None:
        """Pickle cannot take it."""

    found = dict(engines.work("processes", repr, ["a", local, "b"], 2))
    assert found.pop("a") == "'a'" and found.pop("b") == "'b'" and "local" in found.pop(local) and not found
    assert list(engines.work("processes", repr, [], 2)) == []


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(OptionError, match="serial, processes, ray"):
        list(engines.work("dask", _squares, [1], 1))


def test_failures_are_those_of_the_last_run(tmp_path: Path) -> None:
    file = tmp_path / "failures.csv"
    write_failures(file, [Failure("a,b", 'c"d', "quality 1", "no")])
    assert file.read_text() == 'codec,image,what,reason\n"a,b","c""d",quality 1,no\n'
    write_failures(file, [])
    assert not file.exists()
    write_failures(file, [])


def test_codecs_that_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found, missing = usable(Subjects(("jpeg", "bpg", "jpeg"), {"": (20.0,)}))
    assert list(found) == ["jpeg"] and found["jpeg"].name == "jpeg" and list(missing) == ["bpg"]
    with pytest.raises(ToolMissing, match=r"bellard\.org"):
        usable(Subjects(("bpg",)))
    with pytest.raises(OptionError, match="is no codec"):
        usable(Subjects(("jpeg",), {"jpg": (20.0,)}))


# provenance


def _git(folder: Path, *words: str) -> str:
    about = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/nowhere"]
    done = subprocess.run(["git", "-C", str(folder), *about, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _checkout(root: Path, project: str = provenance.PROJECT) -> Path:
    package = root / "src" / "dpc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (root / "pyproject.toml").write_text(f"[project]\n{project}\n")
    _git(root, "init", "-q")
    _git(root, "add", ".")
    _git(root, "commit", "-q", "-m", "first")
    return package


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _checkout(tmp_path / "here")
    head = _git(tmp_path / "here", "rev-parse", "HEAD")
    assert len(head) == 40 and provenance.commit_of(package) == head
    (tmp_path / "here" / "rows.csv").write_text("a row")  # what is measured is no change of the code
    assert provenance.commit_of(package) == head
    # one of git's hooks names the repository that it runs for
    _checkout(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert provenance.commit_of(package) == head
    (package / "new.py").write_text("1")
    assert provenance.commit_of(package) == f"{head}-dirty"
    (package / "new.py").unlink()
    (package / "__init__.py").write_text("1")
    assert provenance.commit_of(package) == f"{head}-dirty"


@pytest.mark.parametrize("tracked", [False, True])
def test_an_installed_copy_has_not_the_commit_of_the_repository_around_it(tmp_path: Path, tracked: bool) -> None:
    theirs = tmp_path / "theirs"
    _checkout(theirs, 'name = "their-project"')
    installed = theirs / ".venv" / "lib" / "python3.11" / "site-packages" / "dpc"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    if tracked:
        _git(theirs, "add", "-f", ".")
        _git(theirs, "commit", "-q", "-m", "with everything that is installed")
    assert provenance.commit_of(installed) == ""
    # nor has their own folder src/dpc, nor a copy of this repository inside of theirs
    assert provenance.commit_of(theirs / "src" / "dpc") == ""
    copy = theirs / "vendor" / "src" / "dpc"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("")
    (theirs / "vendor" / "pyproject.toml").write_text(f"{provenance.PROJECT}\n")
    _git(theirs, "add", ".")
    _git(theirs, "commit", "-q", "-m", "vendored")
    assert provenance.commit_of(copy) == ""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_this_checkout_knows_its_commit() -> None:
    found = provenance.commit_of(ROOT / "src" / "dpc")
    assert found.removesuffix("-dirty") == _git(ROOT, "rev-parse", "HEAD")
    assert provenance.commit_of(Path(os.devnull)) == ""
