"""The commands that serve: the sandbox for trying, and the service for real use."""

import gc
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.settings import AUTH_OFF, Settings, read_settings, shipped
from cds_service.web.limits import Limits

__all__ = ["sandbox", "serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8000, show_default=True)
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Keep the event log here.")
@says_what_is_wrong
def sandbox(host: str, port: int, state: Path | None) -> None:
    """Try it: CDS service, a page that plays the EHR, and an R4 server with patients, in one process.

    \b
    $ cds-service sandbox
    The sandbox is at http://127.0.0.1:8000
    """
    folder = shipped("sandbox")
    with tempfile.TemporaryDirectory(prefix="cds-sandbox-") as forgotten:
        settings = read_settings(
            auth=AUTH_OFF,
            host=host,
            port=port,
            state=state or Path(forgotten) / "state",
            clients=folder / "clients.toml",
        )
        settings.check()
        from cds_service.logs import configure_logging
        from cds_service.sandbox.app import create_sandbox

        configure_logging(level="warning")
        app, parts = create_sandbox(settings, folder, today=datetime.now(UTC).date())
        click.echo(f"The sandbox is at http://{host}:{port}")
        click.echo("A demonstration without authentication: made-up patients only, never real ones.")
        _run(app, settings, parts.limits)


@click.command()
@click.option("--host", help="Address to bind  [default: 127.0.0.1]")
@click.option("--port", type=int, help="[default: 8000]")
@click.option("--workers", type=int, help="Processes on one event store  [default: 1]")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Run-time folder  [default: var]")
@click.option("--hooks", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml")
@says_what_is_wrong
def serve(file: Path | None, **given: Any) -> None:
    """Serve the CDS services.

    \b
    $ cds-service serve --settings settings.toml
    $ CDS_AUTH=off-for-development cds-service serve --port 8000
    """
    gc.disable()  # until the server is up (service_app): what start-up makes stays, and looking at it costs a tenth
    from cds_service.cli.audited import note_start
    from cds_service.logs import configure_logging
    from cds_service.service_app import create_app, open_parts
    from cds_service.trust import check_start

    settings = read_settings(file, **given)
    check_start(settings)
    configure_logging(level=settings.log_level)
    note_start(settings)
    click.echo(f"Serving at {settings.scheme}://{settings.host}:{settings.port}/cds-services", err=True)
    if settings.is_development:
        click.echo("Development without authentication: not for patients.", err=True)
    elif settings.lab:
        click.echo("A lab: anybody can sign what it trusts. Not for patients.", err=True)
    if settings.workers > 1:
        _run_workers(settings, Limits(deadline_s=settings.deadline_ms / 1000))
        return
    parts = open_parts(settings)
    _run(create_app(parts), settings, parts.limits)


def _run(app: Any, settings: Settings, limits: Limits) -> None:
    """Run one worker."""
    import uvicorn

    uvicorn.run(app, **server_options(settings, limits))


def _run_workers(settings: Settings, limits: Limits) -> None:
    """Several processes on one store: each opens its own parts through ``worker_app``."""
    import uvicorn

    os.environ["CDS_WORKER_SETTINGS"] = settings.model_dump_json()
    uvicorn.run(
        "cds_service.service_app:worker_app",
        factory=True,
        workers=settings.workers,
        **server_options(settings, limits),
    )


def server_options(settings: Settings, limits: Limits) -> dict[str, Any]:
    """How uvicorn runs, with one worker or several: on the parts that the hot path was measured with (evidence A3)."""
    from cds_service.web.protocol import limited_protocol

    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": limited_protocol(limits),
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "log_config": None,
        "timeout_keep_alive": int(limits.keep_alive_s),
        "timeout_graceful_shutdown": 20,
        **_tls(settings),
    }


def _tls(settings: Settings) -> dict[str, Any]:
    """What uvicorn needs to end TLS itself: 1.3, or 1.2 with forward secrecy and authenticated encryption only."""
    if settings.tls_certificate is None:
        return {}
    return {
        "ssl_certfile": str(settings.tls_certificate),
        "ssl_keyfile": str(settings.tls_key),
        "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
    }
