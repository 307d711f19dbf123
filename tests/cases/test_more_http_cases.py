"""More cases of kinds `protocol`, `time` and `feedback`, found beside the given ones, against the whole service."""

import copy
import gzip
import json

import pytest

from cds_service.events.feedback_counts import Acceptance, count_acceptance
from cds_service.events.ids import new_id
from cds_service.events.schema import PredictionMade
from tests.cases.conftest import NOW

PATIENT = {"resourceType": "Patient", "id": "pt-001", "gender": "female", "birthDate": "1958-04-12"}
GLUCOSE = {
    "resourceType": "Observation",
    "id": "obs-1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
    "subject": {"reference": "Patient/pt-001"},
    "effectiveDateTime": "2026-05-30T08:15:00+09:00",
    "valueQuantity": {"value": 101, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
}
LABS = {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{"resource": GLUCOSE}]}
CALL = {
    "hook": "patient-view",
    "hookInstance": "6f0e3c2a-0d5b-4a51-9d2e-0f6d1a7c0001",
    "context": {"userId": "Practitioner/dr-001", "patientId": "pt-001"},
    "prefetch": {"patient": PATIENT, "labs": LABS},
}
PATH = "/cds-services/case-labs"
JSON = {"Content-Type": "application/json"}
ABSENT = object()
TOKEN = {
    "access_token": "test-token-1", "token_type": "Bearer", "expires_in": 300, "scope": "user/Observation.read",
    "subject": "case-labs",
}  # fmt: skip


def call(**changes):
    """The good call with single fields changed, by path: ``context__userId="x"``."""
    body = copy.deepcopy(CALL)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = body
        for name in outer:
            place = place.setdefault(name, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return body


def paths_of(response):
    return [path for issue in response.json()["issue"] for path in issue.get("expression", ())]


def outcome(*severities, code="timeout"):
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code} for severity in severities],
    }


