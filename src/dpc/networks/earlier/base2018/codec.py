"""The base network of 2018 as a codec.

Mentzer, Agustsson, Tschannen, Timofte, Van Gool: "Conditional Probability Models for Deep Image Compression", CVPR
2018. docs/research/base2018.md says what is reproduced, what could not be known and what differs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from dpc.errors import ModelError, OptionError
from dpc.networks.earlier.base2018.bottleneck import Symbols, importance_mask, passed, quantise
from dpc.networks.earlier.base2018.context import Context
from dpc.networks.earlier.base2018.transforms import Decoder, Encoder
from dpc.networks.earlier.base2018.wavefront import LARGEST_COST, ExactContext, decode, encode
from dpc.networks.earlier.protocol import EarlierCodec, Forward, register
from dpc.networks.earlier.stream import exactly

MEAN = (0.485, 0.456, 0.406)  # of photographs in [0, 1], per colour
STD = (0.229, 0.224, 0.225)
LARGEST_CENTRE = 2.0  # centres start evenly in -2 .. 2


@register
class Base2018(EarlierCodec):
    """The auto-encoder with importance map, learned centres and 3D context model.

    filters, groups, blocks: of encoder and decoder. channels: C, of the symbols. centres: L. width: of the context
    model. The paper's: the defaults, and channels=64 at the highest rates. Small: filters=48 or 64, groups=2.
    shift: added to the raw importance map, so that an encoder keeps more or fewer symbols. Files do not know of it.
    """

    kind = "base-2018"
    stride = 8
    exact = ("centres",)

    def __init__(
        self,
        filters: int = 128,
        groups: int = 5,
        blocks: int = 3,
        channels: int = 32,
        centres: int = 6,
        width: int = 24,
    ) -> None:
        super().__init__()
        if min(filters // 2, groups, blocks, channels, centres - 1, width) < 1:
            raise OptionError(
                f"base-2018 with filters={filters}, groups={groups}, blocks={blocks}, channels={channels}, "
                f"centres={centres}, width={width}: filters and centres are at least 2, the others at least 1"
            )
        self.encoder = Encoder(filters, groups, blocks, channels)
        self.decoder = Decoder(filters, groups, blocks, channels)
        self.context = Context(width, centres)
        self.centres = nn.Parameter(torch.linspace(-LARGEST_CENTRE, LARGEST_CENTRE, centres))
        self.channels = channels
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)
        self.shift = 0.0
        self._exact_context: ExactContext | None = None

    mean: Tensor
    std: Tensor

    def forward(self, x: Tensor) -> Forward:
        """x: (N, 3, H, W) float in [0, 1], H and W multiples of 8.

        bits: of all symbols under the context model, as they are coded. The context model gets their gradient. Encoder
        and centres get that of the masked coding cost (section 3.4): of the symbols that the importance map keeps, by
        the map and by the soft assignment.
        extra["H"]: (N,), bits per symbol, C H W / 64 of them, same gradients: the H of max(H - H_target, 0).
        extra["auxiliary"]: (N,), the same values with a gradient for the context model alone. Add it to the loss where
        the rate term may be off: the paper trains the context model at every step.
        In evaluation mode no symbol costs more than the LARGEST_COST that the coder's probabilities allow.
        extra["kept"]: (N,), the share of the symbols that the map keeps, without gradient.
        """
        mask, symbols = self.analyse(x)
        x_hat = self.synthesise(symbols.value)
        costs = self.context.costs(symbols.value.detach())
        if not self.training:
            costs = costs.clamp(max=LARGEST_COST)
        paid = costs.gather(-1, symbols.indices[..., None])[..., 0]
        masked = mask * passed(paid, (symbols.soft * costs.detach()).sum(-1))
        each, masked_each = paid.sum((1, 2, 3)), masked.sum((1, 2, 3))
        bits = each + (masked_each - masked_each.detach())
        number = paid[0].numel()
        extra = {"H": bits / number, "auxiliary": each / number, "kept": mask.detach().mean((1, 2, 3))}
        return Forward(x_hat, bits, extra)

    def analyse(self, x: Tensor) -> tuple[Tensor, Symbols]:
        """x (N, 3, H, W) -> the importance map's mask (N, C, H/8, W/8) and the symbols under it.

        What the mask leaves out becomes the centre nearest to zero; the context model learns that it comes in columns.
        """
        y = self.encoder((x - self.mean) / self.std)
        with torch.autocast(x.device.type, enabled=False):
            y = y.float().contiguous()
            mask = importance_mask(y[:, :1] + self.shift, self.channels)
            return mask, quantise(y[:, 1:] * mask, self.centres)

    def synthesise(self, z_hat: Tensor) -> Tensor:
        """Centres (N, C, h, w) -> x_hat (N, 3, 8h, 8w), float32, not clipped."""
        picture = self.decoder(z_hat).float()
        return picture * self.std + self.mean

    def tables(self) -> None:
        """The context model in exact numbers."""
        self._exact_context = ExactContext(self.context, self.centres.detach().cpu().numpy())

    def payload(self, x: Tensor) -> list[bytes]:
        """x (1, 3, H, W) -> [coded symbols]. The mask is not stored: it only makes some symbols likely."""
        _, symbols = self.analyse(x)
        return [encode(self._exact(), symbols.indices[0].cpu().numpy().astype(np.int32))]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """[coded symbols] -> x_hat (1, 3, height, width)."""
        (part,) = exactly(parts, 1)
        index = decode(self._exact(), part, (self.channels, height // 8, width // 8))
        return self.synthesise(self.centres[torch.from_numpy(index).long()[None].to(self.centres.device)])

    def _exact(self) -> ExactContext:
        if self._exact_context is None:
            raise ModelError("the codec base-2018 has no tables for its weights; call its update() first")
        return self._exact_context
