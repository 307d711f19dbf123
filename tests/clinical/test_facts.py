"""Facts carry their proof; what can't be a fact keeps its reason, and what that proves about its key."""

import itertools
import json

import pytest

from cds_service.clinical import fhir_shapes
from cds_service.clinical.codings import CodeIndex
from cds_service.clinical.key_content import decode_key
from cds_service.clinical.reading import read_facts
from tests.clinical.charts import (
    BMI,
    DBP,
    FASTING,
    GLUCOSE,
    HBA1C,
    INDEX,
    ME,
    SBP,
    ago,
    bundle,
    concept,
    facts_of,
    person,
    quantity,
    result,
)

SERVER = "https://ehr.example/fhir"


def only(facts, code=GLUCOSE):
    (one,) = facts.measurements[code]
    return one


def subject(reference):
    return {"reference": reference} if reference is not None else None


@pytest.mark.parametrize(
    ("reference", "server", "reason"),
    [
        pytest.param("Patient/me", None, None, id="a relative reference"),
        pytest.param("Patient/me/_history/3", None, None, id="to one version"),
        pytest.param(f"{SERVER}/Patient/me", SERVER, None, id="absolute, on the server that the call names"),
        pytest.param(f"{SERVER}/Patient/me", f"{SERVER}/", None, id="however its address ends"),
        pytest.param(f"{SERVER}/Patient/me/_history/3", SERVER, None, id="absolute, to one version"),
        pytest.param("Patient/you", None, "other_patient", id="another patient"),
        pytest.param("Patient/ME", None, "other_patient", id="ids are case-sensitive"),
        pytest.param("Patient/me2", None, "other_patient", id="a longer id is another id"),
        pytest.param("https://other.example/fhir/Patient/me", SERVER, "other_patient", id="the same id on another server"),
        pytest.param("https://other.example/fhir/Patient/me", None, "subject_unresolved", id="or on one that nobody names"),
        pytest.param("urn:uuid:7f3c0a52-0000-4000-8000-000000000001", None, "subject_unresolved", id="a urn nobody explains"),
        pytest.param("#me", None, "subject_unresolved", id="a contained patient"),
        pytest.param("Group/me", None, "subject_unresolved", id="a group"),
        pytest.param("", None, "subject_unresolved", id="an empty reference"),
        pytest.param(None, None, "subject_unresolved", id="no subject"),
    ],
)  # fmt: skip
def test_whose_a_result_is(reference, server, reason):
    facts = facts_of(result(subject=subject(reference)), server=server)
    one = only(facts)
    assert one.reason == reason
    assert facts.set_aside == ({reason: 1} if reason else {})
    assert facts.unproven == ({"labs"} if reason == "subject_unresolved" else set())
    if reason is not None:
        assert (one.value, one.start, one.coded) == (None, None, ())


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Condition", "id": "c", "code": concept("http://snomed.info/sct|44054006")},
        {"resourceType": "MedicationRequest", "id": "m", "status": "active", "medicationCodeableConcept": concept("http://x|1")},
        {"resourceType": "Procedure", "id": "p", "status": "completed", "code": concept("http://x|1")},
        {"resourceType": "Encounter", "id": "e", "status": "in-progress", "class": {"code": "AMB"}},
        {"resourceType": "ImagingStudy", "id": "i", "status": "available"},
    ],
    ids=lambda resource: resource["resourceType"],
)  # fmt: skip
def test_each_kind_is_the_patients_or_set_aside(resource):
    mine = facts_of({**resource, "subject": subject("Patient/me")})
    theirs = facts_of({**resource, "subject": subject("Patient/you")})
    read = lambda facts: (facts.conditions, facts.medications, facts.procedures, facts.encounter_class, facts.images)  # noqa: E731
    assert read(mine) != read(facts_of())
    assert mine.set_aside == {}
    assert read(theirs) == read(facts_of())
    assert theirs.set_aside == {"other_patient": 1}
    assert theirs.unusable == {f"{resource['resourceType']}/{resource['id']}": "other_patient"}


