"""Which search parameters the sandbox's R4 server knows, and the elements that each one reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["PARAMETERS", "Parameter", "find_parameter"]

Kind = Literal["token", "reference", "date", "string"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter of one resource type, as FHIR R4 defines it."""

    name: str
    kind: Kind
    paths: tuple[str, ...]
    """Dotted element paths; a list on the way is walked through."""


_ID = Parameter("_id", "token", ("id",))


def _patient(path: str = "subject") -> tuple[Parameter, ...]:
    both = (Parameter("patient", "reference", (path,)),)
    return (*both, Parameter("subject", "reference", (path,))) if path == "subject" else both


def _tokens(**paths: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name.replace("_", "-"), "token", tuple(path.split())) for name, path in paths.items())


def _dates(**paths: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name.replace("_", "-"), "date", tuple(path.split())) for name, path in paths.items())


_ENCOUNTER = (Parameter("encounter", "reference", ("encounter",)),)
_NAMES = (
    Parameter("name", "string", ("name.text", "name.family", "name.given")),
    Parameter("family", "string", ("name.family",)),
    Parameter("given", "string", ("name.given",)),
)

PARAMETERS: Mapping[str, tuple[Parameter, ...]] = {
    resource_type: (_ID, *parameters)
    for resource_type, parameters in {
        "Patient": (*_NAMES, *_tokens(gender="gender", identifier="identifier"), *_dates(birthdate="birthDate")),
        "Practitioner": (*_NAMES, *_tokens(identifier="identifier")),
        "Organization": (Parameter("name", "string", ("name",)), *_tokens(identifier="identifier")),
        "Endpoint": _tokens(status="status", connection_type="connectionType"),
        "Observation": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(code="code", category="category", status="status"),
            *_dates(date="effectiveDateTime effectivePeriod effectiveInstant"),
        ),
        "Condition": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(
                code="code",
                category="category",
                clinical_status="clinicalStatus",
                verification_status="verificationStatus",
            ),
            *_dates(onset_date="onsetDateTime onsetPeriod", recorded_date="recordedDate"),
        ),
        "MedicationRequest": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(code="medicationCodeableConcept", status="status", intent="intent", category="category"),
            *_dates(authoredon="authoredOn"),
        ),
        "MedicationStatement": (
            *_patient(),
            *_tokens(code="medicationCodeableConcept", status="status"),
            *_dates(effective="effectiveDateTime effectivePeriod"),
        ),
        "Encounter": (
            *_patient(),
            *_tokens(status="status", type="type", **{"class": "class"}),
            *_dates(date="period"),
        ),
        "Procedure": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(code="code", status="status", category="category"),
            *_dates(date="performedDateTime performedPeriod"),
        ),
        "DiagnosticReport": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(code="code", category="category", status="status"),
            *_dates(date="effectiveDateTime effectivePeriod"),
        ),
        "ServiceRequest": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(code="code", category="category", status="status", intent="intent"),
            *_dates(authored="authoredOn"),
        ),
        "ImagingStudy": (
            *_patient(),
            *_ENCOUNTER,
            *_tokens(modality="modality series.modality", status="status"),
            *_dates(started="started"),
        ),
        "AllergyIntolerance": (
            *_patient("patient"),
            *_tokens(code="code", clinical_status="clinicalStatus"),
            *_dates(date="recordedDate"),
        ),
        "Immunization": (
            *_patient("patient"),
            *_tokens(vaccine_code="vaccineCode", status="status"),
            *_dates(date="occurrenceDateTime"),
        ),
        "Goal": (*_patient(), *_tokens(lifecycle_status="lifecycleStatus"), *_dates(start_date="startDate")),
        "CarePlan": (*_patient(), *_tokens(category="category", status="status"), *_dates(date="period")),
        "Specimen": (*_patient(), *_tokens(type="type")),
        "Media": (*_patient(), *_ENCOUNTER, *_tokens(status="status")),
    }.items()
}
"""Resource type → its parameters. A type that is not here is not served."""


def find_parameter(resource_type: str, name: str) -> Parameter | None:
    """The parameter of this name, or None when the type has none."""
    return next((parameter for parameter in PARAMETERS[resource_type] if parameter.name == name), None)
