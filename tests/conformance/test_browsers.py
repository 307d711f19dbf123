"""Clients that run in a browser: section Q."""

from uuid import uuid4

import pytest

from cds_service.errors import SettingsError
from cds_service.web.cors import CORS
from tests.conformance.conftest import ORIGIN, SERVICE, STRICT, call

ALLOW = "access-control-allow-origin"
PATHS = ["/cds-services", f"/cds-services/{SERVICE}", f"/cds-services/{SERVICE}/feedback"]
FEEDBACK = {"feedback": [{"card": str(uuid4()), "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:00:00Z"}]}


@pytest.mark.ch("CH-281")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wanted", ["authorization", "authorization,content-type", "content-type"])
def test_preflights_are_answered_without_a_token(app, path, wanted):
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    answer = app.http.request("OPTIONS", path, headers=asked)
    assert answer.status_code in {200, 204}
    assert answer.headers[ALLOW] == ORIGIN
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].lower().split(",")}
    assert {"authorization", "content-type"} <= allowed
    assert {"GET", "POST"} <= {name.strip() for name in answer.headers["access-control-allow-methods"].split(",")}


@pytest.mark.ch("CH-280")
@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        pytest.param("GET", PATHS[0], {}, 200, id="discovery"),
        pytest.param("POST", PATHS[1], {"json": call()}, 200, id="a call"),
        pytest.param("POST", PATHS[2], {"json": FEEDBACK}, 200, id="feedback"),
        pytest.param("POST", PATHS[1], {"json": {}}, 400, id="400"),
        pytest.param("POST", "/cds-services/nope", {"json": {}}, 404, id="404"),
        pytest.param("GET", PATHS[1], {}, 405, id="405"),
        pytest.param("POST", f"/cds-services/{STRICT}", {"json": call({})}, 412, id="412"),
        pytest.param("POST", PATHS[1], {"content": b"x" * (9 << 20), "headers": {"Content-Type": "application/json"}}, 413, id="413"),
        pytest.param("POST", PATHS[1], {"content": b"x"}, 415, id="415"),
    ],
)  # fmt: skip
def test_a_listed_origin_may_read_every_answer(app, method, path, sent, status):
    headers = {"Origin": ORIGIN} | sent.pop("headers", {})
    answer = app.http.request(method, path, headers=headers, **sent)
    assert (answer.status_code, answer.headers[ALLOW]) == (status, ORIGIN)


@pytest.mark.ch("CH-280")
def test_a_fault_of_ours_may_be_read_too(fresh, monkeypatch):
    monkeypatch.setattr(type(fresh.parts.catalog), "hooks", lambda *_: 1 / 0)
    answer = fresh.http.request("POST", PATHS[1], json=call(), headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.headers[ALLOW]) == (500, ORIGIN)


@pytest.mark.ch("CH-282")
@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_origin_is_told_nothing(app, path):
    foreign = {"Origin": "https://foreign.example"}
    asked = foreign | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (app.http.request("OPTIONS", path, headers=asked), app.http.request("GET", path, headers=foreign)):
        assert not [name for name in answer.headers if name.startswith("access-control-allow")]


@pytest.mark.ch("CH-282")
def test_no_answer_speaks_of_credentials_and_any_origin_is_for_development(app):
    answer = app.http.get(PATHS[0], headers={"Origin": ORIGIN})
    assert "access-control-allow-credentials" not in answer.headers
    with pytest.raises(SettingsError):
        CORS(("*",))
