"""A plain logistic regression on the same inputs: what a model must beat to be worth its trouble."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.stats.calibration import fit_logistic

__all__ = ["LogisticBaseline", "fit_baseline"]

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


class LogisticBaseline(Struct, frozen=True, forbid_unknown_fields=True):
    """Linear log odds of standardised inputs; a missing input is taken to be average."""

    inputs: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: Mapping[str, tuple[float, ...]]
    """Output → intercept and one coefficient an input."""

    def probability(self, output: str, values: Float32, present: Float32) -> Floats:
        """Give the probability of one output for many rows."""
        odds = _design(values, present, self.mean, self.scale) @ np.array(self.coefficients[output])
        return np.asarray(1 / (1 + np.exp(-odds)))


def fit_baseline(
    inputs: tuple[str, ...], values: Float32, present: Float32, truth: Mapping[str, npt.NDArray[np.bool_]]
) -> LogisticBaseline:
    """Fit one regression an output (ridge 1, which does not touch the intercept)."""
    seen = present.sum(axis=0).clip(min=1).astype(np.float64)
    mean = values.sum(axis=0, dtype=np.float64) / seen
    scale = np.sqrt((((values - mean) * present) ** 2).sum(axis=0) / seen).clip(min=1e-6)
    design = _design(values, present, tuple(mean), tuple(scale))
    return LogisticBaseline(
        inputs,
        _plain(mean),
        _plain(scale),
        {output: _plain(fit_logistic(design, reached, ridge=1.0).coefficients) for output, reached in truth.items()},
    )


def _design(values: Float32, present: Float32, mean: tuple[float, ...], scale: tuple[float, ...]) -> Floats:
    standard = (values.astype(np.float64) - np.array(mean)) / np.array(scale) * present
    return np.column_stack([np.ones(len(values)), standard])


def _plain(array: Floats) -> tuple[float, ...]:
    return tuple(round(float(number), 8) for number in array)