def test_a_urn_is_the_patient_where_its_bundle_says_so_and_nowhere_else():
    urn = "urn:uuid:7f3c0a52-0000-4000-8000-000000000001"
    told = bundle({"fullUrl": urn, "resource": person()}, result("r", subject=subject(urn)))
    elsewhere = bundle(result("s", subject=subject(urn)))
    facts = facts_of(keys={"labs": told, "vitals": elsewhere})
    assert [one.reason for one in facts.measurements[GLUCOSE]] == [None, "subject_unresolved"]
    stranger = bundle({"fullUrl": urn, "resource": person("you")}, result("r", subject=subject(urn)))
    assert only(facts_of(keys={"labs": stranger})).reason == "subject_unresolved"


@pytest.mark.parametrize(
    ("fields", "value", "unit", "reason"),
    [
        pytest.param({}, 100, "mg/dL", None, id="a quantity"),
        pytest.param({"valueQuantity": {"value": 5, "unit": "mg/dL"}}, 5, "mg/dL", None, id="a unit as text"),
        pytest.param({"valueQuantity": {"value": 5, "code": "mg/dL"}}, 5, "mg/dL", None, id="a code without its system is text"),
        pytest.param({"valueQuantity": {"value": 5}}, 5, None, None, id="no unit"),
        pytest.param({"valueQuantity": {"unit": "mg/dL"}}, None, None, "no_value", id="a quantity without a number"),
        pytest.param({"valueQuantity": None}, None, None, "no_value", id="nothing at all"),
        pytest.param({"valueQuantity": None, "dataAbsentReason": concept("http://x|error")}, None, None, "no_value", id="absent with a reason"),
        pytest.param({"dataAbsentReason": concept("http://x|error")}, None, None, "no_value", id="a number beside the reason of its absence is none"),
        pytest.param({"valueQuantity": None, "valueString": "100 mg/dL"}, None, None, "text_value", id="a number in words is not read"),
        pytest.param({"valueString": "100"}, None, None, "invalid_resource", id="two values, though there is one"),
        pytest.param({"valueQuantity": None, "valueString": " "}, None, None, "invalid_resource", id="a blank text"),
        pytest.param({"valueQuantity": None, "valueInteger": 7}, 7.0, None, None, id="an integer"),
        pytest.param({"valueQuantity": None, "valueInteger": 2**31}, None, None, "invalid_resource", id="an integer of more than 32 bits"),
        pytest.param({"valueQuantity": None, "valueInteger": 10**400}, None, None, "invalid_resource", id="or of more than any number"),
        pytest.param({"valueQuantity": None, "valueCodeableConcept": {"text": "high"}}, None, None, "text_value", id="a code that is only words"),
    ],
)  # fmt: skip
def test_what_a_value_is(fields, value, unit, reason):
    one = only(facts_of(result(**fields)))
    assert (one.value, one.unit, one.reason) == (value, unit, reason)


def test_a_coded_value_keeps_its_codes_in_their_one_spelling():
    coded = concept("urn:oid:1.2.392.200119.4.504|X1", "http://snomed.info/sct|10828004")
    one = only(facts_of(result(valueQuantity=None, valueCodeableConcept=coded)))
    assert one.coded == ("http://medis.or.jp/CodeSystem/master-JLAC10-17digits|X1", "http://snomed.info/sct|10828004")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"effectiveDateTime": None}, "time_missing", id="no effective time"),
        pytest.param({"effectiveDateTime": None, "issued": ago(3)}, "time_missing", id="the time of issue is another time"),
        pytest.param({"effectiveDateTime": "last week"}, "time_invalid", id="no FHIR time"),
        pytest.param({"effectiveDateTime": "2026-05-01T10:00:00"}, "time_invalid", id="a time without a zone"),
        pytest.param({"effectiveDateTime": None, "effectivePeriod": {"start": ago(3)}}, "time_ambiguous", id="a period without an end"),
        pytest.param({"effectiveDateTime": None, "effectivePeriod": {"start": ago(3), "end": ago(5)}}, "time_invalid", id="that ends before it begins"),
        pytest.param({"effectiveDateTime": None, "effectivePeriod": {"start": ago(5), "end": ago(3)}}, None, id="a whole period"),
        pytest.param({"effectiveDateTime": None, "effectiveInstant": ago(3)}, None, id="an instant"),
        pytest.param({"effectiveInstant": ago(3)}, "time_invalid", id="two times, though there is one"),
        pytest.param({"effectiveDateTime": None, "effectiveTiming": {"event": [ago(3)]}}, "time_ambiguous", id="a timing of several"),
        pytest.param({"issued": "soon"}, None, id="a time of issue that is none orders nothing, and no more"),
    ],
)  # fmt: skip
def test_when_it_was(fields, reason):
    facts = facts_of(result(**fields))
    assert only(facts).reason == reason
    assert facts.unproven == ({"labs"} if reason else set())


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_what_never_happened_leaves_its_key_whole(status):
    facts = facts_of(result(status=status, effectiveDateTime=None))
    assert (facts.unproven, facts.set_aside) == (frozenset(), {})


