"""Who may call: settings and ``clients.toml`` become the one object that authenticates, or the reasons why not."""

import asyncio
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cds_service.api.caller import KeepEvents
from cds_service.api.denied_keys import DeniedKeys, read_denied
from cds_service.api.ehr_auth import EHRAuth
from cds_service.api.jwt_reading import REASONS
from cds_service.cdshooks.client import DEVELOPMENT, Client, read_clients
from cds_service.cdshooks.fhir_access import FHIRAccess
from cds_service.errors import Fault, SettingsError
from cds_service.events.schema import AnyEvent
from cds_service.events.used_tokens import UsedToken
from cds_service.outbound.key_set import KeySet
from cds_service.settings import Settings
from cds_service.web.metrics import Registry

if TYPE_CHECKING:
    from cds_service.outbound.jwks import KeyRing

__all__ = ["Trust", "check_start", "explain_token", "open_trust", "read_trusted"]

_METRICS_TOKEN_BYTES: Final = 32
_HERE: Final = FHIRAccess(any_loopback=True, is_open=True)
"""In development: the sandbox's own FHIR server, or a developer's on this machine."""
_FETCH_REASONS: Final = (
    "timeout", "unreachable", "redirect", "status", "not_json", "encoded", "too_large", "not_a_key_set",
    "too_many_keys", "no_usable_key",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trust:
    """What authentication works with in one process."""

    authenticate: EHRAuth
    rings: "tuple[KeyRing, ...]"
    metrics_token: bytes | None

    def keep_fresh(self) -> list[asyncio.Task[None]]:
        """Fetch key sets in the background from now on; the caller cancels the tasks."""
        return [asyncio.create_task(ring.keep_fresh(), name=f"keys of {ring.client}") for ring in self.rings]


def check_start(settings: Settings) -> None:
    """Refuse to start in a way that is not safe: settings and clients together, so that all reasons are told at once.

    Raises:
        SettingsError: With every reason.
    """
    faults = settings.faults()
    if settings.clients is not None and settings.clients.is_file():
        try:
            read_trusted(settings)
        except SettingsError as error:
            faults.extend(error.faults)
    if faults:
        raise SettingsError(*faults)


def read_trusted(
    settings: Settings, *, services: Collection[str] | None = None, models: Collection[str] | None = None
) -> tuple[Client, ...]:
    """The clients that may call.

    Args:
        settings: Where ``clients.toml`` is, and in which mode we run.
        services: Ids that are served; None: not known yet.
        models: Names that are served.

    Returns:
        In development all of the file, among them ``development``, whose site check counts as signed when there is no
        file. Otherwise those with an identity.

    Raises:
        SettingsError: The file is wrong, names what is not served, or lets nobody in.
    """
    if settings.clients is None:
        return (Client(name=DEVELOPMENT, tenant=DEVELOPMENT, is_silent=False, fhir_access=_HERE),)
    where = str(settings.clients)
    clients = read_clients(settings.clients, lab=settings.lab or settings.is_development)
    if settings.is_development:
        if not any(client.name == DEVELOPMENT for client in clients):
            raise SettingsError(
                Fault(
                    where, f"there is no [[client]] named {DEVELOPMENT}", "Without authentication that one is who calls"
                )
            )
        return tuple(
            replace(client, fhir_access=_HERE) if client.name == DEVELOPMENT and client.fhir_access is None else client
            for client in clients
        )
    known = tuple(client for client in clients if client.identity is not None)
    faults = [
        Fault(f"{where} {client.name}.{kind}", f"{name} is not served here", "Compare with discovery")
        for client in known
        for kind, names, served in (("services", client.services, services), ("models", client.models, models))
        for name in names
        if served is not None and name not in served
    ]
    faults += [
        Fault(f"{where} {client.name}", "without an issuer it can't be told from others", "Add issuer and keys")
        for client in clients
        if client.identity is None and client.name != DEVELOPMENT
    ]
    if not known:
        faults.append(Fault(where, "no client has an issuer: nobody may call", "Add a [[client]] with issuer and keys"))
    if faults:
        raise SettingsError(*faults)
    return known


def open_trust(
    settings: Settings,
    clients: tuple[Client, ...],
    *,
    clock: Callable[[], datetime],
    append: KeepEvents,
    registry: Registry,
) -> Trust:
    """Join the clients, their keys and the store.

    Args:
        settings: Of production or a lab.
        clients: From :func:`read_trusted`.
        clock: The moment now.
        append: The event store: where used tokens are kept.
        registry: Where metrics are declared.

    Raises:
        SettingsError, Unavailable: A file can't be used.
    """
    from cds_service.outbound.jwks import FixedKeys, KeyRing, trusted_authorities  # httpx: not needed in development

    names = [client.name for client in clients]
    failures = registry.counter(
        "cds_key_set_failures_total", "Key sets that were not fetched.", {"client": names, "reason": _FETCH_REASONS}
    )
    authorities = trusted_authorities(settings.keys_ca_file)
    read_denied(settings.denied_keys)
    rings: list[KeyRing] = []

    def keys_of(client: Client, keys: str | KeySet) -> KeyRing | FixedKeys:
        if isinstance(keys, KeySet):
            return FixedKeys(keys)
        ring = KeyRing(
            client.name,
            keys,
            authorities=authorities,
            refuse_published=not settings.lab,
            failed=lambda reason: failures.add(client.name, reason),
        )
        rings.append(ring)
        return ring

    known = [(client, keys_of(client, client.identity.keys)) for client in clients if client.identity is not None]
    registry.gauge(
        "cds_key_set_oldest_seconds",
        "Age of the oldest key set in use.",
        lambda: max((r.age_s for r in rings), default=0),
    )
    authenticate = EHRAuth(
        known,
        base_url=settings.public_base_url or "",
        clock=clock,
        append=append,
        denied=DeniedKeys(settings.denied_keys),
        registry=registry,
        share=1 / settings.workers,
        sees_callers=not settings.behind_tls_proxy,
    )
    return Trust(authenticate, tuple(rings), _metrics_token(settings.metrics_token_file))


def explain_token(settings: Settings, text: str, service: str | None) -> tuple[str, bool]:
    """Say to the operator what a caller is never told: whether a token would be accepted, and if not, why.

    Args:
        settings: Of the service that the token is for.
        text: The token. It is neither printed nor kept, and stays usable.
        service: The id of the service that it is for; None: discovery.

    Returns:
        A sentence, and whether it would be accepted.
    """
    if settings.is_development:
        raise SettingsError(Fault("auth", "development mode looks at no token", "Give the settings of production"))
    check_start(settings)

    async def append(_: Sequence[AnyEvent], __: UsedToken | None = None) -> object:
        raise AssertionError("explaining keeps nothing")

    path = "/cds-services" if service is None else f"/cds-services/{service}"
    clients = read_trusted(settings)
    trust = open_trust(settings, clients, clock=lambda: datetime.now(UTC), append=append, registry=Registry())
    reason = asyncio.run(trust.authenticate.explain(text.encode("utf-8", "replace"), path))
    trust.authenticate.close()
    if reason is not None:
        return f"{reason}: {REASONS[reason]}.", False
    return (
        f"accepted for {settings.public_base_url}{path}, once; whether it was used before only the service knows.",
        True,
    )


def _metrics_token(file: Path | None) -> bytes | None:
    if file is None:
        return None
    where = "metrics_token_file"
    try:
        mode, token = stat.S_IMODE(file.stat().st_mode), file.read_bytes().strip()
    except OSError as failure:
        raise SettingsError(Fault(where, f"can't be read ({failure.strerror})", "Name a readable file")) from None
    if mode & 0o137:
        raise SettingsError(Fault(where, f"others may read it (mode {mode:04o})", "Run chmod 440 on it"))
    if len(token) < _METRICS_TOKEN_BYTES or not token.isascii() or b" " in token:
        raise SettingsError(Fault(where, "not 32 or more characters without a space", "Put a long random text there"))
    return token
