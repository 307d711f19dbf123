"""What a model reads of a patient: a value or a reason, never both, never a silent zero."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from cds_service.clinical.feature_spec import FeatureSet

__all__ = ["Feature", "model_inputs"]


class Feature(Struct, frozen=True, gc=False):
    """A value in the declared unit, or the reason that there is none."""

    name: str
    value: float | None
    reason: str | None = None
    unit: str = "1"
    source: str | None = None
    code: str | None = None
    start: datetime | None = None
    taken: datetime | None = None
    """The end of the clinically relevant time."""
    flags: tuple[str, ...] = ()
    """``unit_from_text``, ``unit_alias``, ``time_partial``, ``time_local``."""
    newer_unusable: str | None = None
    """Why a newer result than this one was not used."""
    reported: tuple[float, str] | None = None
    """The value and unit as they came, where they differ from the declared unit."""


def model_inputs(feature_set: FeatureSet, features: Mapping[str, Feature]) -> tuple[list[float], list[float]]:
    """Lay the inputs out as the graph wants them: (values, present); clipped as declared, a missing one 0 and 0."""
    values: list[float] = []
    present: list[float] = []
    for spec in feature_set.inputs:
        value = features[spec.name].value
        if value is None:
            values.append(0.0)
            present.append(0.0)
            continue
        if spec.clip is not None:
            value = min(max(value, spec.clip[0]), spec.clip[1])
        values.append(value)
        present.append(1.0)
    return values, present
