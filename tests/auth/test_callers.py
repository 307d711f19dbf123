"""Who may ask what: services, tenants, audiences of each door, and no door without a lock."""

import json

import pytest

from cds_service.events.schema import CallRefused
from cds_service.web.problems import UNAUTHORISED_BODY
from tests.auth import tokens
from tests.auth.tokens import BASE, CALL, SERVICE, body, token

ISSUER_B = "https://ehr-b.example.org"
FEEDBACK = f"{CALL}/feedback"
SAID = {
    "card": "0f6d1a7c-1111-4a51-9d2e-000000000001",
    "outcome": "overridden",
    "outcomeTimestamp": "2026-06-01T00:00:00Z",
}
OPEN_TO_ALL = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
"""Liveness, and readiness without detail (SEC-021). Nothing else."""


@pytest.fixture
def two(started, tmp_path):
    """Two EHRs: ``ehr`` may call the service, ``models`` may only ask the model directly."""
    tokens.write_clients(tmp_path)
    file = tokens.write_clients(
        tmp_path, 'models = ["case-labs"]', services=(), name="models", issuer=ISSUER_B, jku=False
    )
    return started(file)


def of(issuer, path, **changes):
    return token(path, iss=issuer, **changes)


@pytest.mark.sec("SEC-021")
@pytest.mark.ch("CH-024", "CH-260", "CH-312")
def test_no_route_is_open_by_accident(ehr):
    routes = ehr.door._app.routes
    open_routes = set()
    for route in routes:
        path = route.path.replace("{service}", SERVICE).replace("{model}", SERVICE).replace("{version}", "1.0.0")
        for method in sorted(route.methods - {"HEAD"}):
            answer = ehr.send(method, path, content=b"{}", headers=[("Content-Type", "application/json")])
            if answer.status_code != 401:
                assert answer.status_code == 200
                open_routes.add(route.path)
            else:
                assert answer.content == UNAUTHORISED_BODY
    assert open_routes == OPEN_TO_ALL
    assert len(routes) >= 12
    assert ehr.send("GET", "/health/ready").json().keys() == {"status", "mode"}
    assert ehr.send("GET", "/docs").status_code == 404


@pytest.mark.ch("CH-281")
@pytest.mark.parametrize("path", ["/cds-services", CALL, FEEDBACK])
def test_a_preflight_is_answered_before_authentication(path, ehr):
    answer = ehr.send(
        "OPTIONS", path, headers=[("Origin", "https://sandbox.example.org"), ("Access-Control-Request-Method", "POST"),
                                  ("Access-Control-Request-Headers", "authorization,content-type")],
    )  # fmt: skip
    assert answer.status_code == 204
    assert "authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.ch("CH-280")
@pytest.mark.parametrize(("method", "path"), [("GET", "/cds-services"), ("POST", CALL), ("POST", FEEDBACK)])
def test_a_401_can_be_read_by_a_listed_page(method, path, ehr):
    answer = ehr.send(method, path, headers=[("Origin", "https://sandbox.example.org")])
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://sandbox.example.org"


@pytest.mark.ch("CH-024", "CH-035")
@pytest.mark.sec("SEC-019")
def test_discovery_lists_what_this_client_may_call(two):
    listed = two.send("GET", "/cds-services", token=token("/cds-services"))
    assert [service["id"] for service in listed.json()["services"]] == [SERVICE]
    assert two.send("GET", "/cds-services", token=of(ISSUER_B, "/cds-services")).json() == {"services": []}
    assert two.send("GET", "/cds-services", token=token()).status_code == 401


@pytest.mark.sec("SEC-019")
def test_what_is_not_ones_own_is_refused_whether_it_exists_or_not(two):
    answers = {
        two.send("POST", path, token=of(ISSUER_B, path), json=body()).content
        for path in (CALL, "/cds-services/none", FEEDBACK, "/cds-services/none/feedback")
    }
    assert len(answers) == 1
    assert two.send("POST", CALL, token=of(ISSUER_B, CALL), json=body()).status_code == 403
    refusals = [stored.event for stored in two.parts.store.read_all() if isinstance(stored.event, CallRefused)]
    assert {(event.reason, event.status, event.client) for event in refusals} == {("not_allowed", 403, "models")}


@pytest.mark.sec("SEC-021")
@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/predict/case-labs", {}),
        ("GET", "/v2", None),
        ("GET", "/v2/models/case-labs", None),
        ("GET", "/v2/models/case-labs/ready", None),
        ("POST", "/v2/models/case-labs/infer", {"inputs": []}),
        ("GET", "/openapi.json", None),
    ],
)
def test_the_plain_windows_have_their_own_audience(method, path, content, two):
    def ask(issuer, aud):
        return two.send(method, path, token=of(issuer, aud), json=content).status_code

    assert ask(ISSUER_B, "/cds-services") == 401
    assert ask(ISSUER_B, path) in {200, 400}
    assert ask(tokens.ISSUER, path) == (403 if SERVICE in path else 200)


@pytest.mark.sec("SEC-012", "SEC-021")
def test_a_window_uses_a_token_up(two):
    path = "/v2/models/case-labs"
    one = of(ISSUER_B, path)
    assert [two.send("GET", path, token=one).status_code for _ in range(2)] == [200, 401]


