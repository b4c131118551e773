"""Models that a user adds: where they go, what is refused, and that their files can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import make_tiny
import pytest

import dpc
from dpc import ModelError, UnknownModel
from dpc.codec import archive, artifact, installed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "data" / "models"
    monkeypatch.setenv("DPC_MODELS", str(place))
    installed.forget()
    yield place
    installed.forget()


def test_a_file_is_read_once_its_model_was_added(folder: Path) -> None:
    data = dpc.Codec(make_tiny.MODEL).encode(make_tiny.MODEL.parent.parent.parent / "demo" / "photo.png")
    with pytest.raises(UnknownModel, match="dpc models add"):
        dpc.decode(data)
    assert dpc.inspect(data).model is None
    about = dpc.add_model(make_tiny.MODEL)
    assert Path(about.path).parent == folder and Path(about.path).read_bytes() == make_tiny.MODEL.read_bytes()
    assert [path.name for path in folder.iterdir()] == [f"{about.name}.dpcmodel"]
    assert about in dpc.models() and not about.default
    assert dpc.inspect(data).model == about.name
    assert dpc.decode(data).size == (451, 300)
    assert len(dpc.encode(dpc.decode(data), model=about.name)) > 0


def test_what_is_installed_stays_as_it_is(folder: Path) -> None:
    (default,) = artifact.released().values()
    assert dpc.add_model(default).path == str(default) and not folder.exists()
    first = dpc.add_model(make_tiny.MODEL)
    stamp = Path(first.path).stat().st_mtime_ns
    assert dpc.add_model(make_tiny.MODEL) == first and Path(first.path).stat().st_mtime_ns == stamp


def test_what_is_not_what_it_claims_is_refused(folder: Path, tmp_path: Path) -> None:
    model = artifact.Artifact(make_tiny.MODEL)
    other = tmp_path / "other.dpcmodel"
    graphs, weights = model._graphs, dict(model.weights)
    name = next(n for n in weights if n.startswith("means."))
    weights[name] = weights[name] + 1
    archive.write(other, model.metadata, graphs, weights, model._tables)
    with pytest.raises(ModelError, match="does not have the identity it claims"):
        dpc.add_model(other)
    with pytest.raises(ModelError, match=r"not a sound model artifact .*fetch it again"):
        dpc.add_model(make_tiny.GOLDEN / "photo.dpc")
    with pytest.raises(ModelError, match=r"cannot read the model .*No such file"):
        dpc.add_model(tmp_path / "none.dpcmodel")
    assert not folder.exists()


@pytest.mark.parametrize("name", [artifact.DEFAULT, "../../evil", "", "a/b", "x" * 65])
def test_a_name_that_is_taken_or_no_file_name_is_not_used(folder: Path, tmp_path: Path, name: str) -> None:
    model = artifact.Artifact(make_tiny.MODEL)
    other = tmp_path / "other.dpcmodel"
    archive.write(other, model.metadata | {"name": name}, model._graphs, model.weights, model._tables)
    assert dpc.add_model(other).path == str(folder / f"model-{model.identity[:8]}.dpcmodel")


def test_identities_that_begin_alike_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dpc.add_model(make_tiny.MODEL)
    real = installed.metadata_of
    monkeypatch.setattr(installed, "metadata_of", lambda path: {"identity": real(path)["identity"][:8] + 56 * "0"})
    with pytest.raises(ModelError, match="have identities that begin alike"):
        dpc.add_model(make_tiny.MODEL)


def test_a_broken_file_in_the_folder_harms_no_other_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "broken.dpcmodel").write_bytes(b"PK no")
    assert dpc.decode(dpc.encode(make_tiny.MODEL.parent.parent.parent / "demo" / "photo.png")).size == (451, 300)
    with pytest.raises(ModelError, match=r"broken.dpcmodel is not a sound model artifact"):
        dpc.models()


def test_the_folder_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DPC_MODELS")
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for system, place in (
        ("linux", ".local/share/dpc/models"),
        ("darwin", "Library/Application Support/dpc/models"),
        ("win32", "dpc/models"),
    ):
        monkeypatch.setattr(artifact.sys, "platform", system)
        assert artifact.folder() == tmp_path / place
    monkeypatch.setattr(artifact.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert artifact.folder() == tmp_path / "xdg" / "dpc" / "models"


def test_a_folder_that_may_not_be_read_holds_no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that runs as another user, with the HOME it was started with: what the package brings works."""

    def refused(place: Path, pattern: str) -> list[Path]:
        if place == artifact.folder():
            raise PermissionError(13, "Permission denied", str(place))
        return list(place.iterdir())

    monkeypatch.setattr(Path, "glob", refused)
    assert artifact.installed() == artifact.released() != {}


def test_every_model_of_the_package_is_known() -> None:
    for name, path in artifact.released().items():
        assert installed.KNOWN.get(artifact.metadata_of(path)["identity"][:8]) == name


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DPC_MODELS", str(tmp_path / "file"))
    with pytest.raises(OSError):
        dpc.add_model(make_tiny.MODEL)
