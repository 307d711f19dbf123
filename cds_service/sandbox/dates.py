"""Shifts a chart in time, by whole days, so that a patient recorded years ago looks seen a fortnight ago."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

__all__ = ["NEWEST_OBSERVATION_AGE_DAYS", "days_to_shift", "newest_day", "shift_dates"]

NEWEST_OBSERVATION_AGE_DAYS = 14
"""How old the newest Observation of a chart is on the day the sandbox starts (design.md, the sandbox command)."""

_FHIR_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(T.*)?)?)?")
_DATE_SUFFIXES = ("Date", "DateTime", "Instant")
_DATE_ELEMENTS = frozenset(
    [
        "date",
        "issued",
        "start",
        "end",
        "started",
        "authoredOn",
        "authored",
        "lastUpdated",
        "creation",
        "sent",
        "received",
        "event",
        "recorded",
        "time",
    ]
)
_OBSERVATION_TIMES = ("effectiveDateTime", "effectiveInstant")


def shift_dates(resource: Mapping[str, Any], days: int) -> dict[str, Any]:
    """Copy a resource with every date, dateTime, instant and period moved by so many days.

    Times of day and offsets stay. A birth date moves with the rest, so the age at each observation stays
    true. A partial date (``2019-05``, ``2019``) moves by its middle. The generated narrative is left out,
    since it repeats the old dates as prose.

    >>> shift_dates({"birthDate": "1960-02-28", "effectiveDateTime": "2019-12-31T23:30:00+09:00"}, 2)
    {'birthDate': '1960-03-01', 'effectiveDateTime': '2020-01-02T23:30:00+09:00'}
    """
    return {
        name: _shifted(name, value, days)
        for name, value in resource.items()
        if not (name == "text" and isinstance(value, dict))  # a Narrative; CodeableConcept.text is a string
    }


def _shifted(name: str, value: Any, days: int) -> Any:
    if isinstance(value, dict):
        return shift_dates(value, days)
    if isinstance(value, list):
        return [_shifted(name, item, days) for item in value]
    if isinstance(value, str) and (name in _DATE_ELEMENTS or name.endswith(_DATE_SUFFIXES)):
        return _shift_one(value, days)
    return value


def _shift_one(value: str, days: int) -> str:
    match = _FHIR_DATE.fullmatch(value)
    if match is None:
        return value
    year, month, day, rest = match.groups()
    middle = date(int(year), int(month or 7), int(day or 15))
    moved = middle + timedelta(days=days)
    if month is None:
        return f"{moved.year:04d}"
    if day is None:
        return f"{moved.year:04d}-{moved.month:02d}"
    return moved.isoformat() + (rest or "")


def newest_day(resources: Iterable[Mapping[str, Any]]) -> date | None:
    """Find the day of the newest Observation, in its own time zone; None when none has a full date."""
    days = [
        date.fromisoformat(text[:10])
        for resource in resources
        if resource.get("resourceType") == "Observation"
        for text in _times(resource)
        if len(text) >= len("2026-01-01")
    ]
    return max(days, default=None)


def _times(observation: Mapping[str, Any]) -> list[str]:
    period: Mapping[str, str] = observation.get("effectivePeriod", {})
    times = [observation.get(name) for name in _OBSERVATION_TIMES] + [period.get("start"), period.get("end")]
    return [text for text in times if text]


def days_to_shift(resources: Iterable[Mapping[str, Any]], today: date) -> int:
    """Count the days that bring the newest Observation to a fortnight before *today*; 0 without Observations."""
    newest = newest_day(resources)
    return 0 if newest is None else (today - timedelta(days=NEWEST_OBSERVATION_AGE_DAYS) - newest).days
