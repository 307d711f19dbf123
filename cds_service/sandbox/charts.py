"""Reads the patients of the sandbox: one file, one chart, its references made whole and its dates recent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from cds_service.errors import DeclarationError
from cds_service.sandbox.dates import days_to_shift, shift_dates

__all__ = ["Chart", "make_chart", "read_charts", "read_object", "with_references"]

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """One patient as the sandbox holds them; a directory of practitioners and organisations has no patient."""

    source: str
    """Where it came from: ``synthea``, ``us-core``, ``jp-style``, ``ehr``, or ``example`` for a service's own."""
    patient_id: str | None
    shifted_days: int
    resources: tuple[Resource, ...]
    note: str = ""
    """What an example shows, in its author's words."""


def read_charts(folder: Path, today: date) -> tuple[Chart, ...]:
    """Read every ``<source>/<file>.json`` under *folder*, in a stable order.

    Args:
        folder: The sandbox's ``patients`` folder.
        today: The day that dates are shifted towards; an argument, so that a test can state it.

    Raises:
        DeclarationError: A file is not a FHIR Bundle, or holds more than one Patient.
    """
    return tuple(_read_chart(path, today) for path in sorted(folder.glob("*/*.json")))


def read_object(path: Path, where: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        DeclarationError: It does not; *where* names the file to the reader.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as fault:
        raise DeclarationError.of(f"not a JSON object ({fault})", where=where, do="Mend the file") from fault


def _read_chart(path: Path, today: date) -> Chart:
    where = f"{path.parent.name}/{path.name}"
    bundle = read_object(path, where)
    entries: list[dict[str, Any]] = bundle.get("entry", [])
    if bundle.get("resourceType") != "Bundle" or not entries:
        raise DeclarationError.of("not a FHIR Bundle with entries", where=where, do="Give a FHIR Bundle")
    names = {entry["fullUrl"]: _name(entry["resource"]) for entry in entries if "fullUrl" in entry}
    resources = [with_references(entry["resource"], names) for entry in entries]
    patients = [resource["id"] for resource in resources if resource["resourceType"] == "Patient"]
    if len(patients) > 1:
        raise DeclarationError.of("more than one Patient", where=where, do="Give one file for each patient")
    return make_chart(path.parent.name, patients[0] if patients else None, resources, today)


def make_chart(
    source: str, patient_id: str | None, resources: Sequence[Resource], today: date, note: str = ""
) -> Chart:
    """Make a chart with its dates moved towards *today*."""
    days = days_to_shift(resources, today)
    return Chart(source, patient_id, days, tuple(shift_dates(resource, days) for resource in resources), note)


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def with_references(value: Any, names: Mapping[str, str]) -> Any:
    """Copy a resource with the references that *names* knows (``urn:uuid:…``, absolute) turned into ``Type/id``."""
    if isinstance(value, dict):
        return {
            key: names.get(item, item) if key == "reference" and isinstance(item, str) else with_references(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [with_references(item, names) for item in value]
    return value
