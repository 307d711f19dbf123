"""The student: one small net that learns the teacher's out-of-fold probabilities and the labels, with inputs missing at random."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from cds_service.training.nets import ChainNet, Held, Mask, Table, fit_net, logits_of
from cds_service.training.recipe_types import MaskRecipe, Recipe
from cds_service.training.teacher import OutOfFold

__all__ = ["distil", "held_to", "hide", "make_mask", "out_of_fold_logits"]

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def distil(
    table: Table, teacher: OutOfFold, inputs: tuple[str, ...], recipe: Recipe, *, say: Callable[[str], None]
) -> tuple[ChainNet, list[ChainNet]]:
    """Fit the student on all rows, and one a fold on the rows outside it.

    The student of fold k learns from teachers that saw neither fold k nor the row that they speak about, so its
    predictions of fold k are out of fold through and through.

    Returns:
        The student, and the students of the folds.
    """
    mask, held = make_mask(recipe.student.masks, inputs), held_to(recipe, inputs, recipe.student.held)
    of_folds = []
    for k in range(recipe.folds):
        say(f"student {k + 1} of {recipe.folds + 1}: without fold {k + 1}")
        chosen = teacher.fold != k
        of_folds.append(_fit(table.rows(chosen), teacher.nested[k, chosen], recipe, mask, held))
    say(f"student {recipe.folds + 1} of {recipe.folds + 1}: on all rows")
    return _fit(table, teacher.outside, recipe, mask, held), of_folds


def out_of_fold_logits(
    students: list[ChainNet], fold: npt.NDArray[np.int64], values: Float32, present: Float32
) -> Floats:
    """Ask each fold's student about its fold."""
    logits = np.full((len(values), students[0].head.out_features), np.nan)
    for k, student in enumerate(students):
        logits[fold == k] = logits_of(student, values[fold == k], present[fold == k])
    return logits


def make_mask(recipe: MaskRecipe, inputs: tuple[str, ...]) -> Mask:
    """Make the function that lets inputs go missing, as charts do: whole panels, and single values."""
    places = [torch.tensor([inputs.index(name) for name in group]) for group in recipe.groups]
    may_go = torch.tensor([name not in recipe.never for name in inputs])

    def mask(present: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = len(present)
        gone = torch.rand(present.shape, generator=generator) < recipe.single_drop
        for members in places:
            together = torch.rand((rows, 1), generator=generator) < recipe.group_drop
            gone[:, members] |= together
        whole = torch.rand((rows, 1), generator=generator) < recipe.whole
        return torch.where(gone & may_go & ~whole, torch.zeros_like(present), present)

    return mask


def held_to(recipe: Recipe, inputs: tuple[str, ...], weight: float) -> Held | None:
    """Hold a net to the directions of the recipe's trees, or to none if that weighs nothing."""
    trees = recipe.teacher.trees
    directions = tuple(1 if name in trees.rising else -1 if name in trees.falling else 0 for name in inputs)
    return Held(directions, weight) if weight > 0 else None


def hide(present: Float32, inputs: tuple[str, ...], names: tuple[str, ...]) -> Float32:
    """Make some inputs missing in all rows."""
    hidden = present.copy()
    hidden[:, [inputs.index(name) for name in names]] = 0
    return hidden


def _fit(table: Table, soft: Floats, recipe: Recipe, mask: Mask, held: Held | None) -> ChainNet:
    weight = recipe.student.soft_weight
    mixed = (weight * soft + (1 - weight) * table.targets).astype(np.float32)
    return fit_net(
        Table(table.values, table.present, mixed, table.height),
        recipe.student.net,
        seed=recipe.seed,
        mask=mask,
        held=held,
    )
