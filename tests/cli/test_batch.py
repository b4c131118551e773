"""Many pictures in one command: folders, lists, tables, processes, a cluster, and what goes wrong on the way."""

from __future__ import annotations

import csv
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from typer.testing import CliRunner, Result

import dpc
from dpc.cli import app, batch, codec
from dpc.cli.inputs import Job, is_picture, plan

ENV = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="dpc")


def picture(path: Path, seed: int = 0, side: int = 32) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# folders


def test_every_picture_of_a_folder_is_taken_and_the_rest_is_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for ending in ("jpg", "avif", "gif", "jp2", "jfif", "png", "tif", "webp", "bmp", "ico"):
        picture(photos / f"{ending}.{ending}")
    shutil.copy(photos / "png.png", photos / "without")
    shutil.copy(photos / "jpg.jpg", photos / "odd.jpg_large")
    (photos / "notes.txt").write_text("no picture")
    (photos / "old.dpc").write_bytes(b"")
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "link").symlink_to(tmp_path)
    result = run("encode", photos, "--out-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    taken = ("avif", "bmp", "gif", "ico", "jfif", "jp2", "jpg", "odd", "png", "tif", "webp", "without")
    assert names(tmp_path / "out") == [f"{name}.dpc" for name in taken]
    line = result.stderr.strip()
    assert line.startswith("left out, 4 files (")
    assert all(name in line for name in ("notes.txt", "old.dpc", ".hidden.png", "photos/link"))


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    (tmp_path / "photos").mkdir()
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 100, 50))).save(tmp_path / "photos" / "a.heic")
    script = "import dpc, sys; print(dpc.decode(dpc.encode(sys.argv[1])).size)"  # where nothing else has loaded it
    file = tmp_path / "photos" / "a.heic"
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, env=ENV)
    assert done.stdout == "(64, 48)\n", done.stderr
    assert is_picture(str(file))


def test_no_folder_is_made_when_nothing_comes_out(tmp_path: Path) -> None:
    assert run("encode", tmp_path / "missing", "--out-dir", tmp_path / "new").exit_code == 1
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert run("encode", tmp_path / "bad.png", "--out-dir", tmp_path / "new").exit_code == 1
    assert names(tmp_path) == ["bad.png"] and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "locked").mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = run("encode", tmp_path / "in", "--out-dir", tmp_path / "out")
    assert result.exit_code == 1 and "locked: Permission denied" in result.stderr
    assert names(tmp_path / "out") == ["a.dpc"]


