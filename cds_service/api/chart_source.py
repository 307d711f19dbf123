"""Where a chart is completed: one reader of FHIR servers for the process, opened with the first question."""

import ssl
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from cds_service.cdshooks.client import Client
from cds_service.cdshooks.completion import Given, complete
from cds_service.cdshooks.declaration import Service
from cds_service.cdshooks.fhir_access import FHIRAccess
from cds_service.cdshooks.fhir_queries import Query
from cds_service.cdshooks.prefetch import Prefetch
from cds_service.cdshooks.wire import CDSRequest
from cds_service.clinical.key_content import KeyContent
from cds_service.web.metrics import Registry

if TYPE_CHECKING:
    from cds_service.outbound.fhir import FHIRReader

__all__ = ["ChartSource"]

log = structlog.get_logger()

_REASONS = (
    "server_not_listed", "no_token", "token_expired", "token_of_another", "query_not_resolved", "scope", "other_patient",
    "too_many", "timeout", "unreachable", "status", "refused", "redirect", "not_json", "encoded", "too_large",
    "forbidden_address", "resting",
)  # fmt: skip
_FOR_THE_ANSWER_S = 0.15
"""Kept of the deadline, so that what could not be had is said in time."""


class ChartSource:
    """Completes charts, and counts what came of it.

    Args:
        authorities: Gives whose certificates are believed; asked once.
        clients: Names of all clients, for the metric.
        registry: Where it is declared.
        open_reader: Opens the reader; the real one by default.
    """

    def __init__(
        self,
        authorities: Callable[[], ssl.SSLContext],
        *,
        clients: Collection[str],
        registry: Registry,
        open_reader: "Callable[[ssl.SSLContext], FHIRReader] | None" = None,
    ) -> None:
        self._authorities, self._open_reader = authorities, open_reader
        self._reader: FHIRReader | None = None
        self._keys = registry.counter(
            "cds_fhir_keys_total",
            "Prefetch keys that were asked of a client's FHIR server, by what came of it.",
            {"client": clients, "result": ("fetched", *_REASONS)},
        )

    async def complete(
        self, prefetch: Prefetch, service: Service, request: CDSRequest, client: Client, *, now: datetime, left_s: float
    ) -> Prefetch:
        """Ask for what the client did not send; a chart that lacks nothing is given back at once."""
        completed = await complete(prefetch, service, request, client, self, now=now, left_s=left_s - _FOR_THE_ANSWER_S)
        for _ in completed.prefetch.fetched:
            self._keys.add(client.name, "fetched")
        for reason in completed.reasons.values():
            self._keys.add(client.name, reason)
        if completed.reasons:
            problems = sorted(f"{key}: {reason}" for key, reason in completed.reasons.items())
            log.warning(
                "chart_not_completed",
                service=service.id, client=client.name, problems=problems, count=completed.requests,
            )  # fmt: skip
        return completed.prefetch

    async def read(
        self,
        base: str,
        query: Query,
        access: FHIRAccess,
        *,
        tenant: str,
        token: str | None,
        left_s: float,
        first: KeyContent | None,
    ) -> Given:
        """Ask for one key."""
        from cds_service.outbound.fhir import Ask  # httpx: loaded with the first question

        reader = self._reader = self._reader or self._open()
        return await reader.ask(
            base, Ask(query.path, query.parameters, access.post_search),
            tenant=tenant, token=token, private=access.is_private, loopback=access.may_be_this_machine(base),
            left_s=left_s, first=first,
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of all connections."""
        if self._reader is not None:
            await self._reader.close()

    def _open(self) -> "FHIRReader":
        from cds_service.outbound.fhir import FHIRReader

        return (self._open_reader or FHIRReader)(self._authorities())
