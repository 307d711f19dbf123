"""RFC 3339 date-times as feedback carries them: an instant, or a bare date that says less."""

import re
from datetime import UTC, datetime
from typing import Literal

__all__ = ["read_outcome_timestamp"]

_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,12}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_outcome_timestamp(value: object) -> tuple[datetime, Literal["instant", "date"]] | None:
    """Read ``outcomeTimestamp`` (CH-256, W-09).

    Args:
        value: Whatever the JSON held.

    Returns:
        The instant in UTC and how exact it is; a bare date is its midnight in UTC. None for everything else: no zone,
        an epoch number, trailing words, a day that does not exist. The zone is never guessed.

    >>> read_outcome_timestamp("2026-06-01T09:05:00+09:00")[0].isoformat()
    '2026-06-01T00:05:00+00:00'
    >>> read_outcome_timestamp("2026-06-01T00:05:00") is None
    True
    """
    if not isinstance(value, str):
        return None
    try:
        if _DATE.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=UTC), "date"
        match = _INSTANT.fullmatch(value)
        if match is None:
            return None
        day, minute, second, fraction, zone = match.groups()
        leap = second == "60"  # RFC 3339 section 5.7; Python has no second 60
        micros = "999999" if leap else ((fraction or "") + "000000")[:6]
        text = f"{day}T{minute}:{'59' if leap else second}.{micros}{'+00:00' if zone in 'Zz' else zone}"
        return datetime.fromisoformat(text).astimezone(UTC), "instant"
    except (ValueError, OverflowError):
        return None
