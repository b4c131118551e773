"""An older model's synthesis as a teacher: what it makes of the same latents; goes when dpc-7 goes.

While the analysis and the gains are frozen, a new synthesis reads the latents of the model that the training began
from. What that model's own synthesis makes of them, texture and all, follows from the latents alone. So the squared
error from it teaches more per crop than the original, whose texture the latents do not hold (docs/research/tried.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpc.errors import OptionError
from dpc.networks.model import Output
from dpc.training.weights import is_artifact, located

CORNER = 48  # pixels


class Teacher:
    """The synthesis of a released model, by its name or the path of its artifact. OptionError where it is neither."""

    def __init__(self, name: str) -> None:
        from dpc.codec.artifact import Artifact  # a pack trains without what this needs

        path = located(Path(name))
        if not is_artifact(path):
            raise OptionError(f"teacher = {name!r} is no model; give the name of a released model, or a .dpcmodel file")
        self._artifact = Artifact(path, threads=1)

    def error(self, out: Output) -> Tensor:
        """(N,) squared error of x_hat from the teacher's picture, in 8-bit levels; the gradient is x_hat's."""
        return (255 * (out.x_hat.float() - self.picture(out))).square().mean((1, 2, 3))

    def target(self, out: Output, x: Tensor) -> Tensor:
        """The teacher's picture, (N, 3, H, W) in [0, 1], with x's in the four corners: there dpc-7 draws dots."""
        picture = self.picture(out)
        for rows in (slice(0, CORNER), slice(-CORNER, None)):
            for columns in (slice(0, CORNER), slice(-CORNER, None)):
                picture[:, :, rows, columns] = x[:, :, rows, columns]
        return picture

    def picture(self, out: Output) -> Tensor:
        """What the teacher makes of the latents: (N, 3, H, W) float32 in [0, 1], without a gradient."""
        y_hat = out.y_hat.detach().float().cpu().numpy()
        quality = out.weights.mean((2, 3)).cpu().numpy()  # it knows one quality for a whole picture
        made = [
            self._artifact.run("synthesis", y_hat=np.ascontiguousarray(y_hat[i : i + 1]), weights=quality[i : i + 1])
            for i in range(len(y_hat))
        ]
        height, width = out.x_hat.shape[2:]
        pictures = torch.from_numpy(np.stack([m[0].reshape(height, width, 3) for m in made])).to(out.x_hat.device)
        return pictures.permute(0, 3, 1, 2).float() / 255