@pytest.mark.parametrize(
    ("labs", "status"),
    [
        pytest.param(None, 200, id="null: nothing found"),
        pytest.param({"resourceType": "Bundle"}, 200, id="a Bundle without entries"),
        pytest.param({"resourceType": "Bundle", "total": 0, "entry": None}, 200, id="entries that are null"),
        pytest.param("null", 412, id="the word null"),
        pytest.param("", 412, id="an empty string"),
        pytest.param(True, 412, id="true"),
        pytest.param(0, 412, id="a number"),
        pytest.param({}, 412, id="an empty object"),
        pytest.param([], 412, id="an empty list"),
        pytest.param([LABS], 412, id="a list of Bundles"),
        pytest.param(GLUCOSE, 412, id="a resource where a Bundle is asked for"),
        pytest.param({"resourceType": "Bundle", "entry": [{"resource": LABS}]}, 412, id="a Bundle in a Bundle"),
        pytest.param({"resourceType": "Parameters"}, 412, id="another type"),
        pytest.param({"resourceType": "bundle"}, 412, id="a type in lower case"),
        pytest.param(outcome("error", code="forbidden"), 412, id="refused"),
        pytest.param(outcome("warning"), 412, id="a warning instead of the answer"),
        pytest.param(outcome(), 412, id="an outcome that says nothing"),
        pytest.param({"resourceType": "Bundle", "entry": [{"resource": GLUCOSE}, {"resource": outcome("fatal")}]}, 412, id="results and a fatal outcome"),
        pytest.param({"resourceType": "Bundle", "entry": [{"resource": GLUCOSE}, {"resource": outcome("information")}]}, 200, id="results and a remark"),
        pytest.param({"resourceType": "Bundle", "entry": [None, {"resource": GLUCOSE}]}, 200, id="a null entry beside a result"),
    ],
)  # fmt: skip
def test_what_a_required_key_holds(labs, status, service, events):
    client, _ = service
    response = client.post(PATH, json=call(prefetch__labs=labs))
    assert response.status_code == status
    assert len(events()) == 1
    if status == 412:
        assert paths_of(response) == ["prefetch.labs"]
        assert "pt-001" not in response.text


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        pytest.param({"hookInstance": "6F0E3C2A-0D5B-4A51-9D2E-0F6D1A7C0001"}, None, id="hookInstance in capitals"),
        pytest.param({"hookInstance": "{6f0e3c2a-0d5b-4a51-9d2e-0f6d1a7c0001}"}, "hookInstance", id="hookInstance in braces"),
        pytest.param({"hookInstance": "urn:uuid:6f0e3c2a-0d5b-4a51-9d2e-0f6d1a7c0001"}, "hookInstance", id="hookInstance as URN"),
        pytest.param({"hookInstance": "6f0e3c2a0d5b4a519d2e0f6d1a7c0001"}, "hookInstance", id="hookInstance without dashes"),
        pytest.param({"hookInstance": None}, "hookInstance", id="hookInstance null"),
        pytest.param({"hookInstance": 1}, "hookInstance", id="hookInstance a number"),
        pytest.param({"hook": ["patient-view"]}, "hook", id="hook a list"),
        pytest.param({"hook": "Patient-View"}, "hook", id="hook in another case"),
        pytest.param({"context__userId": "PractitionerRole/role-1"}, None, id="a role as user"),
        pytest.param({"context__userId": "https://ehr.example.org/fhir/Practitioner/dr-001"}, "context.userId", id="userId as URL"),
        pytest.param({"context__userId": "practitioner/dr-001"}, "context.userId", id="userId's type in lower case"),
        pytest.param({"context__userId": "dr-001"}, "context.userId", id="userId without its type"),
        pytest.param({"context__userId": "Device/1"}, "context.userId", id="a device as user"),
        pytest.param({"context__userId": ABSENT}, "context.userId", id="nobody"),
        pytest.param({"context__encounterId": "enc-1"}, None, id="an encounter"),
        pytest.param({"context__encounterId": None}, None, id="an encounter of null"),
        pytest.param({"context__encounterId": "Encounter/enc-1"}, "context.encounterId", id="an encounter as reference"),
        pytest.param({"context__patientId": "pt_001"}, "context.patientId", id="an underscore in an id"),
        pytest.param({"context__patientId": 1}, "context.patientId", id="a number as id"),
        pytest.param({"context__patientId": "pt-001 "}, "context.patientId", id="a blank behind an id"),
        pytest.param({"context__patientId": "a" * 65}, "context.patientId", id="an id of 65 signs"),
        pytest.param({"context__patientId": "pt-002"}, "prefetch.patient", id="another patient's record"),
        pytest.param({"prefetch__patient": {"resourceType": "Patient"}}, "prefetch.patient", id="nobody's record"),
        pytest.param({"prefetch__patient": {**PATIENT, "id": "PT-001"}}, "prefetch.patient", id="an id in another case"),
        pytest.param({"prefetch": []}, "prefetch", id="prefetch a list"),
        pytest.param({"prefetch__unasked": 5}, None, id="a key that nobody asked for"),
        pytest.param({"fhirServer": None, "fhirAuthorization": None}, None, id="optional fields of null"),
        pytest.param({"fhirServer": "https://ehr.example.org/fhir/"}, None, id="fhirServer with a slash"),
        pytest.param({"fhirServer": "/fhir"}, "fhirServer", id="a relative fhirServer"),
        pytest.param({"fhirServer": "ftp://ehr.example.org"}, "fhirServer", id="fhirServer of another scheme"),
        pytest.param({"fhirServer": "https://ehr.example.org/fhir", "fhirAuthorization": {**TOKEN, "token_type": "bearer"}}, None, id="bearer in lower case"),
        pytest.param({"fhirServer": "https://ehr.example.org/fhir", "fhirAuthorization": {**TOKEN, "expires_in": "300"}}, "fhirAuthorization.expires_in", id="a lifetime as text"),
        pytest.param({"fhirServer": "https://ehr.example.org/fhir", "fhirAuthorization": {**TOKEN, "patient": "pt-002"}}, "fhirAuthorization.patient", id="another patient's token"),
        pytest.param({"fhirServer": "https://ehr.example.org/fhir", "fhirAuthorization": [TOKEN]}, "fhirAuthorization", id="a list of tokens"),
    ],
)  # fmt: skip
def test_a_field_of_the_envelope(changes, path, client):
    response = client.post(PATH, json=call(**changes))
    if path is None:
        assert response.status_code == 200
    else:
        assert response.status_code == 400
        assert path in paths_of(response)
        assert "pt-00" not in response.text


