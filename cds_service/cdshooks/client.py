"""Who calls: what we know and agreed about one EHR, from ``clients.toml``.

Authentication is not here; this is what an authenticated client may expect. Without authentication there is one
implicit client, ``development``, which binds to loopback only (SEC-001).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cds_service.errors import Fault, SettingsError

__all__ = ["DEVELOPMENT", "Client", "OrderCode", "SitePrevalence", "read_client"]

DEVELOPMENT = "development"

_KEYS = {"name", "tenant", "language", "zone", "cds_hooks_1", "is_silent", "orders", "prevalence", "quirks"}


@dataclass(frozen=True, slots=True)
class OrderCode:
    """The EHR's own code for something that we suggest to order (``[client.orders]``)."""

    system: str
    code: str


@dataclass(frozen=True, slots=True)
class SitePrevalence:
    """How frequent the outcome is at this site, by output of the model, and who says so since when."""

    by_output: Mapping[str, float]
    source: str
    since: str


@dataclass(frozen=True, slots=True)
class Client:
    """One CDS client. Every field has a default that is safe for patients."""

    name: str
    tenant: str
    language: str | None = None
    """None: by ``Accept-Language``, else the service's first."""
    zone: tzinfo | None = None
    """The site's zone for times of day without one; undeclared means that they are refused."""
    cds_hooks_1: bool = False
    """Whether it speaks CDS Hooks 1.0, which knows one ``selectionBehavior`` (W-07)."""
    is_silent: bool = True
    """Scores are logged and no card is shown until the site's check is signed (design decision 8)."""
    orders: Mapping[str, OrderCode] = field(default_factory=dict)
    prevalence: Mapping[str, SitePrevalence] = field(default_factory=dict)
    """By service id. Undeclared: words instead of a percentage."""
    patient_prefix: bool = False
    """The quirk that reads ``context.patientId`` written as ``Patient/123`` (W-02)."""


def read_client(document: Mapping[str, Any], *, where: str) -> Client:
    """Read one ``[[client]]`` table.

    Args:
        document: The parsed table.
        where: File and table, for the error.

    Raises:
        SettingsError: An unknown key, an impossible prevalence, an unknown zone; all at once.
    """
    faults = [
        Fault(f"{where}.{key}", "unknown key", "See docs/reference/clients.md for the keys")
        for key in sorted(set(document) - _KEYS)
    ]
    name = document.get("name")
    if not isinstance(name, str):
        faults.append(Fault(f"{where}.name", "missing", "Name the client"))
        name = ""
    zone = _zone(document.get("zone"), where, faults)
    prevalence = {
        service: _prevalence(table, f"{where}.prevalence.{service}", faults)
        for service, table in document.get("prevalence", {}).items()
    }
    orders = {
        order: OrderCode(str(code.get("system", "")), str(code.get("code", "")))
        for order, code in document.get("orders", {}).items()
    }
    faults += [
        Fault(f"{where}.orders.{order}", "a code needs system and code", "Give the EHR's own order code")
        for order, code in orders.items()
        if not (code.system and code.code)
    ]
    if faults:
        raise SettingsError(*faults)
    return Client(
        name=name,
        tenant=str(document.get("tenant", name)),
        language=document.get("language"),
        zone=zone,
        cds_hooks_1=bool(document.get("cds_hooks_1", False)),
        is_silent=bool(document.get("is_silent", True)),
        orders=orders,
        prevalence=prevalence,
        patient_prefix=bool(document.get("quirks", {}).get("patient_prefix", False)),
    )


def _zone(name: object, where: str, faults: list[Fault]) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError):
        faults.append(Fault(f"{where}.zone", "not a time zone", "Write an IANA name such as Asia/Tokyo"))
        return None


def _prevalence(table: Mapping[str, Any], where: str, faults: list[Fault]) -> SitePrevalence:
    by_output = {key: value for key, value in table.items() if key not in ("source", "from")}
    for output, value in by_output.items():
        if not isinstance(value, float) or not 0 < value < 1:
            faults.append(Fault(f"{where}.{output}", "not a share between 0 and 1", "Give the site's own prevalence"))
    if not table.get("source") or not table.get("from"):
        faults.append(Fault(where, "a prevalence needs source and from", "Say who measured it and since when"))
    return SitePrevalence(by_output, str(table.get("source", "")), str(table.get("from", "")))
