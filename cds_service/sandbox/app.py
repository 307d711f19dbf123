"""The sandbox in one process: the CDS service itself, the page that plays the EHR, the R4 server with its patients."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from cds_service.events.store import StoredEvent
from cds_service.sandbox.routes import sandbox_routes
from cds_service.service_app import Parts, create_app, open_parts
from cds_service.settings import Settings
from cds_service.web.asgi import Door

__all__ = ["create_sandbox"]


def create_sandbox(settings: Settings, folder: Path, *, today: date) -> tuple[Door, Parts]:
    """Join the serving application and the sandbox's pages.

    Args:
        settings: Of development mode: real patients never meet this process (SEC-066).
        folder: The top-level ``sandbox`` folder.
        today: The day to which the patients' dates are shifted.
    """
    parts = open_parts(settings)

    def read_events(after: int, limit: int) -> list[Mapping[str, Any]]:
        return [_as_json(stored) for stored in parts.store.read(after, limit)]

    routes = tuple(sandbox_routes(folder=folder, today=today, read_events=read_events, hooks=settings.hooks))
    return create_app(parts, more_routes=routes), parts


def _as_json(stored: StoredEvent) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(stored.event)
    return {"seq": stored.seq, **body}