RAW = json.dumps(CALL).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"null", 400, id="null"),
        pytest.param(b"[]", 400, id="a list"),
        pytest.param(RAW + RAW, 400, id="two objects"),
        pytest.param(RAW + b"\n" + RAW, 400, id="two lines"),
        pytest.param(b"\r\n " + RAW + b"\n", 200, id="blanks around"),
        pytest.param(json.dumps(CALL).encode("utf-16"), 400, id="UTF-16"),
        pytest.param(RAW.replace(b"dr-001", b"dr-\xe9"), 400, id="Latin-1"),
        pytest.param(RAW.replace(b"dr-001", b"dr\x00001"), 400, id="a NUL"),
        pytest.param(RAW.replace(b"dr-001", b"dr-\\ud800"), 400, id="half a surrogate pair"),
        pytest.param(RAW.replace(b'"', b"'"), 400, id="single quotes"),
        pytest.param(RAW.replace(b": 101", b": NaN"), 400, id="NaN"),
        pytest.param(RAW.replace(b": 101", b": -Infinity"), 400, id="minus infinity"),
        pytest.param(RAW.replace(b": 101", b": +101"), 400, id="a plus before a number"),
        pytest.param(RAW.replace(b": 101", b": 0101"), 400, id="a nought before a number"),
        pytest.param(RAW.replace(b": 101", b": 101."), 400, id="a point behind a number"),
        pytest.param(RAW.replace(b": 101", b": 1.01e2"), 200, id="an exponent"),
        pytest.param(RAW.replace(b": 101", b": 1e400"), 200, id="a value beyond a double: that result alone is lost"),
        pytest.param(RAW.replace(b'"patientId": ', b'"patientId": "pt-002", "patientId": '), 200, id="a key twice: the last counts"),
        pytest.param(RAW.replace(b'"patientId": "pt-001"', b'"patientId": "pt-001", "patientId": "pt-002"'), 400, id="and then the data are another's"),
        pytest.param(gzip.compress(RAW), 400, id="gzip, undeclared"),
    ],
)  # fmt: skip
def test_the_bytes_of_a_body(body, status, client):
    response = client.post(PATH, content=body, headers=JSON)
    assert response.status_code == status
    assert "pt-00" not in response.text or status == 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({}, RAW, 415, id="no type"),
        pytest.param({"Content-Type": "application/json;charset=utf-16"}, RAW, 200, id="a charset that is not JSON's is passed over"),
        pytest.param({"Content-Type": "application/fhir+json; fhirVersion=4.0"}, RAW, 200, id="FHIR JSON of a version"),
        pytest.param({"Content-Type": "text/json"}, RAW, 415, id="text/json"),
        pytest.param({"Content-Type": "application/json, application/json"}, RAW, 415, id="two types in one"),
        pytest.param({**JSON, "Accept": "text/html"}, RAW, 200, id="asked for HTML: JSON is what there is"),
        pytest.param({**JSON, "Content-Encoding": "x-gzip"}, gzip.compress(RAW), 200, id="gzip by its old name"),
        pytest.param({**JSON, "Content-Encoding": "identity"}, RAW, 200, id="identity"),
        pytest.param({**JSON, "Content-Encoding": "deflate"}, RAW, 415, id="deflate"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, RAW, 400, id="gzip that is none"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, gzip.compress(RAW)[:-6], 400, id="gzip that is cut"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, gzip.compress(RAW)[:-4] + b"\0\0\0\1", 400, id="gzip of another length than it says"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, gzip.compress(RAW) + b"xx", 400, id="gzip with something behind it"),
    ],
)  # fmt: skip
def test_types_and_encodings(headers, body, status, client):
    assert client.post(PATH, content=body, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/cds-services/", 200, id="discovery with a slash"),
        pytest.param("HEAD", "/cds-services", 200, id="discovery's head"),
        pytest.param("POST", f"{PATH}/", 200, id="a call with a slash"),
        pytest.param("POST", f"{PATH}//", 404, id="with two"),
        pytest.param("POST", "/cds-services//case-labs", 404, id="an empty segment"),
        pytest.param("POST", "/cds-services/case%2Dlabs", 200, id="an id with an escaped dash"),
        pytest.param("POST", "/cds-services/CASE-LABS", 404, id="an id in another case"),
        pytest.param("POST", f"{PATH}%20", 404, id="a blank behind an id"),
        pytest.param("POST", f"{PATH}?tenant=a", 200, id="a query"),
        pytest.param("PUT", PATH, 405, id="PUT"),
        pytest.param("DELETE", PATH, 405, id="DELETE"),
        pytest.param("GET", f"{PATH}/feedback", 405, id="GET of feedback"),
        pytest.param("POST", "/cds-services", 405, id="POST to discovery"),
    ],
)
def test_addresses_and_methods(method, path, status, client):
    content = RAW if method == "POST" else None
    response = client.request(method, path, content=content, headers=JSON, follow_redirects=False)
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        pytest.param("https://sandbox.example.org", True, id="the listed one"),
        pytest.param("null", False, id="null"),
        pytest.param("http://sandbox.example.org", False, id="another scheme"),
        pytest.param("https://sandbox.example.org:8443", False, id="another port"),
        pytest.param("https://sandbox.example.org.evil", False, id="a longer host"),
        pytest.param("https://a.sandbox.example.org", False, id="a host below it"),
    ],
)
def test_origins(origin, allowed, client):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answers = [
        client.options(PATH, headers=asked),
        client.post(PATH, content=RAW, headers={**JSON, "Origin": origin}),
        client.post(PATH, content=b"x", headers={**JSON, "Origin": origin}),
        client.post("/cds-services/unknown", content=RAW, headers={**JSON, "Origin": origin}),
    ]
    for answer in answers:
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("more", "cards"),
    [
        pytest.param({"deceasedDateTime": "2026"}, 0, id="died in a year"),
        pytest.param({"deceasedDateTime": "unknown"}, 0, id="died at a time that can't be read"),
        pytest.param({"deceasedDateTime": "2030-01-01"}, 0, id="died in the future, which someone must look at"),
        pytest.param({"_deceasedDateTime": {"extension": [{"url": "x"}]}}, 0, id="died at a masked time"),
        pytest.param({"deceasedBoolean": False, "deceasedDateTime": "2026-01-01"}, 0, id="both: not said to live"),
        pytest.param({"deceasedBoolean": None}, 1, id="null is not said"),
    ],
)
def test_the_dead_get_no_card(more, cards, service, events):
    client, _ = service
    response = client.post(PATH, json=call(prefetch__patient={**PATIENT, **more}))
    assert response.status_code == 200
    assert len(response.json()["cards"]) == cards
    (event,) = events()
    assert (getattr(event, "reason", None) == "patient_deceased") == (not cards)


