"""AUC and DeLong against values computed another way."""

import numpy as np
import pytest

from cds_service.stats.discrimination import roc_auc_difference, roc_auc_score, roc_auc_with_interval


def by_pairs(truth, score):
    """The definition itself: the share of pairs in the right order, a tie worth half."""
    wins = score[truth][:, None] - score[~truth][None, :]
    return ((wins > 0) + 0.5 * (wins == 0)).mean()


def cases(seed, size=200, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.3
    score = truth * 0.8 + rng.normal(size=size)
    return truth, np.round(score, 1) if ties else score


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_the_share_of_ordered_pairs(seed, ties):
    truth, score = cases(seed, ties=ties)
    assert roc_auc_score(truth, score) == pytest.approx(by_pairs(truth, score), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_variance_equals_the_textbook_double_sum(ties):
    """DeLong et al. (1988), equations 4 to 6, written out over all pairs."""
    truth, score = cases(7, ties=ties)
    wins = score[truth][:, None] - score[~truth][None, :]
    psi = (wins > 0) + 0.5 * (wins == 0)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    variance = v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)
    found = roc_auc_with_interval(truth, score)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * variance**0.5, rel=1e-6)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Binormal scores one SD apart: the true AUC is Φ(1/√2) = 0.7602."""
    inside = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = np.arange(150) < 50
        found = roc_auc_with_interval(truth, rng.normal(size=150) + truth)
        inside += found.low <= 0.76025 <= found.high
    assert 0.91 <= inside / 300 <= 0.98


def test_paired_difference_is_narrower_than_two_separate_intervals():
    truth, score = cases(3, size=500)
    near = score + np.random.default_rng(1).normal(scale=0.1, size=500)
    paired = roc_auc_difference(truth, score, near).difference
    alone = roc_auc_with_interval(truth, score)
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_paired_p_value_is_uniform_where_nothing_differs():
    """Two equally noisy readings of one signal: about 5 % of the tests are below 0.05."""
    low = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = rng.random(300) < 0.4
        signal = rng.normal(size=300) + truth
        first, second = (signal + rng.normal(size=300) for _ in range(2))
        low += roc_auc_difference(truth, first, second).p_value < 0.05
    assert 0.02 <= low / 300 <= 0.09


@pytest.mark.parametrize(
    ("truth", "score", "message"),
    [
        pytest.param([True, True], [0.1, 0.2], "with and without", id="no controls"),
        pytest.param([True, False], [np.nan, 0.2], "not finite", id="a score that is none"),
        pytest.param([True, False], [0.1], "one entry a case", id="shapes differ"),
    ],
)
def test_refusals(truth, score, message):
    with pytest.raises(ValueError, match=message):
        roc_auc_score(np.array(truth), np.array(score))
