"""A drafted order: slots are whole values, and what has none is left out with all that it leaves empty."""

import copy

import pytest

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.check_fhir import SAMPLE_SLOTS, fhir_faults
from cds_service.cdshooks.order_template import SLOTS, fill_template, unknown_slots
from tests.cdshooks.planted import SHIPPED

TEMPLATE = load_services(SHIPPED).services[0].card.suggestions[0].resource


def test_the_hba1c_order_carries_what_an_order_needs():
    order = fill_template(TEMPLATE, SAMPLE_SLOTS)
    assert list(fhir_faults(order)) == []
    assert (order["status"], order["intent"]) == ("draft", "proposal")
    assert order["subject"] == {"reference": "Patient/example"}
    assert order["encounter"] == {"reference": "Encounter/example"}
    assert order["requester"] == {"reference": "Practitioner/example"}
    assert order["category"][0]["coding"][0]["code"] == "108252007"
    assert [coding["code"] for coding in order["code"]["coding"]] == ["LAB1", "4548-4"]
    assert order["reasonCode"][0]["text"] == "a reason"


@pytest.mark.ch("CH-003")
@pytest.mark.parametrize("slot", ["{encounter}", "{requester}", "{order_coding}", "{reason}", "{authored_on}"])
def test_a_slot_without_a_value_leaves_nothing_empty(slot):
    order = fill_template(TEMPLATE, {**SAMPLE_SLOTS, slot: None})

    def walk(value):
        assert value not in (None, "", [], {})
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(order)
    assert list(fhir_faults(order)) == []


def test_filling_leaves_the_template_as_it_was():
    before = copy.deepcopy(TEMPLATE)
    fill_template(TEMPLATE, SAMPLE_SLOTS)["code"]["text"] = "x"
    assert before == TEMPLATE


def test_a_slot_is_a_whole_value():
    assert unknown_slots({"text": "for {patient}", "a": ["{encounter}", "{nope}"]}) == ["for {patient}", "{nope}"]
    assert set(SAMPLE_SLOTS) == set(SLOTS)
