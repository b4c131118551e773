"""Networks that give the same bits on every machine: means and synthesis, as an artifact runs them.

Machines differ in the order in which a convolution adds, and in whether its products are rounded. So here none rounds
anything: its inputs are rounded to a grid and limited, its weights are integers times a power of two (one for each
output channel), and no partial sum can reach 2**24 units, below which float32 holds every integer. All that is left
are operations on single elements, which IEEE 754 defines to the last bit and a runtime may not reorder. To this end:

* an Exact convolution whose output is added or multiplied ends with a limit that never acts. Runtimes may take a sum or
  a factor into the convolution before it, where it would be rounded in between; they cannot take it through a limit;
* the wavelet runs as lifting steps (Daubechies and Sweldens 1998) in place of convolutions;
* the FiLM tables are multiples of 2**-FILM_BITS, the weights of their interpolation multiples of 1/64.

proof.py proves all of this of the graphs that were exported.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dpc.networks.model import Model
from dpc.networks.sizes import Network
from dpc.networks.transforms import Film, Synthesis
from dpc.training.data.synthetic import drawn
from dpc.training.export.proof import FILM_BITS, LIMIT, NEVER, NotExact

WEIGHT_MAX = 2**11  # largest integer weight: float16, which artifacts store, holds these times powers of two
MARGIN = 2.0  # inputs may be this many times larger than the largest one of the calibration
PIECES = (2.0**-1, 384.0), (2.0**-11, 2.0**-2)  # grid and limit of the two pieces of y_hat; stripes reach 160


def on_grid(x: Tensor, grid: float, limit: float) -> Tensor:
    """x limited to -limit .. limit and rounded to a multiple of grid (a power of two), halves to the even one.

    float32 numbers between 2**23 and 2**24 grids are whole multiples of it: adding 1.5 * 2**23 grids rounds.
    """
    large = 1.5 * 2**23 * grid
    return (x.clamp(-limit, limit) + large) - large


class Exact(nn.Module):
    """A convolution in the place of conv: the same up to rounding, and exact. Stride 1, zeros around.

    blocks: numbers of input channels that are added up by themselves, each on a grid of its own. inputs: what it will
    see, (N, C, h, w), from which the grids follow. barrier: whether its output is added or multiplied.
    """

    def __init__(self, conv: nn.Conv2d, blocks: tuple[int, ...], inputs: Tensor, barrier: bool) -> None:
        super().__init__()
        self.blocks, self.barrier = blocks, barrier or len(blocks) > 1
        self.groups, self.padding = conv.groups, conv.padding
        self.grids: list[tuple[float, float]] = []
        start = 0
        for i, size in enumerate(blocks):
            part = slice(start, start + size)
            assert conv.bias is not None
            bias = torch.zeros_like(conv.bias) if i else conv.bias
            weight = conv.weight[:, part] if len(blocks) > 1 else conv.weight
            grid, limit, weight, bias = self._best(weight, bias, inputs[:, part])
            self.grids.append((grid, limit))
            self.register_parameter(f"weight{i}", nn.Parameter(weight, requires_grad=False))
            if not i:
                self.bias = nn.Parameter(bias, requires_grad=False)
            start += size

    def _best(self, weight: Tensor, bias: Tensor, inputs: Tensor) -> tuple[float, float, Tensor, Tensor]:
        """Grid, limit, weight and bias at which the output for these inputs changes least."""

        def convolved(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return F.conv2d(x, w, b, padding=self.padding, groups=self.groups)

        wanted = convolved(inputs, weight, bias)
        peak = max(float(inputs.abs().max()) * MARGIN, 2.0**-10)
        found: list[tuple[float, tuple[float, float, Tensor, Tensor]]] = []
        for bits in range(6, 17):
            grid = 2.0 ** math.ceil(math.log2(peak) - bits)
            limit = math.ceil(peak / grid) * grid
            try:
                made = integers(weight, bias, grid, limit)
            except NotExact:
                break
            error = (convolved(on_grid(inputs, grid, limit), *made) - wanted).square().mean()
            found.append((float(error), (grid, limit, *made)))
        if not found:
            raise NotExact(f"a convolution of {weight.shape[1]} channels has too many inputs to be exact")
        return min(found, key=lambda f: f[0])[1]

    def weight(self, block: int) -> Tensor:
        weight: Tensor = getattr(self, f"weight{block}")
        return weight

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        parts = x.split(self.blocks, 1) if len(self.blocks) > 1 else [x]
        for i, (part, (grid, limit)) in enumerate(zip(parts, self.grids, strict=True)):
            bias = None if i else self.bias
            y = F.conv2d(on_grid(part, grid, limit), self.weight(i), bias, padding=self.padding, groups=self.groups)
            y = y.clamp(-NEVER, NEVER) if self.barrier else y
            total = y if total is None else total + y
        assert total is not None
        return total


class Pieces(nn.Module):
    """A 1x1 convolution of y_hat, whose values span decades: it enters in two pieces, a coarse one and the rest."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(integers(weight, None, *PIECES[0])[0], requires_grad=False)
        self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, y_hat: Tensor) -> Tensor:
        coarse = on_grid(y_hat, *PIECES[0])
        fine = on_grid(y_hat - coarse, *PIECES[1])
        parts = [F.conv2d(y, self.weight).clamp(-NEVER, NEVER) for y in (coarse, fine)]
        return parts[0] + parts[1] + self.bias[:, None, None]


