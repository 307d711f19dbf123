"""The given cases of kind `auth`, and the 401 that a browser must be able to read: keys are made here, sets are fetched."""

import hmac
import json
from datetime import UTC, datetime

import httpx
import pytest
import respx
from starlette.testclient import TestClient

from cds_service.service_app import create_app, open_parts
from tests.auth import tokens
from tests.cases.conftest import cases, named

CLIENT = """[[client]]
name = "{name}"
issuer = "{issuer}"
keys = "{issuer}/jwks.json"
services = ["case-labs"]
algorithms = {algorithms}
"""
ISSUERS = {"ehr": "https://ehr.example.org", "ehr2": "https://ehr2.example.org"}


def signed(request):
    """The token that a case describes."""
    head, claims = request["header"], request["claims"]
    if head["alg"] == "none":
        return (tokens.fold(head) + b"." + tokens.fold(claims) + b".").decode()
    if head["alg"].startswith("HS"):
        text = tokens.fold(head) + b"." + tokens.fold(claims)
        return (text + b"." + tokens.fold(hmac.digest(tokens.EC.as_pem(private=False), text, "sha256"))).decode()
    return tokens.sign(claims, head)


@pytest.fixture
def start(tmp_path):
    """Start workers on one store: ``start(algorithms)`` → (client, parts)."""
    running = []

    def one(algorithms):
        file = tmp_path / "clients.toml"
        file.write_text(
            "".join(CLIENT.format(name=n, issuer=i, algorithms=json.dumps(algorithms)) for n, i in ISSUERS.items())
        )
        parts = open_parts(tokens.production(tmp_path, file), clock=tokens.Clock())
        client = TestClient(create_app(parts), base_url="http://cds.example.org")
        client.__enter__()
        running.append(client)
        return client, parts

    with respx.mock(assert_all_called=False) as network:
        for issuer in ISSUERS.values():
            network.get(f"{issuer}/jwks.json").mock(
                return_value=httpx.Response(200, json=tokens.public(tokens.EC, tokens.RSA))
            )
        one.network = network
        yield one
        for client in reversed(running):
            client.__exit__(None, None, None)


def ask(worker, request):
    client, parts = worker
    parts.clock.now = datetime.fromtimestamp(request["now"], UTC)
    return client.post(
        "/cds-services/case-labs", json=tokens.body(), headers={"Authorization": f"Bearer {signed(request)}"}
    )


SINGLE = [case for case in cases("auth") if case[0] != "B-019"]


@pytest.mark.ch("CH-313", "CH-314", "CH-315", "CH-318", "CH-319", "CH-320", "CH-322")
@pytest.mark.parametrize("case", SINGLE, ids=named)
def test_case(case, start):
    _, variant, given, expect = case
    spec = next(
        one
        for line in (tokens.DATA.parent / "cases" / "auth.jsonl").read_text(encoding="utf-8").splitlines()
        for one in json.loads(line)["input"]["variants"]
        if json.loads(line)["id"] == case[0] and one["name"] == variant
    )
    worker = start(spec.get("tenant", {}).get("algorithms", ["ES384", "RS384"]))
    answer = ask(worker, given)
    assert answer.status_code == expect["status"]
    hosts = {call.request.url.host for call in start.network.calls}
    assert hosts <= {"ehr.example.org", "ehr2.example.org"}


@pytest.mark.ch("CH-323", "CH-324", "CH-325", "W-06")
@pytest.mark.sec("SEC-012")
def test_replay_and_a_clock_ahead(start):
    """B-019, in order; the second use is at another worker on the same store."""
    first = start(["ES384", "RS384"])
    second = start(["ES384", "RS384"])
    for _, variant, given, expect in (case for case in cases("auth") if case[0] == "B-019"):
        worker = second if variant == "second use, other worker" else first
        assert ask(worker, given).status_code == expect["status"], variant


@pytest.mark.ch("CH-280")
def test_a_401_with_cors(start):
    """B-008, the variant that fails with 401."""
    case = next(
        case for case in cases("protocol") if case[:2] == ("B-008", "real POST that fails with 401, listed origin")
    )
    client, _ = start(["ES384"])
    given, expect = case[2], case[3]
    answer = client.request(given["method"], given["path"], headers=given.get("headers", {}), json=given.get("body"))
    assert answer.status_code == 401
    for name, value in expect.get("headers", {}).items():
        assert answer.headers[name] == value
