"""Facts and a declaration become features: THE definition, for training and for serving.

The moment is an argument, so that an answer can be replayed.
"""

from datetime import UTC, datetime, tzinfo

from cds_service.clinical.facts import Facts
from cds_service.clinical.feature_spec import USABLE_STATUSES, FeatureSet, FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.clinical.latest import latest
from cds_service.clinical.times import whole_years

__all__ = ["age_bounds", "build_features"]


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
            built[spec.name] = latest(spec, facts, now)
        elif spec.origin == "patient.age":
            built[spec.name] = _age(spec, facts, now, zone)
        elif spec.origin == "patient.sex":
            built[spec.name] = _sex(spec, facts)
    for spec in feature_set.features:
        if spec.origin == "fasting_state" and spec.fasting_of is not None:
            built[spec.name] = _fasting(spec, built[spec.fasting_of], facts)
    return {spec.name: built[spec.name] for spec in feature_set.features}


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