def test_the_description_shows_what_one_may_ask(two):
    path = "/openapi.json"
    mine = two.send("GET", path, token=token(path)).json()
    assert mine["security"] == [{"jwt": []}]
    assert CALL in mine["paths"]
    assert "/predict/case-labs" not in mine["paths"]
    theirs = two.send("GET", path, token=of(ISSUER_B, path)).json()
    assert CALL not in theirs["paths"]
    assert "/predict/case-labs" in theirs["paths"]


@pytest.mark.ch("CH-260", "W-10")
@pytest.mark.sec("SEC-009")
@pytest.mark.parametrize(
    ("quirks", "aud", "status"),
    [
        ("", FEEDBACK, 200),
        ("", CALL, 401),
        ("feedback_audience = true", FEEDBACK, 200),
        ("feedback_audience = true", CALL, 200),
        ("feedback_audience = true", "/cds-services", 401),
    ],
)
def test_feedback_is_bound_to_its_own_url(quirks, aud, status, started, tmp_path):
    asker = started(tokens.write_clients(tmp_path, f"[client.quirks]\n{quirks}"))
    answer = asker.send("POST", FEEDBACK, token=token(aud), json={"feedback": [SAID]})
    assert answer.status_code == status
    assert ('quirk="feedback_audience"' in asker.parts.registry.text()) == (status == 200 and aud == CALL)


@pytest.mark.ch("W-10")
@pytest.mark.sec("SEC-009")
@pytest.mark.parametrize(
    ("more", "aud", "status"),
    [
        pytest.param("", "sand_man", 401, id="not agreed"),
        pytest.param('[client.quirks]\naudience = ["sand_man"]', "sand_man", 200, id="agreed"),
        pytest.param('[client.quirks]\naudience = ["sand_man"]', "sand_mans", 401, id="longer"),
        pytest.param("strict_aud = true", [BASE + CALL], 200, id="strict: alone"),
        pytest.param("strict_aud = true", [BASE + CALL, "x"], 401, id="strict: with another"),
    ],
)
def test_agreed_audiences(more, aud, status, started, tmp_path):
    assert started(tokens.write_clients(tmp_path, more)).call(token(aud=aud)).status_code == status


@pytest.mark.ch("CH-322")
def test_the_base_may_have_a_path_of_its_own(started, tmp_path):
    asker = started(tokens.write_clients(tmp_path), public_base_url=f"{BASE}/tenant/x/")
    assert asker.call(token(aud=f"{BASE}/tenant/x{CALL}")).status_code == 200
    assert asker.call(token(aud=f"{BASE}{CALL}")).status_code == 401


@pytest.mark.ch("CH-326")
@pytest.mark.sec("SEC-018")
@pytest.mark.parametrize(
    ("claim", "status"),
    [
        pytest.param({"tenant": "ward-a"}, 200, id="one of them"),
        pytest.param({}, 401, id="absent"),
        pytest.param({"tenant": "ward-c"}, 401, id="another's"),
        pytest.param({"tenant": ["ward-a"]}, 401, id="no text"),
        pytest.param({"tenant": "WARD-A"}, 401, id="in other case"),
    ],
)
def test_the_tenant_claim(claim, status, started, tmp_path):
    asker = started(tokens.write_clients(tmp_path, 'tenants = ["ward-a", "ward-b"]'))
    assert asker.call(token(**claim)).status_code == status
    tenants = {stored.event.tenant for stored in asker.parts.store.read_all()}
    assert tenants == ({"ward-a"} if status == 200 else set())


@pytest.mark.sec("SEC-018")
def test_tenants_never_meet(started, tmp_path):
    """One patient id in two hospitals is two pseudonyms, and another tenant's card is as unknown as none."""
    asker = started(tokens.write_clients(tmp_path, 'tenants = ["ward-a", "ward-b"]'))
    asker.call(token(tenant="ward-a"))
    asker.call(token(tenant="ward-b"))
    events = [stored.event for stored in asker.parts.store.read_all()]
    assert len({event.patient for event in events}) == 2
    card = next(event.card for event in events if event.tenant == "ward-a")
    assert card is not None
    said = SAID | {"card": card}
    answers = [
        asker.send("POST", FEEDBACK, token=token(FEEDBACK, tenant="ward-b"), json={"feedback": [SAID | {"card": one}]})
        for one in (card, SAID["card"])
    ]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"{}")] * 2
    asker.send("POST", FEEDBACK, token=token(FEEDBACK, tenant="ward-a"), json={"feedback": [said]})
    matched = [stored.event.matched for stored in asker.parts.store.read_all() if hasattr(stored.event, "matched")]
    assert matched == [False, False, True]


@pytest.mark.sec("SEC-021")
@pytest.mark.parametrize(
    ("sent", "status"),
    [("Bearer " + "s" * 40, 200), ("Bearer " + "s" * 39, 401), ("", 401), ("Basic " + "s" * 40, 401)],
)
def test_metrics_are_for_the_scraper(sent, status, started, tmp_path):
    secret = tmp_path / "scraper"
    secret.write_text("s" * 40 + "\n")
    secret.chmod(0o440)
    asker = started(tokens.write_clients(tmp_path), metrics_token_file=secret)
    answer = asker.send("GET", "/metrics", headers=[("Authorization", sent)] if sent else [])
    assert answer.status_code == status
    assert json.dumps("s" * 40)[1:-1] not in answer.text
