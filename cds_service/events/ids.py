"""Names of events: in time order for what we saw ourselves, by content for what we were told."""

import hashlib
import os
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

__all__ = ["card_name", "feedback_id", "microseconds", "new_id"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RANDOM_BITS = 80
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_lock = threading.Lock()
_last = 0


def microseconds(moment: datetime) -> int:
    """Count the microseconds from 1970 to an aware moment, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def new_id(at: datetime) -> str:
    """Name a new event so that later ones sort after it, in this process always and between processes by clock.

    A ULID (github.com/ulid/spec): 48 bits of milliseconds and 80 random ones, 26 Crockford characters. Within a
    millisecond, or when the clock steps back, the last name is counted up instead.

    >>> new_id(datetime(2026, 6, 1, tzinfo=UTC)) < new_id(datetime(2026, 6, 1, tzinfo=UTC))
    True
    """
    global _last  # noqa: PLW0603 - the last name given is what makes the next one later
    fresh = (microseconds(at) // 1000 << _RANDOM_BITS) | int.from_bytes(os.urandom(10))
    with _lock:
        if fresh >> _RANDOM_BITS <= _last >> _RANDOM_BITS:
            fresh = _last + 1
        _last = fresh
    return "".join([_PAIRS[fresh >> shift & 1023] for shift in range(120, -1, -10)])


def card_name(text: str) -> str:
    """Write a card's or suggestion's uuid as the log does; what is no UUID only as its hash.

    A foreign id may be anything that a client typed, so it never reaches the log as it came.

    >>> card_name("7C1C9A52-0000-4000-8000-00000000000A")
    '7c1c9a52-0000-4000-8000-00000000000a'
    >>> card_name("Mrs Example")
    'sha256:36095ba75a379dfc8edd572d1359d712'
    """
    lower = text.lower()
    if _UUID.fullmatch(lower):
        return lower
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def feedback_id(
    *, tenant: str | None, service: str, card: str, outcome: str, outcome_at: datetime, suggestions: Iterable[str] = ()
) -> str:
    """Name a piece of feedback by what it says, so that an exact repeat has the same name (CH-259).

    Args:
        tenant: Whose client said it; equal cards of two tenants are two cards.
        service: The service's id.
        card: As :func:`card_name` writes it.
        outcome: ``accepted`` or ``overridden``.
        outcome_at: The instant; ``…T09:00+09:00`` and ``…T00:00Z`` are one.
        suggestions: Accepted suggestions; their order says nothing.
    """
    parts = [tenant or "", service, card, outcome, str(microseconds(outcome_at)), *sorted(set(suggestions))]
    return f"fb:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"
