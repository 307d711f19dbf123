"""The commands: parse, call one function, print."""

import click

from cds_service import __version__
from cds_service.cli.audit import audit
from cds_service.cli.backup import backup, restore
from cds_service.cli.events import events
from cds_service.cli.models import compression, evaluate, train
from cds_service.cli.operating import check, contract, keys
from cds_service.cli.privacy import patient
from cds_service.cli.serving import sandbox, serve

__all__ = ["main"]


@click.group(
    commands=[
        sandbox,
        serve,
        check,
        keys,
        patient,
        events,
        audit,
        backup,
        restore,
        contract,
        train,
        compression,
        evaluate,
    ]
)
@click.version_option(__version__, prog_name="cds-service")
def main() -> None:
    """Bring a distilled medical model to the bedside through CDS Hooks, and keep it good there."""
