"""The call on the running application: sections D, F, H, and what the cards that leave look like."""

import gzip
import json
import statistics
import time

import pytest
from markdown_it import MarkdownIt

from cds_service.contract.output_walk import emptiness
from tests.conformance.conftest import (
    ENCOUNTER,
    GLUCOSE,
    HBA1C,
    PATIENT,
    SERVICE,
    STRICT,
    call,
    card_of,
    chart,
    observation,
    outcome_of,
    searchset,
)


def ch(*ids: str):
    return pytest.mark.ch(*ids)


CONTEXT = {"userId": "Practitioner/u-1", "patientId": PATIENT}
TOKEN = {
    "access_token": "zq-token", "token_type": "Bearer", "expires_in": 300, "scope": "user/Patient.read", "subject": "us",
}  # fmt: skip
SERVER = "https://ehr.example.org/fhir"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=ch("CH-060", "CH-067", "CH-070", "CH-160"), id="no fhirServer, no token"),
        pytest.param({"extension": {"org.example.a": [1]}}, marks=ch("CH-072", "CH-293"), id="an extension"),
        pytest.param({"context": {**CONTEXT, "extension": {"a": 1}}}, marks=ch("CH-072"), id="an extension in context"),
        pytest.param({"user": "Practitioner/1", "patient": "pat-9", "new": None}, marks=ch("CH-073"), id="unknown fields"),
        pytest.param({"hookInstance": "0F6C1F0E-6F6B-4A53-9D0E-6A1F0C2B7D11"}, marks=ch("CH-063"), id="an upper-case hookInstance"),
        pytest.param({"context": {**CONTEXT, "encounterId": "enc-2"}}, marks=ch("CH-082"), id="an encounter"),
        pytest.param({"context": {**CONTEXT, "userId": "PractitionerRole/1"}}, marks=ch("CH-080"), id="a PractitionerRole"),
        pytest.param({"fhirServer": SERVER}, marks=ch("CH-067"), id="a FHIR server that is not needed"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": TOKEN}, marks=ch("CH-070", "CH-112"), id="a token that is not needed"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": {**TOKEN, "patient": PATIENT}}, marks=ch("CH-145"), id="a token for this patient"),
        pytest.param({"prefetch": chart(neverAsked={"resourceType": "Patient", "id": "pat-9"})}, marks=ch("CH-055"), id="a key that nobody asked for"),
        pytest.param({"prefetch": chart(hba1c=searchset())}, marks=ch("CH-103"), id="an empty searchset instead of null"),
        pytest.param({"prefetch": chart(hba1c={"resourceType": "Bundle", "type": "searchset"})}, marks=ch("CH-103"), id="a Bundle without entry"),
    ],
)  # fmt: skip
def test_what_changes_nothing(app, changes):
    assert card_of(app.call(call(**changes)))["summary"] == card_of(app.call(call()))["summary"]


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        pytest.param({"hook": ...}, "hook", marks=ch("CH-062"), id="no hook"),
        pytest.param({"hook": "order-sign"}, "hook", marks=ch("CH-062"), id="another hook"),
        pytest.param({"hookInstance": ...}, "hookInstance", marks=ch("CH-063"), id="no hookInstance"),
        pytest.param({"hookInstance": "1"}, "hookInstance", marks=ch("CH-063", "W-03"), id="hookInstance is no UUID"),
        pytest.param({"context": ...}, "context", marks=ch("CH-066"), id="no context"),
        pytest.param({"context": []}, "context", marks=ch("CH-066"), id="context is a list"),
        pytest.param({"context": {"patientId": PATIENT}}, "context.userId", marks=ch("CH-080"), id="no userId"),
        pytest.param({"context": {"userId": "Practitioner/1"}}, "context.patientId", marks=ch("CH-081"), id="no patientId"),
        pytest.param({"context": {**CONTEXT, "patientId": "Patient/123"}}, "context.patientId", marks=ch("W-02"), id="patientId is a reference"),
        pytest.param({"prefetch": []}, "prefetch", marks=ch("CH-071"), id="prefetch is a list"),
        pytest.param({"fhirAuthorization": TOKEN}, "fhirServer", marks=ch("CH-068"), id="a token without its server"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": {**TOKEN, "access_token": ""}}, "fhirAuthorization.access_token", marks=ch("CH-140"), id="an empty token"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": {**TOKEN, "token_type": "MAC"}}, "fhirAuthorization.token_type", marks=ch("CH-141"), id="another token_type"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": {**TOKEN, "expires_in": "1"}}, "fhirAuthorization.expires_in", marks=ch("CH-142"), id="expires_in is a string"),
        pytest.param({"fhirServer": SERVER, "fhirAuthorization": {**TOKEN, "patient": "pat-9"}}, "fhirAuthorization.patient", marks=ch("CH-145"), id="a token for another patient"),
        pytest.param({"prefetch": chart(of="pat-9")}, "prefetch.patient", marks=ch("CH-109", "W-05"), id="another patient in the prefetch"),
        pytest.param({"prefetch": chart(patient={"response": {"status": "200"}, "resource": {}})}, "prefetch.patient", marks=ch("CH-108"), id="the wrapper from before 1.0"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-165", "W-01")
def test_400_names_the_path(app, changes, at):
    answer = app.call(call(**changes))
    assert (answer.status_code, outcome_of(answer)) == (400, [at])


@pytest.mark.ch("CH-062")
def test_a_wrong_hook_is_told_which_ones_are_served(app):
    assert "patient-view" in app.call(call(hook="order-sign")).text


DSTU2 = {"resourceType": "MedicationOrder", "id": "m", "patient": {"reference": f"Patient/{PATIENT}"}}
R4 = {
    "resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order",
    "medicationCodeableConcept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "617312"}]}, "subject": {"reference": f"Patient/{PATIENT}"},
}  # fmt: skip


@pytest.mark.ch("CH-076", "CH-109", "W-13")
def test_shapes_of_another_fhir_version_are_not_misread(app):
    """DSTU2 wrote ``MedicationOrder``: a drug that we can't see must not count as no drug."""
    answer = app.call(call(chart(medications=searchset(DSTU2))), STRICT)
    assert (answer.status_code, outcome_of(answer)) == (412, ["prefetch.medications"])
    assert app.call(call(chart(medications=searchset(R4)))).json()["cards"]
    assert app.call(call(chart(medications=searchset(DSTU2, R4)))).json()["cards"] == []


STATUSES = [
    pytest.param("GET", f"/cds-services/{SERVICE}", {}, 405, marks=ch("CH-060", "CH-164"), id="GET on a service"),
    pytest.param("DELETE", f"/cds-services/{SERVICE}", {}, 405, marks=ch("CH-164"), id="DELETE on a service"),
    pytest.param("POST", "/cds-services", {"json": {}}, 405, marks=ch("CH-164"), id="POST on discovery"),
    pytest.param("POST", "/cds-services/nope", {"json": call()}, 404, marks=ch("CH-061"), id="an unknown service"),
    pytest.param("POST", "/cds-services/nope/feedback", {"json": {}}, 404, marks=ch("CH-061"), id="feedback for an unknown service"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b'{"hook":'}, 400, marks=ch("CH-074"), id="JSON that is cut"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b'{"a":1,}'}, 400, marks=ch("CH-005"), id="a trailing comma"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b""}, 400, marks=ch("CH-074"), id="no body"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b'{"a": NaN}'}, 400, marks=ch("CH-001"), id="NaN"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b'{"a": "\xff"}'}, 400, marks=ch("CH-001"), id="not UTF-8"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b'{"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}"}, 400, marks=ch("CH-074"), id="99,999 levels"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b" " * (9 << 20)}, 413, marks=ch("CH-074"), id="9 MiB"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, marks=ch("CH-074"), id="plain text"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b"hook=x", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415, marks=ch("CH-074"), id="a form"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": b"{}", "headers": {"Content-Encoding": "br"}}, 415, marks=ch("CH-074"), id="brotli"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"content": gzip.compress(b" " * (200 << 20)), "headers": {"Content-Encoding": "gzip"}}, 413, marks=ch("CH-074"), id="a gzip bomb"),
    pytest.param("POST", f"/cds-services/{SERVICE}", {"json": call({f"k{number}": None for number in range(65)})}, 413, marks=ch("CH-164"), id="65 prefetch keys"),
    pytest.param("POST", f"/cds-services/{STRICT}", {"json": call({})}, 412, marks=ch("CH-111", "CH-163", "W-04"), id="required data that nobody can have"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "sent", "status"), STATUSES)