def test_a_second_run_says_what_the_first_could_not_do(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    picture(photos / "a.jpg")
    (photos / "b.png").write_bytes(b"no picture")
    for _ in range(2):
        result = run("encode", photos, "--out-dir", tmp_path / "out", "--skip-existing")
        assert result.exit_code == 1
        assert "a.png: " in result.stderr and "already holds the output of" in result.stderr
        assert "b.png is in no format" in result.stderr
        assert names(tmp_path / "out") == ["a.dpc"]


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, RecursionError, MemoryError, AttributeError, SyntaxError])
def test_whatever_exception_costs_one_picture(
    tmp_path: Path, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [picture(tmp_path / f"{name}.png", seed) for seed, name in enumerate("abc")]
    real = dpc.encode

    def encode(source: str, **options: Any) -> bytes:
        if source.endswith("b.png"):
            raise kind("Error setting\nfrom dictionary")
        return real(source, **options)

    monkeypatch.setattr(dpc, "encode", encode)
    result = run("encode", *paths, "--out-dir", tmp_path / "out")
    assert result.exit_code == 1 and names(tmp_path / "out") == ["a.dpc", "c.dpc"]
    line = result.stderr.strip()
    assert "\n" not in line and line.startswith(f"dpc: error: {paths[1]}: ") and "Traceback" not in line
    if kind is MemoryError:
        assert "not enough memory for this picture" in line
    else:
        assert f"unforeseen {kind.__name__}" in line and "Error setting" in line and "report" in line


# pipes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_named_pipe_is_read_once(command: str, tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    data = source.read_bytes() if command == "encode" else dpc.encode(source)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
    writer.start()
    target = tmp_path / ("out.dpc" if command == "encode" else "out.png")
    script = [sys.executable, "-m", "dpc", command, str(pipe), str(target)]
    done = subprocess.run(script, capture_output=True, text=True, env=ENV, timeout=300)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 0
    result = run(command, pipe)
    assert result.exit_code == 2 and "name the output" in " ".join(result.output.split())


# lists


def test_a_list_says_which_picture_how_and_where(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "b.png")
    rows = ["input,output,quality,max_bytes,camera", "in/a.png,,,,x", "b.png,deep/er/b.dpc,90,,y", "b.png,,,1000,z"]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    result = run("encode", "--list", tmp_path / "list.csv", "--out-dir", tmp_path / "out", "-q", "10")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["b.dpc", "deep/er/b.dpc", "in/a.dpc"]
    assert dpc.inspect(tmp_path / "out" / "in" / "a.dpc").quality == pytest.approx(10, abs=0.2)
    assert dpc.inspect(tmp_path / "out" / "deep" / "er" / "b.dpc").quality == pytest.approx(90, abs=0.2)
    assert (tmp_path / "out" / "b.dpc").stat().st_size <= 1000


def test_the_table_names_inputs_as_the_list_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    Path("list.csv").write_text("input\na.png\n")
    assert run("encode", "--list", "list.csv", "--out-dir", "out", "--table", "t.csv").exit_code == 0
    assert Path("t.csv").read_text().splitlines()[1].startswith("a.png,out/a.dpc,")


def test_a_list_may_be_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    picture(tmp_path / "a.png")
    rows = pyarrow.table({"input": ["a.png"], "quality": [7.0], "other": [[1, 2]]})
    parquet.write_table(rows, tmp_path / "list.parquet")
    result = run("encode", "--list", tmp_path / "list.parquet", "--out-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert dpc.inspect(tmp_path / "out" / "a.dpc").quality == pytest.approx(7, abs=0.2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture\na.png\n", "lacks the columns input"),
        ("input,quality\na.png,nan\n", "line 2, quality"),
        ("input,quality\na.png,101\n", "less than or equal to 100"),
        (f"input,max_bytes\na.png,{'9' * 400}\n", "max_bytes"),
        ("input,quality,bpp\na.png,1,1\n", "exclude each other"),
        ("input,output\na.png,../../a.dpc\n", "leaves --out-dir"),
        ("input,output\na.png,/tmp/a.dpc\n", "leaves --out-dir"),
        ("input,output\na.png,a.jpg\n", "does not end in .dpc"),
        ("input\na.png,b\n", "2 cells under 1 column names"),
        ('input\n"a.png\n', "not CSV in UTF-8"),
        ("input,input\na,b\n", "a column twice"),
        (f"input\n{'x' * 100000}\n", "field larger than field limit"),
        ("", "lacks the columns input"),
        ("input\n", "lists no pictures"),
    ],
)
def test_a_list_that_is_wrong_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    result = run("encode", "--list", tmp_path / "list.csv", "--out-dir", tmp_path / "out")
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.output.replace("│", " ").split()) and "list.csv" in result.output
    assert not (tmp_path / "out").exists()


def test_a_list_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("input\nä.png\n".encode("utf-16"))
    result = run("encode", "--list", tmp_path / "list.csv", "--out-dir", tmp_path / "out")
    assert result.exit_code == 1 and "UTF-8" in result.stderr and result.stderr.count("\n") == 1


# the table, and going on


