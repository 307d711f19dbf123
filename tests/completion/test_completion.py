"""What is asked of a client's FHIR server and what is not; the given cases B-002 and B-003 through the whole service."""

import asyncio
import json
import ssl
import time
from dataclasses import replace

import httpx
import pytest
from starlette.testclient import TestClient

from cds_service.api.chart_source import ChartSource
from cds_service.cdshooks.fhir_access import FHIRAccess
from cds_service.outbound.fhir import FHIRReader
from cds_service.service_app import create_app
from cds_service.web.metrics import Registry
from tests.cases.conftest import cases, open_case_parts
from tests.completion.toxic import bundle, observation, patient

BASE = "https://ehr.example.org:443/fhir"
LABS = "https://ehr.example.org/fhir/Observation?patient=pt-001&category=laboratory"
(PARTIAL,) = [given for name, _, given, _ in cases("protocol") if name == "B-002"]
EMPTY = {"resourceType": "Bundle", "type": "searchset", "total": 0}


class Server(httpx.AsyncBaseTransport):
    """Stands for ehr.example.org: answers as it is told, and keeps what it was asked under the name it was asked by."""

    def __init__(self, *, status=200, answer=None, answers=None, wait_s=0.0):
        self.status, self.answer, self.answers, self.wait_s = status, answer or EMPTY, answers or {}, wait_s
        self.asked, self.connected = [], []

    async def handle_async_request(self, request):
        name = request.headers["host"]
        self.connected.append((request.url.host, request.extensions.get("sni_hostname")))
        self.asked.append(
            (request.method, f"https://{name}{request.url.raw_path.decode()}", request.headers.get("authorization"))
        )
        await asyncio.sleep(self.wait_s)
        kind = request.url.path.removeprefix("/fhir/").partition("/")[0]
        body = json.dumps(self.answers.get(kind, self.answer)).encode()
        return httpx.Response(self.status, headers={"content-type": "application/fhir+json"}, stream=Once(body))


class Once(httpx.AsyncByteStream):
    """A body as a socket gives it."""

    def __init__(self, body):
        self.body = body

    async def __aiter__(self):
        yield self.body


async def somewhere(host, port):
    return ["93.184.216.34"]


@pytest.fixture
def ask(tmp_path):
    """Post a body to `case-labs`, whose client has the access and the server that a test gives."""

    def asked(server, body, **access):
        parts = open_case_parts(tmp_path)
        client = replace(parts.client, fhir_access=FHIRAccess(servers=(BASE,), **access))
        source = ChartSource(
            ssl.create_default_context, clients=[client.name], registry=Registry(),
            open_reader=lambda context: FHIRReader(context, resolve=somewhere, transport=server),
        )  # fmt: skip
        with TestClient(create_app(replace(parts, clients=(client,), source=source))) as http:
            response = http.post("/cds-services/case-labs", json=body)
            return response, [stored.event for stored in parts.store.read_all()]

    return asked


def changed(**more):
    body = json.loads(json.dumps(PARTIAL["body"]))
    return {**body, **more}


@pytest.mark.ch("CH-100", "CH-112", "CH-146")
def test_the_missing_key_is_asked_for_once_with_the_requests_own_token(ask):
    """B-002"""
    server = Server(answer=bundle(observation("o1", "pt-001", "2345-7", 5.4, "mmol/L")))
    response, (event,) = ask(server, PARTIAL["body"])
    assert response.status_code == 200
    assert (
        server.asked == [("GET", LABS, "Bearer test-token-1")] or ("GET", LABS, "Bearer test-token-1") in server.asked
    )
    assert not [url for _, url, _ in server.asked if "/Patient/" in url]
    assert event.prefetch["labs"] == "fetched"
    assert event.prefetch["patient"] == "sent"


@pytest.mark.sec("SEC-032")
def test_the_connection_goes_to_the_address_that_was_judged_under_the_servers_name(ask):
    server = Server()
    ask(server, PARTIAL["body"])
    assert set(server.connected) == {("93.184.216.34", "ehr.example.org")}


@pytest.mark.ch("CH-111", "CH-151")
@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_required_data_that_cannot_be_had_are_a_412(ask, status):
    """B-003: fhirServer answers 401; the same for other refusals."""
    response, _ = ask(Server(status=status), PARTIAL["body"])
    assert response.status_code == 412
    assert "prefetch.labs" in response.text
    assert "pt-001" not in response.text
    assert "test-token-1" not in response.text


