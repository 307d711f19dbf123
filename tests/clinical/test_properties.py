"""What holds for every chart, tried by Hypothesis: no crash, no wrong unit, no order, no other patient, no future."""

import json
import warnings
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.prefetch import proves_absence, read_prefetch
from cds_service.clinical.building import age_bounds, build_features
from cds_service.clinical.features import model_inputs
from cds_service.clinical.key_content import decode_key
from cds_service.clinical.reading import read_facts
from cds_service.clinical.times import TimeFault, interval_of
from cds_service.clinical.units import UnitError, conversion
from cds_service.errors import CdsServiceError
from tests.clinical.charts import (
    BMI,
    DBP,
    FASTING,
    FEATURES,
    GLUCOSE,
    HBA1C,
    INDEX,
    JLAC_CASUAL,
    ME,
    MOLAR,
    NOW,
    ROOT,
    SBP,
    ago,
    bundle,
    concept,
    facts_of,
    person,
    quantity,
    result,
)

QUICK = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
THOROUGH = settings(QUICK, max_examples=400)

(SERVICE,) = load_services(ROOT / "hooks").services
NAMES = (
    "resourceType", "id", "status", "code", "coding", "system", "subject", "reference", "entry", "resource", "total", "link",
    "relation", "effectiveDateTime", "effectivePeriod", "start", "end", "valueQuantity", "value", "unit", "valueInteger",
    "component", "meta", "versionId", "lastUpdated", "issued", "birthDate", "gender", "deceasedBoolean", "fullUrl",
    "class", "clinicalStatus", "verificationStatus", "medicationCodeableConcept", "performedPeriod", "issue", "severity",
    "response", "identifier", "modality", "started", "dataAbsentReason", "comparator",
)  # fmt: skip
WORDS = (
    "Patient", "Observation", "Condition", "MedicationRequest", "Procedure", "Encounter", "ImagingStudy", "Bundle",
    "OperationOutcome", "Medication", "next", "final", "http://loinc.org", "2345-7", "4548-4", "Patient/me", "me", "mg/dL",
    "http://unitsofmeasure.org", "2026-05-01", "2026-05-01T10:00:00Z", "0001-01-01", "9999-12-31T23:59:59Z", "", "\u202e",
    "10*99.10*99.10*99.10*99.g", "error", "forbidden", "male", "/_history/", "urn:uuid:x",
)  # fmt: skip

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=12)
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)


def as_fhir(kind, draw):
    """An object that calls itself a resource of *kind*, whatever it holds."""
    return {**draw, "resourceType": kind}


fhirish = st.builds(as_fhir, st.sampled_from(WORDS[:10]), st.dictionaries(st.sampled_from(NAMES), anything, max_size=8))
bundles = st.builds(
    lambda entries, more: {**more, "resourceType": "Bundle", "entry": [{"resource": one} for one in entries]},
    st.lists(fhirish, max_size=4),
    st.fixed_dictionaries({}, optional={"total": anything, "link": anything}),
)


@THOROUGH
@given(
    st.dictionaries(st.sampled_from([key.name for key in SERVICE.prefetch]), anything | fhirish | bundles, max_size=5)
)
def test_no_json_value_under_any_key_raises_anything_but_our_own_errors(keys):
    import msgspec

    sent = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in keys.items()}
    try:
        prefetch = read_prefetch(SERVICE, sent, patient=ME)
    except CdsServiceError:
        return
    facts = read_facts(prefetch.contents, patient=ME, index=INDEX)
    features = build_features(FEATURES, facts, NOW)
    for key in SERVICE.prefetch:
        assert proves_absence(key, prefetch, facts, back_to=NOW) in (True, False)
    assert age_bounds(facts, NOW) is None or facts.patient is not None
    for feature in features.values():
        assert (feature.value is None) != (feature.reason is None)
    assert len(model_inputs(FEATURES, features)[0]) == len(FEATURES.inputs)


