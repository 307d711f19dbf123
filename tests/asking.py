"""Ask the shipped service about a short chart, with a model that always speaks: only the service decides."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cds_service.answer import answer, open_desk
from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.check_all import open_champion
from cds_service.cdshooks.client import Client, OrderCode, SitePrevalence
from cds_service.cdshooks.wire import read_request
from cds_service.events.pseudonym import pseudonymise
from cds_service.events.schema import decode, encode
from tests.bundles import write_tiny_bundle
from tests.clinical.charts import ME, NOW, ago, bundle, person, result

ROOT = Path(__file__).parents[1]
DECLARED = Client(
    name="ehr-a",
    tenant="hospital-a",
    language="en",
    is_silent=False,
    orders={"hba1c": OrderCode("urn:example:orders", "LAB1")},
    prevalence={
        "dysglycaemia-screening": SitePrevalence({"ge57": 0.3, "ge60": 0.13, "ge65": 0.04}, "audit", "2026-01-01")
    },
)
UNDECLARED = replace(DECLARED, orders={}, prevalence={})


class Log:
    """What was shown before, as a test says."""

    def __init__(self, *shown, opens=0, cards=0):
        self.shown, self.counts = shown, (opens, cards)

    def history(self, tenant, service, patient, since):
        return tuple(card for card in self.shown if card.at >= since)

    def opens_and_cards(self, tenant, service, last):
        return self.counts


def made_desk(folder, *, change=None, **more):
    """The shipped service (after *change*) with a tiny model under *folder*."""
    (service,) = load_services(ROOT / "hooks").services
    if change is not None:
        service = change(service)
    given = {"outputs": ("ge57", "ge60", "ge65"), "point": "high", **more}
    write_tiny_bundle(folder, "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml", **given)
    return open_desk(service, open_champion(folder, "dysglycaemia"), service_url="https://cds.example/about")


def whole_chart(**keys):
    """Every key of the service, answered: a man of 65, nothing known, glucose 168; a key that is ``...`` is absent."""
    chart = {
        "patient": person(),
        "problems": None,
        "medications": None,
        "hba1c": None,
        "labs": bundle(result("glucose", 168)),
        "vitals": None,
        "encounter": None,
        "procedures": None,
        "pregnancy": None,
        **keys,
    }
    return {key: value for key, value in chart.items() if value is not ...}


def call_of(prefetch, *, patient=ME, user="Practitioner/1", **context):
    return {
        "hook": "patient-view",
        "hookInstance": "0274b5d1-891c-5f6c-99af-215293b21eb1",
        "context": {"userId": user, "patientId": patient, **context},
        "prefetch": prefetch,
    }


async def ask_async(desk, call, *, client=DECLARED, log=None, now=NOW, language="en"):
    """The answer; its one event is read back as strictly as the store's readers will."""
    request = read_request(json.dumps(call).encode())
    made = await answer(
        request,
        desk,
        client=client,
        language=language,
        history=log or Log(),
        pseudonym=pseudonymise(request.context.patient_id, tenant=client.tenant, key=bytes(32), key_id="v1"),
        now=now,
        took_ms=lambda: 1.0,
    )
    (event,) = made.events
    assert decode(encode(event)) == event
    return made


def ask(desk, call=None, **more):
    return asyncio.run(ask_async(desk, call or call_of(whole_chart()), **more))


def outcome(made):
    """(number of cards, type of the event, its reason, its detail)."""
    (event,) = made.events
    kind = msgspec.structs.asdict(event)
    return len(made.cards), type(event).__name__, kind.get("reason"), kind.get("detail")


__all__ = [
    "DECLARED", "ME", "NOW", "ROOT", "UNDECLARED", "UTC", "Log", "ago", "ask", "ask_async", "bundle", "call_of", "datetime",
    "made_desk", "outcome", "person", "result", "whole_chart",
]  # fmt: skip