def test_components_are_results_of_their_own_with_one_proof():
    panel = result(
        "bp", code="http://loinc.org|85354-9", valueQuantity=None,
        component=[
            {"code": concept(SBP), "valueQuantity": quantity(140, "mm[Hg]")},
            {"code": concept(DBP), "valueQuantity": quantity(90, "mm[Hg]")},
            {"code": concept("http://x|y"), "valueQuantity": quantity(1, "mm[Hg]")},
        ],
    )  # fmt: skip
    facts = facts_of(panel)
    assert {code: only(facts, code).value for code in facts.measurements} == {SBP: 140, DBP: 90}
    assert only(facts, SBP).source == only(facts, DBP).source == "Observation/bp"


def test_two_components_of_one_code_are_both_kept():
    parts = [{"code": concept(SBP), "valueQuantity": quantity(value, "mm[Hg]")} for value in (140, 150)]
    facts = facts_of(result("bp", code="http://x|panel", valueQuantity=None, component=parts))
    assert [one.value for one in facts.measurements[SBP]] == [140, 150]


def test_an_undatable_panel_is_set_aside_once():
    parts = [{"code": concept(code), "valueQuantity": quantity(90, "mm[Hg]")} for code in (SBP, DBP)]
    facts = facts_of(result("bp", code="http://x|panel", valueQuantity=None, component=parts, effectiveDateTime=None))
    assert facts.set_aside == {"time_missing": 1}


def meta(version=None, updated=None):
    said = {"versionId": version, "lastUpdated": updated}
    return {key: value for key, value in said.items() if value is not None}


V1, V2 = meta(updated="2026-05-01T00:00:00Z"), meta(updated="2026-05-02T00:00:00Z")


