"""Facts and a declaration become features: THE definition, for training and for serving.

The moment is an argument, so that an answer can be replayed. A value or a reason, never both, never a silent zero.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

from cds_service.clinical.facts import Facts, Measurement
from cds_service.clinical.feature_spec import USABLE_STATUSES, FeatureSet, FeatureSpec
from cds_service.clinical.times import whole_years
from cds_service.clinical.units import UCUM, UnitError, bare, conversion, same_unit, text_spelling

__all__ = ["Feature", "age_bounds", "build_features", "model_inputs"]

_ANY_ZONE = timedelta(hours=14)
"""A day begins up to 14 hours before it begins in UTC."""

_LEAVES_OLDER = frozenset(
    (
        "subject_unresolved", "invalid_resource", "time_missing", "time_invalid", "time_ambiguous",
        "no_value", "status_not_usable", "time_in_future",
    )
)  # fmt: skip
"""These leave an older result standing (and are said beside it); a newer result whose value can't be read does not."""
_SAYS_SOMETHING = frozenset(("text_value", "value_not_number", "conflicting"))
"""Results that were reported and can't be read: an older one is no longer the latest (ADR 2)."""


class Feature(Struct, frozen=True, gc=False):
    """A value in the declared unit, or the reason that there is none."""

    name: str
    value: float | None
    reason: str | None = None
    unit: str = "1"
    source: str | None = None
    code: str | None = None
    start: datetime | None = None
    taken: datetime | None = None
    """The end of the clinically relevant time."""
    flags: tuple[str, ...] = ()
    """``unit_from_text``, ``unit_alias``, ``time_partial``, ``time_local``."""
    newer_unusable: str | None = None
    """Why a newer result than this one was not used."""
    reported: tuple[float, str] | None = None
    """The value and unit as they came, where they differ from the declared unit."""


def build_features(
    feature_set: FeatureSet, facts: Facts, now: datetime, *, zone: tzinfo | None = None
) -> dict[str, Feature]:
    """Build every declared feature of one patient.

    Args:
        feature_set: What is declared, inputs and conditions.
        facts: The chart, in any order.
        now: The moment of the hook call, with its time zone; later results are not used.
        zone: The tenant's zone, in which a birthday begins; UTC when undeclared.

    Returns:
        Name → feature, in the order of the declaration.
    """
    built: dict[str, Feature] = {}
    for spec in feature_set.features:
        if spec.origin == "observation":
            built[spec.name] = _latest(spec, facts, now)
        elif spec.origin == "patient.age":
            built[spec.name] = _age(spec, facts, now, zone)
        elif spec.origin == "patient.sex":
            built[spec.name] = _sex(spec, facts)
    for spec in feature_set.features:
        if spec.origin == "fasting_state" and spec.fasting_of is not None:
            built[spec.name] = _fasting(spec, built[spec.fasting_of], facts)
    return {spec.name: built[spec.name] for spec in feature_set.features}


def model_inputs(feature_set: FeatureSet, features: Mapping[str, Feature]) -> tuple[list[float], list[float]]:
    """Lay the inputs out as the graph wants them: (values, present); clipped as declared, a missing one 0 and 0."""
    values: list[float] = []
    present: list[float] = []
    for spec in feature_set.inputs:
        value = features[spec.name].value
        if value is None:
            values.append(0.0)
            present.append(0.0)
            continue
        if spec.clip is not None:
            value = min(max(value, spec.clip[0]), spec.clip[1])
        values.append(value)
        present.append(1.0)
    return values, present


def age_bounds(facts: Facts, now: datetime, zone: tzinfo | None = None) -> tuple[int, int] | None:
    """Completed years at *now*, youngest and oldest possible where only the year or month of birth is known.

    None without a usable date of birth and for the dead, whose age is never computed to today.
    """
    patient = facts.patient
    if patient is None or patient.born is None or patient.deceased:
        return None
    today = now.astimezone(zone or UTC).date()
    return whole_years(patient.born.end.date(), today), whole_years(patient.born.start.date(), today)


def _age(spec: FeatureSpec, facts: Facts, now: datetime, zone: tzinfo | None) -> Feature:
    bounds = age_bounds(facts, now, zone)
    if bounds is None:
        deceased = facts.patient is not None and facts.patient.deceased
        return Feature(spec.name, None, "patient_deceased" if deceased else "no_value", spec.unit)
    youngest, oldest = bounds
    if youngest != oldest:
        return Feature(spec.name, None, "time_ambiguous", spec.unit)
    if oldest < 0 or (spec.plausible is not None and not spec.plausible[0] <= oldest <= spec.plausible[1]):
        return Feature(spec.name, None, "implausible", spec.unit)
    return Feature(spec.name, float(oldest), None, spec.unit, "Patient")


