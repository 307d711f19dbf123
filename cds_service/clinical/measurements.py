"""The results in a chart, each once: of what several keys bring in several versions only the latest counts."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

from msgspec import Struct

from cds_service.clinical import fhir_shapes as fhir
from cds_service.clinical.codings import CodeIndex
from cds_service.clinical.facts import Measurement
from cds_service.clinical.judging import Judged
from cds_service.clinical.observations import Dated, is_latest, issued_at, taken_at, value_of
from cds_service.clinical.set_aside import SetAside
from cds_service.clinical.subject import Subject

__all__ = ["Measurements"]

_NEVER_HAPPENED = frozenset(("entered-in-error", "cancelled"))
_NOT_THE_PATIENTS = frozenset(("other_patient", "subject_unresolved"))
_UNDATED: Dated = (None, None, None, None)
_Parts = list[tuple[str, fhir.Observation | fhir.Component]]
"""What of an Observation is listed: (code, the Observation itself or its component)."""


class _Copy(Struct, frozen=True, gc=False):
    """One version of one Observation, as one key brought it."""

    resource: fhir.Observation
    parts: _Parts
    start: datetime | None
    end: datetime | None
    flag: str | None
    reason: str | None


class Measurements:
    """Collects what the Observations of all keys say of one patient.

    Args:
        index: The codes that some feature or condition reads.
        zone: The tenant's declared zone for times of day without one.
        aside: Takes what can't be used.
    """

    def __init__(self, index: CodeIndex, zone: tzinfo | None, aside: SetAside) -> None:
        self._index, self._zone, self._aside = index, zone, aside
        self._found: dict[str, list[Measurement]] = {}
        self._copies: dict[str, list[_Copy]] = {}
        self._passed_over: dict[str, fhir.Observation] = {}
        """Observations without a listed code, of whose ids no other has come yet: most of a large chart."""
        self.oldest: dict[str, datetime] = {}
        """Key → the oldest effective time in it."""

    def begin(self, key: str, subject: Subject) -> None:
        """What is read from now on came in this key, in which *subject* tells whose it is."""
        self._key, self._subject = key, subject

    def found(self) -> dict[str, list[Measurement]]:
        """Code → its results, when all keys have been read."""
        for copies in self._copies.values():
            self._choose_version(copies)
        return self._found

    def read(self, entries: Sequence[fhir.Entry | Judged]) -> None:
        """Take the Observations among the entries; those without a listed code are passed over."""
        codes, copies, passed_over = self._index.codes, self._copies, self._passed_over
        for entry in entries:
            resource = entry.resource
            if type(resource) is not fhir.Observation:
                continue
            for coding in resource.code.coding:
                if coding.code in codes.get(coding.system, ()):
                    break
            else:
                name = resource.id
                if (  # most of a large chart
                    name is not None
                    and not resource.component
                    and name not in copies
                    and passed_over.setdefault(name, resource) is resource
                ):
                    continue
            self._take(resource)

    def _take(self, resource: fhir.Observation) -> None:
        parts = self._parts(resource)
        name = resource.id
        if name is None:
            if parts:
                self._results(_Copy(resource, parts, *self._dated(resource)))
            return
        copies = self._copies.get(name)  # the same result may come in several keys and versions
        if copies is None:
            earlier = self._passed_over.get(name)
            if not parts and (earlier is None or earlier == resource):
                self._passed_over[name] = resource
                return
            copies = self._copies[name] = [] if earlier is None else [_Copy(earlier, [], *_UNDATED)]
        dated = self._dated(resource) if parts else _UNDATED
        if not copies or not any(resource == copy.resource for copy in copies):
            copies.append(_Copy(resource, parts, *dated))

    def read_invalid(self, resource: fhir.Invalid, source: str) -> None:
        """Say of an Observation that must not be read that its codes had a result."""
        for concept in (resource.code, *resource.component_codes):
            token = self._index.match(concept) if concept is not None else None
            if token is not None:
                self._add(Measurement(token, source, reason="invalid_resource"))

    def _add(self, measurement: Measurement) -> None:
        self._found.setdefault(measurement.code, []).append(measurement)

    def _parts(self, resource: fhir.Observation) -> _Parts:
        """What of an Observation is listed: (code, the Observation or its component)."""
        match = self._index.match
        token = match(resource.code)
        parts: _Parts = [] if token is None else [(token, resource)]
        for component in resource.component:
            token = match(component.code)
            if token is not None:
                parts.append((token, component))
        return parts

    def _dated(self, resource: fhir.Observation) -> Dated:
        """(start, end, flag, reason) of a listed Observation; what that says about its key is noted.

        What was cancelled or entered in error never happened: its key proves as much without it.
        """
        reason = self._subject.reason(resource.subject)
        start, end, flag, reason = taken_at(resource, self._zone) if reason is None else (None, None, None, reason)
        if start is not None:
            oldest = self.oldest.get(self._key)
            if oldest is None or start < oldest:
                self.oldest[self._key] = start
        elif reason != "other_patient" and resource.status not in _NEVER_HAPPENED:
            self._aside.unproven.add(self._key)
        return start, end, flag, reason

    def _choose_version(self, copies: Sequence[_Copy]) -> None:
        """Of several versions of one result only the latest counts; where that is not known, none."""
        for copy in copies:
            if len(copies) == 1 or all(is_latest(copy.resource, other.resource) for other in copies):
                self._results(copy)
                return
        mine = [copy for copy in copies if copy.reason not in _NOT_THE_PATIENTS]
        starts = [copy.start for copy in mine if copy.start is not None]
        ends = [copy.end for copy in mine if copy.end is not None]
        start, end = (min(starts), max(ends)) if starts and ends else (None, None)
        reason = "conflicting" if starts else "time_missing" if mine else max(str(copy.reason) for copy in copies)
        source = f"Observation/{copies[0].resource.id}"
        tokens = sorted({token for copy in copies for token, _ in copy.parts})
        if tokens:
            self._aside.add(source, reason)
        for token in tokens:
            self._add(Measurement(token, source, start=start, end=end, reason=reason))

    def _results(self, copy: _Copy) -> None:
        """Take the results of one version."""
        resource, parts, reason = copy.resource, copy.parts, copy.reason
        source = f"Observation/{resource.id}"
        if reason is not None and resource.status not in _NEVER_HAPPENED and parts:
            self._aside.add(source, reason)
        if reason in _NOT_THE_PATIENTS:  # nothing of it is carried along
            for token, _ in parts:
                self._add(Measurement(token, source, reason=reason))
            return
        issued = issued_at(resource, self._zone)
        for token, holder in parts:
            value, unit, unit_system, comparator, coded, value_reason = value_of(holder)
            quantity = holder.value_quantity
            text = quantity.unit if quantity is not None and unit_system is not None else None
            self._add(
                Measurement(
                    token, source, resource.status, value, unit, unit_system, text if text != unit else None, comparator, coded,
                    copy.start, copy.end, copy.flag, issued, reason or value_reason,
                )
            )  # fmt: skip
