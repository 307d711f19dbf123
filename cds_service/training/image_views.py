"""Training views of an image: other crops, other scanners, and crosses on everyone so that crosses tell nothing."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

from cds_service.clinical.pixels import PixelSpec, fit_inside, prepare, resize, standardise
from cds_service.cohorts.images import ImageCohort
from cds_service.training.image_recipe_types import AugmentRecipe

__all__ = ["Base", "as_served", "draw_views", "make_base"]

Float32 = npt.NDArray[np.float32]

_ROOM = 1.5
"""The base is so much larger than the view, so that a crop still has its pixels."""


class Base(Struct, frozen=True):
    """Decoded images, shrunk once with the serving resize: what views are cut from."""

    pictures: Tensor
    """(n, 2, side, side) in 0 … 1: grey, and the lesion mask; the image lies in the upper left."""
    extent: Tensor
    """(n, 2): height and width of each image in the base, in pixels."""
    side: int


def make_base(cohort: ImageCohort, spec: PixelSpec) -> Base:
    """Shrink every image and its mask once."""
    side = round(spec.size * _ROOM)
    pictures = np.zeros((len(cohort), 2, side, side), dtype=np.float32)
    extent = np.zeros((len(cohort), 2), dtype=np.float32)
    for place, (image, mask) in enumerate(zip(cohort.images, cohort.masks, strict=True)):
        height, width = fit_inside(image.shape[0], image.shape[1], side)
        pictures[place, 0, :height, :width] = resize(image, height, width) / 255
        pictures[place, 1, :height, :width] = resize(mask.astype(np.float32), height, width)
        extent[place] = height, width
    return Base(torch.from_numpy(pictures), torch.from_numpy(extent), side)


def as_served(images: Sequence[npt.NDArray[np.uint8]], spec: PixelSpec) -> Tensor:
    """Lay every image out as serving does, shape (n, 1, size, size)."""
    return torch.from_numpy(np.stack([prepare(image, spec) for image in images]))[:, None]


def draw_views(
    base: Base, rows: Tensor, spec: PixelSpec, recipe: AugmentRecipe, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one view of each row.

    Args:
        base: All images.
        rows: Which of them, shape (n,).
        spec: The bundle's ``pixels.toml``; the view is standardised by the function that serves.
        recipe: How far a view may lie from its image.
        generator: The same state gives the same views.

    Returns:
        Views (n, 1, size, size) and the lesion mask in each, 0 … 1 (n, size, size).
    """
    draw = _Draw(len(rows), generator)
    grid, inside, depth = _geometry(base.extent[rows], base.side, spec.size, recipe, draw)
    seen = functional.grid_sample(base.pictures[rows], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    grey = _scanner(seen[:, 0], depth, recipe, draw)
    grey = _marks(grey, depth, recipe, draw)
    units = standardise(grey.clamp(0, 1).numpy(), inside.numpy(), spec)
    return torch.from_numpy(units)[:, None], seen[:, 1] * inside


class _Draw:
    """Random numbers, one an image, shaped to multiply images."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def swing(self, size: float) -> Tensor:
        return (torch.rand((self.count, 1, 1), generator=self.generator) * 2 - 1) * size

    def share(self, of: float) -> Tensor:
        return torch.rand((self.count, 1, 1), generator=self.generator) < of

    def between(self, low: float, high: float) -> Tensor:
        return low + torch.rand((self.count, 1, 1), generator=self.generator) * (high - low)

    def noise(self, height: int, width: int) -> Tensor:
        return torch.randn((self.count, 1, height, width), generator=self.generator)


def _geometry(
    extent: Tensor, side: int, size: int, recipe: AugmentRecipe, draw: _Draw
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each pixel of a view comes from: crop, stretch, turn, mirror."""
    height, width = extent[:, 0].reshape(-1, 1, 1), extent[:, 1].reshape(-1, 1, 1)
    area, stretch = draw.between(recipe.least_area, 1.0), torch.exp(draw.swing(recipe.aspect) / 2)
    part_w, part_h = (area.sqrt() * stretch).clamp(max=1.0), (area.sqrt() / stretch).clamp(max=1.0)
    middle_x = 0.5 + draw.swing(0.5) * (1 - part_w)
    middle_y = 0.5 + draw.swing(0.5) * (1 - part_h)
    across, down = part_w * width, part_h * height * torch.exp(draw.swing(recipe.aspect))
    longer = torch.maximum(across, down)
    view_w, view_h = (across / longer * size).round(), (down / longer * size).round()
    places = torch.arange(size, dtype=torch.float32) + 0.5
    u = (places.reshape(1, 1, -1) - ((size - view_w) / 2).floor()) / view_w
    v = (places.reshape(1, -1, 1) - ((size - view_h) / 2).floor()) / view_h
    u, v = u.expand(-1, size, size), v.expand(-1, size, size)
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    mirrored = torch.where(draw.share(0.5), 1 - u, u)
    angle = draw.swing(math.radians(recipe.turn_degrees))
    x0, y0 = (mirrored - 0.5) * part_w * width, (v - 0.5) * part_h * height
    x = middle_x * width + x0 * angle.cos() - y0 * angle.sin()
    y = middle_y * height + x0 * angle.sin() + y0 * angle.cos()
    inside &= (x > 0) & (x < width) & (y > 0) & (y < height)
    return torch.stack([2 * x / side - 1, 2 * y / side - 1], dim=-1), inside, v


def _scanner(grey: Tensor, depth: Tensor, recipe: AugmentRecipe, draw: _Draw) -> Tensor:
    """Another scanner: dynamic range, gain, time-gain compensation, speckle, filter."""
    grey = grey.clamp(0, 1) ** torch.exp(draw.swing(recipe.gamma))
    bend = draw.swing(recipe.depth_gain) * (depth - 0.5) + draw.swing(recipe.depth_gain) * ((depth - 0.5) ** 2 - 0.08)
    grey = grey * torch.exp(bend + draw.swing(recipe.gain))
    size = grey.shape[-1]
    fine, coarse = draw.noise(size, size)[:, 0], draw.noise(size // 2, size // 2)
    coarse = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    grain = torch.where(draw.share(0.5), fine, 1.5 * coarse)
    grey = grey * (1 + draw.between(0, recipe.speckle) * grain)
    smooth = functional.avg_pool2d(grey[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    return torch.where(draw.share(recipe.blur), grey + draw.between(-1.0, 0.7) * (grey - smooth), grey)


def _marks(grey: Tensor, depth: Tensor, recipe: AugmentRecipe, draw: _Draw) -> Tensor:
    """What is drawn over tissue or hides it: corners of a curved probe, a lost rectangle, crosses, text."""
    size = grey.shape[-1]
    aside = (torch.arange(size).reshape(1, 1, -1) + 0.5) / size - 0.5
    corner = aside.abs() > 0.5 * (draw.between(0.35, 0.95) + depth * draw.between(0.4, 1.2))
    grey = torch.where(corner & draw.share(recipe.sector), torch.zeros_like(grey), grey)
    rows, columns = torch.arange(size).reshape(1, -1, 1), torch.arange(size).reshape(1, 1, -1)
    top, left = draw.between(0, 0.8) * size, draw.between(0, 0.8) * size
    tall, wide = draw.between(0.1, 0.35) * size, draw.between(0.1, 0.35) * size
    lost = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    grey = torch.where(lost & draw.share(recipe.hidden), grey.mean(dim=(1, 2), keepdim=True), grey)
    marked = draw.share(recipe.crosses).flatten().tolist()
    written = draw.share(recipe.text).flatten().tolist()
    for place, (crossed, text) in enumerate(zip(marked, written, strict=True)):
        if crossed:
            _cross(grey[place], draw.generator)
        if text:
            _text(grey[place], draw.generator)
    return grey


def _cross(picture: Tensor, generator: torch.Generator) -> None:
    """Draw one or two pairs of measuring crosses, with a dotted line between some."""
    size = picture.shape[-1]
    numbers = torch.rand(12, generator=generator).tolist()
    arm, light = 1 + int(numbers[0] * 3), 0.6 + 0.4 * numbers[1]
    for pair in range(1 + int(numbers[2] > 0.4)):
        x0, y0, dx, dy = (numbers[3 + 4 * pair + k] for k in range(4))
        ends = [(0.15 + 0.5 * x0, 0.15 + 0.5 * y0), (0.15 + 0.5 * x0 + 0.35 * dx, 0.15 + 0.5 * y0 + 0.35 * (dy - 0.3))]
        for fx, fy in ends:
            x, y = int(fx * size), int(fy * size)
            picture[max(0, y - arm) : y + arm + 1, x] = light
            picture[y, max(0, x - arm) : x + arm + 1] = light
        if numbers[11] > 0.5:
            for step in range(1, 12):
                x, y = (int((a + (b - a) * step / 12) * size) for a, b in zip(*ends, strict=True))
                picture[y, x] = light


def _text(picture: Tensor, generator: torch.Generator) -> None:
    """Draw a line of bright blocks near an edge, as burned-in words look when they are small."""
    size = picture.shape[-1]
    numbers = torch.rand(4, generator=generator).tolist()
    y = int((0.03 if numbers[0] < 0.5 else 0.88) * size)
    x = int(numbers[1] * 0.6 * size)
    length = 6 + int(numbers[2] * size * 0.25)
    strokes = torch.rand((4, length), generator=generator) < 0.55
    line = picture[y : y + 4, x : x + length]
    line[strokes[: line.shape[0], : line.shape[1]]] = 0.6 + 0.4 * numbers[3]
