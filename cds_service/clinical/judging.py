"""Resources judged one by one, where a prefetch answer as a whole does not fit the shapes.

One foreign or broken resource then costs itself, never the chart (cases B-021, B-023). A known type in a wrong shape
is kept as ``Invalid``, with what can still be read of its id and its codes.
"""

import msgspec
from msgspec import Raw, Struct

from cds_service.clinical.fhir_shapes import CodeableConcept, Invalid, Known, OperationOutcome

__all__ = ["NO_RESOURCE", "Judged", "judge", "judge_entry", "resource_type_of"]

_NOTHING = Raw()


class _LooseEntry(Struct, rename="camel"):
    full_url: str | None = None
    resource: Raw = _NOTHING


class _Tag(Struct, rename="camel"):
    resource_type: str


class _LooseCoded(Struct, rename="camel"):
    code: CodeableConcept | None = None


class _LooseComponents(Struct):
    component: tuple[_LooseCoded, ...] = ()


class _LooseId(Struct):
    id: str | None = None


_decode_known = msgspec.json.Decoder(Known).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_KNOWN = frozenset(
    ("Patient", "Observation", "Condition", "MedicationRequest", "Procedure", "Encounter", "ImagingStudy")
)

NO_RESOURCE = Invalid("", None, None)
"""Stands for an entry that holds no resource at all, as an answer in a history may."""


def resource_type_of(raw: bytes | Raw) -> str | None:
    """The ``resourceType`` of what may have nothing else right; None where it has none."""
    try:
        return _decode_tag(raw).resource_type
    except (msgspec.DecodeError, RecursionError):
        return None


def judge(raw: bytes | Raw) -> Known | Invalid | None:
    """Decode one resource; a type that nothing reads is None, a known type in a wrong shape is Invalid."""
    try:
        known: Known = _decode_known(raw)
    except (msgspec.DecodeError, RecursionError):
        pass
    else:
        return known
    tag = resource_type_of(raw)
    if tag is None:
        return Invalid("", None, None)
    if tag == "OperationOutcome":
        return OperationOutcome()  # what it says can't be read, so that it may say anything
    if tag not in _KNOWN:
        return None
    return Invalid(tag, _loosely_id(raw), _loosely_code(raw), _loosely_component_codes(raw))


class Judged(Struct, frozen=True):
    """One entry whose resource was judged by itself."""

    full_url: str | None
    resource: Known | Invalid | None
    """None: of a type that nothing reads."""


def judge_entry(raw: Raw) -> Judged:
    """Judge one entry; an entry that is no entry costs itself alone."""
    try:
        entry = msgspec.json.decode(raw, type=_LooseEntry)
    except (msgspec.DecodeError, RecursionError):
        return Judged(None, Invalid("", None, None))
    if entry.resource is _NOTHING:
        return Judged(entry.full_url, NO_RESOURCE)
    return Judged(entry.full_url, judge(entry.resource))


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