def integers(weight: Tensor, bias: Tensor | None, grid: float, limit: float) -> tuple[Tensor, Tensor]:
    """weight and bias, each output channel rounded to multiples of the finest power of two that is exact.

    grid, limit: of the inputs. The units of a channel's sum are its weight's unit times grid.
    """
    w = weight.detach().double()
    b = torch.zeros(len(w), dtype=torch.float64) if bias is None else bias.detach().double()
    inputs = limit / grid
    size, largest = w.abs().flatten(1).sum(1), w.abs().flatten(1).amax(1).clamp(min=2.0**-24)
    # rounding adds up to half a unit a weight
    room = LIMIT - inputs * w[0].numel() / 2 - 2
    if room <= 0:
        raise NotExact(f"{inputs:.0f} steps for each of {w[0].numel()} inputs leave no room for weights")
    unit = torch.maximum((size * inputs + b.abs() / grid) / room, largest / (WEIGHT_MAX - 1)).clamp(min=2.0**-24)
    unit = 2.0 ** torch.ceil(torch.log2(unit))
    shape = (-1, *[1] * (w.ndim - 1))
    w = torch.round(w / unit.reshape(shape)) * unit.reshape(shape)
    b = torch.round(b / (unit * grid)) * unit * grid
    return w.float(), b.float()


class ExactSynthesis(Synthesis):
    """Synthesis with an exact linear part; made from a Synthesis, whose parts it takes over."""

    def __init__(self, source: Synthesis) -> None:
        nn.Module.__init__(self)
        for name, module in source.named_children():
            self.add_module(name, module)
        self.linear = Pieces(source.linear, source.mean)  # type: ignore[assignment]

    def coefficients(self, y_hat: Tensor) -> Tensor:
        return self.linear(y_hat)  # type: ignore[operator]

    def merge(self, bands: Tensor) -> Tensor:
        return lifted(bands)


# lifting steps of the CDF 9/7 wavelet, and the factor that makes its filters nearly orthonormal
STEPS = (-0.443506852043971, -0.882911075530934, 0.052980118572961, 1.586134342059924)
SCALE = 1.230174104914001 / math.sqrt(2)


def lifted(bands: Tensor) -> Tensor:
    """wavelet.synthesise by lifting steps: (N, 12, h, w) -> (N, 3, 2h, 2w), equal up to rounding."""
    ll, lh, hl, hh = bands.chunk(4, 1)
    columns = _lift(torch.cat([ll, hl], 1), torch.cat([lh, hh], 1), 3)
    low, high = (torch.cat(part, 1) for part in zip(*(c.chunk(2, 1) for c in columns), strict=True))
    (a, b), (c, d) = (rows.chunk(2, 1) for rows in _lift(low, high, 2))
    return F.pixel_shuffle(torch.stack([a, b, c, d], 2).flatten(1, 2), 2)


