"""From the graph's logits to probabilities that agree with each other and with a site's prevalence."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from cds_service.model.bundle import Bundle, Calibration, CalibrationBin

__all__ = ["Chain", "Shift", "calibrated_chain", "make_chain", "prevalence_shift"]

Sign = Literal["=", "<", ">"]


class Shift(Struct, frozen=True):
    """How much rarer or more frequent each class is at a site than in the calibration set.

    Class k holds those who reach output k but not the next; class 0 reaches none.
    """

    ratios: tuple[float, ...]

    def __call__(self, probabilities: Sequence[float]) -> list[float]:
        r"""Shift the odds of every class to the site.

        .. math:: p'_k = p_k r_k / \sum_j p_j r_j, \quad r_k = \pi'_k / \pi_k

        For a single output that is the shift of the odds by the ratio of the two prevalences' odds; over ordered
        outputs it keeps them ordered.

        References:
            Saerens, Latinne & Decaestecker (2002), doi:10.1162/089976602753284446, equation 2.4.
        """
        weighted = [share * ratio for share, ratio in zip(_classes(probabilities), self.ratios, strict=True)]
        total = sum(weighted)
        reached: list[float] = []
        above = 0.0
        for share in reversed(weighted[1:]):
            above += share
            reached.append(above / total)
        reached.reverse()
        return reached


class Chain(Struct, frozen=True):
    """The calibrated chain: P(output k) = P(output k-1) × logistic(intercept + slope × logit k)."""

    outputs: tuple[str, ...]
    steps: tuple[tuple[float, float], ...]
    trusted: tuple[tuple[float, float], ...]
    """For each output the edges between which every bin has enough cases behind it."""

    def probabilities(self, logits: Sequence[float]) -> list[float]:
        """Turn one row of the graph into probabilities, each at most the one before.

        Returns NaN where a logit is NaN: whoever calls checks that all are finite.
        """
        reached = 1.0
        chain = []
        for (intercept, slope), logit in zip(self.steps, logits, strict=True):
            reached *= _logistic(intercept + slope * logit)
            chain.append(reached)
        return chain

    def display(self, probabilities: Sequence[float], shift: Shift | None) -> dict[str, tuple[float, Sign]]:
        """Say each probability as it may be shown: never beyond the edge of a bin with too few cases.

        Args:
            probabilities: Of the calibration set's prevalence.
            shift: Applied to the probabilities and to the edges alike.
        """
        shown: dict[str, tuple[float, Sign]] = {}
        shifted = shift(probabilities) if shift is not None else probabilities
        for place, (output, probability) in enumerate(zip(self.outputs, probabilities, strict=True)):
            low, high = self.trusted[place]
            if low <= probability <= high:
                shown[output] = (shifted[place], "=")
                continue
            edge, sign = (low, "<") if probability < low else (high, ">")
            if shift is not None:
                edge = _at_edge(edge, probability, shifted[place])
            shown[output] = (edge, "<" if sign == "<" else ">")
        return shown


def make_chain(bundle: Bundle) -> Chain:
    """Make the chain of a bundle."""
    return calibrated_chain(bundle.outputs, bundle.calibration)


def calibrated_chain(outputs: tuple[str, ...], calibration: Calibration) -> Chain:
    """Make the chain of a calibration; training uses the same definition as serving."""
    bins = [calibration.bins[output] for output in outputs]
    return Chain(
        outputs,
        tuple((step.intercept, step.slope) for step in calibration.steps),
        tuple(_trusted(of_output, calibration.minimum_cases) for of_output in bins),
    )


def prevalence_shift(prevalence: Mapping[str, float], site: Mapping[str, float], outputs: tuple[str, ...]) -> Shift:
    """Compare a site's prevalence with the calibration set's.

    Args:
        prevalence: Of the calibration set, for every output.
        site: Of the site, for one or more outputs; the classes between two known outputs keep their proportions.
        outputs: In falling order.

    Raises:
        ValueError: An output is unknown, a prevalence lies outside (0, 1), or they do not fall.
    """
    return _shift(
        tuple(prevalence[name] for name in outputs),
        tuple(site.get(name) for name in outputs),
        frozenset(site) - frozenset(outputs),
    )


@lru_cache(maxsize=1024)
def _shift(ours: tuple[float, ...], theirs: tuple[float | None, ...], unknown: frozenset[str]) -> Shift:
    if unknown:
        raise ValueError(f"a prevalence is given for an unknown output: {', '.join(sorted(unknown))}")
    known = [place for place, share in enumerate(theirs) if share is not None]
    given = [share for share in theirs if share is not None]
    if not given:
        raise ValueError("no prevalence is given")
    if not all(0 < share < 1 for share in given) or any(a <= b for a, b in pairwise(given)):
        raise ValueError("prevalences lie between 0 and 1 and fall from output to output")
    bounds = [0, *(place + 1 for place in known), len(ours) + 1]
    ours_above = [1.0, *(ours[place] for place in known), 0.0]
    theirs_above = [1.0, *given, 0.0]
    ratios: list[float] = []
    for part in range(len(bounds) - 1):
        ratio = (theirs_above[part] - theirs_above[part + 1]) / (ours_above[part] - ours_above[part + 1])
        ratios.extend([ratio] * (bounds[part + 1] - bounds[part]))
    return Shift(tuple(ratios))


def _classes(probabilities: Sequence[float]) -> list[float]:
    classes = [1 - probabilities[0]]
    classes.extend(here - after for here, after in zip(probabilities, (*probabilities[1:], 0.0), strict=True))
    return classes


def _at_edge(edge: float, before: float, after: float) -> float:
    """Shift an edge by the odds ratio by which this patient's probability was shifted."""
    odds = _odds(edge) * _odds(after) / _odds(before)
    return odds / (1 + odds)


def _odds(probability: float) -> float:
    held = min(max(probability, 1e-12), 1 - 1e-12)
    return held / (1 - held)


def _trusted(bins: Sequence[CalibrationBin], minimum: int) -> tuple[float, float]:
    """Find the two edges between which no bin is too thin; only the ends may be."""
    thick = [one for one in bins if one.cases >= minimum]
    low = 0.0 if thick[0] is bins[0] else thick[0].low
    high = 1.0 if thick[-1] is bins[-1] else thick[-1].high
    return low, high


def _logistic(odds: float) -> float:
    if odds >= 0:
        return 1 / (1 + math.exp(-odds)) if odds < 700 else 1.0
    small = math.exp(odds) if odds > -700 else 0.0
    return small / (1 + small) if odds == odds else math.nan  # noqa: PLR0124 - NaN is the one number that is not itself
