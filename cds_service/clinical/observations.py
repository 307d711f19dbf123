"""One Observation is read: its value, its time, and whether it is the later version of another."""

from datetime import datetime, tzinfo

from msgspec import structs

from cds_service.clinical import fhir_shapes as fhir
from cds_service.clinical.codings import tokens_of
from cds_service.clinical.times import TimeFault, interval_of

__all__ = ["Dated", "is_latest", "issued_at", "taken_at", "value_of"]

_VERSION_DIGITS = 16
_INTEGER_MAX = 2**31 - 1
"""FHIR's integer has 32 bits."""
Dated = tuple[datetime | None, datetime | None, str | None, str | None]
"""(start, end, flag, reason): when a result was taken, or why that or its patient is not known."""
_Value = tuple[float | None, str | None, str | None, str | None, tuple[str, ...], str | None]
"""(value, unit, unit system, comparator, coded result, reason)."""


def value_of(holder: fhir.Observation | fhir.Component) -> _Value:
    """What was reported as the result, in the unit in which it was, or the reason that it is no value."""
    quantity = holder.value_quantity
    if holder.data_absent_reason is not None:  # beside a value too, as some systems send 0 for "not done"
        return None, None, None, None, (), "no_value"
    values = holder.value_count
    if values > 1:  # value[x] is one value: which of two was meant is not for us to choose
        return None, None, None, None, (), "invalid_resource"
    if quantity is not None:
        if quantity.value is None:
            return None, None, None, None, (), "no_value"
        if quantity.code is not None and quantity.system is not None:
            return quantity.value, quantity.code, quantity.system, quantity.comparator, (), None
        return quantity.value, quantity.unit or quantity.code, None, quantity.comparator, (), None
    if holder.value_string is not None:
        return None, None, None, None, (), "text_value" if holder.value_string.strip() else "invalid_resource"
    if holder.value_codeable_concept is not None:
        coded = tokens_of(holder.value_codeable_concept)
        return None, None, None, None, coded, None if coded else "text_value"
    if holder.value_integer is not None:
        if abs(holder.value_integer) > _INTEGER_MAX:
            return None, None, None, None, (), "invalid_resource"
        return float(holder.value_integer), None, None, None, (), None
    return None, None, None, None, (), "value_not_number" if values else "no_value"


def taken_at(resource: fhir.Observation, zone: tzinfo | None) -> Dated:
    """(start, end, flag, reason): the clinically relevant time is effective[x], never ``issued`` (case B-054)."""
    times = (resource.effective_date_time, resource.effective_instant, resource.effective_period)
    try:
        text = times[0] or times[1]
        if resource.effective_timing is not None:
            return None, None, None, "time_ambiguous"
        if times.count(None) < len(times) - 1:
            return None, None, None, "time_invalid"
        if text:
            start, end, flag = interval_of(text, zone)
            return start, end, flag, None
        period = times[2]
        if period is None:
            return None, None, None, "time_missing"
        if period.start is None or period.end is None:
            return None, None, None, "time_ambiguous"
        first, last = interval_of(period.start, zone), interval_of(period.end, zone)
    except TimeFault:
        return None, None, None, "time_invalid"
    if last.end < first.start:
        return None, None, None, "time_invalid"
    return first.start, last.end, first.flag or last.flag, None


def issued_at(resource: fhir.Observation, zone: tzinfo | None) -> datetime | None:
    """When this version was reported, where that is told and can be read."""
    text = resource.issued
    if text is None:
        return None
    try:
        return interval_of(text, zone).end
    except TimeFault:
        return None


def is_latest(one: fhir.Observation, other: fhir.Observation) -> bool:
    """Whether one copy says what the other says, or is certainly the later version of the two.

    Certain is what both copies tell and differ in: ``meta.lastUpdated``, else the server's version number, else the
    time of issue.
    """
    if structs.replace(one, meta=None) == structs.replace(other, meta=None):
        return True
    for mine, others in zip(_versions(one), _versions(other), strict=True):
        if mine is not None and others is not None and mine != others:
            return mine > others
    return False


def _versions(resource: fhir.Observation) -> tuple[float | None, float | None, float | None]:
    meta = resource.meta if resource.meta is not None else fhir.Meta()
    number = meta.version_id or ""
    return (
        _instant(meta.last_updated),
        float(number) if number.isdecimal() and number.isascii() and len(number) < _VERSION_DIGITS else None,
        _instant(resource.issued),
    )


def _instant(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return interval_of(text).start.timestamp()
    except TimeFault:
        return None
