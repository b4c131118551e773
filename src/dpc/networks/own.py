"""DPC's own network behind the protocol of the earlier codecs: the same streams, the same training, the same benchmark.

It is the network as it is trained, in floats and over the whole picture. A `.dpc` file has the same latents in a
container of its own, and is decoded to the same pixels everywhere; `dpc.codec` makes those from an exported model.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpc.codec.entropy import Decoder, Encoder, Tables
from dpc.errors import Corrupt, OptionError
from dpc.networks.context import INDICES, Z_LIMIT, bits_of, scale_of_index
from dpc.networks.earlier.entropy_models import integers, rounded
from dpc.networks.earlier.protocol import EarlierCodec, Forward
from dpc.networks.earlier.stream import exactly
from dpc.networks.model import At, Group, Model, Quantise
from dpc.networks.sizes import CELL, Network
from dpc.networks.tables import logistic_tables

__all__ = ["QUALITIES", "Own"]

QUALITIES = range(1, 101)


class Own(EarlierCodec):
    """The network of `dpc train` at one quality at a time, which may be changed: `codec.quality = 25`.

    Decoding takes the quality from the file.
    """

    kind = "dpc"
    stride = CELL

    def __init__(self, net: Network, quality: int = 50) -> None:
        super().__init__()
        self.model = Model(net)
        self.sizes = {"network": asdict(net)}
        self.quality = quality

    @classmethod
    def of_checkpoint(cls, found: dict[str, Any]) -> tuple[Own, dict[str, Any]]:
        """(codec, about) of a loaded weights.pt or last.pt of `dpc train`, to be updated.

        KeyError, ValueError, TypeError, RuntimeError or AttributeError where it is none.
        """
        recipe = json.loads(found["recipe"])
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["network"].items()}
        codec = cls(Network(**sizes))
        codec.model.load_state_dict({k: v.float() for k, v in found["ema"].items()})
        return codec, {"recipe": recipe, "crops": found.get("crops")}

    @property
    def quality(self) -> int:
        """1 to 100."""
        return self._quality

    @quality.setter
    def quality(self, value: int) -> None:
        if value not in QUALITIES:
            raise OptionError(f"the quality {value} is not one of {QUALITIES[0]} to {QUALITIES[-1]}")
        self._quality = value

    def forward(self, x: Tensor) -> Forward:
        """See EarlierCodec.forward. In evaluation mode the very sums of coding."""
        at = self._at(self.quality, *x.shape[2:])
        if self.training:
            out = self.model(x, self._cells(self.quality, *x.shape[2:]).expand(len(x), -1, -1))
            return Forward(out.x_hat.float(), out.bits_y + out.bits_z)
        z_hat, groups = self._rounded(x, at)
        costs = [(z_hat, at.z_index.expand_as(z_hat)), *((group.residual, group.index) for group in groups)]
        bits = [(bits_of(value, scale_of_index(index)) * (index > 0)).sum((1, 2, 3)) for value, index in costs]
        return Forward(self._synthesised(groups, at), torch.stack(bits).sum(0))

    def tables(self) -> None:
        """One table for each scale index."""
        self._tables = Tables(logistic_tables())

    def payload(self, x: Tensor) -> list[bytes]:
        """Two parts: the quality, a byte; z and y."""
        at = self._at(self.quality, *x.shape[2:])
        z_hat, groups = self._rounded(x, at)
        encoder = Encoder(self._tables)
        encoder.add(integers(z_hat), _indices(at.z_index))
        for group in groups:
            encoder.add(integers(group.residual), _indices(group.index))
        return [bytes([self.quality]), encoder.finish()]

    def restore(self, parts: list[bytes], height: int, width: int) -> Tensor:
        """See EarlierCodec.restore."""
        quality, part = exactly(parts, 2)
        if len(quality) != 1 or quality[0] not in QUALITIES:
            raise Corrupt(f"the quality {quality[:4]!r} is none; the file is damaged")
        at = self._at(quality[0], height, width)
        decoder = Decoder(self._tables, part)
        z_hat = torch.from_numpy(decoder.read(_indices(at.z_index))).to(at.gain)
        if z_hat.abs().max() > Z_LIMIT:
            raise Corrupt(f"a hyper-latent lies outside -{Z_LIMIT}..{Z_LIMIT}; the file is damaged")
        known: dict[int, Tensor] = {}

        def read(part: slice, index: Tensor, mu: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            if part.start not in known:
                known[part.start] = torch.from_numpy(decoder.read(_indices(index))).to(mu)
            return known[part.start], known[part.start] + mu

        groups = self.model.in_order(z_hat, at.gain, at.offset, read)
        decoder.finish()
        return self._synthesised(groups, at)

    def _cells(self, quality: int, height: int, width: int) -> Tensor:
        level = (quality - 1) / 99 * (self.model.net.levels - 1)
        return torch.full((1, height // CELL, width // CELL), level, device=self._device())

    def _at(self, quality: int, height: int, width: int) -> At:
        at = self.model.at(self._cells(quality, height, width))
        return at._replace(offset=at.offset.round(), z_index=at.z_index.round().clamp(1, INDICES - 1))

    def _rounded(self, x: Tensor, at: At) -> tuple[Tensor, list[Group]]:
        """z_hat and the groups of y as they are coded."""
        y = self.model.g_a(x)
        z_hat = self.model.h_a(y * at.gain).round().clamp(-Z_LIMIT, Z_LIMIT)
        return z_hat, self.model.in_order(z_hat, at.gain, at.offset, _rounding(y))

    def _synthesised(self, groups: list[Group], at: At) -> Tensor:
        x: Tensor = self.model.g_s(torch.cat([group.y_hat for group in groups], 1), at.weights)
        return x.float()


def _rounding(y: Tensor) -> Quantise:
    def quantise(part: slice, index: Tensor, mu: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        r = rounded(y[:, part] * gain - mu) * (index > 0)
        return r, r + mu

    return quantise


def _indices(index: Tensor) -> NDArray[np.uint8]:
    result: NDArray[np.uint8] = index.to(torch.uint8).cpu().numpy()
    return result
