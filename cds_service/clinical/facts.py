"""FHIR resources become facts, each with its proof: code, value, unit, time, status and the resource it came from.

What can't be a fact (another patient's, undatable, not valid R4) is kept with its reason, so that a feature
can say why it is missing and a card what was set aside. Values and units stay as they were reported: what a unit
is worth is the feature's business (``features.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, ClassVar, Literal, NamedTuple

from msgspec import Struct, structs

from cds_service.clinical import fhir_shapes as fhir
from cds_service.clinical.codes import SAME_SYSTEM, canonical
from cds_service.clinical.subject import Subject
from cds_service.clinical.times import Interval, TimeFault, interval_of
from cds_service.clinical.units import UCUM

__all__ = ["CodeIndex", "ConditionFact", "Facts", "ImageFact", "Measurement", "PatientFact", "measured", "read_facts"]

_UNCONFIRMED = frozenset(("refuted", "entered-in-error", "provisional", "differential", "unconfirmed"))
_ACTIVE = frozenset(("active", "recurrence", "relapse"))
_SEX: Mapping[str, Literal["male", "female"]] = {"male": "male", "female": "female"}
_MEDICATION_IN_USE = frozenset(("active", "on-hold", "unknown", "completed"))
_NEVER_HAPPENED = frozenset(("entered-in-error", "cancelled"))
_NOT_THE_PATIENTS = frozenset(("other_patient", "subject_unresolved"))
_VERSION_DIGITS = 16
_INTEGER_MAX = 2**31 - 1
"""FHIR's integer has 32 bits."""
_Dated = tuple[datetime | None, datetime | None, str | None, str | None]
"""(start, end, flag, reason): when a result was taken, or why that or its patient is not known."""
_UNDATED: _Dated = (None, None, None, None)
_Parts = list[tuple[str, fhir.Observation | fhir.Component]]
"""What of an Observation is listed: (code, the Observation itself or its component)."""


class Measurement(Struct, frozen=True, gc=False):
    """One result as it was reported; ``reason`` says why it can't be used, if so."""

    code: str
    """The coding that matched, ``system|code``."""
    source: str
    """The resource that proves it, ``Observation/abc``."""
    status: str = "final"
    value: float | None = None
    unit: str | None = None
    unit_system: str | None = None
    """UCUM's or another system; None when ``unit`` is text."""
    unit_text: str | None = None
    """The unit as text beside its code, where the two are written differently."""
    comparator: str | None = None
    coded: tuple[str, ...] = ()
    """A coded result, as ``system|code``."""
    start: datetime | None = None
    end: datetime | None = None
    flag: str | None = None
    issued: datetime | None = None
    reason: str | None = None


class PatientFact(Struct, frozen=True):
    born: Interval | None = None
    sex: Literal["male", "female"] | None = None
    deceased: bool = False


class ConditionFact(Struct, frozen=True):
    """A coded Condition or Procedure that counts, or a medication in use."""

    codes: tuple[str, ...]
    source: str
    active: bool = True
    start: datetime | None = None
    end: datetime | None = None


class ImageFact(Struct, frozen=True):
    source: str
    study_uid: str | None
    modalities: tuple[str, ...]
    started: Interval | None


class Facts(Struct, frozen=True):
    """All that one chart says, as far as anything reads it."""

    patient: PatientFact | None = None
    measurements: Mapping[str, list[Measurement]] = {}
    conditions: tuple[ConditionFact, ...] = ()
    medications: tuple[ConditionFact, ...] = ()
    procedures: tuple[ConditionFact, ...] = ()
    encounter_class: str | None = None
    images: tuple[ImageFact, ...] = ()
    set_aside: Mapping[str, int] = {}
    """Reason → how many resources were not used for it."""
    unusable: Mapping[str, str] = {}
    """``Type/id`` → reason, of what was set aside."""
    unproven: frozenset[str] = frozenset()
    """Keys in which something could not be read, so that they can prove no absence."""
    oldest: Mapping[str, datetime] = {}
    """Key → the oldest effective time in it, for "reaches back far enough" (W-12b)."""
    unanswered: Mapping[str, str] = {}
    """Feature → ``key_absent``, ``key_failed`` or ``key_incomplete``, where a key that could bring it has that state."""
    unordered: frozenset[str] = frozenset()
    """Features of which a newer result may stand on a page that was not read."""


