"""Rows that were recorded under older names of columns are read as they are."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from paths import ROOT

from dpc.evaluation.compression import rows
from dpc.evaluation.experiment.cells import RENAMED, lines


def test_old_columns_have_their_new_names() -> None:
    assert list(lines("codec,goal\nx,0.25\n")) == [(2, {"codec": "x", "target": "0.25"})]


def test_kept_rows_are_read_and_written_under_the_new_names(tmp_path: Path) -> None:
    text = (ROOT / "results" / "set5" / "rows.csv").read_text(encoding="utf-8")
    head, _, below = text.partition("\n")
    assert head.split(",")[9] == "target" == RENAMED["goal"]
    kept = tmp_path / "old.csv"
    kept.write_text(head.replace(",target,", ",goal,") + "\n" + below, encoding="utf-8")
    found = rows.read(kept)
    assert len(found) == len(list(csv.reader(below.splitlines()))) and {row.target for row in found} > {None, 0.25}
    rows.write(tmp_path / "rows.csv", found)
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")[9] == "target"
    assert repr(rows.read(tmp_path / "rows.csv")) == repr(found)


def test_rows_in_parquet_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    found = rows.read(ROOT / "results" / "set5" / "rows.csv")[:3]
    rows.write_parquet(tmp_path / "new.parquet", found)
    table = parquet.read_table(tmp_path / "new.parquet")
    older = table.rename_columns(["goal" if name == "target" else name for name in table.column_names])
    parquet.write_table(older, tmp_path / "old.parquet")
    assert pyarrow.__version__ and repr(rows.read(tmp_path / "old.parquet")) == repr(found)
