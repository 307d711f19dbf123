"""Directions that medicine knows: a net may be held to them, and how often it goes the other way is counted."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from cds_service.training.monotone import falls_where_it_should_rise
from cds_service.training.nets import Held, Table, fit_net
from cds_service.training.recipe_types import NetRecipe

pytestmark = pytest.mark.train

RECIPE = NetRecipe(hidden=(16,), epochs=25, batch=128, learning_rate=2e-2, weight_decay=0.0, label_weight=0.0)


@pytest.fixture(scope="module")
def table():
    """A risk that falls with glucose for a few by chance of the data: what a free net learns and a held one must not."""
    rng = np.random.default_rng(4)
    values = np.column_stack([rng.normal(100, 20, 2000), rng.normal(50, 10, 2000)]).astype(np.float32)
    odds = -1.0 - 0.06 * (values[:, 0] - 100)
    targets = (rng.random(2000) < 1 / (1 + np.exp(-odds))).astype(np.float32)[:, None]
    return Table(values, np.ones_like(values), targets, np.zeros(2000, dtype=np.float32))


def test_a_free_net_learns_the_wrong_direction_and_it_is_counted(table):
    found = falls_where_it_should_rise(fit_net(table, RECIPE, seed=1), table, ("glucose", "other"), {"glucose": 1})
    assert found["glucose"]["share"] > 0.9
    assert found["glucose"]["furthest"] > 0.3


def test_a_held_net_does_not(table):
    held = fit_net(table, RECIPE, seed=1, held=Held((1, 0), 30.0))
    assert falls_where_it_should_rise(held, table, ("glucose", "other"), {"glucose": 1})["glucose"]["share"] < 0.01


def test_the_other_direction_is_counted_too(table):
    found = falls_where_it_should_rise(fit_net(table, RECIPE, seed=1), table, ("glucose", "other"), {"glucose": -1})
    assert found["glucose"]["share"] < 0.05
