"""The commands of who runs a service: is it fit to start, whose signatures count, does it keep the contract."""

import sys
from pathlib import Path

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.errors import Fault, SettingsError
from cds_service.settings import read_settings, shipped

__all__ = ["check", "contract", "keys"]


@click.command()
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
    """Validate every service folder and every model's bundle; file and line of each fault.

    \b
    $ cds-service check
    dysglycaemia-screening: 9 prefetch keys, model dysglycaemia 1.0.0, 9 examples
    breast-ultrasound: image model 1.0.0, 8 golden images, no service asks it
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


@click.group()
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
    from cds_service.cli.audited import audit_log
    from cds_service.events.audit_entry import object_name

    settings = read_settings(file)
    with audit_log(settings).action("key_dropped", on=object_name(f"{issuer}#{kid}")):
        is_new = deny_key(settings.denied_keys, issuer, kid)
    click.echo("Dropped. Workers on this state refuse it from now on." if is_new else "It was dropped before.")


@click.command()
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
