"""Features in, probabilities out, or the reason why not."""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from cds_service.clinical.features import Feature
from cds_service.model.abstain import Abstention, Laid
from cds_service.model.chain import Shift, Sign, prevalence_shift
from cds_service.model.runtime import Model

__all__ = ["Abstention", "Prediction", "predict", "predict_many"]


class Prediction(Struct, frozen=True):
    """What the model says about one patient."""

    model: str
    version: str
    probabilities: dict[str, float]
    """Output → calibrated probability, each at most the one before; shifted to the site's prevalence if one is declared."""
    display: dict[str, tuple[float, Sign]]
    """Output → what may be shown: the probability, or the edge that it lies beyond."""
    operating_point: str | None
    """The highest one that was reached."""
    used: tuple[str, ...]
    missing: tuple[str, ...]
    at_site_prevalence: bool
    """Whether a percentage may be shown at all: without a declared prevalence, words."""


def predict(
    model: Model, features: Mapping[str, Feature], *, site_prevalence: Mapping[str, float] | None = None
) -> Prediction | Abstention:
    """Ask the model about one patient.

    Args:
        model: An open model.
        features: By name, as ``build_features`` gives them; an input that is not there is missing.
        site_prevalence: The site's own prevalence by output, if it has declared one.

    Returns:
        Probabilities, or an abstention: a value is not a number (``non_finite``), lies outside what the model saw
        in training (``out_of_distribution``), or there is too little to go on (``not_enough_inputs``).

    Raises:
        ValueError: The declared prevalence is impossible.
    """
    laid = model.gate.lay_out(features)
    if isinstance(laid, Abstention):
        return laid
    return _conclude(model, laid, model.logits(laid), _site_shift(model, site_prevalence))


def predict_many(
    model: Model, rows: Sequence[Mapping[str, Feature]], *, site_prevalence: Mapping[str, float] | None = None
) -> list[Prediction | Abstention]:
    """Ask about many patients at once; each answer is the one that :func:`predict` gives.

    Args:
        model: An open model.
        rows: One mapping a patient.
        site_prevalence: As in :func:`predict`.
    """
    shift = _site_shift(model, site_prevalence)
    laid = [model.gate.lay_out(features) for features in rows]
    speaking = [row for row in laid if isinstance(row, Laid)]
    logits = iter(model.logits_many(speaking))
    return [row if isinstance(row, Abstention) else _conclude(model, row, next(logits), shift) for row in laid]


def _site_shift(model: Model, site_prevalence: Mapping[str, float] | None) -> Shift | None:
    if not site_prevalence:
        return None
    return prevalence_shift(model.bundle.prevalence, site_prevalence, model.chain.outputs)


def _conclude(model: Model, laid: Laid, logits: Sequence[float], shift: Shift | None) -> Prediction | Abstention:
    if not all(map(math.isfinite, logits)):
        return Abstention(model.name, model.version, "non_finite", ())
    calibrated = model.chain.probabilities(logits)
    display = model.chain.display(calibrated, shift)
    shown = shift(calibrated) if shift is not None else calibrated
    probabilities = dict(zip(model.chain.outputs, shown, strict=True))
    reached = None
    for name, point in model.bundle.operating_points.items():
        if probabilities[point.output] >= point.threshold:
            reached = name
    return Prediction(
        model.name, model.version, probabilities, display, reached, laid.used, laid.missing, shift is not None
    )
