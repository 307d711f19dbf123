"""The R4 server: what a search finds, in what order, page by page; what is refused; what can be created."""

import asyncio

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from starlette.applications import Starlette

from cds_service.sandbox.charts import Chart
from cds_service.sandbox.memory import CREATED_MAX, Memory
from cds_service.sandbox.r4_server import BODY_MAX_BYTES, fhir_routes

LOINC, JLAC = "http://loinc.org", "http://medis.or.jp/CodeSystem/master-JLAC10-17digits"
HL7 = "http://terminology.hl7.org/CodeSystem/observation-category"
JP = "http://jpfhir.jp/fhir/core/CodeSystem/JP_SimpleObservationCategory_CS"


def observation(name, patient, when, system, code, category_system, category, **more):
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": category_system, "code": category}]}],
        "code": {"coding": [{"system": system, "code": code}, {"system": "urn:local", "code": f"L-{code}"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": when,
        **more,
    }


RESOURCES = (
    {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-05-02", "name": [{"family": "Smith", "given": ["Ann"]}]},
    {"resourceType": "Patient", "id": "p2", "gender": "male", "name": [{"text": "佐藤 太郎", "family": "佐藤"}]},
    observation("a1", "p1", "2026-01-10T08:00:00+00:00", LOINC, "4548-4", HL7, "laboratory"),
    observation("a2", "p1", "2026-02-10T08:00:00+00:00", LOINC, "2345-7", HL7, "laboratory", status="amended"),
    observation("a3", "p1", "2026-03-10", LOINC, "39156-5", HL7, "vital-signs"),
    observation("a4", "p1", "2026-03", LOINC, "39156-5", HL7, "vital-signs"),
    observation("b1", "p2", "2026-02-11T00:30:00+09:00", JLAC, "3D046000001920402", JP, "laboratory"),
    {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]},
        "onsetDateTime": "2020-01-01",
    },
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-02-01T09:00:00Z", "end": "2026-02-03T09:00:00Z"},
    },
    {"resourceType": "Encounter", "id": "e2", "status": "in-progress", "class": {"code": "IMP"}, "subject": {"reference": "Patient/p1"}, "period": {"start": "2026-06-01"}},
)  # fmt: skip


class Client:
    """Asks the routes directly: no socket, no thread."""

    def __init__(self, memory):
        self._transport = httpx.ASGITransport(Starlette(routes=fhir_routes(memory)))

    def _ask(self, method, url, **more):
        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url="http://ehr.example") as client:
                return await client.request(method, url, **more)

        return asyncio.run(ask())

    def get(self, url):
        return self._ask("GET", url)

    def post(self, url, **more):
        return self._ask("POST", url, **more)


@pytest.fixture
def client():
    return Client(Memory((Chart("test", "p1", 0, RESOURCES),)))


