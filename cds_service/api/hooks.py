"""CDS Hooks over HTTP: discovery, the call, feedback. Events are on disk before an answer leaves."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.answer import Answer, Desk, answer
from cds_service.api.caller import Authenticate, Caller, Handler, guarded
from cds_service.api.chart_source import ChartSource
from cds_service.api.refusal import refusal_event
from cds_service.cdshooks.cards_wire import write_response
from cds_service.cdshooks.catalog import Catalog
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import Service
from cds_service.cdshooks.feedback import FeedbackItem, read_feedback
from cds_service.cdshooks.wire import CDSRequest, read_request
from cds_service.errors import CdsServiceError, NotPermitted, StoreUnavailable, WireError
from cds_service.events.faults import faultpoint
from cds_service.events.ids import card_name, feedback_id
from cds_service.events.schema import AnyEvent, CardAccepted, CardOverridden, Door, OverrideReasonCode
from cds_service.events.store import EventStore
from cds_service.web.body import read_body
from cds_service.web.call import call_of
from cds_service.web.limits import DEFAULT_LIMITS, Limits
from cds_service.web.metrics import Registry

__all__ = ["HookDoor", "hook_routes"]

log = structlog.get_logger()

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class HookDoor:
    """What the three endpoints work with."""

    catalog: Catalog
    desks: Mapping[tuple[str, str], Desk]
    """(id, hook) → service with its model."""
    store: EventStore
    authenticate: Authenticate
    """Who calls."""
    pseudonymise: Callable[[str, str], str]
    """(patient, tenant) → the patient's name in the log."""
    clock: Callable[[], datetime]
    registry: Registry
    events_required: bool = True
    limits: Limits = DEFAULT_LIMITS
    source: ChartSource | None = None
    """Completes charts; None: what a client does not send is not had."""


