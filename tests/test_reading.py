"""Files that people write: whatever is wrong with one is one line that names the file, the place and the limit."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from paths import ROOT
from pydantic import BaseModel, ConfigDict, Field

from dpc.errors import OptionError
from dpc.reading import MAX_CONFIG, read_csv, read_json, read_toml, table


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(ge=1, le=100)


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    name: str = Field(max_length=10)
    rate: float = Field(gt=0, le=10)
    parts: list[Inner] = []


class Line(BaseModel):
    name: str
    count: int = Field(ge=0, le=1000)
    note: str | None = None


def test_a_sound_file_is_an_instance(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "x"\nrate = 1\n[[parts]]\nsize = 3\n')
    (tmp_path / "a.json").write_text('{"name": "x", "rate": 1.0, "parts": [{"size": 3}]}')
    wanted = Plan(name="x", rate=1, parts=[Inner(size=3)])
    assert read_toml(tmp_path / "a.toml", Plan) == read_json(tmp_path / "a.json", Plan) == wanted
    assert table(tmp_path / "a.toml") == table(tmp_path / "a.json")
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfname,count,other\r\na,1,x\r\n\r\n"b,\nc",2,\r\n')
    assert list(read_csv(tmp_path / "a.csv", Line)) == [Line(name="a", count=1), Line(name="b,\nc", count=2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate = 1", ("name", "required")),
        ("name = 1\nrate = 1", ("name", "string")),
        ('name = "x"\nrate = 0', ("rate", "greater than 0")),
        ('name = "x"\nrate = nan', ("rate", "finite")),
        ('name = "x"\nrate = inf', ("rate",)),
        (f'name = "x"\nrate = {"9" * 400}', ("rate",)),
        (f'name = "x"\nrate = {"9" * 5000}', ("is not TOML",)),
        (f'name = "{"x" * 500}"\nrate = 1', ("name", "10 characters", "...")),
        ('name = "x"\nrate = 1\n[[parts]]\nsize = 101', ("parts.0.size", "100")),
        ('name = "x"\nrate = 1\n[[parts]]\nsise = 1', ("parts.0", "1 more fault")),
        ('name = "x"\nrate = 1\nparts = ' + "[" * 40 + "]" * 40, ("nests deeper than 32",)),
        ('name = "x"\nrate = 1\nparts = ' + "[" * 100_000, ("TOML",)),
        ("name = ", ("is not TOML",)),
        ("x" * (MAX_CONFIG + 1), ("the most that is read",)),
    ],
)
def test_whatever_is_wrong_is_one_line(text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(OptionError) as caught:
        read_toml(path, Plan)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < len(str(path)) + 400
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "JSON"),
        ('{"rate": NaN}', "NaN"),
        ("[1]", "it is .1."),
        ('{"rate": 1e999}', "rate"),
    ],
)
def test_json_too(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(OptionError, match=words) as caught:
        read_json(tmp_path / "plan.json", Plan)
    assert "\n" not in str(caught.value) and "plan.json" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_told(encoding: str, tmp_path: Path) -> None:
    for name in ("a.toml", "a.json", "a.csv"):
        (tmp_path / name).write_bytes('name = "é"'.encode(encoding))
        with pytest.raises(OptionError, match="UTF-8"):
            list(read_csv(tmp_path / name, Line)) if name == "a.csv" else table(tmp_path / name)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OptionError, match="cannot be read"):
            read_toml(path, Plan)
        with pytest.raises(OptionError, match="cannot be read"):
            list(read_csv(path, Line))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\na\n", "lacks the columns count"),
        ("name,count\na,b\n", "line 2, count"),
        ("name,count\na,1\nb,1001\n", "line 3, count: .*1000"),
        ("name,count\na\n", "line 2: 1 cells under 2"),
        ("name,count,count\na,1,2\n", "a column twice"),
        ("name,count\na," + "9" * 400 + "\n", "line 2, count"),
        ("name,count\n" + "a" * 70_000 + ",1\n", "field larger than field limit"),
        ("name,count\na,1\nb,1\nc,1\n", "more than 2 rows"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(OptionError, match=words) as caught:
        list(read_csv(tmp_path / "a.csv", Line, most=2))
    assert "\n" not in str(caught.value) and "a.csv" in str(caught.value)


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,count\n" + "a,1\n" * 100_000)
    tracemalloc.start()
    assert sum(row.count for row in read_csv(tmp_path / "a.csv", Line)) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_runtime_loads_no_pydantic() -> None:
    script = (
        "import sys, numpy, dpc, dpc.cli.main, dpc.reading; "
        "dpc.decode(dpc.encode(numpy.zeros((32, 32, 3), numpy.uint8))); sys.exit('pydantic' in sys.modules)"
    )
    env = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
