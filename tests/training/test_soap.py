"""The optimiser SOAP: Adam where it is told to be, better than Adam where the axes are turned, its state whole."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from dpc.training.optimisers import soap  # noqa: E402
from dpc.training.optimisers.soap import SOAP  # noqa: E402

Loss = Callable[[Any], Any]


def turned_bowl(m: int, n: int, seed: int = 0) -> Loss:
    """A quadratic of an (m, n) matrix whose axes are turned on both sides, curvatures from 1 to 1e6."""
    torch.manual_seed(seed)
    left = torch.linalg.qr(torch.randn(m, m))[0]
    right = torch.linalg.qr(torch.randn(n, n))[0]
    curve = torch.logspace(0, 3, m)[:, None] * torch.logspace(0, 3, n)[None, :]
    return lambda w: 0.5 * (curve * (left @ w.reshape(m, n) @ right).square()).sum()


def descend(make: Callable[[list[Any]], Any], loss: Loss, start: Any, steps: int) -> float:
    """The loss after some steps with a learning rate that falls to zero."""
    w = torch.nn.Parameter(start.clone())
    optimiser = make([w])
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        optimiser.zero_grad()
        loss(w).backward()
        optimiser.step()
    return float(loss(w).detach())


def test_it_sees_turned_axes_that_adam_does_not() -> None:
    loss, start = turned_bowl(12, 20), torch.randn(12, 20)
    adam = descend(lambda p: torch.optim.Adam(p, betas=(0.9, 0.98), eps=1e-9), loss, start, 200)
    mine = descend(lambda p: SOAP([{"params": p}]), loss, start, 200)
    assert mine < 0.05 * adam


@pytest.mark.parametrize("shape", [(12, 36, 1, 1), (12, 1, 6, 6)])
def test_pointwise_and_depthwise_kernels_are_one_matrix(shape: tuple[int, ...]) -> None:
    loss, start = turned_bowl(12, 36), torch.randn(shape)
    flat = descend(lambda p: SOAP([{"params": p}]), loss, start.reshape(12, 36), 30)
    assert descend(lambda p: SOAP([{"params": p}]), loss, start, 30) == pytest.approx(flat, rel=1e-4)


def test_a_kernel_is_a_matrix_for_each_tap_and_all_taps_share_their_bases() -> None:
    loss = turned_bowl(12, 20)
    start = torch.randn(12, 20, 2, 2)

    def every(w: Any) -> Any:
        return sum(loss(w[:, :, i, j]) for i in (0, 1) for j in (0, 1))

    adam = descend(lambda p: torch.optim.Adam(p, betas=(0.9, 0.98), eps=1e-9), every, start, 200)
    optimisers: list[SOAP] = []

    def make(p: list[Any]) -> SOAP:
        optimisers.append(SOAP([{"params": p}]))
        return optimisers[-1]

    assert descend(make, every, start, 200) < 0.05 * adam
    (state,) = optimisers[0].state.values()
    assert state["left"].shape == (12, 12) and state["right"].shape == (20, 20) and state["mean"].shape == (4, 12, 20)


def test_plain_groups_and_vectors_get_adam() -> None:
    torch.manual_seed(1)
    mine = [torch.nn.Parameter(torch.randn(5, 7)), torch.nn.Parameter(torch.randn(9))]
    theirs = copy.deepcopy(mine)
    a = SOAP([{"params": mine[:1], "plain": True}, {"params": mine[1:]}], lr=1e-2)
    b = torch.optim.Adam(theirs, lr=1e-2, betas=(0.9, 0.98), eps=1e-9)
    for _ in range(25):
        for p, q in zip(mine, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(mine, theirs, strict=True):
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-6)


def test_large_sides_have_no_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soap, "LARGEST", 8)
    shapes = {(9, 8): {"right"}, (8, 9): {"left"}, (9, 9): set(), (1, 8): {"right"}, (4, 2, 2, 2): {"left", "right"}}
    for shape, sides in shapes.items():
        w = torch.nn.Parameter(torch.zeros(shape))
        optimiser = SOAP([{"params": [w]}])
        for _ in range(soap.EVERY + 2):
            w.grad = torch.randn(shape)
            optimiser.step()
        assert {s for s in soap.SIDES if s in optimiser.state[w]} == sides
        assert torch.isfinite(w).all() and w.abs().min() > 0


def test_the_bases_stay_orthogonal_and_sorted() -> None:
    torch.manual_seed(2)
    w = torch.nn.Parameter(torch.zeros(16, 16))
    optimiser = SOAP([{"params": [w]}])
    mix = torch.randn(16, 16) * torch.logspace(0, -1, 16)
    for _ in range(20 * soap.EVERY):
        w.grad = mix @ torch.randn(16, 16)
        optimiser.step()
    state = optimiser.state[w]
    q = state["left_basis"]
    assert torch.allclose(q.T @ q, torch.eye(16), atol=1e-5)
    values = (q * (mix @ mix.T @ q)).sum(0)
    assert (values[:-1] > 0.7 * values[1:]).all()  # in falling order, but for noise
    rest = q.T @ (mix @ mix.T) @ q / (values[:, None] * values[None, :]).sqrt() - torch.eye(16)
    assert rest.abs().max() < 0.5  # nearly diagonal


def test_a_gradient_of_nothing_moves_nothing() -> None:
    w = torch.nn.Parameter(torch.ones(4, 4))
    optimiser = SOAP([{"params": [w]}])
    for _ in range(soap.EVERY + 1):
        w.grad = torch.zeros(4, 4)
        optimiser.step()
    assert torch.equal(w, torch.ones(4, 4))


@pytest.mark.parametrize("silent", [False, True])
def test_a_factor_on_which_single_precision_fails_is_taken_in_double(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """It happened at the first step of dpc-8's training at crop 133,288: on one machine an error, on another NaN."""
    eigh = torch.linalg.eigh

    def fails(matrix: torch.Tensor) -> object:
        if matrix.dtype == torch.float32 and silent:
            return torch.full_like(matrix[0], torch.nan), torch.full_like(matrix, torch.nan)
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    p = torch.nn.Parameter(torch.zeros(6, 4))
    optimiser = SOAP([{"params": [p]}], lr=0.1)
    for _ in range(2):
        p.grad = torch.arange(24.0).reshape(6, 4) - 11.5
        optimiser.step()
    assert torch.isfinite(p).all() and p.abs().sum() > 0 and p.dtype == torch.float32