@QUICK
@given(
    st.text(max_size=30) | st.from_regex(r"[0-9]{1,5}(-[0-9]{1,3}){0,2}(T[0-9:.]{0,12})?[Z+:0-9-]{0,7}", fullmatch=True)
)
def test_any_text_is_a_time_with_its_ends_in_order_or_refused(text):
    try:
        interval = interval_of(text)
    except TimeFault:
        return
    assert interval.start <= interval.end
    assert interval.start.tzinfo is not None


PREFIXES = ("", "k", "d", "c", "m", "u", "n", "p", "f", "h", "da", "M", "G")
ATOMS = (
    "g",
    "L",
    "l",
    "mol",
    "m",
    "s",
    "U",
    "kat",
    "[iU]",
    "eq",
    "osm",
    "min",
    "h",
    "d",
    "Pa",
    "bar",
    "m[Hg]",
    "Hz",
    "%",
    "Cel",
    "K",
)
simple = st.builds(
    lambda p, a, e: p + a + e,
    st.sampled_from(PREFIXES),
    st.sampled_from(ATOMS),
    st.sampled_from(["", "", "", "2", "-1", "+3"]),
)
units = st.builds(
    lambda first, rest, note: first + "".join(sign + one for sign, one in rest) + note,
    simple | st.sampled_from(["10*3", "10*9", "10*-3", "1", ""]),
    st.lists(st.tuples(st.sampled_from("./"), simple), max_size=2),
    st.sampled_from(["", "", "{creat}"]),
)


@cache
def registry():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ucumvert import PintUcumRegistry

        return PintUcumRegistry()


@cache
def theirs(code):
    """What ucumvert and pint make of a code; None where they can't read it."""
    from lark.exceptions import LarkError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return registry().from_ucum(code.replace("{creat}", "") or "1")
        except (LarkError, ValueError, AttributeError):
            return None


