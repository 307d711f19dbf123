"""The sandbox's patient list: what an EHR shows before a chart is open."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from cds_service.sandbox.memory import Memory

__all__ = ["HBA1C_CODES", "list_patients"]

HBA1C_CODES = frozenset(
    {
        *("4548-4", "17856-6", "59261-8", "4549-2", "17855-8", "41995-2", "62388-4", "71875-9", "96595-4"),
        *("3D046000001920402", "3D046000001906202", "3D046000001927102", "3D046000001806201", "3D046000001829101"),
        *("3D046000001921002", "3D046000001923702", "3D046000001999902", "3D046000002129102"),
    }
)
"""LOINC and JLAC10 codes of HbA1c, to mark charts in the list. For display only: the service has its own sets."""

_KANA, _KANJI = "SYL", "IDE"
_REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def list_patients(memory: Memory, today: date) -> list[dict[str, Any]]:
    """List the patients with name, reading, sex, age, source and the day of their newest data."""
    return [_line(memory, patient, today) for patient in memory.of_type("Patient")]


def _line(memory: Memory, patient: Mapping[str, Any], today: date) -> dict[str, Any]:
    observations = memory.of_type("Observation", patient["id"])
    chart = memory.charts.get(patient["id"])
    line = {
        "id": patient["id"],
        "name": _name_of(patient),
        "reading": _name(patient, _KANA),
        "sex": patient.get("gender"),
        "birthDate": patient.get("birthDate"),
        "age": age_on(patient.get("birthDate"), str(patient.get("deceasedDateTime") or today.isoformat())[:10]),
        "deceased": bool(patient.get("deceasedDateTime") or patient.get("deceasedBoolean")),
        "source": chart.source if chart else "new",
        "shiftedDays": chart.shifted_days if chart else 0,
        "note": chart.note if chart else "",
        "newest": max((_day(observation) for observation in observations), default=""),
        "newestHba1c": max((_day(observation) for observation in observations if _is_hba1c(observation)), default=""),
    }
    return {name: value for name, value in line.items() if value not in (None, "")}


def _name_of(patient: Mapping[str, Any]) -> str:
    return _name(patient, _KANJI) or _name(patient, None) or str(patient["id"])


def _name(patient: Mapping[str, Any], representation: str | None) -> str:
    for name in patient.get("name", ()):
        if representation in (None, _representation(name.get("extension", ()))):
            given = " ".join(name.get("given", ()))
            return str(name.get("text") or f"{given} {name.get('family', '')}".strip())
    return ""


def _representation(extensions: Iterable[Mapping[str, Any]]) -> str | None:
    return next((item.get("valueCode") for item in extensions if item.get("url") == _REPRESENTATION), None)


def _day(observation: Mapping[str, Any]) -> str:
    return str(observation.get("effectiveDateTime", ""))[:10]


def _is_hba1c(observation: Mapping[str, Any]) -> bool:
    return any(coding.get("code") in HBA1C_CODES for coding in observation.get("code", {}).get("coding", ()))


def age_on(birth_date: str | None, day: str) -> int | None:
    """Whole years between a birth date and a day; None when either is not a full date.

    >>> age_on("1960-06-15", "2026-06-14")
    65
    """
    try:
        born, then = date.fromisoformat(birth_date or ""), date.fromisoformat(day)
    except ValueError:
        return None
    return then.year - born.year - ((then.month, then.day) < (born.month, born.day))
