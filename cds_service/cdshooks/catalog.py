"""``hooks/*`` → the services that discovery lists; adding one needs no Python."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cds_service.cdshooks.catalog_read import read_service
from cds_service.cdshooks.declaration import Service
from cds_service.cdshooks.hook_specs import HOOKS
from cds_service.errors import DeclarationError, Fault, UnknownService

__all__ = ["CDS_HOOKS_VERSION", "Catalog", "duplicates", "load_services"]

CDS_HOOKS_VERSION = "2.0.1"
"""The version of the specification that we implement (CH-031)."""


@dataclass(frozen=True)
class Catalog:
    """All services of this process, sorted by id and hook."""

    services: tuple[Service, ...] = ()

    def discovery(self) -> dict[str, Any]:
        """The discovery document (CH-020 … CH-036)."""
        return {"services": [_entry(service) for service in self.services]}

    @cached_property
    def discovery_bytes(self) -> bytes:
        """The discovery document as it is sent, made once."""
        return json.dumps(self.discovery(), ensure_ascii=False, separators=(",", ":")).encode()

    def of(self, ids: Collection[str]) -> "Catalog":
        """Only the services of these ids: what one client may know of (SEC-019)."""
        return Catalog(tuple(service for service in self.services if service.id in ids))

    def find(self, service_id: str, hook: str | None = None) -> Service:
        """The service that answers.

        Args:
            service_id: The last segment of the called URL.
            hook: ``hook`` of the body; one id may be listed under several hooks (CH-033). None finds the first.

        Raises:
            UnknownService: No service has this id (CH-061), or none under this hook: see :meth:`hooks`.
        """
        of_id = [service for service in self.services if service.id == service_id]
        found = next((service for service in of_id if hook in (None, service.hook)), None)
        if found is None:
            what = "this service does not answer this hook" if of_id else "there is no service of this id"
            raise UnknownService(Fault("path", what, "GET /cds-services lists the services and their hooks"))
        return found

    def hooks(self, service_id: str) -> tuple[str, ...]:
        """The hooks under which an id is listed; empty for an unknown id."""
        return tuple(service.hook for service in self.services if service.id == service_id)


def load_services(hooks: Path) -> Catalog:
    """Read every service folder.

    Args:
        hooks: A folder of service folders; one without ``service.toml`` is passed over when it is hidden, and is a
            fault otherwise. An empty folder is an empty catalog (CH-023).

    Raises:
        DeclarationError: Any folder is wrong; all faults of all folders at once, each with file and line.
    """
    faults: list[Fault] = []
    services: list[Service] = []
    if not hooks.is_dir():
        raise DeclarationError(Fault(str(hooks), "there is no such folder", "name the folder that holds the services"))
    for folder in sorted(path for path in hooks.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))):
        try:
            services.append(read_service(folder)[0])
        except DeclarationError as error:
            faults.extend(error.faults)
    faults.extend(duplicates(services))
    if faults:
        raise DeclarationError(*faults)
    return Catalog(tuple(sorted(services, key=lambda service: (service.id, service.hook))))


def duplicates(services: list[Service]) -> list[Fault]:
    """Services that share id and hook: a call could not be dispatched (CH-034). Each fault names both folders."""
    seen: dict[tuple[str, str], Service] = {}
    faults = []
    for service in services:
        first = seen.setdefault((service.id, service.hook), service)
        if first is not service:
            faults.append(
                Fault(
                    f"{service.folder}/service.toml:1",
                    f"'{first.folder}' already declares the service '{service.id}' for the hook '{service.hook}'",
                    "give one of them another id or hook",
                )
            )
    return faults


def _entry(service: Service) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "hook": service.hook,
        "id": service.id,
        "title": service.title,
        "description": service.description,
        "version": CDS_HOOKS_VERSION,
    }
    if service.usage_requirements:
        entry["usageRequirements"] = service.usage_requirements
    if service.hook in HOOKS:
        entry["hookVersion"] = HOOKS[service.hook].version
    if service.prefetch:
        entry["prefetch"] = {key.name: key.query for key in service.prefetch}
    return entry
