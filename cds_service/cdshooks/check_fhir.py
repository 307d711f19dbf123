"""Templates and examples against FHIR R4B models and our own reading of a request. The only importer of fhir.resources here."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cds_service.cdshooks.check_findings import Checked, Finding
from cds_service.cdshooks.order_template import fill_template
from cds_service.cdshooks.wire import read_request
from cds_service.errors import WireError

__all__ = ["SAMPLE_SLOTS", "check_fhir", "fhir_faults"]

SAMPLE_SLOTS: Mapping[str, Any] = {
    "{patient}": "Patient/example",
    "{encounter}": "Encounter/example",
    "{requester}": "Practitioner/example",
    "{order_coding}": {"system": "urn:example:orders", "code": "LAB1"},
    "{reason}": "a reason",
    "{authored_on}": "2026-06-01T00:00:00Z",
}
"""A value for every slot, to see whether a template makes a valid resource."""


def check_fhir(checked: Checked) -> Iterator[Finding]:
    """Each template, filled and with its optional slots empty; each example request and its response."""
    for place, suggestion in enumerate(checked.service.card.suggestions):
        path = ("card", "suggestion", place, "resource")
        sparse = {**SAMPLE_SLOTS, "{encounter}": None, "{order_coding}": None, "{requester}": None}
        for slots in (SAMPLE_SLOTS, sparse):
            faults = list(fhir_faults(fill_template(suggestion.resource, slots)))
            for where, what in faults:
                yield checked.error(path, f"the template is no valid FHIR R4B resource: {where}: {what}", "mend it")
            if faults:
                break
        if suggestion.resource.get("subject") != {"reference": "{patient}"} and "patient" not in suggestion.resource:
            yield checked.error(
                path, "the template is not about the patient", 'write "subject": {"reference": "{patient}"}'
            )
    for path_ in sorted((checked.folder / "examples").glob("*.request.json")):
        yield from _example(checked, path_)


def fhir_faults(resource: object) -> Iterator[tuple[str, str]]:
    """Where and why a resource is not valid R4B; values are never repeated."""
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        yield "resource", "it has no resourceType"
        return
    try:
        model = get_fhir_model_class(resource["resourceType"])
    except KeyError:
        yield "resourceType", "no such type in R4B"
        return
    try:
        model.model_validate(resource)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            yield ".".join(map(str, fault["loc"])) or "resource", fault["msg"]


def _example(checked: Checked, path: Path) -> Iterator[Finding]:
    def found(what: str, do: str) -> Finding:
        return Finding(str(path), 1, "error", what, do)

    body = path.read_bytes()
    try:
        request = read_request(body)
    except WireError as error:
        yield from (found(f"{fault.where}: {fault.what}", fault.do) for fault in error.faults)
        return
    if request.hook != checked.service.hook:
        yield found(f"the example calls {request.hook}, the service answers {checked.service.hook}", "mend the hook")
    declared = {key.name for key in checked.service.prefetch}
    for key, value in json.loads(body).get("prefetch", {}).items():
        if key not in declared:
            yield found(f"prefetch.{key}: the service declares no such key", "remove it")
        if value is not None:
            for where, what in fhir_faults(value):
                yield found(f"prefetch.{key}.{where}: {what}", "mend the resource")
    response = path.with_name(path.name.replace(".request.json", ".response.json"))
    if not response.is_file():
        yield Finding(str(path), 1, "warning", "the example has no answer", f"write {response.name}")
        return
    try:
        answer = json.loads(response.read_bytes())
    except ValueError as problem:
        yield Finding(
            str(response), getattr(problem, "lineno", 1), "error", "the answer is not JSON", "mend the syntax"
        )
        return
    for card in answer.get("cards", ()) if isinstance(answer, dict) else ():
        for suggestion in card.get("suggestions", ()):
            for action in suggestion.get("actions", ()):
                for where, what in fhir_faults(action.get("resource")):
                    yield Finding(str(response), 1, "error", f"a suggested resource: {where}: {what}", "mend it")
