"""Settings of all tests."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from browsing import browser  # noqa: F401  a fixture
from hypothesis import settings
from paths import NO_DATA

os.environ["DPC_MODELS"] = os.devnull  # no test sees the models that a user added

settings.register_profile("untimed", deadline=None)  # no test fails because a machine is busy
settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of tests/training, and those that drive a browser; leave nightly ones out unless asked for."""
    if "nightly" not in config.option.markexpr:
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]
    training = Path(__file__).parent / "training"
    for item in items:
        if training in item.path.parents:
            item.add_marker("training")
        if item.path.name == "test_study_browser.py" or "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def _unexpected(report: Any) -> bool:
    """Whether a test or a file of tests was skipped although DPC_NO_SKIPS is set and no reference data is missing."""
    skipped = report.outcome == "skipped" and not hasattr(report, "wasxfail")
    return skipped and bool(os.environ.get("DPC_NO_SKIPS")) and NO_DATA not in str(report.longrepr)


def _fail(report: Any) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, but with DPC_NO_SKIPS nothing is: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report: Any = yield
    if _unexpected(report):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report: Any = yield
    if _unexpected(report):
        _fail(report)
    return report