def test_the_table_has_a_row_for_every_input(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    (photos / "b.png").write_bytes(b"no picture")
    args = ("encode", photos, "--out-dir", tmp_path / "out", "--table", tmp_path / "t.csv")
    assert run(*args).exit_code == 1
    rows = {Path(row["input"]).name: row for row in table(tmp_path / "t.csv")}
    size = (tmp_path / "out" / "a.dpc").stat().st_size
    assert int(rows["a.png"]["bytes"]) == size and float(rows["a.png"]["quality"]) == pytest.approx(40, abs=0.2)
    assert float(rows["a.png"]["seconds"]) > 0 and rows["a.png"]["error"] == ""
    assert "in no format" in rows["b.png"]["error"] and rows["b.png"]["bytes"] == ""
    assert "exists; -f overwrites it" in run(*args).stderr  # the table

    # a row that a kill cut off, an output without its row, and a failure that is tried again
    text = (tmp_path / "t.csv").read_text()
    for broken in (text, text[: text.index("\n") + 1], text[:-5], text.splitlines()[0] + "\n" + str(photos)):
        (tmp_path / "t.csv").write_text(broken)
        before = (tmp_path / "out" / "a.dpc").stat().st_mtime_ns
        assert run(*args, "--skip-existing").exit_code == 1
        assert (tmp_path / "out" / "a.dpc").stat().st_mtime_ns == before
        rows = {Path(row["input"]).name: row for row in table(tmp_path / "t.csv")}
        assert len(table(tmp_path / "t.csv")) == 2 and int(rows["a.png"]["bytes"]) == size and rows["b.png"]["error"]

    (tmp_path / "out" / "a.dpc").unlink()  # what the table says to be done but is not there is done again
    run(*args, "--skip-existing")
    assert (tmp_path / "out" / "a.dpc").stat().st_size == size and len(table(tmp_path / "t.csv")) == 2
    (tmp_path / "notes.csv").write_text("mine\n")
    result = run("encode", photos, "--out-dir", tmp_path / "out", "--table", tmp_path / "notes.csv", "--skip-existing")
    assert "is no table of results" in result.stderr and (tmp_path / "notes.csv").read_text() == "mine\n"


KILLED = """
import os, signal, sys
from dpc.cli import main, results
add = results.Results.add
def fatal(self, done):
    add(self, done)
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    left = 6
    results.Results.add = fatal
    main()
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_and_redoes_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for seed in range(20):
        picture(photos / f"{seed:02}.png", seed)
    (tmp_path / "killed.py").write_text(KILLED)
    args = [
        "encode",
        str(photos),
        "--out-dir",
        str(tmp_path / "out"),
        "--table",
        str(tmp_path / "t.csv"),
        "--jobs",
        "2",
    ]
    first = subprocess.run([sys.executable, str(tmp_path / "killed.py"), *args], env=ENV, capture_output=True)
    assert first.returncode == -signal.SIGKILL, first.stderr
    deadline = time.monotonic() + 60
    while _children_of(tmp_path) and time.monotonic() < deadline:  # the workers end after the picture in hand
        time.sleep(0.2)
    assert not _children_of(tmp_path)
    there = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert 6 <= len(there) < 20 and not any(name.endswith(".part") for name in there)
    second = subprocess.run(
        [sys.executable, "-m", "dpc", *args, "--skip-existing"], env=ENV, capture_output=True, text=True
    )
    assert second.returncode == 0, second.stderr
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == when for name, when in there.items())
    rows = table(tmp_path / "t.csv")
    assert len(rows) == len({row["input"] for row in rows}) == 20
    for row in rows:
        assert Path(row["output"]).stat().st_size == int(row["bytes"]) and not row["error"]
        assert Path(row["output"]).read_bytes() == dpc.encode(row["input"], threads=1)


def _children_of(folder: Path) -> list[str]:
    """Processes that were started by the killed script, and its workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if str(folder).encode() in about or os.readlink(entry / "cwd") == str(folder):
                found.append(entry.name)
        except OSError:
            continue
    return found


# side by side


class Dangerous:
    """Work whose failures are as bad as they get."""

    def __call__(self, job: Job, progress: Any) -> batch.Output:
        name = Path(job.source).stem
        if name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "fails":
            raise KeyError("no such thing")
        return batch.Output(name.encode(), "fine")

    def check(self, source: str) -> None:
        """All are taken."""

    def on_one_core(self) -> Dangerous:
        return self


class Lost(Dangerous):
    """A process that dies when its output is there, and its result is not."""

    def __call__(self, job: Job, progress: Any) -> batch.Output:
        written = Path(job.target)
        if not written.exists():
            written.parent.mkdir(exist_ok=True)
            written.write_bytes(b"by the process that died")
            os.kill(os.getpid(), signal.SIGKILL)
        return batch.Output(b"made again", "fine")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_an_output_whose_result_was_lost_is_made_again(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", Path(__file__).parent))))
    if engine == "ray":
        pytest.importorskip("ray")
    for name in ("a", "b"):
        picture(tmp_path / "in" / f"{name}.png")
    inputs = plan([str(tmp_path / "in")], str(tmp_path / "out"), "dpc", ["dpc"], is_picture)
    batch.run(inputs, Lost(), jobs=2, engine=engine)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == dict.fromkeys(
        ("a.dpc", "b.dpc"), b"made again"
    )
    assert "error" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_a_worker_that_dies_costs_its_own_picture(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", Path(__file__).parent))))
    if engine == "ray":
        pytest.importorskip("ray")
    for name in ["dies", "fails", *(f"{i:02}" for i in range(10))]:
        picture(tmp_path / "in" / f"{name}.png")
    inputs = plan([str(tmp_path / "in")], str(tmp_path / "out"), "dpc", ["dpc"], is_picture)
    import typer

    with pytest.raises(typer.Exit):
        batch.run(inputs, Dangerous(), jobs=2, engine=engine)
    assert names(tmp_path / "out") == [f"{i:02}.dpc" for i in range(10)]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dpc: error")]
    assert len(lines) == 2 and any("dies.png" in x for x in lines) and any("unforeseen KeyError" in x for x in lines)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_many_pictures_give_the_same_files_by_every_engine(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    if engine == "ray":
        pytest.importorskip("ray")
    photos = tmp_path / "photos"
    for seed in range(6):
        picture(photos / f"{seed}.png", seed)
    (photos / "bad.png").write_bytes(b"no picture")
    options = ("--jobs", "2", "--engine", engine, "--table", tmp_path / "t.csv")
    result = run("encode", photos, "--out-dir", tmp_path / "out", *options)
    assert result.exit_code == 1 and "bad.png is in no format" in result.stderr, result.output
    assert len(table(tmp_path / "t.csv")) == 7
    for seed in range(6):
        assert (tmp_path / "out" / f"{seed}.dpc").read_bytes() == dpc.encode(photos / f"{seed}.png", threads=1)


def test_places_of_fsspec_are_read_and_written(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/deep/a.png", picture(tmp_path / "a.png").read_bytes())
    memory.pipe_file("/in/notes.txt", b"text")
    try:
        result = run("encode", "memory://in", "--out-dir", "memory://out")
        assert result.exit_code == 0, result.output
        assert "left out, 1 files" in result.stderr and "notes.txt" in result.stderr
        assert memory.cat_file("/out/deep/a.dpc") == dpc.encode(tmp_path / "a.png")
        assert "exists; -f overwrites it" in run("encode", "memory://in", "--out-dir", "memory://out").stderr
        assert run("encode", "memory://in", "--out-dir", "memory://out", "--skip-existing").exit_code == 0
        result = run("decode", "memory://out/deep/a.dpc", "--out-dir", tmp_path / "back")
        assert result.exit_code == 0 and (tmp_path / "back" / "a.png").exists()
        result = run("encode", "memory://in/missing.png", "--out-dir", tmp_path / "back")
        assert result.exit_code == 1 and result.stderr.count("\n") == 1, result.stderr
        result = run("encode", "nonsense://in/a.png", "--out-dir", tmp_path / "back")
        assert result.exit_code == 1 and "Traceback" not in result.output
    finally:
        memory.rm("/", recursive=True)


def test_the_work_travels_to_other_processes() -> None:
    for work in (
        codec._Encode({"bpp": 1.0}, {"threads": None}),
        codec._Decode("png", (0, 0, 8, 8), False, 1000, None, 3),
    ):
        assert pickle.loads(pickle.dumps(work)) == work
    assert codec._Encode({}, {"threads": None}).on_one_core().options["threads"] == 1
    assert codec._Decode(None, None, False, 1000, None, 3).on_one_core().threads == 3


def test_a_line_of_progress_has_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with batch.Bar(1010, spoken=True) as bar:
        bar.start(10)
        for _ in range(250):
            now[0] += 0.1
            bar.done()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].endswith(" a second, about 90 s left") and " of 1,010, 10 " in lines[0]


def test_a_model_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / "in" / f"{seed}.png")
    result = run("encode", tmp_path / "in", "--out-dir", tmp_path / "out", "--model", "nothing")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
