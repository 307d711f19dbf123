"""FHIR resources become facts, each with its proof (``facts.py``)."""

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Literal

from cds_service.clinical import fhir_shapes as fhir
from cds_service.clinical.codings import CodeIndex, codes_of, tokens_of
from cds_service.clinical.facts import ConditionFact, Facts, ImageFact, PatientFact
from cds_service.clinical.key_content import KeyContent
from cds_service.clinical.measurements import Measurements
from cds_service.clinical.set_aside import SetAside
from cds_service.clinical.subject import Subject
from cds_service.clinical.times import Interval, TimeFault, interval_of

__all__ = ["read_facts"]

_UNCONFIRMED = frozenset(("refuted", "entered-in-error", "provisional", "differential", "unconfirmed"))
_ACTIVE = frozenset(("active", "recurrence", "relapse"))
_SEX: Mapping[str, Literal["male", "female"]] = {"male": "male", "female": "female"}
_MEDICATION_IN_USE = frozenset(("active", "on-hold", "unknown", "completed"))


def read_facts(
    contents: Mapping[str, KeyContent],
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


class _Reader:
    def __init__(self, patient: str, index: CodeIndex, fhir_server: str | None, zone: tzinfo | None) -> None:
        self._patient_id, self._server, self._zone = patient, fhir_server, zone
        self._nobodys = Subject(patient, fhir_server)
        self._aside = SetAside()
        self._measurements = Measurements(index, zone, self._aside)
        self._patient: PatientFact | None = None
        self._conditions: list[ConditionFact] = []
        self._medications: list[ConditionFact] = []
        self._procedures: list[ConditionFact] = []
        self._images: list[ImageFact] = []
        self._encounter_class: str | None = None
        self._key = ""

    def read(self, key: str, content: KeyContent, expected: str | None) -> None:
        kinds = content.kinds
        if expected is not None:
            kinds = kinds & {getattr(fhir, expected, fhir.Invalid), fhir.Invalid}
        if not kinds:
            return
        self._key = key
        self._subject = self._nobodys
        if fhir.Patient in content.kinds:
            self._subject = Subject(self._patient_id, self._server, content.resources)
        self._measurements.begin(key, self._subject)
        if fhir.Observation in kinds:
            self._measurements.read(content.resources)
        readers = {kind: read for kind, read in self._readers().items() if kind in kinds}
        if readers:
            for entry in content.resources:
                read = readers.get(type(entry.resource))
                if read is not None:
                    read(entry.resource)

    def facts(self, unanswered: Mapping[str, str], unordered: frozenset[str]) -> Facts:
        return Facts(
            patient=self._patient,
            measurements=self._measurements.found(),
            conditions=tuple(self._conditions),
            medications=tuple(self._medications),
            procedures=tuple(self._procedures),
            encounter_class=self._encounter_class,
            images=tuple(self._images),
            set_aside=self._aside.reasons,
            unusable=self._aside.sources,
            unproven=frozenset(self._aside.unproven),
            oldest=self._measurements.oldest,
            unanswered=unanswered,
            unordered=unordered,
        )

    def _put_aside(self, source: str, reason: str, *, proves_nothing: bool) -> None:
        self._aside.add(source, reason)
        if proves_nothing:
            self._aside.unproven.add(self._key)

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
        if resource.resource_type == "Observation":
            self._measurements.read_invalid(resource, source)

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

    def _readers(self) -> dict[type, Callable[[Any], None]]:
        """Type → what reads it; never kept here, or that cycle would keep the whole chart until the collector comes."""
        return {
            fhir.Condition: self._condition,
            fhir.MedicationRequest: self._medication,
            fhir.Procedure: self._procedure,
            fhir.Encounter: self._encounter,
            fhir.ImagingStudy: self._imaging_study,
            fhir.Patient: self._patient_resource,
            fhir.Invalid: self._invalid,
        }


def _birth(text: str) -> Interval:
    """The date of birth: FHIR's ``date``, so a time of day in it tells that another day may be meant."""
    born = interval_of(text)
    if born.flag != "time_partial":
        raise TimeFault("a date of birth has no time of day")
    return born
