"""Does the model put those who have the condition above those who have not?"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cds_service.stats.intervals import Estimate, normal_quantile

__all__ = ["PairedDifference", "roc_auc_difference", "roc_auc_score", "roc_auc_with_interval"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class PairedDifference(NamedTuple):
    """AUC of the first score less AUC of the second, on the same cases."""

    difference: Estimate
    p_value: float
    """Two-sided, of no difference."""


def _midranks(values: Floats) -> Floats:
    """Rank from 1, ties sharing the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def _placements(truth: Bools, score: Floats) -> tuple[float, Floats, Floats]:
    """Give the AUC and DeLong's structural components: of the cases, then of the controls."""
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError("truth and score have one entry a case")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    cases, controls = score[truth], score[~truth]
    if cases.size == 0 or controls.size == 0:
        raise ValueError("an AUC needs cases with and without the condition")
    together = _midranks(np.concatenate([cases, controls]))
    of_cases = (together[: cases.size] - _midranks(cases)) / controls.size
    of_controls = 1 - (together[cases.size :] - _midranks(controls)) / cases.size
    return float(of_cases.mean()), of_cases, of_controls


def roc_auc_score(truth: Bools, score: Floats) -> float:
    r"""Measure the area under the receiver operating characteristic: up is better.

    .. math:: AUC = P(s_1 > s_0) + \tfrac12 P(s_1 = s_0)

    Args:
        truth: Whether each case has the condition, shape (n,).
        score: Any score that should rise with the condition, shape (n,).

    Returns:
        0.5 (chance) to 1 (every case above every control); below 0.5 the score points the wrong way.

    Raises:
        ValueError: One of the two groups is empty, a score is not finite, or shapes differ.

    References:
        Hanley & McNeil (1982), doi:10.1148/radiology.143.1.7063747.

    >>> roc_auc_score(np.array([False, False, True, True]), np.array([.1, .4, .35, .8]))
    0.75
    """
    return _placements(truth, score)[0]


def roc_auc_with_interval(truth: Bools, score: Floats, *, level: float = 0.95) -> Estimate:
    r"""Measure the AUC with DeLong's interval, kept inside [0, 1].

    .. math:: \widehat{var} = S_{10}/m + S_{01}/n

    Args:
        truth: Whether each case has the condition, shape (n,), at least two of each kind.
        score: The score, shape (n,).
        level: Coverage of the interval.

    Raises:
        ValueError: As :func:`roc_auc_score`.

    References:
        DeLong, DeLong & Clarke-Pearson (1988), doi:10.2307/2531595; midranks after Sun & Xu (2014),
        doi:10.1109/LSP.2014.2337313.

    >>> str(roc_auc_with_interval(np.array([0, 0, 1, 1, 0, 1], dtype=bool), np.array([.1, .4, .35, .8, .2, .9])))
    '0.889 [0.581, 1.000]'
    """
    auc, of_cases, of_controls = _placements(truth, score)
    variance = _variance(of_cases) / of_cases.size + _variance(of_controls) / of_controls.size
    half = normal_quantile(level) * math.sqrt(variance)
    return Estimate(auc, max(0.0, auc - half), min(1.0, auc + half))


def roc_auc_difference(truth: Bools, first: Floats, second: Floats, *, level: float = 0.95) -> PairedDifference:
    """Compare two scores on the same cases by DeLong's paired test.

    Args:
        truth: Whether each case has the condition, shape (n,).
        first: One score, shape (n,).
        second: The other score of the same cases, shape (n,).
        level: Coverage of the interval of the difference.

    Returns:
        AUC(first) - AUC(second) with its interval, and the two-sided p-value of no difference. Two scores
        that rank alike differ by nothing, with certainty: an interval of width 0 and p = 1.

    References:
        DeLong, DeLong & Clarke-Pearson (1988), doi:10.2307/2531595.

    >>> truth = np.array([False, False, True, True])
    >>> same = roc_auc_difference(truth, np.array([.1, .4, .35, .8]), np.array([1., 4., 3.5, 8.]))
    >>> same.difference.value, same.p_value
    (0.0, 1.0)
    """
    auc_1, cases_1, controls_1 = _placements(truth, first)
    auc_2, cases_2, controls_2 = _placements(truth, second)
    variance = _variance(cases_1 - cases_2) / cases_1.size + _variance(controls_1 - controls_2) / controls_1.size
    gap, error = auc_1 - auc_2, math.sqrt(variance)
    half = normal_quantile(level) * error
    p_value = 1.0 if error == 0 else 2 * NormalDist().cdf(-abs(gap) / error)
    return PairedDifference(Estimate(gap, gap - half, gap + half), p_value)


def _variance(component: Floats) -> float:
    return float(component.var(ddof=1)) if component.size > 1 else float("nan")
