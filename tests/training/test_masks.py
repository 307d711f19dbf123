"""Folds, masks and nets: what must hold whatever the data."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the train extra")

import torch

from cds_service.training.distill import hide, make_mask
from cds_service.training.export import as_onnx
from cds_service.training.nets import ChainNet, Table, chain_targets, fit_net, logits_of, probabilities_of
from cds_service.training.recipe_types import MaskRecipe, NetRecipe
from cds_service.training.teacher import assign_folds

pytestmark = pytest.mark.train

NAMES = ("age_years", "hdl", "glucose", "fasting")
NET = NetRecipe(hidden=(6,), epochs=12, batch=128, learning_rate=0.02, weight_decay=0.01, label_weight=0.1)


def drawn(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(loc=[50, 50, 100, 0.5], scale=[15, 12, 20, 0.3], size=(rows, 4))).astype(np.float32)
    present = (rng.random((rows, 4)) > 0.1).astype(np.float32)
    values *= present
    label = 4 + 0.01 * values[:, 0] + 0.015 * values[:, 2] * present[:, 2] + rng.normal(scale=0.3, size=rows)
    height = ((label - label.mean()) / label.std()).astype(np.float32)
    return Table(values, present, chain_targets(label, [5.7, 6.0, 6.5]), height)


def test_folds_depend_on_the_person_alone():
    ids = tuple(str(number) for number in range(1000))
    folds = assign_folds(ids, 5, seed=1)
    backwards = assign_folds(ids[::-1], 5, seed=1)
    assert (folds == backwards[::-1]).all()
    assert min(np.bincount(folds, minlength=5)) > 150
    assert (folds != assign_folds(ids, 5, seed=2)).any()


def test_masks_drop_panels_together_and_never_the_age():
    mask = make_mask(MaskRecipe(0.3, (("glucose", "fasting"),), 0.5, 0.0, ("age_years",)), NAMES)
    masked = mask(torch.ones((4000, 4)), torch.Generator().manual_seed(1))
    assert masked[:, 0].all()
    assert (masked[:, 2] == masked[:, 3]).all()
    assert masked[:, 1].all()
    assert 0.3 <= 1 - masked[:, 2].mean() <= 0.4  # 0.7 × 0.5


def test_a_mask_never_invents_a_value():
    mask = make_mask(MaskRecipe(0.0, (), 0.0, 0.5, ()), NAMES)
    present = torch.zeros((100, 4))
    assert not mask(present, torch.Generator().manual_seed(1)).any()


def test_hide_leaves_the_original_alone():
    present = np.ones((2, 4), dtype=np.float32)
    assert hide(present, NAMES, ("hdl",)).tolist() == [[1, 0, 1, 1]] * 2
    assert present.all()


def test_the_same_seed_gives_the_same_weights():
    first, second, third = (fit_net(drawn(200), NET, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True))


def test_soft_targets_that_are_hard_give_the_hard_loss():
    """The chain's loss of soft targets falls together with the multinomial one: at the truth it is smallest."""
    net = fit_net(drawn(3000), NET, seed=1)
    table = drawn(3000, seed=9)
    predicted = probabilities_of(logits_of(net, table.values, table.present))
    assert predicted.mean(axis=0) == pytest.approx(table.targets.mean(axis=0), abs=0.04)
    assert (np.diff(predicted, axis=1) < 0).all()


def test_what_is_missing_has_no_weight():
    """A value beside present = 0 never reaches the net."""
    net = fit_net(drawn(), NET, seed=1)
    table = drawn()
    junk = np.where(table.present > 0, table.values, 77).astype(np.float32)
    assert logits_of(net, table.values, table.present) == pytest.approx(logits_of(net, junk, table.present), abs=1e-6)


def test_the_graph_gives_what_the_net_gives_in_the_same_bytes_every_time():
    import onnxruntime as ort

    table = drawn()
    net = ChainNet(table.values, table.present, (5, 5), 3)
    graph = as_onnx(net, NAMES, ("a", "b", "c"))
    assert graph == as_onnx(net, NAMES, ("a", "b", "c"))
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    got = session.run(["logits"], {"values": table.values, "present": table.present})[0]
    assert got == pytest.approx(logits_of(net, table.values, table.present), abs=1e-5)