def _lift(low: Tensor, high: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The even and the odd samples along dim (2 or 3) of what has these bands; mirrored at the borders."""

    def part(x: Tensor, start: int | None, stop: int | None) -> Tensor:
        return x[:, :, start:stop] if dim == 2 else x[:, :, :, start:stop]

    even, odd = low * SCALE, high * (1 / SCALE)
    for turn, step in enumerate(STEPS):
        if turn % 2:
            odd = odd + step * (even + torch.cat([part(even, 1, None), part(even, -1, None)], dim))
        else:
            even = even + step * (torch.cat([part(odd, None, 1), part(odd, None, -1)], dim) + odd)
    return even, odd


BARRIERS = re.compile(r".*(\.down|\.leave[24]|means\.first|means\.second\.2|means\.later\.\d+\.2)")
CONTEXT = re.compile(r"means\.(second|later\.\d+)\.0")


def convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """All convolutions of means and synthesis: name, parent, name there, the convolution."""
    for name, parent in model.named_modules():
        if name.startswith(("g_s", "means")):
            for own, child in parent.named_children():
                if isinstance(child, (nn.Conv2d, Exact, Pieces)):
                    yield f"{name}.{own}", parent, own, child


@torch.no_grad()
def exact(model: Model) -> Model:
    """A copy of the model whose means and synthesis are exact, equal up to rounding within the limits of their inputs.

    Grids and limits follow from what each convolution sees of some made-up pictures; each grid is the power of two at
    which grid and weights together change the convolution's output least.
    """
    model = copy.deepcopy(model).eval()
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: seen.setdefault(name, []).append(inputs[0])

    found = list(convolutions(model))
    hooks = [conv.register_forward_pre_hook(keep(name)) for name, _, _, conv in found]
    crops = pictures()
    model(crops, torch.arange(len(crops)) % 8 * ((model.net.levels - 1) / 7))
    for hook in hooks:
        hook.remove()
    for name, parent, own, conv in found:
        assert isinstance(conv, nn.Conv2d)
        if name == "g_s.enter":
            new: nn.Module = Pieces(conv.weight, conv.bias)  # type: ignore[arg-type]
        else:
            new = Exact(conv, _blocks(name, conv, model.net), torch.cat(seen[name]), bool(BARRIERS.fullmatch(name)))
        setattr(parent, own, new)
    for film in (m for m in model.modules() if isinstance(m, Film)):
        for table in (film.scale, film.shift):
            table.copy_(torch.round(table * 2**FILM_BITS) * 2.0**-FILM_BITS)
    model.g_s = ExactSynthesis(model.g_s)
    return model


def _blocks(name: str, conv: nn.Conv2d, net: Network) -> tuple[int, ...]:
    """Input channels that have other sizes than the rest, or that are too many, are added up by themselves."""
    n = conv.in_channels
    if name == "g_s.mix2":  # the low band, the other bands, the features
        return 3, 9, n - 12
    first = n
    if name in ("g_s.leave2", "g_s.to8") or re.fullmatch(r"g_s\.at16\.\d+\.down", name):
        first = n // 2
    elif CONTEXT.fullmatch(name):
        first = net.mean_width
    return (first, n - first) if first < n else (n,)


def pictures() -> Tensor:
    """(16, 3, 192, 192) in [0, 1]: textures of many slopes and colours, half of them with drawing on it."""
    rng = np.random.default_rng(0)
    size, crops = 192, []
    y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    radius = np.maximum(np.hypot(x, y), 1 / size)[..., None]
    for i in range(16):
        spectrum = np.fft.rfft2(rng.normal(size=(size, size, 3)), axes=(0, 1)) * radius ** -rng.uniform(0, 2)
        texture = np.fft.irfft2(spectrum, s=(size, size), axes=(0, 1)) @ rng.normal(size=(3, 3))
        texture = rng.uniform(60, 190, 3) + texture / texture.std() * rng.uniform(15, 75)
        crop = texture.clip(0, 255).astype(np.uint8)
        crops.append(drawn(rng, crop) if i % 2 else crop)
    return torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)).float() / 255
