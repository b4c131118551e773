"""Every number that a user can give has a limit, and whatever goes wrong is one line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from paths import ROOT
from typer.testing import CliRunner, Result

import dpc
from dpc.cli import app
from dpc.cli.batch import reason
from dpc.cli.options import MAX_THREADS, Number, numbers, parse_crop, parse_size
from dpc.codec.codec import Codec
from dpc.errors import OptionError

MODEL = ROOT / "tests" / "data" / "tiny.dpcmodel"


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="dpc")


def options(group: typer.Typer = app, path: str = "dpc") -> Iterator[tuple[str, Any, Any]]:
    """(name, type, declaration) of every option and argument of every command."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = f"{path} {command.name or command.callback.__name__}"
        for key, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            for inside in (hint, *typing.get_args(hint)):  # Python 3.10 puts an Optional around it
                if typing.get_origin(inside) is Annotated:
                    kind, about = typing.get_args(inside)[:2]
                    yield f"{name} {key}", kind, about
                    break
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from options(inner.typer_instance, f"{path} {inner.name}")


def is_number(kind: Any) -> bool:
    return kind in (int, float) or any(map(is_number, typing.get_args(kind)))


NUMBERS = {name: about for name, kind, about in options() if is_number(kind)}
PARSED = {name: about.parser for name, about in NUMBERS.items() if isinstance(about.parser, Number)}


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_every_number_has_an_upper_bound(name: str) -> None:
    about = NUMBERS[name]
    if about.parser is parse_size or name in PARSED:
        return
    assert about.min is not None and about.max is not None, f"{name}: give min and max, or for a float a Number"
    assert about.max <= 1 << 63 and not about.clamp
    if name.endswith(" threads"):
        assert about.max == MAX_THREADS == 64


def test_all_commands_were_walked() -> None:
    assert len(NUMBERS) > 20 and len(PARSED) > 5
    assert {name.split()[1] for name in NUMBERS} >= {"encode", "decode", "bench", "detect", "study", "train"}


@pytest.mark.parametrize("name", sorted(PARSED))
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "9" * 400, "-1", "many", ""])
def test_numbers_out_of_range_are_wrong_usage(name: str, value: str) -> None:
    with pytest.raises(typer.BadParameter, match="give "):
        PARSED[name](value)


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["encode", "-q", "nan", "a.png"], "--quality"),
        (["encode", "--bpp", "inf", "a.png"], "--bpp"),
        (["encode", "--bpp", "-1", "a.png"], "--bpp"),
        (["encode", "--max-bytes", "9" * 500, "a.png"], "--max-bytes"),
        (["encode", "--threads", "100000", "a.png"], "--threads"),
        (["encode", "--jobs", "100000", "a.png"], "--jobs"),
        (["compare", "--quality", "nan", "a.png"], "--quality"),
        (["train", "dpc", "--data", "d", "--minutes", "nan"], "--minutes"),
    ],
)
def test_the_option_is_named_as_it_was_typed(args: list[str], option: str) -> None:
    result = run(*args)
    assert result.exit_code == 2 and option in result.output, result.output


def test_texts_with_numbers_in_them_have_limits() -> None:
    for text in ("nan", "1,inf", "1e400", "9" * 400):
        with pytest.raises(OptionError, match="--bpp"):
            numbers("--bpp", text)
    for text in ("0", "9" * 15 + "M", "9" * 400):
        with pytest.raises(typer.BadParameter):
            parse_size(text)
    with pytest.raises(typer.BadParameter):
        parse_crop("9999999x1")


def test_the_library_has_the_same_limit_of_threads() -> None:
    with pytest.raises(OptionError, match="threads=65: give 1 to 64"):
        Codec(MODEL, 65)


def test_errors_of_the_library_name_the_option_of_the_command(tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    result = run("encode", tmp_path / "a.png", "--max-bytes", 3)
    assert "--max-bytes 3: " in result.stderr and "max_bytes" not in result.stderr


@pytest.mark.parametrize(("typed", "wanted"), [("dpc en", "encode"), ("dpc encode --max", "--max-bytes")])
def test_the_shell_completes(typed: str, wanted: str) -> None:
    number = len(typed.split()) - 1
    env = {"_DPC_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(number)}
    assert CliRunner().invoke(app, [], prog_name="dpc", env=env).stdout.split() == [wanted]


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'sqlalchemy.orm'", name="sqlalchemy.orm")

    monkeypatch.setattr(dpc, "models", fail)
    wanted = "this needs the package sqlalchemy, which is not installed; pip install '.[all]' brings it"
    assert run("models").stderr == f"dpc: error: {wanted}\n"


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    assert run("inspect", tmp_path).stderr == f"dpc: error: {tmp_path} is a folder; give a file\n"


@pytest.mark.parametrize("kind", [ValueError, KeyError, RecursionError, ZeroDivisionError, AssertionError])
def test_no_traceback_reaches_a_user(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise kind("what\nhappened")

    monkeypatch.setattr(dpc, "models", fail)
    result = run("models")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    line = result.stderr
    assert line.startswith("dpc: error: unforeseen " + kind.__name__) and line.count("\n") == 1
    assert "please report" in line and dpc.__version__ in line


def test_a_shortage_of_memory_names_what_was_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        raise MemoryError

    monkeypatch.setattr(dpc, "models", greedy)
    assert "not enough memory for dpc models" in run("models").stderr
    assert reason(MemoryError(), "for this picture").startswith("there is not enough memory for this picture")
