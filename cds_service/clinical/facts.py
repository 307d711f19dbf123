"""What a chart says, each fact with its proof: code, value, unit, time, status and the resource it came from.

What can't be a fact (another patient's, undatable, not valid R4) is kept with its reason, so that a feature
can say why it is missing and a card what was set aside. Values and units stay as they were reported: what a unit
is worth is the feature's business (``declared_unit.py``).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from cds_service.clinical.times import Interval
from cds_service.clinical.units import UCUM

__all__ = ["ConditionFact", "Facts", "ImageFact", "Measurement", "PatientFact", "measured"]


class Measurement(Struct, frozen=True, gc=False):
    """One result as it was reported; ``reason`` says why it can't be used, if so."""

    code: str
    """The coding that matched, ``system|code``."""
    source: str
    """The resource that proves it, ``Observation/abc``."""
    status: str = "final"
    value: float | None = None
    unit: str | None = None
    unit_system: str | None = None
    """UCUM's or another system; None when ``unit`` is text."""
    unit_text: str | None = None
    """The unit as text beside its code, where the two are written differently."""
    comparator: str | None = None
    coded: tuple[str, ...] = ()
    """A coded result, as ``system|code``."""
    start: datetime | None = None
    end: datetime | None = None
    flag: str | None = None
    issued: datetime | None = None
    reason: str | None = None


class PatientFact(Struct, frozen=True):
    born: Interval | None = None
    sex: Literal["male", "female"] | None = None
    deceased: bool = False


class ConditionFact(Struct, frozen=True):
    """A coded Condition or Procedure that counts, or a medication in use."""

    codes: tuple[str, ...]
    source: str
    active: bool = True
    start: datetime | None = None
    end: datetime | None = None


class ImageFact(Struct, frozen=True):
    source: str
    study_uid: str | None
    modalities: tuple[str, ...]
    started: Interval | None


class Facts(Struct, frozen=True):
    """All that one chart says, as far as anything reads it."""

    patient: PatientFact | None = None
    measurements: Mapping[str, list[Measurement]] = {}
    conditions: tuple[ConditionFact, ...] = ()
    medications: tuple[ConditionFact, ...] = ()
    procedures: tuple[ConditionFact, ...] = ()
    encounter_class: str | None = None
    images: tuple[ImageFact, ...] = ()
    set_aside: Mapping[str, int] = {}
    """Reason → how many resources were not used for it."""
    unusable: Mapping[str, str] = {}
    """``Type/id`` → reason, of what was set aside."""
    unproven: frozenset[str] = frozenset()
    """Keys in which something could not be read, so that they can prove no absence."""
    oldest: Mapping[str, datetime] = {}
    """Key → the oldest effective time in it, for "reaches back far enough" (W-12b)."""
    unanswered: Mapping[str, str] = {}
    """Feature → ``key_absent``, ``key_failed`` or ``key_incomplete``, where a key that could bring it has that state."""
    unordered: frozenset[str] = frozenset()
    """Features of which a newer result may stand on a page that was not read."""


def measured(code: str, value: float, unit: str, taken: datetime, *, source: str = "row") -> Measurement:
    """A finished result in a UCUM unit at one instant, as a data set holds it."""
    return Measurement(code=code, source=source, value=value, unit=unit, unit_system=UCUM, start=taken, end=taken)
