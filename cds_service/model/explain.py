"""What each input adds to an estimate, exactly: its Shapley value over every set of the inputs that are there.

The model knows what "missing" is, so a set of inputs is asked as it stands: the others are missing, and nothing is drawn
from other people. Inputs that the model can't do without are in every set: the others are told against what the model
says of somebody of whom nothing else is known.
"""

from collections.abc import Mapping
from math import factorial, log

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.features import Feature
from cds_service.model.abstain import Abstention, Laid
from cds_service.model.runtime import Model

__all__ = ["MOST_EXPLAINED", "Explanation", "explain"]

Floats = npt.NDArray[np.float64]

MOST_EXPLAINED = 12
"""Inputs beyond those that are always there: each doubles the work; twelve take 4,096 rows."""


class Explanation(Struct, frozen=True):
    """One output of one prediction, taken apart, in natural log odds at the calibration set's prevalence."""

    base: float
    """Of what the model can't do without, alone."""
    contributions: dict[str, float]
    """Input → what it adds; with ``base`` they sum to the estimate. Inputs that are missing add nothing and are not here."""
    estimate: float


def explain(model: Model, features: Mapping[str, Feature]) -> dict[str, Explanation] | Abstention:
    r"""Take a prediction apart (Shapley, 1953; Lundberg and Lee, NIPS 2017, with missing inputs as they are).

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!} \left( f(S \cup i) - f(S) \right)

    Args:
        model: An open model.
        features: By name, as ``predict`` takes them.

    Returns:
        Output → its parts, or the abstention that ``predict`` gives for the same inputs.

    Raises:
        ValueError: The model has more inputs that may be missing than can be taken apart exactly.
    """
    laid = model.gate.lay_out(features)
    if isinstance(laid, Abstention):
        return laid
    specs = model.features.inputs
    there = [place for place, spec in enumerate(specs) if laid.present[place] and spec.missing != "abstain"]
    if len(there) > MOST_EXPLAINED:
        raise ValueError(f"{len(there)} inputs are more than the {MOST_EXPLAINED} that are taken apart exactly")
    odds = _log_odds_of_sets(model, laid, there)
    if not np.isfinite(odds).all():
        return Abstention(model.name, model.version, "non_finite", ())
    weights = _weights(len(there))
    sets = np.arange(len(odds))
    sizes = np.array([int(one).bit_count() for one in sets])
    found = {}
    for place, output in enumerate(model.chain.outputs):
        contributions = {}
        for bit, column in enumerate(there):
            without = sets[(sets >> bit) & 1 == 0]
            gains = odds[without | (1 << bit), place] - odds[without, place]
            contributions[specs[column].name] = float((weights[sizes[without]] * gains).sum())
        found[output] = Explanation(float(odds[0, place]), contributions, float(odds[-1, place]))
    return found


def _log_odds_of_sets(model: Model, laid: Laid, there: list[int]) -> Floats:
    """Ask the model about every set of the inputs that are there, shape (sets, outputs); bit b of a set's number is input b."""
    always = [flag if place not in there else 0.0 for place, flag in enumerate(laid.present)]
    rows = []
    for one in range(1 << len(there)):
        present = list(always)
        for bit, place in enumerate(there):
            present[place] = float(one >> bit & 1)
        values = [value if flag else 0.0 for value, flag in zip(laid.values, present, strict=True)]
        rows.append(Laid(values, present, (), ()))
    chain = model.chain
    return np.array([[_log_odds(one) for one in chain.probabilities(row)] for row in model.logits_many(rows)])


def _weights(count: int) -> Floats:
    """By the size of the set that an input joins."""
    return np.array([factorial(size) * factorial(count - size - 1) / factorial(count) for size in range(count)])


def _log_odds(probability: float) -> float:
    return log(probability / (1 - probability)) if 0 < probability < 1 else float("nan")
