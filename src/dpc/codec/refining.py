"""Latents that are improved for one picture, by gradient descent through the decoder: the encoder's affair alone.

The analysis makes the latents of any picture in one go, so it makes those of none as good as they could be. From there
some steps go down the loss of this picture: bits, by the probabilities that the context model gives, plus lambda D. D
counts a squared error where nothing hides it, beside the plain one (`training/losses/ground.py` has the same terms).
Rounding passes the gradient as it is; what the context model would say of other latents is left out. The format and
the decoder know nothing of it (Campos et al. 2019, Yang et al. 2020 do so with other codecs).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpc.codec.quality_map import LUMA, Levels, activity
from dpc.codec.stream import StreamCoder
from dpc.codec.tiles import STRIDE, Box, cut
from dpc.codec.timing import Progress, portion
from dpc.codec.transforms import Float, Strip, Transforms, strips

CELL = 4  # pixels: the synthesis works on cells of this side in the end
LAMBDAS = 0.00011, 0.056  # of the lowest and the highest level, as in the training
SQUARED, PLAIN = 0.75, 5.0  # weights of the squared error, and of that which nothing hides
PROXY = 700.0  # weight of the proxy of LPIPS: twice what the training gives LPIPS, as the proxy only knows some of it
BITS = 0.15  # weight of the bits: with more of it texture goes for them
STEPS = 4
MOST = 6e6  # pixels times steps
WAY, LONGEST = 0.06, 0.03  # of all first steps together, and of one: the root of the mean square in quantisation steps
LAST = 0.05  # share of a first step that the last one has
KEPT, STEADY = 0.8, 0.9  # of the gradient and of its mean square from step to step

UInt8 = NDArray[np.uint8]


class Counted(NamedTuple):
    """What is asked of the decoded picture: target (48, 4h, 4w) in cells, and how much errors count: of pixels (16,
    4h, 4w) in cells, of means over 4x4 (1, 4h, 4w) and over 8x8 pixels (1, 2h, 2w)."""

    target: UInt8
    pixel: Float
    four: Float
    eight: Float


def steps_for(pixels: int) -> int:
    """How many steps a picture of so many pixels gets: fewer from 1.5 megapixels on, none from 6 on."""
    return min(STEPS, int(MOST / pixels))


def refined(
    y: Float,
    rgb: UInt8,
    levels: Levels,
    networks: Transforms,
    streams: StreamCoder,
    steps: int,
    progress: Progress,
) -> Float:
    """Better latents y (N, h, w) for a picture (H, W, 3) at these levels, after so many steps of descent, at least 1.

    y: what the analysis made. The model must be one that `refines`. progress: called with the share that is done.
    """
    h, w = y.shape[1:]
    counted = _counted(rgb, h, w)
    (gain,) = networks.artifact.gain(levels.positions((slice(0, h), slice(0, w))))
    value, momentum, square = np.asarray(y * gain, np.float32), np.zeros_like(y), 0.0
    first = min(LONGEST, WAY / steps)
    for step in range(steps):
        here = np.asarray(value / gain, np.float32)
        slope = _slope(here, counted, levels, networks, streams, portion(progress, step / steps, (step + 1) / steps))
        slope = np.asarray(slope / gain, np.float32)
        momentum = np.asarray(KEPT * momentum + (1 - KEPT) * slope, np.float32)
        square = STEADY * square + (1 - STEADY) * float(np.square(slope, dtype=np.float64).mean())
        root = np.sqrt(square / (1 - STEADY ** (step + 1)))
        if not root > 0:
            break
        share = LAST + (1 - LAST) * (1 + np.cos(np.pi * step / steps)) / 2
        value -= np.float32(first * share / (1 - KEPT ** (step + 1)) / root) * momentum
    return np.asarray(value / gain, np.float32)


def _slope(
    y: Float, counted: Counted, levels: Levels, networks: Transforms, streams: StreamCoder, progress: Progress
) -> Float:
    """The gradient of the loss by y."""
    h, w = y.shape[1:]
    y_hat, slope = np.empty_like(y), np.empty_like(y)
    coded = np.empty(y.shape, bool)
    for strip in strips(h, w):
        rows = slice(strip.start, strip.stop)
        y_hat[:, rows], slope[:, rows], coded[:, rows] = _of_bits(y, strip, levels, networks, streams)
    slope *= BITS
    artifact = networks.artifact
    has = any(name.startswith("proxy.") for name in artifact.weights)
    proxy: dict[str, Any] = {"share": np.array([PROXY], np.float32)} if has else {}
    every = list(networks.tiles(h, w))
    for done, (core, outer, inner) in enumerate(every):
        at = levels.positions(outer)
        (out,) = networks.run(
            "gradient",
            y_hat=cut(y_hat, outer)[None],
            weights=artifact.interpolation(at),
            target=cut(counted.target, _times(outer, CELL))[None],
            pixel=cut(counted.pixel, _times(outer, CELL))[None],
            four=cut(counted.four, _times(outer, CELL))[None],
            eight=cut(counted.eight, _times(outer, CELL // 2))[None],
            **proxy,
        )
        share = np.broadcast_to(_lambda(at, levels.top), out.shape[2:])[inner]
        slope[(..., *core)] += share * out[0][(..., *inner)]
        progress((done + 1) / len(every))
    slope[~coded] = 0
    return slope


def _of_bits(
    y: Float, strip: Strip, levels: Levels, networks: Transforms, streams: StreamCoder
) -> tuple[Float, Float, NDArray[np.bool_]]:
    """y_hat of a strip, the gradient of its bits by y, and which elements are coded at all."""
    latents = streams.latents(*networks.quantise(y, strip, levels), strip, levels)
    y_hat, gain = networks.means(latents.z, latents.r, strip, levels), networks.finer(latents.z, strip, levels)
    rows = slice(strip.start, strip.stop)
    off = latents.r + (y[:, rows] - y_hat) * gain  # from the mean, in quantisation steps
    scale = networks.artifact.table("scales")[latents.index]
    return y_hat, np.asarray(steepness(off, scale) * gain, np.float32), latents.index > 0


def steepness(off: Float, scale: Float) -> Float:
    """The derivative by `off` of the bits that a logistic of this scale takes for it: -log2 of its mass within 1/2."""
    low, high = (1 / (1 + np.exp(np.minimum((side + np.abs(off)) / scale, 80))) for side in (-0.5, 0.5))
    slope: Float = np.sign(off) * (1 - low - high) / (scale * np.float32(np.log(2)))
    return slope


def _counted(rgb: UInt8, h: int, w: int) -> Counted:
    """What is asked of the picture of h x w positions; beyond the borders of this one nothing."""
    missing = STRIDE * h - rgb.shape[0], STRIDE * w - rgb.shape[1]
    padded = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    hidden = activity(padded @ LUMA)
    pixel = SQUARED + PLAIN / (hidden + 4)
    pixel[rgb.shape[0] :] = 0
    pixel[:, rgb.shape[1] :] = 0
    four = _means(hidden, CELL)
    eight = PLAIN / (_means(four, 2) / 8 + 0.5)
    return Counted(
        _cells(padded),
        _cells(pixel[:, :, None]),
        np.asarray(PLAIN / (four / 4 + 1), np.float32)[None],
        np.asarray(eight, np.float32)[None],
    )


def _cells(x: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) as cells: (C * 16, H/4, W/4)."""
    rows, columns, colours = x.shape
    parts = x.reshape(rows // CELL, CELL, columns // CELL, CELL, colours)
    return parts.transpose(4, 1, 3, 0, 2).reshape(colours * CELL * CELL, rows // CELL, columns // CELL)


def _means(x: Float, side: int) -> Float:
    """The means over cells of so many samples a side."""
    rows, columns = x.shape
    means: Float = x.reshape(rows // side, side, columns // side, side).mean((1, 3))
    return means


def _lambda(at: NDArray[np.int32], top: int) -> Float:
    low, high = LAMBDAS
    return np.asarray(low * (high / low) ** (at / top), np.float32)


def _times(box: Box, factor: int) -> Box:
    rows, columns = (slice(factor * s.start, factor * s.stop) for s in box)
    return rows, columns
