"""Whether a card may appear at all: ``[when]``, rules, viewers, repeat limits. Absence needs proof.

An exclusion that is seen counts at once; one that is not seen counts only where its key proves that there is
nothing (W-12b). What can't be proved is ``data_unknown``, and no card is built on it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from cds_service.cdshooks.declaration import NoRecent, Repeat, Rule, Service, State
from cds_service.cdshooks.prefetch import Prefetch, proves_absence
from cds_service.clinical.building import age_bounds, build_features
from cds_service.clinical.codes import CodeSet
from cds_service.clinical.facts import ConditionFact, Facts, Measurement
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.clinical.features import Feature
from cds_service.events.schema import WithheldReason
from cds_service.events.store import ShownCard

__all__ = [
    "Withheld",
    "absence_window_months",
    "fired_rule",
    "is_held_out",
    "is_repeated",
    "is_viewer",
    "why_excluded",
    "why_unknown",
]

_DAYS_A_MONTH = 30.4375
_NEVER_HAPPENED = frozenset(("entered-in-error", "cancelled"))
_NOT_THE_PATIENTS = frozenset(("other_patient", "subject_unresolved"))
_ANY_ZONE = timedelta(hours=14)
"""A day begins up to 14 hours before it begins in UTC."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why no card of the model appears: a reason of the event log's closed set, and which name it concerns."""

    reason: WithheldReason
    detail: str | None = None


def is_viewer(service: Service, user_type: str | None) -> bool:
    """Whether the current user may see cards of this service (CH-084)."""
    return user_type in service.viewers


def why_excluded(
    service: Service, facts: Facts, feature_set: FeatureSet, now: datetime, *, months: int, zone: tzinfo | None = None
) -> Withheld | None:
    """The first exclusion that the chart shows, or None: none is seen. *months*: see ``absence_window_months``."""
    if facts.patient is not None and facts.patient.deceased:
        return Withheld("patient_deceased")
    when = service.when
    age = age_bounds(facts, now, zone)
    if when.age_years is not None and age is not None:
        youngest, oldest = when.age_years
        if age[1] < youngest or age[0] > oldest:
            return Withheld("excluded_age")
    if when.encounter and facts.encounter_class is not None and facts.encounter_class not in when.encounter:
        return Withheld("excluded_encounter")
    if when.no_condition is not None and _any_in(when.no_condition, facts.conditions):
        return Withheld("excluded_condition")
    if when.no_medication is not None and _any_in(when.no_medication, facts.medications):
        return Withheld("excluded_medication")
    for state in when.not_state:
        if _is_in_state(state, facts, now):
            return Withheld("excluded_state", state.name)
    if when.no_recent is not None and _measured_since(when.no_recent, months, facts, feature_set, now):
        return Withheld("recent_measurement", when.no_recent.feature)
    return None


def why_unknown(
    service: Service,
    prefetch: Prefetch,
    facts: Facts,
    features: Mapping[str, Feature],
    feature_set: FeatureSet,
    now: datetime,
    *,
    months: int,
    zone: tzinfo | None = None,
) -> Withheld | None:
    """What must be known before a card may appear and is not: the key or feature that leaves it open."""
    when = service.when
    if when.age_years is not None:
        age = age_bounds(facts, now, zone)
        if age is None or not all(when.age_years[0] <= years <= when.age_years[1] for years in age):
            return Withheld("data_unknown", "age_years")
    for code_set, kind in ((when.no_condition, "Condition"), (when.no_medication, "MedicationRequest")):
        if code_set is None:
            continue
        for key in service.prefetch:
            if key.resource_type == kind and not proves_absence(key, prefetch, facts, back_to=None):
                return Withheld("data_unknown", key.name)
    if when.no_recent is not None:
        rule = when.no_recent
        back_to = now - timedelta(days=months * _DAYS_A_MONTH)
        undated = any(one.end is None for one in _found(rule, facts, feature_set))  # in any key: it may be recent
        if undated or not proves_absence(service.key(rule.key), prefetch, facts, back_to=back_to):
            return Withheld("data_unknown", rule.key)
    if when.require_any and all(features[name].value is None for name in when.require_any):
        return Withheld("required_input_missing", when.require_any[0])
    return None


def fired_rule(service: Service, features: Mapping[str, Feature], feature_set: FeatureSet) -> Rule | None:
    """The first rule whose value is there and high enough; a casual value is never judged as a fasting one."""
    for rule in service.rules:
        value = features[rule.feature].value
        if value is None:
            continue
        if value >= rule.at_least:
            return rule
        fasting_limit = rule.or_fasting_at_least
        if fasting_limit is not None and value >= fasting_limit and _is_fasting(rule, features, feature_set):
            return rule
    return None


