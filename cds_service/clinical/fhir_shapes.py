"""The few fields of FHIR R4 resources that a feature or a condition reads, decoded strictly.

Unknown fields and extensions pass unread. Numbers written as text, R5 shapes and missing required fields are invalid
resources, never repaired. Nothing decoded here can form a cycle, so the collector need not look at it.
"""

from msgspec import Struct, field

__all__ = [
    "Bundle", "CodeableConcept", "Coding", "Component", "Condition", "Encounter", "Entry", "ImagingStudy", "Invalid",
    "Known", "Link", "MedicationRequest", "Meta", "Observation", "OperationOutcome", "Patient", "Procedure", "Reference",
]  # fmt: skip


class Coding(Struct, frozen=True, gc=False):
    system: str | None = None
    code: str | None = None


class CodeableConcept(Struct, frozen=True, gc=False):
    coding: tuple[Coding, ...] = ()


class Reference(Struct, frozen=True, gc=False):
    reference: str | None = None


class Period(Struct, frozen=True, gc=False):
    start: str | None = None
    end: str | None = None


class Quantity(Struct, frozen=True, gc=False):
    value: float | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Something(Struct, frozen=True, gc=False):
    """An object of which only its presence matters."""


class Meta(Struct, frozen=True, gc=False, rename="camel"):
    version_id: str | None = None
    last_updated: str | None = None


class Holder(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """What can hold a result: an Observation or a component of one."""

    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    value_range: Something | None = None
    value_ratio: Something | None = None
    value_sampled_data: Something | None = None
    value_period: Something | None = None
    value_time: str | None = None
    value_date_time: str | None = None
    data_absent_reason: CodeableConcept | None = None
    modifier_extension: tuple[()] = ()
    """FHIR forbids to use what a modifier extension changes unless one knows that extension; we know none."""

    @property
    def value_count(self) -> int:
        """How many value[x] are there, of all types of R4."""
        values = (
            self.value_quantity, self.value_codeable_concept, self.value_string, self.value_integer, self.value_boolean,
            self.value_range, self.value_ratio, self.value_sampled_data, self.value_period, self.value_time,
            self.value_date_time,
        )  # fmt: skip
        return len(values) - values.count(None)


class Component(Holder, frozen=True, gc=False, rename="camel"):
    code: CodeableConcept


class Resource(Struct, frozen=True, gc=False, tag_field="resourceType", tag=True, rename="camel", kw_only=True):
    """Any resource that we read, told apart by ``resourceType``."""

    modifier_extension: tuple[()] = ()


class Patient(Resource, frozen=True, gc=False, rename="camel"):
    id: str | None = None
    birth_date: str | None = None
    gender: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    deceased_unknown_when: Something | None = field(default=None, name="_deceasedDateTime")
    """A date of death that is masked or not known is a death all the same."""


class Observation(Holder, frozen=True, gc=False, rename="camel", tag_field="resourceType", tag=True):
    status: str
    code: CodeableConcept
    id: str | None = None
    subject: Reference | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    effective_instant: str | None = None
    effective_timing: Something | None = None
    issued: str | None = None
    component: tuple[Component, ...] = ()
    meta: Meta | None = None


class Condition(Resource, frozen=True, gc=False, rename="camel"):
    id: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    onset_date_time: str | None = None
    abatement_date_time: str | None = None


class MedicationRequest(Resource, frozen=True, gc=False, rename="camel"):
    status: str
    id: str | None = None
    intent: str | None = None
    subject: Reference | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None


class Procedure(Resource, frozen=True, gc=False, rename="camel"):
    status: str
    id: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None


class Encounter(Resource, frozen=True, gc=False, rename="camel"):
    status: str
    class_: Coding = field(name="class")
    id: str | None = None
    subject: Reference | None = None


class DICOMCoding(Struct, frozen=True, gc=False):
    """A modality or SOP class: a Coding in R4, a CodeableConcept in R5, so the code is required here."""

    code: str
    system: str | None = None


class Instance(Struct, frozen=True, gc=False, rename="camel"):
    uid: str
    sop_class: DICOMCoding


class Series(Struct, frozen=True, gc=False):
    uid: str
    modality: DICOMCoding
    instance: tuple[Instance, ...] = ()


class Identifier(Struct, frozen=True, gc=False):
    system: str | None = None
    value: str | None = None


class ImagingStudy(Resource, frozen=True, gc=False):
    status: str
    subject: Reference
    id: str | None = None
    started: str | None = None
    identifier: tuple[Identifier, ...] = ()
    modality: tuple[DICOMCoding, ...] = ()
    series: tuple[Series, ...] = ()


_HARMLESS = frozenset(("information", "warning", "success"))


class Issue(Struct, frozen=True, gc=False):
    severity: str
    code: str | None = None


class OperationOutcome(Resource, frozen=True, gc=False):
    issue: tuple[Issue, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether a search that says this is incomplete: anything but information or warning (case B-023)."""
        return not self.issue or any(issue.severity not in _HARMLESS for issue in self.issue)

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(issue.code for issue in self.issue if issue.code)


Known = Patient | Observation | Condition | MedicationRequest | Procedure | Encounter | ImagingStudy | OperationOutcome


class Link(Struct, frozen=True, gc=False):
    relation: str | None = None
    url: str | None = None


class Entry(Struct, frozen=True, gc=False, rename="camel"):
    full_url: str | None = None
    resource: Known | None = None


class Bundle(Resource, frozen=True, gc=False):
    type: str | None = None
    total: int | None = None
    link: tuple[Link, ...] | None = ()
    entry: tuple[Entry, ...] | None = ()


class Invalid(Struct, frozen=True):
    """A resource of a type that we read, in a shape that we must not: kept with its codes and its reason."""

    resource_type: str
    id: str | None
    code: CodeableConcept | None
    component_codes: tuple[CodeableConcept, ...] = ()
