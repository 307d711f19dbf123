"""Discovery: sections A to C, on the shipped services."""

import re
from urllib.parse import quote

import pytest
from starlette.routing import Mount, Router

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.prefetch_lint import lint_order, lint_query
from cds_service.contract.output_walk import emptiness
from cds_service.errors import DeclarationError, SettingsError
from cds_service.settings import AUTH_OFF, read_settings
from tests.conformance.conftest import ENCOUNTER, NOW, SERVICE, STRICT, Http, call, start


@pytest.mark.ch("CH-001", "CH-020", "CH-021", "CH-022", "CH-024")
def test_discovery_is_answered_in_place_with_json(app):
    answer = app.discovery()
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert {entry["id"] for entry in answer.json()["services"]} == {SERVICE, STRICT, ENCOUNTER}


@pytest.mark.ch("CH-020")
def test_the_base_may_have_a_path_of_its_own(app):
    behind = Http(Router([Mount("/tenant/x", app.door)]))
    assert behind.get("/tenant/x/cds-services").json() == app.discovery().json()
    answer = behind.post(f"/tenant/x/cds-services/{SERVICE}", json=call())
    assert answer.status_code == 200
    behind.close()


@pytest.mark.ch("CH-023")
def test_a_server_without_services_says_so(tmp_path):
    (tmp_path / "hooks").mkdir()
    app = start(tmp_path / "state", tmp_path / "hooks")
    answer = app.discovery()
    app.close()
    assert (answer.status_code, answer.json()) == (200, {"services": []})


@pytest.mark.ch("CH-002", "CH-003", "CH-004")
def test_nothing_in_discovery_is_null_or_empty(app):
    assert emptiness(app.discovery().json()) == ([], [])


@pytest.mark.ch("CH-025", "CH-026", "CH-027", "CH-028", "CH-029", "CH-030", "CH-031", "CH-032", "CH-292")
def test_each_entry_says_what_it_must_and_no_more(app):
    for entry in app.discovery().json()["services"]:
        assert set(entry) == {
            "hook", "id", "title", "description", "version", "usageRequirements", "hookVersion", "prefetch",
        }  # fmt: skip
        texts = [value for key, value in entry.items() if key != "prefetch"] + list(entry["prefetch"].values())
        assert all(isinstance(text, str) and text.strip() for text in texts)
        assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])
        assert entry["hookVersion"] == "1.0"
        assert quote(entry["id"], safe="") == entry["id"]


@pytest.mark.ch("CH-027", "CH-060")
def test_every_advertised_id_is_called_under_its_own_url(app):
    for entry in app.discovery().json()["services"]:
        assert app.call({}, entry["id"]).status_code == 400


@pytest.mark.ch("CH-036")
def test_a_call_needs_no_discovery(fresh):
    assert fresh.call(call()).status_code == 200


@pytest.mark.ch("CH-033", "CH-300")
def test_one_id_under_two_hooks_is_dispatched_by_the_body(tmp_path, hooks, fresh):
    """The folder's name is the id, so two hooks of one id are two entries of the catalog in memory."""
    services = load_services(hooks).services
    assert len({(service.id, service.hook) for service in services}) == len(services)
    assert fresh.call(call(), ENCOUNTER).status_code == 400
    context = {"userId": "Practitioner/u-1", "patientId": "pat-7", "encounterId": "e-1"}
    assert fresh.call(call(hook="encounter-start", context=context), ENCOUNTER).status_code == 200


@pytest.mark.ch("CH-040", "CH-055")
def test_the_published_keys_are_those_that_are_read(app):
    for service in app.parts.catalog.services:
        entry = next(one for one in app.discovery().json()["services"] if one["id"] == service.id)
        assert entry["prefetch"] == {key.name: key.query for key in service.prefetch}


@pytest.mark.ch("CH-041", "CH-042", "CH-043", "CH-046", "CH-048")
def test_what_we_publish_passes_our_own_linter(app):
    for service in app.parts.catalog.services:
        for key in service.prefetch:
            assert list(lint_query(key.query, hook=service.hook)) == []


