"""Who is not to be in the log: what is kept of an event about such a patient, and the list that every writer meets.

The list is a table of pseudonyms and one of their cards. A trigger refuses each row about one of them, whichever process
writes it, so that nobody can look first and write a moment too late; the writer then keeps the rest of the event
(:func:`leave_out`). The same function blanks what the log held before (``forgetting.py``).
"""

import hashlib
from typing import Final

from cds_service.events.schema import (
    AnyEvent,
    CardAccepted,
    CardOverridden,
    PatientLeftOut,
    PredictionMade,
    PredictionWithheld,
    RuleFired,
)

__all__ = ["CREATE_LEFT_OUT", "leave_out"]

CREATE_LEFT_OUT: Final = """
CREATE TABLE IF NOT EXISTS forgotten_patient (
    patient TEXT PRIMARY KEY,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten_card (
    card TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS left_out BEFORE INSERT ON event
WHEN NEW.patient IN (SELECT patient FROM forgotten_patient) OR NEW.card IN (SELECT card FROM forgotten_card)
BEGIN
    SELECT RAISE(ABORT, 'a patient who is left out');
END;
"""
"""Cards stand here by their own random name, so that feedback about them is known when it comes; nothing else is said
of them, not even whose they are. ``at`` is in microseconds, as in the table of events."""


def leave_out(event: AnyEvent) -> AnyEvent:
    """Keep of an event that it took place, when, and by which service and version; nothing that came from a chart.

    Neither that there was a card nor what became of it is kept: both are told by what the chart says. All feedback
    about one card becomes one event, so that repeats stay one.

    Returns:
        The same event where it is about nobody.
    """
    if isinstance(event, (CardAccepted, CardOverridden)):
        parts = ("left out", event.tenant or "", event.service or "", event.card)
        name = f"fb:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"
        return PatientLeftOut(
            id=name, at=event.at, tenant=event.tenant, client=event.client, service=event.service, what="feedback"
        )
    if isinstance(event, (PredictionMade, PredictionWithheld, RuleFired)):
        model, version = (None, None) if isinstance(event, RuleFired) else (event.model, event.version)
        return PatientLeftOut(
            id=event.id, at=event.at, tenant=event.tenant, client=event.client, service=event.service, what="answer",
            hook=event.hook, model=model, version=version,
        )  # fmt: skip
    return event
