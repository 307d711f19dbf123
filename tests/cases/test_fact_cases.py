"""The given cases of kinds `fhir-data`, `units` and `time`: what a chart's resources become, value by value."""

import copy
import json
import tomllib

import pytest

from cds_service.clinical.building import build_features
from cds_service.clinical.codings import CodeIndex
from cds_service.clinical.feature_spec import FeatureSet, read_feature_set
from cds_service.clinical.key_content import decode_key
from cds_service.clinical.reading import read_facts
from tests.cases.conftest import DATA, NOW, cases, named

FEATURES = read_feature_set(tomllib.loads((DATA / "recipes/case-labs/features.toml").read_text(encoding="utf-8")))
FACT_CASES = [case for kind in ("fhir-data", "units", "time") for case in cases(kind) if case[2]["type"] == "resources"]


def read(given, features=FEATURES):
    index = CodeIndex(code for spec in features.features for code in spec.codes)
    keys = {
        name: decode_key(json.dumps(given[name]).encode()) for name in ("patient", "labs", "imaging") if name in given
    }
    facts = read_facts(keys, patient="pt-001", index=index, fhir_server="https://ehr.example.org/fhir")
    return keys, facts, build_features(features, facts, NOW)


def assert_features(features, expected):
    for name, want in expected.items():
        feature = features[name]
        if "missing" in want:
            assert (feature.value, feature.reason) == (None, want["missing"]), name
        else:
            assert feature.reason is None, name
            assert feature.value == pytest.approx(want["value"], abs=want.get("tol", 1e-9)), name
            assert feature.unit == want["unit"], name


def with_spelling(name, spelling, unit):
    """A feature declaration that also lists one spelling or alias, as the case says a site may."""
    raw = tomllib.loads((DATA / "recipes/case-labs/features.toml").read_text(encoding="utf-8"))
    for table in raw["feature"]:
        if table["name"] == name:
            for key in ("spellings", "aliases"):
                known = table.get(key, {})
                known = dict.fromkeys(known, table["unit"]) if isinstance(known, list) else known
                table[key] = {**known, spelling: unit}
    return read_feature_set(raw)


@pytest.mark.parametrize("case", FACT_CASES, ids=named)
def test_facts(case):
    _, _, given, expect = case
    facts_wanted = dict(expect.get("facts", {}))
    aliased = expect.get("with_declared_alias") or facts_wanted.pop("with_declared_alias", None)
    if "only_if" not in expect:
        keys, facts, features = read(given)
        assert_features(features, facts_wanted)
        if "flag" in expect:
            assert any(expect["flag"] in feature.flags for feature in features.values())
        never = expect.get("never", ())
        assert not [f.name for f in features.values() if f.value is not None and f.value in never and f.name != "age"]
        if "images" in expect:
            assert [image.source for image in facts.images] == [f"ImagingStudy/{name}" for name in expect["images"]]
        if expect.get("key_state") == "failed":
            assert keys["labs"].failure == "failed"
    quantity = first_quantity(given)
    if aliased or "only_if" in expect:
        (name,) = aliased or facts_wanted
        wanted = aliased or facts_wanted
        system = quantity.get("system")
        unit = quantity.get("code", quantity.get("unit"))
        token = unit if system in (None, "http://unitsofmeasure.org") else f"{system}|{unit}"
        means = "10*4/uL" if name == "platelets" else wanted[name]["unit"]
        _, _, features = read(given, with_spelling(name, token, means))
        assert_features(features, wanted)


def first_quantity(given):
    for entry in given.get("labs", {}).get("entry", ()):
        quantity = entry.get("resource", {}).get("valueQuantity")
        if quantity is not None:
            return quantity
    return {}


@pytest.mark.parametrize("case", [case for case in FACT_CASES if "unusable" in case[3]], ids=named)
def test_what_is_not_used_keeps_its_reason(case):
    """A reason that belongs to the resource is kept with it; a status or an unlisted code shows in the feature."""
    _, _, given, expect = case
    _, facts, features = read(given)
    known = {name.split("/")[1]: reason for name, reason in facts.unusable.items()}
    for name, reason in expect["unusable"].items():
        if reason in ("code_not_listed", "status_not_usable"):
            assert not [f for f in features.values() if f.source == f"Observation/{name}"]
        else:
            assert known[name] == reason


def test_a_urn_uuid_is_the_patient_when_the_bundle_says_so():
    """B-025, variant: the Bundle also holds Patient pt-001 under that fullUrl."""
    given = copy.deepcopy(next(case[2] for case in FACT_CASES if case[0] == "B-025"))
    given["labs"]["entry"].append(
        {
            "fullUrl": "urn:uuid:7f3c0a52-0000-4000-8000-000000000001",
            "resource": {"resourceType": "Patient", "id": "pt-001"},
        }
    )
    _, _, features = read(given)
    assert_features(features, {"glucose": {"value": 105, "unit": "mg/dL"}})


def test_a_declared_zone_reads_a_time_without_one_and_says_so():
    """B-050: a tenant may declare its zone; then obs-2 is read as local time."""
    from zoneinfo import ZoneInfo

    given = next(case[2] for case in FACT_CASES if case[0] == "B-050")
    index = CodeIndex(code for spec in FEATURES.features for code in spec.codes)
    keys = {"labs": decode_key(json.dumps(given["labs"]).encode())}
    facts = read_facts(keys, patient="pt-001", index=index, zone=ZoneInfo("Asia/Tokyo"))
    glucose = build_features(FeatureSet((FEATURES["glucose"],)), facts, NOW)["glucose"]
    assert (glucose.value, glucose.flags) == (182, ("time_local",))


def test_every_given_case_of_these_kinds_is_read():
    assert {case[0] for case in FACT_CASES} >= {
        "B-021", "B-022", "B-023", "B-025", "B-026", "B-028", "B-029", "B-030", "B-032", "B-036", "B-037", "B-039",
        "B-040", "B-042", "B-044", "B-046", "B-048", "B-050", "B-052", "B-054",
    }  # fmt: skip