@pytest.mark.parametrize(
    ("copies", "value", "reason"),
    [
        pytest.param([result(value=1), result(value=1)], 1, None, id="the same twice is once"),
        pytest.param([result(value=1, meta=V1), result(value=2, meta=V2)], 2, None, id="the later update counts"),
        pytest.param([result(value=1, meta=V1), result(value=2)], None, "conflicting", id="one without a version can't be ordered"),
        pytest.param([result(value=1, meta=V1), result(value=1)], 1, None, id="and needs no order where it says the same"),
        pytest.param([result(value=1), result(value=2)], None, "conflicting", id="two that differ, without any version"),
        pytest.param([result(value=1, meta=meta("9")), result(value=2, meta=meta("10"))], 2, None, id="versions are numbers, not text"),
        pytest.param([result(value=1, meta=meta(updated="x")), result(value=2, meta=meta(updated="y"))], None, "conflicting", id="nor do updates that are no times"),
        pytest.param([result(value=1, meta=meta("a")), result(value=2, meta=meta("b"))], None, "conflicting", id="or they order nothing"),
        pytest.param([result(value=1, issued=ago(9)), result(value=2, issued=ago(8))], 2, None, id="the later issue counts"),
        pytest.param(
            [result(value=1, meta=meta(updated="2026-05-02T08:00:00+09:00")), result(value=2, meta=meta(updated="2026-05-02T00:00:00Z"))],
            2, None, id="updates are instants, whatever their offset",
        ),
        pytest.param([result(value=1, meta=V1), result(value=1, status="entered-in-error", meta=V2)], 1, None, id="an error that was entered last is the version"),
        pytest.param(
            [result(value=1, meta=V1), result(value=2), result(value=3, meta=V2)], None, "conflicting",
            id="of three, the latest must be later than both",
        ),
        pytest.param([result(value=1, meta=V1), result(value=1, at=None, effectiveDateTime=None)], None, "conflicting", id="one dated, one not"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spread", [False, True], ids=["one key", "a key each"])
def test_of_one_result_only_the_latest_version_counts_in_any_order(copies, value, reason, spread):
    for order in itertools.permutations(copies):
        keys = {str(place): bundle(one) for place, one in enumerate(order)} if spread else {"labs": bundle(*order)}
        one = only(facts_of(keys=keys))
        assert (one.value, one.reason) == (value, reason)
        assert one.status == ("entered-in-error" if "error" in json.dumps(copies) else "final")


def test_undatable_copies_that_conflict_have_no_time():
    copies = [result(value=value, effectiveDateTime=None) for value in (1, 2)]
    assert only(facts_of(*copies)).reason == "time_missing"


def test_a_result_that_was_moved_to_another_patient_is_gone():
    mine, moved = result(value=300, meta=V1), result(value=300, of="you", meta=V2)
    for order in ([mine, moved], [moved, mine]):
        assert [one.reason for one in facts_of(*order).measurements[GLUCOSE]] == ["other_patient"]


def test_a_result_whose_code_was_corrected_is_gone_under_the_old_one():
    wrong, right = result(value=300, meta=V1), result(value=300, code="http://loinc.org|2350-7", meta=V2)
    for order in ([wrong, right], [right, wrong]):
        assert facts_of(*order).measurements.get(GLUCOSE, []) == []


def test_a_copy_dates_and_taints_every_key_that_it_came_in():
    old = result("a", at=ago(900), code=HBA1C)
    blurred = result("b", effectiveDateTime=None, code=HBA1C)
    for names in (("labs", "hba1c"), ("hba1c", "labs")):
        facts = facts_of(keys={name: bundle(old, blurred) for name in names})
        assert {name: moment.isoformat() for name, moment in facts.oldest.items()} == dict.fromkeys(names, ago(900))
        assert facts.unproven == set(names)
        assert facts.set_aside == {"time_missing": 1}


INVALID = {
    "a number as text": result(valueQuantity={"value": "100", "unit": "mg/dL"}),
    "no status": {key: field for key, field in result().items() if key != "status"},
    "a component that is no object": result(component=[7]),
    "a subject that is text": result(subject="Patient/me"),
}


@pytest.mark.parametrize("broken", INVALID.values(), ids=INVALID)
def test_one_broken_entry_costs_itself_and_the_proof_not_the_chart(broken):
    facts = facts_of({**broken, "id": "x"}, result("good", 120))
    values = {one.source: (one.value, one.reason) for one in facts.measurements[GLUCOSE]}
    assert values == {"Observation/x": (None, "invalid_resource"), "Observation/good": (120, None)}
    assert facts.unproven == {"labs"}
    assert facts.set_aside == {"invalid_resource": 1}


def test_a_broken_panel_names_the_results_that_it_hides():
    panel = result("bp", code="http://x|panel", component=[{"code": concept(SBP), "valueQuantity": 7}])
    assert only(facts_of(panel), SBP).reason == "invalid_resource"


def test_a_result_without_an_id_is_read_as_it_is():
    nameless = [{key: field for key, field in result(value=value).items() if key != "id"} for value in (1, 2)]
    unlisted = {**nameless[0], "code": concept("http://x|1")}
    assert [one.value for one in facts_of(*nameless, unlisted).measurements[GLUCOSE]] == [1, 2]


@pytest.mark.parametrize("server", ["HTTPS://EHR.example/fhir", "https://ehr.example:443/fhir"])
def test_a_server_is_the_same_under_every_spelling_of_its_address(server):
    assert only(facts_of(result(subject=subject(f"{SERVER}/Patient/me")), server=server)).reason is None


def test_a_broken_entry_of_unknown_code_taints_its_key_only():
    facts = facts_of({"resourceType": "Observation", "id": 7}, {"nothing": 1})
    assert facts.measurements == {}
    assert facts.set_aside == {"invalid_resource": 2}


def test_types_that_a_key_did_not_ask_for_are_not_read():
    condition = {
        "resourceType": "Condition",
        "id": "c",
        "code": concept("http://x|1"),
        "subject": subject("Patient/me"),
    }
    facts = facts_of(condition, result(), expected={"labs": "Observation"})
    assert facts.conditions == ()
    assert only(facts).value == 100


@pytest.mark.parametrize(
    ("fields", "counts", "active"),
    [
        pytest.param({}, True, True, id="nothing said of its state"),
        pytest.param({"clinicalStatus": concept("s|active")}, True, True, id="active"),
        pytest.param({"clinicalStatus": concept("s|resolved")}, True, False, id="resolved"),
        pytest.param({"abatementDateTime": "2020"}, True, False, id="abated"),
        pytest.param({"verificationStatus": concept("s|confirmed")}, True, True, id="confirmed"),
        pytest.param({"verificationStatus": concept("s|refuted")}, False, None, id="refuted"),
        pytest.param({"verificationStatus": concept("s|provisional")}, False, None, id="suspected"),
        pytest.param({"verificationStatus": concept("s|differential")}, False, None, id="a differential diagnosis"),
        pytest.param({"verificationStatus": concept("s|unconfirmed")}, False, None, id="unconfirmed"),
        pytest.param({"verificationStatus": concept("s|entered-in-error")}, False, None, id="entered in error"),
        pytest.param({"onsetDateTime": "once"}, True, True, id="an onset that is no date"),
    ],
)  # fmt: skip
def test_which_problems_count(fields, counts, active):
    problem = {"resourceType": "Condition", "id": "c", "code": concept("http://x|1"), "subject": subject("Patient/me")}
    facts = facts_of({**problem, **fields})
    assert [(one.codes, one.active) for one in facts.conditions] == ([(("http://x|1",), active)] if counts else [])
    assert facts.unproven == frozenset()


@pytest.mark.parametrize(
    "code", [None, {"text": "2型糖尿病"}, {"coding": [{"code": "E11"}]}], ids=["none", "text", "no system"]
)
def test_a_problem_in_words_may_be_any_problem(code):
    problem = {"resourceType": "Condition", "id": "c", "subject": subject("Patient/me")}
    facts = facts_of({**problem, **({"code": code} if code else {})})
    assert facts.conditions == ()
    assert facts.unproven == {"labs"}


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        pytest.param({"status": "active"}, True, id="active"),
        pytest.param({"status": "completed"}, True, id="completed"),
        pytest.param({"status": "stopped"}, False, id="stopped"),
        pytest.param({"status": "draft"}, False, id="a draft"),
        pytest.param({"status": "entered-in-error"}, False, id="entered in error"),
        pytest.param({"status": "active", "intent": "proposal"}, False, id="a proposal"),
    ],
)
def test_which_drugs_count(fields, counts):
    drug = {"resourceType": "MedicationRequest", "id": "m", "medicationCodeableConcept": concept("http://x|1")}
    facts = facts_of({**drug, "subject": subject("Patient/me"), **fields})
    assert bool(facts.medications) is counts


@pytest.mark.parametrize(
    "drug",
    [{"medicationReference": {"reference": "Medication/1"}}, {"medicationCodeableConcept": {"text": "metformin"}}, {}],
)
def test_a_drug_without_a_code_may_be_any_drug(drug):
    facts = facts_of(
        {"resourceType": "MedicationRequest", "id": "m", "status": "active", "subject": subject("Patient/me"), **drug}
    )
    assert facts.medications == ()
    assert facts.unproven == {"labs"}


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [
        pytest.param({"performedDateTime": ago(3)}, ago(3), ago(3), id="at one time"),
        pytest.param({"performedPeriod": {"start": ago(5), "end": ago(3)}}, ago(5), ago(3), id="over a period"),
        pytest.param({"performedPeriod": {}}, None, None, id="an empty period"),
        pytest.param({}, None, None, id="undated"),
    ],
)
def test_when_a_procedure_was(fields, start, end):
    procedure = {"resourceType": "Procedure", "id": "p", "status": "completed", "code": concept("http://x|1")}
    (one,) = facts_of({**procedure, "subject": subject("Patient/me"), **fields}).procedures
    assert [moment and moment.isoformat() for moment in (one.start, one.end)] == [start, end]


