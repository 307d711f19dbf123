"""The bodies of the benchmarks: US-Core-shaped chart opens of 50 and 1,000 resources, a new patient in each call.

A call holds one Patient, Observations and Conditions, spread over the keys that the service declares. Laboratory and
vital signs come in the mix of an ordinary chart, so that most codes are none that a feature reads. The values are
those of a patient at risk without a diagnosis and without a recent HbA1c: the model speaks and its card is shown.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle

__all__ = ["MARK", "SIZES", "Size", "call_template", "one_call"]

MARK = "@@@@@@@@@@@@"
"""Stands in a template where the twelve digits of a call's number go: in the patient's id and in hookInstance."""


@dataclass(frozen=True, slots=True)
class Size:
    """How a body is made up."""

    resources: int
    conditions: int
    bytes_each: int
    """Mean length of an entry that the narrative is filled up to."""


SIZES = {50: Size(50, 2, 1_319), 1000: Size(1000, 40, 1_357)}
"""69 kB and 1.40 MB."""

_LOINC = "http://loinc.org"
_UCUM = "http://unitsofmeasure.org"
_PROFILE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_LABORATORY = (
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", 168.0, "mg/dL"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", 0.9, "mg/dL"),
    ("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", 14.0, "mg/dL"),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", 140.0, "mmol/L"),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", 4.2, "mmol/L"),
    ("2075-0", "Chloride [Moles/volume] in Serum or Plasma", 103.0, "mmol/L"),
    ("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", 25.0, "mmol/L"),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", 9.4, "mg/dL"),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", 228.0, "mg/dL"),
    ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", 36.0, "mg/dL"),
    ("18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay", 141.0, "mg/dL"),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", 231.0, "mg/dL"),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", 7.1, "10*3/uL"),
    ("789-8", "Erythrocytes [#/volume] in Blood by Automated count", 4.8, "10*6/uL"),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", 14.6, "g/dL"),
    ("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", 43.0, "%"),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", 251.0, "10*3/uL"),
    ("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", 38.0, "U/L"),
    ("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma", 29.0, "U/L"),
    ("6768-6", "Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma", 71.0, "U/L"),
    ("1751-7", "Albumin [Mass/volume] in Serum or Plasma", 4.3, "g/dL"),
)
_VITAL_SIGNS = (
    ("85354-9", "Blood pressure panel with all children optional", None, ""),
    ("39156-5", "Body mass index (BMI) [Ratio]", 34.8, "kg/m2"),
    ("8280-0", "Waist Circumference at umbilicus by Tape measure", 113.0, "cm"),
    ("29463-7", "Body weight", 104.0, "kg"),
    ("8302-2", "Body height", 173.0, "cm"),
    ("8867-4", "Heart rate", 76.0, "/min"),
    ("9279-1", "Respiratory rate", 15.0, "/min"),
    ("8310-5", "Body temperature", 36.7, "Cel"),
    ("2708-6", "Oxygen saturation in Arterial blood", 97.0, "%"),
)
_HBA1C = ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", 5.4, "%")
_CONDITIONS = (
    ("59621000", "Essential hypertension", "I10"),
    ("55822004", "Hyperlipidemia", "E78.5"),
    ("396275006", "Osteoarthritis", "M19.90"),
    ("195967001", "Asthma", "J45.909"),
)
_HBA1C_DAYS_AGO = 1_500
"""Longer ago than any window of the service."""


def call_template(size: Size, *, now: datetime | None = None) -> str:
    """The body of a call with :data:`MARK` for its number.

    Args:
        size: One of :data:`SIZES`.
        now: Results are dated back from here; today by default.
    """
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    observations = size.resources - 1 - size.conditions
    hba1c = max(1, observations // 100)
    laboratory = round((observations - hba1c) * 0.62)
    vital_signs = observations - hba1c - laboratory
    long_ago = now - timedelta(days=_HBA1C_DAYS_AGO)
    return json.dumps(
        {
            "hookInstance": f"00000000-0000-4000-8000-{MARK}",
            "hook": "patient-view",
            "fhirServer": "https://ehr.example.org/fhir",
            "context": {
                "userId": "Practitioner/bench-practitioner",
                "patientId": f"bench-{MARK}",
                "encounterId": "bench-encounter",
            },
            "prefetch": {
                "patient": _patient(),
                "problems": _bundle(
                    _condition(number, size) for number, _ in zip(range(size.conditions), cycle(_CONDITIONS))
                ),
                "medications": _bundle(()),
                "hba1c": _bundle(
                    _observation(f"h{number}", _HBA1C, "laboratory", long_ago - timedelta(days=90 * number), size)
                    for number in range(hba1c)
                ),
                "labs": _bundle(_series("l", _LABORATORY, laboratory, "laboratory", now, size)),
                "vitals": _bundle(_series("v", _VITAL_SIGNS, vital_signs, "vital-signs", now, size)),
                "encounter": _encounter(now),
                "procedures": _bundle(()),
                "pregnancy": _bundle(()),
            },
        },
        separators=(",", ":"),
    )


def one_call(template: str, number: int) -> bytes:
    """The body of call *number*: a patient that was not seen before and a fresh hookInstance."""
    return template.replace(MARK, f"{number:012d}").encode()


def _series(prefix, kinds, count, category, now, size):
    """Newest first, one panel after the other, a week apart."""
    for number in range(count):
        taken = now - timedelta(days=1 + 7 * (number // len(kinds)), minutes=number % len(kinds))
        yield _observation(f"{prefix}{number}", kinds[number % len(kinds)], category, taken, size)


def _patient():
    return {
        "resourceType": "Patient",
        "id": f"bench-{MARK}",
        "meta": {"profile": [f"{_PROFILE}-patient"]},
        "extension": [{"url": f"{_PROFILE}-birthsex", "valueCode": "M"}],
        "identifier": [{"system": "urn:oid:1.2.36.146.595.217.0.1", "value": MARK}],
        "active": True,
        "name": [{"use": "official", "family": "Bench", "given": ["Chart"]}],
        "gender": "male",
        "birthDate": "1961-04-12",
        "address": [{"line": ["1 Example Street"], "city": "Springfield", "postalCode": "01101", "country": "US"}],
    }


def _encounter(now):
    return {
        "resourceType": "Encounter",
        "id": "bench-encounter",
        "status": "in-progress",
        "class": {"system": f"{_TERMS}/v3-ActCode", "code": "AMB", "display": "ambulatory"},
        "subject": {"reference": f"Patient/bench-{MARK}"},
        "period": {"start": now.isoformat()},
    }


def _condition(number, size):
    snomed, name, icd = _CONDITIONS[number % len(_CONDITIONS)]
    return _filled(
        {
            "resourceType": "Condition",
            "id": f"bench-c{number}",
            "meta": {"versionId": "1", "profile": [f"{_PROFILE}-condition-problems-health-concerns"]},
            "clinicalStatus": _concept(f"{_TERMS}/condition-clinical", "active", "Active"),
            "verificationStatus": _concept(f"{_TERMS}/condition-ver-status", "confirmed", "Confirmed"),
            "category": [_concept(f"{_TERMS}/condition-category", "problem-list-item", "Problem List Item")],
            "code": {
                "coding": [
                    {"system": "http://snomed.info/sct", "code": snomed, "display": name},
                    {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd, "display": name},
                ],
                "text": name,
            },
            "subject": {"reference": f"Patient/bench-{MARK}"},
            "onsetDateTime": f"20{10 + number % 12}-03-01",
            "recordedDate": f"20{10 + number % 12}-03-04",
        },
        size,
    )


def _observation(name, kind, category, taken, size):
    code, display, value, unit = kind
    resource = {
        "resourceType": "Observation",
        "id": f"bench-{name}",
        "meta": {"versionId": "1", "lastUpdated": taken.isoformat(), "profile": [f"{_PROFILE}-observation-lab"]},
        "status": "final",
        "category": [_concept(f"{_TERMS}/observation-category", category, category)],
        "code": {"coding": [{"system": _LOINC, "code": code, "display": display}], "text": display},
        "subject": {"reference": f"Patient/bench-{MARK}"},
        "encounter": {"reference": f"Encounter/bench-{name}"},
        "effectiveDateTime": taken.isoformat(),
        "issued": (taken + timedelta(hours=2)).isoformat(),
        "performer": [{"reference": "Organization/bench-laboratory", "display": "Example Laboratory"}],
    }
    if value is None:
        resource["component"] = [
            {**_loinc("8480-6", "Systolic blood pressure"), "valueQuantity": _quantity(148.0, "mm[Hg]")},
            {**_loinc("8462-4", "Diastolic blood pressure"), "valueQuantity": _quantity(91.0, "mm[Hg]")},
        ]
    else:
        resource["valueQuantity"] = _quantity(value, unit)
        if category == "laboratory":
            resource["interpretation"] = [_concept(f"{_TERMS}/v3-ObservationInterpretation", "N", "Normal")]
            resource["referenceRange"] = [
                {"low": _quantity(value * 0.7, unit), "high": _quantity(value * 1.3, unit), "text": "adults"}
            ]
    return _filled(resource, size)


def _filled(resource, size):
    """Bring an entry to the mean length of its size with the narrative that servers add."""
    narrative = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"></div>'}
    resource = {**resource, "text": narrative}
    lacking = size.bytes_each - 1 - len(json.dumps(_entry(resource), separators=(",", ":")))
    words = "Result as reported by the source system. " * 24
    narrative["div"] = f'<div xmlns="http://www.w3.org/1999/xhtml">{words[: max(0, lacking)]}</div>'
    return resource


def _bundle(resources):
    entries = [_entry(resource) for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries} if entries else {
        "resourceType": "Bundle", "type": "searchset", "total": 0,
    }  # fmt: skip


def _entry(resource):
    where = f"https://ehr.example.org/fhir/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": where, "resource": resource, "search": {"mode": "match"}}


def _concept(system, code, display):
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _loinc(code, display):
    return {"code": {**_concept(_LOINC, code, display), "text": display}}


def _quantity(value, unit):
    return {"value": round(value, 2), "unit": unit, "system": _UCUM, "code": unit}
