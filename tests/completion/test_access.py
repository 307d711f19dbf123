"""Which servers may be asked, what scopes allow, what a query becomes: tables."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cds_service.cdshooks.fhir_access import FHIRAccess, normal_base, read_access
from cds_service.cdshooks.fhir_queries import resolve_query
from cds_service.cdshooks.scopes import permits
from cds_service.cdshooks.wire import Context

BASE = "https://ehr.example.org:443/fhir"
NOW = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)


@pytest.mark.sec("SEC-030")
@pytest.mark.parametrize(
    "url",
    ["https://ehr.example.org/fhir", "HTTPS://EHR.Example.ORG/fhir/", "https://ehr.example.org:443/fhir", "https://ehr.example.org/fhir//"],
)  # fmt: skip
def test_ways_to_write_the_listed_base(url):
    assert normal_base(url) == BASE


@pytest.mark.sec("SEC-030")
@pytest.mark.ch("CH-152")
@pytest.mark.parametrize(
    "url",
    [
        "https://ehr.example.org@evil.example/fhir", "https://ehr.example.org:443@evil.example/fhir", "https://ehr.example.org.evil.example/fhir",
        "https://ehr.example.org:443#@evil.example/fhir", "https://ehr.example.org/fhir#x", "https://ehr.example.org/fhir?x=1",
        "https://ehr.example.org/fhir?", "https://ehr.example.org/other", "https://ehr.example.org/fhirx", "https://ehr.example.org",
        "https://ehr.example.org/fhir/../admin", "https://ehr.example.org/./fhir", "https://ehr.example.org/%66hir", "https://ehr.example.org/fhir%2f..",
        "https://ehr.example.org:8443/fhir", "http://ehr.example.org/fhir", "ftp://ehr.example.org/fhir", "//ehr.example.org/fhir",
        "ehr.example.org/fhir", "https:ehr.example.org/fhir", "https:/ehr.example.org/fhir", "https://ehr.example.org\\@evil.example/fhir",
        "https://ehr.example.org\t/fhir", " https://ehr.example.org/fhir", "https://ehr.example.org /fhir", "https://ehr.example.org\n/fhir",
        "https://ehr.example.org./fhir", "https://ehr..example.org/fhir", "https://xn--ehr-.example.org/fhir", "https://еhr.example.org/fhir",
        "https://EHR.EXAMPLE.ORG/FHIR", "https://ehr.example.org:/fhir", "https://ehr.example.org:0443x/fhir", "https://ehr.example.org:99999/fhir",
        "https://2130706433/fhir", "https://0x7f000001/fhir", "https://0177.0.0.1/fhir", "https://127.1/fhir", "https://127.0.0.1/fhir",
        "https://[::1]/fhir", "https://[::ffff:127.0.0.1]/fhir", "https://localhost/fhir", "http://169.254.169.254/latest/meta-data", "",
        "https://", "https:///fhir", "file:///etc/passwd", "javascript:alert(1)", "https://ehr.example.org/fhir;x", "https://user:pw@ehr.example.org/fhir",
    ],
)  # fmt: skip
def test_every_other_address_is_not_asked(url):
    assert FHIRAccess(servers=(BASE,)).base_of(url) is None


@pytest.mark.sec("SEC-030")
@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://127.0.0.1:8000/sandbox/fhir", True), ("http://localhost:8000/fhir", True), ("http://[::1]:9/fhir", True),
        ("http://10.0.0.1/fhir", False), ("https://ehr.example.org/fhir", False), ("http://127.0.0.1.evil.example/fhir", False),
    ],
)  # fmt: skip
def test_development_asks_this_machine_only(url, may):
    assert (FHIRAccess(any_loopback=True).base_of(url) is not None) == may


@pytest.mark.ch("CH-143")
@pytest.mark.sec("SEC-035")
@pytest.mark.parametrize(
    ("scope", "kind", "interaction", "may"),
    [
        ("patient/Observation.read", "Observation", "search", True), ("user/Observation.read", "Observation", "read", True),
        ("system/*.read", "Condition", "search", True), ("patient/*.*", "Condition", "search", True),
        ("patient/Observation.rs", "Observation", "search", True), ("patient/Observation.cruds", "Observation", "search", True),
        ("patient/Observation.r", "Observation", "read", True), ("patient/Observation.r", "Observation", "search", False),
        ("patient/Observation.s", "Observation", "read", False), ("patient/Observation.write", "Observation", "search", False),
        ("patient/Observation.sr", "Observation", "search", False), ("patient/Condition.read", "Observation", "search", False),
        ("patient/Observation.rs?category=laboratory", "Observation", "search", False), ("launch openid fhirUser", "Patient", "read", False),
        ("", "Patient", "read", False), ("patient/observation.read", "Observation", "search", False),
        ("launch patient/Patient.read patient/Observation.rs", "Observation", "search", True), ("patient/Observation", "Observation", "read", False),
        ("evilpatient/Observation.read", "Observation", "read", False),
    ],
)  # fmt: skip
def test_scopes(scope, kind, interaction, may):
    assert permits(scope, kind, interaction) is may


def context(user="Practitioner/dr-1", patient="p1", encounter="e1"):
    return Context(user, patient, encounter, {})


@pytest.mark.parametrize(
    ("query", "path", "parameters"),
    [
        ("Patient/{{context.patientId}}", "Patient/p1", None),
        ("Encounter/{{context.encounterId}}", "Encounter/e1", None),
        ("{{context.userId}}", "Practitioner/dr-1", None),
        ("Practitioner/{{userPractitionerId}}", "Practitioner/dr-1", None),
        ("Condition?patient={{context.patientId}}", "Condition", "patient=p1"),
        (
            "Observation?patient={{context.patientId}}&code=http://loinc.org|4548-4,X&_sort=-date&_count=5", "Observation",
            "patient=p1&code=http://loinc.org|4548-4,X&_sort=-date&_count=5",
        ),
        ("Observation?patient={{context.patientId}}&date=ge{{today() - 90 days}}", "Observation", "patient=p1&date=ge2026-03-04"),
        ("Observation?patient={{context.patientId}}&date=le{{today()}}", "Observation", "patient=p1&date=le2026-06-02"),
        ("Observation?patient={{context.patientId}}&code:in=a b&x=1#2", "Observation", "patient=p1&code:in=a%20b&x=1%232"),
    ],
)  # fmt: skip
def test_a_query_with_its_context_put_in(query, path, parameters):
    found = resolve_query(query, context(), NOW, ZoneInfo("Asia/Tokyo"))
    assert (found.path, found.parameters) == (path, parameters)


@pytest.mark.sec("SEC-037")
@pytest.mark.parametrize(
    ("query", "of"),
    [
        ("Encounter/{{context.encounterId}}", context(encounter=None)),
        ("Encounter/{{context.encounterId}}", context(encounter="../Patient/p2")),
        ("Encounter/{{context.encounterId}}", context(encounter="e1?x=1")),
        ("Patient/{{context.patientId}}", context(patient="p1&_include=*")),
        ("Practitioner/{{userPractitionerId}}", context(user="Patient/p1")),
        ("{{context.userId}}", context(user="Practitioner/../x")),
        ("{{context.userId}}", context(user=None)),
        ("Observation?encounter={{%encounter.id}}", context()),
        ("Observation?patient={{context.unknown}}", context()),
    ],
)
def test_what_can_t_be_put_in_is_not_asked(query, of):
    assert resolve_query(query, of, NOW, None) is None


@pytest.mark.parametrize(
    ("table", "at"),
    [
        ({"fhir_servers": ["https://ehr.example.org/fhir"]}, []),
        ({"fhir_servers": ["http://ehr.example.org/fhir"]}, ["c.fhir_servers"]),
        ({"fhir_servers": ["ehr.example.org"]}, ["c.fhir_servers"]),
        ({"fhir_servers": "https://x/fhir"}, ["c.fhir_servers"]),
        ({"fhir_open": True}, ["c.fhir_open"]),
        ({"fhir_servers": ["https://x/fhir"], "budget_ms": 5}, ["c.budget_ms"]),
        ({"fhir_servers": ["https://x/fhir"], "budget_ms": True}, ["c.budget_ms"]),
        ({"fhir_servers": ["https://x/fhir"], "fhir_client_id": ""}, ["c.fhir_client_id"]),
        ({"fhir_servers": ["https://x/fhir"], "fhir_private_network": "yes"}, ["c.fhir_private_network"]),
        ({"fhir_servers": ["https://x/fhir"], "prefetch": {"s": {"labs": "https://evil/x"}}}, ["c.prefetch.s.labs"]),
        ({"fhir_servers": ["https://x/fhir"], "prefetch": {"s": {"labs": 1}}}, ["c.prefetch.s.labs"]),
        ({"fhir_servers": ["https://x/fhir"], "prefetch": {"s": 1}}, ["c.prefetch"]),
        (
            {
                "fhir_servers": ["https://x/fhir"],
                "prefetch": {"s": {"labs": "Observation?patient={{context.patientId}}&date=ge{{today() - 90 days}}"}},
            },
            [],
        ),
    ],
)
def test_the_table_of_a_client(table, at):
    faults = []
    access = read_access(table, "c", faults, lab=False)
    assert [fault.where for fault in faults] == at
    if not at:
        assert access is not None


def test_a_lab_may_ask_http_on_this_machine():
    faults = []
    access = read_access({"fhir_servers": ["http://127.0.0.1:8080/fhir"]}, "c", faults, lab=True)
    assert (access.servers, faults) == (("http://127.0.0.1:8080/fhir",), [])
    read_access({"fhir_servers": ["http://10.0.0.1:8080/fhir"]}, "c", faults, lab=True)
    assert len(faults) == 1


def test_a_client_without_a_list_is_never_asked_anything():
    assert read_access({}, "c", [], lab=False) is None
