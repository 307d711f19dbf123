"""Exact contributions: they sum to the estimate, a missing input has none, and the order of inputs does not matter."""

from itertools import permutations
from math import exp, log

import pytest

from cds_service.clinical.features import Feature
from cds_service.model.abstain import Abstention, Laid
from cds_service.model.explain import explain
from cds_service.model.predict import predict

FEW = {"age_years": 58.0, "bmi": 31.0, "glucose": 118.0, "hdl": 41.0}
MANY = FEW | {"sex": 1.0, "waist": 104.0, "sbp": 138.0, "dbp": 84.0, "total_cholesterol": 212.0, "fasting": 1.0}


def given(values):
    return {name: Feature(name, value) for name, value in values.items()}


@pytest.mark.parametrize("values", [FEW, MANY], ids=["four inputs", "all inputs"])
def test_base_and_contributions_are_the_estimate(model, values):
    probabilities = predict(model, given(values)).probabilities
    for output, told in explain(model, given(values)).items():
        assert told.base + sum(told.contributions.values()) == pytest.approx(told.estimate, abs=1e-6)
        assert 1 / (1 + exp(-told.estimate)) == pytest.approx(probabilities[output], abs=1e-6)


def odds(model, names):
    """Log odds of the last output when only these of FEW are known."""
    places = [spec.name for spec in model.features.inputs]
    present = [float(name in names) for name in places]
    values = [FEW[name] if name in names else 0.0 for name in places]
    probability = model.chain.probabilities(model.logits(Laid(values, present, (), ())))[-1]
    return log(probability / (1 - probability))


def test_they_are_the_mean_over_all_orders_in_which_inputs_become_known(model):
    told = explain(model, given(FEW))["ge65"]
    orders = list(permutations(["bmi", "glucose", "hdl"]))
    for name, contribution in told.contributions.items():
        before = [order[: order.index(name)] for order in orders]
        gains = [odds(model, ("age_years", *known, name)) - odds(model, ("age_years", *known)) for known in before]
        assert contribution == pytest.approx(sum(gains) / len(orders), abs=1e-5)
    assert told.base == pytest.approx(odds(model, ("age_years",)), abs=1e-5)


def test_what_is_missing_or_always_there_has_no_contribution(model):
    told = explain(model, given(FEW))["ge65"]
    assert set(told.contributions) == {"bmi", "glucose", "hdl"}


def test_a_high_glucose_raises_and_a_low_one_lowers(model):
    high, low = (
        explain(model, given(FEW | {"glucose": value}))["ge65"].contributions["glucose"] for value in (190, 80)
    )
    assert high > 1 > 0 > low


def test_where_the_model_is_silent_nothing_is_explained(model):
    assert isinstance(explain(model, given({"age_years": 50.0})), Abstention)
