"""A survey row becomes the same features as a chart that says the same."""

import shutil
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.clinical.building import build_features
from cds_service.clinical.facts import Facts, PatientFact, measured
from cds_service.clinical.feature_spec import read_feature_set
from cds_service.clinical.times import interval_of
from cds_service.cohorts.eligible import Eligible, SaidByRule
from cds_service.cohorts.tables import read_nhanes
from cds_service.errors import SettingsError

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "nhanes"
FEATURES = read_feature_set(tomllib.loads((ROOT / "recipes" / "dysglycaemia" / "features.toml").read_text()))
COLUMNS = (DATA / "nhanes_extract.csv").read_text().splitlines()[0].split(",")


@pytest.fixture(scope="module")
def extract():
    return read_nhanes(DATA, ["nhanes_extract.csv"], FEATURES, name="extract")


def one_row(tmp_path, **changed):
    """A data folder that holds one person."""
    import hashlib

    person = {
        "seqn": "1", "cycle": "2011-2012", "age_years": "64", "sex": "female", "ethnicity": "other", "bmi_kg_m2": "27.5",
        "waist_cm": "91.0", "sbp_mmhg": "131.3", "dbp_mmhg": "74.0", "total_cholesterol_mmol_l": "5.43",
        "hdl_cholesterol_mmol_l": "1.29", "serum_glucose_mmol_l": "5.88", "fasting_hours": "12.0",
        "diabetes_told": "0", "hba1c_percent": "6.1",
    } | changed  # fmt: skip
    lines = [",".join(COLUMNS), ",".join(person.get(column, "") for column in COLUMNS)]
    content = ("\n".join(lines) + "\n").encode()
    (tmp_path / "one.csv").write_bytes(content)
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  ./one.csv\n")
    return read_nhanes(tmp_path, ["one.csv"], FEATURES, name="one")


def test_the_row_equals_a_japanese_chart_that_says_the_same(tmp_path):
    """mmol/L and LOINC here, mg/dL and JLAC10 there: one definition, one value."""
    row = one_row(tmp_path).rows[0]
    now = datetime(2026, 6, 1, tzinfo=UTC)
    jlac = "http://medis.or.jp/CodeSystem/master-JLAC10-17digits|"
    chart = [
        measured(jlac + "9N011000000000001", 27.5, "kg/m2", now),
        measured(jlac + "9N016160100000001", 91.0, "cm", now),
        measured(jlac + "9A755000000000001", 131.3, "mm[Hg]", now),
        measured(jlac + "9A765000000000001", 74.0, "mm[Hg]", now),
        measured(jlac + "3F050000002327101", 5.43 * 38.665, "mg/dL", now),
        measured(jlac + "3F070000002327101", 1.29 * 38.665, "mg/dL", now),
        measured(jlac + "3D010000001927201", 5.88 * 18.0156, "mg/dL", now),
    ]
    facts = Facts(
        patient=PatientFact(interval_of("1962-06-01"), "female"), measurements={one.code: [one] for one in chart}
    )
    for name, feature in build_features(FEATURES, facts, now).items():
        assert row[name].value == pytest.approx(feature.value), name


@pytest.mark.parametrize(("hours", "state"), [("12.0", 1.0), ("8.0", 1.0), ("7.9", 0.0), ("0.0", 0.0), ("", None)])
def test_fasting_is_eight_hours_or_more(tmp_path, hours, state):
    assert one_row(tmp_path, fasting_hours=hours).rows[0]["fasting"].value == state


def test_the_label_is_never_a_feature(tmp_path, extract):
    assert one_row(tmp_path).rows[0]["hba1c"].value is None
    assert all(row["hba1c"].value is None for row in extract.rows)
    values, _ = extract.inputs(FEATURES)
    assert values.shape == (len(extract), 10)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"diabetes_told": "1"}, "diabetes known"),
        ({"diabetes_told": ""}, "not known whether diabetes was told"),
        ({"pregnant": "1"}, "pregnant"),
        ({"hba1c_percent": ""}, "HbA1c unknown"),
    ],
)
def test_who_is_not_eligible_is_counted(tmp_path, changed, why):
    with pytest.raises(SettingsError, match="no eligible row"):
        one_row(tmp_path, **changed)


def test_left_out_and_eligible_add_up(extract):
    assert len(extract) + sum(extract.left_out.values()) == extract.read == 1500
    manifest = extract.manifest({"ge57": 5.7, "ge65": 6.5})
    assert manifest["eligible"] == len(extract)
    assert manifest["prevalence"]["ge65"] == pytest.approx(float((extract.label >= 6.5).mean()), abs=1e-6)


@pytest.mark.parametrize("changed", [{"bmi_kg_m2": "", "waist_cm": ""}, {"serum_glucose_mmol_l": ""}])
def test_what_a_row_lacks_is_missing(tmp_path, changed):
    cohort = one_row(tmp_path, **changed)
    values, present = cohort.inputs(FEATURES)
    gone = {"bmi_kg_m2": {"bmi", "waist"}, "serum_glucose_mmol_l": {"glucose", "fasting"}}[next(iter(changed))]
    names = [spec.name for spec in FEATURES.inputs]
    assert {name for name, there in zip(names, present[0], strict=True) if not there} == gone
    assert all(values[0, names.index(name)] == 0 for name in gone)


def test_changed_data_are_refused(tmp_path):
    for file in DATA.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "nhanes_extract.csv").write_text(
        (tmp_path / "nhanes_extract.csv").read_text().replace("female", "male", 1)
    )
    with pytest.raises(SettingsError, match="not the one in SHA256SUMS"):
        read_nhanes(tmp_path, ["nhanes_extract.csv"], FEATURES, name="changed")


def test_an_unlisted_file_is_refused(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("")
    (tmp_path / "mine.csv").write_text("seqn\n1\n")
    with pytest.raises(SettingsError, match="does not list it"):
        read_nhanes(tmp_path, ["mine.csv"], FEATURES, name="mine")


def test_no_list_no_data(tmp_path):
    with pytest.raises(SettingsError, match="CDS_DATA"):
        read_nhanes(tmp_path, ["mine.csv"], FEATURES, name="mine")


ELIGIBLE = Eligible("adults", (35, 79), ("glucose",), (SaidByRule("glucose", 200, "fasting", 126),))


@pytest.mark.parametrize(
    ("changed", "counts", "by_rule"),
    [
        pytest.param({}, True, False, id="an adult with a glucose"),
        pytest.param({"age_years": "35"}, True, False, id="the youngest"),
        pytest.param({"age_years": "34"}, False, False, id="too young"),
        pytest.param({"age_years": "80"}, False, False, id="too old"),
        pytest.param({"serum_glucose_mmol_l": ""}, False, False, id="no glucose"),
        pytest.param({"serum_glucose_mmol_l": "7.0"}, True, True, id="126 mg/dL, fasting"),
        pytest.param({"serum_glucose_mmol_l": "7.0", "fasting_hours": "2"}, True, False, id="126 mg/dL, casual"),
        pytest.param({"serum_glucose_mmol_l": "11.2", "fasting_hours": "2"}, True, True, id="over 200 mg/dL, casual"),
        pytest.param({"serum_glucose_mmol_l": "7.0", "fasting_hours": ""}, True, False, id="126 mg/dL, not told"),
    ],
)
def test_who_counts_and_of_whom_a_rule_speaks(tmp_path, changed, counts, by_rule):
    cohort = one_row(tmp_path, **changed)
    assert (ELIGIBLE.mask(cohort).tolist(), ELIGIBLE.by_rule(cohort).tolist()) == ([counts], [by_rule])
