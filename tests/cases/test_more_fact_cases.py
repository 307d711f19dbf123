"""More cases of kinds `fhir-data`, `units` and `time`, found beside the given ones: what a chart's resources become."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cds_service.clinical.times import TimeFault, interval_of
from tests.cases.test_fact_cases import read

UCUM = "http://unitsofmeasure.org"
PATIENT = {"resourceType": "Patient", "id": "pt-001", "gender": "female", "birthDate": "1958-04-12"}


def quantity(value=101, unit="mg/dL", **more):
    return {"value": value, "unit": unit, "system": UCUM, "code": unit, **more}


def concept(*codes, system="http://loinc.org"):
    return {"coding": [{"system": system, "code": code} for code in codes]}


def observation(code="2345-7", number="obs-1", **more):
    """A glucose of 101 mg/dL of yesterday, unless told otherwise; None leaves a field out."""
    whole = {
        "resourceType": "Observation",
        "id": number,
        "status": "final",
        "code": concept(code),
        "subject": {"reference": "Patient/pt-001"},
        "effectiveDateTime": "2026-05-30T08:15:00+09:00",
        "valueQuantity": quantity(),
        **more,
    }
    return {name: value for name, value in whole.items() if value is not None}


def older():
    return observation(number="older", effectiveDateTime="2026-05-01T08:00:00Z", valueQuantity=quantity(90))


def bundle(*resources, **more):
    return {
        "resourceType": "Bundle", "type": "searchset", "total": len(resources),
        "entry": [{"resource": resource} for resource in resources], **more,
    }  # fmt: skip


def entries(*found):
    return {"resourceType": "Bundle", "type": "searchset", "entry": list(found)}


def feature(name, labs, patient=PATIENT):
    return read({"patient": patient, "labs": labs})[2][name]


@pytest.mark.parametrize(
    ("name", "code", "value", "unit", "expected"),
    [
        pytest.param("hcg", "21198-7", 5, "[iU]/L", 5, id="international units a litre are milli-units a millilitre"),
        pytest.param("hcg", "21198-7", 5, "m[IU]/mL", 5, id="[IU] is UCUM's other name of [iU]"),
        pytest.param("hcg", "21198-7", 5, "mIU/mL", "unit_not_convertible", id="IU without brackets is no UCUM"),
        pytest.param("hcg", "21198-7", 5, "U/L", "unit_not_convertible", id="an enzyme unit is no international unit"),
        pytest.param("alt", "1742-6", 30, "[iU]/L", 30, id="a declared alias"),
        pytest.param("alt", "1742-6", 30, "[IU]/L", 30, id="a declared alias under its other spelling"),
        pytest.param("alt", "1742-6", 30, "IU/L", "unit_not_convertible", id="no alias for what is no unit"),
        pytest.param("alt", "1742-6", 30, "m[iU]/mL", 30, id="an alias in UCUM's own other form"),
        pytest.param("alt", "1742-6", 0.5, "ukat/L", 30, id="microkatal"),
        pytest.param("alt", "1742-6", 0, "U/L", 0, id="nought is a value where it is plausible"),
        pytest.param("alt", "1742-6", -0.0, "U/L", 0, id="minus nought is nought"),
        pytest.param("neutrophils_abs", "751-8", 62, "%", "unit_not_convertible", id="a share is no count"),
        pytest.param("neutrophils_abs", "770-8", 62, "%", "no_result", id="the share has its own code"),
        pytest.param("neutrophils_abs", "751-8", 4200, "/mm3", 4.2, id="a cubic millimetre is a microlitre"),
        pytest.param("neutrophils_abs", "751-8", 4200, "cells/uL", "unit_not_convertible", id="cells without braces"),
        pytest.param("wbc", "6690-2", 6.5, "1000/uL", 6.5, id="a plain number is a factor"),
        pytest.param("wbc", "6690-2", 6.5, "10E3/uL", "unit_not_convertible", id="a number in another notation"),
        pytest.param("wbc", "6690-2", 6.5, "G/L", "unit_not_convertible", id="giga alone is gauss"),
        pytest.param("wbc", "6690-2", 6.5, "10*9/l", 6.5, id="a small litre"),
        pytest.param("wbc", "6690-2", 6.5, "10*3", "unit_not_convertible", id="a count of nothing"),
        pytest.param("hemoglobin", "718-7", 135, "g/L", 13.5, id="grams a litre"),
        pytest.param("hemoglobin", "718-7", 13.5, "g%", "unit_not_convertible", id="grams per cent"),
        pytest.param("hemoglobin", "718-7", 8.4, "mmol/L", "unit_not_convertible", id="no molar mass declared"),
        pytest.param("crp", "1988-5", 12, "mg/L", 1.2, id="CRP in milligrams a litre"),
        pytest.param("crp", "1988-5", 12, "mcg/mL", "unit_not_convertible", id="mcg is no UCUM"),
        pytest.param("hba1c_ngsp", "59261-8", 42, "mmol/mol", 5.993, id="IFCC by the NGSP equation"),
        pytest.param("hba1c_ngsp", "4548-4", 42, "%", "implausible", id="42 per cent is not taken for mmol/mol"),
        pytest.param("hba1c_ngsp", "4548-4", 0.058, "1", "unit_not_convertible", id="a fraction is no per cent"),
        pytest.param("hba1c_ngsp", "4548-4", 5.8, "%{HemoglobinA1C}", 5.8, id="an annotation is 1"),
        pytest.param("hba1c_ngsp", "59261-8", 42, "mmol/mol{Hb}", 5.993, id="an annotation of a declared unit"),
        pytest.param("hba1c_ngsp", "4548-4", 5.8, "mmol/L", "unit_not_convertible", id="a glucose unit"),
        pytest.param("hba1c_ngsp", "17855-8", 5.8, "%", "no_result", id="a method that is not listed"),
        pytest.param("potassium", "2823-3", 4.1, "mEq/L", "unit_not_convertible", id="mEq is no UCUM"),
        pytest.param("potassium", "2823-3", 4.1, "meq/L", "unit_not_convertible", id="a valence is not declared"),
        pytest.param("lactate", "59032-3", 18, "mg/dL", 1.998, id="mass to amount"),
        pytest.param("lactate", "59032-3", 2.1, "mmol/L", 2.1, id="a molar unit under a mass code: the unit stands"),
        pytest.param("glucose", "2345-7", 5.6, "mmol/L", 100.887, id="the same for glucose"),
        pytest.param("glucose", "14749-6", 101, "mg/dL", 101, id="and the other way round"),
        pytest.param("ddimer_feu", "48065-7", 900, "ng/mL{FEU}", 0.9, id="nanograms FEU"),
        pytest.param("ddimer_feu", "48065-7", 0.9, "mg/L{FEU}", 0.9, id="milligrams FEU a litre"),
        pytest.param("systolic_bp", "8480-6", 16, "kPa", 120.01, id="kilopascal"),
        pytest.param("systolic_bp", "8480-6", 120, "mmHg", "unit_not_convertible", id="mmHg is no UCUM"),
        pytest.param("rheumatoid_factor", "11572-5", 12, "U/mL", "unit_not_convertible", id="U for [iU], undeclared"),
        pytest.param("creatinine", "14682-9", 80, "umol/L", 0.905, id="micromoles"),
        pytest.param("creatinine", "14682-9", 80, "\u00b5mol/L", "unit_not_convertible", id="a micro sign in a code"),
        pytest.param("glucose", "2345-7", 101, "mg/dL ", "unit_not_convertible", id="a blank behind the code"),
        pytest.param("glucose", "2345-7", 101, "mg%", "unit_not_convertible", id="milligrams per cent"),
        pytest.param("glucose", "2345-7", 101, "mg.dL-1", 101, id="the same unit written as a product"),
    ],
)  # fmt: skip
def test_a_coded_unit_means_what_ucum_says_or_nothing(name, code, value, unit, expected):
    read_as = feature(name, bundle(observation(code, valueQuantity=quantity(value, unit))))
    if isinstance(expected, str):
        assert (read_as.value, read_as.reason) == (None, expected)
    else:
        assert read_as.reason is None
        assert read_as.value == pytest.approx(expected, abs=1e-3)
        assert str(read_as.value)[0] != "-"


@pytest.mark.parametrize(
    ("given", "value", "reason"),
    [
        *(
            pytest.param({"value": 80, "unit": text}, 0.90496, None, id=f"a listed text with {name}")
            for text, name in (
                ("umol/L", "u"), ("\u00b5mol/L", "the micro sign"), ("\u03bcmol/L", "a Greek mu"), ("ｕｍｏｌ／Ｌ", "full width"),
            )
        ),
        pytest.param({"value": 80, "unit": "uMol/L"}, None, "unit_not_convertible", id="another case of a listed text"),
        pytest.param({"value": 0.9, "code": "mg/dL"}, 0.9, None, id="a code without its system is a text"),
        pytest.param({"value": 0.9, "system": UCUM, "unit": "mg/dL"}, 0.9, None, id="a system without its code too"),
        pytest.param({"value": 0.9, "system": "https://unitsofmeasure.org", "code": "mg/dL"}, None, "unit_not_convertible", id="https is another system"),
        pytest.param(quantity(0.9) | {"unit": "umol/L"}, 0.9, None, id="a text that makes the value impossible: the code counts"),
        pytest.param(quantity(20) | {"unit": "umol/L"}, None, "unit_conflicting", id="text and code differ and both are possible"),
        pytest.param(quantity(0.9) | {"unit": "mg/dl"}, 0.9, None, id="text and code in two spellings of one unit"),
        pytest.param(quantity(0.9) | {"unit": "MG/DL (serum)"}, 0.9, None, id="a text that says nothing"),
        pytest.param(quantity(0.9, comparator="<"), None, "comparator", id="less than"),
        pytest.param(quantity(0.9, comparator="ad"), None, "comparator", id="a comparator of R5"),
        pytest.param(quantity(None), None, "no_value", id="a unit without a number"),
        pytest.param({}, None, "no_value", id="an empty quantity"),
        pytest.param(quantity("0.9"), None, "invalid_resource", id="a number as text"),
        pytest.param(quantity("0,9"), None, "invalid_resource", id="a decimal comma"),
        pytest.param(quantity([0.9]), None, "invalid_resource", id="a list of one number"),
        pytest.param(quantity(True), None, "invalid_resource", id="true is not 1"),
        pytest.param(quantity(2**70), None, "implausible", id="an integer beyond all doubles' exactness"),
    ],
)  # fmt: skip
def test_a_quantity_is_one_number_with_one_unit(given, value, reason):
    read_as = feature("creatinine", bundle(observation("2160-0", valueQuantity=given)))
    assert (read_as.value, read_as.reason) == (pytest.approx(value) if value else None, reason)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"valueRange": {"low": {"value": 90}}}, "value_not_number", id="a range"),
        pytest.param({"valueRatio": {"numerator": {"value": 1}}}, "value_not_number", id="a titre"),
        pytest.param({"valueBoolean": True}, "value_not_number", id="a yes"),
        pytest.param({"valueSampledData": {"period": 10}}, "value_not_number", id="a curve"),
        pytest.param({"valueDateTime": "2026"}, "value_not_number", id="a date"),
        pytest.param({"valueCodeableConcept": concept("260385009")}, "value_not_number", id="a code"),
        pytest.param({"valueString": "high"}, "text_value", id="a word"),
        pytest.param({"valueInteger": 101}, "unit_missing", id="an integer, which has no unit"),
        pytest.param({"valueQuantity": quantity(), "valueString": "haemolysed"}, "invalid_resource", id="two values"),
    ],
)  # fmt: skip
def test_a_newer_result_that_says_something_else_is_not_passed_over(more, reason):
    newer = observation(**{"valueQuantity": None, **more})
    read_as = feature("glucose", bundle(older(), newer))
    if reason == "invalid_resource":  # says nothing that can be trusted: the older one stands, and that is said
        assert (read_as.value, read_as.newer_unusable) == (90, reason)
    else:
        assert (read_as.value, read_as.reason) == (None, reason)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"valueQuantity": None}, "no_value", id="no value"),
        pytest.param({"dataAbsentReason": {"text": "not done"}}, "no_value", id="a nought that says why there is none"),
        pytest.param({"modifierExtension": [{"url": "https://x.example.org/negated", "valueBoolean": True}]}, "invalid_resource", id="an extension that changes the meaning"),
        pytest.param({"effectiveDateTime": None}, "time_missing", id="no time"),
        pytest.param({"effectiveDateTime": None, "effectiveTiming": {"event": ["2026-05-30T08:15:00Z"]}}, "time_ambiguous", id="a schedule"),
        pytest.param({"effectivePeriod": {"start": "2026-05-01", "end": "2026-05-02"}}, "time_invalid", id="two times"),
        pytest.param({"status": "FINAL"}, "status_not_usable", id="a status in another case"),
        pytest.param({"status": None}, "invalid_resource", id="no status"),
        pytest.param({"valueQuantity": quantity("101")}, "invalid_resource", id="a number as text"),
    ],
)  # fmt: skip
def test_a_newer_result_that_says_nothing_leaves_the_older_one_and_is_said(more, reason):
    read_as = feature("glucose", bundle(older(), observation(**more)))
    assert (read_as.value, read_as.newer_unusable) == (90, reason)


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        pytest.param({"reference": "Patient/pt-001", "type": "Patient"}, None, id="a reference with its type"),
        pytest.param({"reference": "https://EHR.example.org/fhir/Patient/pt-001"}, None, id="a host in another case"),
        pytest.param({"reference": "HTTPS://ehr.example.org:443/fhir/Patient/pt-001"}, None, id="the default port written out"),
        pytest.param({"reference": "https://ehr.example.org/fhir/Patient/pt-001/_history/3"}, None, id="absolute and versioned"),
        pytest.param({"reference": "http://ehr.example.org/fhir/Patient/pt-001"}, "other_patient", id="another scheme"),
        pytest.param({"reference": "https://ehr.example.org:8443/fhir/Patient/pt-001"}, "other_patient", id="another port"),
        pytest.param({"reference": "https://ehr.example.org/FHIR/Patient/pt-001"}, "other_patient", id="a path in another case"),
        pytest.param({"reference": "https://ehr.example.org.evil/fhir/Patient/pt-001"}, "other_patient", id="a longer host"),
        pytest.param({"reference": "Patient/PT-001"}, "other_patient", id="an id in another case"),
        pytest.param({"reference": "Patient/pt-0011"}, "other_patient", id="a longer id"),
        pytest.param({"reference": "Patient/pt-001/"}, "other_patient", id="a slash at the end"),
        pytest.param({"reference": "patient/pt-001"}, "subject_unresolved", id="a type in lower case"),
        pytest.param({"reference": "#pt"}, "subject_unresolved", id="a contained patient"),
        pytest.param({"reference": "Group/pt-001"}, "subject_unresolved", id="a group"),
        pytest.param({"identifier": {"value": "pt-001"}}, "subject_unresolved", id="an identifier alone"),
        pytest.param({"display": "pt-001"}, "subject_unresolved", id="a name alone"),
        pytest.param(None, "subject_unresolved", id="nobody"),
        pytest.param([{"reference": "Patient/pt-001"}], "invalid_resource", id="a list of one"),
        pytest.param("Patient/pt-001", "invalid_resource", id="a bare string"),
    ],
)  # fmt: skip
def test_whose_result_it_is(subject, reason):
    contained = {"contained": [{"resourceType": "Patient", "id": "pt"}]} if subject == {"reference": "#pt"} else {}
    read_as = feature("glucose", bundle(observation(subject=subject, **contained)))
    assert (read_as.value, read_as.reason) == ((101, None) if reason is None else (None, reason))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-05-30T08:15:00-00:00", None, id="minus nought as offset"),
        pytest.param("2026-05-30T08:15:00+14:00", None, id="the easternmost zone"),
        pytest.param("2026-05-30T08:15:00+14:01", "time_invalid", id="beyond the easternmost zone"),
        pytest.param("2026-05-30T08:15:00+15:00", "time_invalid", id="a zone that is none"),
        pytest.param("2026-05-30T08:15:00+0900", "time_invalid", id="an offset without its colon"),
        pytest.param("2026-05-30T24:00:00Z", "time_invalid", id="hour 24"),
        pytest.param("2026-05-30T23:59:60Z", None, id="a leap second"),
        pytest.param("2026-05-30T08:59:60.5+09:00", None, id="a leap second elsewhere"),
        pytest.param("2026-05-30T10:20:60Z", "time_invalid", id="second 60 at another minute"),
        pytest.param("2026-05-30t08:15:00z", "time_invalid", id="lower-case letters"),
        pytest.param("2026-05-30 08:15:00Z", "time_invalid", id="a blank for the T"),
        pytest.param("2026-05-30T08:15Z", "time_invalid", id="no seconds"),
        pytest.param("2026-02-29", "time_invalid", id="a leap day of another year"),
        pytest.param("20260530", "time_invalid", id="no dashes"),
        pytest.param("2026-05-30 ", "time_invalid", id="a blank behind it"),
        pytest.param("0000-01-01", "time_invalid", id="the year nought"),
        pytest.param("1899-12-31", "stale", id="before 1900"),
        pytest.param("2026-03-03T00:00:00Z", None, id="the first moment of the window"),
        pytest.param("2026-03-02T23:59:59.999Z", "stale", id="a moment before it"),
        pytest.param("2026-06-01T09:00:00+09:00", None, id="now, elsewhere"),
        pytest.param("2026-06-01T00:00:01Z", "time_in_future", id="a second from now"),
        pytest.param("2026-06-01", None, id="today"),
        pytest.param("2026-06-02", "time_in_future", id="tomorrow"),
        pytest.param(1780000000, "invalid_resource", id="seconds since 1970"),
    ],
)  # fmt: skip
def test_when_a_result_was_taken(text, expected):
    read_as = feature("glucose", bundle(observation(effectiveDateTime=text)))
    assert (read_as.value, read_as.reason) == ((101, None) if expected is None else (None, expected))


@pytest.mark.parametrize(
    ("more", "value", "reason"),
    [
        pytest.param({"birthDate": "1958-06-01"}, 68, None, id="a birthday today"),
        pytest.param({"birthDate": "1958-06-02"}, 67, None, id="a birthday tomorrow"),
        pytest.param({"birthDate": "1958-04"}, 68, None, id="a month that settles it"),
        pytest.param({"birthDate": "1958-06"}, None, "time_ambiguous", id="this month"),
        pytest.param({"birthDate": "1958"}, None, "time_ambiguous", id="a year"),
        pytest.param({"birthDate": "2008-02-29"}, 18, None, id="a leap day"),
        pytest.param({"birthDate": "2027-01-01"}, None, "implausible", id="not born yet"),
        pytest.param({"birthDate": "1899-01-01"}, None, "implausible", id="older than anyone"),
        pytest.param({"birthDate": "1958-04-11T15:00:00Z"}, None, "no_value", id="a time of day, by which the day may be another"),
        pytest.param({"birthDate": "1958-02-30"}, None, "no_value", id="a day that is none"),
        pytest.param({"_deceasedDateTime": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}}, None, "patient_deceased", id="a masked date of death is a death"),
        pytest.param({"deceasedBoolean": False}, 68, None, id="said to live"),
    ],
)  # fmt: skip
def test_the_age_of_a_patient(more, value, reason):
    read_as = feature("age", bundle(), {**PATIENT, **more})
    assert (read_as.value, read_as.reason) == (value, reason)


GOOD = {"resource": observation()}


@pytest.mark.parametrize(
    ("labs", "value", "failure"),
    [
        pytest.param({"resourceType": "Bundle", "entry": None}, None, None, id="entries that are null are none"),
        pytest.param(bundle(observation(), link=None), 101, None, id="links that are null are none"),
        pytest.param(entries(None, GOOD), 101, None, id="a null entry costs itself"),
        pytest.param(entries("x", GOOD), 101, None, id="a string entry too"),
        pytest.param(entries({"fullUrl": 5, "resource": observation(number="bad")}, GOOD), 101, None, id="an entry with a numeric fullUrl too"),
        pytest.param(entries({"resource": [observation()]}, GOOD), 101, None, id="a list as resource too"),
        pytest.param(entries({"resource": None}, GOOD), 101, None, id="an entry without its resource"),
        pytest.param({"resourceType": "Bundle", "entry": GOOD}, None, "not_fhir", id="one entry instead of a list"),
        pytest.param(bundle(observation(), type="collection"), 101, None, id="a collection"),
        pytest.param(bundle(observation(), total=0), 101, None, id="a total below what is there"),
        pytest.param(bundle(observation(), {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}), 101, None, id="a warning beside results"),
        pytest.param(bundle(observation(), {"resourceType": "OperationOutcome", "issue": [{"severity": "ERROR"}]}), None, "failed", id="an error in capitals is an error"),
        pytest.param(bundle(observation(), {"resourceType": "OperationOutcome", "issue": "x"}), None, "failed", id="an outcome that can't be read may say anything"),
        pytest.param(bundle(observation(), {"resourceType": "OperationOutcome"}), None, "failed", id="an outcome that says nothing"),
        pytest.param({"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}, None, "failed", id="a warning instead of results"),
        pytest.param({"resourceType": "OperationOutcome", "issue": "x"}, None, "failed", id="an unreadable outcome instead of results"),
    ],
)  # fmt: skip
def test_what_a_key_holds_is_judged_entry_by_entry(labs, value, failure):
    keys, _, features = read({"patient": PATIENT, "labs": labs})
    assert (features["glucose"].value, keys["labs"].failure) == (value, failure)


def component(code, **more):
    return {"code": concept(code), **more}


def pressure(number, when, *components):
    return observation("85354-9", number, effectiveDateTime=when, valueQuantity=None, component=list(components))


@pytest.mark.parametrize(
    ("newest", "systolic", "diastolic"),
    [
        pytest.param([component("8462-4", valueQuantity=quantity(80, "mm[Hg]")), component("8480-6", valueQuantity=quantity(120, "mm[Hg]"))], (120, None), (80, None), id="in either order"),
        pytest.param([component("8480-6", valueQuantity=quantity(120, "mm[Hg]")), component("8462-4", dataAbsentReason={"text": "not heard"})], (120, None), (70, "no_value"), id="one of them not measured"),
        pytest.param([component("8480-6", valueQuantity=quantity(120, "mm[Hg]")), component("8480-6", valueQuantity=quantity(150, "mm[Hg]"))], (None, "conflicting"), (70, None), id="the same twice, differing"),
        pytest.param([component("8480-6", valueQuantity=quantity("120", "mm[Hg]"))], (110, "invalid_resource"), (70, None), id="one that can't be read is said for its own code"),
        pytest.param([component("8480-6", valueQuantity=quantity(120, "mm[Hg]"), modifierExtension=[{"url": "x"}])], (110, "invalid_resource"), (70, None), id="one whose meaning is changed"),
    ],
)  # fmt: skip
def test_the_parts_of_a_panel_are_judged_one_by_one(newest, systolic, diastolic):
    before = pressure(
        "before", "2026-05-01T08:00:00Z", component("8480-6", valueQuantity=quantity(110, "mm[Hg]")),
        component("8462-4", valueQuantity=quantity(70, "mm[Hg]")),
    )  # fmt: skip
    _, _, features = read(
        {"patient": PATIENT, "labs": bundle(before, pressure("new", "2026-05-30T08:00:00Z", *newest))}
    )
    for name, expected in (("systolic_bp", systolic), ("diastolic_bp", diastolic)):
        assert (features[name].value, features[name].reason or features[name].newer_unusable) == expected


@pytest.mark.parametrize(
    ("more", "value", "reason"),
    [
        pytest.param({"valueCodeableConcept": concept("260385009", system="http://snomed.info/sct")}, 0, None, id="a listed code"),
        pytest.param({"valueCodeableConcept": concept("260385009", "10828004", system="http://snomed.info/sct")}, None, "conflicting", id="negative and positive at once"),
        pytest.param({"valueCodeableConcept": concept("260385009", system="http://snomed.info")}, None, "value_not_listed", id="another system"),
        pytest.param({"valueCodeableConcept": {"text": "negative"}}, None, "text_value", id="the word alone"),
        pytest.param({"valueString": "(-)"}, None, "text_value", id="a sign"),
        pytest.param({"valueQuantity": quantity(0.01, "[iU]/mL")}, None, "value_not_listed", id="a number"),
    ],
)  # fmt: skip
def test_a_coded_result_counts_by_its_table(more, value, reason):
    read_as = feature("hbs_antigen", bundle(observation("5196-1", **{"valueQuantity": None, **more})))
    assert (read_as.value, read_as.reason) == (value, reason)


def test_a_corrected_version_in_another_key_replaces_the_first():
    first = observation(meta={"versionId": "1"}, status="final")
    second = observation(meta={"versionId": "2"}, status="corrected", valueQuantity=quantity(110))
    assert feature("glucose", bundle(first, second)).value == 110
    assert feature("glucose", bundle(second, first)).value == 110
    withdrawn = observation(meta={"versionId": "3"}, status="entered-in-error")
    assert feature("glucose", bundle(withdrawn, second)).reason == "status_not_usable"


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        pytest.param(
            "2026-05-30T23:30:00-05:00", "2026-05-31T08:00:00+09:00", 90, id="an instant, not its digits, is newer"
        ),
        pytest.param(
            "2026-05-31T00:30:00+09:00", "2026-05-30T20:00:00Z", 110, id="a day earlier on the calendar, later in time"
        ),
        pytest.param("2026-05-30T08:00:00Z", "2026-05-30T08:00:00.000001Z", 110, id="a microsecond"),
        pytest.param("2026-05-30", "2026-05-30T08:00:00Z", None, id="a day and a time in it"),
        pytest.param("2026-05-29", "2026-05-30", 110, id="two days"),
        pytest.param("2026-05", "2026-05-30", None, id="a month and a day in it"),
    ],
)
def test_which_of_two_is_the_latest(first, second, value):
    labs = [
        observation(number=number, effectiveDateTime=text, valueQuantity=quantity(worth))
        for number, text, worth in (("a", first, 90), ("b", second, 110))
    ]
    for order in (labs, labs[::-1]):
        read_as = feature("glucose", bundle(*order))
        assert (read_as.value, read_as.reason) == (value, None if value else "time_ambiguous")


def test_an_hour_that_the_clocks_repeat_is_both_and_one_that_they_skip_is_none():
    """A tenant in a zone with summer time; 2026-11-01 and 2026-03-08 are its days of change."""
    zone = ZoneInfo("America/New_York")
    start, end, flag = interval_of("2026-11-01T01:30:00", zone)
    assert (start, end) == (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC))
    assert flag == "time_local"
    with pytest.raises(TimeFault):
        interval_of("2026-03-08T02:30:00", zone)
