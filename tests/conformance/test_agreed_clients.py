"""What is agreed with a client changes its answers: order codes, quirks, CDS Hooks 1.0."""

import pytest

from cds_service.cdshooks.hook_specs import HOOKS
from tests.conformance.conftest import PATIENT, SERVICE, call, card_of, chart, start

NON_ADHERENCE = {
    "cds-not-applicable", "cds-suboptimal-context", "recipient-disagrees-evidence", "recipient-concerns-outcomes",
    "does-not-align-preferences", "not-convenient-feasible", "action-completed", "patient-contraindication",
    "patient-refuses", "too-costly-uncovered", "service-not-available", "recipient-does-not-understand",
}  # fmt: skip
"""http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes, with the clinical starter set."""


@pytest.fixture
def agreed(tmp_path, hooks):
    """An application whose one client has agreed things with us."""
    started = []

    def make(agreement: str):
        clients = tmp_path / f"clients-{len(started)}.toml"
        clients.write_text(f'[[client]]\nname = "development"\nis_silent = false\n{agreement}', encoding="utf-8")
        app = start(tmp_path / f"state-{len(started)}", hooks, clients=clients)
        started.append(app)
        return app

    yield make
    for app in started:
        app.close()


@pytest.mark.ch("CH-006", "CH-176", "CH-204", "CH-207", "CH-208", "CH-209", "CH-212")
def test_an_agreed_order_code_makes_the_suggestion_draft_an_order(agreed):
    app = agreed('[client.orders]\nhba1c = { system = "urn:example:order-catalogue", code = "LAB123" }\n')
    context = {"userId": "Practitioner/u-1", "patientId": PATIENT, "encounterId": "enc-2"}
    encounter = {"resourceType": "Encounter", "id": "enc-2", "class": {"code": "AMB"}}
    card = card_of(app.call(call(chart(encounter=encounter), context=context)))
    (action,) = card["suggestions"][0]["actions"]
    assert action["type"] == "create"
    assert action["description"]
    order = action["resource"]
    assert order["resourceType"] == "ServiceRequest"
    assert order["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert order["encounter"] == {"reference": "Encounter/enc-2"}
    assert order["requester"] == {"reference": "Practitioner/u-1"}
    assert {"system": "urn:example:order-catalogue", "code": "LAB123"} in order["code"]["coding"]


@pytest.mark.ch("CH-204", "CH-003")
def test_without_one_it_has_no_actions_at_all(app):
    assert "actions" not in card_of(app.call(call()))["suggestions"][0]


@pytest.mark.ch("W-02")
def test_the_patient_prefix_is_a_quirk_of_a_client_and_is_counted(agreed):
    app = agreed("[client.quirks]\npatient_prefix = true\n")
    context = {"userId": "Practitioner/u-1", "patientId": f"Patient/{PATIENT}"}
    body = call(chart(80), context=context)
    assert app.call(body).status_code == 200
    assert "patient_prefix" in app.events()[0].flags


@pytest.mark.ch("CH-178", "W-07")
def test_a_1_0_client_gets_the_only_behavior_that_it_knows(agreed):
    assert card_of(agreed("cds_hooks_1 = true\n").call(call()))["selectionBehavior"] == "at-most-one"


@pytest.mark.ch("CH-161", "W-12a")
def test_a_site_whose_check_is_not_signed_sees_nothing_and_the_event_says_why(tmp_path, hooks):
    clients = tmp_path / "clients.toml"
    clients.write_text('[[client]]\nname = "development"\n', encoding="utf-8")
    app = start(tmp_path / "state", hooks, clients=clients)
    assert app.call(call()).json() == {"cards": []}
    assert [event.reason for event in app.events()] == ["silent_site"]
    app.close()


@pytest.mark.ch("CH-223")
def test_our_override_reasons_map_to_the_suggested_code_system(app):
    reasons = app.parts.catalog.find(SERVICE).card.override_reasons
    assert reasons
    assert {reason.maps_to for reason in reasons} <= NON_ADHERENCE


@pytest.mark.ch("CH-235", "CH-236", "CH-237")
def test_no_card_carries_a_link_so_none_need_be_registered(app):
    for prefetch in (chart(), chart(labs=...), chart(problems=...)):
        assert "links" not in card_of(app.call(call(prefetch)))


@pytest.mark.ch("CH-240", "CH-241", "CH-242", "CH-243", "CH-162")
def test_no_answer_holds_system_actions_and_no_service_can_declare_them(app):
    assert set(app.call(call()).json()) == {"cards"}
    assert not hasattr(app.parts.catalog.find(SERVICE), "system_actions")


@pytest.mark.ch("CH-302")
def test_no_service_needs_a_second_hook_to_be_safe(app):
    assert {service.hook for service in app.parts.catalog.services} <= set(HOOKS)
    assert all(len(app.parts.catalog.hooks(service.id)) == 1 for service in app.parts.catalog.services)
