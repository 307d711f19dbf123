"""Requests, field by field: sections D, E and G as a table. What is accepted, and which paths a 400 names."""

import copy
import json
import pickle

import msgspec
import pytest

from cds_service.cdshooks.hook_specs import HOOKS
from cds_service.cdshooks.wire import read_request
from cds_service.errors import TooLarge, WireError

TOKEN = {
    "access_token": "zq-token",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/Observation.read",
    "subject": "our-client",
}
VALID = {
    "hook": "patient-view",
    "hookInstance": "0f6c1f0e-6f6b-4a53-9d0e-6a1f0c2b7d11",
    "context": {"userId": "Practitioner/u-1", "patientId": "pat-7"},
}
ORDERS = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "MedicationRequest", "id": "m1"}}]}
CLINICIAN = {"userId": "Practitioner/u-1", "patientId": "pat-7"}
GONE = object()


def call(**changes: object) -> dict:
    """A valid call with changes; a dotted name reaches inside, GONE removes."""
    body = copy.deepcopy(VALID)
    for name, value in changes.items():
        *path, last = name.split("__")
        inside = body
        for part in path:
            inside = inside.setdefault(part, {})
        if value is GONE:
            del inside[last]
        else:
            inside[last] = value
    return body


def ch(*ids: str):
    return pytest.mark.ch(*ids)


def row(*ids: str, id: str, **changes: object):  # noqa: A002
    return pytest.param(call(**changes), marks=ch(*ids), id=id)


def bad(*ids: str, at: str, id: str, **changes: object):  # noqa: A002
    return pytest.param(call(**changes), at, marks=ch(*ids), id=id)


@pytest.mark.parametrize(
    "body",
    [
        row("CH-067", "CH-070", "CH-071", id="no fhirServer, no token, no prefetch"),
        row("CH-063", hookInstance="0F6C1F0E-6F6B-4A53-9D0E-6A1F0C2B7D11", id="an upper-case hookInstance"),
        row("CH-071", prefetch={}, id="an empty prefetch is an absent one"),
        row("CH-072", extension={"org.example.a": [1]}, context__extension={"b": 1}, id="extension at the top and in context"),
        row("CH-072", fhirServer="https://f.example/r4", fhirAuthorization={**TOKEN, "extension": {}}, id="extension in fhirAuthorization"),
        row("CH-073", user="Practitioner/1", somethingNew=1, id="unknown fields, also those from before 1.0"),
        row("CH-080", context__userId="Practitioner/1", id="the user is a Practitioner"),
        row("CH-080", context__userId="PractitionerRole/1", id="the user is a PractitionerRole"),
        row("CH-080", "CH-084", context__userId="Patient/1", id="the user is a Patient"),
        row("CH-080", "CH-084", context__userId="RelatedPerson/1", id="the user is a RelatedPerson"),
        row("CH-082", context__encounterId="enc-2", id="an encounter"),
        row("CH-081", context__patientId="A.b-9" + "x" * 59, id="an id of 64 characters"),
        row("CH-140", "CH-141", "CH-142", "CH-143", "CH-144", fhirServer="https://f.example/r4", fhirAuthorization=TOKEN, id="a whole token"),
        row("CH-141", fhirServer="https://f.example/r4", fhirAuthorization={**TOKEN, "token_type": "bearer"}, id="bearer in lower case"),
        row("CH-142", fhirServer="https://f.example/r4", fhirAuthorization={**TOKEN, "expires_in": 0}, id="a token that has run out"),
        row("CH-143", fhirServer="https://f.example/r4", fhirAuthorization={**TOKEN, "scope": "user/Observation.rs"}, id="SMART v2 scopes"),
        row("CH-145", fhirServer="https://f.example/r4", fhirAuthorization={**TOKEN, "patient": "pat-7"}, id="a token for this patient"),
    ],
)  # fmt: skip
def test_accepted(body):
    request = read_request(json.dumps(body).encode(), hooks=["patient-view"])
    assert request.context.patient_id == body["context"]["patientId"]
    assert request.hook_instance == VALID["hookInstance"]
    assert request.quirks == ()