@pytest.mark.ch("CH-164", "CH-165")
def test_statuses(app, method, path, sent, status):
    headers = {"Content-Type": "application/json"} | sent.pop("headers", {}) if "content" in sent else {}
    answer = app.http.request(method, path, **sent, headers=headers)
    assert answer.status_code == status
    assert outcome_of(answer)
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.ch("CH-060")
def test_405_says_what_is_allowed(app):
    assert app.http.get(f"/cds-services/{SERVICE}").headers["allow"] == "POST"


@pytest.mark.ch("CH-074")
@pytest.mark.sec("SEC-085")
def test_errors_carry_nothing_of_what_was_sent(app):
    spoiled = call(hook="zqhook", hookInstance="zqinstance", context={"userId": "zquser", "patientId": "zq patient"})
    answers = [
        app.call(spoiled),
        app.send(b'{"zq": "zqcut'),
        app.call(call(), "zqservice"),
        app.call(call(chart(of="zqother"))),
        app.call(call({"zqkey": "zqvalue"}), STRICT),
        app.http.post(f"/cds-services/{SERVICE}/feedback", json={"feedback": [{"card": "zqcard", "outcome": "zq"}]}),
    ]
    assert {answer.status_code for answer in answers} == {400, 404, 412}
    assert [answer.text for answer in answers if "zq" in answer.text] == []


