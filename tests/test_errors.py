"""The exception tree: what is drawn is what there is."""

from __future__ import annotations

import inspect
import re

import pytest

from dpc import errors

WARNINGS = {"PictureWarning"}  # what is not kept of a picture is no error


def _drawn(text: str) -> dict[str, str]:
    """Class name -> parent name, from the tree in a docstring."""
    tree: dict[str, str] = {}
    path: list[str] = []
    for line in text.splitlines():
        match = re.match(r"    ((?:[│ ] {3})*(?:[├└]── )?)([A-Z]\w+)( \(ValueError\))?(?:  |$)", line)
        if match:
            depth = len(match[1]) // 4
            del path[depth:]
            tree[match[2]] = path[-1] if path else "Exception"
            path.append(match[2])
    return tree


def test_the_tree_at_the_top_is_the_tree() -> None:
    classes = {
        name: cls.__bases__[0].__name__
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, Exception) and not issubclass(cls, Warning)
    }
    assert errors.__doc__ is not None
    assert _drawn(errors.__doc__) == classes


def test_the_drawing_is_really_read() -> None:
    assert _drawn("    Top\n    ├── Left     x\n    │   └── Low\n    └── Right    y\n") == {
        "Top": "Exception",
        "Left": "Top",
        "Low": "Left",
        "Right": "Top",
    }


def test_all_names_everything() -> None:
    assert errors.__doc__ is not None
    assert sorted(errors.__all__) == sorted([*_drawn(errors.__doc__), *WARNINGS])
    assert all(name in errors.__doc__ and issubclass(getattr(errors, name), Warning) for name in WARNINGS)


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - WARNINGS))
def test_every_error_is_caught_as_dpc_error_and_says_what_it_is(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, errors.DPCError)
    assert cls.__doc__
    with pytest.raises(errors.DPCError, match="a line"):
        raise cls("a line")


def test_an_option_error_is_a_value_error_and_a_format_error_is_not() -> None:
    assert issubclass(errors.OptionError, ValueError)
    assert not issubclass(errors.FormatError, ValueError)