@pytest.mark.parametrize(
    ("body", "at"),
    [
        bad("CH-062", at="hook", hook=GONE, id="hook is missing"),
        bad("CH-062", at="hook", hook="order-sign", id="a hook that this id does not serve"),
        bad("CH-062", at="hook", hook=7, id="hook is a number"),
        bad("CH-062", at="hook", hook="", id="hook is empty"),
        bad("CH-062", at="hook", hook=None, id="hook is null"),
        bad("CH-063", at="hookInstance", hookInstance=GONE, id="hookInstance is missing"),
        bad("CH-063", "W-03", at="hookInstance", hookInstance="1234", id="hookInstance is no UUID"),
        bad("CH-063", at="hookInstance", hookInstance=None, id="hookInstance is null"),
        bad("CH-066", at="context", context=GONE, id="context is missing"),
        bad("CH-066", at="context", context=[{"patientId": "pat-7"}], id="context is a list"),
        bad("CH-066", at="context", context="pat-7", id="context is a string"),
        bad("CH-066", at="context", context=None, id="context is null"),
        bad("CH-080", at="context.userId", context__userId=GONE, id="userId is missing"),
        bad("CH-080", at="context.userId", context__userId="dr-1", id="userId without a type"),
        bad("CH-080", at="context.userId", context__userId="Device/1", id="userId of a type that is no user"),
        bad("CH-081", at="context.patientId", context__patientId=GONE, id="patientId is missing"),
        bad("CH-081", at="context.patientId", context__patientId="", id="patientId is empty"),
        bad("CH-081", at="context.patientId", context__patientId="a b", id="patientId holds a space"),
        bad("CH-081", at="context.patientId", context__patientId="x" * 65, id="patientId has 65 characters"),
        bad("CH-081", at="context.patientId", context__patientId=7, id="patientId is a number"),
        bad("W-02", at="context.patientId", context__patientId="Patient/123", id="patientId is a reference"),
        bad("CH-082", at="context.encounterId", context__encounterId="Encounter/1", id="encounterId is a reference"),
        bad("CH-067", at="fhirServer", fhirServer="f.example/r4", id="fhirServer is no URL"),
        bad("CH-067", at="fhirServer", fhirServer="file:///etc/passwd", id="fhirServer is no web address"),
        bad("CH-068", at="fhirServer", fhirAuthorization=TOKEN, id="a token without its server"),
        bad("CH-070", at="fhirAuthorization", fhirServer="https://f.example", fhirAuthorization="t", id="fhirAuthorization is a string"),
        bad("CH-071", at="prefetch", prefetch=[], id="prefetch is a list"),
        bad("CH-071", at="prefetch", prefetch="x", id="prefetch is a string"),
        bad("CH-140", at="fhirAuthorization.access_token", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "access_token": ""}, id="access_token is empty"),
        bad("CH-141", at="fhirAuthorization.token_type", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "token_type": "MAC"}, id="token_type is MAC"),
        bad("CH-142", at="fhirAuthorization.expires_in", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "expires_in": "300"}, id="expires_in is a string"),
        bad("CH-142", at="fhirAuthorization.expires_in", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "expires_in": 1.5}, id="expires_in is no whole number"),
        bad("CH-143", at="fhirAuthorization.scope", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "scope": None}, id="scope is null"),
        bad("CH-144", at="fhirAuthorization.subject", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "subject": 1}, id="subject is a number"),
        bad("CH-145", at="fhirAuthorization.patient", fhirServer="https://f.example", fhirAuthorization={**TOKEN, "patient": "pat-8"}, id="a token for another patient"),
    ],
)  # fmt: skip
def test_refused_at_its_path(body, at):
    with pytest.raises(WireError) as caught:
        read_request(json.dumps(body).encode(), hooks=["patient-view"])
    assert [fault.where for fault in caught.value.faults] == [at]


