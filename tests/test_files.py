"""atomic_write: whole or not at all, whatever else is in the folder and however it ends."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from paths import ROOT

from dpc.files import atomic_write, csv_text


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_bytes_text_and_functions(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", b"\x00\xff")
    atomic_write(tmp_path / "b", "ä\n")
    atomic_write(str(tmp_path / "c"), lambda file: file.write(b"see") and file.seek(0) or file.write(b"S"))
    assert contents(tmp_path) == {"a": b"\x00\xff", "b": "ä\n".encode(), "c": b"See"}
    atomic_write(tmp_path / "a", csv_text(("x", "y"), [(1, "p,q"), (None, "$")]))
    assert (tmp_path / "a").read_bytes() == b'x,y\n1,"p,q"\n,$\n'


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_file_has_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        atomic_write(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_existing_file_is_replaced_only_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write(tmp_path / "a", b"old")
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "a", b"new", overwrite=False)
    assert contents(tmp_path) == {"a": b"old"}
    atomic_write(tmp_path / "b", b"new", overwrite=False)
    atomic_write(tmp_path / "a", b"new")

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "b", b"third", overwrite=False)
    atomic_write(tmp_path / "c", b"new", overwrite=False)
    assert contents(tmp_path) == dict.fromkeys("abc", b"new")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_exception_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    atomic_write(tmp_path / "a", b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        assert len(contents(tmp_path)) == 2  # it does lie beside its place now
        raise error

    with pytest.raises(error):
        atomic_write(tmp_path / "a", fail)
    assert contents(tmp_path) == {"a": b"old"}


def test_a_link_is_followed_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    (tmp_path / "a").symlink_to("real/a")
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "real" / "a").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "a", b"")


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append(f"sync {os.fstat(number).st_size}"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), rename(a, b)))
    atomic_write(tmp_path / "a", lambda file: file.write(b"12345"))
    assert events == ["sync 5", "rename"]


def test_a_planted_link_is_neither_followed_nor_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when its name was guessed, which `secrets` leaves to chance."""
    (tmp_path / "victim").write_bytes(b"precious")
    monkeypatch.setattr(secrets, "token_hex", lambda n: "guessed")
    (tmp_path / ".dpc-guessed.part").symlink_to("victim")
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious" and (tmp_path / ".dpc-guessed.part").is_symlink()
    assert not (tmp_path / "a").exists()


def test_names_differ_between_processes_of_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers that share a folder both have process 1: neither writes into the other's file."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names: list[set[str]] = []

    def outer(file: BinaryIO) -> None:
        file.write(b"red")
        atomic_write(tmp_path / "b", lambda inner: (names.append(set(os.listdir(tmp_path))), inner.write(b"blue")))

    atomic_write(tmp_path / "a", outer)
    assert len(names[0]) == 2
    assert contents(tmp_path) == {"a": b"red", "b": b"blue"}


ENDLESS = """
import signal, sys, time
from dpc.files import atomic_write
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
def write(file):
    file.write(b"half"); file.flush(); print("begun", flush=True)
    time.sleep(60)
atomic_write(sys.argv[1], write)
"""


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert child.stdout is not None and child.stdout.readline() == b"begun\n"
    assert len(contents(tmp_path)) == 1
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM
    assert contents(tmp_path) == {}