def measured(code: str, value: float, unit: str, taken: datetime, *, source: str = "row") -> Measurement:
    """A finished result in a UCUM unit at one instant, as a data set holds it."""
    return Measurement(code=code, source=source, value=value, unit=unit, unit_system=UCUM, start=taken, end=taken)


class CodeIndex:
    """Which codings matter: a coding's system and code → its canonical name, or nothing."""

    def __init__(self, tokens: Iterable[str]) -> None:
        by_system: dict[str | None, dict[str | None, str]] = {}
        for token in tokens:
            system, _, code = token.partition("|")
            by_system.setdefault(system, {})[code] = token
        for other, system in SAME_SYSTEM.items():
            if system in by_system:
                by_system[other] = by_system[system]
        self._by_system = by_system

    def match(self, concept: fhir.CodeableConcept) -> str | None:
        """The first coding that is listed, exactly; display, text and bare codes never match."""
        by_system = self._by_system
        for coding in concept.coding:
            codes = by_system.get(coding.system)
            if codes is not None:
                token = codes.get(coding.code)
                if token is not None:
                    return token
        return None


def tokens_of(concept: fhir.CodeableConcept | None) -> tuple[str, ...]:
    if concept is None:
        return ()
    return tuple(canonical(c.system, c.code) for c in concept.coding if c.system and c.code)


def codes_of(concept: fhir.CodeableConcept | None) -> frozenset[str]:
    return frozenset(c.code for c in concept.coding if c.code) if concept is not None else frozenset()


def read_facts(
    contents: Mapping[str, fhir.KeyContent],
    *,
    patient: str,
    index: CodeIndex,
    fhir_server: str | None = None,
    zone: tzinfo | None = None,
    unanswered: Mapping[str, str] | None = None,
    expected: Mapping[str, str] | None = None,
    unordered: frozenset[str] = frozenset(),
) -> Facts:
    """Read what the keys of one call hold about one patient.

    Args:
        contents: Key → its decoded content.
        patient: The bare FHIR id of the patient whose chart was opened.
        index: The codes that some feature or condition reads; other Observations are passed over.
        fhir_server: Base URL under which absolute references are the patient's.
        zone: The tenant's declared zone for times of day without one.
        unanswered: Feature → why a key that could bring it has no (full) answer; carried along for its reason.
        unordered: Features of which a newer result may stand on a page that was not read; carried along.
        expected: Key → the resource type that its query asks for; resources of another type are not read (CH-109).

    Returns:
        The facts. Nothing here raises for what a resource holds.
    """
    reader = _Reader(patient, index, fhir_server, zone)
    for key, content in contents.items():
        reader.read(key, content, (expected or {}).get(key))
    return reader.facts(unanswered or {}, unordered)


class _Copy(NamedTuple):
    """One version of one Observation, as one key brought it."""

    resource: fhir.Observation
    parts: _Parts
    start: datetime | None
    end: datetime | None
    flag: str | None
    reason: str | None


