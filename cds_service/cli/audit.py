"""The commands of an auditor."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.errors import Fault, SettingsError
from cds_service.settings import read_settings

__all__ = ["audit"]

SETTINGS = click.option(
    "--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml"
)
STATE = click.option("--state", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Run-time folder")


@click.group()
def audit() -> None:
    """Who did what to the service itself.

    \b
    $ cds-service audit verify --settings settings.toml
    $ cds-service audit head | logger -t cds-audit
    """


@audit.command()
@SETTINGS
@STATE
@click.option(
    "--heads", type=click.File(encoding="utf-8"), help="Signed heads that were kept elsewhere; - reads standard input."
)
@click.option("--public-key", help="Of the key that signed them  [default: the one on file]")
@says_what_is_wrong
def verify(file: Path | None, state: Path | None, heads: Iterable[str] | None, public_key: str | None) -> None:
    """Check every seal of the chain, and hold it to signed heads; names the first entry that does not hold.

    \b
    $ cds-service audit verify --heads journal.txt
    212 entries hold, 1 to 212, and 31 signed heads with them.
    The head is 5f0c…; heads are signed by 8b21…
    """
    from cds_service.events.audit_check import Broken, read_heads, verify
    from cds_service.events.audit_check import public_key as public_half
    from cds_service.events.pseudonym import load_key

    settings = read_settings(file, state=state)
    key = public_key or (public_half(load_key(settings.audit_key, "audit")) if settings.audit_key.exists() else None)
    if heads is not None and key is None:
        raise SettingsError(Fault("--public-key", "there is no key on file", "Give the public key that you kept"))
    found = verify(settings.audit, heads=() if heads is None else read_heads(heads), key=key)
    if isinstance(found, Broken):
        click.echo(f"{found.where}: {found.what}.")
        sys.exit(1)
    with_heads = f", and {found.heads} signed heads with them" if heads is not None else ""
    click.echo(f"{found.entries} entries hold, {found.first} to {found.last}{with_heads}.")
    click.echo(f"The head is {found.hash}; heads are signed by {key}.")


@audit.command()
@SETTINGS
@STATE
@says_what_is_wrong
def head(file: Path | None, state: Path | None) -> None:
    """Print where the chain stands, signed: one line to keep where this machine can't change it.

    \b
    $ cds-service audit head --settings settings.toml
    {"seq":212,"head":"5f0c…","signature":"…"}
    """
    import msgspec

    from cds_service.events.audit_check import sign_head
    from cds_service.events.pseudonym import load_key

    settings = read_settings(file, state=state)
    signed = sign_head(settings.audit, load_key(settings.audit_key, "audit"))
    if signed is None:
        raise SettingsError(Fault(str(settings.audit), "there is no entry yet", "Name the service's state folder"))
    click.echo(msgspec.json.encode(signed).decode())
