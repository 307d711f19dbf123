"""Does an estimate move the way that medicine knows? More glucose, age, weight or waist never lowers the risk."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from cds_service.training.nets import ChainNet, Table, logits_of, probabilities_of
from cds_service.training.recipe_types import Recipe

__all__ = ["directions_of", "falls_where_it_should_rise"]

Direction = Literal[1, -1]
"""1: the estimate may only rise with the input; -1: only fall."""

_ROWS = 2_000
_STEPS = 17
_NOTICEABLE = 0.005


def directions_of(recipe: Recipe) -> dict[str, Direction]:
    """Input → the direction that the recipe states for its trees."""
    rising: dict[str, Direction] = dict.fromkeys(recipe.teacher.trees.rising, 1)
    falling: dict[str, Direction] = dict.fromkeys(recipe.teacher.trees.falling, -1)
    return rising | falling


def falls_where_it_should_rise(
    net: ChainNet, table: Table, inputs: tuple[str, ...], directions: Mapping[str, Direction]
) -> dict[str, dict[str, float]]:
    """Move one input of real rows from its 10th to its 90th percentile, in steps, and watch the last output.

    Args:
        net: Fitted.
        table: Rows; of a large table the first 2,000 are asked.
        inputs: Names of the columns.
        directions: Input → its direction.

    Returns:
        Input → ``share`` of the rows whose estimate moves the wrong way by more than 0.005 somewhere on the way, and
        ``furthest``, the largest such move (probability).
    """
    found = {}
    for name, direction in directions.items():
        place = inputs.index(name)
        rows = np.nonzero(table.present[:, place] > 0)[0][:_ROWS]
        grid = np.quantile(table.values[rows, place], np.linspace(0.1, 0.9, _STEPS))
        estimates = np.empty((_STEPS, len(rows)))
        values = table.values[rows].copy()
        for step, value in enumerate(grid):
            values[:, place] = value
            estimates[step] = probabilities_of(logits_of(net, values, table.present[rows]))[:, -1]
        along = direction * estimates
        against = (np.maximum.accumulate(along, axis=0) - along).max(axis=0)
        found[name] = {
            "share": round(float((against > _NOTICEABLE).mean()), 4),
            "furthest": round(float(against.max()), 4),
        }
    return found