@pytest.mark.ch("CH-001", "CH-074")
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "Application/JSON;charset=UTF-8"},
        {"Content-Type": "application/fhir+json"},
        {"Content-Type": "application/json", "Content-Encoding": "identity"},
    ],
)
def test_ways_to_say_json(app, headers):
    assert card_of(app.http.post(f"/cds-services/{SERVICE}", content=json.dumps(call()).encode(), headers=headers))


@pytest.mark.ch("CH-074")
def test_a_gzip_body_is_unpacked(app):
    assert card_of(app.send(gzip.compress(json.dumps(call()).encode()), Content_Encoding="gzip"))


@pytest.mark.ch("CH-065", "CH-175", "CH-201")
def test_the_same_body_twice_gives_two_cards_of_one_invocation(fresh):
    body = call()
    cards = [card_of(fresh.call(body)) for _ in range(2)]
    uuids = {part["uuid"] for card in cards for part in [card, *card["suggestions"]]}
    assert len(uuids) == 4
    events = fresh.events()
    assert [event.invocation for event in events] == [body["hookInstance"]] * 2
    assert [event.card for event in events] == [card["uuid"] for card in cards]


@pytest.mark.ch("CH-075")
def test_fifty_calls_at_once_each_speak_about_their_own_patient(fresh):
    values = {f"pat-{number}": 200 + number for number in range(50)}
    bodies = [call(chart(value, of=patient), patient=patient) for patient, value in values.items()]
    answers = fresh.http.together(f"/cds-services/{SERVICE}", bodies)
    for answer, value in zip(answers, values.values(), strict=True):
        assert f"{value} mg/dL" in card_of(answer)["summary"]
    assert len({event.patient for event in fresh.events()}) == 50


