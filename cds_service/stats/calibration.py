"""Do the probabilities mean what they say?"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cds_service.stats.intervals import Estimate, normal_quantile, wilson

__all__ = [
    "CalibrationFit",
    "LogisticFit",
    "ReliabilityBin",
    "brier_loss",
    "calibration_fit",
    "fit_logistic",
    "logit",
    "observed_expected_ratio",
    "reliability",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class LogisticFit(NamedTuple):
    """Coefficients of a logistic regression and their covariance, intercept first."""

    coefficients: Floats
    covariance: Floats


class CalibrationFit(NamedTuple):
    """Weak calibration: both are best at their ideal, not high or low."""

    intercept: Estimate
    """Calibration in the large, slope held at 1; ideal 0, above it the risk is underestimated."""
    slope: Estimate
    """Ideal 1; below it the predictions are too extreme."""


class ReliabilityBin(NamedTuple):
    """Cases whose probability lies in [low, high): how many, what was predicted, what was seen."""

    low: float
    high: float
    cases: int
    predicted: float
    observed: Estimate


def logit(probability: Floats) -> Floats:
    """Give log odds; the ends are held at 1e-9 from 0 and 1 so that a certain model stays finite.

    >>> float(logit(np.array([0.5]))[0])
    0.0
    """
    held = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(held) - np.log1p(-held), dtype=np.float64)


def fit_logistic(design: Floats, truth: Bools, *, offset: Floats | None = None, ridge: float = 0.0) -> LogisticFit:
    r"""Fit a logistic regression by Newton's method.

    .. math:: \beta \leftarrow \beta + (X^T W X + \lambda D)^{-1} (X^T (y - p) - \lambda D \beta)

    Args:
        design: One column a coefficient, shape (n, k); the first is the intercept's column of ones.
        truth: Shape (n,).
        offset: A fixed part of the linear predictor, shape (n,).
        ridge: λ, which does not touch the intercept; 0 is maximum likelihood.

    Raises:
        ValueError: No convergence in 100 steps: the groups are perfectly separated, or one is empty.

    References:
        McCullagh & Nelder (1989), Generalized Linear Models, chapter 4.
    """
    fixed = np.zeros(len(truth)) if offset is None else offset
    penalty = np.diag(np.r_[0.0, np.full(design.shape[1] - 1, ridge)])
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(design @ beta + fixed, -500, 500)))
        weight = np.maximum(probability * (1 - probability), 1e-12)
        information = design.T @ (design * weight[:, None]) + penalty
        try:
            step = np.linalg.solve(information, design.T @ (truth - probability) - penalty @ beta)
        except np.linalg.LinAlgError:
            break
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            return LogisticFit(beta, np.linalg.inv(information))
        if np.abs(beta).max() > 1e4:
            break
    raise ValueError("the logistic fit did not converge: one outcome is absent, or the groups are separated")


def observed_expected_ratio(truth: Bools, probability: Floats, *, level: float = 0.95) -> Estimate:
    r"""Compare how many had the condition with how many were predicted: best at 1.

    .. math:: O:E = \sum y_i / \sum p_i, \quad se(\ln O:E) = \sqrt{(1 - O/n) / O}

    Args:
        truth: Whether each case has the condition, shape (n,).
        probability: Predicted probabilities, shape (n,).
        level: Coverage of the interval.

    Returns:
        Above 1 the model underestimates. With no observed case the interval is unknown (NaN).

    References:
        Debray et al. (2017), doi:10.1136/bmj.i6460, appendix.

    >>> str(observed_expected_ratio(np.arange(100) < 20, np.full(100, 0.25)))
    '0.800 [0.541, 1.184]'
    """
    observed, expected = float(truth.sum()), float(probability.sum())
    ratio = observed / expected
    if observed == 0:
        return Estimate(0.0, float("nan"), float("nan"))
    half = normal_quantile(level) * math.sqrt((1 - observed / len(truth)) / observed)
    return Estimate(ratio, ratio * math.exp(-half), ratio * math.exp(half))


def calibration_fit(truth: Bools, probability: Floats, *, level: float = 0.95) -> CalibrationFit:
    r"""Regress the outcome on the predicted log odds.

    .. math:: logit P(y=1) = a + logit(p), \qquad logit P(y=1) = a' + b\,logit(p)

    Args:
        truth: Whether each case has the condition, shape (n,).
        probability: Predicted probabilities, shape (n,).
        level: Coverage of the intervals.

    Returns:
        a (calibration in the large) and b (slope), with Wald intervals.

    Raises:
        ValueError: An outcome is absent, or the prediction separates the outcomes perfectly.

    References:
        Cox (1958), doi:10.1093/biomet/45.3-4.562; Van Calster et al. (2016), doi:10.1016/j.jclinepi.2015.12.005.
    """
    z = normal_quantile(level)
    odds = logit(probability)
    ones = np.ones((len(truth), 1))
    large = fit_logistic(ones, truth, offset=odds)
    both = fit_logistic(np.column_stack([ones, odds]), truth)

    def wald(fit: LogisticFit, place: int) -> Estimate:
        value, half = float(fit.coefficients[place]), z * math.sqrt(float(fit.covariance[place, place]))
        return Estimate(value, value - half, value + half)

    return CalibrationFit(wald(large, 0), wald(both, 1))


def brier_loss(truth: Bools, probability: Floats, *, level: float = 0.95) -> Estimate:
    r"""Measure the mean squared error of the probabilities: down is better.

    .. math:: \frac1n \sum (p_i - y_i)^2

    References:
        Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2. The interval is the normal one of a mean.

    >>> brier_loss(np.array([True, False]), np.array([0.8, 0.4])).value
    0.1
    """
    squares = (probability - truth) ** 2
    mean = float(squares.mean())
    half = (
        normal_quantile(level) * float(squares.std(ddof=1)) / math.sqrt(squares.size)
        if squares.size > 1
        else float("nan")
    )
    return Estimate(round(mean, 12), mean - half, mean + half)


def reliability(truth: Bools, probability: Floats, edges: Floats) -> tuple[ReliabilityBin, ...]:
    """Count what was seen where each probability was predicted.

    Args:
        truth: Whether each case has the condition, shape (n,).
        probability: Predicted probabilities, shape (n,).
        edges: Rising, from 0 to 1; a bin holds its lower edge, the last one both.

    Returns:
        One bin between each two edges, empty ones too; ``observed`` is Wilson's.

    >>> [b.cases for b in reliability(np.array([True, False]), np.array([0.1, 1.0]), np.array([0, 0.5, 1]))]
    [1, 1]
    """
    place = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, len(edges) - 2)
    bins = []
    for number, (low, high) in enumerate(pairwise(edges)):
        inside = place == number
        cases, seen = int(inside.sum()), int(truth[inside].sum())
        predicted = float(probability[inside].mean()) if cases else float("nan")
        bins.append(ReliabilityBin(float(low), float(high), cases, predicted, wilson(seen, cases)))
    return tuple(bins)
