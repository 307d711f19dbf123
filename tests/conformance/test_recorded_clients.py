"""What real clients send: the public sandbox (section V, measured) and vendors' ways (section U), against the real application."""

import pytest

from cds_service.cdshooks.wire import read_request
from tests.conformance.conftest import ORIGIN, PATIENT, SERVICE, call, card_of, chart, outcome_of

INSTANCE = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
SANDBOX_CALL = {
    "hookInstance": INSTANCE,
    "hook": "patient-view",
    "fhirServer": "https://launch.smarthealthit.org/v/r4/fhir",
    "context": {"patientId": PATIENT, "userId": "Practitioner/COREPRACTITIONER1"},
    "prefetch": chart(vitals=..., encounter=..., procedures=..., pregnancy=...),
}
"""The public sandbox: a v4 hookInstance, a user who usually does not exist, no encounter, no extension, no token; keys
that it could not fill are left out."""


@pytest.mark.ch("CH-036", "CH-067", "CH-082", "CH-101")
def test_the_public_sandbox_gets_its_card(app):
    answer = app.call(SANDBOX_CALL, Origin=ORIGIN)
    assert card_of(answer)["uuid"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.ch("CH-101", "CH-166", "W-04")
def test_the_public_sandbox_is_told_in_a_card_what_was_missing(app):
    """It shows "All clear!" for a 412, so what could not be had travels in a card."""
    body = {key: value for key, value in SANDBOX_CALL.items() if key != "prefetch"}
    assert card_of(app.call(body, Origin=ORIGIN))["indicator"] == "info"


@pytest.mark.ch("CH-252", "CH-254", "CH-255", "CH-258")
def test_the_public_sandboxs_feedback(fresh):
    """A click on the suggestion is sent at once; the card stays, so it can be dismissed as well: both come."""
    card = card_of(fresh.call(SANDBOX_CALL))
    reason = {key: card["overrideReasons"][0][key] for key in ("code", "system")}
    items = (
        {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}], "outcomeTimestamp": "2026-06-01T00:00:01.123Z"},
        {"card": card["uuid"], "outcome": "overridden", "overrideReason": {"reason": reason}, "outcomeTimestamp": "2026-06-01T00:00:09.001Z"},
        {"card": card["uuid"], "outcome": "overridden", "overrideReason": {}, "outcomeTimestamp": "2026-06-01T00:00:10.002Z"},
    )  # fmt: skip
    for item in items:
        assert fresh.feedback(item).status_code == 200
    events = fresh.events("CardAccepted", "CardOverridden")
    assert [type(event).__name__ for event in events] == ["CardAccepted", "CardOverridden", "CardOverridden"]
    assert all(event.matched for event in events)


@pytest.mark.ch("CH-072", "CH-293")
def test_epics_extensions_change_nothing(app):
    extension = {
        "com.epic.cdshooks.request.bpa-trigger-action": "General BPA section",
        "com.epic.cdshooks.request.cds-hooks-specification-version": "1.1",
        "com.epic.cdshooks.request.fhir-version": "R4",
        "com.epic.cdshooks.request.criteria-id": "123",
        "com.epic.cdshooks.request.epic-version": "10.9",
    }
    user = {"userId": "PractitionerRole/eM5", "patientId": PATIENT, "encounterId": "e2"}
    card = card_of(app.call(call(extension=extension, context=user)))
    assert card["selectionBehavior"] == "any"
    assert card["source"]["topic"]["code"]


@pytest.mark.ch("CH-063", "CH-070")
def test_oracles_1_0_form(app):
    """CDS Hooks 1.0: no ``fhirAuthorization.patient``, SMART v1 scopes, a token that lives 570 s."""
    token = {
        "access_token": "opaque", "token_type": "Bearer", "expires_in": 570, "scope": "patient/Patient.read patient/Observation.read",
        "subject": "cds-service4",
    }  # fmt: skip
    answer = app.call(call(fhirServer="https://fhir.example.org/r4/ec2458f2", fhirAuthorization=token))
    assert len(card_of(answer)["summary"]) < 140


@pytest.mark.ch("W-02")
def test_hapis_patient_reference_is_a_400_unless_the_client_has_the_quirk(app):
    body = call(context={"userId": "Practitioner/1", "patientId": "Patient/123"})
    answer = app.call(body)
    assert (answer.status_code, outcome_of(answer)) == (400, ["context.patientId"])
    raw = app.http.request("POST", "/x", json=body).request.content
    assert read_request(raw, patient_prefix_quirk=True).context.patient_id == "123"


@pytest.mark.ch("W-09")
def test_hapis_bare_feedback_is_taken_and_counted(fresh):
    card = card_of(fresh.call(call()))
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-06-01"}
    assert fresh.http.post(f"/cds-services/{SERVICE}/feedback", json=item).status_code == 200
    (event,) = fresh.events("CardOverridden")
    assert (event.matched, event.flags) == (True, ("bare_feedback", "date_only"))


@pytest.mark.ch("CH-067", "CH-109", "W-05")
def test_healthchains_synthetic_patient_is_another_one(app):
    """No ``fhirServer``, and a Patient whose id differs from ``context.patientId``: refused, never guessed."""
    answer = app.call(call(chart(patient={"resourceType": "Patient", "id": "hc-synthetic-1", "gender": "male"})))
    assert (answer.status_code, outcome_of(answer)) == (400, ["prefetch.patient"])


@pytest.mark.ch("CH-194", "CH-170", "CH-234", "CH-204")
def test_what_the_crd_test_kit_demands(app):
    """A topic with code and system, a short summary, no appContext on absolute links, no empty actions."""
    card = card_of(app.call(call()))
    assert {"code", "system"} <= set(card["source"]["topic"])
    assert len(card["summary"]) < 140
    assert all("appContext" not in link for link in card.get("links", ()))
    assert all(suggestion.get("actions") != [] for suggestion in card["suggestions"])
