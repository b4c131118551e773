"""SOAP (Vyas et al. 2024): Adam in the eigenbasis of Shampoo's two factors of a matrix of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LARGEST = 256  # a side with more entries than this has no factor
SEEN = 2  # of so many gradients the factors take one in, as their products are a third of the work
EVERY = 10  # steps between two renewals of the bases
SIDES = ("left", "right")


class SOAP(torch.optim.Optimizer):
    """Every weight is seen as matrices G of outputs by inputs, one for each tap of a kernel; G is its gradient.

    L and R are running means of G G' and G' G, summed over the taps, one for each side of at most LARGEST entries;
    their eigenvectors are the basis in which Adam's moments are kept and its step is made. The factors decay by the
    second of the betas. Tensors of one dimension and groups with "plain" get Adam itself. params, lr, betas, eps: as
    torch.optim.Adam; there is no weight decay. The first step finds the bases and moves nothing but plain parameters.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-9,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "plain": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. A closure is not supported."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    _update(p, self.state[p], group)


def _update(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    plain = group["plain"] or p.ndim < 2
    g = _matrices(p.grad.float(), plain)  # type: ignore[union-attr]
    if not state:
        state |= {"step": 0, "mean": torch.zeros_like(g), "square": torch.zeros_like(g)}
        for side, n in zip(SIDES, g.shape[1:], strict=True):
            if not plain and 1 < n <= LARGEST:
                state[side] = _factor(g, side)
                state[side + "_basis"] = _eigenvectors(state[side]).flip(1).contiguous()
        if not plain:
            return
    state["step"] += 1
    first, second = group["betas"]
    turned = _turn(g, state)
    state["mean"].lerp_(turned, 1 - first)
    state["square"].mul_(second).addcmul_(turned, turned, value=1 - second)
    bias = (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
    change = _turn(state["mean"] / state["square"].sqrt().add_(group["eps"]), state, back=True)
    p.add_(_weights(change, p), alpha=-group["lr"] * bias)
    sides = [s for s in SIDES if s in state]
    if state["step"] % SEEN == 0:
        for side in sides:
            state[side].lerp_(_factor(g, side), 1 - second**SEEN)
    if sides and state["step"] % EVERY == 0:
        _renew(state, sides)


def _eigenvectors(factor: Tensor) -> Tensor:
    """Of a symmetric matrix, in ascending order. On one that is nearly singular, single precision may fail silently."""
    try:
        vectors = torch.linalg.eigh(factor)[1]
        if torch.isfinite(vectors).all():
            return vectors
    except torch.linalg.LinAlgError:
        pass
    return torch.linalg.eigh(factor.double())[1].float()


def _renew(state: dict[str, Any], sides: list[str]) -> None:
    """One step of power iteration on each basis, its vectors in the order of their eigenvalues; the moments follow."""
    mean = _turn(state["mean"], state, back=True)
    for side in sides:
        basis = state[side + "_basis"]
        product = state[side] @ basis
        order = (basis * product).sum(0).argsort(descending=True)
        state["square"] = state["square"].index_select(1 + SIDES.index(side), order)
        state[side + "_basis"] = torch.linalg.qr(product[:, order])[0].contiguous()
    state["mean"] = _turn(mean, state)


def _matrices(g: Tensor, plain: bool) -> Tensor:
    """(taps, outputs, inputs) of a weight's gradient. Depthwise kernels and linear layers are one matrix."""
    if plain:
        return g.reshape(1, 1, -1)
    if g.ndim == 4 and g.shape[1] > 1 and g[0, 0].numel() > 1:
        return g.flatten(2).permute(2, 0, 1).contiguous()
    return g.reshape(1, len(g), -1)


def _weights(change: Tensor, p: Tensor) -> Tensor:
    """The inverse of _matrices, in the shape of p."""
    return (change.permute(1, 2, 0) if len(change) > 1 else change).reshape(p.shape)


def _factor(g: Tensor, side: str) -> Tensor:
    """The sum of G G' or of G' G over the taps."""
    if g.device.type == "cuda":  # their products in bfloat16 are exact enough for a mean, and many times faster
        g = g.bfloat16()
    if side == "left":
        return (g.permute(1, 0, 2).flatten(1) @ g.permute(1, 0, 2).flatten(1).T).float()
    return (g.flatten(0, 1).T @ g.flatten(0, 1)).float()


def _turn(g: Tensor, state: dict[str, Any], back: bool = False) -> Tensor:
    """g in the bases of state, or back from them."""
    if (q := state.get("left_basis")) is not None:
        g = (q if back else q.T) @ g
    if (q := state.get("right_basis")) is not None:
        g = g @ (q.T if back else q)
    return g
