"""Calibration statistics against known answers."""

import numpy as np
import pytest

from cds_service.stats.calibration import (
    brier_loss,
    calibration_fit,
    fit_logistic,
    logit,
    observed_expected_ratio,
    reliability,
)


def drawn(seed, size=20000, intercept=0.0, slope=1.0):
    """Cases whose true log odds are intercept + slope × the predicted log odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.2, size=size)
    truth = rng.random(size) < 1 / (1 + np.exp(-(intercept + slope * odds)))
    return truth, 1 / (1 + np.exp(-odds))


def test_logistic_regression_of_one_binary_column_is_the_log_odds_ratio():
    """A 2 × 2 table has a closed form: intercept = ln odds without, slope = ln odds ratio."""
    exposed = np.r_[np.zeros(100), np.ones(80)]
    truth = np.r_[np.arange(100) < 20, np.arange(80) < 40]
    fit = fit_logistic(np.column_stack([np.ones(180), exposed]), truth)
    assert fit.coefficients == pytest.approx([np.log(20 / 80), np.log((40 / 40) / (20 / 80))])
    assert fit.covariance[1, 1] == pytest.approx(1 / 20 + 1 / 80 + 1 / 40 + 1 / 40)  # Woolf (1955)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.6), (-0.4, 1.4)])
def test_slope_and_intercept_are_found_again(intercept, slope):
    truth, probability = drawn(1, intercept=intercept, slope=slope)
    found = calibration_fit(truth, probability)
    assert found.slope.low <= slope <= found.slope.high
    if slope == 1:
        assert found.intercept.low <= intercept <= found.intercept.high


def test_perfect_separation_is_refused():
    truth = np.array([False, False, True, True])
    with pytest.raises(ValueError, match="did not converge"):
        fit_logistic(np.column_stack([np.ones(4), [0.1, 0.2, 0.8, 0.9]]), truth)


def test_observed_expected_interval_covers():
    inside = 0
    for seed in range(200):
        truth, probability = drawn(seed, size=400)
        found = observed_expected_ratio(truth, probability)
        inside += found.low <= 1 <= found.high
    assert inside / 200 >= 0.93  # conservative: the model's own spread explains a part of the variance


def test_no_event_leaves_the_interval_unknown():
    found = observed_expected_ratio(np.zeros(10, dtype=bool), np.full(10, 0.1))
    assert found.value == 0
    assert np.isnan(found.low)


def test_brier_of_a_fair_coin_is_a_quarter():
    found = brier_loss(np.arange(100) % 2 == 0, np.full(100, 0.5))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_bins_hold_their_lower_edge_and_the_last_one_both():
    bins = reliability(np.array([True, True, False]), np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 0.9, 1.0]))
    assert [one.cases for one in bins] == [1, 1, 1]
    assert bins[0].observed.value == 1


def test_logit_of_certainty_stays_finite():
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
