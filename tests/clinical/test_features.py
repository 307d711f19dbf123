"""From facts to features: a value or a reason, never both, never a silent zero."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cds_service.clinical.building import age_bounds, build_features
from cds_service.clinical.facts import Facts, PatientFact, measured
from cds_service.clinical.feature_spec import FeatureSet, FeatureSpec
from cds_service.clinical.features import model_inputs
from cds_service.clinical.times import interval_of
from tests.clinical.charts import (
    FASTING,
    FEATURES,
    GLUCOSE,
    HBA1C,
    JLAC_CASUAL,
    MOLAR,
    NOW,
    ago,
    concept,
    features_of,
    glucose_of,
    person,
    quantity,
    result,
)

WINDOW = FEATURES["glucose"].window_days


@pytest.mark.parametrize(
    ("results", "value", "reason"),
    [
        pytest.param([result(value=90)],                                         90,     None,                 id="a recent value is used as it is"),
        pytest.param([result(value=5, unit="mmol/L")],                           90.078, None,                 id="units are converted"),
        pytest.param([result("a", 90, at=ago(9)), result("b", 110, at=ago(1))],  110,    None,                 id="the newest wins"),
        pytest.param([result("b", 110, at=ago(1)), result("a", 90, at=ago(9))],  110,    None,                 id="wherever it stands"),
        pytest.param([],                                                         None,   "no_result",          id="nothing is said to be absent"),
        pytest.param([result(at=ago(WINDOW))],                                   100,    None,                 id="the window's edge is inside"),
        pytest.param([result(at=ago(WINDOW, seconds=1))],                        None,   "stale",              id="a second older is stale"),
        pytest.param([result(at=ago(0))],                                        100,    None,                 id="this very moment is used"),
        pytest.param([result(at=ago(0, seconds=-1))],                            None,   "time_in_future",     id="the future is not"),
        pytest.param([result(at="2026-06-01")],                                  100,    None,                 id="today's date is today"),
        pytest.param([result(at="2026-06-02")],                                  None,   "time_in_future",     id="tomorrow's has begun nowhere yet"),
        pytest.param([result(at="2026-06-03")],                                  None,   "time_in_future",     id="a day that began nowhere is future"),
        pytest.param([result(at="2026-06")],                                     100,    None,                 id="this month"),
        pytest.param([result(at="2024")],                                        None,   "stale_or_unknown",   id="a year that the window's edge cuts is uncertain"),
        pytest.param([result(at="2023")],                                        None,   "stale",              id="a year before it is stale"),
        pytest.param([result(at="0001-01-01")],                                  None,   "stale",              id="the calendar's first day is no fault of ours"),
        pytest.param([result(at="0001-01-01T00:00:00+14:00")],                   None,   "stale",              id="whatever its offset"),
        pytest.param([result(at="9999-12-31T23:59:59-12:00")],                   None,   "time_in_future",     id="nor its last"),
        pytest.param([result(effectiveDateTime=None, effectivePeriod={"start": ago(1), "end": ago(-1)})], None, "time_in_future", id="a period that is not over"),
        pytest.param([result(value=10)],                                         10,     None,                 id="both ends of the plausible are inside"),
        pytest.param([result(value=2000)],                                       2000,   None,                 id="the upper too"),
        pytest.param([result(value=2000.1)],                                     None,   "implausible",        id="the impossible is refused, not clipped"),
        pytest.param([result(value=-5)],                                         None,   "implausible",        id="a negative sugar"),
        pytest.param([result(value=0)],                                          None,   "implausible",        id="nor is nothing a sugar"),
        pytest.param([result(value=1e308, unit="kg/dL")],                        None,   "implausible",        id="beyond all numbers"),
        pytest.param([result(valueQuantity=quantity(90, comparator="<"))],       None,   "comparator",         id="less than something is no value"),
        pytest.param([result(status="preliminary")],                             None,   "status_not_usable",  id="a preliminary result"),
        pytest.param([result(status="entered-in-error", effectiveDateTime=None)], None,  "status_not_usable",  id="an error is an error, dated or not"),
        pytest.param([result(status="amended")],                                 100,    None,                 id="an amended one is final"),
        pytest.param([result(of="you")],                                         None,   "other_patient",      id="another's is not mine"),
        pytest.param([result("a", of="you"), result("b", effectiveDateTime=None)], None, "time_missing",       id="my own reason is said first"),
        pytest.param([result(valueQuantity=None, valueString="high")],           None,   "text_value",         id="words"),
        pytest.param([result(valueQuantity=None, valueInteger=100)],             None,   "unit_missing",       id="an integer has no unit"),
        pytest.param([result(valueQuantity=None, valueCodeableConcept=concept("s|1"))], None, "value_not_number", id="a code is no number"),
    ],
)  # fmt: skip
def test_the_latest_usable_value(results, value, reason):
    assert glucose_of(*results) == (pytest.approx(value), reason)


@pytest.mark.parametrize(
    ("given", "value", "reason", "flag"),
    [
        pytest.param(quantity(100, "mg/dL", system=None), 100, None, "unit_from_text", id="a listed spelling"),
        pytest.param(quantity(100, "ｍｇ/ｄＬ", system=None), 100, None, "unit_from_text", id="in full width"),
        pytest.param(quantity(100, "MG/DL", system=None), None, "unit_not_convertible", None, id="never another case"),
        pytest.param(quantity(100, "mg/dL", system="http://local"), None, "unit_not_convertible", None, id="a code of a strange system"),
        pytest.param(quantity(100, "%"), None, "unit_not_convertible", None, id="another quantity"),
        pytest.param(quantity(100, "10*99.10*99.10*99.10*99.mg/dL"), None, "unit_not_convertible", None, id="an absurd factor"),
        pytest.param({"value": 100}, None, "unit_missing", None, id="a bare number"),
        pytest.param({"value": 100, "system": "http://unitsofmeasure.org", "unit": "mg/dL"}, 100, None, "unit_from_text", id="UCUM named, no code: the text counts"),
        pytest.param(quantity(100) | {"unit": "mmol/L"}, None, "unit_conflicting", None, id="a display that is another unit of this test"),
        pytest.param(quantity(400) | {"unit": "mmol/L"}, 400, None, None, id="a display that is impossible: the code counts"),
        pytest.param(quantity(100) | {"unit": "K/uL"}, 100, None, None, id="a display that is no unit of this test: the code counts"),
    ],
)  # fmt: skip
def test_a_unit_is_read_as_declared_or_refused(given, value, reason, flag):
    feature = features_of(result(valueQuantity=given))["glucose"]
    assert (feature.value, feature.reason) == (value, reason)
    assert feature.flags == ((flag,) if flag else ())


def test_a_date_is_used_once_its_day_has_begun_somewhere():
    ten = NOW.replace(hour=10)
    assert glucose_of(result(at="2026-06-02"), now=ten) == (100, None)
    assert glucose_of(result(at="2026-06-02"), now=ten - timedelta(microseconds=1)) == (None, "time_in_future")


def test_what_was_reported_stays_beside_what_it_became():
    feature = features_of(result("r", 5, "mmol/L", at=ago(30)))["glucose"]
    assert feature.reported == (5, "mmol/L")
    assert (feature.unit, feature.source, feature.code) == ("mg/dL", "Observation/r", GLUCOSE)
    assert feature.taken == feature.start == NOW - timedelta(days=30)


def test_ifcc_becomes_ngsp_by_the_declared_line():
    feature = features_of(result(value=48, unit="mmol/mol", code="http://loinc.org|59261-8"))["hba1c"]
    assert feature.value == pytest.approx(6.542)


@pytest.mark.parametrize(
    ("results", "value", "reason"),
    [
        pytest.param([result("a", 90, at=ago(3)), result("b", 90, at=ago(3))], 90, None, id="two that say the same at one time"),
        pytest.param([result("a", 90, at=ago(3)), result("b", 91, at=ago(3))], None, "conflicting", id="two that differ at one time"),
        pytest.param([result("a", 90, at=ago(3), issued=ago(2)), result("b", 91, at=ago(3), issued=ago(1))], 91, None, id="reports of one sample: the later report"),
        pytest.param([result("a", 90, at=ago(3), issued=ago(2)), result("b", 91, at=ago(3))], None, "conflicting", id="where both say when they were issued"),
        pytest.param([result("a", 90, at="2026-05-20"), result("b", 91, at="2026-05-20T08:00:00Z")], None, "time_ambiguous", id="a day and a time in it"),
        pytest.param([result("a", 90, at="2026-05-20"), result("b", 90, at="2026-05-20T08:00:00Z")], 90, None, id="that say the same"),
        pytest.param([result("a", 90, at="2026-05"), result("b", 91, at=ago(1))], None, "time_ambiguous", id="a month that may be later"),
        pytest.param([result("a", 90, at="2026-05-20"), result("b", 91, at="2026-05-21T00:00:00Z")], 91, None, id="days that touch do not overlap"),
        pytest.param([result("a", 90, at="2024"), result("b", 91, at=ago(1))], 91, None, id="an uncertain year that is surely older"),
        pytest.param([result("a", 90, effectiveDateTime=None, effectivePeriod={"start": ago(9), "end": ago(1)}), result("b", 91, at=ago(5))], None, "time_ambiguous", id="a period around a time"),
        pytest.param([result("a", 90, at=ago(3)), result("b", valueQuantity=quantity(90, comparator="<"), at=ago(3))], None, "conflicting", id="a value and a limit at one time"),
        pytest.param([result("a", 90, at=ago(3)), result("b", 5, "mmol/L", at=ago(3))], None, "conflicting", id="two units, two values"),
        pytest.param([result("a", 90.078, at=ago(3)), result("b", 5, "mmol/L", at=ago(3), code=MOLAR)], 90.078, None, id="two units, one value"),
    ],
)  # fmt: skip
def test_which_of_two_is_the_latest_in_any_order(results, value, reason):
    for order in itertools.permutations(results):
        assert glucose_of(*order) == (pytest.approx(value), reason)


OLD = result("old", 90, at=ago(100))


@pytest.mark.parametrize(
    ("newer", "value", "reason", "said"),
    [
        pytest.param({"status": "preliminary"}, 90, None, "status_not_usable", id="not final yet: the older stands, and the newer is said"),
        pytest.param({"valueQuantity": None}, 90, None, "no_value", id="without a value"),
        pytest.param({"effectiveDateTime": None}, 90, None, "time_missing", id="undated, so perhaps newer"),
        pytest.param({"effectiveDateTime": "then"}, 90, None, "time_invalid", id="badly dated"),
        pytest.param({"effectiveDateTime": ago(-1)}, 90, None, "time_in_future", id="dated in the future"),
        pytest.param({"subject": None}, 90, None, "subject_unresolved", id="of nobody"),
        pytest.param({"subject": {"reference": "Patient/you"}}, 90, None, None, id="of another: nothing is said of it"),
        pytest.param({"subject": {"reference": "Patient/you"}, "status": "preliminary"}, 90, None, None, id="whatever its status"),
        pytest.param({"valueQuantity": quantity(50, comparator="<")}, None, "comparator", None, id="a limit hides the older (ADR 2)"),
        pytest.param({"valueQuantity": None, "valueString": "50"}, None, "text_value", None, id="a text too"),
        pytest.param({"valueQuantity": quantity(9e9)}, None, "implausible", None, id="an impossible number too"),
        pytest.param({"valueQuantity": quantity(50, "%")}, None, "unit_not_convertible", None, id="a strange unit too"),
        pytest.param({"valueQuantity": quantity(50, "mg/dL", system=None) | {"unit": "mgdl"}}, None, "unit_not_convertible", None, id="or text that is no unit"),
    ],
)  # fmt: skip
def test_a_newer_result_that_is_not_used(newer, value, reason, said):
    for order in ([OLD, result("new", at=ago(1)) | newer], [result("new", at=ago(1)) | newer, OLD]):
        present = [{key: field for key, field in one.items() if field is not None} for one in order]
        feature = features_of(*present)["glucose"]
        assert (feature.value, feature.reason, feature.newer_unusable) == (value, reason, said)


def test_versions_that_conflict_hide_an_older_result():
    assert glucose_of(OLD, result("x", 1), result("x", 2)) == (None, "conflicting")


def test_of_several_unusable_newer_ones_the_newest_reason_is_said():
    one, two = result("a", status="preliminary", at=ago(5)), result("b", valueQuantity=None, at=ago(2))
    two = {key: field for key, field in two.items() if field is not None}
    for order in itertools.permutations([OLD, one, two]):
        assert features_of(*order)["glucose"].newer_unusable == "no_value"


def test_a_tie_has_one_source_whatever_the_order():
    same = [result("a", 90), result("b", 90), result("c", 90, code=FASTING)]
    assert len({features_of(*order)["glucose"].source for order in itertools.permutations(same)}) == 1


@pytest.mark.parametrize(
    ("results", "value", "reason"),
    [
        pytest.param([result(code=FASTING)], 1.0, None, id="a code that says fasting"),
        pytest.param([result(code=JLAC_CASUAL)], 0.0, None, id="a code that says casual"),
        pytest.param([result()], None, "not_told", id="a code that says nothing"),
        pytest.param([result("a", code=FASTING, at=ago(9)), result("b", at=ago(1))], None, "not_told", id="the state is that of the value used"),
        pytest.param([], None, "no_result", id="of no value no state"),
        pytest.param([result(value=9e9, code=FASTING)], None, "implausible", id="nor of a refused one"),
        pytest.param([result("a", code=FASTING), result("b", code=JLAC_CASUAL)], None, "not_told", id="one sample that is told to be both"),
        pytest.param([result("a", code=FASTING), result("b")], 1.0, None, id="one sample under two codes, one of which tells"),
    ],
)  # fmt: skip
def test_the_fasting_state_is_never_guessed(results, value, reason):
    for order in itertools.permutations(results):
        feature = features_of(*order)["fasting"]
        assert (feature.value, feature.reason) == (value, reason)


@pytest.mark.parametrize(
    ("born", "now", "zone", "bounds"),
    [
        pytest.param("1961-06-01", NOW, None, (65, 65), id="on the birthday"),
        pytest.param("1961-06-02", NOW, None, (64, 64), id="the day before"),
        pytest.param("1961-06-02", datetime(2026, 6, 1, 16, tzinfo=UTC), ZoneInfo("Asia/Tokyo"), (65, 65), id="a birthday begins where the patient is"),
        pytest.param("1960-02-29", datetime(2026, 2, 28, tzinfo=UTC), None, (65, 65), id="leap day, not yet"),
        pytest.param("1960-02-29", datetime(2026, 3, 1, tzinfo=UTC), None, (66, 66), id="leap day, now"),
        pytest.param("1961", NOW, None, (64, 65), id="a year alone leaves two ages"),
        pytest.param("1961-06", NOW, None, (64, 65), id="a month too, in that month"),
        pytest.param("1961-05", NOW, None, (65, 65), id="but not in another"),
        pytest.param("2026-06-02", NOW, None, (-1, -1), id="not born yet"),
    ],
)  # fmt: skip
def test_ages(born, now, zone, bounds):
    facts = Facts(patient=PatientFact(interval_of(born), "male"))
    assert age_bounds(facts, now, zone) == bounds


@pytest.mark.parametrize(
    ("patient", "age", "reason"),
    [
        pytest.param(person(), 65, None, id="an age"),
        pytest.param(person(birthDate="1961"), None, "time_ambiguous", id="one of two ages is none"),
        pytest.param(person(birthDate="2027-01-01"), None, "implausible", id="before birth"),
        pytest.param(person(birthDate="1850-01-01"), None, "implausible", id="older than anybody"),
        pytest.param(person(birthDate="0001-01-01"), None, "implausible", id="a placeholder"),
        pytest.param(person(birthDate="2010-01-01"), None, "implausible", id="a child, for a model of adults"),
        pytest.param(person(deceasedBoolean=True), None, "patient_deceased", id="the dead have no age today"),
        pytest.param(person(birthDate="?"), None, "no_value", id="no date"),
        pytest.param(person("you"), None, "no_value", id="somebody else"),
        pytest.param(None, None, "no_value", id="nobody"),
    ],
)
def test_the_age_feature(patient, age, reason):
    feature = features_of(keys={"patient": patient} if patient else {"labs": {"resourceType": "Bundle"}})["age_years"]
    assert (feature.value, feature.reason) == (age, reason)


@pytest.mark.parametrize(
    ("gender", "value", "reason"),
    [
        ("male", 1.0, None),
        ("female", 0.0, None),
        ("other", None, "no_value"),
        ("unknown", None, "no_value"),
        (None, None, "no_value"),
    ],
)
def test_sex_is_what_the_chart_says(gender, value, reason):
    patient = {key: field for key, field in person(gender=gender).items() if field is not None}
    feature = features_of(keys={"patient": patient})["sex"]
    assert (feature.value, feature.reason) == (value, reason)


CODED = FeatureSpec(
    "hbs",
    codes=frozenset(("l|5196-1",)),
    values={"s|neg": 0.0, "s|pos": 1.0},
    unit="1",
    plausible=(0, 1),
    window_days=90,
)
SCORE = FeatureSpec("score", codes=frozenset(("l|1",)), unit="1", clip=(0, 10))
ALIAS = FeatureSpec(
    "alt", codes=frozenset(("l|2",)), unit="U/L", aliases={"[iU]/L": "U/L", "http://local|IE": "U/L"}, window_days=None
)


def built(spec, *found, now=NOW):
    return build_features(FeatureSet((spec,)), Facts(measurements={found[0].code: list(found)} if found else {}), now)[
        spec.name
    ]


@pytest.mark.parametrize(
    ("coded", "value", "reason"),
    [
        pytest.param(("s|pos",), 1.0, None, id="a listed code"),
        pytest.param(("x|y", "s|neg"), 0.0, None, id="among others"),
        pytest.param(("s|maybe",), None, "value_not_listed", id="another code"),
        pytest.param((), None, "value_not_listed", id="none"),
    ],
)
def test_a_coded_result_is_its_listed_number(coded, value, reason):
    one = measured("l|5196-1", 1.0, "1", NOW)
    feature = built(CODED, type(one)(code=one.code, source="Observation/x", coded=coded, start=NOW, end=NOW))
    assert (feature.value, feature.reason) == (value, reason)


@pytest.mark.parametrize(
    ("unit", "system", "value", "reason", "flags"),
    [
        pytest.param(
            "[iU]/L",
            "http://unitsofmeasure.org",
            30,
            None,
            ("unit_alias",),
            id="a UCUM code that is declared to mean another",
        ),
        pytest.param("IE", "http://local", 30, None, ("unit_alias",), id="a code of another system"),
        pytest.param("IE", "http://other", None, "unit_not_convertible", (), id="of a system that is not declared"),
        pytest.param("U/mL", "http://unitsofmeasure.org", 30_000, None, (), id="UCUM's own meaning comes first"),
    ],
)
def test_aliases(unit, system, value, reason, flags):
    one = type(measured("l|2", 1, "1", NOW))(
        code="l|2", source="Observation/x", value=30, unit=unit, unit_system=system, start=NOW, end=NOW
    )
    feature = built(ALIAS, one)
    assert (feature.value, feature.reason, feature.flags) == (value, reason, flags)


def test_a_plain_number_needs_no_unit_where_none_is_declared():
    one = type(measured("l|1", 1, "1", NOW))(code="l|1", source="Observation/x", value=7.0, start=NOW, end=NOW)
    feature = built(SCORE, one)
    assert (feature.value, feature.reported) == (7.0, None)


def test_without_a_window_nothing_is_too_old():
    assert built(ALIAS, measured("l|2", 30, "U/L", datetime(1970, 1, 1, tzinfo=UTC))).value == 30


@pytest.mark.parametrize(("value", "laid"), [(95, 80), (18, 18), (50, 50), (125, 80)])
def test_values_are_clipped_for_the_model_and_nowhere_else(value, laid):
    spec = FEATURES["age_years"]
    facts = Facts(patient=PatientFact(interval_of(f"{2026 - value}-01-01"), "female"))
    features = build_features(FEATURES, facts, NOW)
    values, present = model_inputs(FEATURES, features)
    place = FEATURES.inputs.index(spec)
    assert features["age_years"].value == value
    assert (values[place], present[place]) == (laid, 1.0)


def test_a_missing_input_is_laid_out_as_missing_not_as_zero():
    features = features_of()
    values, present = model_inputs(FEATURES, features)
    assert values == [0.0] * len(FEATURES.inputs)
    assert present == [0.0] * len(FEATURES.inputs)
    assert all(feature.value is None and feature.reason for feature in features.values())


def test_a_key_without_an_answer_is_the_reason_where_nothing_was_found():
    features = build_features(FEATURES, Facts(unanswered={"glucose": "key_failed"}), NOW)
    assert (features["glucose"].reason, features["bmi"].reason) == ("key_failed", "no_result")


def test_a_condition_feature_is_never_an_input():
    assert "hba1c" not in {spec.name for spec in FEATURES.inputs}
    assert features_of(result(value=6.1, unit="%", code=HBA1C))["hba1c"].value == 6.1


def test_features_stand_in_the_order_of_the_declaration():
    assert list(features_of()) == [spec.name for spec in FEATURES.features]