@pytest.mark.ch("CH-111")
@pytest.mark.fault("F50")
def test_a_server_that_does_not_answer_in_time_is_a_412_within_the_deadline(ask):
    """B-003: fhirServer does not answer in time."""
    began = time.monotonic()
    response, _ = ask(Server(wait_s=30), PARTIAL["body"], budget_ms=200)
    assert response.status_code == 412
    assert time.monotonic() - began < 15


NOT_ASKED = {
    "a key that is null": {"prefetch": {**PARTIAL["body"]["prefetch"], "labs": None, "imaging": None}},
    "a key that was refused to the client": {
        "prefetch": {
            **PARTIAL["body"]["prefetch"],
            "labs": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]},
            "imaging": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "security"}]},
        }
    },
    "another server": {"fhirServer": "https://evil.example/fhir"},
    "a server in the clear": {"fhirServer": "http://ehr.example.org/fhir"},
    "this machine": {"fhirServer": "http://127.0.0.1:8080/fhir"},
    "no token": {"fhirAuthorization": None},
    "a token that has ended": {"fhirAuthorization": {**PARTIAL["body"]["fhirAuthorization"], "expires_in": 0}},
    "a token of another service": {"fhirAuthorization": {**PARTIAL["body"]["fhirAuthorization"], "subject": "other"}},
    "a scope that is too narrow": {"fhirAuthorization": {**PARTIAL["body"]["fhirAuthorization"], "scope": "user/Patient.read"}},
}  # fmt: skip


@pytest.mark.ch("CH-069", "CH-102", "CH-105", "CH-142", "CH-143", "CH-144", "CH-147", "CH-152")
@pytest.mark.sec("SEC-030", "SEC-035")
@pytest.mark.parametrize("change", NOT_ASKED.values(), ids=NOT_ASKED)
def test_nothing_is_asked_for(ask, change):
    server = Server()
    ask(server, changed(**change), client_id="case-labs")
    assert server.asked == []


@pytest.mark.ch("CH-147")
def test_an_open_server_is_asked_without_a_token(ask):
    server = Server()
    ask(server, changed(fhirAuthorization=None), is_open=True)
    assert {token for *_, token in server.asked} == {None}
    assert server.asked


@pytest.mark.ch("CH-145")
def test_a_token_of_another_patient_is_a_400_and_nothing_is_asked(ask):
    server = Server()
    authorization = {**PARTIAL["body"]["fhirAuthorization"], "patient": "pt-002"}
    response, _ = ask(server, changed(fhirAuthorization=authorization))
    assert (response.status_code, server.asked) == (400, [])


@pytest.mark.ch("CH-109")
@pytest.mark.sec("SEC-035")
def test_another_patients_results_are_dropped_and_counted(ask):
    server = Server(answer=bundle(observation("o1", "pt-002", "2345-7", 5.4, "mmol/L")))
    _, (event,) = ask(server, PARTIAL["body"])
    assert event.set_aside == {"other_patient": 1}
    assert event.features["glucose"] is None


@pytest.mark.ch("CH-109")
def test_another_patient_from_the_server_is_as_good_as_none(ask):
    server = Server(answers={"Patient": patient("pt-002")})
    response, _ = ask(server, changed(prefetch={}))
    assert response.status_code == 412


def test_a_client_may_have_its_own_query(ask):
    server = Server()
    queries = {"case-labs": {"labs": "Observation?patient={{context.patientId}}&category=laboratory&_count=7"}}
    ask(server, PARTIAL["body"], queries=queries)
    assert any(url.endswith("category=laboratory&_count=7") for _, url, _ in server.asked)


@pytest.mark.ch("CH-106")
def test_a_first_page_that_came_is_completed(ask):
    page = bundle(observation("o1", "pt-001"), following="Observation?page=2")
    server = Server(answer=bundle(observation("o2", "pt-001")))
    _, (event,) = ask(server, changed(prefetch={**PARTIAL["body"]["prefetch"], "labs": page}))
    assert ("GET", "https://ehr.example.org/fhir/Observation?page=2", "Bearer test-token-1") in server.asked
    assert event.prefetch["labs"] == "fetched"


@pytest.mark.ch("CH-148")
@pytest.mark.sec("SEC-034")
def test_the_token_is_in_nothing_that_is_kept_or_said(ask, tmp_path, capfd):
    ask(Server(status=500), PARTIAL["body"])
    said = capfd.readouterr()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert "test-token-1" not in said.out + said.err
    assert b"test-token-1" not in kept
    assert "pt-001" not in said.out + said.err