CARD = "0f6d1a7c-1111-4a51-9d2e-000000000001"
SUGGESTION = "0f6d1a7c-2222-4a51-9d2e-000000000001"
ACCEPTED = {
    "card": CARD, "outcome": "accepted", "acceptedSuggestions": [{"id": SUGGESTION}],
    "outcomeTimestamp": "2026-06-01T00:00:00Z",
}  # fmt: skip
OVERRIDDEN = {"card": CARD, "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:00:00Z"}


def heard(events):
    return [event for event in events() if hasattr(event, "outcome_at")]


@pytest.mark.parametrize(
    ("item", "below"),
    [
        pytest.param({**OVERRIDDEN, "outcome": "ignored"}, ".outcome", id="an outcome that is none"),
        pytest.param({**ACCEPTED, "outcome": "Accepted"}, ".outcome", id="an outcome in another case"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": []}, ".acceptedSuggestions", id="accepted nothing"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": {"id": SUGGESTION}}, ".acceptedSuggestions", id="one suggestion without its list"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": [SUGGESTION]}, ".acceptedSuggestions[0]", id="a bare suggestion"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": [{"id": "1"}]}, ".acceptedSuggestions[0].id", id="a suggestion that is no UUID"),
        pytest.param({**OVERRIDDEN, "card": f"urn:uuid:{CARD}"}, ".card", id="a card as URN"),
        pytest.param({**OVERRIDDEN, "card": None}, ".card", id="no card"),
        pytest.param({**OVERRIDDEN, "overrideReason": "x"}, ".overrideReason", id="a reason as text"),
        pytest.param({**OVERRIDDEN, "overrideReason": {"reason": {"display": "x"}}}, ".overrideReason.reason.code", id="a reason with its display only"),
        pytest.param({**OVERRIDDEN, "overrideReason": {"userComment": 5}}, ".overrideReason.userComment", id="a number as comment"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "2026-06-01T24:00:00Z"}, ".outcomeTimestamp", id="hour 24"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "2026-06-01T00:00Z"}, ".outcomeTimestamp", id="no seconds"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "2026-06-01T00:00:00+0900"}, ".outcomeTimestamp", id="an offset without its colon"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "Mon, 01 Jun 2026 00:00:00 GMT"}, ".outcomeTimestamp", id="the date of a mail"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": None}, ".outcomeTimestamp", id="no time"),
        pytest.param(None, "", id="null"),
    ],
)  # fmt: skip
def test_a_bad_item_is_named_and_the_good_ones_of_its_batch_are_kept(item, below, service, events):
    client, _ = service
    good = {**OVERRIDDEN, "outcomeTimestamp": "2026-05-31T23:00:00Z"}
    response = client.post(f"{PATH}/feedback", json={"feedback": [good, item]})
    assert response.status_code == 400
    assert f"feedback[1]{below}" in paths_of(response)
    assert len(heard(events)) == 1


