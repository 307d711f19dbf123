"""Grey pixels become what an image model sees: THE definition, for training and serving.

Only the pure part stands here: an array in, an array out. Numbers are the same on both sides because there is one
resize (a triangle filter that widens with the reduction, so that fine patterns average out instead of making moiré)
and one way to take a scanner's gain out.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

__all__ = ["PixelSpec", "PixelsUnfit", "fit_inside", "prepare", "resize", "standardise"]

Float32 = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class PixelsUnfit(ValueError):
    """An image is no grey 8-bit picture of a usable size; says what it is, never what it shows."""


class PixelSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``pixels.toml``: what is done to a grey image before the graph sees it."""

    size: int
    """Side of the square that the graph reads, in pixels."""
    fit: Literal["letterbox"]
    """The longer side fills the square, the shape is kept, the rest holds the image's own mean."""
    contrast: Literal["image"]
    """Mean and standard deviation are those of the image itself: gain and dynamic range are a scanner's knobs."""
    clip: float
    """Standard deviations from the mean at which a pixel is held."""
    mean: float
    """Taken away after that, for every channel (there is one) …"""
    std: float
    """… and divided by, so that the graph sees the spread its first layer was made for."""
    least_side: int
    """A shorter side than this, in pixels, is refused: there is too little to see."""
    most_pixels: int
    """A larger image is refused before it is touched."""


def prepare(image: Grey, spec: PixelSpec) -> Float32:
    """Make the graph's input of one grey image.

    Args:
        image: 8-bit grey values, shape (height, width), 0 black.
        spec: The bundle's ``pixels.toml``.

    Returns:
        Shape (size, size).

    Raises:
        PixelsUnfit: It is no such array, or too small, or too large.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise PixelsUnfit(f"an image is 8-bit grey of two dimensions, this one is {image.dtype} of {image.ndim}")
    if min(image.shape) < spec.least_side or image.size > spec.most_pixels:
        raise PixelsUnfit(
            f"an image of {image.shape[1]} × {image.shape[0]} pixels is not between {spec.least_side} a side and {spec.most_pixels} in all"
        )
    height, width = fit_inside(image.shape[0], image.shape[1], spec.size)
    top, left = (spec.size - height) // 2, (spec.size - width) // 2
    canvas = np.zeros((1, spec.size, spec.size), dtype=np.float32)
    inside = np.zeros((1, spec.size, spec.size), dtype=np.bool_)
    canvas[0, top : top + height, left : left + width] = resize(image, height, width)
    inside[0, top : top + height, left : left + width] = True
    return np.asarray(standardise(canvas, inside, spec)[0])


def fit_inside(height: int, width: int, size: int) -> tuple[int, int]:
    """Give height and width, in pixels, of an image whose longer side fills a square.

    >>> fit_inside(200, 320, 128)
    (80, 128)
    """
    longer = max(height, width)
    return max(1, round(height * size / longer)), max(1, round(width * size / longer))


def standardise(images: Float32, inside: Bools, spec: PixelSpec) -> Float32:
    """Take mean and spread out of each image, over what is image and not margin; the margin becomes the mean.

    Args:
        images: Shape (n, height, width), any scale.
        inside: Where each image is, the same shape.
        spec: Says where to hold a pixel, and the final scale.

    Returns:
        A new array. An image of one single grey value becomes the mean everywhere.
    """
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    plain = np.where(inside, images, 0).astype(np.float32)
    mean = plain.sum(axis=(1, 2), keepdims=True, dtype=np.float64) / count
    centred = np.where(inside, plain - mean, 0)
    spread = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True) / count)
    units = np.clip(centred / np.where(spread > 1e-6, spread, np.inf), -spec.clip, spec.clip)
    return np.asarray((units - spec.mean) / spec.std, dtype=np.float32)


def resize(image: npt.NDArray[np.uint8] | Float32, height: int, width: int) -> Float32:
    r"""Resize with a triangle filter that is as wide as the reduction (bilinear with antialias).

    .. math:: w_{ij} \propto \max(0, 1 - |j + \tfrac12 - (i + \tfrac12)\,s| / \max(s, 1)), \quad s = n_{in} / n_{out}

    Args:
        image: Shape (h, w).
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        float32 in the image's own units; not rounded.

    References:
        The filter that Pillow calls BILINEAR and torchvision calls bilinear with ``antialias=True``.

    >>> resize(np.array([[0, 255], [255, 0]], dtype=np.uint8), 1, 1).tolist()
    [[127.5]]
    """
    down, across = _weights(image.shape[0], height), _weights(image.shape[1], width)
    return np.asarray(down @ image.astype(np.float32) @ across.T, dtype=np.float32)


@lru_cache(maxsize=256)
def _weights(before: int, after: int) -> Float32:
    """One row a new pixel, one column an old one; rows sum to 1."""
    scale = before / after
    reach = max(scale, 1.0)
    table = np.zeros((after, before), dtype=np.float64)
    for row in range(after):
        centre = (row + 0.5) * scale
        first, last = max(0, math.floor(centre - reach)), min(before, math.ceil(centre + reach))
        near = np.arange(first, last)
        table[row, first:last] = np.maximum(0.0, 1 - np.abs(near + 0.5 - centre) / reach)
    table /= table.sum(axis=1, keepdims=True)
    weights = table.astype(np.float32)
    weights.setflags(write=False)
    return weights