def ids(bundle):
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param("Observation?patient=p1", "a1 a2 a3 a4", id="patient by id"),
        pytest.param("Observation?patient=Patient/p1", "a1 a2 a3 a4", id="patient by reference"),
        pytest.param("Observation?subject=Patient/p2", "b1", id="subject"),
        pytest.param("Observation?subject=http://ehr.example/fhir/Patient/p2", "b1", id="subject by address"),
        pytest.param("Observation?patient=p1,p2&code=4548-4,3D046000001920402", "a1 b1", id="several patients, several codes"),
        pytest.param("Observation?patient=nobody", "", id="an unknown patient has nothing"),
        pytest.param(f"Observation?patient=p1&code={LOINC}|4548-4", "a1", id="token: system and code"),
        pytest.param("Observation?patient=p1&code=4548-4", "a1", id="token: a code of any system"),
        pytest.param(f"Observation?patient=p1&code={JLAC}|4548-4", "", id="token: another system does not match"),
        pytest.param("Observation?patient=p1&code=|4548-4", "", id="token: a code without a system"),
        pytest.param(f"Observation?patient=p1&code={LOINC}|", "a1 a2 a3 a4", id="token: any code of a system"),
        pytest.param("Observation?patient=p1&code=urn:local|L-2345-7", "a2", id="token: the second coding counts"),
        pytest.param("Observation?patient=p1&code=4548", "", id="token: no prefixes"),
        pytest.param(f"Observation?patient=p1&code={LOINC}|4548-4,{LOINC}|2345-7", "a1 a2", id="token: a list is or"),
        pytest.param("Observation?patient=p1&code=4548-4&code=2345-7", "", id="two lines are and"),
        pytest.param("Observation?patient=p2&category=laboratory", "b1", id="category without system matches JP Core's too"),
        pytest.param(f"Observation?patient=p2&category={HL7}|laboratory", "", id="category with system is exact"),
        pytest.param("Observation?patient=p1&category=vital-signs", "a3 a4", id="category"),
        pytest.param("Observation?patient=p1&status=amended", "a2", id="status"),
        pytest.param("Observation?patient=p1&date=2026-01-10", "a1", id="date: a day holds its times"),
        pytest.param("Observation?patient=p1&date=ge2026-02-10", "a2 a3 a4", id="date: ge"),
        pytest.param("Observation?patient=p1&date=gt2026-02-10", "a3 a4", id="date: gt"),
        pytest.param("Observation?patient=p1&date=le2026-02-10", "a1 a2", id="date: le"),
        pytest.param("Observation?patient=p1&date=lt2026-02-10", "a1", id="date: lt"),
        pytest.param("Observation?patient=p1&date=ge2026-01-15&date=lt2026-03-01", "a2", id="date: between"),
        pytest.param("Observation?patient=p1&date=2026-03", "a3 a4", id="date: a month holds its days"),
        pytest.param("Observation?patient=p1&date=eq2026-03-10", "a3", id="date: a month is not within a day"),
        pytest.param("Observation?patient=p1&date=gt2026-03-15", "a4", id="date: the rest of a month may be later"),
        pytest.param("Observation?patient=p2&date=2026-02-11", "b1", id="date: the day of the place where it was taken"),
        pytest.param("Observation?patient=p2&date=lt2026-02-10T16:00:00Z", "b1", id="date: a zone in the query means the instant"),
        pytest.param("Encounter?patient=p1&date=2026-02", "e1", id="date: a period within a month"),
        pytest.param("Encounter?patient=p1&date=gt2026-07-01", "e2", id="date: an open period reaches on"),
        pytest.param("Encounter?patient=p1&class=AMB", "e1", id="a Coding"),
        pytest.param("Encounter?patient=p1&status=in-progress,planned", "e2", id="a bare code"),
        pytest.param("Condition?patient=p1&clinical-status=active", "c1", id="clinical status"),
        pytest.param("Condition?patient=p1&code=http://snomed.info/sct|44054006", "c1", id="a condition's code"),
        pytest.param("Patient?_id=p1", "p1", id="_id"),
        pytest.param("Patient?name=smi", "p1", id="a name from its start, in any case"),
        pytest.param("Patient?name=佐藤", "p2", id="a Japanese name"),
        pytest.param("Patient?gender=male", "p2", id="gender"),
        pytest.param("Patient?birthdate=le1960-12-31", "p1", id="birthdate"),
        pytest.param("Observation?patient=p1&_sort=-date", "a3 a4 a2 a1", id="newest first: by the start of what is said"),
        pytest.param("Observation?patient=p1&_sort=date", "a1 a2 a4 a3", id="oldest first"),
        pytest.param("Observation?patient=p1&_sort=-_id", "a4 a3 a2 a1", id="sorted by id"),
        pytest.param("Observation?patient=p1&_sort=status,-date", "a2 a3 a4 a1", id="sorted by two keys"),
        pytest.param("Observation?patient=p1&_sort=-date&_count=1", "a3", id="the most recent one"),
        pytest.param("Observation?patient=p1&_count=0", "", id="a count only"),
        pytest.param("Observation?patient=p1&_format=json&_sort=date", "a1 a2 a4 a3", id="_format is no filter"),
    ],
)  # fmt: skip
def test_search(client, query, found):
    path, _, search = query.partition("?")
    by_get = client.get(f"/fhir/{query}")
    by_post = client.post(f"/fhir/{path}/_search", data=dict_of(search))
    assert by_get.status_code == 200
    assert ids(by_get.json()) == found.split()
    assert ids(by_post.json()) == found.split()
    get_fhir_model_class("Bundle").model_validate(by_get.json())


def dict_of(search):
    fields = {}
    for pair in search.split("&"):
        name, _, value = pair.partition("=")
        fields.setdefault(name, []).append(value)
    return fields


def test_total_counts_all_and_an_empty_answer_has_no_entry(client):
    assert client.get("/fhir/Observation?patient=p1&_count=1").json()["total"] == 4
    empty = client.get("/fhir/Observation?patient=p1&code=nothing").json()
    assert (empty["total"], "entry" in empty) == (0, False)


