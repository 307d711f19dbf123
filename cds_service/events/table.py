"""The table of events: an event's JSON, and beside it the few columns that a chart open looks things up by.

The columns are derived from the event and never say anything else; :func:`row` is the only place that derives them,
and a full check of the store derives them again.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, get_args

from cds_service.events.ids import microseconds
from cds_service.events.left_out import CREATE_LEFT_OUT
from cds_service.events.schema import (
    AnyEvent,
    CardAccepted,
    CardOverridden,
    PredictionMade,
    PredictionWithheld,
    RuleFired,
    encode,
)
from cds_service.events.used_tokens import CREATE_TOKENS

__all__ = [
    "APPLICATION_ID",
    "CREATE",
    "FORMAT",
    "NOT_ELIGIBLE",
    "READ",
    "Row",
    "checksum",
    "insert",
    "insert_at",
    "is_whole",
    "row",
]

APPLICATION_ID: Final = 0x43445345
"""``CDSE``: says whose file this is, so that another SQLite file is never taken for a store."""
FORMAT: Final = 3
"""``user_version``; a store written by a newer version is refused, an older one is read and brought up to this one.

2: the table of used tokens (``used_tokens.py``). 3: whom the log leaves out (``left_out.py``).
"""

CREATE: Final = f"""
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    type       TEXT NOT NULL,
    at         INTEGER NOT NULL,
    tenant     TEXT,
    service    TEXT,
    patient    TEXT,
    card       TEXT,
    outcome    TEXT,
    outcome_at INTEGER,
    open       INTEGER NOT NULL,
    crc        INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX shown ON event (patient, at) WHERE patient IS NOT NULL AND card IS NOT NULL;
CREATE INDEX of_card ON event (card) WHERE card IS NOT NULL;
CREATE INDEX opened ON event (service, tenant, seq) WHERE open > 0;
{CREATE_TOKENS}
{CREATE_LEFT_OUT}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
"""Times are microseconds since 1970, UTC. Partial indexes: most chart opens show no card and touch one of them.

``open`` is 0 (no part in the card rate), 1 (an eligible open), 2 (an eligible open with a card), 3 (a card beside
an open: a rule's). AUTOINCREMENT: a sequence number is never given twice, even when the newest rows are deleted.
"""

NOT_ELIGIBLE: Final = frozenset({
    "excluded_age", "excluded_encounter", "excluded_condition", "excluded_medication", "excluded_state",
    "recent_measurement", "viewer_not_clinician", "patient_deceased",
})  # fmt: skip
"""Reasons by which an open is no eligible one: the card rate of an operating point is per 100 *eligible* opens."""

_COLUMNS = ("id", "type", "at", "tenant", "service", "patient", "card", "outcome", "outcome_at", "open", "crc", "body")
_TAGS: Final = {kind: str(kind.__struct_config__.tag) for kind in get_args(AnyEvent)}
Row = tuple[str, str, int, str | None, str | None, str | None, str | None, str | None, int | None, int, int, str]


def row(event: AnyEvent) -> Row:
    """Derive the columns of one event, in the order of :func:`insert`."""
    body = encode(event)
    patient = card = outcome = None
    outcome_at = None
    opened = 0
    if isinstance(event, (PredictionMade, PredictionWithheld)):
        patient, card = event.patient, event.card
        if isinstance(event, PredictionMade) or event.reason not in NOT_ELIGIBLE:
            opened = 1 if card is None else 2
    elif isinstance(event, RuleFired):
        patient, card = event.patient, event.card
        opened = 0 if card is None else 3
    elif isinstance(event, (CardAccepted, CardOverridden)):
        card = event.card
        outcome = "accepted" if isinstance(event, CardAccepted) else "overridden"
        outcome_at = microseconds(event.at if "clock_ahead" in event.flags else event.outcome_at)
    columns = (
        event.id, _TAGS[type(event)], microseconds(event.at), event.tenant, event.service, patient, card,
        outcome, outcome_at, opened,
    )  # fmt: skip
    return (*columns, checksum(columns, body), body.decode())


def checksum(columns: tuple[str | int | None, ...], body: bytes) -> int:
    """CRC-32 of the body and of the columns beside it: a flipped bit in either is seen by whoever reads the row."""
    return zlib.crc32(repr(columns).encode(), zlib.crc32(body))


def is_whole(stored: Sequence[Any]) -> bool:
    """Whether a row, read as :data:`READ` reads it, without its number, still matches its checksum."""
    *columns, crc, body = stored
    return bool(checksum(tuple(columns), body.encode()) == crc)


READ: Final = f"SELECT seq, {', '.join(_COLUMNS)} FROM event WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
"""Whole rows after a number, in sequence."""
_ONE = f"({', '.join('?' * len(_COLUMNS))})"


@lru_cache(maxsize=512)
def insert(rows: int) -> str:
    """The statement that adds so many rows at once and leaves out those whose id is there already."""
    return f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES {', '.join([_ONE] * rows)} ON CONFLICT (id) DO NOTHING"  # noqa: S608 - no value in it


def insert_at() -> str:
    """The statement that puts one row under a number of its own; one whose id is there already is left out."""
    return f"INSERT INTO event (seq, {', '.join(_COLUMNS)}) VALUES (?, {_ONE[1:]} ON CONFLICT (id) DO NOTHING"  # noqa: S608 - no value in it
