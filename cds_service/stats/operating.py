"""What a threshold means at the bedside: how many cards, how many of them true, how many cases found."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cds_service.stats.intervals import Estimate, wilson

__all__ = ["AtThreshold", "at_threshold", "threshold_for"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class AtThreshold(NamedTuple):
    """What happens when a card is shown from a threshold on. Of all but the burden, up is better."""

    threshold: float
    cases: int
    cards: int
    cards_per_100: Estimate
    """The burden: down is better."""
    ppv_score: Estimate
    """Of the cards, the share that is true (precision)."""
    npv_score: Estimate
    sensitivity_score: Estimate
    specificity_score: Estimate


def at_threshold(truth: Bools, probability: Floats, threshold: float) -> AtThreshold:
    """Count what a threshold does, each share with Wilson's interval.

    Args:
        truth: Whether each case has the condition, shape (n,).
        probability: Predicted probabilities, shape (n,).
        threshold: A card is shown where the probability is at or above it.

    Raises:
        ValueError: Shapes differ, or there is no case.

    References:
        Altman & Bland (1994), doi:10.1136/bmj.309.6947.102.

    >>> at_threshold(np.array([True, False, True, False]), np.array([.9, .8, .4, .1]), 0.5).ppv_score.value
    0.5
    """
    if truth.shape != probability.shape or truth.size == 0:
        raise ValueError("truth and probability have one entry a case, and there is at least one case")
    shown = probability >= threshold
    cards, positives = int(shown.sum()), int(truth.sum())
    hits = int((shown & truth).sum())
    silent, negatives = truth.size - cards, truth.size - positives
    per_case = wilson(cards, truth.size)
    return AtThreshold(
        threshold=threshold,
        cases=truth.size,
        cards=cards,
        cards_per_100=Estimate(*(100 * share for share in per_case)),
        ppv_score=wilson(hits, cards),
        npv_score=wilson(silent - (positives - hits), silent),
        sensitivity_score=wilson(hits, positives),
        specificity_score=wilson(negatives - (cards - hits), negatives),
    )


def threshold_for(probability: Floats, cards_per_100: float) -> float:
    """Find the lowest threshold that shows at most so many cards per 100 cases.

    Args:
        probability: Predicted probabilities of the cases, shape (n,).
        cards_per_100: The burden that may not be passed, above 0 and below 100.

    >>> threshold_for(np.array([.1, .2, .3, .4]), 50)
    0.3
    """
    if not 0 < cards_per_100 < 100 or probability.size == 0:
        raise ValueError("give a burden between 0 and 100 cards per 100 cases, and at least one case")
    allowed = int(probability.size * cards_per_100 / 100)
    falling = np.unique(probability)[::-1]
    shown = np.searchsorted(np.sort(-probability), -falling, side="right")
    fitting = falling[shown <= allowed]
    return float(fitting[-1]) if fitting.size else float(np.nextafter(falling[0], 2))
