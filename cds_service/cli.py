"""The commands: parse, call one function, print."""

import gc
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from cds_service import __version__
from cds_service.errors import CdsServiceError, Fault, SettingsError
from cds_service.settings import AUTH_OFF, Settings, read_settings, shipped
from cds_service.web.limits import Limits

P = ParamSpec("P")
R = TypeVar("R")

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CDS_DATA",
    default=Path("../shared/data"),
    show_default=True,
    help="Folder of the data sets; see docs/developers/data.md.",
)


def says_what_is_wrong(command: Callable[P, R]) -> Callable[P, R]:
    """Our own errors are a line each and exit status 2; bugs keep their traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CdsServiceError as error:
            for fault in error.faults:
                click.echo(str(fault), err=True)
            sys.exit(2)

    return wrapped


@click.group()
@click.version_option(__version__, prog_name="cds-service")
def main() -> None:
    """Bring a distilled medical model to the bedside through CDS Hooks, and keep it good there."""


@main.command()
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


@main.command()
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
    from cds_service.logs import configure_logging
    from cds_service.service_app import create_app, open_parts
    from cds_service.trust import check_start

    settings = read_settings(file, **given)
    check_start(settings)
    configure_logging(level=settings.log_level)
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


@main.command()
@click.option("--hooks", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None)
@click.option("--assets", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None)
@click.option("--production", is_flag=True, help="Refuse what a real site must not have, such as no owner.")
@click.option("--jwt", "token", help="Instead: would this token be accepted, and if not, why? - reads standard input.")
@click.option("--service", help="With --jwt: the service that it is for  [default: discovery]")
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="With --jwt.")
@says_what_is_wrong
def check(
    hooks: Path | None,
    assets: Path | None,
    token: str | None,
    service: str | None,
    file: Path | None,
    *,
    production: bool,
) -> None:
    """Validate every service folder and the model bundle that it names; file and line of each fault.

    \b
    $ cds-service check
    dysglycaemia-screening: 9 prefetch keys, model dysglycaemia 1.0.0, 9 examples
    $ cds-service check --settings settings.toml --service dysglycaemia-screening --jwt - < token
    aud: aud does not name the address that was called. Compare with public_base_url and the path
    """
    if token is not None:
        from cds_service.trust import explain_token

        text = sys.stdin.read() if token == "-" else token  # noqa: S105 - a dash
        verdict, is_accepted = explain_token(read_settings(file), text.strip(), service)
        click.echo(verdict)
        sys.exit(0 if is_accepted else 1)
    from cds_service.cdshooks.check_all import check_all

    report = check_all(hooks or shipped("hooks"), assets or shipped("model_assets"), production=production)
    for line in report.lines:
        click.echo(line)
    sys.exit(report.exit_code)


@main.group()
def keys() -> None:
    """The keys by which EHRs sign.

    \b
    $ cds-service keys drop https://ehr.hospital-a.example 2026-04
    """


@keys.command()
@click.argument("issuer")
@click.argument("kid")
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml")
@says_what_is_wrong
def drop(issuer: str, kid: str, file: Path | None) -> None:
    """Accept nothing more that this key signed, from the next request on.

    \b
    $ cds-service keys drop https://ehr.hospital-a.example 2026-04
    Dropped. Workers on this state refuse it from now on.
    """
    from cds_service.api.denied_keys import deny_key

    is_new = deny_key(read_settings(file).denied_keys, issuer, kid)
    click.echo("Dropped. Workers on this state refuse it from now on." if is_new else "It was dropped before.")


@main.command()
@click.argument("url")
@click.option("--origin", help="Origin of a browser-based client, for the CORS rows.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here too.")
@click.option("--failures", is_flag=True, help="Print only what failed.")
@says_what_is_wrong
def contract(url: str, origin: str | None, json_file: Path | None, *, failures: bool) -> None:
    """Run the CDS Hooks 2.0 contract test against any service.

    \b
    $ cds-service contract http://127.0.0.1:8000
    """
    from cds_service.contract.report import print_table
    from cds_service.contract.runner import PUBLIC_SANDBOX, run_contract

    try:
        report = run_contract(url, origin=origin or PUBLIC_SANDBOX)
    except ValueError as fault:
        raise SettingsError(Fault("URL", str(fault), "Give it as http://127.0.0.1:8000")) from None
    click.echo(print_table(report, all_rows=not failures))
    if json_file is not None:
        json_file.write_text(report.as_json(), encoding="utf-8")
    sys.exit(report.exit_code)


@main.command()
@click.argument("model")
@click.option("--recipe", default="default", show_default=True)
@DATA
@click.option("--recipes", type=click.Path(path_type=Path, file_okay=False, exists=True), default=shipped("recipes"))
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), default=Path("var"), show_default=True)
@click.option("--candidate", is_flag=True, help="Stop before the test set is opened and nothing is released.")
@says_what_is_wrong
def train(model: str, recipe: str, data: Path, recipes: Path, assets: Path, state: Path, *, candidate: bool) -> None:
    """Train a model by its recipe, judge it once on its test set, and put the bundle among the releases.

    \b
    $ cds-service train dysglycaemia
    """
    try:
        if (recipes / model / "pixels.toml").exists():
            _train_image(model, recipe, data, recipes, assets, state, candidate=candidate)
            return
        from cds_service.training.recipe import train as train_by
    except ImportError as missing:
        raise SettingsError(
            Fault("train", f"needs the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    from cds_service.release.evaluate import release_candidate, summary

    folder = train_by(model, recipe, data=data, recipes=recipes, state=state, commit=_commit(), say=click.echo)
    if candidate:
        click.echo(f"Candidate: {folder}")
        return
    released, figures = release_candidate(
        folder, data=data, assets=assets, today=datetime.now(UTC).date(), say=click.echo
    )
    for line in summary(figures):
        click.echo(line)
    click.echo(f"Released: {released}")


def _train_image(
    model: str, recipe: str, data: Path, recipes: Path, assets: Path, state: Path, *, candidate: bool
) -> None:
    from cds_service.release.evaluate_image import SETS, image_summary, release_image_candidate
    from cds_service.training.image_recipe import train_image

    folder = train_image(model, recipe, data=data, recipes=recipes, state=state, commit=_commit(), say=click.echo)
    if candidate:
        click.echo(f"Candidate: {folder}")
        return
    released, metrics = release_image_candidate(
        folder, data=data, assets=assets, today=datetime.now(UTC).date(), say=click.echo
    )
    for which in SETS:
        for line in image_summary(metrics[which]):
            click.echo(line)
    click.echo(f"Released: {released}")


@main.command()
@click.argument("model")
@click.option("--version", help="A released version  [default: the champion]")
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@says_what_is_wrong
def compression(model: str, version: str | None, assets: Path, json_file: Path | None) -> None:
    """Print what each step from the teacher to the student cost and kept, and time the released graph here.

    \b
    $ cds-service compression breast-ultrasound
    """
    import json

    import msgspec

    from cds_service.model.channels import read_channels
    from cds_service.release.compression import compression_lines, compression_report

    folder = assets / model
    report = compression_report(folder / (version or read_channels(folder).champion))
    for line in compression_lines(report):
        click.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(msgspec.to_builtins(report), indent=2) + "\n", encoding="utf-8")


@main.command()
@click.argument("model")
@click.option("--version", help="A released version  [default: the champion]")
@click.option(
    "--set",
    "sets",
    multiple=True,
    help="A table of the data folder, such as tabular/nhanes_2013-2014.csv; for images: test or external.",
)
@DATA
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@says_what_is_wrong
def evaluate(
    model: str, version: str | None, sets: tuple[str, ...], data: Path, assets: Path, json_file: Path | None
) -> None:
    """Compute every figure of a released model, as it is served, on a set; writes no metrics.

    \b
    $ cds-service evaluate dysglycaemia
    """
    import json

    from cds_service.model.bundle import load_bundle, read_parts
    from cds_service.model.channels import read_channels
    from cds_service.release.evaluate import evaluate as evaluate_on
    from cds_service.release.evaluate import summary

    folder = assets / model / (version or read_channels(assets / model).champion)
    if read_parts(folder)[0].kind == "image":
        figures = _evaluate_image(folder, sets, data)
    else:
        figures = evaluate_on(load_bundle(folder), data=data, files=sets or None)
        for line in summary(figures):
            click.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _evaluate_image(folder: Path, sets: tuple[str, ...], data: Path) -> dict[str, Any]:
    from cds_service.model.image_model import load_image_bundle
    from cds_service.release.evaluate_image import SETS, evaluate_image, image_summary

    unknown = sorted(set(sets) - set(SETS))
    if unknown:
        raise SettingsError(Fault(f"--set {unknown[0]}", "an image model has no such set", "Write test or external"))
    bundle = load_image_bundle(folder)
    figures: dict[str, Any] = {}
    for which in SETS:
        if which in (sets or ("test",)):
            figures[which] = evaluate_image(bundle, data=data, which=which)
            for line in image_summary(figures[which]):
                click.echo(line)
    return figures


def _commit() -> str:
    """The project's commit, for the bundle; empty outside of a checkout."""
    import subprocess

    found = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() if found.returncode == 0 else ""


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
