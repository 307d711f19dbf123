"""Copies of an image as another hospital's scanner might have made it: what a choice must survive, never trained on.

They are not drawn by the training views (``image_views.py``): a net that learned those must not be judged by them. What
differs between BUSI and other hospitals is known from descriptions (``docs/developers/data.md``): no burned-in crosses,
other dynamic range and time-gain compensation, sector-shaped images, other depth, coarser or grainier pictures.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cds_service.clinical.pixels import resize
from cds_service.cohorts.images import ImageCohort

__all__ = ["SHIFTS", "shifted"]

Grey = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Shift = Callable[[Float32, np.random.Generator], Float32]

_MARK = 0.25
"""A pixel so much brighter than the median around it, on a scale of 0 to 1, is a cross or a letter."""


def _unmarked(grey: Float32, _: np.random.Generator) -> Float32:
    """Without burned-in crosses and dotted lines: thin bright marks become what lies around them."""
    edge = np.pad(grey, 3, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(edge, (7, 7))[:, :, ::2, ::2]
    around = np.median(windows.reshape(*grey.shape, 16), axis=2)
    return np.asarray(np.where(grey - around > _MARK, around, grey), dtype=np.float32)


def _dynamic_range(grey: Float32, random: np.random.Generator) -> Float32:
    exponent = float(random.choice([0.6, 1.7]))
    return np.asarray(grey**exponent, dtype=np.float32)


def _gain_with_depth(grey: Float32, random: np.random.Generator) -> Float32:
    """The upper half darker, the lower half brighter, or less of it."""
    depth = np.linspace(-1, 1, grey.shape[0], dtype=np.float32)[:, None]
    return np.asarray(np.clip(grey * np.exp(depth * float(random.uniform(0.4, 1.0))), 0, 1), dtype=np.float32)


def _sector(grey: Float32, random: np.random.Generator) -> Float32:
    """A curved probe's picture: the upper corners are black."""
    height, width = grey.shape
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    aside = np.abs(np.linspace(-1, 1, width, dtype=np.float32))[None, :]
    return np.asarray(np.where(aside > float(random.uniform(0.45, 0.7)) + 0.6 * down, 0, grey), dtype=np.float32)


def _depth(grey: Float32, random: np.random.Generator) -> Float32:
    """A shallower picture: the middle four fifths of the width, the upper or middle four fifths of the depth."""
    height, width = grey.shape
    tall, wide = round(0.8 * height), round(0.8 * width)
    top = int(random.integers(0, (height - tall) // 2 + 1))
    left = (width - wide) // 2
    return grey[top : top + tall, left : left + wide]


def _coarse(grey: Float32, _: np.random.Generator) -> Float32:
    """A lower frequency: less detail, across more than along the beam."""
    height, width = grey.shape
    return resize(resize(grey, max(8, round(height / 2)), max(8, round(width / 3))), height, width)


def _grainy(grey: Float32, random: np.random.Generator) -> Float32:
    grain = random.normal(size=grey.shape)
    return np.asarray(np.clip(grey * (1 + 0.35 * grain), 0, 1), dtype=np.float32)


def _another_hospital(grey: Float32, random: np.random.Generator) -> Float32:
    """All that is known to differ, at once."""
    steps = (_unmarked, _depth, _dynamic_range, _gain_with_depth)
    for step in steps:
        grey = step(grey, random)
    return _sector(grey, random) if random.random() < 0.4 else grey


SHIFTS: dict[str, Shift] = {
    "unmarked": _unmarked,
    "dynamic range": _dynamic_range,
    "gain with depth": _gain_with_depth,
    "sector": _sector,
    "depth": _depth,
    "coarse": _coarse,
    "grainy": _grainy,
    "another hospital": _another_hospital,
}


def shifted(cohort: ImageCohort, name: str, *, seed: int) -> tuple[Grey, ...]:
    """Shift every image.

    Args:
        cohort: The images.
        name: Of :data:`SHIFTS`.
        seed: The same seed gives the same copies.
    """
    shift = SHIFTS[name]
    copies = (
        shift((image / 255).astype(np.float32), np.random.default_rng((seed, place)))
        for place, image in enumerate(cohort.images)
    )
    return tuple(np.clip((255 * copy).round(), 0, 255).astype(np.uint8) for copy in copies)