class _Reader:
    def __init__(self, patient: str, index: CodeIndex, fhir_server: str | None, zone: tzinfo | None) -> None:
        self._patient_id, self._index, self._server, self._zone = patient, index, fhir_server, zone
        self._patient: PatientFact | None = None
        self._measurements: dict[str, list[Measurement]] = {}
        self._copies: dict[str, list[_Copy]] = {}
        self._passed_over: dict[str, fhir.Observation] = {}
        """Observations without a listed code, of whose ids no other has come yet: most of a large chart."""
        self._conditions: list[ConditionFact] = []
        self._medications: list[ConditionFact] = []
        self._procedures: list[ConditionFact] = []
        self._images: list[ImageFact] = []
        self._encounter_class: str | None = None
        self._set_aside: dict[str, int] = {}
        self._unusable: dict[str, str] = {}
        self._unproven: set[str] = set()
        self._oldest: dict[str, datetime] = {}
        self._key = ""

    def read(self, key: str, content: fhir.KeyContent, expected: str | None) -> None:
        self._key = key
        self._subject = Subject(self._patient_id, self._server, content.resources)
        readers = self._READERS
        if expected is not None:
            wanted = getattr(fhir, expected, None)
            readers = {kind: read for kind, read in readers.items() if kind in (wanted, fhir.Invalid)}
        for _, resource in content.resources:
            read = readers.get(type(resource))
            if read is not None:
                read(self, resource)

    def facts(self, unanswered: Mapping[str, str], unordered: frozenset[str]) -> Facts:
        for copies in self._copies.values():
            self._choose_version(copies)
        return Facts(
            patient=self._patient,
            measurements=self._measurements,
            conditions=tuple(self._conditions),
            medications=tuple(self._medications),
            procedures=tuple(self._procedures),
            encounter_class=self._encounter_class,
            images=tuple(self._images),
            set_aside=self._set_aside,
            unusable=self._unusable,
            unproven=frozenset(self._unproven),
            oldest=self._oldest,
            unanswered=unanswered,
            unordered=unordered,
        )

    def _put_aside(self, source: str, reason: str, *, proves_nothing: bool) -> None:
        self._set_apart(source, reason)
        if proves_nothing:
            self._unproven.add(self._key)

    def _set_apart(self, source: str, reason: str) -> None:
        self._set_aside[reason] = self._set_aside.get(reason, 0) + 1
        self._unusable[source] = reason

    def _is_patients(self, kind: str, resource_id: str | None, subject: fhir.Reference | None) -> bool:
        reason = self._subject.reason(subject)
        if reason is None:
            return True
        self._put_aside(f"{kind}/{resource_id}", reason, proves_nothing=reason == "subject_unresolved")
        return False

    def _patient_resource(self, resource: fhir.Patient) -> None:
        if resource.id != self._patient_id:
            self._put_aside("Patient/another", "other_patient", proves_nothing=False)
            return
        born: Interval | None = None
        if resource.birth_date is not None:
            try:
                born = _birth(resource.birth_date)
            except TimeFault:
                self._put_aside(f"Patient/{resource.id}", "time_invalid", proves_nothing=False)
        dated = resource.deceased_date_time is not None or resource.deceased_unknown_when is not None
        deceased = bool(resource.deceased_boolean) or dated
        self._patient = PatientFact(born, _SEX.get(resource.gender or ""), deceased)

    def _invalid(self, resource: fhir.Invalid) -> None:
        source = f"{resource.resource_type or 'Resource'}/{resource.id}"
        self._put_aside(source, "invalid_resource", proves_nothing=True)
        if resource.resource_type != "Observation":
            return
        for concept in (resource.code, *resource.component_codes):
            token = self._index.match(concept) if concept is not None else None
            if token is not None:
                self._add(Measurement(token, source, reason="invalid_resource"))

    def _add(self, measurement: Measurement) -> None:
        self._measurements.setdefault(measurement.code, []).append(measurement)

    def _observation(self, resource: fhir.Observation) -> None:
        parts = self._parts(resource)
        name = resource.id
        if name is None:
            if parts:
                self._results(_Copy(resource, parts, *self._dated(resource)))
            return
        copies = self._copies.get(name)  # the same result may come in several keys and versions
        if copies is None:
            earlier = self._passed_over.get(name)
            if not parts and (earlier is None or earlier == resource):  # most of a large chart
                self._passed_over[name] = resource
                return
            copies = self._copies[name] = [] if earlier is None else [_Copy(earlier, [], *_UNDATED)]
        dated = self._dated(resource) if parts else _UNDATED
        if not any(resource == copy.resource for copy in copies):
            copies.append(_Copy(resource, parts, *dated))

    def _parts(self, resource: fhir.Observation) -> _Parts:
        """What of an Observation is listed: (code, the Observation or its component)."""
        token = self._index.match(resource.code)
        parts: list[tuple[str, fhir.Observation | fhir.Component]] = [] if token is None else [(token, resource)]
        for component in resource.component:
            token = self._index.match(component.code)
            if token is not None:
                parts.append((token, component))
        return parts

    def _dated(self, resource: fhir.Observation) -> _Dated:
        """(start, end, flag, reason) of a listed Observation; what that says about its key is noted.

        What was cancelled or entered in error never happened: its key proves as much without it.
        """
        reason = self._subject.reason(resource.subject)
        start, end, flag, reason = self._when(resource) if reason is None else (None, None, None, reason)
        if start is not None:
            oldest = self._oldest.get(self._key)
            if oldest is None or start < oldest:
                self._oldest[self._key] = start
        elif reason != "other_patient" and resource.status not in _NEVER_HAPPENED:
            self._unproven.add(self._key)
        return start, end, flag, reason

    def _choose_version(self, copies: Sequence[_Copy]) -> None:
        """Of several versions of one result only the latest counts; where that is not known, none."""
        for copy in copies:
            if len(copies) == 1 or all(_is_latest(copy.resource, other.resource) for other in copies):
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
            self._set_apart(source, reason)
        for token in tokens:
            self._add(Measurement(token, source, start=start, end=end, reason=reason))

    def _results(self, copy: _Copy) -> None:
        """Take the results of one version."""
        resource, parts, start, end, flag, reason = copy
        source = f"Observation/{resource.id}"
        if reason is not None and resource.status not in _NEVER_HAPPENED and parts:
            self._set_apart(source, reason)
        if reason in _NOT_THE_PATIENTS:  # nothing of it is carried along
            for token, _ in parts:
                self._add(Measurement(token, source, reason=reason))
            return
        issued = self._issued(resource)
        for token, holder in parts:
            value, unit, unit_system, comparator, coded, value_reason = _value(holder)
            quantity = holder.value_quantity
            text = quantity.unit if quantity is not None and unit_system is not None else None
            self._add(
                Measurement(
                    token, source, resource.status, value, unit, unit_system, text if text != unit else None, comparator, coded,
                    start, end, flag, issued, reason or value_reason,
                )
            )  # fmt: skip

    def _when(self, resource: fhir.Observation) -> _Dated:
        """(start, end, flag, reason): the clinically relevant time is effective[x], never ``issued`` (case B-054)."""
        try:
            text = resource.effective_date_time or resource.effective_instant
            times = (resource.effective_date_time, resource.effective_instant, resource.effective_period)
            if resource.effective_timing is not None:
                return None, None, None, "time_ambiguous"
            if sum(time is not None for time in times) > 1:
                return None, None, None, "time_invalid"
            if text:
                start, end, flag = interval_of(text, self._zone)
                return start, end, flag, None
            period = resource.effective_period
            if period is None:
                return None, None, None, "time_missing"
            if period.start is None or period.end is None:
                return None, None, None, "time_ambiguous"
            first, last = interval_of(period.start, self._zone), interval_of(period.end, self._zone)
        except TimeFault:
            return None, None, None, "time_invalid"
        if last.end < first.start:
            return None, None, None, "time_invalid"
        return first.start, last.end, first.flag or last.flag, None

    def _issued(self, resource: fhir.Observation) -> datetime | None:
        if resource.issued is None:
            return None
        try:
            return interval_of(resource.issued, self._zone).end
        except TimeFault:
            return None

    def _condition(self, resource: fhir.Condition) -> None:
        if not self._is_patients("Condition", resource.id, resource.subject):
            return
        if codes_of(resource.verification_status) & _UNCONFIRMED:
            return
        codes = tokens_of(resource.code)
        if not codes:  # a problem in words alone may be any problem (ADR 3)
            self._put_aside(f"Condition/{resource.id}", "code_not_listed", proves_nothing=True)
            return
        clinical = codes_of(resource.clinical_status)
        start, end = self._edge(resource.onset_date_time), self._edge(resource.abatement_date_time)
        active = bool(clinical & _ACTIVE) if clinical else resource.abatement_date_time is None
        self._conditions.append(ConditionFact(codes, f"Condition/{resource.id}", active, start, end))

    def _edge(self, text: str | None) -> datetime | None:
        if text is None:
            return None
        try:
            return interval_of(text, self._zone).start
        except TimeFault:
            return None

    def _medication(self, resource: fhir.MedicationRequest) -> None:
        if not self._is_patients("MedicationRequest", resource.id, resource.subject):
            return
        if resource.status not in _MEDICATION_IN_USE or resource.intent in ("proposal", "option"):
            return
        codes = tokens_of(resource.medication_codeable_concept)
        if not codes:
            self._put_aside(f"MedicationRequest/{resource.id}", "code_not_listed", proves_nothing=True)
            return
        self._medications.append(
            ConditionFact(codes, f"MedicationRequest/{resource.id}", resource.status in ("active", "on-hold"))
        )

    def _procedure(self, resource: fhir.Procedure) -> None:
        if not self._is_patients("Procedure", resource.id, resource.subject):
            return
        if resource.status not in ("completed", "in-progress"):
            return
        period = resource.performed_period
        start = self._edge(resource.performed_date_time or (period.start if period else None))
        end = self._edge(resource.performed_date_time or (period.end if period else None))
        self._procedures.append(
            ConditionFact(tokens_of(resource.code), f"Procedure/{resource.id}", start=start, end=end)
        )

    def _encounter(self, resource: fhir.Encounter) -> None:
        if self._is_patients("Encounter", resource.id, resource.subject):
            self._encounter_class = resource.class_.code

    def _imaging_study(self, resource: fhir.ImagingStudy) -> None:
        if not self._is_patients("ImagingStudy", resource.id, resource.subject):
            return
        if resource.status not in ("available", "registered", "unknown"):
            self._put_aside(f"ImagingStudy/{resource.id}", "status_not_usable", proves_nothing=False)
            return
        uid = next((i.value for i in resource.identifier if i.system == "urn:dicom:uid" and i.value), None)
        started = None
        if resource.started is not None:
            try:
                started = interval_of(resource.started, self._zone)
            except TimeFault:
                self._put_aside(f"ImagingStudy/{resource.id}", "time_invalid", proves_nothing=False)
                return
        self._images.append(
            ImageFact(
                f"ImagingStudy/{resource.id}",
                uid.removeprefix("urn:oid:") if uid else None,
                tuple(modality.code for modality in resource.modality),
                started,
            )
        )

    _READERS: ClassVar[Mapping[type, Callable[["_Reader", Any], None]]] = {
        fhir.Observation: _observation,
        fhir.Condition: _condition,
        fhir.MedicationRequest: _medication,
        fhir.Procedure: _procedure,
        fhir.Encounter: _encounter,
        fhir.ImagingStudy: _imaging_study,
        fhir.Patient: _patient_resource,
        fhir.Invalid: _invalid,
    }
    """Functions, not a reader's own methods: that cycle would keep the whole chart until the collector comes."""


