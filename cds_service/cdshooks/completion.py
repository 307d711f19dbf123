"""What the prefetch lacks is asked of the client's own FHIR server, where that may be done (CH-100, CH-106, CH-112).

A key that is absent is asked for; a key whose first page came is completed. ``null`` and an OperationOutcome are answers
and are never asked again (CH-102, CH-105). Everything is asked at once, within what is left of the call's time; what is
late is left as it was.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import structs

from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import PrefetchKey, Service
from cds_service.cdshooks.fhir_access import FHIRAccess
from cds_service.cdshooks.fhir_queries import Query, resolve_query
from cds_service.cdshooks.prefetch import MAX_RESOURCES, KeyState, Prefetch, judge_key
from cds_service.cdshooks.scopes import permits
from cds_service.cdshooks.wire import CDSRequest
from cds_service.clinical.key_content import KeyContent
from cds_service.errors import PatientMismatch

__all__ = ["Completed", "FHIRSource", "Given", "complete"]

_LEAST_S = 0.05
"""With less time left nothing is begun."""


class Given(Protocol):
    """What a source gave for one key."""

    @property
    def content(self) -> KeyContent | None: ...

    @property
    def reason(self) -> str | None: ...

    @property
    def requests(self) -> int: ...


class FHIRSource(Protocol):
    """Where a key is asked for; ``outbound.fhir.FHIRReader`` behind a few settings."""

    async def read(
        self, base: str, query: Query, access: FHIRAccess, *, tenant: str, token: str | None, left_s: float,
        first: KeyContent | None,
    ) -> Given: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completed:
    """A prefetch after asking, and what there is to say of it."""

    prefetch: Prefetch
    reasons: Mapping[str, str]
    """Key → why it was not had, in a word."""
    requests: int = 0


async def complete(
    prefetch: Prefetch,
    service: Service,
    request: CDSRequest,
    client: Client,
    source: FHIRSource,
    *,
    now: datetime,
    left_s: float,
) -> Completed:
    """Ask for what is missing, as far as client, token and time allow.

    Args:
        prefetch: What came.
        service: Declares the keys.
        request: Names the server and carries the token.
        client: Says whether and where its server may be asked.
        source: Asks.
        now: The moment of the call, for ``today()``.
        left_s: Seconds left for it.
    """
    wanted = _wanted(prefetch, service)
    access = client.fhir_access
    if not wanted or access is None or request.fhir_server is None or left_s < _LEAST_S:
        return Completed(prefetch, {})
    base = access.base_of(request.fhir_server)
    if base is None:
        return Completed(prefetch, dict.fromkeys((key.name for key in wanted), "server_not_listed"))
    token, why_not = _token(request, access)
    if why_not is not None:
        return Completed(prefetch, dict.fromkeys((key.name for key in wanted), why_not))
    reasons: dict[str, str] = {}
    asks: dict[PrefetchKey, Query] = {}
    for key in wanted:
        written = access.queries.get(service.id, {}).get(key.name, key.query)
        query = resolve_query(written, request.context, now, client.zone)
        if query is None:
            reasons[key.name] = "query_not_resolved"
        elif not _in_scope(request, query):
            reasons[key.name] = "scope"
        else:
            asks[key] = query
    found = await asyncio.gather(*(
        source.read(
            base, query, access, tenant=client.tenant, token=token, left_s=min(left_s, access.budget_ms / 1000),
            first=_first(prefetch, key),
        )
        for key, query in asks.items()
    ))  # fmt: skip
    return _taken(prefetch, request.context.patient_id, dict(zip(asks, found, strict=True)), reasons)


def _wanted(prefetch: Prefetch, service: Service) -> list[PrefetchKey]:
    return [
        key
        for key in service.prefetch
        if prefetch.states[key.name] == "absent"
        or (prefetch.states[key.name] == "incomplete" and prefetch.contents[key.name].has_next)
    ]


def _first(prefetch: Prefetch, key: PrefetchKey) -> KeyContent | None:
    return prefetch.contents[key.name] if prefetch.states[key.name] == "incomplete" else None


def _token(request: CDSRequest, access: FHIRAccess) -> tuple[str | None, str | None]:
    """(token, why none may be used)."""
    authorization = request.fhir_authorization
    if authorization is None:
        return (None, None) if access.is_open else (None, "no_token")
    if authorization.expires_in <= 0:
        return None, "token_expired"
    if access.client_id is not None and authorization.subject != access.client_id:
        return None, "token_of_another"
    return authorization.access_token.reveal(), None


def _in_scope(request: CDSRequest, query: Query) -> bool:
    authorization = request.fhir_authorization
    if authorization is None:
        return True
    return permits(authorization.scope, query.kind, "read" if query.parameters is None else "search")


def _taken(prefetch: Prefetch, patient: str, found: Mapping[PrefetchKey, Given], reasons: dict[str, str]) -> Completed:
    contents, states = dict(prefetch.contents), dict(prefetch.states)
    fetched: set[str] = set()
    for key, given in found.items():
        if given.reason is not None:
            reasons[key.name] = given.reason
        if given.content is None:
            states[key.name] = "refused" if given.reason == "refused" else "failed"
            continue
        content, state = _judged(key, given.content, patient, reasons)
        contents[key.name], states[key.name] = content, state
        if state in ("sent", "none", "incomplete"):
            fetched.add(key.name)
    if sum(content.entries for content in contents.values()) > MAX_RESOURCES:
        return Completed(prefetch, {**reasons, **dict.fromkeys(fetched, "too_many")}, _count(found))
    whole = structs.replace(prefetch, contents=contents, states=states, fetched=frozenset(fetched))
    return Completed(whole, reasons, _count(found))


def _judged(
    key: PrefetchKey, content: KeyContent, patient: str, reasons: dict[str, str]
) -> tuple[KeyContent, KeyState]:
    """As what the client sends is judged; a Patient that is another one is the server's fault, not the caller's."""
    try:
        return judge_key(key, content, patient)
    except PatientMismatch:
        reasons[key.name] = "other_patient"
        return KeyContent(), "failed"


def _count(found: Mapping[PrefetchKey, Given]) -> int:
    return sum(given.requests for given in found.values())
