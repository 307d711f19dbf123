"""THE FAST LOOP: one hook call becomes cards and events. Stores nothing: the caller does, before it replies."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cds_service.cdshooks import eligibility
from cds_service.cdshooks.cards import CardWriter, Chart
from cds_service.cdshooks.cards_wire import Card
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import Service
from cds_service.cdshooks.eligibility import Withheld
from cds_service.cdshooks.note import Note
from cds_service.cdshooks.prefetch import Prefetch, features_by_key, read_prefetch, unordered_features
from cds_service.cdshooks.wire import CDSRequest
from cds_service.clinical.building import build_features
from cds_service.clinical.codings import CodeIndex
from cds_service.clinical.reading import read_facts
from cds_service.errors import DataUnavailable, Fault
from cds_service.events.schema import AnyEvent
from cds_service.events.store import ShownCard
from cds_service.model.predict import Abstention, Prediction, predict
from cds_service.model.runtime import Model

__all__ = ["Answer", "Desk", "History", "answer", "open_desk"]

_YEAR = timedelta(days=366)


Complete = Callable[[Prefetch], Awaitable[Prefetch]]


class History(Protocol):
    """What was shown before: to this patient, and lately to all."""

    def history(self, tenant: str, service: str, patient: str, since: datetime) -> Sequence[ShownCard]: ...

    def opens_and_cards(self, tenant: str, service: str, last: int) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """One service with its model, made once: what every call of it needs."""

    service: Service
    model: Model
    index: CodeIndex
    writer: CardWriter
    expected: Mapping[str, str]
    brought: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What leaves, and what must be on disk before it does."""

    cards: tuple[Card, ...]
    events: tuple[AnyEvent, ...]
    refusal: DataUnavailable | None = None
    """412 instead of cards: needed data could not be had."""


def open_desk(service: Service, model: Model, *, service_url: str | None = None) -> Desk:
    """Join a service and its model, and check their cards once in every language.

    Args:
        service: The declaration.
        model: The open model that it names.
        service_url: Where people read about the service; the card's source.
    """
    tokens = {code for spec in model.features.features for code in spec.codes | spec.excludes_only}
    tokens |= {code for state in service.when.not_state for code in state.observations}
    expected = {key.name: key.resource_type for key in service.prefetch if key.resource_type}
    return Desk(
        service,
        model,
        CodeIndex(tokens),
        CardWriter(service, model.bundle, service_url),
        expected,
        features_by_key(service, model.features),
    )


