"""Reads the patients of the sandbox: one file, one chart, its references made whole and its dates recent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from cds_service.errors import DeclarationError
from cds_service.sandbox.dates import days_to_shift, shift_dates

__all__ = ["Chart", "read_charts"]

Resource = dict[str, Any]

_PROBLEM_LIST = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/condition-category", "code": "problem-list-item"},
    ]
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One patient as the sandbox holds them; a directory of practitioners and organisations has no patient."""

    source: str
    """The folder it came from: ``synthea``, ``us-core``, ``jp-style``, ``ehr``."""
    patient_id: str | None
    shifted_days: int
    resources: tuple[Resource, ...]


def read_charts(folder: Path, today: date) -> tuple[Chart, ...]:
    """Read every ``<source>/<file>.json`` under *folder*, in a stable order.

    Args:
        folder: The sandbox's ``patients`` folder.
        today: The day that dates are shifted towards; an argument, so that a test can state it.

    Raises:
        DeclarationError: A file is not a FHIR Bundle, or holds more than one Patient.
    """
    return tuple(_read_chart(path, today) for path in sorted(folder.glob("*/*.json")))


def _read_chart(path: Path, today: date) -> Chart:
    where = f"{path.parent.name}/{path.name}"
    try:
        bundle = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as fault:
        raise DeclarationError.of(f"not a JSON object ({fault})", where=where, do="Give a FHIR Bundle") from fault
    entries: list[dict[str, Any]] = bundle.get("entry", [])
    if bundle.get("resourceType") != "Bundle" or not entries:
        raise DeclarationError.of("not a FHIR Bundle with entries", where=where, do="Give a FHIR Bundle")
    names = {entry["fullUrl"]: _name(entry["resource"]) for entry in entries if "fullUrl" in entry}
    resources = [_with_whole_references(entry["resource"], names) for entry in entries]
    patients = [resource["id"] for resource in resources if resource["resourceType"] == "Patient"]
    if len(patients) > 1:
        raise DeclarationError.of("more than one Patient", where=where, do="Give one file for each patient")
    days = days_to_shift(resources, today)
    return Chart(
        source=path.parent.name,
        patient_id=patients[0] if patients else None,
        shifted_days=days,
        resources=tuple(_as_the_ehr_keeps_it(shift_dates(resource, days)) for resource in resources),
    )


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _with_whole_references(value: Any, names: Mapping[str, str]) -> Any:
    """Turn ``urn:uuid:…`` and absolute references inside one Bundle into ``Type/id``."""
    if isinstance(value, dict):
        return {
            key: names.get(item, item)
            if key == "reference" and isinstance(item, str)
            else _with_whole_references(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_whole_references(item, names) for item in value]
    return value


def _as_the_ehr_keeps_it(resource: Resource) -> Resource:
    """Put Conditions that name no category on the problem list, where an EHR would hold them.

    Synthea's Conditions name none, so the usual problem-list query would find nothing and a known
    diagnosis would look absent.
    """
    if resource["resourceType"] == "Condition" and not resource.get("category"):
        return resource | {"category": [_PROBLEM_LIST]}
    return resource
