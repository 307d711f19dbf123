"""The four states of a key, and when what a key does not hold is proved absent (W-12b)."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.declaration import PrefetchKey
from cds_service.cdshooks.prefetch import (
    MAX_RESOURCES,
    features_by_key,
    proves_absence,
    read_prefetch,
    unordered_features,
)
from cds_service.clinical.reading import read_facts
from cds_service.errors import PatientMismatch, TooLarge, WireError
from tests.clinical.charts import FEATURES, HBA1C, INDEX, ME, NOW, ROOT, ago, bundle, concept, person, result

(SERVICE,) = load_services(ROOT / "hooks").services
NEXT = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]


def raw(value):
    return msgspec.Raw(json.dumps(value).encode())


def read(**keys):
    return read_prefetch(SERVICE, {key: raw(value) for key, value in keys.items()}, patient=ME)


def outcome(code, severity="error"):
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}


A1C = result("a", 6.0, "%", code=HBA1C)


@pytest.mark.ch("CH-101", "CH-102", "CH-103", "CH-104", "CH-105", "CH-106", "CH-108", "CH-109")
@pytest.mark.parametrize(
    ("value", "state"),
    [
        pytest.param(..., "absent", id="not sent"),
        pytest.param(None, "none", id="null: nothing found"),
        pytest.param(bundle(), "none", id="an empty list of entries"),
        pytest.param({"resourceType": "Bundle", "type": "searchset", "total": 0}, "none", id="no list of entries"),
        pytest.param(bundle(A1C), "sent", id="resources"),
        pytest.param(bundle(A1C, total=1), "sent", id="as many as there are"),
        pytest.param(bundle(A1C, total=2), "incomplete", id="fewer than there are"),
        pytest.param(bundle(total=3), "incomplete", id="a count without what it counts"),
        pytest.param(bundle(A1C, link=NEXT), "incomplete", id="a page of several"),
        pytest.param(bundle(link=NEXT), "incomplete", id="an empty page of several"),
        pytest.param(bundle(A1C, link=[{"relation": "self", "url": "x"}]), "sent", id="a link to itself"),
        pytest.param(outcome("forbidden"), "refused", id="refused"),
        pytest.param(outcome("security"), "refused", id="refused for security"),
        pytest.param(outcome("timeout"), "failed", id="not in time"),
        pytest.param(bundle(A1C, outcome("timeout")), "failed", id="half an answer and an error"),
        pytest.param(bundle(A1C, outcome("informational", "warning")), "sent", id="an answer and a warning"),
        pytest.param(A1C, "failed", id="a resource where a Bundle was asked for"),
        pytest.param(bundle({"resourceType": "Medication", "id": "m"}), "failed", id="only what was not asked for"),
        pytest.param("<html>", "failed", id="a page"),
        pytest.param([A1C], "failed", id="a list"),
        pytest.param(7, "failed", id="a number"),
        pytest.param({"resourceType": "Bundle", "entry": 7}, "failed", id="a Bundle that is none"),
        pytest.param({}, "failed", id="an empty object"),
    ],
)  # fmt: skip
def test_the_states_of_a_search(value, state):
    keys = {} if value is ... else {"hba1c": value}
    prefetch = read(**keys)
    assert prefetch.states["hba1c"] == state
    assert prefetch.has_failed("hba1c") is (state in ("absent", "failed", "refused"))
    if state in ("failed", "refused", "absent"):
        assert prefetch.contents["hba1c"].resources == ()


@pytest.mark.ch("CH-109")
@pytest.mark.parametrize(
    ("value", "state"),
    [
        pytest.param(person(), "sent", id="the patient"),
        pytest.param(None, "none", id="null"),
        pytest.param(bundle(person()), "failed", id="in a Bundle"),
        pytest.param(A1C, "failed", id="another type"),
        pytest.param(person(birthDate=7), "failed", id="a Patient in a wrong shape"),
        pytest.param(outcome("not-found"), "failed", id="not found"),
        pytest.param({"resourceType": "Practitioner", "id": ME}, "failed", id="a type that nothing reads"),
    ],
)
def test_the_states_of_a_read(value, state):
    assert read(patient=value).states["patient"] == state


@pytest.mark.ch("CH-109")
@pytest.mark.parametrize("id_", ["you", "ME", "", None])
def test_another_patient_refuses_the_call(id_):
    with pytest.raises(PatientMismatch) as caught:
        read(patient={**person(), "id": id_})
    assert "you" not in str(caught.value)
    assert caught.value.faults[0].where == "prefetch.patient"


@pytest.mark.ch("CH-108")
def test_every_wrapper_is_named():
    wrapper = {"response": {"status": "200"}, "resource": bundle(A1C)}
    with pytest.raises(WireError) as caught:
        read(hba1c=wrapper, labs=wrapper, patient=person())
    assert [fault.where for fault in caught.value.faults] == ["prefetch.hba1c", "prefetch.labs"]


@pytest.mark.ch("CH-055")
def test_keys_that_nobody_asked_for_are_counted_and_never_read():
    prefetch = read(labs=None, secret=bundle(A1C), other=person("you"))
    assert prefetch.unknown_keys == 2
    assert set(prefetch.states) == {key.name for key in SERVICE.prefetch}


@pytest.mark.sec("SEC-046")
@pytest.mark.parametrize(("labs", "fits"), [(MAX_RESOURCES - 1, True), (MAX_RESOURCES, False)])
def test_five_thousand_resources_are_read_and_no_more(labs, fits):
    keys = {"labs": bundle(*[result(f"r{number}") for number in range(labs)]), "patient": person()}
    if fits:
        assert read(**keys).contents["labs"].entries == labs
    else:
        with pytest.raises(TooLarge) as caught:
            read(**keys)
        assert caught.value.faults[0].where == "prefetch"


BACK = NOW - timedelta(days=1000)
SORTED = "Observation?patient=x&_sort=-date&_count=2"
PLAIN = "Observation?patient=x&_count=2"
ENDLESS = "Observation?patient=x"
OLD, OLDER, NEW = (
    result(name, 6.0, "%", code=HBA1C, at=ago(days)) for name, days in (("o", 1100), ("p", 1200), ("n", 30))
)


def without(resource, name):
    return {key: field for key, field in resource.items() if key != name}


def proof(query, value, back_to=BACK):
    key = PrefetchKey("hba1c", query)
    prefetch = read_prefetch(
        replace(SERVICE, prefetch=(key,)), {} if value is ... else {"hba1c": raw(value)}, patient=ME
    )
    facts = read_facts(prefetch.contents, patient=ME, index=INDEX, expected={"hba1c": "Observation"})
    return proves_absence(key, prefetch, facts, back_to=back_to)


@pytest.mark.ch("W-12b")
@pytest.mark.parametrize(
    ("query", "value", "proved"),
    [
        pytest.param(PLAIN, ..., False, id="an absent key proves nothing"),
        pytest.param(PLAIN, None, True, id="null proves that there is nothing"),
        pytest.param(PLAIN, bundle(), True, id="so does an empty Bundle"),
        pytest.param(PLAIN, bundle(total=0), True, id="that counts none"),
        pytest.param(PLAIN, bundle(total=3), False, id="a count of what is not shown proves nothing"),
        pytest.param(PLAIN, outcome("forbidden"), False, id="a refusal proves nothing"),
        pytest.param(PLAIN, bundle(OLD), True, id="fewer than asked are all"),
        pytest.param(PLAIN, bundle(OLD, OLDER), False, id="as many as asked may not be all"),
        pytest.param(SORTED, bundle(OLD, OLDER), True, id="unless they are sorted and reach back far enough"),
        pytest.param(SORTED, bundle(NEW, OLD), True, id="from the newest on"),
        pytest.param(SORTED, bundle(NEW, result("m", 6.0, "%", code=HBA1C, at=ago(31))), False, id="sorted, but all lately"),
        pytest.param(SORTED, bundle(OLDER, NEW), False, id="asked to be sorted, and they are not"),
        pytest.param(SORTED, bundle(NEW, OLD, link=NEXT), True, id="a sorted first page that reaches back"),
        pytest.param(SORTED, bundle(NEW, link=NEXT), False, id="a sorted first page that does not"),
        pytest.param(SORTED, bundle(link=NEXT), False, id="an empty first page"),
        pytest.param(PLAIN, bundle(OLD, link=NEXT), False, id="an unsorted page with another after it"),
        pytest.param(PLAIN, bundle(OLD, total=2), False, id="fewer than there are"),
        pytest.param(ENDLESS, bundle(OLD, OLDER, NEW), True, id="without a count all that came is all"),
        pytest.param(PLAIN, bundle(without(OLD, "subject")), False, id="a result of nobody may be the patient's"),
        pytest.param(PLAIN, bundle({**OLD, "subject": {"reference": "Patient/you"}}), True, id="another patient's is not"),
        pytest.param(PLAIN, bundle({**OLD, "effectiveDateTime": "once"}), False, id="an undatable one may be recent"),
        pytest.param(PLAIN, bundle({**OLD, "effectiveDateTime": "once", "status": "entered-in-error"}), True, id="one that never happened may not"),
        pytest.param(PLAIN, bundle({**OLD, "status": 7}), False, id="an unreadable one may be anything"),
        pytest.param(PLAIN, bundle({"resourceType": "Condition", "id": "c", "code": concept("x|1")}, OLD), False, id="another type among them"),
    ],
)  # fmt: skip
def test_what_proves_absence(query, value, proved):
    assert proof(query, value) is proved


@pytest.mark.ch("W-12b")
def test_all_of_the_past_is_proved_by_a_whole_answer_only():
    assert proof(SORTED, bundle(NEW, OLD), back_to=None) is False
    assert proof(SORTED, bundle(OLD), back_to=None) is True


def test_a_page_with_an_undated_result_of_another_test_is_not_taken_for_sorted():
    strange = without(result("s", 1, code="http://loinc.org|1-1"), "effectiveDateTime")
    assert proof(SORTED, bundle(OLD, strange, OLDER)) is False


@pytest.mark.parametrize(
    ("state", "value", "reason"),
    [("absent", ..., "key_absent"), ("failed", 7, "key_failed"), ("refused", outcome("login"), "key_failed"),
     ("incomplete", bundle(A1C, link=NEXT), "key_incomplete"), ("none", None, None), ("sent", bundle(A1C), None)],
)  # fmt: skip
def test_a_feature_says_which_key_could_have_brought_it(state, value, reason):
    brought = features_by_key(SERVICE, FEATURES)
    prefetch = read(**({} if value is ... else {"labs": value}))
    assert prefetch.states["labs"] == state
    assert prefetch.unanswered({"labs": brought["labs"]}).get("glucose") == reason


def test_which_key_brings_which_feature():
    brought = features_by_key(SERVICE, FEATURES)
    assert "hba1c" in brought["hba1c"]
    assert {"glucose", "hdl", "total_cholesterol"} <= set(brought["labs"])
    assert {"bmi", "waist", "sbp", "dbp"} <= set(brought["vitals"])
    assert not set(brought["vitals"]) & set(brought["labs"])
    assert brought["pregnancy"] == ()


@pytest.mark.ch("CH-106")
@pytest.mark.parametrize(
    ("labs", "unordered"),
    [
        pytest.param(bundle(NEW, OLD), False, id="a whole answer in any order"),
        pytest.param(bundle(NEW, OLD, link=NEXT), False, id="a page, newest first as it was asked"),
        pytest.param(bundle(OLD, NEW, link=NEXT), True, id="a page that is not in the order that was asked"),
        pytest.param(bundle(OLD, NEW, total=9), True, id="a part that is not in order"),
    ],
)
def test_a_page_out_of_order_may_leave_a_newer_result_unread(labs, unordered):
    found = unordered_features(SERVICE, read(labs=labs), FEATURES)
    assert ("glucose" in found) is unordered


def test_a_whole_answer_to_a_query_for_all_codes_of_a_feature_is_enough():
    page = bundle(OLD, NEW, link=NEXT)
    assert "hba1c" in unordered_features(SERVICE, read(labs=page), FEATURES)
    assert "hba1c" not in unordered_features(SERVICE, read(labs=page, hba1c=None), FEATURES)
