"""The error tree as HTTP: a status each, an OperationOutcome that names every fault, nothing that was sent."""

import json

import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from cds_service import errors
from cds_service.errors import CdsServiceError, Fault
from cds_service.web.problems import UNAUTHORISED_BODY, status_of, to_response
from tests.web.served import ERRORS, ask, make_door

STATUS = {
    "BadRequest": 400, "WireError": 400, "PatientMismatch": 400, "NotAllowed": 401, "TokenUsed": 401, "NotPermitted": 403, "UnknownService": 404,
    "TooSlow": 408, "DataUnavailable": 412, "TooLarge": 413, "UnsupportedMedia": 415, "RateLimited": 429,
    "Unavailable": 503, "StoreUnavailable": 503, "Overloaded": 503, "BundleError": 500,
}  # fmt: skip


@pytest.mark.ch("CH-164", "CH-165")
@pytest.mark.parametrize("name", sorted(STATUS))
def test_each_error_has_its_status_and_an_outcome(name):
    response = ask(make_door(), "GET", f"/fail/{name}")
    assert response.status_code == STATUS[name]
    assert response.headers["content-type"] == "application/json"
    outcome = OperationOutcome.model_validate(response.json())
    if STATUS[name] not in {401, 500}:
        assert [issue.details.text for issue in outcome.issue] == ["a.b: first.", "c: second."]
        assert [issue.diagnostics for issue in outcome.issue] == ["Mend it.", "Mend that."]
        assert [issue.expression for issue in outcome.issue] == [["a.b"], ["c"]]
    assert ("retry-after" in response.headers) == (STATUS[name] in {429, 503})


def test_every_error_of_the_tree_has_a_place():
    kinds = {
        kind.__name__
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CdsServiceError) and kind is not CdsServiceError
    }
    assert kinds == set(ERRORS) | {"DeclarationError", "SettingsError"}


@pytest.mark.sec("SEC-017")
@pytest.mark.ch("CH-330")
def test_every_401_is_the_same_byte_for_byte():
    bodies = {to_response(errors.NotAllowed(Fault("x", reason, "y"))).body for reason in ("expired", "no key", "")}
    assert bodies == {UNAUTHORISED_BODY}
    assert to_response(errors.NotAllowed()).headers["www-authenticate"] == "Bearer"


@pytest.mark.ch("CH-060")
def test_routes_404_and_405_are_outcomes_too():
    unknown = ask(make_door(), "GET", "/nothing/Zanarkand?q=Zanarkand")
    assert (unknown.status_code, unknown.json()["issue"][0]["code"]) == (404, "not-found")
    assert "Zanarkand" not in unknown.text
    wrong = ask(make_door(), "DELETE", "/echo/1")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    both = ask(make_door(), "DELETE", "/thing/1")
    assert both.headers["allow"] == "GET, HEAD, POST"
    assert both.json()["issue"][0]["code"] == "not-supported"


@pytest.mark.sec("SEC-085", "SEC-086")
def test_what_we_do_not_know_is_500_without_a_word(capsys):
    response = ask(make_door(), "GET", "/fail/anything")
    assert response.status_code == 500
    assert "Zanarkand" not in response.text
    assert "ValueError" not in response.text
    assert response.headers["x-request-id"]


@pytest.mark.sec("SEC-086", "SEC-084")
def test_the_log_says_which_lines_and_no_value():
    import io
    import logging

    import structlog

    from cds_service.logs import configure_logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.BytesIO()
    try:
        configure_logging(stream, "info")
        response = ask(make_door(), "GET", "/fail/Zanarkand?q=Zanarkand", headers={"user-agent": "Zanarkand"})
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, level
    text = stream.getvalue().decode()
    failed, answered = (line for line in map(json.loads, text.splitlines()) if "logger" not in line)
    assert failed["error"] == "ValueError"
    assert any("fail" in line for line in failed["trace"])
    assert answered["route"] == "/fail/{name}"
    assert answered["request_id"] == failed["request_id"] == response.headers["x-request-id"]
    assert {"method", "status", "bytes_out", "took_ms", "client"} <= set(answered)
    assert "dropped" not in answered
    assert "Zanarkand" not in text


@pytest.mark.parametrize(
    ("name", "failures"), [("BundleError", 1), ("anything", 1), ("BadRequest", 0), ("Overloaded", 0)]
)
def test_our_own_faults_are_counted(name, failures):
    door = make_door()
    ask(door, "GET", f"/fail/{name}")
    assert door._failures.value() == failures


def test_subclasses_take_the_status_of_the_nearest_named():
    class NewlyFound(errors.BadRequest):
        pass

    assert status_of(NewlyFound(Fault("a", "b", "c"))) == 400
    assert status_of(KeyError("x")) == 500