def _sex(spec: FeatureSpec, facts: Facts) -> Feature:
    if facts.patient is None or facts.patient.sex is None:
        return Feature(spec.name, None, "no_value", spec.unit)
    return Feature(spec.name, 1.0 if facts.patient.sex == "male" else 0.0, None, spec.unit, "Patient")


def _fasting(spec: FeatureSpec, of: Feature, facts: Facts) -> Feature:
    """From the codes of the chosen sample alone: 1 fasting, 0 casual, else unknown; never guessed from a time."""
    if of.value is None or of.code is None:
        return Feature(spec.name, None, of.reason or "no_result", spec.unit)
    fasting = _is_told(spec.fasting_codes, of, facts)
    if fasting == _is_told(spec.casual_codes, of, facts):
        return Feature(spec.name, None, "not_told", spec.unit)
    return Feature(spec.name, 1.0 if fasting else 0.0, None, spec.unit, of.source, of.code, of.start, of.taken)


def _is_told(codes: frozenset[str], of: Feature, facts: Facts) -> bool:
    """Whether one of these codes names the sample: it may have been reported under several."""
    return of.code in codes or any(
        one.start == of.start and one.end == of.taken and one.reason is None and one.status in USABLE_STATUSES
        for code in codes
        for one in facts.measurements.get(code, ())
    )


def _latest(spec: FeatureSpec, facts: Facts, now: datetime) -> Feature:
    measurements = facts.measurements
    found = [one for code in spec.codes if code in measurements for one in measurements[code]]
    if not found:
        return Feature(spec.name, None, facts.unanswered.get(spec.name, "no_result"), spec.unit)
    if spec.name in facts.unordered:
        return Feature(spec.name, None, "key_incomplete", spec.unit)
    opens = now - timedelta(days=spec.window_days) if spec.window_days is not None else None
    usable: list[Measurement] = []
    perhaps: list[Measurement] = []
    refused: list[tuple[Measurement, str]] = []
    for one in found:
        reason = _why_not(one, spec, now, opens)
        if reason is None:
            usable.append(one)
        else:
            refused.append((one, reason))
            if reason == "stale_or_unknown":
                perhaps.append(one)
    if not usable:
        return Feature(spec.name, None, _reason_of_newest(refused), spec.unit)
    newest = max(usable, key=_by_time)
    rivals = [one for one in usable + perhaps if one is not newest and _end(one) >= _start(newest)]
    feature = _feature(spec, newest)
    if rivals:
        reason = _why_not_ordered(spec, newest, feature, rivals)
        if reason is not None:
            return Feature(spec.name, None, reason, spec.unit)
    newer = max(
        ((_end(one), why) for one, why in refused if why in _LEAVES_OLDER and _is_newer(one, newest)),
        default=(_LONG_AGO, None),
    )[1]
    if newer is None:
        return feature
    return Feature(
        feature.name, feature.value, feature.reason, feature.unit, feature.source, feature.code, feature.start,
        feature.taken, feature.flags, newer, feature.reported,
    )  # fmt: skip


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _by_time(one: Measurement) -> tuple[datetime, datetime, str, str]:
    """Newest last; equal times in an order that does not depend on how the chart was sent."""
    return _end(one), one.issued or _LONG_AGO, one.code, one.source


def _start(one: Measurement) -> datetime:
    return one.start if one.start is not None else _LONG_AGO


def _end(one: Measurement) -> datetime:
    return one.end if one.end is not None else _LONG_AGO


def _is_newer(one: Measurement, than: Measurement) -> bool:
    """A result without a known time might be newer, so it is said."""
    return one.end is None or _end(one) > _end(than)


def _why_not(one: Measurement, spec: FeatureSpec, now: datetime, opens: datetime | None) -> str | None:
    """Why a result can't be the feature, as far as status and time tell; None: it can."""
    if one.status not in spec.statuses:
        return "status_not_usable"
    if one.reason is not None and one.reason not in _SAYS_SOMETHING:
        return one.reason
    start, end = _start(one), _end(one)
    partial = one.flag == "time_partial"
    if start > (now + _ANY_ZONE if partial else now):  # now can't overflow, a chart's year 1 can
        return "time_in_future"
    if opens is not None and start < opens:
        return "stale" if end < opens else "stale_or_unknown"
    if end > now and not partial:
        return "time_in_future"
    return None


def _reason_of_newest(refused: Sequence[tuple[Measurement, str]]) -> str:
    """Why there is no value: of the patient's own results the newest; another patient's tell nothing of this one."""
    return max((why != "other_patient", _end(one), why) for one, why in refused)[2]


