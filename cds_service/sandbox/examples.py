"""The examples of a service folder as patients: what its author wrote down to show, one can open here."""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from cds_service.sandbox.charts import Chart, Resource, make_chart, read_object, with_references

__all__ = ["read_examples"]

SUFFIX = ".request.json"


def read_examples(hooks: Path, today: date) -> tuple[Chart, ...]:
    """Read ``<service>/examples/*.request.json`` under *hooks*: each patient once, as the prefetch gives them.

    An example that leaves out a key is left out here: a chart can hold nothing for a query, but it cannot
    refuse the query.

    Raises:
        DeclarationError: An example is not a JSON object.
    """
    charts: dict[str, Chart] = {}
    taken: set[str] = set()
    for folder in sorted(hooks.glob("*/examples")):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            request = read_object(path, f"{folder.parent.name}/examples/{path.name}")
            prefetch: Mapping[str, Any] = request.get("prefetch", {})
            patient_id = request["context"]["patientId"]
            if patient_id not in charts and _required(folder.parent) <= prefetch.keys():
                resources = _with_own_ids(patient_id, prefetch, taken)
                note = _shows(folder, path.name.removesuffix(SUFFIX))
                charts[patient_id] = make_chart("example", patient_id, resources, today, note)
    return tuple(charts.values())


def _required(service: Path) -> set[str]:
    keys = _toml(service / "service.toml").get("prefetch", {})
    return {name for name, key in keys.items() if key.get("required")}


def _shows(folder: Path, name: str) -> str:
    return str(_toml(folder / "examples.toml").get("example", {}).get(name, {}).get("shows", ""))


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _with_own_ids(patient_id: str, prefetch: Mapping[str, Any], taken: set[str]) -> list[Resource]:
    """Gather the resources; an id that another example has used (``Encounter/enc-1``) gets the patient's in front."""
    found = {f"{resource['resourceType']}/{resource['id']}": resource for resource in _resources(prefetch)}
    names = {name: name.replace("/", f"/{patient_id}.", 1) if name in taken else name for name in found}
    taken.update(names.values())
    return [
        with_references(resource, names) | {"id": names[name].partition("/")[2]} for name, resource in found.items()
    ]


def _resources(prefetch: Mapping[str, Any]) -> Iterator[Resource]:
    for value in prefetch.values():
        if value is not None and value["resourceType"] == "Bundle":
            yield from (entry["resource"] for entry in value.get("entry", ()))
        elif value is not None:
            yield value
