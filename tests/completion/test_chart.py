"""A chart opened without prefetch: the same cards as with it, from the sandbox's R4 server, over real sockets."""

import json
from datetime import UTC, datetime

import pytest

from cds_service.cdshooks.fhir_queries import resolve_query
from cds_service.cdshooks.wire import Context

SERVICE = "dysglycaemia-screening"
USER = "Practitioner/dr-1"
FHIR = "/fhir"


def discovered(sandbox):
    (service,) = sandbox.get("/cds-services").json()["services"]
    return service["prefetch"]


def queried(sandbox, query, name):
    """What an EHR would send for one key."""
    asked = resolve_query(query, Context(USER, name, None, {}), datetime.now(UTC), None)
    if asked is None:
        return ...
    answer = sandbox.get(f"{FHIR}/{asked.path}{f'?{asked.parameters}' if asked.parameters is not None else ''}")
    return answer.json() if answer.is_success else None


def call(sandbox, name, **more):
    body = {
        "hook": "patient-view", "hookInstance": "11111111-2222-4333-8444-555555555555",
        "context": {"userId": USER, "patientId": name}, **more,
    }  # fmt: skip
    answer = sandbox.post(f"/cds-services/{SERVICE}", json=body)
    return answer.status_code, [strip(card) for card in answer.json().get("cards", [])]


def strip(card):
    """A card without the names that are new in each answer."""
    return json.loads(
        json.dumps({**card, "uuid": "", "suggestions": [{**one, "uuid": ""} for one in card.get("suggestions", [])]})
    )


@pytest.fixture(scope="module")
def names(sandbox):
    people = sandbox.get("/sandbox/api/patients").json()
    listed = people["patients"] if isinstance(people, dict) else people
    return [one["id"] for one in listed]


@pytest.mark.ch("CH-100", "CH-112")
def test_every_sandbox_patient_gets_the_same_cards_by_prefetch_and_by_fhir(sandbox, names):
    server = f"{str(sandbox.base_url).rstrip(chr(47))}{FHIR}"
    queries = discovered(sandbox)
    differing, with_card = [], 0
    for name in names:
        prefetch = {key: value for key, query in queries.items() if (value := queried(sandbox, query, name)) is not ...}
        sent = call(sandbox, name, prefetch=prefetch, fhirServer=server)
        asked = call(sandbox, name, fhirServer=server)
        with_card += bool(sent[1])
        if sent != asked:
            differing.append(name)
    assert differing == []
    assert with_card > 0