def _why_not_ordered(
    spec: FeatureSpec, newest: Measurement, feature: Feature, rivals: Sequence[Measurement]
) -> str | None:
    """Two results that time can't order and that differ: which is the latest is not known (case B-052)."""
    differing = []
    for rival in rivals:
        other = _feature(spec, rival)
        if (other.value, other.reason) != (feature.value, feature.reason):
            differing.append(rival)
    if not differing:
        return None
    same_instant = all(rival.start == rival.end == newest.start == newest.end for rival in differing)
    if not same_instant:
        return "time_ambiguous"
    # One sampling time, several reports: they are versions of one result, which issued alone orders.
    if newest.issued is not None and all(r.issued is not None and r.issued < newest.issued for r in differing):
        return None
    return "conflicting"


def _feature(spec: FeatureSpec, one: Measurement) -> Feature:
    """Give one result in the declared unit, or say why its value can't be used."""
    flags = (one.flag,) if one.flag is not None else ()
    if one.reason is not None:
        return Feature(spec.name, None, one.reason, spec.unit)
    if spec.values:
        told = {spec.values[token] for token in one.coded if token in spec.values}
        if len(told) != 1:
            return Feature(spec.name, None, "conflicting" if told else "value_not_listed", spec.unit)
        return Feature(spec.name, told.pop(), None, spec.unit, one.source, one.code, one.start, one.end, flags)
    if one.value is None:
        return Feature(spec.name, None, "value_not_number" if one.coded else "no_value", spec.unit)
    if one.comparator is not None:
        return Feature(spec.name, None, "comparator", spec.unit)
    slope_intercept, flag, reason = _unit(spec, one)
    if slope_intercept is None:
        return Feature(spec.name, None, reason, spec.unit)
    slope, intercept = slope_intercept
    value = one.value * slope + intercept if (slope, intercept) != (1.0, 0.0) else one.value
    if not math.isfinite(value) or (spec.plausible is not None and not spec.plausible[0] <= value <= spec.plausible[1]):
        return Feature(spec.name, None, "implausible", spec.unit)
    if one.unit_text is not None and _text_says_otherwise(spec, one.value, one.unit_text, slope_intercept):
        return Feature(spec.name, None, "unit_conflicting", spec.unit)
    value += 0.0  # -0.0 is 0
    reported = None if one.unit == spec.unit or one.unit is None else (one.value, one.unit)
    if flag is not None:
        flags = (*flags, flag)
    return Feature(spec.name, value, None, spec.unit, one.source, one.code, one.start, one.end, flags, None, reported)


def _unit(spec: FeatureSpec, one: Measurement) -> tuple[tuple[float, float] | None, str | None, str | None]:
    """((slope, intercept), flag, reason): UCUM's own meaning first, then what this feature declares (case B-037)."""
    unit = one.unit
    if unit is None:
        return ((1.0, 0.0), None, None) if spec.unit == "1" else (None, None, "unit_missing")
    if one.unit_system == UCUM:
        direct = _convert(spec, unit)
        if direct is not None:
            return direct, None, None
        return _declared(spec, _alias(spec, unit), "unit_alias")
    if one.unit_system is not None:
        return _declared(spec, spec.aliases.get(f"{one.unit_system}|{unit}"), "unit_alias")
    return _declared(spec, text_spelling(unit, spec.spellings), "unit_from_text")


def _declared(
    spec: FeatureSpec, unit: str | None, flag: str
) -> tuple[tuple[float, float] | None, str | None, str | None]:
    converted = _convert(spec, unit) if unit is not None else None
    return (converted, flag, None) if converted is not None else (None, None, "unit_not_convertible")


def _convert(spec: FeatureSpec, unit: str) -> tuple[float, float] | None:
    if unit == spec.unit:
        return 1.0, 0.0
    if "{" in unit:
        unit = bare(unit)
    linear = spec.linear.get(unit)
    if linear is not None:
        return linear
    try:
        found = conversion(unit, spec.unit, molar_mass=spec.molar_mass_g_per_mol)
    except UnitError:
        return None
    return found.slope, found.intercept


def _alias(spec: FeatureSpec, unit: str) -> str | None:
    """What the feature declares this unit to mean, under any of UCUM's own spellings of it (``[iU]``, ``[IU]``)."""
    alias = spec.aliases.get(unit)
    if alias is None and spec.aliases:
        alias = next((means for known, means in spec.aliases.items() if same_unit(known, unit)), None)
    return alias


def _text_says_otherwise(spec: FeatureSpec, value: float, text: str, coded: tuple[float, float]) -> bool:
    """Whether the unit's text reads as another unit than its code, in which the value would be possible too.

    Then one of the two is wrong, and nothing tells which. A text that is no unit of this feature says nothing.
    """
    unit = text_spelling(text, spec.spellings) or text
    told = _convert(spec, unit)
    if told is None or math.isclose(told[0], coded[0], rel_tol=1e-9):
        return False
    other = value * told[0] + told[1]
    return spec.plausible is None or spec.plausible[0] <= other <= spec.plausible[1]