def hook_routes(door: HookDoor) -> list[Route]:
    """The routes of CDS Hooks under ``/cds-services``."""
    ids = sorted({service.id for service in door.catalog.services})
    kept = door.registry.counter("cds_answers_total", "Answers to hook calls.", {"service": ids, "outcome": _OUTCOMES})
    heard = door.registry.counter("cds_feedback_total", "Feedback items.", {"service": ids, "outcome": _HEARD})
    alarms = door.registry.counter("cds_safety_alarms_total", "Override reasons that alarm.", {"service": ids})
    ceilings = door.registry.counter("cds_card_ceiling_total", "Cards kept back by the ceiling.", {"service": ids})
    unlogged = door.registry.counter("cds_events_lost_total", "Events that could not be kept.", {"service": ids})

    lists: dict[str, bytes] = {}

    async def discovery(_: Request, caller: Caller) -> Response:
        if not caller.is_authenticated:
            return Response(door.catalog.discovery_bytes, media_type=_JSON)
        name = caller.client.name
        if name not in lists:
            lists[name] = door.catalog.of(caller.client.services).discovery_bytes
        return Response(lists[name], media_type=_JSON)

    async def call(request: Request, caller: Caller) -> Response:
        started = perf_counter()
        service_id: str = request.path_params["service"]
        try:
            hooks = door.catalog.hooks(service_id) or _unknown(door, service_id)
            body = await read_body(request.scope, request.receive, door.limits)
            hook_call = read_request(body, hooks=hooks, patient_prefix_quirk=caller.client.patient_prefix)
            desk = door.desks[service_id, hook_call.hook]
            answered = await _answer(door, caller.client, hook_call, desk, request, started)
        except CdsServiceError as error:
            await _note(door, caller, "hook", error, service_id, started)
            raise
        try:
            await caller.append(answered.events)
        except StoreUnavailable:
            if door.events_required or caller.is_authenticated:  # whether its token is new is not known (SEC-013)
                raise
            unlogged.add(service_id)
        faultpoint("after_event")
        kept.add(service_id, _outcome(answered))
        if any(getattr(event, "reason", None) == "card_ceiling" for event in answered.events):
            ceilings.add(service_id)
            log.warning("card_ceiling_reached", service=service_id)
        if answered.refusal is not None:
            raise answered.refusal
        return Response(write_response(answered.cards), media_type=_JSON)

    async def feedback(request: Request, caller: Caller) -> Response:
        started = perf_counter()
        service_id: str = request.path_params["service"]
        try:
            service = door.catalog.find(service_id)
            body = await read_body(request.scope, request.receive, door.limits)
            now = door.clock()
            batch = read_feedback(body, now)
            events = [_feedback_event(door, caller.client, service, item, batch.quirks, now) for item in batch.items]
            if events:
                await caller.append(events)
            faultpoint("after_feedback")
            for item in batch.items:
                heard.add(service_id, item.outcome)
                if _is_alarm(service, item):
                    alarms.add(service_id)
                    log.warning("safety_alarm", service=service_id, reason=item.reason.code if item.reason else None)
            if batch.faults:
                raise WireError(*batch.faults)
        except CdsServiceError as error:
            await _note(door, caller, "feedback", error, service_id, started)
            raise
        return Response(b"{}", media_type=_JSON)

    def of_service(kind: Door, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def refused(error: NotPermitted, request: Request, caller: Caller) -> None:
            await _note(door, caller, kind, error, request.path_params["service"], perf_counter())

        return guarded(handler, door.authenticate, _may_ask, refused)

    return [
        Route("/cds-services", guarded(discovery, door.authenticate), methods=["GET"]),
        Route("/cds-services/{service}", of_service("hook", call), methods=["POST"]),
        Route("/cds-services/{service}/feedback", of_service("feedback", feedback), methods=["POST"]),
    ]


def _may_ask(client: Client, request: Request) -> bool:
    return request.path_params["service"] in client.services


_OUTCOMES = ("card", "no_card", "precondition_failed")
_HEARD = ("accepted", "overridden")


def _outcome(answered: Answer) -> str:
    if answered.refusal is not None:
        return "precondition_failed"
    return "card" if answered.cards else "no_card"


def _unknown(door: HookDoor, service_id: str) -> tuple[str, ...]:
    door.catalog.find(service_id)  # raises: discovery does not list it
    return ()


async def _answer(
    door: HookDoor, client: Client, hook_call: CDSRequest, desk: Desk, request: Request, started: float
) -> Answer:
    complete, now = None, door.clock()
    if door.source is not None and client.fhir_access is not None and hook_call.fhir_server is not None:
        left_s = call_of(request.scope).deadline.left()
        complete = partial(
            door.source.complete, service=desk.service, request=hook_call, client=client, now=now, left_s=left_s
        )
    return await answer(
        hook_call,
        desk,
        client=client,
        language=_language(desk.service, client, call_of(request.scope).headers.get(b"accept-language", b"")),
        history=door.store,
        pseudonym=door.pseudonymise(hook_call.context.patient_id, client.tenant),
        now=now,
        took_ms=lambda: round((perf_counter() - started) * 1000, 3),
        complete=complete,
    )


def _language(service: Service, client: Client, accepted: bytes) -> str:
    """The client's setting, else ``Accept-Language``, else the service's first."""
    if client.language in service.languages:
        return client.language or service.languages[0]
    for choice in accepted.decode("latin-1").split(",")[:8]:
        primary = choice.split(";", 1)[0].strip().split("-", 1)[0].lower()
        if primary in service.languages:
            return primary
    return service.languages[0]


async def _note(
    door: HookDoor, caller: Caller, kind: Door, error: CdsServiceError, service_id: str, started: float
) -> None:
    """Keep that and why a call was refused; a store that fails must not hide the first error."""
    known = service_id if door.catalog.hooks(service_id) else None
    event = refusal_event(
        error, door=kind, now=door.clock(), tenant=caller.client.tenant, client=caller.client.name, service=known,
        took_ms=round((perf_counter() - started) * 1000, 3),
    )  # fmt: skip
    if event is None:
        return
    try:
        await caller.append([event])
    except StoreUnavailable:
        log.exception("event_lost", service=known)


def _feedback_event(
    door: HookDoor, client: Client, service: Service, item: FeedbackItem, quirks: tuple[str, ...], now: datetime
) -> AnyEvent:
    card = card_name(item.card)
    suggestions = tuple(card_name(suggestion) for suggestion in item.suggestions)
    known = door.store.find_card(client.tenant, service.id, card)
    flags = {*quirks, *item.flags}
    if known is not None and not known.suggestions.issuperset(suggestions):
        flags.add("foreign_suggestion")
    reason = _reason(service, item)
    if reason is not None and reason.system is None:
        flags.add("unknown_reason")
    common: dict[str, Any] = {
        "id": feedback_id(
            tenant=client.tenant, service=service.id, card=card, outcome=item.outcome, outcome_at=item.at,
            suggestions=suggestions,
        ),
        "at": now,
        "tenant": client.tenant,
        "client": client.name,
        "service": service.id,
        "card": card,
        "outcome_at": item.at,
        "matched": known is not None and "foreign_suggestion" not in flags,
        "had_comment": item.had_comment,
        "comment_length": item.comment_length or "none",
        "flags": tuple(sorted(flags)),
    }  # fmt: skip
    if item.outcome == "accepted":
        return CardAccepted(**common, suggestions=suggestions)
    return CardOverridden(**common, reason=reason)


def _reason(service: Service, item: FeedbackItem) -> OverrideReasonCode | None:
    """Our own reasons keep their code; one that the client added counts as ``other-…`` (CH-222).

    What a client put there may be anything that was typed into a chart, so it is kept as a short hash: equal codes
    count together, and none can be read (SEC-080).
    """
    if item.reason is None:
        return None
    for offered in service.card.override_reasons:
        if offered.code == item.reason.code and item.reason.system in (None, offered.system):
            return OverrideReasonCode(code=offered.code, system=offered.system)
    digest = hashlib.sha256(f"{item.reason.system}|{item.reason.code}".encode()).hexdigest()
    return OverrideReasonCode(code=f"other-{digest[:12]}")


def _is_alarm(service: Service, item: FeedbackItem) -> bool:
    return item.reason is not None and any(
        offered.alarm and offered.code == item.reason.code for offered in service.card.override_reasons
    )
