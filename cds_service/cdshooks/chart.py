"""What one call says about itself and its patient, as far as a card may speak of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from cds_service.clinical.facts import Facts
from cds_service.clinical.features import Feature

__all__ = ["Chart"]


@dataclass(frozen=True, slots=True)
class Chart:
    """What one call says about itself and its patient."""

    patient: str
    user: str
    encounter: str | None
    facts: Facts
    features: Mapping[str, Feature]
    months: int
    """Without the measurement that the card would order; see ``absence_window_months``."""
    now: datetime
    zone: tzinfo | None
    states: Mapping[str, str] = field(default_factory=dict)
    """Prefetch key → how it was answered, so that the card says what it went on without."""
