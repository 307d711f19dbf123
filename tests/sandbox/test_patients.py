"""The patients that we ship: how many, whole, valid, and as their sources gave them."""

from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from fhir.resources.R4B import get_fhir_model_class

from cds_service.errors import DeclarationError
from cds_service.sandbox.charts import read_charts
from cds_service.sandbox.dates import newest_day
from cds_service.sandbox.examples import read_examples
from cds_service.sandbox.memory import Memory
from cds_service.sandbox.people import list_patients

PATIENTS = Path(__file__).resolve().parents[2] / "sandbox" / "patients"
TODAY = date(2026, 11, 25)
CHARTS = read_charts(PATIENTS, TODAY)


def test_the_number_of_patients_by_source():
    assert Counter(chart.source for chart in CHARTS if chart.patient_id) == {"synthea": 39, "jp-style": 6, "us-core": 4}


def test_the_number_of_resources():
    memory = Memory(CHARTS)
    assert len(memory.of_type("Observation")) == 4240 + 40 + 46  # Synthea, Japan, US Core
    assert len(memory.of_type("Condition")) == 241 + 5
    assert len(memory.of_type("ImagingStudy")) == 38 + 3


@pytest.mark.slow
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: f"{chart.source}/{chart.patient_id}")
def test_a_chart_is_valid_r4(chart):
    for resource in chart.resources:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def references(value):
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


def test_references_name_type_and_id():
    for chart in CHARTS:
        for resource in chart.resources:
            assert all(reference.startswith("#") or reference.count("/") == 1 for reference in references(resource))


def test_a_synthea_chart_is_whole():
    """Everything that a chart of Synthea refers to is in it."""
    for chart in CHARTS:
        if chart.source == "synthea":
            held = {f"{resource['resourceType']}/{resource['id']}" for resource in chart.resources}
            assert {reference for resource in chart.resources for reference in references(resource)} <= held


def test_the_examples_of_a_service_are_patients_too():
    charts = read_examples(PATIENTS.parents[1] / "hooks", TODAY)
    notes = {chart.patient_id: chart.note for chart in charts}
    assert notes["ex-rule"].startswith("The rule speaks")
    assert "ex-missing" not in notes, "a chart cannot show a refused query"
    memory = Memory(charts)
    for chart in charts:
        assert newest_day(chart.resources) == date(2026, 11, 11)
        for resource in chart.resources:
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
            assert memory.read(resource["resourceType"], resource["id"]) is resource, "no id is used twice"


def test_the_patient_list():
    people = {line["id"]: line for line in list_patients(Memory(CHARTS), TODAY)}
    assert len(people) == 49
    assert people["jp-001"] == {
        "id": "jp-001",
        "name": "佐藤 花子",
        "reading": "サトウ ハナコ",
        "sex": "female",
        "birthDate": "1958-10-13",
        "age": 68,
        "deceased": False,
        "source": "jp-style",
        "shiftedDays": 184,
        "newest": "2026-11-11",
        "newestHba1c": "2026-11-11",
    }
    assert "newestHba1c" not in people["jp-002"]
    assert people["deceased-example"]["deceased"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param("[1]", "not a JSON object", id="not an object"),
        pytest.param("{", "not a JSON object", id="not JSON"),
        pytest.param('{"resourceType": "Patient", "id": "a"}', "not a FHIR Bundle", id="not a Bundle"),
        pytest.param('{"resourceType": "Bundle"}', "not a FHIR Bundle", id="an empty Bundle"),
        pytest.param(
            '{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "a"}}, {"resource": {"resourceType": "Patient", "id": "b"}}]}',
            "more than one Patient",
            id="two patients in a file",
        ),
    ],
)  # fmt: skip
def test_a_bad_patient_file_is_named(tmp_path, content, what):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.json").write_text(content)
    with pytest.raises(DeclarationError, match=what) as refused:
        read_charts(tmp_path, TODAY)
    assert refused.value.faults[0].where == "mine/p.json"
