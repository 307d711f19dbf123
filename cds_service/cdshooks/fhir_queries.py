"""A declared query and a request's context become the query that is sent. CDS Hooks, "Prefetch Tokens"."""

import re
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple
from urllib.parse import quote

from cds_service.cdshooks.prefetch_lint import parse_query
from cds_service.cdshooks.wire import Context

__all__ = ["Query", "resolve_query"]

_TOKEN = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_TODAY = re.compile(r"today\(\)(?:\s*(?P<sign>[-+])\s*(?P<days>\d{1,5})\s+days?)?")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_USERS = {
    "userPractitionerId": "Practitioner", "userPractitionerRoleId": "PractitionerRole", "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}  # fmt: skip
_KEPT = "|,:$-._~/"
"""What a search value may hold as it stands; everything else is written in percent."""


class Query(NamedTuple):
    """What is asked of a FHIR server, relative to its base."""

    kind: str
    """The resource type."""
    path: str
    """``Type/id`` of a read, ``Type`` of a search."""
    parameters: str | None
    """Of a search, encoded; None for a read."""


def resolve_query(query: str, context: Context, now: datetime, zone: tzinfo | None) -> Query | None:
    """Put a request's context into a query.

    Args:
        query: As ``service.toml`` or ``clients.toml`` has it.
        context: Of the request; ids are FHIR ids, or the query is not sent.
        now: For ``today()``.
        zone: In which today begins; UTC where none is declared.

    Returns:
        None where a token can't be resolved from this request: then nothing is asked.
    """
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        text = _value(found[1], context, now, zone)
        missing = missing or text is None
        return text or ""

    resolved = _TOKEN.sub(value, query)
    if missing or "{" in resolved:
        return None
    shape = parse_query(resolved)
    if not shape.parameters:
        kind, _, name = resolved.partition("/")
        return Query(kind, f"{kind}/{name}", None) if kind.isalpha() and _ID.fullmatch(name) else None
    pairs = (
        f"{quote(name, safe='_-')}{f':{quote(modifier)}' if modifier else ''}={quote(text, safe=_KEPT)}"
        for name, modifier, text in shape.parameters
    )
    return Query(shape.resource_type, shape.resource_type, "&".join(pairs))


def _value(token: str, context: Context, now: datetime, zone: tzinfo | None) -> str | None:
    today = _TODAY.fullmatch(token)
    if today is not None:
        days = int(today["days"] or 0) * (-1 if today["sign"] == "-" else 1)
        return (now.astimezone(zone) + timedelta(days=days)).date().isoformat()
    if token in _USERS:
        kind, _, name = (context.user_id or "").partition("/")
        return name if kind == _USERS[token] and _ID.fullmatch(name) else None
    name = token.removeprefix("context.")
    if name == "userId":
        kind, _, of_user = (context.user_id or "").partition("/")
        return context.user_id if kind.isalpha() and _ID.fullmatch(of_user) else None
    text = {"patientId": context.patient_id, "encounterId": context.encounter_id}.get(name)
    return text if text is not None and _ID.fullmatch(text) else None
