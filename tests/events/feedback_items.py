"""Feedback events for the tests of the store, made from numbers: the same number is the same card."""

from collections.abc import Iterable
from datetime import datetime

from cds_service.events.ids import feedback_id
from cds_service.events.schema import CardAccepted, CardOverridden

AHEAD_S = 300


def card_feedback(
    *,
    tenant: str | None,
    service: str,
    card: str,
    outcome: str,
    at: datetime,
    received: datetime,
    suggestions: Iterable[str] = (),
) -> CardAccepted | CardOverridden:
    """What the feedback address stores for one item (``api/hooks.py``), as far as the store and the counts look at it."""
    suggestions = tuple(suggestions)
    fields = {
        "id": feedback_id(tenant=tenant, service=service, card=card, outcome=outcome, outcome_at=at, suggestions=suggestions),
        "at": received, "tenant": tenant, "client": "ehr-a", "service": service, "card": card, "outcome_at": at, "matched": False,
        "flags": ("clock_ahead",) if (at - received).total_seconds() > AHEAD_S else (),
    }  # fmt: skip
    return CardAccepted(**fields, suggestions=suggestions) if outcome == "accepted" else CardOverridden(**fields)