@pytest.mark.ch("CH-074", "W-01")
@pytest.mark.sec("SEC-085")
def test_all_faults_are_named_at_once_and_no_value_is_echoed():
    body = {
        "hook": "zq1",
        "hookInstance": "zq2",
        "context": {"userId": "zq3", "patientId": "zq 4", "encounterId": "zq/5"},
        "prefetch": "zq6",
        "fhirServer": "zq7",
        "fhirAuthorization": {"access_token": "", "token_type": "zq8", "expires_in": "zq9", "patient": "zq 10"},
    }
    with pytest.raises(WireError) as caught:
        read_request(json.dumps(body).encode(), hooks=["patient-view"])
    assert sorted(fault.where for fault in caught.value.faults) == [
        "context.encounterId",
        "context.patientId",
        "context.userId",
        "fhirAuthorization.access_token",
        "fhirAuthorization.expires_in",
        "fhirAuthorization.patient",
        "fhirAuthorization.scope",
        "fhirAuthorization.subject",
        "fhirAuthorization.token_type",
        "fhirServer",
        "hook",
        "hookInstance",
        "prefetch",
    ]
    assert "zq" not in str(caught.value)


VALID_BYTES = json.dumps(VALID).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"hook": ', id="cut"),
        pytest.param(VALID_BYTES[:-1] + b",}", marks=ch("CH-005"), id="a trailing comma"),
        pytest.param(VALID_BYTES[:-1] + b'} // "x"', marks=ch("CH-005"), id="a comment"),
        pytest.param(VALID_BYTES * 2, id="two documents"),
        pytest.param(b"[" + VALID_BYTES + b"]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\xef\xbb\xbf" + VALID_BYTES, marks=pytest.mark.sec("SEC-045"), id="a byte order mark"),
        pytest.param(VALID_BYTES.decode().encode("utf-16"), marks=ch("CH-001"), id="UTF-16"),
        pytest.param(VALID_BYTES[:-1] + b', "prefetch": {"a": "\xff"}}', marks=ch("CH-001"), id="broken UTF-8 in a value that nobody reads"),
        pytest.param(VALID_BYTES[:-1] + b', "prefetch": {"a": NaN}}', marks=pytest.mark.sec("SEC-045"), id="NaN"),
        pytest.param(VALID_BYTES[:-1] + b', "prefetch": {"a": -Infinity}}', marks=pytest.mark.sec("SEC-045"), id="Infinity"),
        pytest.param(VALID_BYTES[:-1] + b', "prefetch": {"a": ' + b"[" * 99_999 + b"]" * 99_999 + b"}}", marks=pytest.mark.sec("SEC-045"), id="99,999 levels"),
        pytest.param(b"[" * 99_999, marks=pytest.mark.sec("SEC-045"), id="99,999 levels at the top"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-074")
def test_bytes_that_are_no_request(body):
    with pytest.raises(WireError) as caught:
        read_request(body, hooks=["patient-view"])
    assert [fault.where for fault in caught.value.faults] == ["body"]


@pytest.mark.sec("SEC-045")
@pytest.mark.parametrize("value", [b'"\\ud800"', b'"\\udc00\\ud800"'])
def test_a_lone_surrogate_in_what_we_keep_is_a_fault(value):
    body = VALID_BYTES.replace(b'"pat-7"', value)
    with pytest.raises(WireError) as caught:
        read_request(body)
    assert [fault.where for fault in caught.value.faults] in (["context.patientId"], ["body"])


@pytest.mark.sec("SEC-045")
def test_a_key_that_stands_twice_counts_with_its_last_value():
    body = VALID_BYTES[:-1] + b', "prefetch": {"a": 1}, "prefetch": {"a": 2, "a": 3}}'
    assert {key: bytes(raw) for key, raw in read_request(body).prefetch.items()} == {"a": b"3"}


@pytest.mark.sec("SEC-046")
@pytest.mark.parametrize(("keys", "is_read"), [(64, True), (65, False)])
def test_at_most_64_prefetch_keys(keys, is_read):
    body = json.dumps(call(prefetch={f"k{number}": None for number in range(keys)})).encode()
    if is_read:
        assert len(read_request(body).prefetch) == keys
    else:
        with pytest.raises(TooLarge):
            read_request(body)


@pytest.mark.ch("CH-101", "CH-102")
def test_null_and_absent_keys_stay_apart():
    prefetch = read_request(json.dumps(call(prefetch={"labs": None})).encode()).prefetch
    assert prefetch["labs"] is None
    assert "patient" not in prefetch


@pytest.mark.parametrize("field", ["fhirServer", "fhirAuthorization", "prefetch"])
@pytest.mark.ch("CH-067", "CH-070", "CH-071")
def test_null_for_an_optional_field_counts_as_absent_and_is_noted(field):
    request = read_request(json.dumps(call(**{field: None})).encode())
    assert (request.fhir_server, request.fhir_authorization, dict(request.prefetch)) == (None, None, {})
    assert request.quirks == ("null_optional",)


@pytest.mark.ch("W-02")
def test_the_quirk_takes_the_prefix_off_and_notes_it():
    body = call(
        context__patientId="Patient/123",
        fhirServer="https://f.example",
        fhirAuthorization={**TOKEN, "patient": "Patient/123"},
    )
    request = read_request(json.dumps(body).encode(), patient_prefix_quirk=True)
    assert (request.context.patient_id, request.quirks) == ("123", ("patient_prefix",))
    assert request.fhir_authorization.patient == "123"


HOOK_CONTEXTS = [
    pytest.param("patient-view", CLINICIAN, id="patient-view"),
    pytest.param("order-select", {**CLINICIAN, "selections": ["MedicationRequest/m1"], "draftOrders": ORDERS}, marks=ch("CH-085"), id="order-select, no dosage"),
    pytest.param("order-select", {**CLINICIAN, "selections": ["MedicationRequest/m1"], "draftOrders": {**ORDERS, "type": "collection"}}, id="order-select, a collection"),
    pytest.param("order-sign", {**CLINICIAN, "draftOrders": ORDERS}, marks=ch("CH-087"), id="order-sign, a Bundle without type"),
    pytest.param("order-sign", {**CLINICIAN, "encounterId": "e1", "draftOrders": {**ORDERS, "entry": []}}, marks=ch("CH-088"), id="order-sign, drafts that exist nowhere"),
    pytest.param("encounter-start", {**CLINICIAN, "encounterId": "e1"}, id="encounter-start"),
    pytest.param("encounter-discharge", {**CLINICIAN, "encounterId": "e1"}, id="encounter-discharge"),
    pytest.param("appointment-book", {"userId": "Patient/1", "patientId": "pat-7", "appointments": ORDERS}, id="appointment-book by a patient"),
    pytest.param("order-dispatch", {"patientId": "pat-7", "dispatchedOrders": ["ServiceRequest/1"], "performer": "Organization/2"}, id="order-dispatch has no userId"),
    pytest.param("order-dispatch", {"patientId": "pat-7", "dispatchedOrders": ["ServiceRequest/1"], "performer": "Organization/2", "fulfillmentTasks": [{"resourceType": "Task"}]}, id="order-dispatch with tasks"),
    pytest.param("medication-refill", {"patientId": "pat-7"}, id="a hook of maturity 1"),
    pytest.param("order-review", CLINICIAN, id="a deprecated hook"),
    pytest.param("org.example.chart-close", {"patientId": "pat-7"}, marks=ch("CH-089"), id="a hook of one's own"),
]  # fmt: skip


@pytest.mark.ch("CH-066", "CH-076")
@pytest.mark.parametrize(("hook", "context"), HOOK_CONTEXTS)
def test_each_hook_is_read_with_its_own_context(hook, context):
    request = read_request(json.dumps({**VALID, "hook": hook, "context": context}).encode())
    assert request.hook == hook
    assert request.context.user_id == context.get("userId")
    assert set(request.context.raw) == set(context)


@pytest.mark.ch("CH-066")
@pytest.mark.parametrize(
    ("hook", "context", "at"),
    [
        pytest.param("order-select", {**CLINICIAN, "selections": ["MedicationRequest/m1", "MedicationRequest/m2"], "draftOrders": ORDERS}, ["context.selections[1]"], marks=ch("CH-086"), id="a selection that dangles"),
        pytest.param("order-select", {**CLINICIAN, "selections": ["m1"], "draftOrders": ORDERS}, ["context.selections[0]"], id="a selection without type"),
        pytest.param("order-select", {**CLINICIAN, "selections": [], "draftOrders": ORDERS}, ["context.selections"], id="nothing selected"),
        pytest.param("order-select", {**CLINICIAN, "selections": "x", "draftOrders": []}, ["context.selections", "context.draftOrders"], id="both of a wrong type"),
        pytest.param("order-select", CLINICIAN, ["context.selections", "context.draftOrders"], id="no orders"),
        pytest.param("order-sign", {"userId": "Patient/1", "patientId": "pat-7", "draftOrders": ORDERS}, ["context.userId"], id="a patient signs"),
        pytest.param("order-sign", {**CLINICIAN, "draftOrders": {"resourceType": "Patient"}}, ["context.draftOrders"], id="no Bundle"),
        pytest.param("encounter-start", CLINICIAN, ["context.encounterId"], id="no encounter"),
        pytest.param("appointment-book", CLINICIAN, ["context.appointments"], id="no appointments"),
        pytest.param("order-dispatch", {"patientId": "pat-7"}, ["context.dispatchedOrders", "context.performer"], id="nothing dispatched"),
        pytest.param("order-dispatch", {"patientId": "pat-7", "dispatchedOrders": ["ServiceRequest/1"], "performer": "Organization/2", "fulfillmentTasks": [{}]}, ["context.fulfillmentTasks[0]"], id="a task that is none"),
        pytest.param("org.example.chart-close", {}, ["context.patientId"], marks=ch("CH-089"), id="a hook of one's own without patient"),
    ],
)  # fmt: skip
def test_each_hook_names_what_its_context_lacks(hook, context, at):
    with pytest.raises(WireError) as caught:
        read_request(json.dumps({**VALID, "hook": hook, "context": context}).encode())
    assert [fault.where for fault in caught.value.faults] == at


@pytest.mark.ch("CH-066")
def test_order_dispatch_of_1_0_has_one_order():
    context = {"patientId": "pat-7", "order": "ServiceRequest/1", "performer": "Organization/2"}
    request = read_request(json.dumps({**VALID, "hook": "order-dispatch", "context": context}).encode())
    assert request.quirks == ("order_dispatch_1_0",)


@pytest.mark.ch("CH-089")
@pytest.mark.parametrize("hook", ["chart-close", "Org.Example.x", "org..x", "org.example.", ""])
def test_a_hook_that_is_neither_published_nor_reverse_domain(hook):
    with pytest.raises(WireError) as caught:
        read_request(json.dumps({**VALID, "hook": hook}).encode())
    assert [fault.where for fault in caught.value.faults] == ["hook"]


@pytest.mark.ch("CH-032", "CH-043")
def test_the_table_of_hooks():
    assert HOOKS["patient-view"].version == "1.0"
    assert HOOKS["order-dispatch"].version == "1.1"
    assert HOOKS["order-select"].tokens == {"userId", "patientId", "encounterId"}
    assert HOOKS["order-dispatch"].tokens == {"patientId", "dispatchedOrders", "performer"}


@pytest.mark.ch("CH-148")
@pytest.mark.sec("SEC-034")
def test_the_token_cannot_be_printed_or_stored():
    body = call(fhirServer="https://f.example/r4", fhirAuthorization=TOKEN)
    request = read_request(json.dumps(body).encode())
    token = request.fhir_authorization.access_token
    assert token.reveal() == "zq-token"
    assert pickle.loads(pickle.dumps(token)).reveal() == "***"
    for written in (
        repr(token),
        str(token),
        f"{token}",
        repr(request),
        repr(request.fhir_authorization),
        repr(request.context),
    ):
        assert "zq-token" not in written
        assert "pat-7" not in written
    with pytest.raises(TypeError):
        msgspec.json.encode(token)
    with pytest.raises(TypeError):
        json.dumps(token)
