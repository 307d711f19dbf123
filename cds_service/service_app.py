"""All wiring of the serving process; settings become values here."""

import asyncio
import gc
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

import structlog
from starlette.routing import BaseRoute, Router

from cds_service.answer import Desk, open_desk
from cds_service.api.caller import everybody_is
from cds_service.api.chart_source import ChartSource
from cds_service.api.docs_page import docs_routes
from cds_service.api.hooks import HookDoor, hook_routes
from cds_service.api.inference import inference_routes
from cds_service.api.openapi import openapi_routes
from cds_service.api.operations import LAB, WITHOUT_AUTHENTICATION, operations_routes
from cds_service.api.predict import Window, predict_routes
from cds_service.cdshooks.catalog import Catalog, load_services
from cds_service.cdshooks.check import refuse_unfit
from cds_service.cdshooks.check_all import facts_of, open_champion
from cds_service.cdshooks.client import DEVELOPMENT, Client
from cds_service.errors import CdsServiceError, Fault, SettingsError
from cds_service.events.audit_watch import watch_audit
from cds_service.events.disk import disk_used, watch_disk
from cds_service.events.pseudonym import load_key, load_or_create_key, pseudonymise, purpose_key
from cds_service.events.store import EventStore, open_store
from cds_service.logs import configure_logging
from cds_service.model.chain import prevalence_shift
from cds_service.model.runtime import Model
from cds_service.settings import Settings
from cds_service.trust import Trust, open_trust, read_trusted
from cds_service.web.asgi import Door
from cds_service.web.cors import CORS
from cds_service.web.limits import Limits
from cds_service.web.memory import keep_freed_memory
from cds_service.web.metrics import Registry, process_metrics

__all__ = ["Parts", "create_app", "open_parts", "worker_app"]

log = structlog.get_logger()
Clock = Callable[[], datetime]

_YOUNG_OBJECTS = 50_000
"""Allocations between collections once start-up's objects are frozen: a chart open makes far fewer (evidence A3)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What one serving process has open."""

    settings: Settings
    catalog: Catalog
    models: dict[str, Model]
    desks: dict[tuple[str, str], Desk]
    store: EventStore
    clients: tuple[Client, ...]
    """Those of ``clients.toml``, or the one implicit client."""
    registry: Registry
    clock: Clock
    pseudonymise: Callable[[str, str], str]
    """(patient, tenant) → the patient's name in the log."""
    limits: Limits
    source: ChartSource
    """Completes charts from the clients' FHIR servers."""
    trust: Trust | None
    """None in development: nobody is asked who they are."""

    @property
    def client(self) -> Client:
        """The implicit client of development mode."""
        return next(client for client in self.clients if client.name == DEVELOPMENT)


def open_parts(settings: Settings, *, clock: Clock | None = None) -> Parts:
    """Open services, models and the store, and refuse to start where anything is wrong.

    Args:
        settings: Already checked (``Settings.check``).
        clock: The moment now, with its zone; the system's by default.

    Raises:
        DeclarationError, BundleError, SettingsError, StoreUnavailable: What is wrong, where, and what to do.
    """
    catalog = load_services(settings.hooks)
    names = sorted({service.model for service in catalog.services})
    models = {name: open_champion(settings.assets, name) for name in names}
    refuse_unfit(settings.hooks, {name: facts_of(model) for name, model in models.items()})
    base = settings.public_base_url or f"http://{settings.host}:{settings.port}"
    desks = {
        (service.id, service.hook): open_desk(
            service, models[service.model], service_url=f"{base.rstrip('/')}/services/{service.id}"
        )
        for service in catalog.services
    }
    clients = read_trusted(settings, services={service.id for service in catalog.services}, models=set(models))
    for client in clients:
        _check_prevalence(client, desks.values())
    master = _pseudonym_key(settings)
    registry = Registry()
    process_metrics(registry)
    registry.gauge(
        "cds_state_disk_used_ratio", "Used share of the disk under the state folder.", lambda: disk_used(settings.state)
    )
    clock = clock or _now
    store = open_store(settings.event_store)
    trust = None
    if not settings.is_development:
        try:
            trust = open_trust(settings, clients, clock=clock, append=store.append, registry=registry)
        except CdsServiceError:
            store.close()
            raise
    return Parts(
        settings=settings,
        catalog=catalog,
        models=models,
        desks=desks,
        store=store,
        clients=clients,
        registry=registry,
        clock=clock,
        pseudonymise=_pseudonyms(master),
        limits=Limits(deadline_s=settings.deadline_ms / 1000),
        source=ChartSource(
            partial(_authorities, settings), clients=[client.name for client in clients], registry=registry
        ),
        trust=trust,
    )