async def answer(
    request: CDSRequest,
    desk: Desk,
    *,
    client: Client,
    language: str,
    history: History,
    pseudonym: str,
    now: datetime,
    took_ms: Callable[[], float],
    complete: Complete | None = None,
) -> Answer:
    """Answer one hook call.

    Args:
        request: The call, free of faults.
        desk: The service and its model.
        client: Who calls.
        language: Of the card's texts.
        history: Earlier cards of this tenant.
        pseudonym: The patient's name in the log; the id goes no further than the facts.
        now: The moment of the call: ages, windows and repeats are counted from it.
        took_ms: Time since the call came in, for the event.
        complete: Asks the client's FHIR server for what it did not send; None where that may not be done.

    Raises:
        PatientMismatch, WireError, TooLarge: The prefetch can't be used at all.
    """
    service, model = desk.service, desk.model
    context = request.context
    prefetch = read_prefetch(service, request.prefetch, patient=context.patient_id)
    if complete is not None:
        prefetch = await complete(prefetch)
    facts = read_facts(
        prefetch.contents,
        patient=context.patient_id,
        index=desk.index,
        fhir_server=request.fhir_server,
        zone=client.zone,
        unanswered=prefetch.unanswered(desk.brought),
        unordered=unordered_features(service, prefetch, model.features),
        expected=desk.expected,
    )
    features = build_features(model.features, facts, now, zone=client.zone)
    months = eligibility.absence_window_months(service, facts, model.features, now)
    chart = Chart(
        patient=context.patient_id,
        user=context.user_id or "",
        encounter=context.encounter_id,
        facts=facts,
        features=features,
        months=months,
        now=now,
        zone=client.zone,
        states=prefetch.states,
    )
    note = Note(request, service.id, model, client, language, pseudonym, now, prefetch, facts, features, took_ms)

    withheld = _before_data(service, context.user_type, now) or eligibility.why_excluded(
        service, facts, model.features, now, months=months, zone=client.zone
    )
    if withheld is not None:
        return Answer((), (note.withheld(withheld),))
    unavailable = [key.name for key in service.prefetch if key.required and prefetch.has_failed(key.name)]
    abstaining = [
        key.name
        for key in service.prefetch
        if not key.required and key.on_failure == "abstain" and prefetch.has_failed(key.name)
    ]
    if unavailable and service.on_missing == "412":
        event = note.withheld(Withheld("data_missing", unavailable[0]))
        return Answer((), (event,), refusal=_precondition_failed(unavailable))
    shown = history.history(client.tenant, service.id, pseudonym, now - _YEAR)
    is_quiet = client.is_silent or eligibility.is_repeated(service.repeat, shown, now)
    if unavailable or abstaining:
        reason = Withheld("data_missing" if unavailable else "data_unknown", (unavailable + abstaining)[0])
        if is_quiet:
            return Answer((), (note.withheld(reason),))
        card = desk.writer.missing(unavailable + abstaining, prefetch.states, chart, language)
        return Answer((card,), (note.withheld(reason, card=card),))
    rule = eligibility.fired_rule(service, features, model.features)
    unknown = eligibility.why_unknown(
        service, prefetch, facts, features, model.features, now, months=months, zone=client.zone
    )
    if unknown is not None:
        return Answer((), (note.withheld(unknown),))
    if rule is not None:
        if is_quiet:
            return Answer((), (note.withheld(Withheld("silent_site" if client.is_silent else "repeated")),))
        card = desk.writer.rule(rule, chart, client, language)
        return Answer((card,), (note.rule_fired(rule, card),))

    site = client.prevalence.get(service.id)
    prediction = predict(model, features, site_prevalence=site.by_output if site is not None else None)
    if isinstance(prediction, Abstention):
        reason = Withheld(prediction.reason, prediction.features[0] if prediction.features else None)
        if is_quiet or prediction.reason not in service.on_abstain:
            return Answer((), (note.withheld(reason),))
        card = desk.writer.abstention(prediction, chart, language)
        return Answer((card,), (note.withheld(reason, card=card),))
    withheld = _after_prediction(desk, client, history, prediction, pseudonym, is_repeated=is_quiet)
    if withheld is not None:
        return Answer((), (note.withheld(withheld, prediction=prediction),))
    card = desk.writer.prediction(prediction, chart, client, language)
    return Answer((card,), (note.made(prediction, card),))


def _before_data(service: Service, user_type: str | None, now: datetime) -> Withheld | None:
    if not eligibility.is_viewer(service, user_type):
        return Withheld("viewer_not_clinician")
    if service.owner.review_by is not None and now.date() > service.owner.review_by:
        return Withheld("review_overdue")
    return None


def _after_prediction(
    desk: Desk, client: Client, history: History, prediction: Prediction, pseudonym: str, *, is_repeated: bool
) -> Withheld | None:
    """Why a prediction is not shown; it is logged all the same, so that a silent site can be judged."""
    service = desk.service
    if not desk.writer.is_shown(prediction):
        return Withheld("below_threshold")
    if client.is_silent:
        return Withheld("silent_site")
    if is_repeated:
        return Withheld("repeated")
    if eligibility.is_held_out(service, pseudonym):
        return Withheld("holdout")
    ceiling = service.repeat.cards_per_100_opens_max
    if ceiling is not None:
        opens, cards = history.opens_and_cards(client.tenant, service.id, _CEILING_WINDOW)
        if opens >= _CEILING_LEAST and 100 * (cards + 1) > ceiling * (opens + 1):
            return Withheld("card_ceiling")
    return None


_CEILING_WINDOW = 1000
"""Chart opens over which the ceiling on cards is counted."""
_CEILING_LEAST = 200
"""Fewer opens than this say nothing about a rate of a few in a hundred."""


def _precondition_failed(keys: Sequence[str]) -> DataUnavailable:
    return DataUnavailable(
        *(
            Fault(
                f"prefetch.{key}",
                f"the data of prefetch key '{key}' could not be had",
                f"Send the key '{key}' as discovery describes it",
            )
            for key in keys
        )
    )
