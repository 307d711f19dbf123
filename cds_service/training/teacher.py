"""The teacher: nets of several seeds and boosted trees, their log odds averaged; always asked about rows it never saw."""

import hashlib
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from sklearn.ensemble import HistGradientBoostingClassifier

from cds_service.stats.calibration import logit
from cds_service.training.nets import Table, fit_net, logits_of, probabilities_of
from cds_service.training.recipe_types import Recipe

__all__ = ["OutOfFold", "assign_folds", "teach"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Say = Callable[[str], None]


class OutOfFold(Struct, frozen=True):
    """The teacher's probabilities of every row, from members that never saw it."""

    fold: npt.NDArray[np.int64]
    outside: Floats
    """Row i: from the teacher that was fitted without i's fold, shape (rows, outputs)."""
    nested: Floats
    """[k, i]: from the teacher fitted without fold k and without i's fold; what the student of fold k may learn
    from. Shape (folds, rows, outputs); where i lies in k, NaN."""


def assign_folds(ids: tuple[str, ...], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Put each person in a fold by a hash of the id: all rows of a person share it, whatever the order of rows."""
    digests = (hashlib.sha256(f"{seed}:{one}".encode()).digest() for one in ids)
    return np.array([int.from_bytes(digest[:8], "big") % folds for digest in digests], dtype=np.int64)


def teach(
    table: Table, ids: tuple[str, ...], inputs: tuple[str, ...], recipe: Recipe, *, cache: Path | None, say: Say
) -> OutOfFold:
    """Fit the teacher without each fold and without each pair of folds, and ask it about what was left out.

    Args:
        table: All training rows with hard targets.
        ids: Who each row is.
        inputs: Names of the inputs, for the trees' directions.
        recipe: The frozen recipe.
        cache: A folder that keeps the finished probabilities; the same data and recipe find them again.
        say: Where progress goes.
    """
    kept = cache / f"teacher-{_key(table, ids, recipe)}.npz" if cache is not None else None
    if kept is not None and kept.exists():
        say(f"teacher: out-of-fold predictions taken from {kept.name}")
        with np.load(kept, allow_pickle=False) as found:
            return OutOfFold(found["fold"], found["outside"], found["nested"])
    fold = assign_folds(ids, recipe.folds, recipe.seed)
    rows, outputs = table.targets.shape
    outside = np.full((rows, outputs), np.nan)
    nested = np.full((recipe.folds, rows, outputs), np.nan)
    left_out = [(k,) for k in range(recipe.folds)] + list(combinations(range(recipe.folds), 2))
    for number, folds in enumerate(left_out, start=1):
        say(f"teacher {number} of {len(left_out)}: without {' and '.join(f'fold {k + 1}' for k in folds)}")
        asked = np.isin(fold, folds)
        given = _fit_and_ask(table, ~asked, asked, inputs, recipe)
        if len(folds) == 1:
            outside[asked] = given
            continue
        one, other = folds
        for mine, others in ((one, other), (other, one)):
            nested[mine, fold == others] = given[fold[asked] == others]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, fold=fold, outside=outside, nested=nested)
    return OutOfFold(fold, outside, nested)


def _fit_and_ask(table: Table, known: Bools, asked: Bools, inputs: tuple[str, ...], recipe: Recipe) -> Floats:
    teacher = recipe.teacher
    fitted, values, present = table.rows(known), table.values[asked], table.present[asked]
    nets = np.zeros((int(asked.sum()), table.targets.shape[1]))
    for member in range(teacher.nets):
        net = fit_net(fitted, teacher.net, seed=recipe.seed + member)
        nets += logit(probabilities_of(logits_of(net, values, present)))
    trees = _trees(fitted, values, present, inputs, recipe)
    odds = (1 - teacher.tree_weight) * nets / teacher.nets + teacher.tree_weight * logit(trees)
    falling: Floats = np.minimum.accumulate(1 / (1 + np.exp(-odds)), axis=1)
    return falling


def _trees(
    fitted: Table,
    values: npt.NDArray[np.float32],
    present: npt.NDArray[np.float32],
    inputs: tuple[str, ...],
    recipe: Recipe,
) -> Floats:
    trees = recipe.teacher.trees
    directions = [1 if name in trees.rising else -1 if name in trees.falling else 0 for name in inputs]
    known, asked = np.where(fitted.present > 0, fitted.values, np.nan), np.where(present > 0, values, np.nan)
    columns = []
    for place in range(fitted.targets.shape[1]):
        model = HistGradientBoostingClassifier(
            max_iter=trees.rounds,
            learning_rate=trees.learning_rate,
            max_leaf_nodes=trees.leaves,
            min_samples_leaf=trees.leaf_cases,
            l2_regularization=trees.l2,
            monotonic_cst=directions,
            early_stopping=False,
            random_state=recipe.seed,
        ).fit(known, fitted.targets[:, place] > 0.5)
        columns.append(model.predict_proba(asked)[:, 1])
    return np.stack(columns, axis=1)


def _key(table: Table, ids: tuple[str, ...], recipe: Recipe) -> str:
    """Name what decides the teacher: rows, folds, seed and the teacher's own part of the recipe."""
    plain = recipe.as_dict()
    words = json.dumps([plain["teacher"], recipe.seed, recipe.folds, list(ids)], sort_keys=True)
    digest = hashlib.sha256(words.encode())
    for array in (table.values, table.present, table.targets, table.height):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