def test_a_procedure_that_was_not_done_does_not_count():
    procedure = {"resourceType": "Procedure", "id": "p", "status": "not-done", "subject": subject("Patient/me")}
    assert facts_of(procedure).procedures == ()


@pytest.mark.parametrize(
    ("patient", "sex", "born", "deceased"),
    [
        pytest.param({}, "male", "1961-02-14", False, id="as recorded"),
        pytest.param({"gender": "other"}, None, "1961-02-14", False, id="a sex that the model does not know"),
        pytest.param({"birthDate": None}, "male", None, False, id="no date of birth"),
        pytest.param({"birthDate": "1961-02-30"}, "male", None, False, id="one that is no date"),
        pytest.param({"birthDate": "1961-02-14T23:30:00Z"}, "male", None, False, id="one with a time of day"),
        pytest.param({"deceasedBoolean": True}, "male", "1961-02-14", True, id="dead"),
        pytest.param({"deceasedBoolean": False}, "male", "1961-02-14", False, id="said to be alive"),
        pytest.param({"deceasedDateTime": "2026-01-01"}, "male", "1961-02-14", True, id="dead since a day"),
    ],
)
def test_who_the_patient_is(patient, sex, born, deceased):
    facts = facts_of(keys={"patient": {k: v for k, v in person(**patient).items() if v is not None}})
    read = facts.patient
    assert (read.sex, read.born and read.born.start.date().isoformat(), read.deceased) == (sex, born, deceased)