@pytest.mark.parametrize(
    ("item", "flags"),
    [
        pytest.param({**ACCEPTED, "card": CARD.upper()}, (), id="a card in capitals"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": [{"id": SUGGESTION}, {"id": SUGGESTION.upper()}]}, (), id="the same suggestion twice"),
        pytest.param({**ACCEPTED, "acceptedSuggestions": [{"id": CARD}]}, ("foreign_suggestion",), id="a suggestion of another card"),
        pytest.param({**ACCEPTED, "overrideReason": {"reason": {"code": "a"}}}, ("reason_ignored",), id="accepted with a reason against it"),
        pytest.param({**OVERRIDDEN, "acceptedSuggestions": [{"id": SUGGESTION}]}, ("suggestions_ignored",), id="overridden with a suggestion"),
        pytest.param({**OVERRIDDEN, "overrideReason": {}}, (), id="an empty reason"),
        pytest.param({**OVERRIDDEN, "overrideReason": {"userComment": "x"}}, (), id="a comment alone"),
        pytest.param({**OVERRIDDEN, "overrideReason": {"reason": {"code": "theirs", "system": "https://x.example.org"}}}, ("unknown_reason",), id="a reason that we did not offer"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "2026-05-31t23:59:60z"}, (), id="a leap second in lower case"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "0001-01-01T00:00:00Z"}, (), id="the year 1"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "9999-12-31T23:59:59Z"}, ("clock_ahead",), id="the year 9999"),
        pytest.param({**OVERRIDDEN, "outcomeTimestamp": "2026-06-01"}, ("date_only",), id="a date"),
    ],
)  # fmt: skip
def test_an_unusual_item_is_kept_once_with_what_is_unusual(item, flags, service, events):
    client, parts = service
    shown = PredictionMade(
        id=new_id(NOW), at=NOW, tenant=parts.client.tenant, client=parts.client.name, service="case-labs",
        hook="patient-view", card=CARD, suggestions=(SUGGESTION,),
    )  # fmt: skip
    parts.store.append_and_wait([shown])
    for _ in range(2):  # a retry adds nothing
        assert client.post(f"{PATH}/feedback", json={"feedback": [item, item]}).status_code == 200
    (event,) = heard(events)
    assert set(flags) == set(event.flags)
    assert event.matched == ("foreign_suggestion" not in flags)
    total = sum(count_acceptance(events()).values(), Acceptance())
    assert total.accepted + total.overridden == (1 if event.matched else 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"feedback": {}}, 400, id="an object"),
        pytest.param({"feedback": None}, 400, id="null"),
        pytest.param({"feedback": ACCEPTED}, 400, id="one item without its list"),
        pytest.param({}, 400, id="nothing"),
        pytest.param({"feedback": [OVERRIDDEN] * 5001}, 413, id="more items than are read"),
        pytest.param({"feedback": [{**OVERRIDDEN, "card": f"{n:08x}{CARD[8:]}"} for n in range(5000)]}, 200, id="as many as are read"),
    ],
)  # fmt: skip
def test_a_batch(body, status, service, events):
    client, parts = service
    assert client.post(f"{PATH}/feedback", json=body).status_code == status
    stored = [event.event for event in parts.store.read(0, 6000) if hasattr(event.event, "outcome_at")]
    assert len(stored) == (5000 if status == 200 else 0)


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        pytest.param({}, None, id="the whole answer"),
        pytest.param({"link": [{"relation": "self", "url": "https://ehr.example.org/fhir/Observation"}]}, None, id="a link to itself"),
        pytest.param({"link": [{"relation": "next", "url": "https://ehr.example.org/fhir?page=2"}]}, "key_incomplete", id="the first page of several"),
        pytest.param({"link": [{"relation": "next"}]}, "key_incomplete", id="a next page without its address"),
        pytest.param({"total": 2}, "key_incomplete", id="fewer than there are"),
        pytest.param({"total": 0}, None, id="more than there are"),
    ],
)  # fmt: skip
def test_the_newest_value_may_stand_on_a_page_that_was_not_read(more, missing, service, events):
    """CH-106: the query of this service asks for no order, so that a page of several says nothing of the latest."""
    client, _ = service
    assert client.post(PATH, json=call(prefetch__labs={**LABS, **more})).status_code == 200
    (event,) = events()
    assert event.missing.get("glucose") == missing
