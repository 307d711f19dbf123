"""The figures of a model on one set of cases, with intervals, whole and by subgroup: what ``metrics.json`` holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cds_service.stats.calibration import brier_loss, calibration_fit, observed_expected_ratio
from cds_service.stats.discrimination import roc_auc_difference, roc_auc_with_interval
from cds_service.stats.intervals import Estimate, wilson
from cds_service.stats.operating import AtThreshold

__all__ = [
    "LEAST_CASES",
    "LEAST_EVENTS",
    "compare",
    "describe",
    "describe_subgroups",
    "discriminate",
    "threshold_figures",
    "written",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_CASES, LEAST_EVENTS = 50, 20
"""Below either a subgroup is listed with its counts as not assessable."""
_DIGITS = 6


def written(estimate: Estimate) -> dict[str, float | None]:
    """Write an estimate as JSON has it: value, low, high; null where it is not known."""
    return {
        name: round(float(number), _DIGITS) if np.isfinite(number) else None
        for name, number in zip(("value", "low", "high"), estimate, strict=True)
    }


def describe(truth: Mapping[str, Bools], probability: Mapping[str, Floats]) -> dict[str, Any]:
    """Give discrimination, calibration and overall error of each output.

    Args:
        truth: Output → whether each case has it, shape (n,).
        probability: Output → calibrated probability, shape (n,).
    """
    return {output: _one(reached, probability[output]) for output, reached in truth.items()}


def describe_subgroups(
    groups: Mapping[str, npt.NDArray[np.str_]], truth: Mapping[str, Bools], probability: Mapping[str, Floats]
) -> dict[str, Any]:
    """Give the same by subgroup. A group with fewer than 50 cases, or 20 of either outcome, shows its counts only."""
    by_title: dict[str, Any] = {}
    for title, labels in groups.items():
        by_title[title] = {}
        for label in sorted(set(labels.tolist())):
            inside = labels == label
            by_title[title][label] = describe(
                {output: reached[inside] for output, reached in truth.items()},
                {output: values[inside] for output, values in probability.items()},
            )
    return by_title


def discriminate(truth: Mapping[str, Bools], score: Mapping[str, Floats]) -> dict[str, Any]:
    """Give the AUC of any score, by output."""
    return {output: {"roc_auc_score": written(roc_auc_with_interval(truth[output], score[output]))} for output in truth}


def compare(truth: Mapping[str, Bools], first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Any]:
    """Give AUC(first) - AUC(second) on the same cases, by output: above 0 the first is better."""
    figures = {}
    for output, reached in truth.items():
        paired = roc_auc_difference(reached, first[output], second[output])
        figures[output] = {"roc_auc_difference": written(paired.difference), "p_value": round(paired.p_value, _DIGITS)}
    return figures


def threshold_figures(at: AtThreshold) -> dict[str, Any]:
    """Write what a threshold does."""
    shares = ("cards_per_100", "ppv_score", "npv_score", "sensitivity_score", "specificity_score")
    return {
        "threshold": at.threshold,
        "cases": at.cases,
        "cards": at.cards,
        **{name: written(getattr(at, name)) for name in shares},
    }


def _one(reached: Bools, probability: Floats) -> dict[str, Any]:
    cases, events = int(reached.size), int(reached.sum())
    counts = {"cases": cases, "events": events, "prevalence": written(wilson(events, cases))}
    if cases < LEAST_CASES or min(events, cases - events) < LEAST_EVENTS:
        return {**counts, "assessable": False}
    try:
        weak = calibration_fit(reached, probability)
        intercept, slope = written(weak.intercept), written(weak.slope)
    except ValueError:  # this group is separated perfectly: a slope has no finite value, and null says so
        intercept = slope = written(Estimate(float("nan"), float("nan"), float("nan")))
    return {
        **counts,
        "assessable": True,
        "roc_auc_score": written(roc_auc_with_interval(reached, probability)),
        "observed_expected_ratio": written(observed_expected_ratio(reached, probability)),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "brier_loss": written(brier_loss(reached, probability)),
    }
