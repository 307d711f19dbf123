"""One frozen recipe of an image model: everything that decides what a bundle becomes."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec
from cds_service.errors import Fault, SettingsError
from cds_service.training.recipe_types import CalibrationRecipe, OperatingPointRecipe

__all__ = [
    "AugmentRecipe", "FitRecipe", "ImageRecipe", "ShapeName", "read_image_recipe", "read_pixel_spec",
]  # fmt: skip

T = TypeVar("T")

ShapeName = Literal["lite0", "lite0-cut11", "lite0-cut8", "dense", "depthwise"]


class ImageDataRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Which split trains, which judges; the external set is only ever judged on."""

    name: str
    licence: str
    citation: str
    training: tuple[str, ...]
    test_name: str
    test: tuple[str, ...]
    external_name: str


class AugmentRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training view may lie from its image. Shares are of the images, the rest are full swings."""

    least_area: float
    """Smallest crop, as a share of the image."""
    aspect: float
    """Largest stretch of one side, as a natural logarithm."""
    turn_degrees: float
    gamma: float
    """Largest exponent, as a natural logarithm."""
    gain: float
    """Largest overexposure, as a natural logarithm: bright echoes saturate."""
    depth_gain: float
    """Largest slope of brightness with depth: another time-gain compensation."""
    speckle: float
    """Largest standard deviation of multiplicative noise."""
    blur: float
    """Share that is smoothed or sharpened: another frequency or filter."""
    sector: float
    """Share that loses the upper corners, as a curved probe's image does."""
    crosses: float
    """Share that gets measuring crosses, whatever its label: they must tell nothing."""
    text: float
    """Share that gets blocks like burned-in text."""
    hidden: float
    """Share that loses a rectangle."""


class FitRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How a net is fitted: AdamW, one cycle of the learning rate, a moving average of the weights."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    frozen_blocks: int
    """Blocks, with the stem, that keep their pretrained weights: edges and textures need no relearning."""
    mask_weight: float
    """Weight of drawing the lesion beside naming it: it makes the net look there."""
    average: float
    """Decay a step of the moving average of the weights that is kept in the end."""


class ImageTeacherRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    members_per_fold: int
    shape: ShapeName
    fit: FitRecipe


class PruneRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How a fitted student is made narrower."""

    share: float
    """Of the channels of each layer that leave."""
    most_auc_loss: float
    """The narrower student is taken if it loses no more AUC than this out of fold."""
    fit: FitRecipe
    """How the rest learns on."""


class ImageStudentRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    shape: ShapeName
    """The one that ships."""
    family: tuple[ShapeName, ...]
    """All that are measured on the first fold, and which the choice was made from."""
    views: int
    """Augmented views of each image that the teacher has spoken about."""
    soft_weight: float
    """Weight of the teacher's probability; the rest is the label's."""
    fit: FitRecipe
    seeds: int
    """So many students a fold show how much is chance; the first one ships."""
    prune: PruneRecipe


class Int8Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    calibration_images: int
    least_shrink: float
    """int8 must be at least so many times smaller …"""
    most_auc_loss: float
    """… lose no more AUC than this out of fold, and not be slower, or fp32 ships."""


class ImageRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """``recipes/<model>/<name>.toml`` of an image model."""

    kind: Literal["image"]
    model: str
    version: str
    parent: str
    seed: int
    folds: int
    neighbours: int
    """So many consecutive file numbers go to one fold together: they are often one patient."""
    golden_tolerance: Mapping[Literal["fp32", "int8"], float]
    title: str
    population: Mapping[str, str]
    eligible: str
    data: ImageDataRecipe
    augment: AugmentRecipe
    teacher: ImageTeacherRecipe
    student: ImageStudentRecipe
    int8: Int8Recipe
    calibration: CalibrationRecipe
    operating_points: Mapping[str, OperatingPointRecipe]

    def as_dict(self) -> dict[str, Any]:
        """Give the recipe as plain values, for ``metrics.json``."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def read_image_recipe(path: Path) -> ImageRecipe:
    """Read a recipe.

    Raises:
        SettingsError: It can't be read, or a key is unknown, missing or of the wrong type; names the key.
    """
    recipe = _read(path, ImageRecipe, "Mend the recipe; default.toml is a complete one")
    if recipe.folds < 2:
        raise SettingsError(Fault(f"{path}: folds", "out of fold needs at least 2", "Write 4"))
    if set(recipe.data.training) & set(recipe.data.test):
        raise SettingsError(Fault(f"{path}: data", "a split is in training and in test", "Keep the test set apart"))
    if recipe.student.shape not in recipe.student.family:
        raise SettingsError(Fault(f"{path}: student.family", "lacks the shape that ships", "Measure what you ship"))
    return recipe


def read_pixel_spec(path: Path) -> tuple[bytes, PixelSpec]:
    """Read ``pixels.toml``, and keep its bytes for the bundle."""
    return path.read_bytes() if path.exists() else b"", _read(
        path, PixelSpec, "Mend it; see docs/reference/model-bundle.md"
    )


def _read(path: Path, kind: type[T], do: str) -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as fault:
        raise SettingsError(
            Fault(str(path), f"can't be read ({fault.strerror})", "Name a recipe that is there")
        ) from None
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError) as fault:
        raise SettingsError(Fault(str(path), str(fault), do)) from None