@pytest.mark.parametrize(
    ("template", "levels"),
    [
        pytest.param("Patient/{{context.patientId}}", [], marks=pytest.mark.ch("CH-041", "CH-043"), id="a read"),
        pytest.param("Observation?patient={{context.patientId}}&_sort=-date&_count=1", [], marks=pytest.mark.ch("CH-041", "CH-048"), id="a search"),
        pytest.param("{{context.userId}}", [], marks=pytest.mark.ch("CH-045"), id="the user, a reference already"),
        pytest.param("Practitioner/{{userPractitionerId}}", [], marks=pytest.mark.ch("CH-044"), id="userPractitionerId"),
        pytest.param("PractitionerRole/{{userPractitionerRoleId}}", [], marks=pytest.mark.ch("CH-044"), id="userPractitionerRoleId"),
        pytest.param("Patient/{{userPatientId}}", [], marks=pytest.mark.ch("CH-044"), id="userPatientId"),
        pytest.param("RelatedPerson/{{userRelatedPersonId}}", [], marks=pytest.mark.ch("CH-044"), id="userRelatedPersonId"),
        pytest.param("Practitioner/{{userId}}", ["error"], marks=pytest.mark.ch("CH-044"), id="a token that does not exist"),
        pytest.param("Bundle/{{context.draftOrders}}", ["error"], marks=pytest.mark.ch("CH-043"), id="a context field of another hook"),
        pytest.param("https://fhir.example/Patient/{{context.patientId}}", ["error"], marks=pytest.mark.ch("CH-041"), id="an absolute URL"),
        pytest.param("/Patient/{{context.patientId}}", ["error"], marks=pytest.mark.ch("CH-041"), id="a leading slash"),
        pytest.param("Patient/{{context.patientId}}/$everything", ["error"], marks=pytest.mark.ch("CH-041"), id="an operation"),
        pytest.param("Patient/{{context.patientId", ["error"], marks=pytest.mark.ch("CH-042"), id="braces that don't close"),
        pytest.param("Observation?patient={{context.patientId}}&sort:desc=date", ["error"], marks=pytest.mark.ch("CH-048"), id="sort:desc is not FHIR"),
        pytest.param("Observation?patient={{context.patientId}}&code:text=sugar", ["warning"], marks=pytest.mark.ch("CH-046"), id="a rare modifier"),
    ],
)  # fmt: skip
def test_the_linter(template, levels):
    assert [remark.level for remark in lint_query(template, hook="patient-view")][:1] == levels


@pytest.mark.ch("CH-051", "CH-052")
def test_keys_that_use_each_other_stand_in_order_and_in_no_circle():
    encounter, use_b = "Encounter/{{context.encounterId}}", "Condition?encounter={{%b.id}}"

    def refused(**templates: str) -> set[str]:
        return {key for key, remarks in lint_order(templates).items() if remarks}

    assert refused(b=encounter, a=use_b) == set()
    assert refused(a=use_b, b=encounter) == {"a"}
    assert refused(a="Encounter/{{%b.id}}", b="Encounter/{{%a.id}}")


@pytest.mark.ch("CH-034")
def test_a_pair_of_id_and_hook_that_stands_twice_is_refused_at_start(hooks, monkeypatch):
    from cds_service.cdshooks import catalog

    read = catalog.read_service
    monkeypatch.setattr(catalog, "read_service", lambda folder: read(hooks / SERVICE))
    with pytest.raises(DeclarationError) as caught:
        load_services(hooks)
    assert SERVICE in str(caught.value)
    assert "patient-view" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        pytest.param({}, "clients", marks=pytest.mark.ch("CH-311"), id="production without clients"),
        pytest.param({}, "behind_tls_proxy", marks=pytest.mark.ch("CH-007"), id="production without TLS"),
        pytest.param({"auth": AUTH_OFF, "host": "0.0.0.0"}, "host", marks=pytest.mark.ch("CH-007"), id="plain HTTP for the whole net"),
        pytest.param({"cors_origins": ("*",)}, "cors_origins", marks=pytest.mark.ch("CH-282"), id="any origin in production"),
    ],
)  # fmt: skip
def test_settings_that_are_not_safe_are_refused(settings, at):
    with pytest.raises(SettingsError) as caught:
        read_settings(environment={}, **settings).check()
    assert at in [fault.where for fault in caught.value.faults]


@pytest.mark.ch("CH-008")
def test_plain_http_serves_development_on_this_machine():
    read_settings(environment={}, auth=AUTH_OFF, host="127.0.0.1").check()


def test_the_clock_of_these_tests_stands_still(app):
    assert app.parts.clock() == NOW
