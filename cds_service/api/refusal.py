"""A refused call is an event too: which door, why, which status; never a word of what was sent."""

from datetime import datetime

from cds_service.errors import (
    BadRequest,
    CdsServiceError,
    DataUnavailable,
    NotPermitted,
    PatientMismatch,
    TooLarge,
    UnknownService,
    UnsupportedMedia,
    WireError,
)
from cds_service.events.ids import new_id
from cds_service.events.schema import CallRefused, Door, RefusedReason
from cds_service.web.problems import status_of

__all__ = ["refusal_event"]

_REASONS: tuple[tuple[type[CdsServiceError], RefusedReason], ...] = (
    (PatientMismatch, "patient_mismatch"),
    (WireError, "breaks_specification"),
    (BadRequest, "bad_request"),
    (NotPermitted, "not_allowed"),
    (UnknownService, "unknown_service"),
    (UnsupportedMedia, "unsupported_media"),
    (TooLarge, "too_large"),
    (DataUnavailable, "data_unavailable"),
)


def refusal_event(
    error: CdsServiceError,
    *,
    door: Door,
    now: datetime,
    tenant: str | None,
    client: str | None,
    service: str | None = None,
    took_ms: float = 0.0,
) -> CallRefused | None:
    """The event of a call that its own content made us refuse; None where load or the store refused it."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
    if reason is None:
        return None
    return CallRefused(
        id=new_id(now), at=now, tenant=tenant, client=client, service=service, door=door, reason=reason,
        status=status_of(error), faults=len(error.faults), took_ms=took_ms,
    )  # fmt: skip
