"""What a client told about a card becomes an event; free text, foreign names and unknown codes stop here."""

from collections.abc import Collection, Iterable
from datetime import datetime

from cds_service.events.ids import card_name, feedback_id
from cds_service.events.schema import (
    CardAccepted,
    CardOverridden,
    CommentLength,
    FeedbackFlag,
    Outcome,
    OverrideReasonCode,
)
from cds_service.events.store import CardKnown

__all__ = ["CLOCK_AHEAD_S", "OTHER_REASON", "card_feedback", "comment_length"]

CLOCK_AHEAD_S = 300
"""An ``outcomeTimestamp`` further in the future than this says that the client's clock is off (B-086)."""
OTHER_REASON = OverrideReasonCode("other")
_SHORT, _MEDIUM = 20, 200


def comment_length(comment: str | None) -> CommentLength:
    """All that is kept of a comment (SEC-087): up to 20 characters are short, up to 200 medium."""
    if not comment:
        return "none"
    return "short" if len(comment) <= _SHORT else "medium" if len(comment) <= _MEDIUM else "long"


def card_feedback(
    *,
    tenant: str | None,
    client: str | None,
    service: str,
    known: CardKnown | None,
    card: str,
    outcome: Outcome,
    outcome_at: datetime,
    received_at: datetime,
    suggestions: Iterable[str] = (),
    reason: tuple[str | None, str] | None = None,
    offered: Collection[tuple[str, str]] = (),
    comment: CommentLength = "none",
    flags: Iterable[FeedbackFlag] = (),
) -> CardAccepted | CardOverridden:
    """Make the event of one feedback item.

    Args:
        tenant: Whose client said it.
        client: Which client said it.
        service: Whose feedback address was called.
        known: What :meth:`EventStore.find_card` says of the card; None keeps the item as unmatched.
        card: ``card`` as it came.
        outcome: What the clinician did.
        outcome_at: ``outcomeTimestamp`` as an instant.
        received_at: By our clock; reports use it where the client's runs ahead.
        suggestions: ``acceptedSuggestions[].id`` as they came.
        reason: ``(system, code)`` of ``overrideReason.reason``; None when none was given.
        offered: The ``(system, code)`` pairs that the service offers; any other becomes ``other``, since a code
            from outside may hold anything.
        comment: From :func:`comment_length`.
        flags: What was odd about the item or its batch.
    """
    name = card_name(card)
    accepted = tuple(dict.fromkeys(card_name(suggestion) for suggestion in suggestions))
    found = set(flags)
    if (outcome_at - received_at).total_seconds() > CLOCK_AHEAD_S:
        found.add("clock_ahead")
    if known is not None and not known.suggestions.issuperset(accepted):
        found.add("foreign_suggestion")
    code = None
    if reason is not None and outcome == "overridden":
        code = OverrideReasonCode(reason[1], reason[0]) if reason in offered else OTHER_REASON
        if code is OTHER_REASON:
            found.add("unknown_reason")
    event_id = feedback_id(
        tenant=tenant, service=service, card=name, outcome=outcome, outcome_at=outcome_at, suggestions=accepted
    )
    matched = known is not None and "foreign_suggestion" not in found
    if outcome == "accepted":
        return CardAccepted(
            id=event_id, at=received_at, tenant=tenant, client=client, service=service, card=name,
            outcome_at=outcome_at, matched=matched, suggestions=accepted,
            had_comment=comment != "none", comment_length=comment, flags=tuple(sorted(found)),
        )  # fmt: skip
    return CardOverridden(
        id=event_id, at=received_at, tenant=tenant, client=client, service=service, card=name,
        outcome_at=outcome_at, matched=matched, reason=code,
        had_comment=comment != "none", comment_length=comment, flags=tuple(sorted(found)),
    )  # fmt: skip
