"""The rule that continuous integration skips nothing is itself tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

TESTS = """
import pytest
from paths import needs

@needs("nowhere")
def test_data(): ...

@pytest.mark.xfail
def test_known(): assert False

def test_skips(): pytest.importorskip("no_such_package")
"""


@pytest.mark.parametrize(
    ("setting", "outcome"), [("1", "1 failed, 1 skipped, 1 xfailed"), ("", "2 skipped, 1 xfailed")]
)
def test_a_skip_fails_where_nothing_may_be_skipped(tmp_path: Path, setting: str, outcome: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "DPC_NO_SKIPS": setting}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    alone = subprocess.run([*command, tmp_path / "test_it.py"], env=env, capture_output=True, text=True, timeout=120)
    assert outcome in alone.stdout, alone.stdout
    both = subprocess.run([*command, tmp_path], env=env, capture_output=True, text=True, timeout=120)
    assert ("1 error" in both.stdout) is bool(setting), both.stdout