def test_another_patient_is_no_patient():
    facts = facts_of(keys={"patient": person("you", deceasedBoolean=True)})
    assert facts.patient is None
    assert facts.set_aside == {"other_patient": 1}


def study(**fields):
    return {
        "resourceType": "ImagingStudy",
        "id": "i",
        "status": "available",
        "subject": subject("Patient/me"),
        **fields,
    }


def test_an_image_has_its_uid_and_its_time():
    uid = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    (image,) = facts_of(study(identifier=uid, started="2026-05-01", modality=[{"code": "US"}])).images
    assert (image.study_uid, image.modalities, image.started.flag) == ("1.2.3", ("US",), "time_partial")
    (bare,) = facts_of(study()).images
    assert (bare.study_uid, bare.started) == (None, None)


@pytest.mark.parametrize(
    ("fields", "reason"), [({"status": "cancelled"}, "status_not_usable"), ({"started": "x"}, "time_invalid")]
)
def test_an_image_that_is_not_used_says_why(fields, reason):
    facts = facts_of(study(**fields))
    assert facts.images == ()
    assert facts.unusable == {"ImagingStudy/i": reason}


def test_a_code_matches_by_system_and_code_alone():
    display = {"coding": [{"system": "http://loinc.org", "code": "2345-7 ", "display": "Glucose"}], "text": "Glucose"}
    for code in (display, concept("http://LOINC.org|2345-7"), {"coding": [{"code": "2345-7"}]}, {"text": "2345-7"}):
        assert facts_of(result(code=GLUCOSE) | {"code": code}).measurements == {}
    second = concept("http://local|7", "urn:oid:2.16.840.1.113883.6.1|2345-7")
    assert only(facts_of(result() | {"code": second})).value == 100


def test_the_order_of_entries_and_keys_changes_no_measurement():
    chart = [
        result("a", 100, at=ago(3)), result("b", 110, at=ago(2)), result("a", 101, at=ago(3), meta=V2),
        result("c", 6.1, "mmol/L", at=ago(2), code=FASTING), result("d", 27, "kg/m2", code=BMI), result("e", of="you"),
    ]  # fmt: skip
    seen = set()
    for order in itertools.permutations(chart):
        facts = facts_of(*order)
        listed = sorted(repr(one) for found in facts.measurements.values() for one in found)
        seen.add(repr((listed, sorted(facts.set_aside.items()), sorted(facts.unproven))))
    assert len(seen) == 1


def test_a_key_that_held_no_bundle_is_read_all_the_same():
    contents = {"one": decode_key(json.dumps(result()).encode()), "none": decode_key(b"null")}
    assert only(read_facts(contents, patient=ME, index=INDEX)).value == 100


def test_versions_of_a_result_that_nothing_reads_say_nothing():
    facts = facts_of(result(code="http://x|1", value=1), result(code="http://x|1", value=2))
    assert (facts.measurements, facts.set_aside) == ({}, {})


def test_an_index_knows_its_own_systems_and_their_other_names():
    index = CodeIndex(["http://x|1"])
    assert index.match(fhir_shapes.CodeableConcept((fhir_shapes.Coding("http://x", "1"),))) == "http://x|1"
    assert index.match(fhir_shapes.CodeableConcept((fhir_shapes.Coding(None, "1"),))) is None
