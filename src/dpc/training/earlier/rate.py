"""Distortion and rate in one number, in bits per pixel where the recipe has a lambda."""

from __future__ import annotations

from torch import Tensor

from dpc.networks.earlier.protocol import Forward
from dpc.training.earlier.recipe import Rate

ENTROPY = "H"  # the key of Forward.extra with the entropy that a target is for
AUXILIARY = "auxiliary"  # the key with a term of the codec's own, such as the context model's, which is always added


def bits_per_pixel(out: Forward) -> Tensor:
    """(N,) float32."""
    return out.bits.float() / (out.x_hat.shape[2] * out.x_hat.shape[3])


def entropy(out: Forward) -> Tensor:
    """The scalar that a target is for: the mean of extra["H"], in the codec's own unit, else bits per pixel."""
    return out.extra[ENTROPY].float().mean() if ENTROPY in out.extra else bits_per_pixel(out).mean()


def objective(out: Forward, distortion: Tensor, rate: Rate) -> Tensor:
    """The scalar that is minimised, of (N,) distortions.

    With lambda: bits per pixel + lambda D. With a target: D / beta + max(H - target, 0). That is the loss of Mentzer et
    al. 2018, D + beta max(H - target, 0), on the scale of bits, so that gradients are alike in both forms. A term of
    the codec's own is added to either: a context model must go on learning where the rate is below its target.
    """
    own = out.extra[AUXILIARY].float().mean() if AUXILIARY in out.extra else 0.0
    if rate.lambda_ is not None:
        return (bits_per_pixel(out) + rate.lambda_ * distortion).mean() + own
    assert rate.beta is not None and rate.target is not None  # Rate has checked it
    return distortion.mean() / rate.beta + (entropy(out) - rate.target).clamp(min=0) + own