def is_repeated(repeat: Repeat, shown: Sequence[ShownCard], now: datetime) -> bool:
    """Whether this patient has seen or answered this topic too lately.

    Openings of one chart on one day are one showing: a clinician who looks again finds the card again, until it
    is answered.
    """
    for card in shown:
        days = {"overridden": repeat.after_override_days, "accepted": repeat.after_accept_days}.get(card.outcome or "")
        answered = max(card.at, card.outcome_at or card.at)  # a client's clock may be wrong by years
        if days and now - answered < timedelta(days=days):
            return True
    if repeat.at_most_per_patient_year is None:
        return False
    since = now - timedelta(days=365)
    earlier = {card.at.date() for card in shown if card.at > since} - {now.date()}
    return len(earlier) >= repeat.at_most_per_patient_year


def is_held_out(service: Service, pseudonym: str) -> bool:
    """Whether a committee's holdout keeps this patient's card back: by keyed hash, the same at every opening."""
    if not service.holdout:
        return False
    digest = hashlib.sha256(f"holdout|{service.id}|{pseudonym}".encode()).digest()
    return int.from_bytes(digest[:8]) < service.holdout * 2**64


def absence_window_months(service: Service, facts: Facts, feature_set: FeatureSet, now: datetime) -> int:
    """How many months without the measurement are asked of this patient: fewer where it was raised before."""
    rule = service.when.no_recent
    if rule is None:
        return 0
    if rule.months_if_previously_raised is None or service.outcome is None:
        return rule.months
    spec = feature_set[rule.feature]
    earlier = now - timedelta(days=rule.months_if_previously_raised * _DAYS_A_MONTH)
    for one in _found(rule, facts, feature_set):
        if one.end is not None and one.end < earlier:
            alone = Facts(measurements={one.code: [one]})
            value = build_features(FeatureSet((spec,)), alone, now)[rule.feature].value
            if value is not None and value >= service.outcome.at_least[0]:
                return rule.months_if_previously_raised
    return rule.months


def _any_in(code_set: CodeSet, facts: Sequence[ConditionFact]) -> bool:
    return any(code_set.any_of(fact.codes) is not None for fact in facts)


def _is_in_state(state: State, facts: Facts, now: datetime) -> bool:
    since = now - timedelta(days=state.within_days) if state.within_days is not None else None
    for fact in facts.conditions:
        if fact.active and state.conditions.any_of(fact.codes) is not None:
            return True
    for fact in facts.procedures:
        if state.procedures.any_of(fact.codes) is None:
            continue
        latest = fact.end or fact.start
        if since is None or latest is None or latest >= since:
            return True
    return any(
        any(token in means for one in _latest_told(facts.measurements[code], now, since) for token in one.coded)
        for code, means in state.observations.items()
        if code in facts.measurements
    )


def _latest_told(results: Sequence[Measurement], now: datetime, since: datetime | None) -> list[Measurement]:
    """What is said last of a state, by all results that may be the last; one without a date may always be."""
    told = [one for one in results if one.status not in _NEVER_HAPPENED and one.reason not in _NOT_THE_PATIENTS]
    undated = [one for one in told if one.start is None]
    dated = [one for one in told if one.start is not None and one.start <= now + _ANY_ZONE]
    last = max((one.start for one in dated if one.start is not None), default=now)
    return undated + [
        one for one in dated if one.end is not None and one.end >= last and (since is None or one.end >= since)
    ]


def _found(rule: NoRecent, facts: Facts, feature_set: FeatureSet) -> list[Measurement]:
    """Every sign that it was measured for this patient, usable as a value or not (JDS scale, text, odd unit)."""
    spec, measurements = feature_set[rule.feature], facts.measurements
    return [
        one
        for code in measurements
        if code in spec.codes or code in spec.excludes_only
        for one in measurements[code]
        if one.status not in _NEVER_HAPPENED and one.reason != "other_patient"
    ]


def _measured_since(rule: NoRecent, months: int, facts: Facts, feature_set: FeatureSet, now: datetime) -> bool:
    since = now - timedelta(days=months * _DAYS_A_MONTH)
    return any(one.end is not None and one.end >= since for one in _found(rule, facts, feature_set))


def _is_fasting(rule: Rule, features: Mapping[str, Feature], feature_set: FeatureSet) -> bool:
    return any(
        features[spec.name].value == 1.0
        for spec in feature_set.features
        if spec.origin == "fasting_state" and spec.fasting_of == rule.feature
    )