def test_pages_are_followed_to_the_end(client):
    url, seen = "/fhir/Observation?patient=p1&_sort=_id&_count=3", []
    for _ in range(5):
        bundle = client.get(url).json()
        seen += ids(bundle)
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        if url is None:
            break
    assert seen == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        pytest.param("Observation?patient=p1&cod=4548-4", 400, "Observation?cod", id="a misspelt filter is refused, not ignored"),
        pytest.param("Observation?patient:Patient.name=x", 400, "modifier or chain", id="a chain"),
        pytest.param("Observation?code:in=http://vs", 400, "modifier or chain", id="a modifier"),
        pytest.param("Observation?date=sometime", 400, "not a date", id="not a date"),
        pytest.param("Observation?date=ap2026-01-01", 400, "not a date", id="a prefix that is not known"),
        pytest.param("Observation?date=2026-02-30", 400, "not a date", id="a day that does not exist"),
        pytest.param("Observation?_sort=subject", 400, "not a sort key", id="a sort key that is no order"),
        pytest.param("Observation?_count=many", 400, "not a count", id="not a count"),
        pytest.param("Claim?patient=p1", 404, "not served", id="a type that is not served"),
        pytest.param("Claim/1", 404, "not served", id="a read of a type that is not served"),
        pytest.param("Patient/nobody", 404, "No Patient of this id", id="nobody"),
    ],
)  # fmt: skip
def test_refusals_are_operation_outcomes(client, query, status, text):
    answer = client.get(f"/fhir/{query}")
    assert answer.status_code == status
    get_fhir_model_class("OperationOutcome").model_validate(answer.json())
    issue = answer.json()["issue"][0]
    assert text in issue["details"]["text"]
    assert issue["diagnostics"]


def test_all_faults_of_a_search_are_named_at_once(client):
    assert len(client.get("/fhir/Observation?cod=1&dat=2&date=x").json()["issue"]) == 3


def test_read(client):
    answer = client.get("/fhir/Patient/p1")
    assert answer.json() == RESOURCES[0]
    assert answer.headers["content-type"] == "application/fhir+json"


def test_metadata_is_valid_and_names_what_is_served(client):
    statement = client.get("/fhir/metadata").json()
    get_fhir_model_class("CapabilityStatement").model_validate(statement)
    assert "Observation" in [resource["type"] for resource in statement["rest"][0]["resource"]]


ORDER = {
    "resourceType": "ServiceRequest",
    "status": "draft",
    "intent": "proposal",
    "code": {"coding": [{"system": LOINC, "code": "4548-4"}]},
    "subject": {"reference": "Patient/p1"},
}


def test_an_order_is_created_and_found(client):
    created = client.post("/fhir/ServiceRequest", json=ORDER | {"id": "mine"})
    assert created.status_code == 201
    order = created.json()
    assert order["id"] != "mine"
    assert created.headers["location"] == f"/fhir/ServiceRequest/{order['id']}"
    assert client.get(created.headers["location"]).json() == order
    assert ids(client.get("/fhir/ServiceRequest?patient=p1&status=draft&code=4548-4").json()) == [order["id"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("ServiceRequest", b"{", 400, id="not JSON"),
        pytest.param("ServiceRequest", b"[]", 400, id="not an object"),
        pytest.param("ServiceRequest", b'{"resourceType": "Patient"}', 400, id="another type"),
        pytest.param("ServiceRequest", b'{"resourceType": "ServiceRequest", "status": "draft"}', 422, id="required elements are missing"),
        pytest.param("Claim", b"{}", 404, id="a type that is not served"),
        pytest.param("ServiceRequest", b" " * (BODY_MAX_BYTES + 1), 413, id="too long"),
    ],
)  # fmt: skip
def test_a_bad_resource_is_not_kept(client, path, body, status):
    answer = client.post(f"/fhir/{path}", content=body)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert client.get("/fhir/ServiceRequest?patient=p1").json()["total"] == 0


def test_an_order_for_somebody_else_is_refused(client):
    answer = client.post("/fhir/ServiceRequest", json=ORDER | {"subject": {"reference": "Patient/nobody"}})
    assert answer.status_code == 422


def test_a_refusal_never_repeats_a_value(client):
    answer = client.post("/fhir/ServiceRequest", json=ORDER | {"status": ["Taro Yamada"], "subject": "Taro Yamada"})
    assert answer.status_code == 422
    assert "Yamada" not in answer.text


def test_memory_has_a_limit(client):
    memory = Memory(())
    memory.created = CREATED_MAX
    full = Client(memory)
    assert full.post("/fhir/ServiceRequest", json=ORDER).status_code == 507
