"""Of the results of one feature the latest is chosen; where that is not known, there is none, and the reason is said."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cds_service.clinical.declared_unit import in_declared_unit
from cds_service.clinical.facts import Facts, Measurement
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.clinical.features import Feature

__all__ = ["latest"]

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
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def latest(spec: FeatureSpec, facts: Facts, now: datetime) -> Feature:
    """Choose the latest usable result of one feature and give it in the declared unit.

    Args:
        spec: Which codes count, in which statuses and how far back.
        facts: The chart, in any order.
        now: The moment of the hook call; later results are not used.
    """
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
    feature = in_declared_unit(spec, newest)
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
        other = in_declared_unit(spec, rival)
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
