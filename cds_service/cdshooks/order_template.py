"""A FHIR resource with typed slots, filled by code only: what a suggestion drafts.

A slot is a whole JSON value, as in ``"reference": "{patient}"``; never a part of a text, so nothing can be injected.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["SLOTS", "fill_template", "unknown_slots"]

SLOTS: Mapping[str, str] = {
    "{patient}": 'reference of the patient, "Patient/<id>"',
    "{encounter}": 'reference of the encounter, "Encounter/<id>"; left out when the chart was opened without one',
    "{requester}": "reference of the user who opened the chart, when it is a clinician",
    "{order_coding}": "the client's own order code, a Coding; left out when the client has none",
    "{reason}": "why, in a sentence of the service's texts",
    "{authored_on}": "the moment of the hook call, a dateTime",
}
"""Every slot that code fills, and what with."""


def fill_template(template: Mapping[str, Any], slots: Mapping[str, Any]) -> dict[str, Any]:
    """Fill a template.

    Args:
        template: As the file says it.
        slots: Slot (with braces) → its value. A slot whose value is None, or that is absent here, is left out, and
            so is everything that is then empty: no ``"encounter": {}`` (CH-003).

    Returns:
        A new resource, nothing shared with the template.

    >>> fill_template({"encounter": {"reference": "{encounter}"}, "status": "draft"}, {"{encounter}": None})
    {'status': 'draft'}
    """
    filled = _filled(template, slots)
    return filled if isinstance(filled, dict) else {}


def unknown_slots(template: object) -> list[str]:
    """What looks like a slot but is none that code fills."""
    if isinstance(template, Mapping):
        return [slot for value in template.values() for slot in unknown_slots(value)]
    if isinstance(template, list):
        return [slot for value in template for slot in unknown_slots(value)]
    if isinstance(template, str) and ("{" in template or "}" in template) and template not in SLOTS:
        return [template]
    return []


def _filled(value: Any, slots: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        pairs = ((key, _filled(inner, slots)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if inner is not None} or None
    if isinstance(value, list):
        return [inner for inner in (_filled(item, slots) for item in value) if inner is not None] or None
    return slots.get(value) if isinstance(value, str) and value in SLOTS else value
