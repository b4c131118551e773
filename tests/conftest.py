"""Settings of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no test fails because a machine is busy
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/training, and those that drive a browser."""
    training = Path(__file__).parent / "training"
    for item in items:
        if training in item.path.parents:
            item.add_marker("training")
        if item.path.name == "test_study_browser.py" or "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