STATES = [
    pytest.param("labs", None, [], marks=ch("CH-102"), id="null: there are none, and nobody is asked again"),
    pytest.param("labs", searchset(), [], marks=ch("CH-103"), id="an empty searchset: the same"),
    pytest.param("labs", {"resourceType": "Bundle", "type": "searchset", "total": 0}, [], marks=ch("CH-103"), id="no entry at all: the same"),
    pytest.param("labs", ..., ["card"], marks=ch("CH-101"), id="absent: the card says so"),
    pytest.param("labs", {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}, ["card"], marks=ch("CH-104", "CH-105"), id="refused: the card says so"),
    pytest.param("labs", searchset({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}), ["card"], marks=ch("CH-104"), id="refused inside a Bundle: the card says so"),
    pytest.param("labs", "<html>gateway error</html>", ["card"], marks=ch("CH-164"), id="an error page: the card says so"),
    pytest.param("labs", [], ["card"], id="a list: the card says so"),
    pytest.param("labs", {"resourceType": "Practitioner", "id": "x"}, ["card"], marks=ch("CH-109"), id="another resource: the card says so"),
    pytest.param("problems", ..., ["card"], marks=ch("CH-101", "W-04"), id="a required key is absent: the card says so"),
    pytest.param("problems", {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "security"}]}, ["card"], marks=ch("CH-105"), id="a required key is refused"),
    pytest.param("vitals", ..., [], marks=ch("CH-101"), id="an optional key that may be left out is absent"),
    pytest.param("hba1c", {**searchset(), "total": 9, "link": [{"relation": "next", "url": "https://x.example/2"}]}, [], marks=ch("CH-106", "W-12b"), id="pages left unread prove no absence"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "expected"), STATES)
def test_the_states_of_a_key(fresh, key, value, expected):
    """Without a glucose there is nothing else to say, so that only the key decides."""
    answer = fresh.call(call(chart(None, **{key: value})))
    assert answer.status_code == 200
    assert ["card"] * len(answer.json()["cards"]) == expected
    (event,) = fresh.events()
    assert event.prefetch[key] in {"none", "absent", "refused", "failed", "incomplete"}
    if expected:
        assert (event.reason, event.detail) == ("data_missing" if key == "problems" else "data_unknown", key)


@pytest.mark.ch("CH-054")
@pytest.mark.parametrize("key", list(chart()))
def test_any_key_may_be_left_out(app, key):
    answer = app.call(call(chart(**{key: ...})))
    assert answer.status_code == 200
    strict = app.call(call(chart(**{key: ...})), STRICT)
    required = {one.name for one in app.parts.catalog.find(STRICT).prefetch if one.required}
    assert strict.status_code == (412 if key in required else 200)
    if key in required:
        assert outcome_of(strict) == [f"prefetch.{key}"]


@pytest.mark.ch("CH-111")
def test_412_names_every_key_and_no_patient(app):
    answer = app.call(call({"labs": None}), STRICT)
    assert answer.status_code == 412
    assert outcome_of(answer) == ["prefetch.patient", "prefetch.problems", "prefetch.medications", "prefetch.hba1c"]
    assert PATIENT not in answer.text


@pytest.mark.ch("CH-110")
def test_the_newest_of_several_is_taken_in_whatever_order_they_come(app):
    labs = [observation(GLUCOSE, 250, "mg/dL", days_ago=30), observation(GLUCOSE, 214, "mg/dL", days_ago=2)]
    for order in (labs, labs[::-1]):
        assert "214 mg/dL" in card_of(app.call(call(chart(labs=searchset(*order)))))["summary"]


@pytest.mark.ch("CH-109")
def test_an_observation_of_somebody_else_is_dropped_and_counted(fresh):
    labs = searchset(observation(GLUCOSE, 300, "mg/dL", patient="pat-9"), observation(GLUCOSE, 90, "mg/dL"))
    assert fresh.call(call(chart(labs=labs))).status_code == 200
    (event,) = fresh.events()
    assert sum(event.set_aside.values()) == 1
    assert event.features["glucose"] == 90


