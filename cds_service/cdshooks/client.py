"""Who calls: what we know and agreed about one EHR, from ``clients.toml``.

Who it is stands in ``identity.py``; ``api/ehr_auth.py`` holds each call to it. Without authentication there is one
implicit client, ``development``, and the process binds to loopback only (SEC-001).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cds_service.cdshooks.fhir_access import ACCESS_KEYS, FHIRAccess, read_access
from cds_service.cdshooks.identity import IDENTITY_KEYS, IDENTITY_QUIRKS, LABEL, Identity, read_identity, switch, texts
from cds_service.errors import Fault, SettingsError

__all__ = ["DEVELOPMENT", "Client", "OrderCode", "SitePrevalence", "read_client", "read_clients"]

DEVELOPMENT = "development"

_KEYS = {"name", "tenant", "language", "zone", "cds_hooks_1", "is_silent", "orders", "prevalence", "quirks"}
_KEYS |= {"services", "models", "rate_per_s"} | IDENTITY_KEYS | ACCESS_KEYS
_QUIRKS = {"patient_prefix"} | IDENTITY_QUIRKS


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
    services: tuple[str, ...] = ()
    """Which services it may call and sees in discovery; for others they do not exist (SEC-019)."""
    models: tuple[str, ...] = ()
    """Which models it may ask directly, without a chart: ``/predict`` and ``/v2``."""
    rate_per_s: float = 50.0
    """Calls a second in the long run, twice as many at once; beyond it 429 (SEC-051). In development nobody is counted."""
    fhir_access: FHIRAccess | None = None
    """None: its FHIR server is never asked."""
    identity: Identity | None = None
    """None: it can't be told from others, and calls in development mode only."""


def read_clients(file: Path, *, lab: bool = False) -> tuple[Client, ...]:
    """Read ``clients.toml``.

    Args:
        file: The file; paths in it start in its folder.
        lab: Also take what only a test bench may (``settings.lab``).

    Raises:
        SettingsError: Everything that is wrong in any table, at once.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise SettingsError(Fault(str(file), f"can't be read ({type(fault).__name__})", "Mend the file")) from None
    tables = document.pop("client", [])
    faults = [Fault(f"{file} {key}", "unknown key", "Write [[client]] tables only") for key in sorted(document)]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(*faults, Fault(f"{file} client", "not a list of tables", "Write [[client]]"))
    clients: list[Client] = []
    for place, table in enumerate(tables):
        try:
            clients.append(read_client(table, where=f"{file} client[{place}]", folder=file.parent, lab=lab))
        except SettingsError as error:
            faults.extend(error.faults)
    for what in ("name", "issuer"):
        values = [table[what] for table in tables if isinstance(table.get(what), str)]
        faults += [
            Fault(f"{file} client.{what}", f"two clients have the same {what}", "Give each its own")
            for value in sorted(set(values))
            if values.count(value) > 1
        ]
    if faults:
        raise SettingsError(*faults)
    return tuple(clients)


def read_client(document: Mapping[str, Any], *, where: str, folder: Path = Path(), lab: bool = False) -> Client:
    """Read one ``[[client]]`` table.

    Args:
        document: The parsed table.
        where: File and table, for the error.
        folder: Where the file lies; a key file's path starts there.
        lab: See :func:`read_clients`.

    Raises:
        SettingsError: An unknown key, an impossible prevalence, an unknown zone; all at once.
    """
    faults = [
        Fault(f"{where}.{key}", "unknown key", "See docs/reference/clients.md for the keys")
        for key in sorted(set(document) - _KEYS)
    ]
    quirks = document.get("quirks", {})
    if not isinstance(quirks, dict):
        faults.append(Fault(f"{where}.quirks", "not a table", "Write [client.quirks]"))
        quirks = {}
    faults += [
        Fault(f"{where}.quirks.{key}", "unknown quirk", "See docs/reference/clients.md for the quirks")
        for key in sorted(set(quirks) - _QUIRKS)
    ]
    name = _label(document, "name", where, faults)
    tenant = _label(document, "tenant", where, faults, default=name) if "tenant" in document else name
    fhir_access = read_access(document, where, faults, lab=lab)
    identity = read_identity(document, quirks, where=where, folder=folder, lab=lab, faults=faults)
    services = texts(document.get("services", []), f"{where}.services", faults)
    models = texts(document.get("models", []), f"{where}.models", faults)
    if "issuer" in document and not (services or models):
        faults.append(Fault(f"{where}.services", "the client may call nothing", "List the services that it may call"))
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
    is_silent = switch(document, "is_silent", where, faults, default=True)
    cds_hooks_1 = switch(document, "cds_hooks_1", where, faults)
    rate = document.get("rate_per_s", 50)
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0.1 <= rate <= 100_000:
        faults.append(Fault(f"{where}.rate_per_s", "not between 0.1 and 100000", "Write calls a second, such as 50"))
        rate = 50
    patient_prefix = switch(quirks, "patient_prefix", f"{where}.quirks", faults)
    if faults:
        raise SettingsError(*faults)
    return Client(
        name=name,
        tenant=tenant,
        language=document.get("language"),
        zone=zone,
        cds_hooks_1=cds_hooks_1,
        is_silent=is_silent,
        orders=orders,
        prevalence=prevalence,
        patient_prefix=patient_prefix,
        services=services,
        models=models,
        rate_per_s=float(rate),
        fhir_access=fhir_access,
        identity=identity,
    )


def _label(document: Mapping[str, Any], key: str, where: str, faults: list[Fault], *, default: str = "") -> str:
    value = document.get(key, default)
    if isinstance(value, str) and LABEL.fullmatch(value):
        return value
    if key in document or not default:
        what = "not a name" if key in document else "missing"
        faults.append(Fault(f"{where}.{key}", what, "Write 1 to 64 letters, digits, dots, dashes or underscores"))
    return default


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
