"""FHIR times are intervals: a date is its whole day, a month its whole month; nothing is filled in.

Source: FHIR R4, Datatypes, dateTime and instant. A time of day needs seconds and a zone.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

__all__ = ["Interval", "TimeFault", "interval_of", "whole_years"]

_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)"
_DATE_TIME = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    rf"(?P<time>T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]+)?)?(?P<zone>{_ZONE})?)?)?"
).fullmatch
_INSTANT = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]+)?{_ZONE}"
).fullmatch
_LEAP = re.compile(r":60(?:\.[0-9]+)?(?=Z|[+-]|$)")
_LONGEST = 48
_MOMENT = timedelta(microseconds=1)


class TimeFault(ValueError):
    """The text is not a FHIR dateTime, or lacks the zone that its time of day needs."""


class Interval(NamedTuple):
    """From ``start`` to ``end``, both included; one instant where the two are equal."""

    start: datetime
    end: datetime
    flag: str | None = None
    """``time_partial`` (a date, month or year) or ``time_local`` (read in the tenant's declared zone)."""


def interval_of(text: str, zone: tzinfo | None = None) -> Interval:
    """Read a FHIR dateTime or instant.

    Args:
        text: As it stands in the resource. Digits beyond microseconds are cut.
        zone: The tenant's declared zone for times without one; undeclared means that they are refused. UTC and the
            server's own zone are never assumed for a time of day; the days, months and years of partial dates are
            those of the declared zone, else of UTC.

    Raises:
        TimeFault: Not a FHIR dateTime, or a time of day without a zone.

    >>> interval_of("2026-05").end.isoformat()
    '2026-05-31T23:59:59.999999+00:00'
    """
    if len(text) <= _LONGEST and _INSTANT(text):  # almost every result; the general way says the same and takes longer
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = _leap_second(text)
        return tuple.__new__(Interval, (moment, moment, None))  # half of what calling the class takes
    match = _DATE_TIME(text) if len(text) <= _LONGEST else None
    if match is None:
        raise TimeFault("not a FHIR dateTime")
    try:
        if match["time"] is not None:  # without a zone, or it were an instant
            if zone is None:
                raise TimeFault("a time of day without a zone")
            return _local(text, zone)
        if match["zone"] is not None:
            raise TimeFault("a date with a zone but no time")
        return _whole(int(match["year"]), match["month"], match["day"], zone or UTC)
    except (ValueError, OverflowError) as fault:
        raise TimeFault("not a FHIR dateTime") from fault


def _leap_second(text: str) -> datetime:
    """FHIR's dateTime may have a second 60 where UTC has one, before midnight; Python's is the last moment before it."""
    try:
        moment = datetime.fromisoformat(_LEAP.sub(":59.999999", text))
        utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise TimeFault("not a FHIR dateTime") from fault
    if (utc.hour, utc.minute) != (23, 59):
        raise TimeFault("a second 60 where there is none")
    return moment


def _local(text: str, zone: tzinfo) -> Interval:
    """A time of the declared zone: both readings of an hour that the clocks repeat, none of one that they skip."""
    local = datetime.fromisoformat(text)
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if second < first:
        raise TimeFault("a time that the zone's clocks skip")
    return Interval(first, second, "time_local")


def _whole(year: int, month: str | None, day: str | None, zone: tzinfo) -> Interval:
    start = datetime(year, int(month or 1), int(day or 1), tzinfo=zone)
    if day is not None:
        following = start + timedelta(days=1)
    elif month is not None:
        following = (start + timedelta(days=31)).replace(day=1)
    else:
        following = start.replace(year=year + 1)
    return Interval(start, following - _MOMENT, "time_partial")


def whole_years(born: date, on: date) -> int:
    """Age in completed years; who is born on 29 February is a year older on 1 March of other years.

    >>> whole_years(date(1958, 4, 12), date(2026, 4, 11)), whole_years(date(1958, 4, 12), date(2026, 4, 12))
    (67, 68)
    """
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))
