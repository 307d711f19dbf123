"""Intervals of proportions, thresholds, and figures of subgroups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.stats.figures import describe, describe_subgroups, written
from cds_service.stats.intervals import Estimate, bootstrap, normal_quantile, wilson
from cds_service.stats.operating import at_threshold, threshold_for


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [  # Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3
        pytest.param(81, 263, 0.2553, 0.3662, id="81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15 of 148"),
        pytest.param(0, 20, 0.0000, 0.1611, id="none of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1 of 29"),
    ],
)
def test_wilson_gives_newcombes_table(successes, total, low, high):
    found = wilson(successes, total)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_holds_its_estimate_inside_zero_and_one(successes, more):
    found = wilson(successes, successes + more)
    if successes + more:
        assert 0 <= found.low <= found.value + 1e-12
        assert found.value <= found.high + 1e-12 <= 1 + 1e-9


def test_no_case_is_no_knowledge():
    found = wilson(0, 0)
    assert np.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize("level", [0, 1, 1.5])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        normal_quantile(level)


def test_bootstrap_agrees_with_the_normal_interval_of_a_mean():
    values = np.random.default_rng(2).normal(size=400)
    found = bootstrap(lambda x: float(x.mean()), values, seed=5, resamples=2000)
    half = 1.96 * values.std(ddof=1) / 20
    assert (found.low, found.high) == (
        pytest.approx(values.mean() - half, abs=0.02),
        pytest.approx(values.mean() + half, abs=0.02),
    )
    assert found == bootstrap(lambda x: float(x.mean()), values, seed=5, resamples=2000)


def test_a_threshold_counts_what_a_two_by_two_table_counts():
    truth = np.array([True] * 6 + [False] * 14)
    score = np.array([0.9] * 4 + [0.1] * 2 + [0.9] * 2 + [0.1] * 12)
    found = at_threshold(truth, score, 0.5)
    assert (found.cards, found.cards_per_100.value) == (6, 30)
    assert found.ppv_score.value == pytest.approx(4 / 6)
    assert found.npv_score.value == pytest.approx(12 / 14)
    assert found.sensitivity_score.value == pytest.approx(4 / 6)
    assert found.specificity_score.value == pytest.approx(12 / 14)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.5, 99.5))
def test_a_threshold_never_passes_its_burden(scores, burden):
    values = np.array(scores)
    shown = (values >= threshold_for(values, burden)).sum()
    assert 100 * shown / len(values) <= burden + 1e-9


def test_a_small_group_shows_its_counts_only():
    truth = {"ge65": np.arange(200) % 4 == 0}
    noise = np.random.default_rng(4).uniform(0, 0.5, size=200)
    probability = {"ge65": np.where(truth["ge65"], 0.4, 0.1) + noise}
    groups = {"size": np.array(["large"] * 160 + ["small"] * 40)}
    found = describe_subgroups(groups, truth, probability)["size"]
    assert found["large"]["ge65"]["assessable"]
    assert found["small"]["ge65"] == {**found["small"]["ge65"], "assessable": False, "cases": 40, "events": 10}
    assert "roc_auc_score" not in found["small"]["ge65"]
    assert set(describe(truth, probability)["ge65"]) >= {"roc_auc_score", "observed_expected_ratio", "brier_loss"}


def test_what_is_not_known_is_written_as_null():
    assert written(Estimate(0.5, float("nan"), 1.0)) == {"value": 0.5, "low": None, "high": 1.0}


def test_a_perfectly_separated_group_has_no_slope_and_says_so():
    truth = {"ge65": np.arange(100) < 40}
    found = describe(truth, {"ge65": np.where(truth["ge65"], 0.9, 0.1)})["ge65"]
    assert found["roc_auc_score"]["value"] == 1
    assert found["calibration_slope"] == {"value": None, "low": None, "high": None}
