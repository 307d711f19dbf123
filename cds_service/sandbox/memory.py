"""The sandbox's FHIR resources, in memory: what was shipped, and what the user ordered since."""

from collections.abc import Mapping, Sequence
from typing import Any

from cds_service.sandbox.charts import Chart
from cds_service.sandbox.search_parameters import PARAMETERS

__all__ = ["CREATED_MAX", "Memory"]

CREATED_MAX = 2000
"""How many resources a user may add before the server refuses more: memory is all there is."""

Resource = dict[str, Any]


class Memory:
    """Resources by type and id, and by patient; ``created`` counts those that a user added."""

    def __init__(self, charts: Sequence[Chart]) -> None:
        self.charts = {chart.patient_id: chart for chart in charts if chart.patient_id}
        self._by_id: dict[str, dict[str, Resource]] = {name: {} for name in PARAMETERS}
        self._by_patient: dict[str, dict[str, list[Resource]]] = {}
        self.created = 0
        for chart in charts:
            for resource in chart.resources:
                self._keep(resource)

    def _keep(self, resource: Resource) -> None:
        of_type = self._by_id[resource["resourceType"]]
        if resource["id"] in of_type:  # a Practitioner or Organization that several charts name
            return
        of_type[resource["id"]] = resource
        patient = patient_of(resource)
        if patient:
            self._by_patient.setdefault(patient, {}).setdefault(resource["resourceType"], []).append(resource)

    def add(self, resource: Resource) -> None:
        """Keep a resource that a user created, until the process ends."""
        self.created += 1
        self._keep(resource)

    def read(self, resource_type: str, resource_id: str) -> Resource | None:
        """One resource, or None."""
        return self._by_id[resource_type].get(resource_id)

    def of_type(self, resource_type: str, patient_id: str | None = None) -> list[Resource]:
        """All resources of a type, or those of one patient, in the order in which they were kept."""
        if patient_id is None:
            return list(self._by_id[resource_type].values())
        return list(self._by_patient.get(patient_id, {}).get(resource_type, ()))


def patient_of(resource: Mapping[str, Any]) -> str | None:
    """The id of the patient whom a resource is about, or None."""
    about: Mapping[str, str] = resource.get("subject") or resource.get("patient") or {}
    head, _, tail = about.get("reference", "").rpartition("/")
    return tail if head.endswith("Patient") else None