@settings(QUICK, max_examples=300)
@given(
    units,
    st.sampled_from(["mg/dL", "mmol/L", "U/L", "10*3/uL", "mm[Hg]", "kg/m2", "cm", "m[iU]/mL", "%", "g/L", "L/min"]),
)
def test_a_value_never_comes_out_in_a_wrong_unit(code, wanted):
    try:
        ours = conversion(code, wanted)
    except UnitError:
        return
    source, target = theirs(code), theirs(wanted)
    assert source is not None, f"we read {code}, ucumvert does not"
    assert source.dimensionality == target.dimensionality, (code, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factor = float((source / target).to_base_units().magnitude)
    assert ours.slope == pytest.approx(factor, rel=1e-5), (code, wanted)


TIMES = st.one_of(
    st.integers(0, 900).map(ago),
    st.integers(0, 40).map(ago),
    st.sampled_from(["2026-05-20", "2026-05", "2025", "2026-05-20T08:00:00+09:00", "then", None]),
)
UNITS = ("mg/dL", "mmol/L", "%", "mm[Hg]", "kg/m2", "mg/dl", "10*3/uL")


@st.composite
def observation(draw, of=ME):
    """A result that is nearly well-formed: ids are shared, so versions meet."""
    value = draw(st.sampled_from([5, 90, 100, 126, 5.6, 27, 9e9, -1]))
    fields = {
        "id": draw(st.sampled_from("abcdefgh")),
        "code": draw(st.sampled_from([GLUCOSE, FASTING, MOLAR, JLAC_CASUAL, HBA1C, BMI, SBP, DBP])),
        "status": draw(st.sampled_from(["final", "final", "final", "amended", "preliminary", "entered-in-error"])),
        "meta": draw(st.sampled_from([None, None, {"versionId": "1"}, {"versionId": "2"}])),
        "issued": draw(st.sampled_from([None, None, ago(1), ago(0.5)])),
        "effectiveDateTime": draw(TIMES),
        "valueQuantity": draw(
            st.sampled_from([None, quantity(value), quantity(value, comparator="<")])
            | st.sampled_from(UNITS).map(lambda unit: quantity(value, unit))
            | st.sampled_from(UNITS).map(lambda unit: quantity(value, unit, system=None))
        ),
        "subject": {"reference": f"Patient/{of}"},
    }
    code, id_ = fields.pop("code"), fields.pop("id")
    return result(id_, code=code, of=of, **fields)


charts = st.lists(observation(), max_size=7)


def said(facts, now=NOW):
    """Everything that the features say, and what the chart's keys prove."""
    return build_features(FEATURES, facts, now), facts.set_aside, facts.unproven


@THOROUGH
@given(charts, st.randoms(use_true_random=False))
def test_the_order_of_entries_changes_nothing(chart, chance):
    shuffled = chance.sample(chart, len(chart))
    assert said(facts_of(*chart)) == said(facts_of(*shuffled))


@QUICK
@given(charts, charts, st.booleans())
def test_the_order_of_keys_changes_nothing(labs, hba1c, patient_first):
    keys = {"labs": bundle(*labs), "hba1c": bundle(*hba1c), "patient": person()}
    turned = dict(reversed(keys.items()))
    one, other = facts_of(keys=keys), facts_of(keys=turned)
    assert said(one) == said(other)
    assert one.oldest == other.oldest


@THOROUGH
@given(charts, st.lists(observation(of="you"), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_another_patients_results_change_nothing_but_what_was_set_aside(mine, theirs_, chance):
    others = [{**one, "id": f"other-{one['id']}"} for one in theirs_]
    mixed = chance.sample(mine + others, len(mine) + len(others))
    alone, beside = facts_of(*mine), facts_of(*mixed)
    before, after = build_features(FEATURES, alone, NOW), build_features(FEATURES, beside, NOW)
    assert {name: after[name] for name in after if after[name].reason != "other_patient"} == {
        name: before[name] for name in after if after[name].reason != "other_patient"
    }
    assert all(
        before[name].reason in ("no_result", "other_patient") for name in after if after[name].reason == "other_patient"
    )
    assert (alone.unproven, alone.oldest) == (beside.unproven, beside.oldest)
    assert set(beside.set_aside) - set(alone.set_aside) <= {"other_patient"}


def shifted(node, days):
    """The same chart, every date and time in it moved by whole days."""
    if isinstance(node, dict):
        return {key: shifted(value, days) for key, value in node.items()}
    if isinstance(node, list):
        return [shifted(value, days) for value in node]
    if isinstance(node, str) and node[:2] == "20" and len(node) >= 10:
        from datetime import datetime

        whole = datetime.fromisoformat(node) + timedelta(days=days)
        return whole.isoformat() if "T" in node else whole.date().isoformat()
    return node


def same(features):
    """What does not move with the calendar."""
    return [(one.value, one.reason, one.source, one.flags, one.newer_unusable) for one in features.values()]


@QUICK
@given(charts, st.integers(-3000, 3000))
def test_moving_every_date_and_now_by_the_same_days_changes_nothing(chart, days):
    whole = [one for one in chart if len(one.get("effectiveDateTime", "")) not in (4, 7)]
    before = build_features(FEATURES, facts_of(*whole), NOW)
    after = build_features(FEATURES, facts_of(*shifted(whole, days)), NOW + timedelta(days=days))
    assert same(before) == same(after)


@QUICK
@given(charts, st.floats(0.001, 3000), st.sampled_from([90, 126, 250]))
def test_a_result_from_the_future_is_never_used(chart, days, value):
    future = result("future", value, at=ago(-days), code=GLUCOSE)
    before = build_features(FEATURES, facts_of(*chart), NOW)["glucose"]
    after = build_features(FEATURES, facts_of(*chart, future), NOW)["glucose"]
    assert after.value == before.value
    assert after.source != "Observation/future"


@QUICK
@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_content_or_a_failure(raw):
    content = decode_key(raw)
    assert content.failure is None or content.resources == ()


def test_a_panel_said_twice_in_one_observation_is_not_read_by_its_order():
    parts = [{"code": concept(SBP), "valueQuantity": quantity(value, "mm[Hg]")} for value in (140, 150)]
    for order in (parts, parts[::-1]):
        panel = result("bp", code="http://x|panel", component=order)
        assert build_features(FEATURES, facts_of(panel), NOW)["sbp"].reason == "conflicting"
