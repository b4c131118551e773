"""The protocol of earlier codecs with the smallest codec there can be, its stream, its files of weights."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dpc.errors import (
    Corrupt,
    DPCError,
    FormatError,
    ImageError,
    ModelError,
    OptionError,
    TooLarge,
    Truncated,
    UnknownModel,
    WrongModel,
)
from dpc.networks.earlier import protocol, stream
from dpc.networks.earlier.checkpoint import load, save
from dpc.networks.earlier.protocol import EarlierCodec, Forward, make, padded

IDENTITY = "0123456789abcdef" * 4
SIZES = [(1, 1), (1, 9), (16, 16), (70, 131), (33, 2)]


class Levels(EarlierCodec):
    """Rounds pixels to multiples of a step; a byte for each."""

    kind = "levels"
    stride = 16

    def __init__(self, start: float = 0.125, shape: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.step = torch.nn.Parameter(torch.full(tuple(shape), start))
        self.register_buffer("seen", torch.tensor(0.1))

    def forward(self, x: Tensor) -> Forward:
        return Forward((x / self.step).round() * self.step, x.new_full((len(x),), 8.0 * x[0].numel()))

    def payload(self, x: Tensor) -> list[bytes]:
        return [bytes(row.round().byte().numpy().tobytes()) for row in x[0] / self.step]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        if any(len(part) != height * width for part in parts) or len(parts) != 3:
            raise Corrupt("levels: not one byte for each value")
        return torch.tensor(np.frombuffer(b"".join(parts), np.uint8)).reshape(1, 3, height, width) * self.step


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(protocol._CLASSES, "levels", Levels)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_picture_of_any_size_comes_back_as_forward_gives_it(height: int, width: int) -> None:
    codec = make("levels")
    codec.update()
    rgb = picture(height, width)
    decoded = codec.decompress(codec.compress(rgb))
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    expected = codec(padded(x, 16)).x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round()
    assert np.array_equal(decoded, expected.permute(1, 2, 0).byte().detach().numpy())


def test_sizes_are_kept_with_defaults_and_wrong_ones_are_one_line() -> None:
    assert make("levels", start=0.5).sizes == {"start": 0.5, "shape": (1,)}
    with pytest.raises(OptionError, match="takes start, shape"):
        make("levels", steps=3)
    with pytest.raises(OptionError, match="'nobody' is unknown; choose from .*levels"):
        make("nobody")


def test_stale_tables_refuse_to_code() -> None:
    codec = make("levels")
    with pytest.raises(ModelError, match=r"update\(\) first"):
        codec.compress(picture(2, 2))
    codec.update()
    first = codec.identity
    codec.train()
    with pytest.raises(ModelError, match=r"update\(\) first"):
        codec.compress(picture(2, 2))
    codec.update()
    assert codec.identity == first
    codec.load_state_dict(make("levels", start=0.25).state_dict())
    with pytest.raises(ModelError, match=r"update\(\) first"):
        codec.decompress(b"")
    codec.update()
    assert codec.identity != first


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
def test_what_is_no_picture_is_one_line(bad: np.ndarray) -> None:
    codec = make("levels")
    codec.update()
    with pytest.raises(ImageError, match="picture"):
        codec.compress(bad)


def test_another_model_is_told() -> None:
    one, other = make("levels"), make("levels", start=0.25)
    one.update()
    other.update()
    with pytest.raises(WrongModel, match=f"not with {other.identity[:8]}"):
        other.decompress(one.compress(picture(2, 2)))


def test_a_stream_comes_back_and_any_change_is_noticed() -> None:
    data = stream.pack(IDENTITY, 300, 70000 // 2, [b"ab", b"", b"c" * 200])
    assert stream.unpack(data, IDENTITY) == (300, 35000, [b"ab", b"", b"c" * 200])
    for at in range(len(data)):
        with pytest.raises(FormatError):
            stream.unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], IDENTITY)
        with pytest.raises(FormatError):
            stream.unpack(data[:at], IDENTITY)


def _sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


HEAD = stream.MAGIC + bytes.fromhex(IDENTITY)[:4]


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"\x89DPC" + bytes(20), FormatError, "no file of an earlier codec"),
        (stream.MAGIC + b"\x01", Truncated, "after 5 bytes"),
        (_sealed(HEAD + bytes([0, 1, 0])), Corrupt, "1x0 pixels"),
        (_sealed(HEAD + bytes([1, 0x80, 0x80, 4, 0])), TooLarge, "65536x1 pixels"),
        (_sealed(HEAD + bytes([1, 1, 2, 1])), Corrupt, "does not end"),
        (_sealed(HEAD + bytes([1, 1, 1, 3, 0])), Corrupt, "take 3 bytes, 1 are there"),
        (_sealed(HEAD + bytes([1, 1, 0, 0])), Corrupt, "take 0 bytes, 1 are there"),
        (_sealed(HEAD + b"\xff" * 6), Corrupt, "more than 5 bytes"),
    ],
)
def test_a_faulty_header_is_one_line(data: bytes, error: type[DPCError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        stream.unpack(data, IDENTITY)
    assert "\n" not in str(caught.value)


def test_what_a_stream_cannot_hold_is_refused() -> None:
    with pytest.raises(TooLarge, match="65536x1"):
        stream.pack(IDENTITY, 1, 65536, [])
    with pytest.raises(OptionError, match="256 parts"):
        stream.pack(IDENTITY, 1, 1, [b""] * 256)


def test_saved_weights_come_back_ready_to_code(tmp_path: Path) -> None:
    codec = make("levels", start=0.1, shape=[1])
    save(tmp_path / "w.pt", codec, {"recipe": {"name": "r"}})
    loaded, about = load(tmp_path / "w.pt")
    assert about == {"recipe": {"name": "r"}}
    assert loaded.sizes == codec.sizes
    state = loaded.state_dict()
    assert state["step"].dtype == torch.float32
    assert state["step"].item() == torch.tensor(0.1).half().item()
    assert state["seen"].item() == torch.tensor(0.1).item(), "buffers stay exact"
    rgb = picture(5, 6)
    again = load(tmp_path / "w.pt")[0]
    assert np.array_equal(again.decompress(loaded.compress(rgb)), loaded.decompress(loaded.compress(rgb)))


def test_exact_parameters_stay_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Levels, "exact", ("ste",))
    save(tmp_path / "w.pt", make("levels", start=0.1), {})
    assert load(tmp_path / "w.pt")[0].state_dict()["step"].item() == torch.tensor(0.1).item()


def test_unsound_weights_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="step are not finite"):
        save(tmp_path / "w.pt", make("levels", start=1e6), {})
    with pytest.raises(ModelError, match=r"make\('levels'"):
        save(tmp_path / "w.pt", Levels(), {})
    assert not list(tmp_path.iterdir())


def test_files_that_hold_no_codec_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with pytest.raises(UnknownModel, match="No such file"):
        load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a file of weights"):
        load(path)
    torch.save({"step": 1}, path)
    with pytest.raises(ModelError, match="no earlier codec"):
        load(path)
    save(path, make("levels"), {})
    found = torch.load(path, weights_only=True)
    for change in ({"kind": "nobody"}, {"sizes": '{"a": 1}'}, {"sizes": "{"}, {"state": {}}, {"state": None}):
        torch.save(found | change, path)
        with pytest.raises(ModelError, match="does not fit its kind") as caught:
            load(path)
        assert "\n" not in str(caught.value)
