"""Plain ground stays plain: the last layer's integers, nudged by single steps.

The synthesis makes 16 pixels of a 4x4 cell by 16 rows of weights each. On plain ground all of them should give the
same. What they give differs by a part of a level, from colour to colour another: a pattern that repeats every 4 pixels.
A weight that moves by one step moves the whole row a little. So some are moved, those that were nearest to being
rounded the other way, until the rows agree on many plain colours (docs/research/tried.md).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.integer import W_MAX, power_of_two
from dpc.networks.model import Model
from dpc.networks.sizes import CELL

TONES = (10, 70, 130, 190, 245)  # of the plain pictures, each of red, green and blue
COLOURFUL = 130  # most that two of them may be apart
LEVELS = (0.2, 0.35, 0.6)  # of the way from the lowest level to the highest
NOISE = 1.0  # standard deviation of the plain pictures, 8-bit levels
SIDE = 2 * CELL  # pixels
BORDER = 10  # positions at 1/4, of SIDE / 4: what lies nearer sees the border
BATCH = 16
MOST = 4  # steps that one hidden channel may move in a row
ENOUGH = 3e-4  # share of the squared error that a move must take away


@torch.no_grad()
def settle(model: Model) -> tuple[float, float]:
    """Move integer weights of model.g_s.leave; returns the standard deviation of the pattern before and after, in 8-bit
    levels, the mean over plain colours."""
    leave = model.g_s.leave
    hidden, error = _plain(model)
    before = _spread(error)
    weight, _, exponents = leave.integers()
    step = power_of_two(-exponents)
    rest = leave.weight / step[:, None, None, None] - weight  # above 0 where a weight was rounded down
    for row in range(len(weight)):
        moves = _moves(hidden * step[row], error[:, row])
        for channel, up in moves:
            taps = (rest[row, channel] * up).masked_fill((weight[row, channel] + up).abs() > W_MAX, -torch.inf)
            tap = divmod(int(taps.argmax()), weight.shape[3])
            weight[row, channel, tap[0], tap[1]] += up
            rest[row, channel, tap[0], tap[1]] -= up
    leave.weight.copy_(weight.clamp(-W_MAX, W_MAX) * step[:, None, None, None])
    return before, _spread(error)


def _moves(change: Tensor, error: Tensor) -> list[tuple[int, int]]:
    """Which hidden channels to move up (1) or down (-1), one after the other.

    change (colours, channels): what a step up adds. error (colours,): becomes what is left.
    """
    moves: list[tuple[int, int]] = []
    size = change.square().sum(0)
    moved = torch.zeros(change.shape[1])
    while True:
        along = 2 * change.T @ error
        costs = torch.stack([size + along, size - along]).masked_fill(moved >= MOST, torch.inf)
        best = int(costs.argmin())
        if not costs.flatten()[best] < -ENOUGH * error.square().sum():
            return moves
        down, channel = divmod(best, change.shape[1])
        up = -1 if down else 1
        error += up * change[:, channel]
        moved[channel] += 1
        moves.append((channel, up))


def _plain(model: Model) -> tuple[Tensor, Tensor]:
    """Of plain pictures: the last hidden channels (colours, C), and by how much each row is off the mean of its colour
    (colours, 48), of 1."""
    g = model.g_s
    tones = [c for c in itertools.product(TONES, repeat=3) if max(c) - min(c) <= COLOURFUL]
    rng = torch.Generator().manual_seed(0)
    pictures = torch.tensor(tones, dtype=torch.float32)[:, :, None, None].expand(-1, -1, SIDE, SIDE)
    pictures = (pictures + NOISE * torch.randn(pictures.shape, generator=rng)).round().clamp(0, 255) / 255
    inside = slice(BORDER, -BORDER)
    whole_numbers, biases, exponents = g.leave.integers()
    weight = whole_numbers * power_of_two(-exponents)[:, None, None, None]
    bias = biases * power_of_two(-exponents - g.leave.bits_in)
    hidden, rows = [], []
    for share, x in itertools.product(LEVELS, pictures.split(BATCH)):
        level = share * (model.net.levels - 1)
        out = model(x, torch.full((len(x), SIDE // CELL, SIDE // CELL), level))
        parts = g.parts(out.y_hat, out.weights)
        last = F.conv2d(parts.hidden, weight, bias, padding=1)
        whole = parts.phases + g.finest(parts.fine) + last
        hidden.append(parts.hidden[:, :, inside, inside].mean((2, 3)))
        rows.append(whole[:, :, inside, inside].mean((2, 3)))
    found = torch.cat(rows).reshape(-1, 3, 16)
    return torch.cat(hidden), (found - found.mean(2, keepdim=True)).reshape(-1, 48)


def _spread(error: Tensor) -> float:
    return 255 * float(error.std(1).mean())
