"""The image student learns the teacher's word on augmented views, and the labels; shapes are chosen on the first fold."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from torch import Tensor

from cds_service.cohorts.images import ImageCohort
from cds_service.training.image_fit import Batches, logits_of_images
from cds_service.training.image_nets import ImageNet
from cds_service.training.image_prune import prune_channels
from cds_service.training.image_recipe_types import ImageRecipe, PruneRecipe, ShapeName
from cds_service.training.image_teacher import Views, fit_or_load

__all__ = ["Students", "distil_images", "measure_family"]

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]


class Students(Struct, frozen=True):
    """One student a fold, each blind to its fold, and what they say out of fold."""

    of_folds: tuple[ImageNet, ...]
    logits: Floats
    final: ImageNet | None
    """Fitted on all images; none where only the folds were asked for."""


class Lesson(Struct, frozen=True):
    """What students learn from, and where finished ones are kept."""

    cohort: ImageCohort
    fold: npt.NDArray[np.int64]
    served: Tensor
    views: Views
    recipe: ImageRecipe
    key: str
    cache: Path
    say: Say


def distil_images(
    lesson: Lesson, shape: ShapeName, *, soft: bool, final: bool, seed: int = 0, prune: PruneRecipe | None = None
) -> Students:
    """Fit a student of one shape for every fold, and one on all images.

    Args:
        lesson: The images, their views and the teacher's word.
        shape: Of the net.
        soft: Whether it hears the teacher at all; the same views, steps and seeds without it are the comparison.
        final: Whether to fit the one on all images as well.
        seed: Which of the recipe's seeds.
        prune: Make the students narrower, and let them learn on.
    """

    def student(k: int | None) -> ImageNet:
        fitted = _fit(lesson, shape, k, soft=soft, seed=seed)
        return fitted if prune is None else _narrow(lesson, shape, fitted, prune, k, seed=seed)

    nets = tuple(student(k) for k in range(lesson.recipe.folds))
    logits = np.full(len(lesson.cohort), np.nan)
    for k, net in enumerate(nets):
        logits[lesson.fold == k] = logits_of_images(net, lesson.served[lesson.fold == k])
    return Students(nets, logits, student(None) if final else None)


def measure_family(lesson: Lesson) -> dict[ShapeName, tuple[ImageNet, Floats]]:
    """Fit every shape of the family without the first fold, and ask each about it: what the choice is made from."""
    asked = lesson.served[lesson.fold == 0]
    nets = {shape: _fit(lesson, shape, 0, soft=True, seed=0) for shape in lesson.recipe.student.family}
    return {shape: (net, logits_of_images(net, asked)) for shape, net in nets.items()}


def _fit(lesson: Lesson, shape: ShapeName, k: int | None, *, soft: bool, seed: int) -> ImageNet:
    """Fit one student; without a fold it hears all members, with one only those that never saw that fold."""
    recipe = lesson.recipe.student
    title = f"student {shape} {'' if soft else 'without a teacher '}{_where(k)}{f', seed {seed + 1}' if seed else ''}"
    decides = (lesson.key, msgspec.to_builtins(recipe.fit), recipe.views, recipe.soft_weight, seed)
    file = f"student-{_short(decides)}-{shape}-{'soft' if soft else 'hard'}-{'all' if k is None else k}.safetensors"
    return fit_or_load(
        lesson.cache / file, shape, _rows(lesson, k), _batches(lesson, k, soft=soft), recipe.fit,
        seed=lesson.recipe.seed + 1000 * seed, say=lesson.say, title=title,
    )  # fmt: skip


def _narrow(
    lesson: Lesson, shape: ShapeName, fitted: ImageNet, prune: PruneRecipe, k: int | None, *, seed: int
) -> ImageNet:
    recipe = lesson.recipe.student
    decides = (
        lesson.key, msgspec.to_builtins(recipe.fit), recipe.views, recipe.soft_weight, prune.share,
        msgspec.to_builtins(prune.fit), seed,
    )  # fmt: skip
    return fit_or_load(
        lesson.cache / f"narrow-{_short(decides)}-{shape}-{'all' if k is None else k}.safetensors",
        shape, _rows(lesson, k), _batches(lesson, k, soft=True), prune.fit,
        seed=lesson.recipe.seed + 1000 * seed + 500, say=lesson.say,
        title=f"student {shape}, {prune.share:.0%} of its channels pruned, {_where(k)}",
        begin=lambda: prune_channels(fitted, prune.share, lesson.served.shape[-1]),
    )  # fmt: skip


def _where(k: int | None) -> str:
    return "on all images" if k is None else f"without fold {k + 1}"


def _short(decides: object) -> str:
    return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:12]


def _rows(lesson: Lesson, k: int | None) -> Tensor:
    return torch.arange(len(lesson.cohort)) if k is None else torch.from_numpy(np.nonzero(lesson.fold != k)[0])


def _batches(lesson: Lesson, k: int | None, *, soft: bool) -> Batches:
    recipe = lesson.recipe
    hard = torch.from_numpy(lesson.cohort.malignant.astype(np.float32))
    said = lesson.views.said.mean(axis=0) if k is None else lesson.views.said[k]
    heard = torch.sigmoid(torch.from_numpy(said)).float()
    weight = recipe.student.soft_weight if soft else 0.0
    target = weight * heard + (1 - weight) * hard
    count = recipe.student.views

    def batches(epoch: int, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        view, some = epoch % count, batch.numpy()
        seen = torch.from_numpy(lesson.views.pictures[view, some].astype(np.float32))[:, None]
        masks = torch.from_numpy(lesson.views.masks[view, some].astype(np.float32))
        mirrored = torch.rand(len(batch), generator=generator) < 0.5
        seen = torch.where(mirrored.reshape(-1, 1, 1, 1), seen.flip(3), seen)
        masks = torch.where(mirrored.reshape(-1, 1, 1), masks.flip(2), masks)
        return seen, masks, target[view, batch]

    return batches