@pytest.mark.ch("CH-161", "CH-166", "W-12a")
@pytest.mark.parametrize(
    ("prefetch", "reason"),
    [
        pytest.param(chart(patient={"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "2015-01-01"}), "excluded_age", id="a child"),
        pytest.param(chart(hba1c=searchset(observation(HBA1C, 5.4, "%", days_ago=200))), "recent_measurement", id="a recent HbA1c"),
        pytest.param(chart(patient={"resourceType": "Patient", "id": PATIENT, "gender": "male", "birthDate": "1961-01-01", "deceasedBoolean": True}), "patient_deceased", id="a patient who has died"),
    ],
)  # fmt: skip
def test_nothing_to_say_is_an_empty_list_and_an_event_with_the_reason(fresh, prefetch, reason):
    answer = fresh.call(call(prefetch))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})
    assert [event.reason for event in fresh.events()] == [reason]


@pytest.mark.ch("CH-084")
@pytest.mark.parametrize("user", ["Patient/pat-7", "RelatedPerson/mother"])
def test_a_clinicians_card_is_not_shown_to_a_patient(fresh, user):
    answer = fresh.call(call(context={**CONTEXT, "userId": user}))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})
    assert [event.reason for event in fresh.events()] == ["viewer_not_clinician"]


def every_card(app):
    """The cards of the shipped service in both languages: a rule, an abstention that is told."""
    for language in ("ja", "en"):
        for prefetch in (chart(), chart(80, labs=...), chart(problems=...)):
            yield language, app.call(call(prefetch), **{"Accept-Language": language})


@pytest.mark.ch(
    "CH-002", "CH-003", "CH-004", "CH-162", "CH-170", "CH-171", "CH-172", "CH-173", "CH-174", "CH-175", "CH-177", "CH-178",
    "CH-182", "CH-190", "CH-191", "CH-194", "CH-195", "CH-196", "CH-200", "CH-206", "CH-220", "CH-221", "CH-235", "CH-241", "CH-292",
)  # fmt: skip
def test_every_card_keeps_the_rules(app):
    for _, answer in every_card(app):
        assert set(answer.json()) == {"cards"}
        assert emptiness(answer.json()) == ([], [])
        card = card_of(answer)
        assert len(card["summary"]) < 140
        assert card["indicator"] == "info"
        assert card["source"]["label"]
        assert card["source"]["url"].startswith("http")
        assert set(card["source"]["topic"]) >= {"system", "code"}
        assert all(set(reason) == {"system", "code", "display"} for reason in card["overrideReasons"])
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        assert "<" not in card["detail"]
        assert "<p>" in MarkdownIt("gfm-like", {"linkify": False}).render(card["detail"])
        assert "extension" not in card


@pytest.mark.ch("CH-083", "CH-301")
def test_a_card_states_the_time_of_its_data(app):
    assert "2026年5月29日" in card_of(app.call(call(), **{"Accept-Language": "ja"}))["summary"]
    assert "2026" in card_of(app.call(call(), **{"Accept-Language": "en"}))["summary"]


@pytest.mark.ch("CH-181")
def test_the_finding_is_in_the_summary(app):
    assert "214 mg/dL" in card_of(app.call(call()))["summary"]


@pytest.mark.ch("CH-192")
def test_the_source_is_no_drill_down(app):
    assert PATIENT not in json.dumps(card_of(app.call(call()))["source"])


@pytest.mark.ch("CH-178", "W-07")
def test_one_suggestion_is_offered_under_any(app):
    card = card_of(app.call(call()))
    assert (len(card["suggestions"]), card["selectionBehavior"]) == (1, "any")


@pytest.mark.ch("CH-062")
def test_a_service_of_another_hook_answers_that_hook(app):
    context = {**CONTEXT, "encounterId": "enc-1"}
    encounter = {"resourceType": "Encounter", "id": "enc-1", "class": {"code": "AMB"}}
    body = call(chart(encounter=encounter), hook="encounter-start", context=context)
    assert card_of(app.call(body, ENCOUNTER))


@pytest.mark.ch("CH-009")
def test_an_answer_comes_well_within_500_ms(app):
    took = []
    for _ in range(20):
        began = time.perf_counter()
        app.call(call())
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.5


@pytest.mark.ch("CH-293")
@pytest.mark.sec("SEC-083")
def test_no_value_of_the_request_stands_in_the_events(fresh):
    body = call(
        extension={"org.example.zqname": "zqvalue"},
        fhirServer="https://zqserver.example",
        fhirAuthorization={**TOKEN, "access_token": "zqtoken"},
    )
    assert fresh.call(body).status_code == 200
    written = repr(fresh.events())
    assert "zq" not in written
    assert PATIENT not in written
