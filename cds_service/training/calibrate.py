"""Out-of-fold logits become a calibration, an operating point, and the bins that say how far a number may be trusted."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cds_service.errors import Fault, SettingsError
from cds_service.model.bundle import Calibration, CalibrationBin, CalibrationStep, OperatingPoint
from cds_service.model.chain import calibrated_chain
from cds_service.stats.calibration import ReliabilityBin, fit_logistic, reliability
from cds_service.stats.operating import at_threshold, threshold_for
from cds_service.training.recipe_types import CalibrationRecipe, OperatingPointRecipe

__all__ = ["calibrate", "calibrated", "choose_operating_points"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_METHOD = "logistic recalibration of each step of the chain on out-of-fold predictions, inputs as they were"


def calibrate(logits: Floats, truth: Mapping[str, Bools], recipe: CalibrationRecipe) -> Calibration:
    """Fit intercept and slope of every step of the chain among those who reached the step before.

    Args:
        logits: Out-of-fold step logits, shape (rows, outputs).
        truth: Output → whether each row reaches it.
        recipe: Says the edges of the bins and how many cases make one trustworthy.
    """
    reached = np.ones(len(logits), dtype=np.bool_)
    steps = []
    for place, (output, here) in enumerate(truth.items()):
        design = np.column_stack([np.ones(int(reached.sum())), logits[reached, place]])
        intercept, slope = fit_logistic(design, here[reached], ridge=recipe.ridge).coefficients
        steps.append(CalibrationStep(output, round(float(intercept), 6), round(float(slope), 6)))
        reached = here
    whole = (CalibrationBin(0.0, 1.0, len(logits), None, None),)
    without_bins = Calibration(_METHOD, tuple(steps), recipe.minimum_cases, dict.fromkeys(truth, whole))
    probability = calibrated(logits, without_bins, tuple(truth))
    edges = np.array(recipe.edges)
    bins = {
        output: _bins(reliability(here, probability[output], edges), recipe.minimum_cases)
        for output, here in truth.items()
    }
    return Calibration(_METHOD, tuple(steps), recipe.minimum_cases, bins)


def calibrated(logits: Floats, calibration: Calibration, outputs: tuple[str, ...]) -> dict[str, Floats]:
    """Give the calibrated probabilities of many rows, by the very function that serves."""
    chain = calibrated_chain(outputs, calibration)
    table = np.array([chain.probabilities(row) for row in logits.tolist()])
    return {output: table[:, place] for place, output in enumerate(outputs)}


def choose_operating_points(
    probability: Mapping[str, Floats],
    truth: Mapping[str, Bools],
    eligible: Bools,
    recipe: Mapping[str, OperatingPointRecipe],
    who: str,
) -> dict[str, OperatingPoint]:
    """Find each threshold on the eligible rows, from the lowest to the highest.

    Args:
        probability: Output → calibrated out-of-fold probability.
        truth: Output → whether each row reaches it.
        eligible: Which rows a service would let through.
        recipe: Point → the burden and the PPV that must be reached.
        who: Whom the figures are about, in words.

    Raises:
        SettingsError: The interval of a point's PPV reaches below the minimum that the recipe demands.
    """
    points: dict[str, OperatingPoint] = {}
    for name, wanted in recipe.items():
        score, reached = probability[wanted.output][eligible], truth[wanted.output][eligible]
        threshold = float(np.ceil(threshold_for(score, wanted.cards_per_100) * 1000) / 1000)
        does = at_threshold(reached, score, threshold)
        if does.ppv_score.low < wanted.minimum_ppv_score:
            raise SettingsError(
                Fault(
                    f"recipe: operating_points.{name}",
                    f"its PPV may be as low as {does.ppv_score.low:.3f}, below {wanted.minimum_ppv_score}",
                    "Allow fewer cards, or state a PPV that the model can keep",
                )
            )
        points[name] = OperatingPoint(
            output=wanted.output,
            threshold=threshold,
            cards_per_100=_rounded(does.cards_per_100),
            ppv_score=_rounded(does.ppv_score),
            minimum_ppv_score=wanted.minimum_ppv_score,
            eligible=who,
            cases=does.cases,
        )
    return dict(sorted(points.items(), key=lambda pair: pair[1].threshold))


def _bins(found: tuple[ReliabilityBin, ...], minimum: int) -> tuple[CalibrationBin, ...]:
    """Join a thin bin between thick ones with its neighbour: only the ends may stay thin."""
    thick = [place for place, one in enumerate(found) if one.cases >= minimum]
    joined: list[list[ReliabilityBin]] = []
    for place, one in enumerate(found):
        inside = bool(thick) and thick[0] < place < thick[-1]
        if inside and one.cases < minimum:
            joined[-1].append(one)
        else:
            joined.append([one])
    return tuple(_joined(bins) for bins in joined)


def _joined(bins: list[ReliabilityBin]) -> CalibrationBin:
    cases = sum(one.cases for one in bins)
    predicted = sum(one.predicted * one.cases for one in bins if one.cases)
    observed = sum(one.observed.value * one.cases for one in bins if one.cases)
    return CalibrationBin(
        bins[0].low,
        bins[-1].high,
        cases,
        round(predicted / cases, 6) if cases else None,
        round(observed / cases, 6) if cases else None,
    )


def _rounded(estimate: tuple[float, float, float]) -> tuple[float, float, float]:
    value, low, high = (round(float(number), 4) for number in estimate)
    return value, low, high