def create_app(parts: Parts, *, more_routes: tuple[BaseRoute, ...] = ()) -> Door:
    """The serving application: one list of routes, one door before them.

    Args:
        parts: What is open; closed when the server shuts down.
        more_routes: The sandbox's pages and its FHIR server; they come last.
    """
    settings, registry, trust = parts.settings, parts.registry, parts.trust
    window = Window(
        models=parts.models,
        append_events=parts.store.append,
        clock=parts.clock,
        tenant=parts.client.tenant if trust is None else None,
        client=parts.client.name if trust is None else None,
        site_prevalence=_prevalence_by_model(parts.catalog, parts.client) if trust is None else None,
        limits=parts.limits,
        authenticate=None if trust is None else trust.authenticate,
        prevalence_of={client.name: _prevalence_by_model(parts.catalog, client) for client in parts.clients},
    )
    hooks = HookDoor(
        catalog=parts.catalog,
        desks=parts.desks,
        store=parts.store,
        authenticate=everybody_is(parts.client, parts.store.append) if trust is None else trust.authenticate,
        pseudonymise=parts.pseudonymise,
        clock=parts.clock,
        registry=registry,
        events_required=settings.events_required,
        limits=parts.limits,
        source=parts.source,
    )
    mode = WITHOUT_AUTHENTICATION if settings.is_development else LAB if settings.lab else "production"
    routes: list[BaseRoute] = [
        *hook_routes(hooks),
        *predict_routes(window),
        *inference_routes(window),
        *operations_routes(
            mode=mode,
            checks={"models": lambda: bool(parts.models), "store": lambda: parts.store.ready},
            registry=registry,
            is_open=settings.is_development,
            metrics_token=None if trust is None else trust.metrics_token,
        ),
        *openapi_routes(
            parts.models,
            parts.catalog.discovery()["services"],
            authenticate=None if trust is None else trust.authenticate,
        ),
        *(docs_routes() if trust is None else ()),  # a browser has no token of an EHR to read /openapi.json with
        *more_routes,
    ]
    router = Router(routes, redirect_slashes=False, lifespan=partial(_lifespan, parts))
    origins = settings.cors_origins or (("*",) if settings.is_development else ())
    hosts = settings.allowed_hosts or (("*",) if settings.is_development else ())
    return Door(
        router,
        routes=routes,
        hosts=hosts,
        cors=CORS(origins, development=settings.is_development),
        registry=registry,
        limits=parts.limits,
        development=settings.is_development,
    )


@asynccontextmanager
async def _lifespan(parts: Parts, _: object) -> AsyncIterator[None]:
    names = [service.id for service in parts.catalog.services]
    versions = {name: model.version for name, model in parts.models.items()}
    log.info(
        "service_started",
        service=names,
        version=[f"{name} {version}" for name, version in versions.items()],
        address=f"{parts.settings.host}:{parts.settings.port}",
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 50, 50)
    gc.enable()
    keep_freed_memory()
    fetching = [] if parts.trust is None else parts.trust.keep_fresh()
    fetching.append(asyncio.create_task(watch_audit(parts.settings.audit, parts.settings.audit_key)))
    fetching.append(asyncio.create_task(watch_disk(parts.settings.state)))
    try:
        yield
    finally:
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        if parts.trust is not None:
            parts.trust.authenticate.close()
        await parts.source.close()
        parts.store.close()
        log.info("service_stopped")


def worker_app() -> Door:
    """One of several worker processes: the settings were checked by the parent and came in its environment."""
    settings = Settings.model_validate_json(os.environ["CDS_WORKER_SETTINGS"])
    configure_logging(level=settings.log_level)
    return create_app(open_parts(settings))


def _authorities(settings: Settings) -> ssl.SSLContext:
    from cds_service.outbound.jwks import trusted_authorities  # httpx: not loaded before something is asked

    return trusted_authorities(settings.keys_ca_file)


def _check_prevalence(client: Client, desks: Iterable[Desk]) -> None:
    """Refuse a declared prevalence that does not fit the model now, not at each chart open."""
    for desk in desks:
        site = client.prevalence.get(desk.service.id)
        if site is None:
            continue
        try:
            prevalence_shift(desk.model.bundle.prevalence, site.by_output, desk.model.chain.outputs)
        except ValueError as fault:
            where = f"client {client.name}, prevalence.{desk.service.id}"
            raise SettingsError(
                Fault(where, str(fault), "Give the site's own figures, the rarest outcome last")
            ) from None


def _prevalence_by_model(catalog: Catalog, client: Client) -> dict[str, dict[str, float]]:
    return {
        service.model: dict(site.by_output)
        for service in catalog.services
        if (site := client.prevalence.get(service.id)) is not None
    }


def _pseudonyms(master: bytes) -> Callable[[str, str], str]:
    """A patient's name in the log, by a key of each tenant's own."""
    key_of = lru_cache(maxsize=4096)(lambda tenant: purpose_key(master, purpose="pseudonym", tenant=tenant))
    return lambda patient, tenant: pseudonymise(patient, tenant=tenant, key=key_of(tenant))


def _pseudonym_key(settings: Settings) -> bytes:
    if settings.pseudonym_key_file is not None:
        return load_key(settings.pseudonym_key_file)
    return load_or_create_key(settings.pseudonym_key)


def _now() -> datetime:
    return datetime.now(UTC)