def _is_latest(one: fhir.Observation, other: fhir.Observation) -> bool:
    """Whether one copy says what the other says, or is certainly the later version of the two.

    Certain is what both copies tell and differ in: ``meta.lastUpdated``, else the server's version number, else the
    time of issue.
    """
    if structs.replace(one, meta=None) == structs.replace(other, meta=None):
        return True
    for mine, others in zip(_versions(one), _versions(other), strict=True):
        if mine is not None and others is not None and mine != others:
            return mine > others
    return False


def _versions(resource: fhir.Observation) -> tuple[float | None, float | None, float | None]:
    meta = resource.meta if resource.meta is not None else fhir.Meta()
    number = meta.version_id or ""
    return (
        _instant(meta.last_updated),
        float(number) if number.isdecimal() and number.isascii() and len(number) < _VERSION_DIGITS else None,
        _instant(resource.issued),
    )


def _instant(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return interval_of(text).start.timestamp()
    except TimeFault:
        return None


def _birth(text: str) -> Interval:
    """The date of birth: FHIR's ``date``, so a time of day in it tells that another day may be meant."""
    born = interval_of(text)
    if born.flag != "time_partial":
        raise TimeFault("a date of birth has no time of day")
    return born


_Value = tuple[float | None, str | None, str | None, str | None, tuple[str, ...], str | None]


def _value(holder: fhir.Observation | fhir.Component) -> _Value:
    """(value, unit, unit system, comparator, coded result, reason)."""
    quantity = holder.value_quantity
    if holder.data_absent_reason is not None:  # beside a value too, as some systems send 0 for "not done"
        return None, None, None, None, (), "no_value"
    values = holder.values
    if len(values) > 1:  # value[x] is one value: which of two was meant is not for us to choose
        return None, None, None, None, (), "invalid_resource"
    if quantity is not None:
        if quantity.value is None:
            return None, None, None, None, (), "no_value"
        if quantity.code is not None and quantity.system is not None:
            return quantity.value, quantity.code, quantity.system, quantity.comparator, (), None
        return quantity.value, quantity.unit or quantity.code, None, quantity.comparator, (), None
    if holder.value_string is not None:
        return None, None, None, None, (), "text_value" if holder.value_string.strip() else "invalid_resource"
    if holder.value_codeable_concept is not None:
        coded = tokens_of(holder.value_codeable_concept)
        return None, None, None, None, coded, None if coded else "text_value"
    if holder.value_integer is not None:
        if abs(holder.value_integer) > _INTEGER_MAX:
            return None, None, None, None, (), "invalid_resource"
        return float(holder.value_integer), None, None, None, (), None
    return None, None, None, None, (), "value_not_number" if values else "no_value"
