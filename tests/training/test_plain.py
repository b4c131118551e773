"""Plain ground stays plain: single steps of the last layer's integers."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from trainings import NETWORK  # noqa: E402

pytest.importorskip("onnx")

from dpc.networks.model import Model  # noqa: E402
from dpc.training.export import plain  # noqa: E402


def test_plain_ground_gets_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4x4 cells, which a last layer of random weights draws, a far larger one than a trained one's."""
    monkeypatch.setattr(plain, "MOST", 100)
    torch.manual_seed(3)
    model = Model(replace(NETWORK, widths=(16, 16, 24))).eval().requires_grad_(False)
    model.start_from_wavelet([torch.rand(1, 3, 256, 256)], torch.logspace(-0.5, -1.5, 8))
    model.g_s.leave.weight.normal_(std=0.004)
    spread = plain.settle(model)
    assert spread[0] > 1 and spread[1] < 0.35 * spread[0]
    weight, _, exponents = model.g_s.leave.integers()
    assert torch.equal(weight * 2.0 ** -exponents[:, None, None, None].float(), model.g_s.leave.weight)
    again = plain.settle(model)
    assert again[0] == pytest.approx(spread[1], rel=0.1)
    assert again[1] <= again[0]


def test_moves_take_the_error_away() -> None:
    change = torch.tensor([[1.0, 0.0], [0.0, 0.25]])
    error = torch.tensor([-2.0, 0.5])
    assert sorted(plain._moves(change, error)) == [(0, 1), (0, 1), (1, -1), (1, -1)]
    assert error.tolist() == [0.0, 0.0]
