"""The given cases of kinds `protocol`, `feedback` and `time` that are HTTP requests, against the whole service."""

import gzip
import json
from datetime import timedelta

import pytest

from cds_service.events.feedback_counts import Acceptance, count_acceptance
from cds_service.events.ids import new_id
from cds_service.events.schema import PredictionMade
from tests.cases.conftest import NOW, cases, named

ELSEWHERE = {
    ("B-008", "real POST that fails with 401, listed origin"),
    ("B-002", None),
    ("B-003", "fhirServer answers 401"),
    ("B-003", "fhirServer does not answer in time"),
}
"""Need a service that asks who calls (``test_auth_cases.py``), or a FHIR server (``tests/completion/test_completion.py``)."""

HTTP_CASES = [
    case
    for kind in ("protocol", "time", "feedback")
    for case in cases(kind)
    if case[2]["type"] == "http" and (case[0], case[1]) not in ELSEWHERE
]


def send(client, given):
    headers = dict(given.get("headers", {}))
    content = None
    if "body" in given:
        content = json.dumps(given["body"]).encode()
    elif "body_text" in given:
        content = given["body_text"].encode()
    if headers.get("Content-Encoding") == "gzip":
        content = gzip.compress(content) if content is not None else gzip.compress(b" " * 40_000_000)
    return client.request(given["method"], given["path"], headers=headers, content=content)


@pytest.mark.parametrize("case", HTTP_CASES, ids=named)
def test_http(case, service, events):
    client, _ = service
    _, _, given, expect = case
    response = send(client, given)
    statuses = expect.get("status", [200, 204])
    assert response.status_code in (statuses if isinstance(statuses, list) else [statuses])
    if response.status_code >= 400:
        outcome = response.json()
        assert outcome["resourceType"] == "OperationOutcome"
        assert "pt-001" not in response.text
        if "path" in expect:
            assert expect["path"] in [path for issue in outcome["issue"] for path in issue.get("expression", [])]
    for name, value in expect.get("headers", {}).items():
        if value.startswith("contains "):
            allowed = response.headers[name].lower()
            assert "authorization" in allowed
            assert "content-type" in allowed
        else:
            assert response.headers[name] == value
    for name in expect.get("headers_absent", ()):
        assert name not in response.headers
    if response.status_code == 200 and given["path"] == "/cds-services/case-labs":
        (event,) = events()
        if expect.get("prediction") == "abstain: patient_deceased":
            assert response.json() == {"cards": []}
            assert event.reason == "patient_deceased"
        for name, want in expect.get("facts", {}).items():
            assert event.missing[name] == want["missing"]
    if given["path"].endswith("/feedback"):
        stored = [event for event in events() if hasattr(event, "outcome_at")]
        assert len(stored) == (1 if response.status_code == 200 else 0)
        if "flag" in expect:
            assert expect["flag"] in stored[0].flags
        if "stored_reason" in expect:
            assert stored[0].reason is None
        if isinstance(expect.get("stored"), str):
            assert stored[0].outcome_at.isoformat().replace("+00:00", "Z") == expect["stored"]


def test_feedback_repeats_and_changes_of_mind(service, events):
    """B-087: every item is stored, each card counts once by its latest outcome, exact repeats count nothing."""
    client, parts = service
    case = next(case for case in cases("feedback") if case[0] == "B-087")
    shown = PredictionMade(
        id=new_id(NOW), at=NOW, tenant=parts.client.tenant, client=parts.client.name, service="case-labs",
        hook="patient-view", card="0f6d1a7c-1111-4a51-9d2e-000000000001",
        suggestions=("0f6d1a7c-2222-4a51-9d2e-000000000001",),
    )  # fmt: skip
    parts.store.append_and_wait([shown])
    parts.clock.now = NOW + timedelta(minutes=10)
    assert [send(client, step).status_code for step in case[2]["steps"]] == case[3]["status_each"]
    total = sum(count_acceptance(events()).values(), Acceptance())
    wanted = case[3]["acceptance"]
    assert {name: getattr(total, name) for name in wanted} == wanted
