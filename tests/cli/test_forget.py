"""``cds-service patient forget``: the id never stands where others can see it, and a slip of the pen is no assurance."""

import json
import re

import pytest
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.events.pseudonym import load_key, pseudonymise, purpose_key
from cds_service.events.schema import PatientLeftOut
from tests.attacks.real import EXAMPLE, SERVICE, real_parts

PATIENT = EXAMPLE["context"]["patientId"]


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "settings.toml"
    values = {"auth": "off-for-development", "state": str(tmp_path / "state")}
    file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()))
    return file


def run(settings, given, *, tenant="development"):
    command = ["patient", "forget", "--tenant", tenant, "--id-stdin", "--settings", str(settings)]
    return CliRunner().invoke(main, command, input=given, catch_exceptions=False)


@pytest.mark.sec("SEC-091")
def test_what_the_real_service_kept_of_a_chart_is_blanked_while_it_runs(tmp_path, settings, served_parts):
    parts, client = served_parts
    card = client.post(SERVICE, json=EXAMPLE).json()["cards"][0]["uuid"]
    said = {"feedback": [{"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:00:00Z"}]}
    assert client.post(f"{SERVICE}/feedback", json=said).status_code == 200
    done = run(settings, f"{PATIENT}\n")
    assert done.output.startswith("Blank now: 1 answers, 1 feedback items. On the list from now on: 1 name, new.")
    assert re.search(r"(?m)^dysglycaemia [0-9.]+ was trained on: NHANES", done.output)
    assert client.post(SERVICE, json=EXAMPLE).json()["cards"], "the clinician is answered as before"
    assert client.post(f"{SERVICE}/feedback", json=said).status_code == 200
    kept = [stored.event for stored in parts.store.read_all()]
    assert [type(event) for event in kept] == [PatientLeftOut] * 3, "a repeated feedback is no second one"
    name = pseudonymise(
        PATIENT, tenant="development", key=purpose_key(load_key(tmp_path / "state/pseudonym.key"), purpose="pseudonym", tenant="development")
    )  # fmt: skip
    assert parts.store.query("SELECT patient FROM forgotten_patient") == [(name,)]
    assert run(settings, PATIENT).output.startswith(
        "Blank now: 0 answers, 0 feedback items. On the list from now on: 1 name, known before."
    )


@pytest.fixture
def served_parts(tmp_path):
    from starlette.testclient import TestClient

    from cds_service.service_app import create_app

    parts = real_parts(tmp_path)
    with TestClient(create_app(parts), base_url="http://127.0.0.1") as client:
        yield parts, client


@pytest.mark.sec("SEC-091")
@pytest.mark.parametrize(
    ("given", "tenant", "says"),
    [
        pytest.param("", "development", "standard input: not one FHIR id", id="nothing"),
        pytest.param("Patient/1", "development", "standard input: not one FHIR id", id="a reference"),
        pytest.param("1\n2\n", "development", "standard input: not one FHIR id", id="two ids"),
        pytest.param("x" * 65, "development", "standard input: not one FHIR id", id="longer than any id"),
        pytest.param("1", "hospital-x", "--tenant: neither clients.toml nor the log knows it", id="nobody's tenant"),
    ],
)
def test_what_is_no_order_is_refused_without_saying_the_id(served_parts, settings, given, tenant, says):
    done = run(settings, given, tenant=tenant)
    assert done.exit_code == 2
    assert done.output.startswith(says)
    assert len(given) < 5 or given not in done.output


def test_without_a_store_nothing_is_made(tmp_path, settings):
    done = run(settings, "1")
    assert done.exit_code == 2
    assert not (tmp_path / "state" / "events").exists()
