"""The few fields of FHIR R4 resources that a feature or a condition reads, decoded strictly.

A prefetch answer is decoded in one pass into these shapes; unknown fields and extensions pass unread.
Only where that pass fails are the entries judged one by one, so that one foreign or broken resource never
costs the chart (cases B-021, B-023). Numbers written as text, R5 shapes and missing required fields
are invalid resources, never repaired. Nothing decoded here can form a cycle, so the collector need not look at it.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

__all__ = [
    "Bundle", "CodeableConcept", "Coding", "Condition", "Encounter", "Entry", "ImagingStudy", "Invalid", "KeyContent",
    "MedicationRequest", "Observation", "OperationOutcome", "Patient", "Procedure", "decode_key",
]  # fmt: skip


class Coding(Struct, frozen=True, gc=False):
    system: str | None = None
    code: str | None = None


class CodeableConcept(Struct, frozen=True, gc=False):
    coding: tuple[Coding, ...] = ()
    text: str | None = None


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
    def values(self) -> tuple[object, ...]:
        """Every value[x] that is there, of all types of R4."""
        values = (
            self.value_quantity, self.value_codeable_concept, self.value_string, self.value_integer, self.value_boolean,
            self.value_range, self.value_ratio, self.value_sampled_data, self.value_period, self.value_time,
            self.value_date_time,
        )  # fmt: skip
        return tuple(value for value in values if value is not None)


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


Failure = Literal["refused", "failed", "not_fhir", "wrapper", "wrong_type"]


class KeyContent(Struct, frozen=True):
    """What one prefetch key held."""

    resources: tuple[tuple[str | None, Known | Invalid], ...] = ()
    """(fullUrl, resource) in the order of arrival; resources of types that nothing reads are left out."""
    failure: Failure | None = None
    is_bundle: bool = False
    has_next: bool = False
    next_url: str | None = None
    total: int | None = None
    entries: int = 0
    """Entries in the Bundle that hold a resource, of any type but OperationOutcome."""


_decode = msgspec.json.Decoder(Known | Bundle).decode
_decode_known = msgspec.json.Decoder(Known).decode


_NOTHING = Raw()
_NULL = b"null"


class _LooseEntry(Struct, rename="camel"):
    full_url: str | None = None
    resource: Raw = _NOTHING


class _LooseBundle(Struct, rename="camel"):
    resource_type: str
    entry: tuple[Raw, ...] | None = ()
    link: tuple[Link, ...] | None = ()
    total: int | None = None


class _Tag(Struct, rename="camel"):
    resource_type: str


class _LooseCoded(Struct, rename="camel"):
    code: CodeableConcept | None = None


class _LooseComponents(Struct):
    component: tuple[_LooseCoded, ...] = ()


class _LooseId(Struct):
    id: str | None = None


class _Wrapper(Struct):
    """The pre-1.0 form of a prefetch answer (CH-108)."""

    response: Raw
    resource: Raw


_decode_loose = msgspec.json.Decoder(_LooseBundle).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_decode_wrapper = msgspec.json.Decoder(_Wrapper).decode
_KNOWN = frozenset(
    ("Patient", "Observation", "Condition", "MedicationRequest", "Procedure", "Encounter", "ImagingStudy")
)
_REFUSALS = frozenset(("forbidden", "security", "login", "expired", "suppressed", "not-supported"))


def decode_key(raw: bytes | Raw) -> KeyContent:
    """Decode what one prefetch key holds.

    Args:
        raw: The JSON of the key's value: a resource, a Bundle, ``null`` or an OperationOutcome.

    Returns:
        The resources, or the failure: ``refused`` or ``failed`` (an OperationOutcome), ``not_fhir`` (an error
        page, a list, a number), ``wrapper`` (the pre-1.0 form). ``null`` and an empty Bundle are answers without
        resources. Never raises on what JSON can hold.
    """
    if memoryview(raw).nbytes == len(_NULL) and bytes(raw) == _NULL:
        return KeyContent()
    try:
        content = _decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _judge_one_by_one(raw)
    if type(content) is Bundle:
        return _from_entries(
            [(entry.full_url, entry.resource) for entry in content.entry or ()], content.link or (), content.total
        )
    if isinstance(content, OperationOutcome):
        return KeyContent(failure=_failure(content))
    assert not isinstance(content, Bundle)  # noqa: S101 -- tells the type checker what the first branch took
    return KeyContent(resources=((None, content),), entries=1)


def _failure(outcome: OperationOutcome) -> Failure:
    return "refused" if _REFUSALS.intersection(outcome.codes) else "failed"


def _from_entries(
    entries: list[tuple[str | None, Known | Invalid | None]], links: tuple[Link, ...], total: int | None
) -> KeyContent:
    outcomes = [resource for _, resource in entries if type(resource) is OperationOutcome]
    for outcome in outcomes:
        if outcome.is_failure:
            return KeyContent(failure=_failure(outcome), is_bundle=True)
    resources = [(url, one) for url, one in entries if one is not None and type(one) is not OperationOutcome]
    following = next((link.url for link in links if link.relation == "next"), None)
    has_next = any(link.relation == "next" for link in links)
    return KeyContent(
        resources=tuple(resources),
        is_bundle=True,
        has_next=has_next,
        next_url=following,
        total=total,
        entries=len(resources),
    )


def _judge_one_by_one(raw: bytes | Raw) -> KeyContent:
    try:
        loose = _decode_loose(raw)
    except (msgspec.DecodeError, RecursionError):
        return _judge_single(raw)
    if loose.resource_type != "Bundle":
        return _judge_single(raw)
    entries: list[tuple[str | None, Known | Invalid | None]] = []
    others = 0
    for one in loose.entry or ():
        full_url, judged = _judge_entry(one)
        if judged is _NO_RESOURCE:
            continue
        if judged is None:
            others += 1
        entries.append((full_url, judged))
    content = _from_entries(entries, loose.link or (), loose.total)
    return msgspec.structs.replace(content, entries=content.entries + others)


def _judge_single(raw: bytes | Raw) -> KeyContent:
    try:
        _decode_wrapper(raw)
    except (msgspec.DecodeError, RecursionError):
        pass
    else:
        return KeyContent(failure="wrapper")
    try:
        tag = _decode_tag(raw).resource_type
    except (msgspec.DecodeError, RecursionError):
        return KeyContent(failure="not_fhir")
    if tag == "Bundle":  # a Bundle whose own fields are of wrong types
        return KeyContent(failure="not_fhir")
    judged = _judge(raw)
    if judged is None or isinstance(judged, OperationOutcome):
        return KeyContent(failure="wrong_type" if judged is None else _failure(judged))
    return KeyContent(resources=((None, judged),), entries=1)


def _judge(raw: bytes | Raw) -> Known | Invalid | None:
    """Decode one resource; a type that nothing reads is None, a known type in a wrong shape is Invalid."""
    try:
        known: Known = _decode_known(raw)
    except (msgspec.DecodeError, RecursionError):
        pass
    else:
        return known
    try:
        tag = _decode_tag(raw).resource_type
    except (msgspec.DecodeError, RecursionError):
        return Invalid("", None, None)
    if tag == "OperationOutcome":
        return OperationOutcome()  # what it says can't be read, so that it may say anything
    if tag not in _KNOWN:
        return None
    return Invalid(tag, _loosely_id(raw), _loosely_code(raw), _loosely_component_codes(raw))


_NO_RESOURCE = Invalid("", None, None)
"""Stands for an entry that holds no resource at all, as an answer in a history may."""


def _judge_entry(raw: Raw) -> tuple[str | None, Known | Invalid | None]:
    """(fullUrl, resource) of one entry; an entry that is no entry costs itself alone."""
    try:
        entry = msgspec.json.decode(raw, type=_LooseEntry)
    except (msgspec.DecodeError, RecursionError):
        return None, Invalid("", None, None)
    if entry.resource is _NOTHING:
        return entry.full_url, _NO_RESOURCE
    return entry.full_url, _judge(entry.resource)


def _loosely_code(raw: bytes | Raw) -> CodeableConcept | None:
    try:
        return msgspec.json.decode(raw, type=_LooseCoded).code
    except (msgspec.DecodeError, RecursionError):
        return None


def _loosely_component_codes(raw: bytes | Raw) -> tuple[CodeableConcept, ...]:
    try:
        components = msgspec.json.decode(raw, type=_LooseComponents).component
    except (msgspec.DecodeError, RecursionError):
        return ()
    return tuple(component.code for component in components if component.code is not None)


def _loosely_id(raw: bytes | Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=_LooseId).id
    except (msgspec.DecodeError, RecursionError):
        return None
