"""Made-up requests for a service that we know nothing about but its discovery entry."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

__all__ = ["CHARTS", "MARKER", "PATIENT", "Subject", "empty_searchset", "operation_outcome"]

PATIENT = "contract-patient-1"
MARKER = "zq7contractmarker"
"""Planted in malformed requests; no error may give it back (CH-074)."""
_CODES = re.compile(r"[?&](?:code|combo-code)=([^&]*)")


@dataclass(frozen=True, slots=True)
class Subject:
    """One patient-view service under test: its discovery entry and how to call it."""

    id: str
    prefetch: Mapping[str, str]

    @property
    def path(self) -> str:
        return f"/{self.id}"

    def request(self, prefetch: Mapping[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
        """A valid call; ``prefetch=None`` answers every key from the empty chart."""
        body: dict[str, Any] = {
            "hook": "patient-view",
            "hookInstance": str(uuid4()),
            "context": {"userId": "Practitioner/contract-user-1", "patientId": PATIENT},
        }
        filled = self.chart(_nothing) if prefetch is None else dict(prefetch)
        if filled:
            body["prefetch"] = filled
        body.update(overrides)
        return body

    def chart(self, search: Callable[[str], list[dict[str, Any]]], *, empty: Any = None) -> dict[str, Any]:
        """Answer every key: reads by what the type needs, searches by *search*.

        Args:
            search: Template → the resources that it finds.
            empty: What stands for a search without results; None: a searchset Bundle with total 0.
        """
        answers: dict[str, Any] = {}
        for key, template in self.prefetch.items():
            if "?" in template:
                found = search(template)
                answers[key] = _searchset(found) if found or empty is None else empty()
            else:
                answers[key] = _read(template)
        return answers


def empty_searchset() -> dict[str, Any]:
    """A search that found nothing."""
    return _searchset([])


def operation_outcome(code: str = "forbidden") -> dict[str, Any]:
    """What a client sends where its own query failed."""
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


def _searchset(found: list[dict[str, Any]]) -> dict[str, Any]:
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    if found:
        bundle["entry"] = [{"resource": resource, "search": {"mode": "match"}} for resource in found]
    return bundle


def _read(template: str) -> dict[str, Any] | None:
    """The resource of a read template; null for what this chart doesn't have."""
    kind = template.split("/", 1)[0]
    if kind == "Patient" and "patientId" in template:
        return {"resourceType": "Patient", "id": PATIENT, "gender": "female", "birthDate": "1964-03-05"}
    if kind == "Practitioner" or template.startswith("{{context.userId"):
        return {"resourceType": "Practitioner", "id": "contract-user-1"}
    return None


def _nothing(_: str) -> list[dict[str, Any]]:
    return []


def _uncoded(template: str) -> list[dict[str, Any]]:
    """Findings for searches by category only; searches by code come back empty."""
    return [] if _CODES.search(template) else _observations(template)


def _observations(template: str) -> list[dict[str, Any]]:
    """A chart with high values: what a rule or a model would most likely speak about."""
    if not template.startswith("Observation"):
        return []
    match = _CODES.search(template)
    if match is not None:
        codes = [tuple(code.split("|", 1)) for code in match[1].split(",")[:20] if "|" in code]
        return [_observation(system, code, 9.1, "%") for system, code in codes]
    if "vital-signs" in template:
        return [
            _observation("http://loinc.org", "8480-6", 172, "mm[Hg]", "vital-signs"),
            _observation("http://loinc.org", "8462-4", 101, "mm[Hg]", "vital-signs"),
            _observation("http://loinc.org", "39156-5", 34.2, "kg/m2", "vital-signs"),
        ]
    return [
        _observation("http://loinc.org", "2345-7", 262, "mg/dL"),
        _observation("http://loinc.org", "4548-4", 9.1, "%") if "4548-4" in template else _ldl(),
        _observation("http://loinc.org", "2160-0", 2.4, "mg/dL"),
    ]


def _ldl() -> dict[str, Any]:
    return _observation("http://loinc.org", "2089-1", 201, "mg/dL")


def _observation(system: str, code: str, value: float, unit: str, category: str = "laboratory") -> dict[str, Any]:
    taken = (datetime.now(UTC) - timedelta(days=3)).replace(microsecond=0).isoformat()
    categories = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "id": f"contract-{code}",
        "status": "final",
        "category": [{"coding": [{"system": categories, "code": category}]}],
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": taken,
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


CHARTS: tuple[tuple[str, Callable[[str], list[dict[str, Any]]]], ...] = (
    ("an empty chart", _nothing),
    ("high values, nothing under searches by code", _uncoded),
    ("high values everywhere", _observations),
)
"""Patients to call with, so that a service that says nothing about one may speak about another."""
